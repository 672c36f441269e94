"""Endpoints that change what counts: thresholds, and the areas that a class ignores."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ltad.app.html import readable
from ltad.app.review_desk import Desk, number, png_url, read_painting
from ltad.io.masks import decode_mask, encode_mask
from ltad.review.records import Batch, DeskError, ThresholdChoice, check_choice, is_above
from ltad.review.thresholds import Feedback, estimate_from_sample, feedback

READ_ONLY, RESET = "", "reset"


class SettingEndpoints:
    """Every method is an endpoint of the API."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def threshold(
        self, batch_id: int, class_name: str = "", mode: str = READ_ONLY, value: float = 0.0,
        is_applied: bool = False, person: str = "",
    ) -> dict[str, Any]:
        """Look at, try out or choose the threshold of a class, or of all classes.

        Args:
            batch_id: a batch; the choice holds for all batches of its model.
            class_name: "" is all classes that have no choice of their own.
            mode: "" only reads; "rate", "score", "f1" and "miss" as in
                `ltad.review.records.ThresholdChoice`; "reset" forgets the choice.
            value: of the mode.
            is_applied: False only tries it out.
            person: who chooses.

        Returns:
            mode and value that hold, `threshold` (None where it differs between classes),
            precision, recall, F1 and counts on the reviewed items, and how many of the batch's
            items are `anomalous` by it, and by what is in force, `anomalous_now`. Precision, recall
            and F1 know the reviewed items only, most of which lie above a threshold: `below` and
            `below_reviewed` count those that do not, and `sample` is what the batch's random
            sample says (`ltad.review.thresholds.SampleEstimate`).
        """
        database = self._desk.database
        batch = database.batch(number(batch_id, "batch"))
        in_force = database.threshold_choices(batch.model)
        choices = dict(in_force)
        if mode == RESET:
            choices.pop(class_name, None)
        elif mode != READ_ONLY:
            choices[class_name] = check_choice(ThresholdChoice(mode, _float(value)))
        scorer = self._desk.registry.scorer(batch.model)
        found = feedback(database, scorer, batch, choices)
        if mode not in (READ_ONLY, RESET) and _problem(found, class_name):
            raise DeskError(_problem(found, class_name))
        if is_applied and mode != READ_ONLY:
            database.set_threshold(batch.model, class_name, choices.get(class_name), person)
        now = feedback(database, scorer, batch, in_force).thresholds
        return self._threshold_record(batch, class_name, choices, found, now)

    def threshold_history(self, batch_id: int, class_name: str = "") -> list[Any]:
        """Every choice of a threshold for a class of the batch's model, newest first.

        Returns:
            mode ("reset" where the choice was taken back), value, person, created of each. The
            first one holds; to go back to another, choose it again with `threshold`.
        """
        database = self._desk.database
        batch = database.batch(number(batch_id, "batch"))
        return [
            {
                "id": one.id, "mode": one.choice.mode if one.choice else RESET,
                "value": one.choice.value if one.choice else 0.0,
                "person": one.person, "created": one.created,
            }
            for one in reversed(database.threshold_history(batch.model, class_name))
        ]

    def ignore(self, class_name: str, setting_id: int = 0) -> dict[str, Any]:
        """What a class ignores: `mask`, a PNG as a data URL, white where ignored, or None.

        Args:
            class_name: the class.
            setting_id: an earlier area, as `ignore_history` lists them; 0 is the one that counts.
        """
        database, setting_id = self._desk.database, number(setting_id, "setting")
        return {"mask": png_url(
            self._earlier_mask(class_name, setting_id) if setting_id
            else database.ignore_region(class_name)
        )}

    def ignore_history(self, class_name: str) -> list[Any]:
        """Every area that a class was ever told to ignore, newest first; the first one counts.

        Returns:
            id, person, created of each, and `share` of the image that it ignores.
        """
        database = self._desk.database
        return [
            {
                "id": one.id, "person": one.person, "created": one.created,
                "share": float(decode_mask(database.blob(one.mask_key)).mean())
                if one.mask_key else 0.0,
            }
            for one in reversed(database.ignore_history(class_name))
        ]

    def save_ignore(self, batch_id: int, class_name: str, mask: str, person: str) -> dict[str, Any]:
        """Ignore the white pixels of a painting on every image of a class, from now on.

        The class's images in all batches of the same model are scored again in the background,
        those of `batch_id` first. A black painting ignores nothing again.

        Returns:
            `items`: how many images are scored again.
        """
        painted = read_painting(mask)
        return self._set_ignore(
            batch_id, class_name, encode_mask(painted) if painted.any() else None, person
        )

    def restore_ignore(
        self, batch_id: int, class_name: str, setting_id: int, person: str
    ) -> dict[str, Any]:
        """Ignore again what an entry of `ignore_history` says; 0 ignores nothing.

        Returns:
            `items`: how many images are scored again.
        """
        setting_id = number(setting_id, "setting")
        png = self._earlier_mask(class_name, setting_id) if setting_id else None
        return self._set_ignore(batch_id, class_name, png, person)

    def _earlier_mask(self, class_name: str, setting_id: int) -> bytes | None:
        database = self._desk.database
        for one in database.ignore_history(class_name):
            if one.id == setting_id:
                return database.blob(one.mask_key) if one.mask_key else None
        raise DeskError(
            f"The class {class_name[:80]!r} has no ignored area {setting_id}. Reload the page."
        )

    def _set_ignore(
        self, batch_id: int, class_name: str, png: bytes | None, person: str
    ) -> dict[str, Any]:
        desk = self._desk
        batch = desk.database.batch(number(batch_id, "batch"))
        if class_name not in desk.registry.scorer(batch.model).class_names:
            raise DeskError(f"The model {batch.model} has no class {class_name[:80]!r}.")
        desk.database.set_ignore_region(class_name, png, person)
        others = [
            one.id for one in desk.database.batches()
            if one.model == batch.model and one.id != batch.id and one.state != "cancelled"
        ]
        return {"items": sum(desk.runner.rescore(i, class_name) for i in (batch.id, *others))}

    def _threshold_record(
        self, batch: Batch, class_name: str, choices: dict[str, ThresholdChoice], found: Feedback,
        now: dict[str, float],
    ) -> dict[str, Any]:
        everything = self._desk.database.items_summary(batch.id)
        rows = [
            row for row in everything
            if row.status == "scored" and class_name in ("", row.class_name)
        ]
        distinct = {found.thresholds[row.class_name] for row in rows}
        if class_name:
            distinct = {found.thresholds.get(class_name)}
        default = ThresholdChoice("rate", batch.settings.get("false_alarm_rate") or 0.05)
        choice = choices.get(class_name) or choices.get("") or default
        quality = found.by_class.get(class_name) if class_name else found.overall
        names = ("precision", "recall", "f1", "true_positives", "false_negatives",
                 "false_positives", "true_negatives", "count")
        return {
            "mode": choice.mode, "value": choice.value,
            "threshold": distinct.pop() if len(distinct) == 1 else None,
            "thresholds": found.thresholds,
            **{name: getattr(quality, name, None if name in names[:3] else 0) for name in names},
            "anomalous": sum(is_above(row, found.thresholds) for row in rows),
            "below": sum(not is_above(row, found.thresholds) for row in rows),
            "below_reviewed": sum(
                bool(row.verdict) and not is_above(row, found.thresholds) for row in rows
            ),
            "sample": asdict(
                estimate_from_sample(batch.id, everything, found.thresholds, class_name)
            ),
            "anomalous_now": sum(is_above(row, now) for row in rows),
            "total": len(rows),
            "source": _source_text(class_name, choices, found, quality.count if quality else 0),
        }


def _float(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise DeskError(f"The value is {str(value)[:40]!r}, but it must be a number.") from None


def _problem(found: Feedback, class_name: str) -> str:
    """Why a choice cannot be followed; a choice for all may still fit some classes."""
    if class_name:
        return found.problems.get(class_name, "")
    is_hopeless = len(found.problems) == len(found.thresholds)
    return next(iter(found.problems.values())) if is_hopeless else ""


def _source_text(
    class_name: str, choices: dict[str, ThresholdChoice], found: Feedback, count: int
) -> str:
    if class_name and class_name not in choices:
        origin = f"{readable(class_name).capitalize()} follows " + (
            "the choice for all classes." if "" in choices else "the model's own limit."
        )
    elif class_name or "" in choices:
        origin = "Chosen by people; it holds for every batch of this model."
    else:
        origin = "The model's own limits, calibrated on good images."
    if class_name in found.problems:
        origin += f" {found.problems[class_name]}"
    return f"{origin} The figures count {count} reviewed images of all comparable batches."
