"""What leaves the desk: tables as CSV and JSON, and the archive."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas
from PIL import Image

from ltad.inference.registry import ModelRegistry
from ltad.io.heatmap import heat_over
from ltad.io.masks import encode_mask
from ltad.review.coco import COCO_FILE, CocoDocument
from ltad.review.database import Database
from ltad.review.evidence import (
    Evidence,
    Thresholds,
    gather,
    model_verdict,
    subset,
)
from ltad.review.files import archive_stem, whole_file
from ltad.review.images import ImageStore
from ltad.review.records import Batch, DeskError, Item, current_threshold
from ltad.review.regions import region_mask
from ltad.types import BRANCH_TABLE, BRANCHES, Detection, LTADError

FORMAT = 1
_GUARDED = tuple("=+-@\t\r\n＝＋－＠'")
COLUMNS = (
    "file_name", "status", "reason", "class_name", "class_probability", "is_recognised", "score",
    "reconstruction_score", "semantic_score", "threshold", "model_verdict", "verdict",
    "defect_type", "note", "person", "decided", "decided_model", "decided_threshold",
    "decided_score", "imported", "has_mask", "mask_person", "regions_at_model_limit", "width",
    "height", "archive_name", "content_key",
)
PARTS = ("masks", "heatmaps", "maps")
HEATMAP_SIDE = 640
"""The longer side of a heatmap image at most, in pixels."""
_LARGEST_HALF = float(np.finfo(np.float16).max)
_README = """{name}: {count} of {total} images ({part}), scored by the model {model}.

batch.csv, batch.json   one row an image; batch.csv opens in a spreadsheet. A leading apostrophe
                        in a text keeps the spreadsheet from running it.
coco.json               regions with boxes and masks, and every decision (COCO).
masks/                  1-bit PNG of the image's size: white where a region counts, that is the
                        person's corrected mask, else the model's regions. Good parts have none.
heatmaps/               the combined map on the model's fixed scale over the image.
maps/                   raw maps, NumPy, (3, height, width) of the model's input: {branches}.

Files of one image share a name, which stands in batch.csv as archive_name. batch.csv without the
masks, coco.json or this whole zip can be imported again.
{problems}"""


def guard(text: str) -> str:
    """`text` such that a spreadsheet shows it and never runs it; `unguard` is the inverse.

    A text that a spreadsheet could take for a formula, or that starts with an apostrophe itself,
    gets one apostrophe in front.
    """
    return f"'{text}" if text.startswith(_GUARDED) else text


def guarded(frame: pandas.DataFrame) -> pandas.DataFrame:
    """`frame` with `guard` on every text."""
    return frame.map(lambda value: guard(value) if isinstance(value, str) else value)


def unguard(text: str) -> str:
    """What `guard` was given."""
    return text[1:] if text.startswith("'") else text


def row(item: Item, thresholds: Thresholds | None = None) -> dict[str, Any]:
    """One item's values by `COLUMNS`; None where there is none.

    `threshold` and `model_verdict` are those that count now, the `decided_` ones those that the
    person saw. `regions_at_model_limit` are those stored as the item was scored, before any other
    threshold was chosen; COCO and masks follow the threshold. `archive_name` is the stem of the
    item's files in an archive.
    """
    decision = item.decision if item.verdict else None
    values = {name: getattr(item, name, None) for name in COLUMNS}
    return {
        **values,
        "threshold": current_threshold(item, thresholds),
        "model_verdict": model_verdict(item, thresholds),
        "verdict": item.verdict,
        "defect_type": decision.defect_type if decision else "",
        "note": decision.note if decision else "",
        "person": decision.person if decision else "",
        "decided": decision.created if decision else "",
        "decided_model": decision.model if decision else "",
        "decided_threshold": decision.threshold if decision else None,
        "decided_score": decision.score if decision else None,
        "imported": decision.imported if decision else "",
        "has_mask": bool(decision and decision.mask_key),
        "mask_person": decision.mask_person if decision else "",
        "regions_at_model_limit": len(item.regions),
        "archive_name": archive_stem(item),
    }


def table(items: Iterable[Item], thresholds: Thresholds | None = None) -> pandas.DataFrame:
    """`row` of every item, columns in the order of `COLUMNS`."""
    return pandas.DataFrame([row(item, thresholds) for item in items], columns=list(COLUMNS))


def csv_text(items: Iterable[Item], thresholds: Thresholds | None = None) -> str:
    """The table as CSV (comma, CRLF), every text guarded against spreadsheet formulas."""
    return guarded(table(items, thresholds)).to_csv(index=False, lineterminator="\r\n")


def csv_bytes(items: Iterable[Item], thresholds: Thresholds | None = None) -> bytes:
    """`csv_text` in UTF-8 with the mark by which Excel knows it."""
    return csv_text(items, thresholds).encode("utf-8-sig")


def json_bytes(
    batch: Batch, items: Iterable[Item], thresholds: Thresholds | None = None,
    database: Database | None = None,
) -> bytes:
    """The batch and its rows as JSON: texts as given, regions as boxes.

    With a database every row also has its `history`, all decisions, oldest first.
    """
    content = {
        "format": FORMAT,
        "batch": {"name": batch.name, "created": batch.created, "person": batch.person,
                  "model": batch.model, "settings": batch.settings, "state": batch.state},
        "items": [{
            **row(item, thresholds), "regions_at_model_limit": list(item.regions),
            **({"history": [asdict(d) for d in database.history(item.id)]} if database else {}),
        } for item in items],
    }
    return json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1).encode()


@dataclass(frozen=True)
class ArchiveReport:
    """What came of an archive.

    Attributes:
        items: images in it.
        bytes: size of the file.
        problems: a sentence for each thing that had to be left out.
    """

    items: int
    bytes: int
    problems: tuple[str, ...]


def write_archive(
    path: str | Path,
    batch: Batch,
    items: Sequence[Item],
    database: Database,
    images: ImageStore,
    registry: ModelRegistry,
    part: str = "all",
    contents: Collection[str] = PARTS,
    thresholds: Thresholds | None = None,
    map_type: str = "float32",
    progress: Callable[[int, int], None] | None = None,
) -> ArchiveReport:
    """Write a batch, or a part of it, as one zip; one image at a time is in memory.

    Maps are computed again from the features that the model keeps. An image that is gone, or a
    model that is gone, leaves its files out and is named in the zip's README.txt.

    Args:
        path: the zip; appears when it is whole.
        batch, items: what to write.
        database, images, registry: where masks, images and the batch's model are kept.
        part: one of `ltad.review.evidence.SUBSETS`.
        contents: of `PARTS`; tables and COCO are always written.
        thresholds: that count now.
        map_type: "float32", or "float16" for half the size; a map whose values do not fit stays
            float32.
        progress: called with (done, total) after every image; what it raises ends the writing
            and leaves no file.

    Raises:
        DeskError: there is no such part, content or type, or the file cannot be written.
    """
    _check_choice(contents, map_type)
    chosen = subset(list(items), part, thresholds)
    document = CocoDocument(batch, database, thresholds)
    try:
        scorer = registry.scorer(batch.model)
    except LTADError as error:
        scorer = None
        document.problems.append(f"No maps and no regions of the model: {error}")
    path = Path(path)
    with whole_file(path) as partial, zipfile.ZipFile(partial, "w", allowZip64=True) as archive:
        for done, item in enumerate(chosen, start=1):
            evidence = None
            if item.status == "scored":
                try:
                    evidence = gather(item, batch, database, images, scorer, thresholds)
                    _write_item(archive, item, evidence, contents, map_type)
                except LTADError as error:
                    document.problems.append(f"{item.file_name}: {error}")
            document.add(item, evidence)
            if progress is not None:
                progress(done, len(chosen))
        _write_text(archive, "batch.csv", csv_bytes(chosen, thresholds))
        _write_text(archive, "batch.json", json_bytes(
            batch, chosen, thresholds, database
        ))
        with archive.open(_entry(COCO_FILE), "w", force_zip64=True) as file:
            for piece in document.pieces():
                file.write(piece.encode())
        problems = "".join(f"\nLeft out: {problem}" for problem in document.problems)
        _write_text(archive, "README.txt", _README.format(
            name=batch.name, count=len(chosen), total=len(items), part=part, model=batch.model,
            branches=", ".join(BRANCHES), problems=problems,
        ).encode())
    return ArchiveReport(len(chosen), path.stat().st_size, tuple(document.problems))


def _check_choice(contents: Collection[str], map_type: str) -> None:
    unknown = set(contents) - set(PARTS)
    if unknown:
        raise DeskError(
            f"An archive has no {', '.join(sorted(unknown))}. Choose from: {', '.join(PARTS)}."
        )
    if map_type not in ("float16", "float32"):
        raise DeskError(f"Maps cannot be {map_type!r}, only float16 or float32.")


def _write_item(
    archive: zipfile.ZipFile, item: Item, evidence: Evidence, contents: Collection[str],
    map_type: str,
) -> None:
    stem = archive_stem(item)
    if "masks" in contents and evidence.regions:
        mask = region_mask(evidence.regions, (item.width, item.height))
        _write_stored(archive, f"masks/{stem}.png", encode_mask(mask))
    image = evidence.image
    if evidence.detection is None or image is None:
        return
    if "heatmaps" in contents:
        _write_stored(archive, f"heatmaps/{stem}.png", _heatmap_png(evidence.detection, image))
    if "maps" in contents:
        with archive.open(_entry(f"maps/{stem}.npy"), "w") as file:
            maps = stacked_maps(evidence.detection, map_type)
            np.lib.format.write_array(file, maps, allow_pickle=False)


def _heatmap_png(detection: Detection, image: Image.Image) -> bytes:
    """The combined map over the image on the model's fixed scale, a PNG of at most
    `HEATMAP_SIDE`."""
    image = image.copy()
    image.thumbnail((HEATMAP_SIDE, HEATMAP_SIDE), Image.Resampling.BILINEAR)
    low, high = detection.map_scale["combined"]
    buffer = io.BytesIO()
    heat_over(image, detection.anomaly_map, low, high).save(buffer, "PNG")
    return buffer.getvalue()


def stacked_maps(detection: Detection, map_type: str = "float32") -> np.ndarray:
    """The maps (n, H, W) that there are, in the order of `ALL_BRANCHES`; float16 only where all
    values fit."""
    known = (getattr(detection, branch.map) for branch in BRANCH_TABLE)
    maps = np.stack([one for one in known if one is not None]).astype(np.float32)
    does_fit = float(np.abs(maps).max()) <= _LARGEST_HALF
    return maps.astype(np.float16) if map_type == "float16" and does_fit else maps


def _entry(name: str) -> zipfile.ZipInfo:
    # No time of day: the same batch gives the same bytes.
    entry = zipfile.ZipInfo(name)
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


def _write_text(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    archive.writestr(_entry(name), content)


def _write_stored(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name), content)  # a PNG is compressed already
