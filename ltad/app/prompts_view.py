"""What the Prompts tab shows, as HTML: the grid of maps, two pairs compared, tables of AUROC.

Pure functions of records. Every text that a visitor or a folder can choose goes through `escape`.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence

import numpy as np
import pandas as pd
from PIL import Image

from ltad.app.detection_view import Photo
from ltad.app.html import apart, escape, number, readable
from ltad.io import heatmap
from ltad.io.heatmap import heat_png
from ltad.prompts.experiment import figure_text
from ltad.prompts.grid import Pair, PictureReading, common_scale
from ltad.review.export import guarded
from ltad.types import GROUPS

CHANCE = 50.0  # percent; the heat table's colours begin here
_CAPTION = 36  # letters of a prompt that a figure's caption shows
_STRIDE = 4  # of every so many pixels one is enough for a small map
_ICON = {True: "above its threshold", False: "not above its threshold"}
_BLUE, _RED = (37, 99, 235), (220, 38, 38)


def empty_grid(has_examples: bool) -> str:
    """What stands in place of the grid before there is a picture."""
    choice = ", or click an example" if has_examples else ""
    return (
        "<div class='lt-prompts-empty'><h2>What do other words see?</h2>"
        f"<p>Drop a photograph into the field{choice}. Each pair of prompts then draws its own "
        "map here. The AUROC below needs no picture: choose a test set and measure.</p></div>"
    )


def grid_html(
    readings: Sequence[PictureReading], photo: Photo, class_name: str, own_scale: bool
) -> str:
    """A table of small semantic maps: a row for each v^n, a column for each v^a."""
    normals = list(dict.fromkeys(r.pair.normal for r in readings))
    abnormals = list(dict.fromkeys(r.pair.abnormal for r in readings))
    by_pair = {r.pair: r for r in readings}
    shared = common_scale(readings, "semantic")
    head = "".join(_heading(words, "col") for words in abnormals)
    rows = ""
    for normal in normals:
        cells = "".join(
            _cell_html(by_pair[Pair(normal, abnormal)], None if own_scale else shared)
            for abnormal in abnormals
        )
        rows += f"<tr>{_heading(normal, 'row')}{cells}</tr>"
    low, high = apart(*shared)
    legend = (
        "Each map has its own scale, from its pair's good pictures." if own_scale else
        f"One scale for all: <span>{low}<i class='lt-scale' style='background-image:"
        f"{heatmap.scale_gradient()}'></i>{high}</span>"
    )
    return (
        f"<div class='lt-prompts-scroll' style='--lt-photo:url({photo.jpeg_url});--lt-aspect:"
        f"{photo.width}/{photo.height}'><table class='lt-prompts-grid'>"
        f"<caption><span>S<sub>sem</sub> of this picture as <b>{escape(readable(class_name))}</b>; "
        "rows vⁿ, columns vᵃ</span></caption>"
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
        f"<p class='lt-quiet lt-prompts-legend'>{legend}</p>"
    )


def _heading(words: str, scope: str) -> str:
    """A heading of which prompts.css shows the first lines."""
    text = escape(words)
    return f"<th scope='{scope}'><span title='{text}'>{text}</span></th>"


def _cell_html(reading: PictureReading, scale: tuple[float, float] | None) -> str:
    low, high = scale or reading.scale["semantic"]
    heat = heatmap.data_url(
        heat_png(reading.maps["semantic"][::_STRIDE, ::_STRIDE], low, high), "image/png"
    )
    score, threshold = reading.scores["semantic"], reading.thresholds["semantic"]
    score_text, threshold_text = apart(score, threshold)
    is_above = score > threshold
    words = f"{escape(reading.pair.normal)} / {escape(reading.pair.abnormal)}"
    return (
        f"<td><button type='button' class='lt-prompts-map' {pick_data(reading.pair, 'a')} "
        f"aria-label='Make {words} pair A: score {score_text}, {_ICON[is_above]}'>"
        f"<img class='lt-heat' src='{heat}' alt='' draggable='false'></button>"
        f"<div class='lt-prompts-score{' lt-bad' if is_above else ''}' title='threshold "
        f"{threshold_text}: {_ICON[is_above]}'><b>{score_text}</b>{_pick_buttons(reading.pair)}"
        "</div></td>"
    )


def pick_data(pair: Pair, side: str) -> str:
    """Attributes by which the script knows the pair and the side that a click chooses."""
    return f"data-lt-pick='{side}' data-lt-pair='{escape(json.dumps([*vars(pair).values()]))}'"


def _pick_buttons(pair: Pair) -> str:
    words = f"{escape(pair.normal)} / {escape(pair.abnormal)}"
    return "<span class='lt-prompts-pick'>" + "".join(
        f"<button type='button' {pick_data(pair, side)} aria-label='Make {words} pair "
        f"{side.upper()}'>{side.upper()}</button>" for side in "ab"
    ) + "</span>"


def compare_html(first: PictureReading, second: PictureReading, photo: Photo) -> str:
    """Two readings side by side with their difference, semantic above combined."""
    shown, figures = [], ""
    for branch, formula in (("semantic", "S<sub>sem</sub>"), ("combined", "S")):
        low, high = common_scale((first, second), branch)
        maps = (first.maps[branch], second.maps[branch])
        difference = maps[1] - maps[0]
        # Its own scale, or small differences could not be seen; noise is not blown up to it.
        limit = max(float(np.abs(difference).max()), (high - low) / 40, 1e-12)
        for side, reading in (("A", first), ("B", second)):
            title = (f"<b>{side}</b> {escape(_shortened(reading.pair))} <span>{formula}, score "
                     f"{number(reading.scores[branch])}</span>")
            figures += _figure_html(
                title, heat_png(reading.maps[branch], low, high), apart(low, high),
                heatmap.scale_gradient(), reading.maps[branch],
            )
        figures += _figure_html(
            f"<b>B − A</b> <span>{formula}</span>", difference_png(difference, limit),
            (f"−{number(limit)}", f"+{number(limit)}"), difference_gradient(), difference,
            "lt-prompts-difference",
        )
        shown += [*maps, difference]
    height, width = shown[0].shape
    packed, ranges = heatmap.pack_maps(shown)
    return (
        f"<div class='lt-maps lt-prompts-maps' data-packed='{packed}' "
        f"data-ranges='{json.dumps(ranges)}' data-width='{width}' data-height='{height}' "
        f"style='--lt-photo:url({photo.jpeg_url});--lt-aspect:{photo.width}/{photo.height}'>"
        f"{figures}</div>"
    )


def _shortened(pair: Pair) -> Pair:
    """A pair whose long prompts end in dots; the boxes hold them whole."""
    return Pair(*(w if len(w) <= _CAPTION else f"{w[:_CAPTION - 1].rstrip()}…"
                  for w in (pair.normal, pair.abnormal)))


def _figure_html(
    title: str, heat: bytes, ends: tuple[str, str], gradient: str, values: np.ndarray,
    kind: str = "",
) -> str:
    low, high = number(float(values.min())), number(float(values.max()))
    return (
        f"<figure><figcaption>{title}</figcaption><div class='lt-frame {kind}' tabindex='0' "
        f"role='img' aria-label='Heatmap from {low} to {high}. Arrow keys read single values.'>"
        f"<img class='lt-heat' src='{heatmap.data_url(heat, 'image/png')}' alt='' "
        "draggable='false'><i class='lt-cross-x'></i><i class='lt-cross-y'></i></div>"
        f"<div class='lt-legend'><span>{ends[0]}</span><span class='lt-scale' "
        f"style='background-image:{gradient}'></span><span>{ends[1]}</span></div>"
        f"<output class='lt-value'>{low} to {high}</output></figure>"
    )


def difference_png(values: np.ndarray, limit: float) -> bytes:
    """A difference drawn from blue (-`limit`) over nothing (0) to red (+`limit`)."""
    share = np.clip(values / max(limit, 1e-12), -1, 1)
    colour = np.where(share[..., None] < 0, np.uint8(_BLUE), np.uint8(_RED))
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
    head = "".join(_heading(words, "col") for words in table.columns)
    rows = ""
    for normal, values in table.iterrows():
        cells = "".join(
            _heat_cell(Pair(normal, abnormal), value, value == best)
            for abnormal, value in values.items()
        )
        rows += f"<tr>{_heading(normal, 'row')}{cells}</tr>"
    return (
        "<div class='lt-prompts-scroll'><table class='lt-prompts-grid lt-prompts-heat'>"
        f"<caption><span>{metric.capitalize()} AUROC, {branch}, {escape(readable(name))}, in "
        f"percent; rows vⁿ, columns vᵃ</span></caption><thead><tr><td></td>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
    )


def _heat_cell(pair: Pair, value: float | None, is_best: bool) -> str:
    if value is None or np.isnan(value):
        return "<td>n/a</td>"
    share = 55 * min(max((value - CHANCE) / (100 - CHANCE), 0.0), 1.0)
    mark = " class='lt-prompts-best' title='the best pair'" if is_best else ""
    return f"<td style='--lt-share:{share:.1f}%'{mark}><b>{value:.2f}</b>{_pick_buttons(pair)}</td>"


def change_table_html(frame: pd.DataFrame, names: Sequence[str], title: str) -> str:
    """AUROC before and after with the difference, for All, High, Low and some classes."""
    states = {s: group.set_index("name") for s, group in frame.groupby("state")}
    columns = [(m, b) for m in ("image", "pixel") for b in ("semantic", "combined")]
    head = "".join(f"<th scope='col'>{m.capitalize()}, {b}</th>" for m, b in columns)
    rows = ""
    for name in [*names, *GROUPS]:
        cells = "".join(
            _change_cell(*(states[s].loc[name, f"{m}_{b}"] for s in ("before", "after")))
            for m, b in columns
        )
        rows += f"<tr><th scope='row'>{escape(readable(name))}</th>{cells}</tr>"
    return (
        f"<div class='lt-prompts-scroll'><table class='lt-table lt-prompts-change'><caption>"
        f"<span>{title}</span></caption><thead><tr><td></td>{head}</tr></thead><tbody>{rows}</tbody></table>"
        "</div>"
    )


def _change_cell(before: float | None, after: float | None) -> str:
    if figure_text(before) == "n/a":
        return "<td>n/a</td>"
    change = after - before
    kind = "lt-good" if change > 0.005 else "lt-bad" if change < -0.005 else ""
    told = f"{change:+.2f}" if kind else "0.00"
    return f"<td>{before:.2f} → <b>{after:.2f}</b> <span class='{kind}'>{told}</span></td>"


def exports_html(frame: pd.DataFrame, command: str, file: str) -> str:
    """A link to the figures as CSV, and the command that repeats the experiment."""
    csv = base64.b64encode(guarded(frame).to_csv(index=False).encode()).decode()
    return (
        "<div class='lt-prompts-exports'>"
        f"<a download='{file}' href='data:text/csv;charset=utf-8;base64,{csv}'>Download CSV</a>"
        f"<button type='button' data-lt-prompts-copy='{escape(command)}'>Copy the command</button>"
        f"<code>{escape(command)}</code></div>"
    )


NOT_YET = "<p class='lt-quiet lt-prompts-wait'>Nothing measured yet.</p>"
"""What stands where a table will be; the progress is drawn over it."""


def paragraph(text: str) -> str:
    """A quiet remark; `text` is HTML."""
    return f"<p class='lt-quiet'>{text}</p>"
