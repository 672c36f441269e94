"""A Detection as HTML: the verdict, the three maps with their boxes, and the table of regions.

Pure functions of the record. Every text that a visitor or a model folder can choose goes through
`ltad.app.html.escape`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import numpy as np

from ltad.app.html import apart, escape, notice, number, readable
from ltad.io import heatmap
from ltad.io.heatmap import heat_png
from ltad.types import Detection, Region

MAPS = (
    ("combined", "anomaly_map", "Combined"),
    ("reconstruction", "reconstruction_map", "Reconstruction"),
    ("semantic", "semantic_map", "Semantic"),
    ("reference", "reference_map", "Reference"),
)
_SIGNS = {"reconstruction": "S<sub>rec</sub>", "semantic": "S<sub>sem</sub>",
          "reference": "S<sub>ref</sub>"}
_ICONS = {
    "bad": "<path d='M6 6l8 8M14 6l-8 8'/>",
    "good": "<path d='M5 10.5l3.5 3.5L15 7'/>",
    "doubtful": "<path d='M6 10h8'/>",
}
DOUBT = "<b>This looks like none of the parts this model knows; " \
    "the verdict is not to be trusted.</b>"


@dataclass(frozen=True)
class Photo:
    """A picture on show: what the scorer needs, and what the page draws under the maps.

    Attributes:
        prepared: the scorer's own record of the picture.
        jpeg_url: the photograph as a data URL, in its own proportions.
        width, height: of the photograph in pixels.
        model: name of the model that `prepared` is for; "" is the first one.
    """

    prepared: object
    jpeg_url: str
    width: int
    height: int
    model: str = ""


@dataclass(frozen=True)
class Refusal:
    """In place of a `Photo`: why the picture cannot be used."""

    reason: str


def refused_answer(refusal: Refusal) -> str:
    """What stands in place of a verdict when the picture was refused."""
    return (
        f"<div class='lt-empty' role='alert'><h2>This picture cannot be used</h2>"
        f"<p>{escape(refusal.reason)}</p></div>"
    )


def empty_answer(has_examples: bool) -> str:
    """What stands in place of a verdict before there is a picture."""
    choice = ", or click one of the examples" if has_examples else ""
    return (
        "<div class='lt-empty'><h2>Show me a part</h2>"
        f"<p>Drop a photograph into the field, paste one, or use the camera{choice}. The verdict, "
        "heatmaps and the suspicious regions appear here.</p></div>"
    )


def no_answer() -> str:
    """What stands in place of a verdict when there is a picture but its settings cannot be used."""
    return (
        "<div class='lt-empty'><h2>No answer to these settings</h2>"
        "<p>The message says why. Change them, and the answer comes back.</p></div>"
    )


def answer_html(detection: Detection) -> str:
    """The notices, the verdict card and the recognised class."""
    is_doubtful = detection.is_judged and not detection.is_recognised
    return (
        f"{notice(DOUBT) if is_doubtful else ''}<div class='lt-top'>{verdict_html(detection)}"
        f"{class_html(detection)}</div>"
    )


def verdict_html(detection: Detection) -> str:
    """The verdict in a word with an icon, the score on its gauge, and the explanation."""
    kind = {"anomalous": "bad", "normal": "good"}.get(detection.verdict, "doubtful")
    doubt = "" if detection.is_recognised else " lt-doubtful"
    mark = "?" if doubt and detection.is_judged else ""
    return (
        f"<section class='lt-card lt-verdict lt-{kind}{doubt}' aria-label='Verdict'>"
        f"<h2>{icon(kind)}{detection.verdict.capitalize()}{mark}</h2>"
        f"{'' if detection.is_judged else unjudged_html(detection)}"
        f"{gauge_html(detection.score, detection.threshold, detection.map_scale['combined'][0])}"
        f"{f'<p>{escape(detection.explanation)}</p>' if detection.is_judged else ''}</section>"
    )


def unjudged_html(detection: Detection) -> str:
    """Why there is no verdict, what to do, and on which side of the threshold the picture lies."""
    side = "it is above the threshold, so worth a look" if detection.is_anomalous \
        else "it is not above the threshold"
    return (
        "<p><b>This looks like none of the parts this model knows, or it is damaged beyond "
        "recognition.</b> If it is one of them, choose its class by hand. If not, "
        "<button type='button' class='lt-link' data-lt-references>show one to eight good "
        "ones</button> and it is judged at once, or teach the model this part in the Train "
        "tab.</p>"
        f"<p class='lt-quiet'>Measured as {escape(readable(detection.class_name))}, the class "
        f"nearest to it, {side}; that class's threshold need not fit:</p>"
    )


def icon(kind: str) -> str:
    """The sign of a verdict, "bad", "good" or "doubtful", as SVG."""
    return f"<svg viewBox='0 0 20 20' aria-hidden='true'>{_ICONS[kind]}</svg>"


NONSENSE = "a blorf"
"""Stands for words that say nothing."""
NOTICEABLE = 0.05
"""A difference of two semantic scores in [0, 1] that counts as one."""
LITTLE = 0.05
"""Share of the pixels below which words do as much as a nonsense word."""


def effect_html(share: float) -> str:
    """What the anomalous words do: a line for the page's script on what changed since the last
    ones, and a notice when a word without meaning does as much."""
    idle = notice(
        f"A word without meaning (“{NONSENSE}”) gives almost the same semantic map: only "
        f"{100 * share:.1f}% of its pixels differ by more than {NOTICEABLE:g}. Here the anomalous "
        "words decide next to nothing."
    ) if share < LITTLE else ""
    return f"<p class='lt-quiet lt-moved' role='status'></p>{idle}"


def gauge_html(
    score: float, threshold: float, start: float, before: float | None = None
) -> str:
    """A linear bar between two numbers, with the score filled in and a tick at the threshold.

    It begins at `start`, the map's usual low, and keeps the threshold in its middle until the
    score needs more room. An earlier score, `before`, is marked and named too.
    """
    start = min(start, threshold)
    full = max(2 * (threshold - start), 1.15 * (score - start), 1e-9)
    fill, tick, mark = (
        100 * max(0.0, value - start) / full for value in (score, threshold, before or 0.0)
    )
    side = "above" if score > threshold else "not above"
    score_text, threshold_text = apart(score, threshold)
    earlier = earlier_text = ""
    if before is not None:
        earlier = f"<i class='lt-before' style='left:{min(mark, 100):.1f}%'></i>"
        earlier_text = f"<span>before {number(before)}</span>"
    return (
        f"<div class='lt-gauge' role='img' aria-label='Score {score_text}, {side} the "
        f"threshold {threshold_text}'><div class='lt-track-row'><span>{number(start)}</span>"
        f"<div class='lt-track'><i class='lt-fill' style='width:{fill:.1f}%'></i>"
        f"{earlier}<i class='lt-tick' style='left:{tick:.1f}%'></i></div>"
        f"<span>{number(start + full)}</span></div>"
        f"<div class='lt-gauge-text'><b>score {score_text}</b>{earlier_text}"
        f"<span>threshold {threshold_text}</span></div></div>"
    )


def class_html(detection: Detection) -> str:
    """The class used and the three most probable ones as bars."""
    title, origin = readable(detection.class_name), "recognised from the picture"
    if detection.was_class_given:
        origin = "chosen by you"
    elif not detection.is_recognised:
        title, origin = "Not recognised", "far from every class of this model"
    looks = "What the picture looks like" if detection.is_judged else "Nearest classes"
    # Probabilities say which class, given that it is one: of a stranger they would mislead.
    rows = "".join(
        f"<li><span>{escape(readable(name))}</span>" + (
            f"<i class='lt-bar'><i style='width:{100 * probability:.1f}%'></i></i>"
            f"<b>{100 * probability:.0f}%</b></li>" if detection.is_recognised else "</li>")
        for name, probability in list(detection.class_probabilities.items())[:3]
    )
    bars = (f"<p class='lt-quiet lt-bars-title'>{looks}:</p><ul class='lt-bars'>{rows}</ul>"
            if len(detection.class_probabilities) > 1 else "")
    return (
        "<section class='lt-card lt-class' aria-label='Recognised class'>"
        f"<h3>{escape(title)}</h3><p class='lt-quiet'>{origin}</p>{bars}</section>"
    )


@dataclass(frozen=True)
class Map:
    """A map of a Detection as the page shows it: branch, values (H, W), title and formula."""

    key: str
    values: np.ndarray
    title: str
    formula: str


def maps_of(detection: Detection) -> list[Map]:
    """The maps that there are, the sum first."""
    return [
        Map(key, getattr(detection, attribute), title, _SIGNS.get(key) or sum_formula(detection))
        for key, attribute, title in MAPS if getattr(detection, attribute) is not None
    ]


def sum_formula(detection: Detection) -> str:
    """What the score is made of: equation (5), or which share of it each branch has."""
    weights = detection.weights
    if not detection.is_in_units:
        further = " + μ S<sub>ref</sub>" if weights.get("reference") else ""
        return f"S = S<sub>rec</sub> + λ S<sub>sem</sub>{further}"
    return " + ".join(f"{100 * weight:.0f}% {_SIGNS[name]}"
                      for name, weight in weights.items() if weight)


def maps_html(
    detection: Detection, photo: Photo, outline_url: str = "", effect: str = ""
) -> str:
    """The maps over the photograph, with the values under the pointer packed beside them.

    Args:
        detection, photo: what is drawn.
        outline_url: a transparent picture that is laid over each.
        effect: HTML right under the maps.
    """
    maps = maps_of(detection)
    height, width = detection.anomaly_map.shape
    packed, ranges = heatmap.pack_maps([one.values for one in maps])
    figures = "".join(_figure_html(detection, outline_url, one) for one in maps)
    return (
        f"<div class='lt-maps' data-packed='{packed}' data-ranges='{json.dumps(ranges)}' "
        f"data-width='{width}' data-height='{height}' "
        f"data-words='{escape(detection.normal_prompt)} / {escape(detection.abnormal_prompt)}' "
        f"style='--lt-photo:url({photo.jpeg_url});--lt-aspect:{photo.width}/{photo.height};"
        f"--lt-count:{len(maps)}'>"
        f"{figures}</div>{effect}{scores_html(detection)}{regions_html(detection, photo)}"
    )


def scores_html(detection: Detection) -> str:
    """How the score relates to its parts and to the highest pixel, which need not agree."""
    if detection.is_in_units:
        return _unit_scores_html(detection)
    weighted = detection.lam * detection.semantic_score
    return (
        f"<p class='lt-quiet lt-scores'>The score is the highest mean over a patch of the combined "
        "map, so a single pixel may lie above it, and above the threshold. Each map alone has its "
        f"highest patch at its own place: reconstruction {number(detection.reconstruction_score)}, "
        f"λ × semantic {number(weighted)} ({number(detection.lam)} × "
        f"{number(detection.semantic_score)}); their sum need not be the score.</p>"
    )


def _unit_scores_html(detection: Detection) -> str:
    """The same where branches count in units of good images, and which of them are in the score."""
    used = [name for name, weight in detection.weights.items() if weight]
    idle = [name for name in detection.weights if name not in used]
    without = f" The {idle[0]} branch has no part in it." if len(idle) == 1 else ""
    if "reference" in used and "reconstruction" in used:
        without = (" <button type='button' class='lt-link' data-lt-published>Only LTAD's two "
                   "branches, as published</button>.")
    return (
        f"<p class='lt-quiet lt-scores'>The verdict used: <b>{' + '.join(used)}</b>.{without} Each "
        "branch is put on the scale of held-out good images of the class: 0 is an ordinary place, "
        "1 the most suspicious place of an ordinary image. The score is the highest mean over a "
        "patch of the combined map, so a single pixel may lie above it.</p>"
    )


def _figure_html(detection: Detection, outline_url: str, one: Map) -> str:
    key, title, formula, values = one.key, one.title, one.formula, one.values
    low, high = detection.map_scale[key]
    spoken_formula = re.sub("<[^>]*>", "", formula)  # where a narrow map cuts it off
    heat = heatmap.data_url(heat_png(values, low, high), "image/png")
    # Half a hundredth of the scale is nothing to read, and would be written as a power of ten.
    low_text, high_text = apart(0.0 if abs(low) < 0.005 * (high - low) else low, high)
    boxes, tick = "", ""
    outline = f"<img class='lt-outline' src='{outline_url}' alt=''>" if outline_url else ""
    if key == "combined":
        boxes = "".join(
            _box_html(index, region, values.shape)
            for index, region in enumerate(detection.regions, 1)
        )
        share = 100 * (detection.pixel_threshold - low) / max(high - low, 1e-12)
        if 0 <= share <= 100:
            tick = f"<i style='left:{share:.1f}%' title='regions begin here'></i>"
    return (
        f"<figure><figcaption><b>{title}</b><span title='{spoken_formula}'>{formula}</span>"
        f"<button type='button' class='lt-enlarge' aria-label='Enlarge the {title.lower()} map' "
        "title='Enlarge'>⤢</button></figcaption>"
        f"<div class='lt-frame' tabindex='0' role='img' aria-label='{title} heatmap over the "
        f"photograph of {escape(readable(detection.class_name))}, highest value "
        f"{number(float(values.max()))}. Arrow keys read single values.'>"
        f"<img class='lt-heat' src='{heat}' alt='' draggable='false'>{outline}{boxes}"
        "<i class='lt-cross-x'></i><i class='lt-cross-y'></i></div>"
        f"<div class='lt-legend'><span>{low_text}</span>"
        f"<span class='lt-scale' style='background-image:{heatmap.scale_gradient()}'>{tick}</span>"
        f"<span>{high_text}</span></div>"
        f"<output class='lt-value'>highest pixel {number(float(values.max()))}</output></figure>"
    )


def _box_html(index: int, region: Region, shape: tuple[int, int]) -> str:
    height, width = shape
    place = (
        f"left:{100 * region.left / width:.2f}%;top:{100 * region.top / height:.2f}%;"
        f"width:{100 * (region.right - region.left) / width:.2f}%;"
        f"height:{100 * (region.bottom - region.top) / height:.2f}%"
    )
    return f"<span class='lt-box' style='{place}'><b>{index}</b></span>"


def photo_box(
    region: Region, shape: tuple[int, int], photo: Photo
) -> tuple[int, int, int, int]:
    """A region's left, top, right, bottom in pixels of the photograph."""
    across, down = photo.width / shape[1], photo.height / shape[0]
    return (
        round(region.left * across), round(region.top * down),
        round(region.right * across), round(region.bottom * down),
    )


def regions_html(detection: Detection, photo: Photo) -> str:
    """The numbered regions as a table, or a sentence when there is none."""
    if not detection.regions:
        return "<p class='lt-quiet'>No region rises above the threshold for single pixels.</p>"
    shape = detection.anomaly_map.shape
    rows = ""
    for index, region in enumerate(detection.regions, 1):
        left, top, right, bottom = photo_box(region, shape, photo)
        share = 100 * region.area / (shape[0] * shape[1])
        rows += (
            f"<tr><th scope='row'>{index}</th><td>{number(region.score)}</td>"
            f"<td>{share:.1f}%</td><td>x {left}–{right}, y {top}–{bottom}</td></tr>"
        )
    return (
        "<table class='lt-table'><caption>Suspicious regions</caption><thead><tr>"
        "<th scope='col'>No.</th><th scope='col'>Highest score</th><th scope='col'>Share</th>"
        f"<th scope='col'>Photograph pixels</th></tr></thead><tbody>{rows}</tbody></table>"
    )


def prompt_notes(normal: str, abnormal: str, unknown: list[str]) -> str:
    """What a prompt writer should know about the two prompts, or nothing."""
    notes = []
    if normal.split() == abnormal.split():
        notes.append("Both prompts are the same, so S<sub>sem</sub> is 0.5 everywhere.")
    if unknown:
        words = ", ".join(f"<b>{escape(word)}</b>" for word in unknown)
        notes.append(f"Not whole words of the vocabulary, so read in pieces: {words}.")
    return "".join(notice(text) for text in notes)
