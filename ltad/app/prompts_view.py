"""What the Prompts tab shows, as HTML: the grid of maps, two pairs compared, tables of AUROC."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from ltad.app.detection_view import Photo
from ltad.app.html import apart, number, render
from ltad.io import heatmap
from ltad.io.heatmap import heat_png
from ltad.prompts.experiment import figure_text
from ltad.prompts.grid import ImageReading, Pair, common_scale
from ltad.review.export import guarded
from ltad.types import GROUPS

CHANCE = 50.0  # percent; the heat table's colours begin here
_CAPTION = 36  # letters of a prompt that a figure's caption shows
_STRIDE = 4  # of every so many pixels one is enough for a small map
_BLUE, _RED = (37, 99, 235), (220, 38, 38)


def grid_html(
    readings: Sequence[ImageReading], photo: Photo, class_name: str, own_scale: bool
) -> str:
    """A table of small semantic maps: a row for each v^n, a column for each v^a."""
    normals = list(dict.fromkeys(r.pair.normal for r in readings))
    abnormals = list(dict.fromkeys(r.pair.abnormal for r in readings))
    by_pair = {r.pair: r for r in readings}
    shared = common_scale(readings, "semantic")
    rows = {
        normal: [_cell(by_pair[Pair(normal, abnormal)], None if own_scale else shared)
                 for abnormal in abnormals] for normal in normals
    }
    return render(
        "prompts.grid", rows, abnormals, photo, class_name, None if own_scale else apart(*shared),
        heatmap.scale_gradient(),
    )


def _cell(reading: ImageReading, scale: tuple[float, float] | None) -> dict[str, Any]:
    heat = heat_png(reading.maps["semantic"][::_STRIDE, ::_STRIDE],
                    *(scale or reading.scale["semantic"]))
    score, threshold = reading.scores["semantic"], reading.thresholds["semantic"]
    score_text, threshold_text = apart(score, threshold)
    return {"pair": reading.pair, "heat": heatmap.data_url(heat, "image/png"),
            "score": score_text, "threshold": threshold_text, "is_above": score > threshold}


def compare_html(readings: Sequence[ImageReading], photo: Photo) -> str:
    """Two readings side by side with their difference, semantic above combined."""
    (first, second), shown, figures = readings, [], []
    for branch in ("semantic", "combined"):
        low, high = common_scale((first, second), branch)
        maps = (first.maps[branch], second.maps[branch])
        difference = maps[1] - maps[0]
        # Its own scale, or small differences could not be seen; noise is not blown up to it.
        limit = max(float(np.abs(difference).max()), (high - low) / 40, 1e-12)
        figures += [
            _figure(branch, reading.maps[branch], heat_png(reading.maps[branch], low, high),
                    apart(low, high), heatmap.scale_gradient())
            | {"side": side, "pair": _shortened(reading.pair), "score": reading.scores[branch]}
            for side, reading in (("A", first), ("B", second))
        ]
        figures.append(
            _figure(branch, difference, difference_png(difference, limit),
                    (f"−{number(limit)}", f"+{number(limit)}"), difference_gradient())
            | {"pair": None})
        shown += [*maps, difference]
    return render("prompts.compare", photo, figures, *heatmap.pack_maps(shown), shown[0].shape)


def _figure(
    branch: str, values: np.ndarray, heat: bytes, ends: tuple[str, str], gradient: str
) -> dict[str, Any]:
    return {
        "branch": branch, "low": number(float(values.min())), "high": number(float(values.max())),
        "heat": heatmap.data_url(heat, "image/png"), "ends": ends, "gradient": gradient,
    }


def _shortened(pair: Pair) -> Pair:
    """A pair whose long prompts end in dots; the boxes hold them whole."""
    return Pair(*(w if len(w) <= _CAPTION else f"{w[:_CAPTION - 1].rstrip()}…"
                  for w in (pair.normal, pair.abnormal)))


def difference_png(values: np.ndarray, limit: float) -> bytes:
    """A difference drawn from blue (-`limit`) over nothing (0) to red (+`limit`)."""
    share = np.clip(values / max(limit, 1e-12), -1, 1)
    colour = np.where(share[..., None] < 0, _BLUE, _RED).astype(np.uint8)
    alpha = (255 * np.sqrt(np.abs(share))).round().astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate([colour, alpha[..., None]], axis=2)).save(buffer, "PNG")
    return buffer.getvalue()


def difference_gradient() -> str:
    """The scale of `difference_png` as a CSS gradient."""
    blue, red = (" ".join(map(str, colour)) for colour in (_BLUE, _RED))
    return (f"linear-gradient(90deg, rgb({blue}), rgb({blue} / 0) 50%, rgb({red} / 0) 50%, "
            f"rgb({red}))")


def heat_table_html(frame: pd.DataFrame, metric: str, branch: str, name: str) -> str:
    """AUROC in percent of every pair: rows v^n, columns v^a; the best pair stands out.

    Args:
        frame: `Outcome.frame` of one state.
        metric, branch: which AUROC.
        name: a group or a class.
    """
    column = f"{metric}_{branch}"
    table = frame[frame["name"] == name].pivot(
        index="normal_prompt", columns="abnormal_prompt", values=column
    ).reindex(index=frame["normal_prompt"].unique(), columns=frame["abnormal_prompt"].unique())
    best = table.astype(float).max(axis=None, skipna=True)
    rows = {
        normal: [_heat_cell(Pair(str(normal), str(abnormal)), value, value == best)
                 for abnormal, value in values.items()] for normal, values in table.iterrows()
    }
    return render("prompts.heat_table", metric, branch, name, list(table.columns), rows)


def _heat_cell(
    pair: Pair, value: float | None, is_best: bool
) -> tuple[Pair, float | None, float, bool]:
    if value is None or np.isnan(value):
        return pair, None, 0.0, False
    return pair, value, 55 * min(max((value - CHANCE) / (100 - CHANCE), 0.0), 1.0), is_best


def change_table_html(frame: pd.DataFrame, names: Sequence[str], title: str) -> str:
    """AUROC before and after with the difference, for All, High, Low and some classes."""
    states = {s: group.set_index("name") for s, group in frame.groupby("state")}
    columns = [(m, b) for m in ("image", "pixel") for b in ("semantic", "combined")]
    rows = {
        name: [_change(*(states[s].loc[name, f"{m}_{b}"] for s in ("before", "after")))
               for m, b in columns] for name in [*names, *GROUPS]
    }
    return render("prompts.change_table", title, columns, rows)


def _change(before: float | None, after: float | None) -> tuple[float | None, float | None]:
    return (None, None) if figure_text(before) == "n/a" else (before, after)


def exports_html(frame: pd.DataFrame, command: str, file: str) -> str:
    """A link to the figures as CSV, and the command that repeats the experiment."""
    csv = base64.b64encode(guarded(frame).to_csv(index=False).encode()).decode()
    return render("prompts.exports", f"data:text/csv;charset=utf-8;base64,{csv}", file, command)
