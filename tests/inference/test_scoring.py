"""Equations (1) to (5) against plain numpy, and the pooling, thresholds and regions by hand."""

import numpy as np
import pytest
import torch

from ltad.inference import scoring
from ltad.inference.calibration import (
    Calibration,
    NormalScores,
    Readings,
    ScoreSettings,
    limits_of,
    standing,
)
from ltad.types import BRANCHES


def test_scores_equal_a_numpy_transcription_of_equations_1_to_5():
    rng = np.random.default_rng(0)
    channels, width, grid, tau, lam = (3, 5), 7, 4, 0.7, 40.0
    patches, rebuilt = rng.normal(size=(2, sum(channels), grid, grid))
    weights = [rng.normal(size=(width, c)) for c in channels]
    normal, abnormal = rng.normal(size=(2, width))
    s_rec = ((rebuilt - patches) ** 2).sum(axis=0)                                   # (1)
    layers = np.split(patches, np.cumsum(channels)[:-1])
    projected = np.max([np.einsum("dc,chw->dhw", w, p)
                        for w, p in zip(weights, layers, strict=True)], axis=0)      # (2)
    a = np.exp(np.einsum("d,dhw->hw", abnormal, projected) / tau)
    n = np.exp(np.einsum("d,dhw->hw", normal, projected) / tau)
    s_sem = a / (n + a)                                                              # (3)

    def batch(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).float()[None]

    found_rec = scoring.reconstruction_score(batch(rebuilt), batch(patches))[0].numpy()
    found_sem = scoring.semantic_score(
        batch(projected), batch(normal), batch(abnormal), tau
    )[0].numpy()
    np.testing.assert_allclose(found_rec, s_rec, rtol=1e-4)
    np.testing.assert_allclose(found_sem, s_sem, atol=1e-4)
    combined = scoring.combine(torch.from_numpy(s_rec), torch.from_numpy(s_sem), lam)
    np.testing.assert_allclose(combined.numpy(), s_rec + lam * s_sem)                # (5)


def test_extreme_logits_do_not_overflow():
    projected = torch.full((1, 1, 1, 1), 1e4)
    one = torch.ones(1, 1)
    assert scoring.semantic_score(projected, -one, one, 0.01).item() == 1.0
    assert scoring.semantic_score(projected, one, -one, 0.01).item() == 0.0


@pytest.mark.parametrize(("grid", "size", "pool"), [(14, 64, 16), (24, 96, 9), (7, 7, 1)])
def test_pooling_matrix_equals_upsampling_then_pooling(grid, size, pool):
    scores = torch.randn(3, grid, grid, generator=torch.Generator().manual_seed(1))
    full = scoring.upsample(scores, size)
    pooled = torch.nn.functional.avg_pool2d(full[:, None], pool, stride=1)[:, 0]
    torch.testing.assert_close(
        scoring.pooled_map(scores, size, pool), pooled, atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(scoring.image_score(pooled), pooled.flatten(1).max(dim=1).values)


def test_conformal_threshold_is_the_right_order_statistic():
    scores = np.arange(1.0, 20.0)  # n = 19: ceil(20 * 0.95) = 19, ceil(20 * 0.9) = 18
    assert scoring.conformal_threshold(scores, 0.05) == 19
    assert scoring.conformal_threshold(scores, 0.10) == 18
    assert scoring.conformal_threshold(scores, 0.50) == 10
    assert scoring.conformal_threshold(np.arange(1.0, 21.0), 0.05) == 20  # ceil(21 x 0.95)
    assert scoring.conformal_threshold(np.array([3.0]), 0.05) == 3


def test_conformal_threshold_keeps_its_promise():
    rng = np.random.default_rng(3)
    alarms = [
        rng.normal() > scoring.conformal_threshold(rng.normal(size=39), 0.1) for _ in range(4000)
    ]
    assert np.mean(alarms) == pytest.approx(0.1, abs=0.015)


def test_every_alarm_has_a_region_and_no_other_picture_gains_one():
    rng = np.random.default_rng(0)
    for _ in range(50):
        grid = torch.from_numpy(rng.random((1, 6, 6), np.float32))
        anomaly_map = scoring.upsample(grid, 48)[0].numpy()
        score = float(scoring.image_score(scoring.pooled_map(grid, 48, 8)))
        limit = float(anomaly_map.max()) + 1
        alarm = scoring.region_limit(score, 0.99 * score, limit)
        assert alarm == 0.99 * score and scoring.regions(anomaly_map, alarm)
        assert scoring.region_limit(score, score, limit) == limit
    assert scoring.region_limit(2.0, 1.0, 0.5) == 0.5


def test_regions_give_boxes_areas_and_peaks():
    anomaly_map = np.zeros((20, 30), np.float32)
    anomaly_map[2:6, 3:9] = 1.0
    anomaly_map[12:18, 20:26] = 2.0
    anomaly_map[13, 21] = 5.0
    anomaly_map[0, 29] = 9.0
    first, second = scoring.regions(anomaly_map, 0.5)
    assert (first.left, first.top, first.right, first.bottom) == (20, 12, 26, 18)
    assert (first.area, first.score) == (36, 5.0)
    assert (second.area, second.score) == (24, 1.0)


def test_a_region_is_not_scored_by_its_neighbour_and_may_be_just_large_enough():
    anomaly_map = np.zeros((20, 20), np.float32)
    anomaly_map[2:10, 2] = anomaly_map[9, 2:10] = 1.0  # an L of 15 pixels
    anomaly_map[2:6, 5:9] = 4.0  # 16 pixels, inside the box of the L
    assert [r.area for r in scoring.regions(anomaly_map, 0.5)] == [16]
    assert [(r.area, r.score) for r in scoring.regions(anomaly_map, 0.5, 15)] == [
        (16, 4.0), (15, 1.0)
    ]


def test_a_score_stands_among_good_images():
    scores = np.arange(1.0, 20.0)  # nineteen of them
    places, one = dict.fromkeys(BRANCHES, scores), dict.fromkeys(BRANCHES, 1.0)
    normal = NormalScores(places, places, one, one)
    good = limits_of(normal, 0.05, 1.0, is_pooled=False)
    assert standing(30.0, good) == ("Higher than all 19 held-out good images of this class: at "
                                    "most about 1 good part in 20 looks this suspicious.")
    # 16 of 19 lie below, so that 4 of 20 places are left: one in five
    assert standing(16.5, good).endswith("about 1 good part in 5 looks this suspicious.")
    assert standing(2.5, good) == "Higher than 2 of 19 held-out good images of this class."
    assert standing(0.0, good) == "Lower than all 19 held-out good images of this class."
    pooled = limits_of(normal, 0.05, 1.0, is_pooled=True)
    assert "all classes together" in standing(30.0, pooled)


def test_the_combined_scale_ends_where_sums_end():
    """S = S_rec + lambda S_sem, and S_sem <= 1: 1.5 times the normal range, cut at that sum."""
    places = {b: np.array([1.0]) for b in ("combined", "reconstruction", "semantic")}
    low = {"reconstruction": 0.0, "semantic": 0.1, "combined": 1.0}
    high = {"reconstruction": 2.0, "semantic": 0.9, "combined": 9.0}
    normal = NormalScores(places, places, low, high)
    assert limits_of(normal, 0.5, 5.0, False).scale == {
        "reconstruction": (0.0, 3.0), "semantic": (0.1, 1.0),
        "combined": (1.0, 8.0),  # 3 + 5, not 1 + 1.5 x 8
    }
    assert limits_of(normal, 0.5, 20.0, False).scale["combined"] == (1.0, 13.0)


def test_a_class_with_enough_images_reads_no_other_class():
    read = []

    def readings(name: str) -> Readings:
        read.append(name)
        values = torch.rand(30, 4, 4, generator=torch.Generator().manual_seed(len(read)))
        return Readings(values, torch.zeros(30, 2, 4, 4))

    calibration = Calibration({"a": 30, "b": 30, "few": 3, "none": 0}, readings,
                              lambda names, words: torch.zeros(len(names), 2))
    settings = ScoreSettings("a", "a broken", 1.0, 1.0, 1, 16)
    for rate in (0.05, 0.1):
        assert not calibration.limits("a", settings, rate).is_pooled
    assert read == ["a"]
    assert calibration.limits("few", settings, 0.05).is_pooled
    assert read == ["a", "b", "few"]


def test_a_region_is_above_the_threshold_and_not_at_it():
    anomaly_map = np.zeros((8, 8), dtype=np.float32)
    anomaly_map[:, :4], anomaly_map[:2, :4] = 2.0, 3.0
    (found,) = scoring.regions(anomaly_map, 2.0, minimum_area=1)
    assert (found.top, found.bottom, found.area) == (0, 2, 8)


def test_the_unit_of_good_images_is_their_middle_place_and_their_middle_score():
    raw = torch.zeros(3, 4, 4)
    raw[:, :, 1:] = torch.tensor([5.0, 6.0, 10.0])[:, None, None]  # the middle place holds 5
    zero, one = scoring.good_unit(raw, size=4, pool=1)
    assert (zero, one) == (5.0, 6.0)
    assert scoring.good_unit(raw, 4, 1, least=3.0) == (5.0, 8.0)
