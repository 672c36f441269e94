"""AUROC against scikit-learn, and the table's means."""

import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from ltad.evaluation.metrics import PixelScores, image_auroc, pixel_auroc
from ltad.evaluation.results import ClassResult, Results
from ltad.types import BRANCHES

RNG = np.random.default_rng(0)


def maps_and_masks(count: int, scale: float = 1.0) -> tuple[list, list]:
    masks = [RNG.random((20, 30)) < 0.1 for _ in range(count)]
    maps = [(scale * (RNG.gamma(2, size=(20, 30)) + mask)).astype(np.float32) for mask in masks]
    return masks, maps


@pytest.mark.parametrize("digits", [0, 1, 9])
def test_image_auroc_with_and_without_ties(digits, tell):
    labels = RNG.integers(0, 2, 300)
    scores = np.round(RNG.normal(size=300) + labels, digits)
    own, other = image_auroc(labels, scores), roc_auc_score(labels, scores)
    tell(f"image AUROC, {digits} digits: {own:.9f}, scikit-learn {other:.9f}, "
         f"difference {abs(own - other):.1e}")
    assert own == pytest.approx(other, abs=1e-12)


def test_image_auroc_by_hand():
    # pairs (anomaly, good): 3>1, 3>2, 2>1, 2=2 -> (1 + 1 + 1 + 0.5) / 4
    assert image_auroc([0, 1, 0, 1], [1, 3, 2, 2]) == 3.5 / 4


def test_one_label_has_no_auroc():
    assert image_auroc([0, 0], [1, 2]) is None and image_auroc([], []) is None
    assert pixel_auroc([np.ones((2, 2))], [np.ones((2, 2))]) is None
    assert pixel_auroc([], []) is None


def test_wrong_scores():
    for labels, scores in (([0, 1], [1.0]), ([0, 1], [1.0, np.nan]), ([0, 1], [1.0, np.inf])):
        with pytest.raises(ValueError):
            image_auroc(labels, scores)
    for mask, scores in ((np.ones((2, 2)), np.ones((2, 3))), (np.ones((1, 1)), [[np.nan]])):
        with pytest.raises(ValueError):
            pixel_auroc([mask], [scores])
    with pytest.raises(ValueError):
        pixel_auroc([np.ones((1, 1))], [])


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_pixel_auroc_of_iterators(scale):
    masks, maps = maps_and_masks(12, scale)
    exact = roc_auc_score(np.ravel(masks), np.ravel(maps))
    assert pixel_auroc(iter(masks), iter(maps)) == pytest.approx(exact, abs=1e-6)


@pytest.mark.parametrize("first", [0.0, -50.0, 1000.0])
def test_bins_grow_both_ways_within_the_stated_error(first):
    masks, maps = maps_and_masks(12)
    maps = [np.full_like(maps[0], first), *(m * 10.0**k for k, m in enumerate(maps[1:4])),
            *(-m for m in maps[4:])]
    pixels = PixelScores()
    for mask, anomaly_map in zip(masks, maps, strict=True):
        pixels.add(mask, anomaly_map)
    exact = roc_auc_score(np.ravel(masks), np.ravel(maps))
    assert abs(pixels.auroc() - exact) <= pixels.error + 1e-9
    # the flat map's pixels tie truly: a twelfth of each label, in one bin, counted half
    assert pixels.error < 0.5 / 12**2 * 1.2


def test_flat_maps_and_integer_masks():
    assert pixel_auroc([np.eye(4)], [np.zeros((4, 4))]) == 0.5
    assert pixel_auroc([np.eye(4, dtype=np.uint8) * 255], [np.eye(4)]) == 1.0


@pytest.fixture
def results():
    def entry(name, count, value, pixel):
        return ClassResult(
            name, count, dict.fromkeys(BRANCHES, value), dict.fromkeys(BRANCHES, pixel)
        )

    return Results((
        entry("nut", 100, 0.9, 0.8), entry("screw", 50, 0.7, None),
        entry("gear", 5, 0.6, 0.5), entry("wood", 1, None, None), entry("tile", 2, 0.4, 0.7),
    ))


def test_means_leave_out_what_is_missing(results):
    means = {
        group: (m["image"]["combined"], m["pixel"]["semantic"])
        for group, m in results.summary().items()
    }
    # High: nut, screw (floor(5 / 2) = 2). Low: gear, wood, tile.
    assert means["All"] == pytest.approx(((0.9 + 0.7 + 0.6 + 0.4) / 4, (0.8 + 0.5 + 0.7) / 3))
    assert means["High"] == pytest.approx(((0.9 + 0.7) / 2, 0.8))
    assert means["Low"] == pytest.approx(((0.6 + 0.4) / 2, (0.5 + 0.7) / 2))
    assert results.missing() == {"image": ["wood"], "pixel": ["screw", "wood"]}


def test_table_is_in_percent_and_says_what_is_missing(results):
    lines = results.table().splitlines()
    cells = {line.split()[0]: line.split()[1:] for line in lines}
    assert cells["nut"] == ["100"] + ["90.00"] * 3 + ["80.00"] * 3
    assert cells["wood"] == ["1"] + ["n/a"] * 6
    assert cells["All"] == ["65.00"] * 3 + ["66.67"] * 3
    assert "image means" in lines[-2] and lines[-2].endswith("images: wood.")
    assert "pixel means" in lines[-1] and lines[-1].endswith("pixels: screw, wood.")
    assert len({len(line) for line in lines[:-2]}) == 1


def test_dict_is_json_in_fractions(results):
    data = json.loads(json.dumps(results.to_dict()))
    assert data["classes"][0]["image"]["combined"] == 0.9
    assert data["classes"][3]["pixel"]["semantic"] is None
    assert data["groups"]["High"] == ["nut", "screw"]


def test_nothing_measured():
    assert Results(()).summary()["All"]["image"]["combined"] is None
    assert "n/a" in Results(()).table()
