"""What follows from people's decisions: thresholds, their figures and what is worth a look."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from ltad.evaluation.metrics import Confusion, best_f1_threshold, threshold_under
from ltad.inference.scorer import Scorer
from ltad.review.database import Database
from ltad.review.images import ImageStore
from ltad.review.records import (
    Batch,
    DeskError,
    Item,
    ItemSummary,
    Reviewed,
    ThresholdChoice,
    is_above,
)

SAMPLE_SIZE = 30
CONFIDENCE = 0.95
_COMPARABLE = ("normal_prompt", "abnormal_prompt", "lam", "tau")


def quality(reviewed: Iterable[Reviewed], thresholds: Mapping[str, float]) -> Confusion:
    """Alarms at given thresholds by class name against people's verdicts, "unsure" left out."""
    counts = np.zeros((2, 2), dtype=int)
    for item in reviewed:
        counts[int(item.is_defective), int(item.score > thresholds[item.class_name])] += 1
    return Confusion(*map(int, (counts[1, 1], counts[1, 0], counts[0, 1], counts[0, 0])))


def reviewed_f1_threshold(decided: Sequence[tuple[float, bool]]) -> float:
    """The threshold of the highest F1 on (score, is defective) pairs.

    Raises:
        DeskError: there is not at least one pair of each kind.
    """
    scores, is_defective = _scores(decided)
    if not 0 < is_defective.sum() < len(scores):
        raise DeskError(
            "The best F1 needs at least one part reviewed as good and one as defective. "
            "Review more, or choose another way."
        )
    return best_f1_threshold(is_defective, scores)


def miss_rate_threshold(decided: Sequence[tuple[float, bool]], miss_rate: float) -> float:
    """The highest threshold that misses at most the share `miss_rate` of the defective pairs.

    Args:
        decided: (score, is defective) pairs.
        miss_rate: in [0, 1).

    Raises:
        DeskError: no pair is defective.
    """
    scores, is_defective = _scores(decided)
    defective = np.sort(scores[is_defective])
    if not len(defective):
        raise DeskError(
            "A miss rate needs at least one part reviewed as defective. Review more, or choose "
            "another way."
        )
    # 0.29 * 100 is a little less than 29 in floating point.
    first_caught = defective[int(miss_rate * len(defective) + 1e-9)]
    values = np.unique(scores)
    return threshold_under(values, int(np.searchsorted(values, first_caught)))


def current_threshold(
    choice: ThresholdChoice, calibration_limit: Callable[[float], float],
    decided: Sequence[tuple[float, bool]],
) -> float:
    """The threshold that a choice means now.

    Args:
        choice: see `ThresholdChoice`.
        calibration_limit: false-alarm rate -> the model's calibrated threshold.
        decided: (score, is defective) of the reviewed items that count.

    Raises:
        DeskError: there are too few decisions for the choice.
    """
    if choice.mode == "rate":
        return calibration_limit(choice.value)
    if choice.mode == "score":
        return choice.value
    if choice.mode == "f1":
        return reviewed_f1_threshold(decided)
    return miss_rate_threshold(decided, choice.value)


def class_threshold(
    class_name: str, choices: Mapping[str, ThresholdChoice], default: ThresholdChoice,
    calibration_limit: Callable[[str, float], float], reviewed: Sequence[Reviewed],
) -> float:
    """The threshold of one class: by its own choice, else by the one for all, else by `default`.

    The scores of different classes have different ranges. So where decisions on all classes count
    together (the choice for all, mode "f1" or "miss"), each score is taken relative to its class's
    calibrated limit, and the result is one shift for all of them.

    Args:
        class_name: the class.
        choices: by class name; "" is the choice for all.
        default: of mode "rate".
        calibration_limit: (class name, false-alarm rate) -> calibrated threshold.
        reviewed: decisions of all classes.

    Raises:
        DeskError: there are too few decisions for the choice.
    """
    def limit(rate: float) -> float:
        return calibration_limit(class_name, rate)

    if class_name in choices or "" not in choices:
        own = [(r.score, bool(r.is_defective)) for r in reviewed if r.class_name == class_name]
        return current_threshold(choices.get(class_name, default), limit, own)
    choice = choices[""]
    if choice.mode in ("rate", "score"):
        return current_threshold(choice, limit, ())
    margins = [
        (r.score - calibration_limit(r.class_name, default.value), bool(r.is_defective))
        for r in reviewed
    ]
    base = limit(default.value)
    shift = current_threshold(choice, limit, margins)
    # Sums round; a reviewed score must still lie on the side on which the choice put it.
    alarms = [
        r.score for r in reviewed if r.class_name == class_name and r.score - base > shift
    ]
    return min([base + shift, *(float(np.nextafter(score, -np.inf)) for score in alarms)])


def verdicts(
    items: Iterable[Item | ItemSummary], thresholds: Mapping[str, float]
) -> dict[int, bool]:
    """Item id -> whether it raises an alarm now, of the scored ones among `items`.

    Args:
        thresholds: by class name.
    """
    return {item.id: is_above(item, thresholds) for item in items if item.status == "scored"}


def _scores(decided: Sequence[tuple[float, bool]]) -> tuple[np.ndarray, np.ndarray]:
    return (np.array([score for score, _ in decided], np.float64),
            np.array([defective for _, defective in decided], bool))


@dataclass(frozen=True)
class SampleEstimate:
    """What the random sample of a batch says of its threshold.

    Attributes:
        size, reviewed: items in the sample, and how many of them somebody decided on.
        defective, missed: of the reviewed ones those called defective, and those of them without
            an alarm.
        recall: share of the defective that raise an alarm; None until the whole sample is reviewed
            and holds a defective item.
        low, high: the 95% interval of `recall` (Clopper and Pearson), or None.
    """

    size: int
    reviewed: int
    defective: int
    missed: int
    recall: float | None = None
    low: float | None = None
    high: float | None = None


def random_sample(batch_id: int, rows: Iterable[ItemSummary]) -> frozenset[int]:
    """Ids of at most `SAMPLE_SIZE` scored items, whatever their scores and decisions are."""
    def order(item_id: int) -> str:
        return hashlib.sha256(f"{batch_id}:{item_id}".encode()).hexdigest()

    ids = sorted((row.id for row in rows if row.status == "scored"), key=order)
    return frozenset(ids[:SAMPLE_SIZE])


def estimate_from_sample(
    batch_id: int, rows: Sequence[ItemSummary], thresholds: Mapping[str, float],
    class_name: str = "",
) -> SampleEstimate:
    """The estimate at given thresholds by class name, of one class or of all ("").

    Args:
        rows: all of one batch.
    """
    from scipy.stats import binomtest  # slow to import, and seldom needed

    chosen = random_sample(batch_id, rows)
    sample = [row for row in rows if row.id in chosen and class_name in ("", row.class_name)]
    reviewed = [row for row in sample if row.verdict]
    defective = [row for row in reviewed if row.verdict == "defective"]
    missed = sum(not is_above(row, thresholds) for row in defective)
    counts = (len(sample), len(reviewed), len(defective), missed)
    if len(reviewed) < len(sample) or not defective:
        return SampleEstimate(*counts)
    found = len(defective) - missed
    interval = binomtest(found, len(defective)).proportion_ci(CONFIDENCE, method="exact")
    return SampleEstimate(
        *counts, found / len(defective), float(interval.low), float(interval.high)
    )


@dataclass(frozen=True)
class Feedback:
    """The thresholds that count for a batch now, and how they do on the reviewed items.

    Attributes:
        thresholds: by class name, for every class of the model.
        problems: class name -> why its choice could not be applied; its threshold is then the
            calibrated one.
        overall: on all reviewed items.
        by_class: on those of each class that has any.
    """

    thresholds: dict[str, float]
    problems: dict[str, str]
    overall: Confusion
    by_class: dict[str, Confusion]


def feedback(
    database: Database, scorer: Scorer, batch: Batch,
    choices: dict[str, ThresholdChoice] | None = None,
) -> Feedback:
    """Thresholds from the choices and decisions there are now.

    Decisions count from every batch that the same model scored with the same prompts, lambda and
    tau, because only then are scores comparable.

    Args:
        database, batch: what was decided, and for which batch.
        scorer: the batch's model.
        choices: in place of the stored ones, for looking before choosing.
    """
    choices = database.threshold_choices(batch.model) if choices is None else choices
    reviewed = comparable_reviews(database, batch)
    limit = calibration_limit(scorer, batch)
    default = ThresholdChoice("rate", float(batch.settings.get("false_alarm_rate") or 0.05))
    names = dict.fromkeys([*scorer.class_names, *(r.class_name for r in reviewed)])
    thresholds, problems = {}, {}
    for name in names:
        try:
            thresholds[name] = class_threshold(name, choices, default, limit, reviewed)
        except DeskError as error:
            thresholds[name] = limit(name, default.value)
            problems[name] = str(error)
    return Feedback(
        thresholds, problems, quality(reviewed, thresholds),
        {
            name: quality([r for r in reviewed if r.class_name == name], thresholds)
            for name in dict.fromkeys(r.class_name for r in reviewed)
        },
    )


def thresholds_without_model(
    database: Database, batch: Batch, reason: str
) -> dict[str, float]:
    """What people chose, where it needs no model: scores, and choices by the decisions of a class.

    A class without any choice is left out: the threshold that it was scored with counts.

    Args:
        reason: why there is no model, for the message.

    Raises:
        DeskError: a choice needs the model's calibration, or more decisions.
    """
    choices = database.threshold_choices(batch.model)
    reviewed = comparable_reviews(database, batch)
    names = {item.class_name for item in database.items_summary(batch.id) if item.score is not None}

    def no_limit(class_name: str, rate: float) -> float:
        raise DeskError(
            f"The threshold that people chose for {class_name} follows from the model "
            f"{batch.model}, which cannot be loaded ({reason}). Put the model back, or choose a "
            "score as the threshold."
        )

    default = ThresholdChoice("rate", float(batch.settings.get("false_alarm_rate") or 0.05))
    return {
        name: class_threshold(name, choices, default, no_limit, reviewed)
        for name in sorted(names) if name in choices or "" in choices
    }


def comparable_reviews(database: Database, batch: Batch) -> list[Reviewed]:
    """Good and defective items of all batches whose scores mean the same as this batch's."""
    return database.reviewed([
        other.id for other in database.batches()
        if other.model == batch.model
        and all(other.settings.get(n) == batch.settings.get(n) for n in _COMPARABLE)
    ])


def calibration_limit(scorer: Scorer, batch: Batch) -> Callable[[str, float], float]:
    """(class name, false-alarm rate) -> the model's threshold under the batch's settings."""
    settings = scorer.score_settings(*(batch.settings.get(name) for name in _COMPARABLE))

    @cache
    def limit(class_name: str, rate: float) -> float:
        return scorer.calibration.limits(class_name, settings, rate).thresholds["combined"]

    return limit


def training_images(
    database: Database, images: ImageStore, class_name: str | None = None
) -> list[Path]:
    """Files of the good images that people chose for training, each content once."""
    return [images.path(item.content_key) for item in database.for_training(class_name)]
