"""The gallery of a run's test images: which are shown, in what order, and how a page looks."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from scipy.ndimage import binary_dilation

from ltad.app.html import apart, render
from ltad.evaluation.runs import Run
from ltad.io import heatmap
from ltad.io.heatmap import heat_png
from ltad.types import SettingError

PAGE_SIZE = 48
ALL, GOOD = "", "good"
SORTS = {
    "false alarms": "False alarms first",
    "misses": "Misses first",
    "highest": "Highest score first",
    "lowest": "Lowest score first",
    "doubtful": "Nearest to the threshold",
    "order": "As in the test set",
}
_HEAT_PERCENTILES = (50, 99.7)  # of a class's map values: invisible, and fully coloured
_BADGES = {"found": "Found", "missed": "Missed", "false alarm": "False alarm", "passed": "Passed"}


@dataclass(frozen=True)
class GalleryQuery:
    """Which images to show, and in what order; the empty string is "all".

    Attributes:
        class_name, verdict: as in the judged frame; verdict may be "errors" or "disagree".
        defect: a defect type, or "good".
        sort: a key of `SORTS`.
        chosen: indices to keep, or None for all.
    """

    class_name: str = ALL
    defect: str = ALL
    verdict: str = ALL
    sort: str = "false alarms"
    chosen: frozenset[int] | None = None


def read_chosen(text: str, run: str) -> frozenset[int] | None:
    """The selection on the map of `run`; None for no selection, or one on another run's map.

    Args:
        text: as the page sends it: ``{"run": NAME, "pictures": [INDEX, ...]}``, or "".
        run: the run on show.

    Raises:
        SettingError: it is something else.
    """
    if not text.strip():
        return None
    try:
        selection = json.loads(text)
        chosen = frozenset(int(index) for index in selection["pictures"])
        return chosen if selection["run"] == run and chosen else None
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise SettingError('The selection must be {"run": NAME, "pictures": [0, 7]}.') from error


def select(judged: pd.DataFrame, query: GalleryQuery) -> pd.DataFrame:
    """The rows that a query asks for, in its order.

    Args:
        judged: of ``results_operating.judge``; the verdict "disagree" needs ``other_verdict`` too.
        query: which and how.

    Raises:
        SettingError: an unknown order.
    """
    if query.sort not in SORTS:
        raise SettingError(f"{query.sort!r} is no order. There are: {', '.join(SORTS)}.")
    keep = pd.Series(True, index=judged.index)
    if query.class_name:
        keep &= judged["class_name"] == query.class_name
    if query.defect:
        keep &= judged["defect"] == ("" if query.defect == GOOD else query.defect)
    if query.verdict == "errors":
        keep &= judged["verdict"].isin(["false alarm", "missed"])
    elif query.verdict == "disagree":
        others = judged.get("other_verdict", judged["verdict"])
        keep &= (others != "") & (others != judged["verdict"])
    elif query.verdict:
        keep &= judged["verdict"] == query.verdict
    if query.chosen is not None:
        keep &= judged["index"].isin(list(query.chosen))
    return _sorted(judged.loc[keep], query.sort)


def _sorted(frame: pd.DataFrame, sort: str) -> pd.DataFrame:
    """Errors come worst first: by how far they lie on the wrong side."""
    is_kind = {"false alarms": "false alarm", "misses": "missed"}.get(sort)
    if is_kind:
        sign = 1 if sort == "misses" else -1
        keys = [(frame["verdict"] != is_kind).to_numpy(), sign * frame["distance"].to_numpy()]
    elif sort == "order":
        keys = [frame["index"].to_numpy()]
    else:
        by = {"highest": -frame["score"], "lowest": frame["score"],
              "doubtful": frame["distance"].abs()}[sort]
        keys = [by.to_numpy()]
    return frame.iloc[np.lexsort([frame["index"].to_numpy(), *reversed(keys)])]


def page_of(frame: pd.DataFrame, page: int, size: int = PAGE_SIZE) -> tuple[pd.DataFrame, int, int]:
    """The rows of a page, its number from 1 cut to those there are, and how many there are."""
    pages = max(1, math.ceil(len(frame) / size))
    page = min(max(1, int(page)), pages)
    return frame.iloc[(page - 1) * size : page * size], page, pages


def record(row: Mapping[str, Any]) -> dict[str, Any]:
    """A judged image as plain data."""
    return {
        "index": int(row["index"]), "class_name": row["class_name"], "defect": row["defect"],
        "path": row["path"], "score": float(row["score"]), "threshold": float(row["threshold"]),
        "verdict": row["verdict"],
    }


def gallery_html(
    run: Run, chosen: pd.DataFrame, page: int, opening: dict[str, Any], chip: str = ""
) -> tuple[str, int]:
    """A page of images as HTML, and the page's number.

    Args:
        run: whose images.
        chosen: rows of `select`.
        page: from 1.
        opening: what Inspect needs beside the source: model, prompts, lam, tau, rate.
        chip: HTML shown beside the counts.
    """
    rows, page, pages = page_of(chosen, page)
    if rows.empty:
        return render("results.no_picture", chip), 1
    scales = _heat_scales(run, set(rows["class_name"]))
    maps = run.maps()
    cards = [
        _card(run, row, maps[int(row["index"])], scales[row["class_name"]], opening)
        for row in rows.to_dict("records")
    ]
    first = (page - 1) * PAGE_SIZE + 1
    return render("results.gallery", cards, first, len(chosen), page, pages, chip), page


def _heat_scales(run: Run, class_names: Collection[str]) -> dict[str, tuple[float, float]]:
    """Class -> map values drawn as nothing and as the strongest colour, from all its maps."""
    maps, classes = run.maps(), run.images["class_name"].to_numpy()
    scales = {}
    for name in class_names:
        low, high = np.percentile(maps[classes == name].astype(np.float32), _HEAT_PERCENTILES)
        scales[name] = (float(low), float(high))
    return scales


def _card(
    run: Run, row: Mapping[str, Any], values: np.ndarray, scale: tuple[float, float],
    opening: dict[str, Any],
) -> dict[str, Any]:
    index, verdict = int(row["index"]), row["verdict"]
    score, threshold = apart(row["score"], row["threshold"])
    outline, other = outline_png(run, index), row.get("other_verdict", "")
    return {
        "class_name": row["class_name"], "defect": row["defect"] or GOOD, "path": row["path"],
        "verdict": verdict, "badge": _BADGES[verdict], "score": score, "threshold": threshold,
        "sign": ">" if row["margin"] > 0 else "≤",
        "other": "" if other in ("", verdict) else _BADGES[other],
        "request": opening | {
            "source": f"run:{run.name}/{index}", "class_name": row["class_name"]},
        "photo": _photo_url(run, index),
        "heat": heatmap.data_url(heat_png(values.astype(np.float32), *scale), "image/png"),
        "outline": "" if outline is None else heatmap.data_url(outline, "image/png"),
    }


def _photo_url(run: Run, index: int) -> str:
    path = run.thumbnail(index)
    if not path.is_file():
        return "data:,"
    return heatmap.data_url(path.read_bytes(), "image/jpeg")


def outline_png(run: Run, index: int) -> bytes | None:
    """The rim of the defect, light within dark, as a PNG with transparency of the thumbnail's
    size; None where there is no mask.
    """
    path = run.outline(index)
    if path is None:
        return None
    with Image.open(path, formats=["PNG"]) as file:
        inside = np.asarray(file.convert("1"))
    light = binary_dilation(inside, iterations=2) & ~inside
    dark = binary_dilation(inside, iterations=3) & ~inside & ~light
    image = Image.fromarray(light.astype(np.uint8) + 2 * dark.astype(np.uint8))
    image.putpalette([0, 0, 0, 82, 227, 214, 16, 24, 32])
    buffer = io.BytesIO()
    image.save(buffer, "PNG", transparency=bytes([0, 255, 170]))
    return buffer.getvalue()


def opening_settings(run: Run, models: Sequence[str]) -> dict[str, Any]:
    """What Inspect needs to repeat the run on one image; its model only if it is on the page."""
    settings = run.about.get("settings") or {}
    wanted = ("normal_prompt", "abnormal_prompt", "lam", "tau")
    opening = {key: settings[key] for key in wanted if settings.get(key) is not None}
    model = (run.about.get("model") or {}).get("name")
    return opening | ({"model": model} if model in models else {})
