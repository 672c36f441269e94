"""A batch as one HTML file that prints well: no script, no other file, every text escaped."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from ltad.inference.scorer import Scorer
from ltad.io.heatmap import heat_png
from ltad.io.templates import environment, style_of
from ltad.review.database import Database
from ltad.review.evidence import Thresholds, gather, is_suspicious, model_verdict
from ltad.review.export import row
from ltad.review.files import whole_file
from ltad.review.images import ImageStore
from ltad.review.records import VERDICTS, Batch, Item, now
from ltad.types import LTADError

FIGURES = 200
"""So many parts are shown with images; a browser still opens the file at once."""
PHOTO_SIDE = 420


def write_report(
    path: str | Path,
    batch: Batch,
    items: Sequence[Item],
    database: Database,
    images: ImageStore,
    scorer: Scorer | None,
    thresholds: Thresholds | None = None,
    figures: int = FIGURES,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write the report of a batch; one image at a time is in memory.

    Parts that a person rejected or was unsure of, and those that the model suspects and nobody
    reviewed, are shown with images, in the order of `items`; all stand in the list.

    Args:
        path: the HTML file; appears when it is whole.
        batch, items: what to write.
        database, images: where masks and images are kept.
        scorer: the batch's model; None leaves the heatmaps out.
        thresholds: that count now, by class name.
        figures: at most so many images.
        progress: called with (done, total) after every image.

    Returns:
        How many parts are shown with images.

    Raises:
        DeskError: the file cannot be written.
    """
    shown = [
        item for item in items
        if item.status == "scored" and is_suspicious(item, thresholds)
    ]
    chosen = shown[:figures]

    def drawn() -> Iterator[dict[str, Any]]:
        for done, item in enumerate(chosen, start=1):
            yield _figure(item, batch, database, images, scorer, thresholds)
            if progress is not None:
                progress(done, len(chosen))

    pieces = _TEMPLATES.get_template("report.jinja").generate(
        batch=batch, written=now(), style=style_of(_TEMPLATES, "report.css"),
        counts=_counts(items), agreement=_agreement(items, thresholds),
        classes=_classes(items, thresholds),
        defect_types=dict(Counter(
            item.defect_type or "no type given"
            for item in items if item.verdict == "defective"
        ).most_common()),
        settings={k: v for k, v in batch.settings.items() if v is not None},
        figures=drawn(), figure_count=len(chosen), left_out=len(shown) - len(chosen),
        rows=(row(item, thresholds) for item in items),
    )
    with whole_file(path) as partial, partial.open("w", encoding="utf-8") as file:
        file.writelines(pieces)
    return len(chosen)


def _moment(text: str) -> str:
    return f"{text[:16].replace('T', ' ')} UTC"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.5g}"


def _path(contours: Sequence[Sequence[tuple[int, int]]]) -> str:
    """Closed polygons as an SVG path."""
    return "".join(
        "M" + "L".join(f"{x} {y}" for x, y in contour) + "Z" for contour in contours
    )


_TEMPLATES = environment("ltad.review", moment=_moment, number=_number, path=_path)


def _counts(items: Sequence[Item]) -> dict[str, int]:
    status = Counter(item.status for item in items)
    verdicts = Counter(item.verdict for item in items if item.verdict)
    waiting = len(items) - status["scored"] - status["failed"]
    return {
        "pictures": len(items), "scored": status["scored"], "unreadable": status["failed"],
        **({"not scored": waiting} if waiting else {}),
        "reviewed": verdicts.total(), **{name: verdicts[name] for name in VERDICTS},
    }


def _agreement(
    items: Sequence[Item], thresholds: Thresholds | None
) -> dict[str, dict[str, int]]:
    """Model's verdict -> person's verdict ("" for none) -> how many; "not judged" only if any."""
    pairs = Counter(
        (model_verdict(item, thresholds), item.verdict) for item in items if item.score is not None
    )
    return {
        model: {person: pairs[model, person] for person in (*VERDICTS, "")}
        for model in ("normal", "anomalous", "not judged")
        if model != "not judged" or any(said == model for said, _ in pairs)
    }


def _classes(
    items: Sequence[Item], thresholds: Thresholds | None
) -> list[tuple[str, int, float | None]]:
    """Class name, number of images and threshold of every class that occurs."""
    counted = Counter(item.class_name for item in items if item.status == "scored")
    known = {item.class_name: item.threshold for item in items if item.status == "scored"}
    known |= thresholds or {}
    return [(name, counted[name], known[name]) for name in sorted(counted)]


def _figure(
    item: Item, batch: Batch, database: Database, images: ImageStore,
    scorer: Scorer | None, thresholds: Thresholds | None,
) -> dict[str, Any]:
    figure = {
        "item": item, "row": row(item, thresholds), "width": item.width, "height": item.height,
        "photo": "", "heat": "", "regions": (), "source": "", "share": 0.0, "problem": "",
    }
    try:
        evidence = gather(item, batch, database, images, scorer, thresholds)
        image = evidence.image or images.image(item.content_key)
    except LTADError as error:
        return {**figure, "problem": str(error)}
    if evidence.detection is not None:
        scale = evidence.detection.map_scale["combined"]
        heat = heat_png(evidence.detection.anomaly_map, *scale)
        figure["heat"] = _data_url(heat, "image/png")
    area = sum(region.area for region in evidence.regions)
    return {
        **figure, "photo": _data_url(_jpeg(image), "image/jpeg"), "regions": evidence.regions,
        "source": evidence.source, "share": 100 * area / (item.width * item.height),
    }


def _jpeg(image: Image.Image) -> bytes:
    small = image.copy()
    small.thumbnail((PHOTO_SIDE, PHOTO_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=82)
    return buffer.getvalue()


def _data_url(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
