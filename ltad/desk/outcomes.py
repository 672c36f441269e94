"""What a batch keeps of its pictures: the model's result on each, or why there is none."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ltad.desk.database import Database
from ltad.desk.masks import decode_mask
from ltad.desk.pictures import PictureStore
from ltad.desk.records import DeskError, ItemResult
from ltad.desk.regions import MINIMUM_AREA, apply_ignore, check_minimum_area, find_regions
from ltad.images import read_image
from ltad.types import Detection, LTADError

_SCORE_SETTINGS = (
    "class_name", "normal_prompt", "abnormal_prompt", "lam", "tau", "false_alarm_rate",
)
_log = logging.getLogger(__name__)
Outcomes = dict[int, ItemResult | str]


def checked_settings(scorer: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Every setting of a batch, with the model's own values for what is missing.

    Raises:
        LTADError: a value is out of its range, or an unknown setting or class.
    """
    known = (*_SCORE_SETTINGS, "minimum_area")
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise DeskError(f"There is no setting {unknown[0]!r}, only {', '.join(known)}.")
    given = {name: value for name, value in settings.items() if value is not None}
    used = scorer.score_settings(
        *(given.get(name) for name in ("normal_prompt", "abnormal_prompt", "lam", "tau"))
    )
    class_name = given.get("class_name") or None
    rate = float(given.get("false_alarm_rate", 0.05))
    if not 0 < rate < 1:
        raise DeskError(f"The false-alarm rate is {rate}, but it must be between 0 and 1.")
    if class_name is not None:
        scorer.detector.index(class_name)
    return {
        "class_name": class_name, "normal_prompt": used.normal_prompt,
        "abnormal_prompt": used.abnormal_prompt, "lam": used.lam, "tau": used.tau,
        "false_alarm_rate": rate,
        "minimum_area": check_minimum_area(float(given.get("minimum_area", MINIMUM_AREA))),
    }


def score_items(
    database: Database, pictures: PictureStore, scorer: Any, settings: Mapping[str, Any],
    items: Sequence[tuple[int, str, str]],
) -> Outcomes:
    """Results of some items, or the reason why one has none.

    Args:
        items: (id, file name, content key), as `Database.waiting` gives them.
        settings: of the batch.
    """
    outcomes: Outcomes = {}
    prepared, sizes = {}, {}
    for item_id, name, key in items:
        try:
            image = read_image(pictures.bytes(key), name)
            prepared[item_id], sizes[item_id] = scorer.prepare(image), image.size
        except Exception as error:  # one broken picture must not stop the others
            outcomes[item_id] = reason_of(error)
    detections = _detect(scorer, prepared, settings)
    masks = _IgnoreRegions(database)
    for item_id, detection in detections.items():
        try:
            if isinstance(detection, Exception):
                raise detection
            outcomes[item_id] = item_result(
                detection, sizes[item_id], settings.get("minimum_area") or 0.0,
                masks.of(detection.class_name), scorer.config.model.score_pool,
            )
        except Exception as error:
            outcomes[item_id] = reason_of(error)
    return outcomes


def item_result(
    detection: Detection, size: tuple[int, int], minimum_area: float,
    ignore: np.ndarray | None, pool: int,
) -> ItemResult:
    """What is kept of a Detection on a picture of `size` (width, height); see `apply_ignore`."""
    if ignore is not None:
        detection = apply_ignore(detection, ignore, pool)
    found = find_regions(detection.anomaly_map, detection.pixel_threshold, minimum_area, size)
    return ItemResult(
        *size, detection.class_name,
        detection.class_probabilities.get(detection.class_name, 0.0), detection.is_recognised,
        detection.score, detection.reconstruction_score, detection.semantic_score,
        detection.threshold, tuple(region.record() for region in found),
    )


def _detect(
    scorer: Any, prepared: Mapping[int, Any], settings: Mapping[str, Any]
) -> dict[int, Detection | Exception]:
    """All at once; one by one only when that fails, to find out which it is."""
    if not prepared:
        return {}
    given = {name: settings[name] for name in _SCORE_SETTINGS if settings.get(name) is not None}
    try:
        found = scorer.score_batch(list(prepared.values()), **given)
        return dict(zip(prepared, found, strict=True))
    except Exception as error:
        if len(prepared) == 1:
            return dict.fromkeys(prepared, error)
        return {
            item_id: detection
            for item_id, picture in prepared.items()
            for detection in _detect(scorer, {item_id: picture}, settings).values()
        }


class _IgnoreRegions:
    """The ignore masks that one chunk needs, each read once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._masks: dict[str, np.ndarray | None] = {}

    def of(self, class_name: str) -> np.ndarray | None:
        if class_name not in self._masks:
            png = self._database.ignore_region(class_name)
            self._masks[class_name] = decode_mask(png, "The ignore region") if png else None
        return self._masks[class_name]


def reason_of(error: Exception) -> str:
    """Why a picture has no result, for its row."""
    if isinstance(error, LTADError):
        return str(error)
    _log.warning("A picture could not be scored", exc_info=error)
    return f"It could not be scored ({type(error).__name__}: {error}). Score it again."
