"""Thresholds from limits and decisions, checked against scikit-learn and by trying every value."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_recall_curve, precision_score, recall_score

from ltad.evaluation.metrics import Confusion
from ltad.review.database import Database
from ltad.review.records import DeskError, ItemResult, NewItem, Reviewed, ThresholdChoice
from ltad.review.thresholds import (
    class_threshold,
    current_threshold,
    feedback,
    miss_rate_threshold,
    quality,
    reviewed_f1_threshold,
    verdicts,
)


def _random_pairs(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping scores with ties; at least one of each kind."""
    random = np.random.default_rng(seed)
    is_defective = random.random(30) < 0.4
    is_defective[:2] = (False, True)
    scores = np.round(random.normal(size=30) + 1.2 * is_defective, 1)
    return scores, is_defective


def _pairs(scores: np.ndarray, is_defective: np.ndarray) -> list[tuple[float, bool]]:
    return list(zip(scores.tolist(), is_defective.tolist(), strict=True))


@pytest.mark.parametrize("seed", range(20))
def test_best_f1_is_the_best_that_scikit_learn_finds(seed: int):
    scores, is_defective = _random_pairs(seed)
    threshold = reviewed_f1_threshold(_pairs(scores, is_defective))
    precision, recall, _ = precision_recall_curve(is_defective, scores)
    best = (2 * precision * recall / np.maximum(precision + recall, 1e-12)).max()
    assert f1_score(is_defective, scores > threshold) == pytest.approx(best)


def test_the_best_f1_weighs_a_miss_against_false_alarms_by_hand():
    # Above 5.5: 1 hit of 1, F1 2 / 3. Above 1.5: 2 hits of 5, F1 4 / 7.
    labels = [False, True, False, False, False, True]
    assert reviewed_f1_threshold([(float(n), one) for n, one in enumerate(labels, 1)]) == 5.5


def test_a_threshold_between_separated_scores_lies_halfway():
    pairs = [(1.0, False), (2.0, False), (5.0, True), (9.0, True)]
    assert reviewed_f1_threshold(pairs) == 3.5
    assert miss_rate_threshold(pairs, 0.0) == 3.5
    assert miss_rate_threshold(pairs, 0.5) == 7.0


def test_of_equally_good_thresholds_the_one_that_misses_least_is_taken():
    # Below 1: 2 hits of 4 alarms; at 3.5: 1 of 1; both an F1 of 2 / 3, and all between less.
    pairs = [(1.0, True), (2.0, False), (3.0, False), (4.0, True)]
    assert reviewed_f1_threshold(pairs) == np.nextafter(1.0, 0.0)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("rate", [0.0, 0.1, 0.29, 0.5])
def test_a_miss_rate_is_kept_and_no_higher_reviewed_score_keeps_it(seed: int, rate: float):
    scores, is_defective = _random_pairs(seed)
    threshold = miss_rate_threshold(_pairs(scores, is_defective), rate)
    defective = scores[is_defective]
    assert (defective <= threshold).mean() <= rate
    higher = scores[scores > threshold].min()
    assert (defective <= higher).mean() > rate


def test_the_smallest_score_can_still_be_caught():
    threshold = miss_rate_threshold([(1.0, True), (2.0, False)], 0.0)
    assert threshold < 1.0
    next_up = float(np.nextafter(1.0, 2.0))
    assert 1.0 <= miss_rate_threshold([(1.0, False), (next_up, True)], 0.0) < next_up


def test_too_few_decisions_are_named():
    with pytest.raises(DeskError, match="one part reviewed as good and one as defective"):
        reviewed_f1_threshold([(1.0, True)])
    with pytest.raises(DeskError, match="at least one part reviewed as defective"):
        miss_rate_threshold([(1.0, False)], 0.1)


@pytest.mark.parametrize("seed", range(5))
def test_quality_is_what_scikit_learn_says(seed: int):
    scores, is_defective = _random_pairs(seed)
    reviewed = [Reviewed("gear", s, d) for s, d in _pairs(scores, is_defective)]
    found = quality(reviewed, {"gear": 0.4})
    alarms = scores > 0.4
    assert found.precision == pytest.approx(precision_score(is_defective, alarms))
    assert found.recall == pytest.approx(recall_score(is_defective, alarms))
    assert found.f1 == pytest.approx(f1_score(is_defective, alarms))
    assert found.false_alarm_rate == pytest.approx(alarms[~is_defective].mean())
    assert found.count == 30


def test_quality_without_reviews_has_no_figures():
    empty = quality([], {})
    assert empty == Confusion(0, 0, 0, 0)
    assert empty.precision is empty.recall is empty.f1 is empty.false_alarm_rate is None


def test_each_mode_means_what_it_says():
    pairs = [(1.0, False), (5.0, True)]

    def limit(rate: float) -> float:
        return 100 * rate

    assert current_threshold(ThresholdChoice("rate", 0.25), limit, pairs) == 25.0
    assert current_threshold(ThresholdChoice("score", 7.5), limit, pairs) == 7.5
    assert current_threshold(ThresholdChoice("f1"), limit, pairs) == 3.0
    assert current_threshold(ThresholdChoice("miss", 0.0), limit, pairs) == 3.0


def test_the_choice_for_all_shifts_every_class_from_its_own_limit():
    limits = {"gear": 10.0, "tile": 100.0, "wood": 50.0}
    default = ThresholdChoice("rate", 0.05)
    reviewed = [
        Reviewed("gear", 11.0, False), Reviewed("gear", 14.0, True),
        Reviewed("tile", 99.0, False), Reviewed("tile", 103.0, True),
    ]

    def threshold(name: str, choices: dict[str, ThresholdChoice]) -> float:
        return class_threshold(name, choices, default, lambda n, rate: limits[n], reviewed)

    # Above their limits: good by 1 and -1, defective by 4 and 3; halfway between 1 and 3 is 2.
    every = {"": ThresholdChoice("f1")}
    assert [threshold(n, every) for n in limits] == [12.0, 102.0, 52.0]
    own = {**every, "gear": ThresholdChoice("f1")}
    assert [threshold(n, own) for n in limits] == [12.5, 102.0, 52.0]
    assert [threshold(n, {}) for n in limits] == [10.0, 100.0, 50.0]
    assert threshold("wood", {"": ThresholdChoice("score", 3.0)}) == 3.0
    with pytest.raises(DeskError):
        threshold("wood", {"wood": ThresholdChoice("f1")})


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "desk.sqlite")


def _scored_batch(database: Database, settings: dict, model: str, scores: list[float]):
    batch = database.create_batch("b", "anna", model, settings)
    ids = database.add_items(batch.id, [NewItem(f"{s}.png", f"{s}") for s in scores])
    database.record_outcomes({
        i: ItemResult(9, 9, "screw", 1.0, True, s, s, s, 4.0)
        for i, s in zip(ids, scores, strict=True)
    })
    return database.batch(batch.id), ids


@pytest.mark.parametrize("seed", range(20))
def test_one_shift_for_all_classes_keeps_the_miss_rate_despite_rounding(seed: int):
    random = np.random.default_rng(seed)
    reviewed = [
        Reviewed(name, float(np.float32(random.normal(18000, 900))), index % 2)
        for index, name in enumerate("abcab" * 3)
    ]
    limits = {name: float(np.float32(random.normal(17000, 900))) for name in "abc"}
    choices = {"": ThresholdChoice("miss", 0.0)}
    thresholds = {
        name: class_threshold(name, choices, ThresholdChoice("rate", 0.05),
                              lambda name, rate: limits[name], reviewed)
        for name in limits
    }
    assert quality(reviewed, thresholds).recall == 1.0
    lowest = min(r.score - limits[r.class_name] for r in reviewed if r.is_defective)
    for name, threshold in thresholds.items():  # and no higher one would do
        assert threshold <= limits[name] + lowest
        caught = {r.score - limits[r.class_name] for r in reviewed if r.class_name == name
                  and r.score > threshold}
        assert all(margin >= lowest for margin in caught)


def test_decisions_move_the_threshold_at_once_and_verdicts_follow(database: Database, tiny_scorer):
    used = tiny_scorer.score_settings()
    settings = {"normal_prompt": used.normal_prompt, "abnormal_prompt": used.abnormal_prompt,
                "lam": used.lam, "tau": used.tau, "false_alarm_rate": 0.25}
    batch, ids = _scored_batch(database, settings, tiny_scorer.name, [1.0, 2.0, 6.0, 8.0])
    calibrated = tiny_scorer.calibration.limits("screw", used, 0.25).thresholds["combined"]
    before = feedback(database, tiny_scorer, batch)
    assert before.thresholds["screw"] == calibrated
    assert set(before.thresholds) == set(tiny_scorer.class_names)
    assert before.overall.count == 0

    database.set_threshold(batch.model, "screw", ThresholdChoice("f1"))
    missing = feedback(database, tiny_scorer, batch)
    assert missing.thresholds["screw"] == calibrated
    assert "Review more" in missing.problems["screw"]
    for item_id, verdict in zip(ids, ["good", "good", "good", "defective"], strict=True):
        database.decide(item_id, verdict, "anna")
    after = feedback(database, tiny_scorer, batch)
    assert after.thresholds["screw"] == 7.0
    assert (after.overall.precision, after.overall.recall, after.problems) == (1.0, 1.0, {})
    assert after.by_class == {"screw": Confusion(1, 0, 0, 3)}
    assert verdicts(database.items_summary(batch.id), after.thresholds) == {
        ids[0]: False, ids[1]: False, ids[2]: False, ids[3]: True,
    }
    database.decide(ids[2], "defective", "bob")
    assert feedback(database, tiny_scorer, batch).thresholds["screw"] == 4.0
    database.undo(batch.id, "bob")
    assert feedback(database, tiny_scorer, batch).thresholds["screw"] == 7.0
    # Looking at another choice changes nothing that is stored.
    look = feedback(database, tiny_scorer, batch, {"": ThresholdChoice("score", 1.5)})
    assert look.overall == Confusion(1, 0, 2, 1)
    assert feedback(database, tiny_scorer, batch).thresholds["screw"] == 7.0

    # Scores under another lambda mean something else, so its decisions do not count there.
    other, _ = _scored_batch(database, {**settings, "lam": used.lam + 1}, batch.model, [3.0])
    assert feedback(database, tiny_scorer, other).overall.count == 0
    same, _ = _scored_batch(database, settings, batch.model, [3.0])
    assert feedback(database, tiny_scorer, same).overall.count == 4
