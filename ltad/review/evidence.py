"""One item looked at again for an export: its image, its maps, and the regions that count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from PIL import Image

from ltad.inference.scorer import FALSE_ALARM_RATE, Scorer
from ltad.io.masks import decode_mask
from ltad.review.database import Database
from ltad.review.images import ImageStore
from ltad.review.records import Batch, DeskError, Item, current_threshold, is_above
from ltad.review.regions import (
    MINIMUM_AREA,
    ImageRegion,
    apply_ignore,
    corrected_regions,
    move_threshold,
    regions_of_mask,
)
from ltad.types import Detection

SUBSETS = ("all", "defective", "reviewed")
Thresholds = Mapping[str, float]
"""The threshold that counts now, by class name; where a class is missing, the item's own counts."""


@dataclass(frozen=True)
class Evidence:
    """What an export shows of one item.

    Attributes:
        image: upright RGB, or None where it was not needed.
        detection: with the class's ignored places left out, or None without a model.
        regions: those that count, see `gather`.
        source: whose regions they are, "person" or "model"; "" where there are none.
    """

    image: Image.Image | None
    detection: Detection | None
    regions: tuple[ImageRegion, ...]
    source: str


def gather(
    item: Item,
    batch: Batch,
    database: Database,
    images: ImageStore,
    scorer: Scorer | None,
    thresholds: Thresholds | None = None,
) -> Evidence:
    """The image, the maps and the regions of a scored item.

    The regions are those of the person's corrected mask if there is one, else the model's. A part
    that was called good has none, nor has one on which nobody decided and the model is silent.

    Args:
        item, batch: as the database gives them.
        database, images: where masks, ignored places and images are kept.
        scorer: the batch's model; None leaves the maps and the model's regions out.
        thresholds: that decide whether the model is silent, and where its regions end
            (`move_threshold`).

    Raises:
        ImageError, DeskError: the image or the mask is gone or damaged.
    """
    size = (item.width, item.height)
    mask = decode_mask(
        database.blob(item.mask_key), f"The mask of {item.file_name}", size
    ) if item.mask_key else None
    image = detection = None
    if scorer is not None:
        image = images.image(item.content_key)
        detection = detect(image, item.class_name, batch, database, scorer)
        threshold = current_threshold(item, thresholds)
        if threshold is not None:
            detection = move_threshold(detection, threshold)
    if not is_suspicious(item, thresholds):
        regions = ()
    elif detection is not None:
        minimum_area = _setting(batch, "minimum_area", MINIMUM_AREA)
        regions = corrected_regions(detection, mask, minimum_area, size)
    else:
        regions = () if mask is None else regions_of_mask(mask)
    source = "" if not regions else "person" if mask is not None else "model"
    return Evidence(image, detection, regions, source)


def detect(
    image: Image.Image, class_name: str, batch: Batch, database: Database, scorer: Scorer
) -> Detection:
    """Score an image of a batch under its settings, without the places its class ignores."""
    names = ("normal_prompt", "abnormal_prompt", "lam", "tau")
    detection = scorer.score(
        image, class_name or None, **{name: batch.settings.get(name) for name in names},
        false_alarm_rate=_setting(batch, "false_alarm_rate", FALSE_ALARM_RATE),
    )
    ignore = database.ignore_region(detection.class_name)
    if ignore is None:
        return detection
    mask = decode_mask(ignore, f"The ignored region of {detection.class_name}")
    return apply_ignore(detection, mask, scorer.config.model.score_pool)


def _setting(batch: Batch, name: str, default: float) -> float:
    value = batch.settings.get(name)
    return default if value is None else value



def model_verdict(item: Item, thresholds: Thresholds | None = None) -> str:
    """ "anomalous" or "normal" by the item's stored score; "not judged" where it looks like none of
    the model's classes, "" before it is scored."""
    if item.score is None:
        return ""
    if not item.is_judged:
        return "not judged"
    return "anomalous" if is_above(item, thresholds) else "normal"


def is_suspicious(item: Item, thresholds: Thresholds | None = None) -> bool:
    """Whether the item is worth a look: a person did not call it good, and where nobody decided,
    its score is above the threshold, be the model sure of the class or not."""
    if item.verdict:
        return item.verdict != "good"
    return is_above(item, thresholds)


def subset(
    items: list[Item], name: str = "all", thresholds: Thresholds | None = None
) -> list[Item]:
    """The items of a part of the batch, in their order.

    Args:
        items: of one batch.
        name: "all"; "defective": called so by a person, or where nobody decided, above the
            threshold; "reviewed": those on which a person decided.
        thresholds: for the model's word.

    Raises:
        DeskError: there is no such part.
    """
    if name not in SUBSETS:
        raise DeskError(f"There is no part {name!r} of a batch, only {', '.join(SUBSETS)}.")
    keep = {
        "all": lambda item: True,
        "defective": lambda item: item.verdict != "unsure" and is_suspicious(item, thresholds),
        "reviewed": lambda item: bool(item.verdict),
    }[name]
    return [item for item in items if keep(item)]
