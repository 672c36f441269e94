"""Endpoints of the desk: a batch's state, an item's evidence, a decision."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ltad.app import html
from ltad.inference.registry import ModelRegistry
from ltad.io.heatmap import data_url, heat_png, photo_jpeg
from ltad.io.masks import decode_mask, encode_mask, resize_mask
from ltad.review.database import Database
from ltad.review.evidence import detect
from ltad.review.images import ImageStore
from ltad.review.records import (
    Batch,
    ConflictError,
    Decision,
    DeskError,
    Item,
    current_threshold,
)
from ltad.review.regions import ImageRegion, find_regions, move_threshold
from ltad.review.thresholds import feedback, thresholds_without_model
from ltad.review.worker import BatchRunner
from ltad.types import LTADError
from ltad.workspace import Workspace

THUMBNAIL_SIDE = 96
OUTLINE_SIDE = 1600
"""Regions of larger images are outlined at this size; nobody sees the difference on a screen."""
MOST_REGIONS = 100
MOST_THUMBNAILS = 100
KEEP, REMOVE = "", "none"
"""What a decision does to the item's mask, unless it brings a new one."""


class ItemEndpoints:
    """Every method is an endpoint of the API."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def thumbnails(self, item_ids: list[Any]) -> dict[str, Any]:
        """Small images as data URLs, by the content keys of the items; unreadable ones lack."""
        # A caller of the API may send anything.
        is_list = isinstance(item_ids, list)  # pyright: ignore[reportUnnecessaryIsInstance]
        if not is_list or len(item_ids) > MOST_THUMBNAILS:
            raise DeskError(f"Ask for a list of at most {MOST_THUMBNAILS} thumbnails at a time.")
        items = [self._desk.database.item(number(one, "item")) for one in item_ids]
        found = {}
        for key in dict.fromkeys(item.content_key for item in items if item.content_key):
            try:
                found[key] = _jpeg_url(self._desk.images, key, THUMBNAIL_SIDE)
            except LTADError:  # its row says why
                continue
        return found

    def item(self, item_id: int, side: int = 1600) -> dict[str, Any]:
        """All about one item: its image (a data URL, `side` pixels at most), decision, history.

        `mask` is the person's mask as a data URL, or None.
        """
        desk = self._desk
        item = desk.database.item(number(item_id, "item"))
        record = {
            name: getattr(item, name) for name in (
                "id", "batch_id", "file_name", "status", "reason", "width", "height",
                "class_name", "class_probability", "is_recognised", "is_judged", "score",
                "reconstruction_score", "semantic_score", "duplicate_of",
            )
        }
        image = self._image_url(item, number(side, "side"))
        if image and not item.width:  # not scored yet
            record["width"], record["height"] = desk.images.image(item.content_key).size
        chosen = desk.database.for_training(item.class_name)
        return record | {
            "picture": image, "mask": self.mask(item_id),
            "decision": decision_record(item.decision), "history": self.history(item_id),
            "for_training": any(other.id == item.id for other in chosen),
        }

    def picture(self, item_id: int, side: int = 0) -> str | None:
        """The image as a data URL, `side` pixels at most; 0 is its full size."""
        item = self._desk.database.item(number(item_id, "item"))
        return self._image_url(item, number(side, "side"))

    def map(self, item_id: int) -> dict[str, Any]:
        """The anomaly map drawn as a data URL, and the regions that rise out of it.

        Regions have their box, area, score and contours (even-odd polygons) in image pixels.
        They are where the map is above `limit`: the model's own limit (`own_limit`,
        see `ltad.inference.scoring.region_limit`), moved with the threshold that people chose.
        """
        desk = self._desk
        item = desk.database.item(number(item_id, "item"))
        if item.status != "scored":
            raise DeskError(f"{item.file_name} is {item.status}, so it has no map.")
        batch = desk.database.batch(item.batch_id)
        image = desk.images.image(item.content_key)
        scorer = desk.registry.scorer(batch.model)
        own = detect(image, item.class_name, batch, desk.database, scorer)
        threshold = current_threshold(item, desk.thresholds(batch))
        detection = own if threshold is None else move_threshold(own, threshold)
        shrink = min(1.0, OUTLINE_SIDE / max(image.size))
        width, height = (max(1, round(side * shrink)) for side in image.size)
        size = width, height
        found = find_regions(detection.anomaly_map, detection.pixel_threshold, 0, size)
        scale = (image.width / size[0], image.height / size[1])
        return {
            "heat": png_url(heat_png(detection.anomaly_map, *detection.map_scale["combined"])),
            "regions": [_region_record(region, scale) for region in found[:MOST_REGIONS]],
            "limit": detection.pixel_threshold, "own_limit": own.pixel_threshold,
            "explanation": own.explanation
            if item.threshold is None or item.threshold == threshold
            else "People chose the threshold; the model's own would be "
                 f"{html.number(item.threshold)}.",
        }

    def decide(
        self, item_id: int, verdict: str, person: str, defect_type: str | None = None,
        note: str | None = None, mask: str = KEEP, expected_revision: int | None = None,
    ) -> dict[str, Any]:
        """Decide on an item. The decision is on disk when the answer comes.

        Args:
            item_id: the item.
            verdict: "good", "defective", "unsure", or "" to take it back.
            person: who decides.
            defect_type, note: None keeps what is there.
            mask: a PNG as a data URL, white where the defect is; "" keeps the mask there is (a
                good part has none), "none" removes it.
            expected_revision: the revision that the person saw (0: undecided), or None.

        Returns:
            `decision`; or, when somebody else decided meanwhile, `conflict` with theirs and the
            `message`. The same decision sent again counts as decided.
        """
        desk = self._desk
        item = desk.database.item(number(item_id, "item"))
        batch = desk.database.batch(item.batch_id)
        before = item.decision
        threshold = current_threshold(item, desk.shown_thresholds(batch)[0])
        wanted = {
            "verdict": verdict, "person": person,
            "defect_type": _given_or_before(defect_type, before, "defect_type"),
            "note": _given_or_before(note, before, "note"),
            "mask_key": self._mask_key(item, verdict, mask),
        }
        try:
            made = desk.database.decide(
                item.id, **wanted, expected_revision=expected_revision, model=batch.model,
                score=item.score, threshold=threshold,
            )
        except ConflictError as error:
            if error.current is None:
                raise
            if _is_same(error.current, wanted):
                return {"decision": decision_record(error.current)}
            return {"conflict": decision_record(error.current), "message": str(error)}
        return {"decision": decision_record(made)}

    def undo(self, batch_id: int, person: str) -> dict[str, Any]:
        """Take back the person's latest decision in a batch; None when there is none."""
        made = self._desk.database.undo(number(batch_id, "batch"), person)
        return {"decision": decision_record(made)}

    def history(self, item_id: int) -> list[Any]:
        """Every decision on an item, oldest first."""
        found = self._desk.database.history(number(item_id, "item"))
        return [decision_record(decision) for decision in found]

    def mask(self, item_id: int) -> str | None:
        """The person's mask as a data URL of a PNG of the image's size, or None."""
        item = self._desk.database.item(number(item_id, "item"))
        key = item.mask_key
        return png_url(self._desk.database.blob(key)) if key else None

    def training(self, item_id: int, is_chosen: bool, person: str) -> dict[str, Any]:
        """Choose an item that was accepted as good for training, or take it out again."""
        self._desk.database.set_for_training(number(item_id, "item"), bool(is_chosen), person)
        return {"for_training": bool(is_chosen)}

    def _image_url(self, item: Item, side: int) -> str | None:
        try:
            return item.content_key and _jpeg_url(self._desk.images, item.content_key, side)
        except LTADError:  # the item's reason says why
            return None

    def _mask_key(self, item: Item, verdict: str, mask: str) -> str:
        if verdict == "good" or mask == REMOVE:
            return ""
        if mask == KEEP:
            return item.mask_key
        if item.status != "scored":
            raise DeskError(f"{item.file_name} is {item.status}; a mask needs a scored image.")
        painted = resize_mask(read_painting(mask), (item.width, item.height))
        return self._desk.database.put_blob(encode_mask(painted))


def _jpeg_url(images: ImageStore, key: str, side: int) -> str:
    keep = _small_jpeg if 0 < side <= THUMBNAIL_SIDE else _large_jpeg
    return data_url(keep(images.folder, key, side), "image/jpeg")


def _jpeg(folder: Path, key: str, side: int) -> bytes:
    image = ImageStore(folder).image(key)
    if side > 0:
        return photo_jpeg(image, side)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


# A thumbnail takes 3 KB, a large image some hundred.
_small_jpeg = lru_cache(maxsize=4096)(_jpeg)
_large_jpeg = lru_cache(maxsize=48)(_jpeg)


def _region_record(region: ImageRegion, scale: tuple[float, float]) -> dict[str, Any]:
    across, down = scale
    return {
        "left": round(region.left * across), "top": round(region.top * down),
        "right": round(region.right * across), "bottom": round(region.bottom * down),
        "area": round(region.area * across * down), "score": region.score,
        "contours": [
            [(round(x * across, 1), round(y * down, 1)) for x, y in contour]
            for contour in region.contours
        ],
    }


def _given_or_before(given: str | None, before: Decision | None, name: str) -> str:
    if given is not None:
        return given
    return getattr(before, name) if before else ""


def _is_same(decision: Decision, wanted: dict[str, str]) -> bool:
    return all(getattr(decision, name) == given.strip() for name, given in wanted.items())


class Desk:
    """The desk of one page; opened when it is first needed, so that a page alone writes nothing.

    Args:
        registry: the models.
        workspace: where batches, images and decisions are kept.
    """

    def __init__(self, registry: ModelRegistry, workspace: Workspace) -> None:
        self.registry = registry
        self.workspace = workspace
        self.images = ImageStore(workspace.images)
        self._runner: BatchRunner | None = None

    note = ""
    """What visitors of a public page must know."""

    def admit(self, files: Sequence[str], are_images: bool = True) -> None:
        """Check that there is room for what is about to be brought; here there always is."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever brought here."""
        return not self.workspace.database.is_file()

    @property
    def runner(self) -> BatchRunner:
        """Scores batches in the background. Two threads may both make one: they are alike."""
        if self._runner is None:
            self._runner = self._make_runner()
        return self._runner

    def _make_runner(self) -> BatchRunner:
        return BatchRunner(self.open_database(), self.images, self.registry)

    def open_database(self) -> Database:
        """The database, made if it is not there yet."""
        return Database(self.workspace.database)

    @property
    def database(self) -> Database:
        return self.runner.database

    def thresholds(self, batch: Batch) -> dict[str, float]:
        """The thresholds that count now, by class name, also when the model cannot be loaded.

        Raises:
            DeskError: what people chose cannot be followed without the model.
        """
        try:
            scorer = self.registry.scorer(batch.model)
        except LTADError as error:
            return thresholds_without_model(self.database, batch, str(error))
        return feedback(self.database, scorer, batch).thresholds

    def shown_thresholds(self, batch: Batch) -> tuple[dict[str, float], str]:
        """`thresholds`, or those at scoring time (none here) and why they are shown instead."""
        try:
            return self.thresholds(batch), ""
        except LTADError as error:
            return {}, f"{error} The thresholds on show are those of when it was scored."


def number(value: Any, label: str) -> int:
    """A whole number of a request. Raises DeskError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise DeskError(f"The {label} is {str(value)[:40]!r}, but it must be a whole number.")
    return int(value)


def decision_record(decision: Decision | None) -> dict[str, Any] | None:
    """A decision as plain data for JSON."""
    return None if decision is None else asdict(decision)


def png_url(png: bytes | None) -> str | None:
    """A PNG as a data URL, or None."""
    return None if png is None else data_url(png, "image/png")


def read_painting(url: str) -> np.ndarray:
    """The bool mask (H, W) of a painting sent as ``data:image/png;base64,...``.

    Raises:
        DeskError: it is no such text.
        ImageError: it is no image.
    """
    header, _, content = str(url).partition(",")
    if header != "data:image/png;base64":
        raise DeskError("A mask is sent as text that begins with data:image/png;base64.")
    try:
        return decode_mask(base64.b64decode(content, validate=True))
    except binascii.Error:
        raise DeskError("The mask arrived damaged. Save it again.") from None
