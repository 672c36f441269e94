"""Regions, masks and ignored places, against direct counting."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pycocotools.mask
import pytest
from PIL import Image
from scipy import ndimage

from ltad.io import masks
from ltad.io.masks import decode_mask, encode_mask, resize_mask
from ltad.review.regions import (
    apply_ignore,
    corrected_regions,
    fill,
    find_regions,
    move_threshold,
    region_mask,
    regions_of_mask,
    stretch,
    trace,
)
from ltad.types import ImageError, SettingError


def _random_mask(seed: int, shape: tuple[int, int] = (37, 53)) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=shape)
    return ndimage.gaussian_filter(noise, 0.3 + seed % 4) > 0.02


def _filled(loops, size) -> np.ndarray:
    """Even-odd filling of all loops together."""
    mask = np.zeros((size[1], size[0]), dtype=bool)
    for loop in loops:
        mask ^= fill(loop, size)
    return mask


def _signed_area(loop) -> float:
    x, y = np.array(loop, dtype=float).T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


@pytest.fixture(scope="module")
def detection(tiny_scorer, parts_folder):
    return tiny_scorer.score(sorted((parts_folder / "hex_nut" / "test").rglob("*.png"))[0])


@pytest.mark.parametrize("seed", range(8))
def test_contours_hold_exactly_the_mask(seed):
    mask = _random_mask(seed)
    loops = trace(mask)
    assert sum(_signed_area(loop) for loop in loops) == mask.sum()
    assert np.array_equal(_filled(loops, (53, 37)), mask)


def test_contour_of_a_ring_is_its_corners():
    ring = np.ones((5, 6), dtype=bool)
    ring[2, 2:4] = False
    outer, hole = sorted(trace(ring, left=10, top=20), key=_signed_area, reverse=True)
    assert set(outer) == {(10, 20), (16, 20), (16, 25), (10, 25)}
    assert set(hole) == {(12, 22), (14, 22), (14, 23), (12, 23)}
    assert (_signed_area(outer), _signed_area(hole)) == (30, -2)
    assert trace(np.zeros((4, 4), dtype=bool)) == ()


def test_fill_takes_the_pixels_whose_middle_is_inside():
    rows, columns = np.mgrid[:20, :30] + 0.5
    inside = (columns > 4) & (rows > 3) & ((columns - 4) / 12 + (rows - 3) / 10 < 1)
    assert np.array_equal(fill([(4, 3), (16, 3), (4, 13)], (30, 20)), inside)
    assert fill([(-5, -5), (99, -5), (99, 99), (-5, 99)], (30, 20)).all()


def test_regions_stand_in_picture_pixels():
    anomaly_map = np.zeros((32, 32), np.float32)
    anomaly_map[8:24, 8:16] = 1.0
    anomaly_map[28, 28] = 3.0
    speck, block = find_regions(anomaly_map, 0.5, 0.0, (64, 128))
    # Between 0 and 1 the bilinear map crosses one half exactly at the pixel edge.
    assert (block.left, block.top, block.right, block.bottom) == (16, 32, 32, 96)
    assert block.area == block.inside.sum()
    assert 0.95 * 16 * 64 <= block.area <= 16 * 64  # the corners are rounded
    assert block.score == 1.0
    values = stretch(anomaly_map, (64, 128))
    assert speck.score == values.max() > block.score
    assert block.area + speck.area == (values > 0.5).sum()
    assert set(block.record()) == {"left", "top", "right", "bottom", "area", "score"}
    kept = find_regions(anomaly_map, 0.5, (block.area - 1) / values.size, (64, 128))
    assert kept == (block,)
    assert find_regions(anomaly_map, 3.0, 0.0, (64, 128)) == ()


@pytest.mark.parametrize("share", [-0.1, 1.0, 16, float("nan")])
def test_minimum_area_is_a_share(share):
    with pytest.raises(SettingError, match="share of the image"):
        find_regions(np.ones((8, 8), np.float32), 0.5, share, (8, 8))


def test_regions_of_a_mask_are_its_parts():
    mask = _random_mask(3)
    labels, count = ndimage.label(mask)
    regions = regions_of_mask(mask)
    assert len(regions) == count
    assert sorted(r.area for r in regions) == sorted(np.bincount(labels.ravel())[1:])
    assert np.array_equal(region_mask(regions, (53, 37)), mask)


def test_equal_regions_come_largest_first_and_the_smallest_may_be_just_large_enough():
    mask = np.zeros((10, 10), dtype=bool)
    mask[0, :2] = mask[2, :3] = mask[4, :5] = True
    values = np.ones((10, 10), np.float32)
    assert [r.area for r in regions_of_mask(mask, values)] == [5, 3, 2]
    assert [r.area for r in regions_of_mask(mask, values, 0.03)] == [5, 3]  # 3 of 100 pixels
    values[0, 0] = 2.0
    assert [r.area for r in regions_of_mask(mask, values)] == [2, 5, 3]


def test_the_persons_mask_wins(detection):
    size = (96, 80)
    mask = np.zeros((80, 96), dtype=bool)
    mask[5:9, 7:8] = True
    (region,) = corrected_regions(detection, mask, 0.5, size)
    assert (region.left, region.top, region.area) == (7, 5, 4)
    assert region.score == stretch(detection.anomaly_map, size)[5:9, 7].max()
    assert corrected_regions(detection, np.zeros_like(mask), 0.0, size) == ()
    low = replace(detection, pixel_threshold=float(np.median(detection.anomaly_map)))
    model = corrected_regions(low, None, 0.0, size)
    expected = stretch(detection.anomaly_map, size) > low.pixel_threshold
    assert model and np.array_equal(region_mask(model, size), expected)


def test_outlines_move_as_far_as_the_threshold(detection):
    own = move_threshold(detection, detection.threshold)
    assert own.pixel_threshold == detection.pixel_threshold and own.regions == detection.regions
    lower = move_threshold(detection, detection.threshold - 0.25 * detection.pixel_threshold)
    assert lower.pixel_threshold == pytest.approx(0.75 * detection.pixel_threshold)
    assert lower.threshold < detection.threshold
    assert lower.is_anomalous == (detection.score > lower.threshold)
    size = (96, 80)
    values = stretch(detection.anomaly_map, size)
    shown = corrected_regions(lower, None, 0.0, size)
    assert sum(r.area for r in shown) == (values > lower.pixel_threshold).sum()
    assert sum(r.area for r in shown) > sum(
        r.area for r in corrected_regions(detection, None, 0.0, size)
    )
    assert move_threshold(detection, -1e9).pixel_threshold == 0


def test_ignored_pixels_cannot_raise_the_score(detection):
    side, pool = detection.anomaly_map.shape[0], 8
    row, column = np.unravel_index(detection.anomaly_map.argmax(), detection.anomaly_map.shape)
    ignore = np.zeros((side, side), dtype=bool)
    ignore[max(row - 6, 0) : row + 6, max(column - 6, 0) : column + 6] = True
    alarming = replace(detection, threshold=0.99 * detection.score, is_anomalous=True)
    judged = apply_ignore(alarming, ignore, pool)
    for field, score in (
        ("anomaly_map", judged.score), ("reconstruction_map", judged.reconstruction_score),
        ("semantic_map", judged.semantic_score),
    ):
        values = getattr(detection, field)
        means = [
            values[y : y + pool, x : x + pool].mean()
            for y in range(side - pool + 1) for x in range(side - pool + 1)
            if not ignore[y : y + pool, x : x + pool].any()
        ]
        assert score == pytest.approx(max(means), rel=1e-5)
        kept = getattr(judged, field)
        assert not kept[ignore].any() and np.array_equal(kept[~ignore], values[~ignore])
    assert judged.score < detection.score
    assert judged.is_anomalous == (judged.score > alarming.threshold)
    assert all(
        not ignore[r.top : r.bottom, r.left : r.right].all() for r in judged.regions
    )
    more = ignore | np.roll(ignore, 9, axis=1)
    assert apply_ignore(alarming, more, pool).score <= judged.score


def test_a_window_that_holds_one_ignored_pixel_does_not_count(detection):
    ignore = np.zeros((5, 5), dtype=bool)
    ignore[:, [0, 2]] = True
    values = np.tile(np.float32([9, 10, 9, 1, 3]), (5, 1))  # the mean of 10 and 0 is 5
    maps = dict.fromkeys(("anomaly_map", "reconstruction_map", "semantic_map"), values)
    assert apply_ignore(replace(detection, **maps), ignore, 2).score == 2.0


def test_ignoring_tells_what_it_did(detection):
    side = detection.anomaly_map.shape[0]
    nothing = np.zeros((10, 10), dtype=bool)
    assert apply_ignore(detection, nothing, 8) is detection
    alarming = replace(detection, threshold=-1.0, is_anomalous=True)
    everything = apply_ignore(alarming, ~nothing, 8)
    assert everything.score == 0 and everything.regions == ()
    assert "Nothing is left to judge" in everything.explanation
    corner = nothing.copy()
    corner[:1, :1] = True
    still = apply_ignore(alarming, corner, 8)
    assert still.is_anomalous and "the part that counts; 1%" in still.explanation
    silent = replace(alarming, threshold=1e9)
    assert "all that was suspicious" in apply_ignore(silent, corner, 8).explanation
    quiet = replace(silent, is_anomalous=False)
    assert "within the range" in apply_ignore(quiet, corner, 8).explanation
    assert side == 64  # a 10 x 10 mask was stretched over it


def test_masks_survive_a_file():
    mask = _random_mask(1)
    content = encode_mask(mask)
    assert Image.open(io.BytesIO(content)).mode == "1"
    assert np.array_equal(decode_mask(content, size=(53, 37)), mask)
    with pytest.raises(ImageError, match=r"bolt\.png is 53 x 37 pixels, but its image is 54 x"):
        decode_mask(content, "bolt.png", (54, 37))
    with pytest.raises(ImageError, match=r"bolt\.png"):
        decode_mask(b"no image", "bolt.png")


def test_a_transparent_ground_is_no_part_of_a_mask():
    mask = _random_mask(2)
    painted = np.zeros((*mask.shape, 4), np.uint8)
    painted[mask] = 255, 0, 0, 255
    buffer = io.BytesIO()
    Image.fromarray(painted).save(buffer, "PNG")
    assert np.array_equal(decode_mask(buffer.getvalue()), mask)


def test_resized_masks_keep_what_is_half_covered():
    mask = np.zeros((4, 8), dtype=bool)
    mask[:2, :4] = True
    assert np.array_equal(resize_mask(mask, (80, 40)), np.kron(mask, np.ones((10, 10))) > 0)
    assert np.array_equal(resize_mask(mask, (4, 2)), mask[::2, ::2])
    assert np.array_equal(resize_mask(mask, (8, 4)), mask)


@pytest.mark.parametrize("seed", range(6))
def test_run_lengths_are_those_of_pycocotools(seed):
    mask = _random_mask(seed)
    if seed == 4:
        mask[:] = False
    if seed == 5:
        mask[:] = True
    runs = masks.encode(mask, 0, 0, (53, 37))
    theirs = pycocotools.mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert runs == {"size": [37, 53], "counts": theirs["counts"].decode()}
    assert np.array_equal(masks.decode(runs), mask)
    part = masks.encode(mask[3:20, 5:41], 5, 3, (53, 37))
    whole = np.zeros_like(mask)
    whole[3:20, 5:41] = mask[3:20, 5:41]
    assert np.array_equal(masks.decode(part), whole)


@pytest.mark.parametrize("runs", [
    {}, {"size": [5, 5], "counts": [24]}, {"size": [5, 5], "counts": [-1, 26]},
    {"size": [5, 5], "counts": "\x00"}, {"size": [10**6, 10**6], "counts": [10**12]},
    {"size": [5], "counts": [25]}, {"size": [5, 5], "counts": None}, {"size": [5, 5],
    "counts": "o" * 500},
])
def test_damaged_run_lengths_are_refused(runs):
    with pytest.raises(ImageError, match=r"mask of bolt\.png is damaged"):
        masks.decode(runs, "The mask of bolt.png")
