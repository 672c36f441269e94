"""Files with decisions, read without trust: our own exports, and COCO that others wrote."""

from __future__ import annotations

import csv
import io
import json
import math
import zipfile
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from ltad.data.datasets import GOOD
from ltad.io import masks
from ltad.io.masks import resize_mask
from ltad.review.coco import COCO_FILE
from ltad.review.export import unguard
from ltad.review.records import VERDICTS, DeskError
from ltad.review.regions import fill
from ltad.types import ImageError

MAX_BYTES = 300_000_000


@dataclass(frozen=True)
class Imported:
    """One decision as a file tells it.

    Attributes:
        file_name, content_key: of its image; the key is "" where the file does not say it.
        verdict: one of `VERDICTS`.
        defect_type, note, person, model: or "".
        created: when it was made, in UTC, or None where the file does not say it.
        threshold, score: what the person saw, or None.
        segmentations: of the corrected mask, as COCO writes them; together they are the mask.
        knows_mask: whether the file could hold a mask at all; a table cannot.
        boxes: how many of the segmentations were boxes without an outline.
        drawn_on: (width, height) of the image that another program's segmentations were drawn on;
            None where the file does not say it, or for an export of our own.
        is_foreign: whether another program wrote it; then each segmentation must mark something.
        problem: why nothing can be restored from it, or "".
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
    segmentations: tuple[Any, ...] = ()
    knows_mask: bool = False
    boxes: int = 0
    drawn_on: tuple[int, int] | None = None
    is_foreign: bool = False
    problem: str = ""


def read_decisions(source: str | Path | bytes, name: str = "The file") -> list[Imported]:
    """The decisions in a file, in its order; items without one are left out.

    In COCO of other programs an annotated image counts as defective, with the categories' names as
    defect type and all its annotations together as mask, boxes too where there is no outline. Those
    of a category that is called good, as a folder may be (`ltad.data.datasets.GOOD`), mark no
    defect; an image that has no others is good. Images without annotations say nothing.

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


def mask_of(imported: Imported, image_size: tuple[int, int]) -> np.ndarray | None:
    """The corrected mask (height, width), or None where there is none.

    What another program drew on an image of another size, but of the same shape, is scaled.

    Raises:
        ImageError: it is damaged, of another shape than the image (width, height), or a part of
            another program's marks no pixel of it.
    """
    if not imported.segmentations:
        return None
    size = imported.drawn_on or image_size
    width, height = image_size
    _check_shape(size, image_size)
    mask = np.zeros((height, width), dtype=bool)
    for segmentation in imported.segmentations:
        if isinstance(segmentation, dict):
            runs = masks.decode(segmentation)
            if runs.shape != size[::-1]:
                raise ImageError(
                    f"The mask is {runs.shape[1]} x {runs.shape[0]} pixels, but the image is "
                    f"{size[0]} x {size[1]}."
                )
            part = resize_mask(runs, image_size)
        else:
            part = _filled(segmentation, (width / size[0], height / size[1]), image_size)
        if imported.is_foreign and not part.any():
            raise ImageError(
                f"An annotation marks no pixel of the image ({width} x {height}). Draw it again."
            )
        mask |= part
    return mask


def _check_shape(drawn_on: tuple[int, int], image_size: tuple[int, int]) -> None:
    (width, height), (real_width, real_height) = drawn_on, image_size
    scales = real_width / width, real_height / height
    # Half a pixel of either image is rounding.
    slack = 0.5 / min(drawn_on) + 0.5 / min(image_size)
    if abs(scales[0] / scales[1] - 1) > slack:
        raise ImageError(
            f"It was annotated on an image of {width} x {height} pixels, but the image is "
            f"{real_width} x {real_height}. Annotate the image itself, or a scaled one."
        )


def _filled(
    polygons: list[Any], scales: tuple[float, float], image_size: tuple[int, int]
) -> np.ndarray:
    """The mask of COCO's polygons together, each a list x, y, x, y, ..., or of one such list alone,
    scaled by `scales`."""
    mask = np.zeros((image_size[1], image_size[0]), dtype=bool)
    try:
        is_one = all(isinstance(number, int | float) for number in polygons)
        for polygon in [polygons] if is_one else polygons:
            numbers = np.array(polygon, dtype=np.float64)
            if numbers.ndim != 1 or len(numbers) % 2 or len(numbers) < 6:
                raise ValueError("it needs three points or more, each an x and a y")
            if not np.isfinite(numbers).all():
                raise ValueError("it holds no finite number")
            mask |= fill((numbers.reshape(-1, 2) * scales).tolist(), image_size)
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


def _imported(image: dict[str, Any], decision: dict[str, Any], place: str, **mask: Any):
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
        _text(image.get("file_name")), _text(image.get("content_key")), verdict,
        **{name: _text(decision.get(name)) for name in names},
        created=_time(decision.get("created")), threshold=_number(decision.get("threshold")),
        score=_number(decision.get("score")), **mask,
    )


def _of_coco(document: dict[str, Any], name: str) -> list[Imported]:
    by_image = defaultdict(list)
    for annotation in document.get("annotations", []):
        by_image[_text(annotation["image_id"])].append(annotation)
    categories = {_text(c["id"]): _text(c["name"]) for c in document.get("categories", [])}
    ids = Counter(_text(image["id"]) for image in document["images"] if "ltad" not in image)
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
        elif ids[image_id := _text(image["id"])] > 1:
            entry = _refused(_text(image.get("file_name")), f"the file has {ids[image_id]} images "
                             f"of the id {image_id[:80]}, so its annotations may be another's.")
        else:
            entry = _of_annotations(image, by_image[image_id], categories, place)
        if entry is not None:
            found.append(entry)
    unknown = () if any("ltad" in i for i in document["images"]) else by_image.keys() - ids.keys()
    return found + [
        _refused(f"Image id {image_id[:80]}", f"the file has {len(by_image[image_id])} annotations "
                 "of it, but no such image.") for image_id in sorted(unknown)
    ]


def _of_annotations(
    image: dict[str, Any], annotations: list[dict[str, Any]], categories: dict[str, Any], place: str
) -> Imported | None:
    if not annotations:
        return None
    names = [categories.get(_text(a.get("category_id")), "") for a in annotations]
    defects = [(a, n) for a, n in zip(annotations, names, strict=True) if n.casefold() not in GOOD]
    if not defects:
        return _imported(image, {"verdict": "good"}, place, knows_mask=True)
    outlines = [a["segmentation"] for a, _ in defects if a.get("segmentation")]
    boxes = [_corners(a["bbox"]) for a, _ in defects if not a.get("segmentation") and a.get("bbox")]
    types = dict.fromkeys(n for _, n in defects if n)
    return _imported(
        image, {"verdict": "defective", "defect_type": ", ".join(types)}, place,
        segmentations=(*outlines, *boxes), knows_mask=bool(outlines or boxes), boxes=len(boxes),
        drawn_on=_size(image), is_foreign=True,
    )


def _corners(box: Any) -> list[Any]:
    """COCO's box x, y, width, height as a polygon; anything else as it is, to be refused as one."""
    try:
        x, y, width, height = map(float, box)
    except (TypeError, ValueError):
        return [box]
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def _size(image: dict[str, Any]) -> tuple[int, int] | None:
    width, height = (int(_number(image.get(side)) or 0) for side in ("width", "height"))
    return (width, height) if min(width, height) > 0 else None


def _refused(file_name: str, problem: str) -> Imported:
    return Imported(file_name, "", "", problem=problem)


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
