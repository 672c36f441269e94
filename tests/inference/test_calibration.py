"""Limits from good images whose scores are written down by hand, and the sentence about them."""

import math
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event

import pytest
import torch

from ltad.inference import scoring
from ltad.inference.calibration import (
    Calibration,
    Limits,
    Readings,
    ScoreSettings,
    combined_of,
    explain,
    standing,
)

SETTINGS = ScoreSettings("a", "a broken", lam=0.0, tau=2.0, pool=2, size=2)
"""Maps of 2 x 2 pixels, pooled whole: an image's score is the mean of its four places."""


def readings(peaks: list[float], logit: float = 0.0) -> Readings:
    """Images whose S_rec is `peak` at one place and 0 at the others; p^ is `logit` everywhere."""
    grids = torch.zeros(len(peaks), 2, 2)
    grids[:, 0, 1] = torch.tensor(peaks)
    return Readings(grids, torch.full((len(peaks), 1, 2, 2), logit))


def texts(names: list[str], words: str) -> torch.Tensor:
    """t_n is 1 and t_a is 3, so that S_sem is the sigmoid of 2 p^ / tau."""
    return torch.full((len(names), 1), {"a": 1.0, "a broken": 3.0}[words])


def calibration(**classes: Readings) -> Calibration:
    return Calibration({n: len(r) for n, r in classes.items()}, classes.__getitem__, texts)


@pytest.mark.parametrize(("images", "is_pooled"), [(19, False), (18, True)])
def test_a_class_stands_alone_from_the_smallest_number_that_keeps_the_rate(images, is_pooled):
    """5% can be promised from 19 images on: one in 20."""
    own = [4.0 * n for n in range(1, images + 1)]
    found = calibration(gear=readings(own), cap=readings([400.0, 800.0])).limits(
        "gear", SETTINGS, 0.05
    )
    assert (found.is_pooled, found.images) == (is_pooled, images + 2 * is_pooled)
    assert found.thresholds["combined"] == (200.0 if is_pooled else 19.0)


def test_a_new_lambda_adds_up_maps_that_are_known_and_a_new_prompt_makes_new_ones():
    """The limits are those of a calibration that knows nothing yet."""
    asked: list[str] = []

    def counted(names: list[str], words: str) -> torch.Tensor:
        asked.append(words)
        return texts(names, words)

    own = readings([4.0, 8.0, 40.0], logit=0.5)
    warm = Calibration({"gear": 3}, lambda _: own, counted)
    for lam, prompt, tau in ((1.0, "a broken", 2.0), (7.0, "a broken", 2.0), (7.0, "a", 2.0),
                             (7.0, "a broken", 1.0), (3.0, "a broken", 2.0)):
        settings = replace(SETTINGS, lam=lam, abnormal_prompt=prompt, tau=tau)
        assert warm.limits("gear", settings, 0.5) == calibration(gear=own).limits(
            "gear", settings, 0.5)
    assert asked == ["a", "a broken", "a", "a", "a", "a broken"]  # three times, not five


def test_a_new_tau_leaves_what_no_word_changes_and_ends_as_if_nothing_had_been_known(monkeypatch):
    own = {"gear": readings([4.0 * n for n in range(1, 20)], 0.5),
           "cap": readings([5.0 * n for n in range(1, 20)], 0.25)}
    known, pooled, pool = calibration(**own), [], scoring.pooled_map
    known.limits("gear", SETTINGS, 0.05)
    monkeypatch.setattr(scoring, "pooled_map", lambda *given: pooled.append(1) or pool(*given))
    other = replace(SETTINGS, tau=0.5, lam=3.0)
    found = known.limits("gear", other, 0.05)
    assert len(pooled) == 1
    assert found == calibration(**own).limits("gear", other, 0.05)
    # Another class, and maps of another size, take nothing from it.
    for name, settings in (("cap", other), ("gear", replace(other, size=4))):
        assert known.limits(name, settings, 0.05) == calibration(**own).limits(
            name, settings, 0.05)


def test_a_class_does_not_wait_for_another_that_is_being_read():
    begun, go_on = Event(), Event()
    own = {"gear": readings([4.0] * 3), "cap": readings([8.0] * 3)}

    def read(name: str) -> Readings:
        if name == "gear":
            begun.set()
            assert go_on.wait(30)
        return own[name]

    asked = Calibration({"gear": 3, "cap": 3}, read, texts)
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(asked.limits, "gear", SETTINGS, 0.5)
        assert begun.wait(30)
        try:
            quick = pool.submit(asked.limits, "cap", SETTINGS, 0.5).result(5)
        finally:
            go_on.set()
        assert (quick.thresholds["combined"], slow.result().thresholds["combined"]) == (2.0, 1.0)


def test_the_only_class_is_not_called_pooled():
    assert not calibration(gear=readings([4.0])).limits("gear", SETTINGS, 0.05).is_pooled
    assert calibration(gear=readings([4.0])).limits("cap", SETTINGS, 0.05).is_pooled


def test_scores_are_means_of_windows_and_the_pixel_limit_is_a_highest_place():
    peaks = [4.0, 8.0, 40.0]
    found = calibration(gear=readings(peaks)).limits("gear", SETTINGS, 0.5)  # ceil(4 / 2) = 2nd
    assert found.thresholds["combined"] == 2.0 and found.pixel_threshold == 8.0
    assert found.medians["combined"] == 2.0  # the mean would be 13 / 3
    assert list(found.normal_scores) == [1.0, 2.0, 10.0]


def test_pooled_classes_keep_both_kinds_of_limits():
    found = calibration(gear=readings([4.0]), cap=readings([40.0]), nut=readings([12.0])).limits(
        "gear", SETTINGS, 0.4  # ceil(4 x 0.6) = 3rd of three
    )
    assert found.thresholds["combined"] == 10.0 and found.pixel_threshold == 40.0


def test_the_semantic_branch_has_both_prompts_and_lambda_adds_it():
    settings = replace(SETTINGS, lam=10.0)
    found = calibration(gear=readings([4.0, 8.0, 40.0], logit=0.5)).limits("gear", settings, 0.5)
    semantic = 1 / (1 + math.exp(-0.5))  # 2 x 0.5 / tau
    assert found.thresholds["semantic"] == pytest.approx(semantic)
    assert found.thresholds["reconstruction"] == 2.0
    assert found.thresholds["combined"] == pytest.approx(2.0 + 10 * semantic)
    assert found.pixel_threshold == pytest.approx(8.0 + 10 * semantic)


def test_another_rate_or_prompt_is_measured_anew():
    one = calibration(gear=readings([4.0, 8.0, 40.0], logit=0.5))
    assert one.limits("gear", SETTINGS, 0.5).thresholds["combined"] == 2.0
    assert one.limits("gear", SETTINGS, 0.25).thresholds["combined"] == 10.0
    same = replace(SETTINGS, abnormal_prompt="a")
    assert one.limits("gear", same, 0.5).thresholds["semantic"] == 0.5


@pytest.mark.parametrize(
    ("reconstruction", "semantic", "combined", "words"),
    [
        (9, 9, 9, "The reconstruction and semantic branches raise the alarm."),
        (9, 0, 9, "The reconstruction branch raises the alarm; semantic stays within its range."),
        (0, 9, 9, "The semantic branch raises the alarm; reconstruction stays within its range."),
        (0, 0, 9, "No branch is above its own threshold; only their sum is."),
        (0, 9, 0, "No alarm: .*; the semantic branch alone is above its own threshold."),
        (0, 0, 0, r"all 3 .* of this class\. No alarm: the score lies within .* of good images\.$"),
    ],
)
def test_the_explanation_names_the_branch(reconstruction, semantic, combined, words):
    limits = calibration(gear=readings([4.0, 8.0, 40.0])).limits("gear", SETTINGS, 0.5)
    limits = replace(limits, thresholds=dict.fromkeys(limits.thresholds, 5.0))
    scores = {"reconstruction": reconstruction, "semantic": semantic, "combined": combined}
    assert re.search(words, explain(scores, limits))


def test_the_sum_of_three_branches_by_hand():
    parts = {"reconstruction": torch.tensor([2.0]), "semantic": torch.tensor([0.6]),
             "reference": torch.tensor([4.0])}
    settings = ScoreSettings("a", "a broken", 3.0, 1.0, 1, 4, reference_weight=0.5)
    published = combined_of(parts, None, settings)
    assert published.item() == pytest.approx(2.0 + 3.0 * 0.6 + 0.5 * 4.0)
    in_units = combined_of(parts, (0.2, 0.4), settings)  # S_sem counts as (0.6 - 0.2) / 0.2 = 2
    assert in_units.item() == pytest.approx((2.0 + 3.0 * 2.0 + 0.5 * 4.0) / 4.5)


def test_the_scale_of_the_sum_ends_with_the_semantic_branch_only_where_no_other_adds_to_it():
    own = readings([4.0, 8.0, 40.0], logit=0.5)
    own = replace(own, reference=50.0 * own.reconstruction)
    for weight, is_capped in ((0.0, True), (2.0, False)):
        scale = calibration(gear=own).limits(
            "gear", replace(SETTINGS, lam=1.0, reference_weight=weight), 0.5).scale
        highest = scale["reconstruction"][1] + 1.0
        assert (scale["combined"][1] <= highest) is is_capped


@pytest.mark.parametrize(("score", "said"), [
    (0.5, "Lower than all 9"),
    (1.0, "Lower than all 9"),  # as high as one is not higher
    (8.0, "Higher than 7 of 9 held-out good images of this class: about 1 good part in 3 "),
    (8.5, "Higher than 8 of 9 held-out good images of this class: about 1 good part in 5 "),
    (9.5, "at most about 1 good part in 10 "),
])
def test_the_standing_among_good_images_by_hand(score, said):
    """A new good image is above k of 9 once in 10 / (10 - k) times."""
    limits = Limits({}, {}, 0.0, {}, False, 9, tuple(float(n) for n in range(1, 10)))
    assert said in standing(score, limits)
