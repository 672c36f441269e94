"""Streamed figures against scikit-learn, against AUPRO's definition, and within their bounds."""

import json
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from ltad.evaluation.metrics import PixelScores, image_average_precision, image_f1_max


def maps_and_masks(seed: int, count: int = 6, digits: int = 9) -> tuple[list, list]:
    """Maps (16, 20) that rise in some of their defects; the first mask is empty."""
    rng = np.random.default_rng(seed)
    masks, maps = [], []
    for index in range(count):
        mask = np.zeros((16, 20), bool)
        for _ in range(index):
            top, left = rng.integers(0, 13), rng.integers(0, 17)
            mask[top : top + rng.integers(1, 5), left : left + rng.integers(1, 5)] = True
        masks.append(mask)
        scores = rng.gamma(2, size=mask.shape) + mask * rng.random() * 4
        maps.append(np.round(scores, digits).astype(np.float32))
    return masks, maps


def counted(masks, maps, **options) -> PixelScores:
    pixels = PixelScores(with_regions=True, **options)
    for mask, anomaly_map in zip(masks, maps, strict=True):
        pixels.add(mask, anomaly_map)
    return pixels


def f1_max_of_sklearn(labels, scores) -> float:
    precision, recall, _ = precision_recall_curve(labels, scores)
    return float(np.nanmax(2 * precision * recall / np.maximum(precision + recall, 1e-12)))


def regions_of(mask) -> list[set]:
    """Connected pixels, corners included, by flooding."""
    left, regions = set(map(tuple, np.argwhere(mask))), []
    while left:
        region, edge = set(), [left.pop()]
        while edge:
            y, x = edge.pop()
            region.add((y, x))
            near = {(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
            left -= near
            edge += near
        regions.append(region)
    return regions


def aupro_by_definition(masks, maps, limit: float = 0.3) -> float:
    """Every threshold in turn; the curve's last piece is cut at the limit by similar triangles."""
    regions = [(m, r) for mask, m in zip(masks, maps, strict=True) for r in regions_of(mask)]
    normal = np.concatenate([m[~mask] for mask, m in zip(masks, maps, strict=True)])
    points = [(0.0, 0.0)]
    for threshold in np.unique(np.ravel(maps))[::-1]:
        covered = [np.mean([m[p] >= threshold for p in region]) for m, region in regions]
        points.append((np.mean(normal >= threshold), np.mean(covered)))
    area = 0.0
    for (x, y), (next_x, next_y) in pairwise(points):
        if next_x > limit:
            next_y = y + (next_y - y) * (limit - x) / (next_x - x)
            return (area + (limit - x) * (y + next_y) / 2) / limit
        area += (next_x - x) * (y + next_y) / 2
    return area / limit


@pytest.mark.parametrize("digits", [0, 1, 9])
def test_image_figures_are_sklearns(digits, tell):
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 200)
    scores = np.round(rng.normal(size=200) + labels, digits)
    for name, own, other in (
        ("AP", image_average_precision(labels, scores), average_precision_score(labels, scores)),
        ("F1-max", image_f1_max(labels, scores), f1_max_of_sklearn(labels, scores)),
    ):
        tell(f"image {name}, {digits} digits: {own:.9f}, scikit-learn {other:.9f}, "
             f"difference {abs(own - other):.1e}")
        assert own == pytest.approx(other, abs=1e-12)


def test_image_figures_by_hand():
    # falling: anomaly, good, anomaly. AP = 1/2 * 1 + 1/2 * 2/3; F1: 2/3, 2/4, 4/5
    assert image_average_precision([1, 0, 1], [3, 2, 1]) == pytest.approx(5 / 6)
    assert image_f1_max([1, 0, 1], [3, 2, 1]) == pytest.approx(0.8)


@pytest.mark.parametrize("figure", [image_average_precision, image_f1_max])
def test_image_figures_refuse(figure):
    assert figure([1, 1], [1, 2]) is None and figure([0, 0], [1, 2]) is None
    assert figure([], []) is None
    for labels, scores in (([0, 1], [1.0]), ([0, 1], [1.0, np.nan])):
        with pytest.raises(ValueError):
            figure(labels, scores)


@pytest.mark.parametrize("seed, digits", [(0, 9), (1, 9), (2, 1), (3, 0)])
def test_pixel_figures_are_exact_but_for_the_bins(seed, digits, tell):
    masks, maps = maps_and_masks(seed, digits=digits)
    pixels, labels, scores = counted(masks, maps), np.ravel(masks), np.ravel(maps)
    exact = {
        "auroc": roc_auc_score(labels, scores),
        "average_precision": average_precision_score(labels, scores),
        "f1_max": f1_max_of_sklearn(labels, scores),
        "aupro": aupro_by_definition(masks, maps),
    }
    for name, value in exact.items():
        # with rounded scores no two share a bin, though the bound cannot tell their ties from it
        error = 1e-9 if digits < 9 else pixels.errors()[name] + 1e-9
        assert error < 1e-3
        own, by = getattr(pixels, name)(), "definition" if name == "aupro" else "scikit-learn"
        tell(f"pixel {name}, seed {seed}, {digits} digits: {own:.9f}, {by} {value:.9f}, "
             f"difference {abs(own - value):.1e}, bound {error:.1e}")
        assert own == pytest.approx(value, abs=error), name


@pytest.mark.parametrize("limit", [0.01, 0.05, 0.5, 1.0])
def test_aupro_at_other_limits(limit):
    masks, maps = maps_and_masks(4)
    assert counted(masks, maps).aupro(limit) == pytest.approx(
        aupro_by_definition(masks, maps, limit), abs=1e-5
    )


@pytest.mark.parametrize("bins", [4, 16, 64, 1024])
@pytest.mark.parametrize("seed", range(4))
def test_coarse_bins_stay_within_the_stated_error(bins, seed):
    masks, maps = maps_and_masks(seed)
    maps[3] = -3 * maps[3]  # the bins must grow both ways
    fine, coarse = counted(masks, maps), counted(masks, maps, bins=bins)
    for name, error in coarse.errors().items():
        difference = abs(getattr(coarse, name)() - getattr(fine, name)())
        assert difference <= error + fine.errors()[name] + 1e-12, name
    assert coarse.errors()["aupro"] > 0 and max(fine.errors().values()) < 1e-3


def test_aupro_by_hand():
    mask = np.zeros((8, 10), bool)
    mask[0, :4] = mask[4, 4] = True  # regions of 4 and 1 pixels, 75 normal ones
    scores = np.zeros((8, 10))
    scores[0, :2], scores[7, :3] = 3, 2  # half of one region, then 3 / 75 of the normal pixels
    pixels = counted([mask], [scores])
    # overlap 0.25 up to 0.04, then a line from 0.25 to 1 at rate 1, cut at 0.3
    end = 0.25 + 0.75 * 0.26 / 0.96
    assert pixels.aupro() == pytest.approx((0.04 * 0.25 + 0.26 * (0.25 + end) / 2) / 0.3)


def test_perfect_maps_reach_one_and_corners_connect():
    mask = np.eye(9, dtype=np.uint8) * 255
    pixels = counted([mask], [mask])
    assert {pixels.auroc(), pixels.average_precision(), pixels.f1_max(), pixels.aupro()} == {1.0}
    assert pixels.errors() == dict.fromkeys(pixels.errors(), 0.0)
    assert len(regions_of(mask)) == 1 == pixels._regions


def test_one_label_has_no_figures():
    for mask in (np.zeros((3, 3)), np.ones((3, 3))):
        pixels = counted([mask], [np.arange(9.0).reshape(3, 3)])
        assert pixels.average_precision() is pixels.f1_max() is pixels.aupro() is None
        assert set(pixels.errors().values()) == {0.0}
    without = PixelScores()
    without.add(np.eye(3), np.eye(3))
    assert without.aupro() is None and without.f1_max() == 1.0


@pytest.mark.slow
def test_a_test_set_of_mvtecs_size_fits_the_bound(tell):
    """1,725 images of 224 x 224 under every figure: under 2 GiB, in a fresh process."""
    done = subprocess.run([sys.executable, "-m", "ltad.bench.metrics"], capture_output=True,
                          text=True, check=True)
    found = json.loads(done.stdout)
    tell("{pictures} maps of {side} x {side}, {branches} branches: {seconds} s, at most "
         "{peak_megabytes} MB ({peak_megabytes_before} MB before), load {load}".format(**found))
    assert found["pictures"] == 1725 and found["side"] == 224
    assert all(0 < value < 1 for value in found["figures"].values())
    assert found["peak_megabytes"] < 2048
