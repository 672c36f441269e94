"""The Draw a defect tab: strokes on a good image, and what the model says to them."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image
from scipy import ndimage

from ltad.app import detection_view
from ltad.app.components import PRIVATE, QUIET, friendly, photo_upload
from ltad.app.controls import Controls
from ltad.app.html import number, render
from ltad.app.inspect import detection_record, typed_prompts
from ltad.app.references import References, scorer_for
from ltad.evaluation.operating_point import Coverage, measure_coverage
from ltad.inference.registry import ModelRegistry
from ltad.inference.scorer import Scorer
from ltad.io import heatmap
from ltad.synthetic.painting import COLOURS, STRENGTHS, WIDTHS, Stroke, draw_strokes, read_strokes
from ltad.types import Detection, LTADError, SettingError

_LINE, _HALO = (255, 255, 255, 255), (10, 10, 10, 255)
SIDE = 512
"""Images are painted on at most this large, which is more than the model sees of them."""


def trial_html(
    before: Detection, after: Detection, coverage: Coverage, is_painted: bool
) -> str:
    """The verdict on what was painted."""
    kind, word, text = "", "Nothing painted yet", "Choose what to paint, then paint it."
    if is_painted:
        kind, word, where = _outcome(after, coverage)
        text = f"{where} {after.explanation}".strip() if after.is_judged else ""
    gauge = detection_view.gauge(after, before.score if is_painted else None)
    return render(
        "draw.trial", before, after, gauge, kind, word, text, _coverage_rows(coverage, after)
    )


def _outcome(after: Detection, coverage: Coverage) -> tuple[str, str, str]:
    """Tone, word and reason: an alarm finds a defect only where the map shows it."""
    if not after.is_judged:
        return "doubtful", "Not judged", ""
    if not after.is_anomalous:
        return "bad", "Missed", ""
    if not coverage.is_shown:
        return "", "An alarm, but elsewhere", (
            "The map is highest away from what you painted, and none of it is above the limit "
            "where regions begin."
        )
    if coverage.found:
        aside = "" if coverage.is_peak_near else " The map is highest elsewhere, though."
        return "good", "Found", (
            f"{_share(coverage.found)} of what you painted is above the limit where regions begin."
            + aside
        )
    return "good", "Found, but not outlined", (
        "The map is highest where you painted, but no painted pixel is above the limit where "
        "regions begin."
    )


def _share(share: float) -> str:
    return "Less than 1%" if 0 < share < 0.01 else f"{share:.0%}"


def _coverage_rows(coverage: Coverage, after: Detection) -> list[tuple[str, str, str]]:
    """The four figures, each with what it says; none before something is painted."""
    if coverage.found is None or coverage.overlap is None or coverage.auroc is None:
        return []
    return [
        ("Painted", f"{coverage.painted:.1%}", "of the image"),
        ("Covered", _share(coverage.found),
         f"of it lies above the limit where regions begin, {number(after.pixel_threshold)}"),
        ("Overlap", f"{coverage.overlap:.2f}", "intersection over union of the two areas"),
        ("AUROC", f"{coverage.auroc:.3f}", "of the map's values, painted against untouched"),
    ]


def outline_png(mask: np.ndarray) -> bytes:
    """The edge of a mask (H, W) as a transparent PNG: a light line with a dark one around it."""
    wide = max(1, round(max(mask.shape) / 256))
    line = mask & ~np.asarray(ndimage.binary_erosion(mask, iterations=wide), bool)
    halo = ndimage.binary_dilation(mask, iterations=wide) & ~mask
    drawn = np.zeros((*mask.shape, 4), np.uint8)
    drawn[line], drawn[halo] = _LINE, _HALO
    return png_bytes(Image.fromarray(drawn))


def png_bytes(image: Image.Image) -> bytes:
    """A PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def maps_html(
    after: Detection, painted: Image.Image, mask: np.ndarray, version: int
) -> str:
    """The three maps over the painted image, the painted area outlined.

    The image itself is carried along for the stage, with the version of the strokes it shows.
    """
    url = heatmap.data_url(heatmap.photo_jpeg(painted, max(painted.size)), "image/jpeg")
    outline = heatmap.data_url(outline_png(mask), "image/png") if mask.any() else ""
    photo = detection_view.Photo(url, *painted.size)
    return render("draw.painted", url, version) + detection_view.maps_html(after, photo, outline)


@dataclass(frozen=True)
class Trial:
    """A painted image, (H, W) mask, and what the model says of it and of the good one."""

    painted: Image.Image
    mask: np.ndarray
    before: Detection
    after: Detection
    coverage: Coverage


def try_defect(
    scorer: Scorer, image: Image.Image, strokes: Sequence[Stroke], class_name: str,
    normal_prompt: str, abnormal_prompt: str, lam: float, tau: float, false_alarm_rate: float,
    reference_weight: float | None = None,
) -> Trial:
    """Paint and score. The class recognised on the good image also judges the painted one."""
    numbers = (*typed_prompts(scorer, normal_prompt, abnormal_prompt), lam, tau, false_alarm_rate,
               reference_weight)
    before = scorer.score(image, class_name or None, *numbers)
    painted, mask = draw_strokes(image, strokes)
    after = replace(  # as sure of the class as before
        scorer.score(painted, before.class_name, *numbers),
        is_recognised=before.is_recognised, was_class_given=before.was_class_given,
    ) if strokes else before
    coverage = measure_coverage(mask, after.anomaly_map, after.pixel_threshold)
    return Trial(painted, mask, before, after, coverage)


def load_canvas(image: Image.Image | None) -> tuple[Image.Image | None, str]:
    """The image to paint on, at most `SIDE` pixels a side, and its stage as HTML."""
    if image is None:
        return None, ""
    reduced = _reduced(image)
    url = heatmap.data_url(heatmap.photo_jpeg(reduced, SIDE), "image/jpeg")
    return reduced, render("draw.stage", url, *reduced.size)


def _reduced(image: Image.Image) -> Image.Image:
    small = image.convert("RGB")
    small.thumbnail((SIDE, SIDE))
    return small


def judge_drawing(
    registry: ModelRegistry, has_examples: bool, image: Image.Image | None, drawing: str,
    model: str, references: References | None, *settings: Any,
) -> tuple[str, str]:
    """The verdict and the maps, as HTML.

    Args:
        drawing: JSON of {"version": int, "strokes": [...]}, from the page.
        references: what the visitor showed in the Inspect tab of a part unknown to the model.
        settings: in the order of `controls.KEYS`.
    """
    if image is None:
        return render("draw.nothing_yet", has_examples), ""
    drawn = _read_drawing(drawing)
    strokes = read_strokes(drawn["strokes"])
    trial = try_defect(scorer_for(registry, model, references), image, strokes, *settings)
    verdict = trial_html(
        trial.before, trial.after, trial.coverage, bool(trial.mask.any())
    )
    maps = maps_html(trial.after, trial.painted, trial.mask, int(drawn["version"]))
    return verdict, maps


def _read_drawing(drawing: str) -> dict[str, Any]:
    try:
        drawn = json.loads(drawing or '{"version": 0, "strokes": []}')
        return {"version": int(drawn["version"]), "strokes": drawn["strokes"]}
    except (ValueError, TypeError, KeyError):
        raise SettingError("The drawing could not be read. Clear it and paint again.") from None


def draw_defect(
    registry: ModelRegistry, image: Image.Image | None, strokes: Any, class_name: str,
    normal_prompt: str, abnormal_prompt: str, lam: float, tau: float, false_alarm_rate: float,
    reference_weight: float, include_pictures: bool, model: str = "",
) -> dict[str, Any]:
    """Paint strokes on a good image and score both: the API's view of the tab."""
    if image is None:
        raise LTADError("There is no image. Send one.")
    drawn = read_strokes([] if strokes is None else strokes)
    trial = try_defect(
        registry.scorer(model), _reduced(image), drawn, class_name, normal_prompt, abnormal_prompt,
        lam, tau, false_alarm_rate, reference_weight,
    )
    record: dict[str, Any] = {
        "before": detection_record(trial.before), "after": detection_record(trial.after),
        "is_found": trial.after.is_anomalous and trial.coverage.is_shown
        if trial.after.is_judged else None,
        "coverage": asdict(trial.coverage), "strokes": [stroke.record() for stroke in drawn],
    }
    if include_pictures:
        mask = Image.fromarray(trial.mask.astype(np.uint8) * np.uint8(255))
        for name, shown in (("painted", trial.painted), ("mask", mask)):
            record[name] = heatmap.data_url(png_bytes(shown), "image/png")
    return record


def good_examples(examples: Sequence[Path]) -> list[Path]:
    """The examples that are called good; all of them if none is."""
    return [path for path in examples if "good" in path.stem] or list(examples)


def build_draw(
    registry: ModelRegistry, examples: Sequence[Path], controls: Controls, references: gr.State,
    tab: gr.Tab,
) -> None:
    """Lay out the tab inside the current ``gr.Blocks`` and wire it up.

    Args:
        controls: the Inspect tab's, whose model and settings judge the drawing.
        references: what was shown there of an unknown part, `References` or None.
    """
    good = good_examples(examples)
    with gr.Row(elem_classes="lt-columns"):
        with gr.Column(elem_classes="lt-left", min_width=0):
            image = photo_upload(
                label="Good image", sources=["upload", "clipboard", "webcam"], height=220,
                buttons=[], elem_id="lt-draw-photo", format="png",
            )
            if good:
                gr.Examples(
                    [[str(path)] for path in good], [image], label="Good examples",
                    example_labels=None, cache_examples=False, examples_per_page=12,
                    api_visibility="private", elem_id="lt-draw-examples",
                )
            gr.HTML(_tools_html(), elem_id="lt-draw-tools")
        with gr.Column(elem_classes=["lt-right", "lt-draw"], min_width=0):
            stage = gr.HTML(elem_id="lt-draw-stage")
            verdict = gr.HTML(render("draw.nothing_yet", bool(good)), elem_id="lt-draw-answer")
            maps = gr.HTML(elem_id="lt-draw-maps")
    _wire(registry, image, controls, references, tab, [stage, verdict, maps], bool(good))
    _build_endpoint(registry, image, controls)


def _wire(
    registry: ModelRegistry, image: gr.Image, controls: Controls, references: gr.State,
    tab: gr.Tab, shown: list[gr.HTML], has_examples: bool,
) -> None:
    canvas_image = gr.State(time_to_live=3600)
    drawing = gr.Textbox(visible=False, label="Drawing")
    load = gr.Button("Load", elem_id="lt-draw-load", visible="hidden")
    ask = gr.Button("Judge", elem_id="lt-draw-ask", visible="hidden")
    stage, *answers = shown
    image.change(None, js="() => window.ltad.press('lt-draw-load', 50)")
    loaded = load.click(friendly(load_canvas), image, [canvas_image, stage], **QUIET)
    loaded.success(None, js="() => window.ltad.draw.start()")
    emptied = loaded.failure(lambda: (None, ""), None, [canvas_image, stage], **PRIVATE)
    emptied.then(None, js="() => window.ltad.draw.start()")
    judged = ask.click(
        friendly(partial(judge_drawing, registry, has_examples)),
        [canvas_image, drawing, controls.model, references, *controls.settings], answers, **QUIET,
        js="(image, drawing, ...rest) => [image, window.ltad.draw.take(), ...rest]",
    )
    judged.success(None, js="() => window.ltad.draw.answered()")
    judged.failure(lambda: (render("draw.nothing_yet", has_examples), ""), None, answers, **QUIET)
    # The settings of the Inspect tab may have changed meanwhile.
    tab.select(None, js="() => window.ltad.draw.ask()")


def _build_endpoint(registry: ModelRegistry, image: gr.Image, controls: Controls) -> None:
    strokes = gr.JSON(label="Strokes", visible=False)
    include_images = gr.Checkbox(False, label="Include the images", visible=False)
    model = gr.Textbox("", label="Model; empty is the first one", visible=False)
    record = gr.JSON(label="Record", visible=False)
    gr.Button(visible=False).click(
        friendly(partial(draw_defect, registry)),
        [image, strokes, *controls.settings, include_images, model], record,
        api_name="draw_defect",
        api_description="Paint strokes on a good image and score both. A stroke is an object "
        "with kind (scratch, stain, hole, crack, erase), points ([x, y] in 0..1), width (share "
        "of the shorter side), strength, seed and colour (#rrggbb). Returns the detections "
        "before and after, is_found (an alarm, and the map shows it where it was painted), and "
        "how much of what was painted the map covers; with "
        "include_pictures also the painted image and its mask as PNG data URLs.",
    )


_TITLES = {"scratch": "Scratch", "stain": "Stain", "hole": "Hole", "crack": "Crack",
           "erase": "Eraser"}
_FIRST_WIDTHS = {"scratch": 1.0, "stain": 14.0, "hole": 8.0, "crack": 1.6, "erase": 8.0}


def _tools_html() -> str:
    kinds = [(kind, _TITLES[kind], colour, _FIRST_WIDTHS[kind]) for kind, colour in COLOURS.items()]
    return render("draw.tools", kinds, 100 * WIDTHS[0], STRENGTHS)
