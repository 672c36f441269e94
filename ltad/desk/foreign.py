"""Files with decisions, read without trust: our own exports, and COCO that others wrote."""

from __future__ import annotations

import csv
import io
import json
import math
import zipfile
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from ltad.desk import run_lengths
from ltad.desk.coco import COCO_FILE
from ltad.desk.records import VERDICTS, DeskError
from ltad.desk.regions import fill
from ltad.desk.tables import unguard
from ltad.types import ImageError

MAX_BYTES = 300_000_000


@dataclass(frozen=True)
class Imported:
    """One decision as a file tells it.

    Attributes:
        file_name, content_key: of its picture; the key is "" where the file does not say it.
        verdict: one of `VERDICTS`.
        defect_type, note, person, model: or "".
        created: when it was made, in UTC, or None where the file does not say it.
        threshold, score: what the person saw, or None.
        segmentations: of the corrected mask, as COCO writes them; together they are the mask.
        knows_mask: whether the file could hold a mask at all; a table cannot.
    """

    file_name: str
    content_key: str
    verdict: str
    defect_type: str = ""
    note: str = ""
    person: str = ""
    model: str = ""
    created: datetime | None = None
    threshold: float | None = None
    score: float | None = None
    segmentations: tuple = ()
    knows_mask: bool = False


def read_decisions(source: str | Path | bytes, name: str = "The file") -> list[Imported]:
    """The decisions in a file, in its order; items without one are left out.

    In COCO of other programs an annotated image counts as defective, with the categories' names as
    defect type and all its annotations together as mask; the others say nothing.

    Args:
        source: a path or bytes; COCO, CSV or JSON of a batch, or a zip that holds coco.json.
        name: what messages call the file.

    Raises:
        DeskError: it is none of these, too large, or a row cannot be understood.
    """
    content = _bytes(source, name)
    if content.startswith(b"PK"):
        content = _member(content, name)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DeskError(
            f"{name} is not text in UTF-8. Save it as UTF-8 (in Excel: CSV UTF-8)."
        ) from error
    if not text.lstrip().startswith(("{", "[")):
        return _of_table(text, name)
    try:
        document = json.loads(text)
        if "images" in document:
            return _of_coco(document, name)
        rows = document["items"]
        return [d for i, row in enumerate(rows, 1) if (d := _of_row(row, f"{name}, item {i}"))]
    except DeskError:
        raise
    except json.JSONDecodeError as error:
        raise DeskError(
            f"{name} is damaged or cut off: its JSON breaks at line {error.lineno}, column "
            f"{error.colno}. Export it again."
        ) from error
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise DeskError(
            f"{name} is no COCO or JSON file of a batch: it has neither images nor items that can "
            "be read. Choose a file that Export has made, or COCO of another program."
        ) from error


def mask_of(imported: Imported, picture_size: tuple[int, int]) -> np.ndarray | None:
    """The corrected mask (height, width), or None where there is none.

    Raises:
        ImageError: it is damaged, or not as large as the picture (width, height).
    """
    if not imported.segmentations:
        return None
    width, height = picture_size
    mask = np.zeros((height, width), dtype=bool)
    for segmentation in imported.segmentations:
        if isinstance(segmentation, dict):
            part = run_lengths.decode(segmentation)
        else:
            part = _filled(segmentation, picture_size)
        if part.shape != mask.shape:
            raise ImageError(
                f"The mask is {part.shape[1]} x {part.shape[0]} pixels, but the picture is "
                f"{width} x {height}."
            )
        mask |= part
    return mask


def _filled(polygons: list, picture_size: tuple[int, int]) -> np.ndarray:
    """The mask of COCO's polygons, each a list x, y, x, y, ...; together they are the mask."""
    mask = np.zeros((picture_size[1], picture_size[0]), dtype=bool)
    try:
        for polygon in polygons:
            points = np.array(polygon, dtype=np.float64).reshape(-1, 2)
            if not np.isfinite(points).all():
                raise ValueError("it holds no finite number")
            mask |= fill(points.tolist(), picture_size)
    except (TypeError, ValueError, IndexError, OverflowError) as error:
        raise ImageError(f"The mask's polygon is damaged ({error}).") from error
    return mask


def _bytes(source: str | Path | bytes, name: str) -> bytes:
    if isinstance(source, bytes):
        content = source
    else:
        try:
            with Path(source).open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise DeskError(f"{name} cannot be opened: {error.strerror}.") from error
    if not content.strip():
        raise DeskError(f"{name} is empty. Export it again.")
    if len(content) > MAX_BYTES:
        raise DeskError(
            f"{name} is larger than {MAX_BYTES // 1_000_000} MB. Import {COCO_FILE} out of it."
        )
    return content


def _member(content: bytes, name: str) -> bytes:
    """The COCO file of an archive."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive, archive.open(COCO_FILE) as file:
            found = file.read(MAX_BYTES + 1)
    except KeyError as error:
        raise DeskError(f"{name} holds no {COCO_FILE}, so it is no export of a batch.") from error
    except Exception as error:  # zipfile fails on broken data in many ways
        raise DeskError(f"{name} is a damaged zip ({error}). Export it again.") from error
    return _bytes(found, f"{COCO_FILE} in {name}")


def _of_table(text: str, name: str) -> list[Imported]:
    header = text.split("\n", 1)[0]
    # A spreadsheet may have saved it with its own separator.
    delimiter = max(",;\t", key=header.count)
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    missing = {"file_name", "verdict"} - set(rows.fieldnames or ())
    if missing:
        raise DeskError(
            f"{name} is no COCO, JSON or zip, and as a table it has no column "
            f"{' and no column '.join(sorted(missing))}. The first line of a CSV must name the "
            "columns, at least file_name and verdict."
        )
    try:
        return [
            decision for row in rows if (decision := _of_row(
                {k: unguard(v) for k, v in row.items() if k and isinstance(v, str)},
                f"{name}, line {rows.line_num}",
            ))
        ]
    except csv.Error as error:
        raise DeskError(f"{name}, line {rows.line_num} cannot be read ({error}).") from error


def _of_row(row: dict[str, Any], place: str) -> Imported | None:
    decision = {
        **row, "created": row.get("decided"), "model": row.get("decided_model"),
        "threshold": row.get("decided_threshold"), "score": row.get("decided_score"),
    }
    return _imported(row, decision, place)


def _imported(picture: dict[str, Any], decision: dict[str, Any], place: str, **mask: Any):
    verdict = _text(decision.get("verdict")).strip().lower()
    if not verdict:
        return None
    if verdict not in VERDICTS:
        raise DeskError(
            f"{place}: the verdict is {verdict[:80]!r}, but it must be one of "
            f"{', '.join(VERDICTS)}, or empty."
        )
    names = ("defect_type", "note", "person", "model")
    return Imported(
        _text(picture.get("file_name")), _text(picture.get("content_key")), verdict,
        **{name: _text(decision.get(name)) for name in names},
        created=_time(decision.get("created")), threshold=_number(decision.get("threshold")),
        score=_number(decision.get("score")), **mask,
    )


def _of_coco(document: dict[str, Any], name: str) -> list[Imported]:
    by_image = defaultdict(list)
    for annotation in document.get("annotations", []):
        by_image[annotation["image_id"]].append(annotation)
    categories = {c["id"]: _text(c["name"]) for c in document.get("categories", [])}
    found = []
    for image in document["images"]:
        place = f"{name}, image {_text(image.get('file_name'))[:80]}"
        if "ltad" in image:
            decision = image["ltad"].get("decision") or {}
            runs = decision.get("mask")
            entry = _imported(
                {**image, "content_key": image["ltad"].get("content_key")}, decision, place,
                segmentations=(runs,) if runs else (), knows_mask=True,
            )
        else:
            entry = _of_annotations(image, by_image[image["id"]], categories, place)
        if entry is not None:
            found.append(entry)
    return found


def _of_annotations(
    image: dict[str, Any], annotations: list[dict], categories: dict, place: str
) -> Imported | None:
    if not annotations:
        return None
    names = dict.fromkeys(categories.get(a.get("category_id"), "") for a in annotations)
    segmentations = tuple(a["segmentation"] for a in annotations if a.get("segmentation"))
    return _imported(
        image, {"verdict": "defective", "defect_type": ", ".join(filter(None, names))}, place,
        segmentations=segmentations, knows_mask=bool(segmentations),
    )


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _time(value: Any) -> datetime | None:
    try:
        time = datetime.fromisoformat(_text(value).strip())
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
