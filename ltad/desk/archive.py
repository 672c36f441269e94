"""A batch as one zip: tables, COCO, masks, heatmaps and raw maps, written item by item."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ltad.calibration import BRANCHES
from ltad.desk import tables
from ltad.desk.coco import COCO_FILE, CocoDocument
from ltad.desk.database import Database
from ltad.desk.evidence import Evidence, Thresholds, gather, subset
from ltad.desk.files import archive_stem, whole_file
from ltad.desk.masks import encode_mask
from ltad.desk.pictures import PictureStore
from ltad.desk.records import Batch, DeskError, Item
from ltad.desk.regions import region_mask
from ltad.heatmap import heat_over
from ltad.shelf import ModelShelf
from ltad.types import Detection, LTADError

PARTS = ("masks", "heatmaps", "maps")
HEATMAP_SIDE = 640
"""The longer side of a heatmap picture at most, in pixels."""
_LARGEST_HALF = float(np.finfo(np.float16).max)
_README = """{name}: {count} of {total} pictures ({part}), scored by the model {model}.

batch.csv, batch.json   one row a picture; batch.csv opens in a spreadsheet. A leading apostrophe
                        in a text keeps the spreadsheet from running it.
coco.json               regions with boxes and masks, and every decision (COCO).
masks/                  1-bit PNG of the picture's size: white where a region counts, that is the
                        person's corrected mask, else the model's regions. Good parts have none.
heatmaps/               the combined map on the model's fixed scale over the picture.
maps/                   raw maps, NumPy, (3, height, width) of the model's input: {branches}.

Files of one picture share a name, which stands in batch.csv as archive_name. batch.csv without the
masks, coco.json or this whole zip can be imported again.
{problems}"""


@dataclass(frozen=True)
class ArchiveReport:
    """What came of an archive.

    Attributes:
        items: pictures in it.
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
    pictures: PictureStore,
    shelf: ModelShelf,
    part: str = "all",
    contents: Collection[str] = PARTS,
    thresholds: Thresholds | None = None,
    map_type: str = "float32",
    progress: Callable[[int, int], None] | None = None,
) -> ArchiveReport:
    """Write a batch, or a part of it, as one zip; one picture at a time is in memory.

    Maps are computed again from the features that the model keeps. A picture that is gone, or a
    model that is gone, leaves its files out and is named in the zip's README.txt.

    Args:
        path: the zip; appears when it is whole.
        batch, items: what to write.
        database, pictures, shelf: where masks, pictures and the batch's model are kept.
        part: one of `ltad.desk.evidence.SUBSETS`.
        contents: of `PARTS`; tables and COCO are always written.
        thresholds: that count now.
        map_type: "float32", or "float16" for half the size; a map whose values do not fit stays
            float32.
        progress: called with (done, total) after every picture; what it raises ends the writing
            and leaves no file.

    Raises:
        DeskError: there is no such part, content or type, or the file cannot be written.
    """
    _check_choice(contents, map_type)
    chosen = subset(list(items), part, thresholds)
    document = CocoDocument(batch, database, thresholds)
    try:
        scorer = shelf.scorer(batch.model)
    except LTADError as error:
        scorer = None
        document.problems.append(f"No maps and no regions of the model: {error}")
    path = Path(path)
    with whole_file(path) as partial, zipfile.ZipFile(partial, "w", allowZip64=True) as archive:
        for done, item in enumerate(chosen, start=1):
            evidence = None
            if item.status == "scored":
                try:
                    evidence = gather(item, batch, database, pictures, scorer, thresholds)
                    _write_item(archive, item, evidence, contents, map_type)
                except LTADError as error:
                    document.problems.append(f"{item.file_name}: {error}")
            document.add(item, evidence)
            if progress is not None:
                progress(done, len(chosen))
        _write_text(archive, "batch.csv", tables.csv_bytes(chosen, thresholds))
        _write_text(archive, "batch.json", tables.json_bytes(
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
    if evidence.detection is None:
        return
    if "heatmaps" in contents:
        _write_stored(archive, f"heatmaps/{stem}.png", heatmap_png(evidence))
    if "maps" in contents:
        with archive.open(_entry(f"maps/{stem}.npy"), "w") as file:
            maps = stacked_maps(evidence.detection, map_type)
            np.lib.format.write_array(file, maps, allow_pickle=False)


def heatmap_png(evidence: Evidence, side: int = HEATMAP_SIDE) -> bytes:
    """The combined map over the picture on the model's fixed scale, a PNG of at most `side`."""
    picture = evidence.picture.copy()
    picture.thumbnail((side, side), Image.Resampling.BILINEAR)
    low, high = evidence.detection.map_scale["combined"]
    buffer = io.BytesIO()
    heat_over(picture, evidence.detection.anomaly_map, low, high).save(buffer, "PNG")
    return buffer.getvalue()


def stacked_maps(detection: Detection, map_type: str = "float32") -> np.ndarray:
    """The maps (3, H, W) in the order of `BRANCHES`, and a fourth of the reference branch where
    there is one; float16 only where all values fit."""
    maps = np.stack([
        one for one in (detection.anomaly_map, detection.reconstruction_map,
                        detection.semantic_map, detection.reference_map) if one is not None
    ]).astype(np.float32)
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
