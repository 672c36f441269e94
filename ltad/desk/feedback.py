"""What decisions change at once: thresholds, never the model.

A picture enters a model's training only through `Database.set_for_training`, by a person, and only
while it is called good.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ltad.desk.database import Database
from ltad.desk.pictures import PictureStore
from ltad.desk.records import Batch, DeskError, Reviewed, ThresholdChoice
from ltad.desk.thresholds import Quality, class_threshold, quality

_COMPARABLE = ("normal_prompt", "abnormal_prompt", "lam", "tau")


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
    overall: Quality
    by_class: dict[str, Quality]


def feedback(
    database: Database, scorer: Any, batch: Batch,
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


def calibration_limit(scorer: Any, batch: Batch) -> Callable[[str, float], float]:
    """(class name, false-alarm rate) -> the model's threshold under the batch's settings."""
    settings = scorer.score_settings(*(batch.settings.get(name) for name in _COMPARABLE))

    @cache
    def limit(class_name: str, rate: float) -> float:
        return scorer.calibration.limits(class_name, settings, rate).thresholds["combined"]

    return limit


def training_pictures(
    database: Database, pictures: PictureStore, class_name: str | None = None
) -> list[Path]:
    """Files of the good pictures that people chose for training, each content once."""
    return [pictures.path(item.content_key) for item in database.for_training(class_name)]
