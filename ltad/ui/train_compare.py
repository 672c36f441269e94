"""The Train tab's comparison of two models on the same pictures: handlers and their HTML."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image

from ltad.heatmap import heat_png
from ltad.images import read_image
from ltad.shelf import ModelShelf
from ltad.teach.compare import Pair, Row, compare, own_exhibits, reduced, rows_of, uploaded
from ltad.teach.intake import from_files
from ltad.types import Detection, ImageError, SettingError
from ltad.ui.pictures import data_url, photo_jpeg
from ltad.ui.text import apart, escape, notice, readable
from ltad.ui.train_html import percent
from ltad.workspace import Workspace

MOST_DRAWN = 24
_SIDE = 240


def find_pairs(
    shelf: ModelShelf, workspace: Workspace, first: str, second: str, files: Sequence[str] | None,
    rate: float = 0.05,
) -> tuple[list[Pair], list[str]]:
    """Both models on the uploaded files, or without any on the second model's own exhibits.

    Returns:
        The pairs, and why some files could not be used.

    Raises:
        SettingError: no such model, one model twice, or no usable picture.
    """
    old, new = shelf.scorer(first), shelf.scorer(second)
    if old is new:
        raise SettingError("Both are the same model. Choose two, or teach a new one first.")
    if not files:
        return compare(old, new, own_exhibits(workspace, new), rate), []
    images, refused = _decoded(files)
    return compare(old, new, uploaded(images), rate), refused


def _decoded(files: Sequence[str]) -> tuple[list[tuple[str, Image.Image]], list[str]]:
    images, refused = [], []
    for file in from_files(files):
        try:
            if file.content is None:
                raise ImageError(file.reason)
            images.append((file.name, reduced(read_image(file.content, file.name))))
        except ImageError as error:
            refused.append(str(error))
    return images, refused


def comparison_html(
    shelf: ModelShelf, workspace: Workspace, first: str, second: str, files: Sequence[str] | None
) -> str:
    """The table and the maps side by side."""
    pairs, refused = find_pairs(shelf, workspace, first, second, files)
    rows = rows_of(pairs)
    drawn = "".join(_pair_html(pair, first, second) for pair in _chosen(pairs))
    return (
        "".join(notice(escape(reason)) for reason in refused)
        + (_table_html(rows, first, second) if rows else "")
        + f"<div class='lt-pairs'>{drawn}</div>"
    )


def _chosen(pairs: Sequence[Pair]) -> list[Pair]:
    """As many of each part as the page can show."""
    parts = list(dict.fromkeys(p.exhibit.part for p in pairs))
    each = max(2, MOST_DRAWN // max(len(parts), 1))
    chosen = []
    for part in parts:
        own = [p for p in pairs if p.exhibit.part == part]
        step = max(1, -(-len(own) // each))
        chosen += own[::step]
    return chosen[:MOST_DRAWN]


def _table_html(rows: Sequence[Row], first: str, second: str) -> str:
    body = "".join(
        f"<tr><th scope='row'>{escape(readable(row.part))}</th>"
        f"<td>{row.good} good, {row.defective} not</td>"
        f"<td>{percent(row.auroc[0])}</td><td><b>{percent(row.auroc[1])}</b></td>"
        f"<td>{row.false_alarms[0]}</td><td>{row.false_alarms[1]}</td>"
        f"<td>{row.found[0]}</td><td>{row.found[1]}</td>"
        f"<td>{row.not_judged[0]}</td><td>{row.not_judged[1]}</td></tr>" for row in rows
    )
    names = f"<th scope='col'>{escape(first)}</th><th scope='col'>{escape(second)}</th>"
    return (
        "<div class='lt-scroll'><table class='lt-table'><thead><tr><th></th><th></th>"
        "<th colspan='2' scope='colgroup'>Image AUROC</th>"
        "<th colspan='2' scope='colgroup'>False alarms</th>"
        "<th colspan='2' scope='colgroup'>Defective found</th>"
        "<th colspan='2' scope='colgroup'>Not judged</th></tr><tr>"
        f"<th scope='col'>Part</th><th scope='col'>Pictures</th>{names * 4}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def _pair_html(pair: Pair, first: str, second: str) -> str:
    exhibit = pair.exhibit
    photo = data_url(photo_jpeg(exhibit.image, _SIDE), "image/jpeg")
    truth = {True: "defective", False: "good", None: ""}[exhibit.is_defective]
    words = " · ".join(filter(None, (readable(exhibit.part), exhibit.title, truth)))
    aspect = f"{exhibit.image.width}/{exhibit.image.height}"
    return (
        f"<section class='lt-card lt-pair' style='--lt-photo:url({photo});--lt-aspect:{aspect}'>"
        f"<h4>{escape(words)}</h4><div>{_side_html(pair.first, first)}"
        f"{_side_html(pair.second, second)}</div></section>"
    )


def _side_html(detection: Detection, model: str) -> str:
    low, high = detection.map_scale["combined"]
    score, threshold = apart(detection.score, detection.threshold)
    kind = {"anomalous": "bad", "normal": "good"}.get(detection.verdict, "doubtful")
    heat = data_url(heat_png(detection.anomaly_map, low, high), "image/png")
    name = readable(detection.class_name)
    doubt = "" if detection.is_judged else (
        ", the nearest of its classes; this looks like none of the parts this model knows, or it "
        "is damaged beyond recognition"
    )
    return (
        f"<figure><figcaption>{escape(model)}</figcaption><div class='lt-frame lt-still' role='img'"
        f" aria-label='Heatmap of {escape(model)}'><img class='lt-heat' alt='' "
        f"src='{heat}'></div>"
        f"<p class='lt-{kind}'><b>{detection.verdict.capitalize()}</b></p>"
        f"<p class='lt-quiet'>{score} of {threshold}, as {escape(name)}{doubt}</p></figure>"
    )


def pair_record(pair: Pair) -> dict[str, Any]:
    """A pair as plain data for the API."""
    def side(detection: Detection) -> dict[str, Any]:
        return {
            "score": detection.score, "threshold": detection.threshold,
            "verdict": detection.verdict, "is_anomalous": bool(detection.is_anomalous),
            "class_name": detection.class_name, "is_recognised": detection.is_recognised,
        }

    exhibit = pair.exhibit
    return {"title": exhibit.title, "part": exhibit.part, "is_defective": exhibit.is_defective,
            "first": side(pair.first), "second": side(pair.second)}
