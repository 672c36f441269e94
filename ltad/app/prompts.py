"""The Prompts tab: pairs of prompts on one image and on a whole test set."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.context import Context
from PIL import Image

from ltad.app import prompts_view
from ltad.app.components import PRIVATE, QUIET, Update, friendly, photo_upload
from ltad.app.detection_view import ReadyPhoto, prompt_notes
from ltad.app.html import readable, render
from ltad.app.prompts_api import build_endpoints
from ltad.app.prompts_panels import Sources, build_panels, build_replacement
from ltad.evaluation.ablations import ABNORMAL_PROMPTS, NORMAL_PROMPTS
from ltad.inference.registry import ModelRegistry
from ltad.inference.scorer import Scorer
from ltad.io import heatmap
from ltad.prompts.experiment import Experiment
from ltad.prompts.grid import Pair, measure_image, prompt_list, readings_frame
from ltad.prompts.lab import PromptLab
from ltad.workspace import Workspace

AUTOMATIC = ""
SCALES = ("One scale for all", "Each pair's own")
_FIRST_PAIRS = (Pair("a", "a broken"), Pair("a flawless", "a damaged"))


def load_photo(lab: PromptLab, model: str, image: Image.Image | None) -> ReadyPhoto | None:
    """The uploaded image made ready once for a model, for all the answers that follow."""
    if image is None:
        return None
    url = heatmap.data_url(heatmap.photo_jpeg(image), "image/jpeg")
    return ReadyPhoto(url, *image.size, lab.scorer(model).prepare(image), model)


def name_to_replace(lab: PromptLab, photo: ReadyPhoto | None) -> tuple[str | Update, str | Update]:
    """The image's class for the panel of names, and its words."""
    if photo is None:
        return gr.skip(), gr.skip()
    name = lab.scorer(photo.model).recognise(photo.prepared).best
    return name, readable(name)


def show_grid(
    lab: PromptLab, has_examples: bool, photo: ReadyPhoto | None, model: str, class_name: str,
    normals: str, abnormals: str, lam: float | None, tau: float | None, scale: str,
) -> tuple[str | Update, str | Update, str | Update]:
    """The grid of maps, its exports, and the notes on the words, each as HTML."""
    if photo is not None and photo.model != model:
        return gr.skip(), gr.skip(), gr.skip()  # it is being made ready for the new model
    scorer = lab.scorer(model)
    experiment = Experiment(
        prompt_list(normals, "normal"), prompt_list(abnormals, "abnormal"), lam=lam, tau=tau
    )
    words = " ".join((*experiment.normal_prompts, *experiment.abnormal_prompts))
    notes = prompt_notes("n", "a", list(dict.fromkeys(scorer.unknown_words(words))))
    if photo is None:
        return render("prompts.nothing_yet", has_examples), "", notes
    seen = scorer.recognise(photo.prepared)
    name = class_name or seen.best
    readings = measure_image(scorer, photo.prepared, name, experiment.pairs, lam, tau)
    command = lab.command(model, experiment, image="PICTURE", class_name=name)
    doubt = "" if class_name or seen.is_known else render("prompts.doubt", name)
    return (
        doubt + prompts_view.grid_html(readings, photo, name, scale == SCALES[1]),
        prompts_view.exports_html(readings_frame(readings, name), command, "prompt-grid.csv"),
        notes,
    )


def show_pairs(
    lab: PromptLab, photo: ReadyPhoto | None, model: str, class_name: str, lam: float | None,
    tau: float | None, normal_a: str, abnormal_a: str, normal_b: str, abnormal_b: str,
) -> str | Update:
    """Pair A, pair B, their difference and its exports, as HTML."""
    if photo is not None and photo.model != model:
        return gr.skip()
    if photo is None:
        return render("prompts.no_pairs")
    scorer = lab.scorer(model)
    name = class_name or scorer.recognise(photo.prepared).best
    pairs = [typed_pair(scorer, normal_a, abnormal_a), typed_pair(scorer, normal_b, abnormal_b)]
    readings = measure_image(scorer, photo.prepared, name, pairs, lam, tau)
    experiment = Experiment(
        tuple(dict.fromkeys(pair.normal for pair in pairs)),
        tuple(dict.fromkeys(pair.abnormal for pair in pairs)), lam=lam, tau=tau,
    )
    command = lab.command(model, experiment, image="PICTURE", class_name=name)
    return prompts_view.compare_html(readings, photo) + prompts_view.exports_html(
        readings_frame(readings, name), command, "prompt-pairs.csv"
    )


def typed_pair(scorer: Scorer, normal: str, abnormal: str) -> Pair:
    """A pair as typed; an empty box means the model's own prompt."""
    model = scorer.config.model
    return Pair(" ".join(normal.split()) or model.normal_prompt,
                " ".join(abnormal.split()) or model.abnormal_prompt)


def class_choices(scorer: Scorer) -> list[tuple[str, str]]:
    """The classes for a dropdown, without the automatic choice."""
    return [(readable(name), name) for name in scorer.class_names]


def refresh(
    lab: PromptLab, model: str, class_name: str, data: str, refits: list[tuple[str, str]],
) -> tuple[Any, ...]:
    """Updates of model, class, data set, replaced class, other class, lambda and tau."""
    models = [(name, name) for name in lab.registry.names()] + list(refits)
    known = model if model in [key for _, key in models] else lab.registry.first.name
    scorer = lab.scorer(known)
    names, offered = list(scorer.class_names), [one.name for one in lab.data_sets(known)]
    chosen = class_name if class_name in names else AUTOMATIC
    choices = class_choices(scorer)
    return (
        gr.update(choices=models, value=known),
        gr.update(choices=[("Recognise automatically", AUTOMATIC), *choices], value=chosen),
        gr.update(choices=offered, value=data if data in offered else next(iter(offered), None)),
        gr.update(choices=[("every class", "*"), *choices], value=names[0]),
        gr.update(choices=choices, value=names[-1]),
        scorer.config.model.lam, scorer.config.model.tau,
    )


def build_prompts(registry: ModelRegistry, workspace: Workspace, examples: Sequence[Path]) -> None:
    """Lay out the tab inside the current ``gr.Blocks`` and wire it up.

    Args:
        registry: the models.
        workspace: where features lie and saved models go.
        examples: images to click.
    """
    lab = PromptLab(registry, workspace)
    with gr.Row(elem_classes="lt-columns"):
        with gr.Column(elem_classes="lt-left", min_width=0):
            image = photo_upload(
                label="Photograph", sources=["upload", "clipboard", "webcam"], height=220,
                buttons=[], elem_id="lt-prompts-photo",
            )
            if examples:
                gr.Examples(
                    [[str(path)] for path in examples], [image], label="Examples",
                    example_labels=None, cache_examples=False, examples_per_page=8,
                    api_visibility="private", elem_id="lt-prompts-examples",
                )
        with gr.Column(elem_classes=["lt-left"], min_width=0):
            controls = _build_controls(registry)
        with gr.Column(elem_classes=["lt-right", "lt-prompts"], min_width=0):
            scale = gr.Radio(SCALES, value=SCALES[0], label="Colours", elem_id="lt-prompts-scale")
            grid = gr.HTML(render("prompts.nothing_yet", bool(examples)), elem_id="lt-prompts-maps")
            grid_exports = gr.HTML()
            gr.Markdown("## Two pairs\nPress A or B in a cell, or type. The difference is B "
                        "minus A.")
            boxes = _build_pair_boxes()
            compared = gr.HTML(elem_id="lt-prompts-compared")
            photo = gr.State(time_to_live=3600)
            model, class_name, normals, abnormals, lam, tau, notes = controls
            sources = Sources(photo, model, normals, abnormals, lam, tau, boxes)
            data, refits = build_panels(lab, sources)
            replaced, words, other = build_replacement(lab, sources, data)
    live = [model, class_name, normals, abnormals, lam, tau]
    _wire_photo(lab, image, model, photo, [replaced, words])
    _wire_answers(lab, photo, live, scale, boxes, [grid, grid_exports, notes], compared,
                  bool(examples))
    _wire_refresh(lab, [model, class_name, data, refits],
                  [model, class_name, data, replaced, other, lam, tau])
    build_endpoints(lab)


def _build_controls(registry: ModelRegistry) -> tuple[Any, ...]:
    """Model, class, the two lists, lambda, tau and the notes on the words."""
    own = registry.first.config.model
    model = gr.Dropdown(registry.names(), value=registry.first.name, label="Model",
                        elem_id="lt-prompts-model")
    class_name = gr.Dropdown(
        [("Recognise automatically", AUTOMATIC), *class_choices(registry.first)], value=AUTOMATIC,
        label="Class of the part",
    )
    lists = [
        gr.Textbox("\n".join(words), label=label, lines=4, max_lines=8, max_length=1000,
                   info="One prompt a line; up to eight.")
        for label, words in (("Words for normal, vⁿ", NORMAL_PROMPTS),
                             ("Words for anomalous, vᵃ", ABNORMAL_PROMPTS))
    ]
    notes = gr.HTML()
    with gr.Row():
        lam, tau = (
            gr.Number(value, label=label, minimum=low, min_width=110)
            for label, value, low in (("λ", own.lam, 0), ("τ", own.tau, 0.01))
        )
    reset = gr.Button("Reset to Table 9's prompts", size="sm")
    defaults = ["\n".join(NORMAL_PROMPTS), "\n".join(ABNORMAL_PROMPTS)]
    reset.click(lambda: defaults, None, lists, **QUIET)
    return model, class_name, *lists, lam, tau, notes


def _build_pair_boxes() -> list[gr.Textbox]:
    boxes = []
    with gr.Row(elem_classes="lt-prompts-boxes"):
        for side, pair in zip("AB", _FIRST_PAIRS, strict=True):
            for sign, words in (("vⁿ", pair.normal), ("vᵃ", pair.abnormal)):
                boxes.append(gr.Textbox(words, label=f"{side}: {sign}", max_lines=1,
                                        max_length=200, min_width=120))
    return boxes


def _wire_photo(
    lab: PromptLab, image: gr.Image, model: gr.Dropdown, photo: gr.State, renamed: list[Any]
) -> None:
    load = gr.Button("Load", elem_id="lt-prompts-load", visible="hidden")
    image.change(None, js="() => window.ltad.press('lt-prompts-load', 50)")
    model.change(None, js="() => window.ltad.press('lt-prompts-load', 0)")
    loaded = load.click(friendly(partial(load_photo, lab)), [model, image], photo, **QUIET)
    loaded.success(None, js="() => window.ltad.prompts.ask(0)")
    loaded.success(friendly(partial(name_to_replace, lab)), photo, renamed, **QUIET)
    forgotten = loaded.failure(lambda: None, None, photo, **PRIVATE)
    forgotten.then(None, js="() => window.ltad.prompts.ask(0)")


def _wire_answers(
    lab: PromptLab, photo: gr.State, live: list[Any], scale: gr.Radio, boxes: list[gr.Textbox],
    grid: list[gr.HTML], compared: gr.HTML, has_examples: bool,
) -> None:
    ask = gr.Button("Grid", elem_id="lt-prompts-ask", visible="hidden")
    compare = gr.Button("Compare", elem_id="lt-prompts-compare", visible="hidden")
    pick = gr.Button("Pick", elem_id="lt-prompts-picked", visible="hidden")
    model, class_name, normals, abnormals, lam, tau = live
    answered = gr.on(
        [ask.click, scale.change], friendly(partial(show_grid, lab, has_examples)),
        [photo, *live, scale], grid, **QUIET,
    )
    # An answer to other settings must not stay beside an error message.
    failed = answered.failure(
        lambda photo: (render("prompts.nothing_yet", has_examples) if photo is None
                       else render("inspect.no_answer"), ""),
        photo, grid[:2], **QUIET,
    )
    for over in (answered.success, failed.then):
        over(None, js="() => window.ltad.answered()")
    comparison = compare.click(
        friendly(partial(show_pairs, lab)), [photo, model, class_name, lam, tau, *boxes],
        compared, **QUIET,
    )
    comparison.failure(lambda: "", None, compared, **QUIET)
    comparison.then(None, js="() => window.ltad.answered()")
    for control in (class_name, normals, abnormals, lam, tau):
        control.change(None, js="() => window.ltad.prompts.ask(300)")
    for box in boxes:
        box.change(None, js="() => window.ltad.press('lt-prompts-compare', 300)")
    pick.click(None, boxes, boxes, js="(...boxes) => window.ltad.prompts.pick(boxes)")


def _wire_refresh(lab: PromptLab, inputs: list[Any], outputs: list[Any]) -> None:
    """Choices follow the model, and what the folders hold when the page is opened."""
    model = inputs[0]
    update = friendly(partial(refresh, lab))
    page = Context.root_block
    assert page is not None
    page.load(update, inputs, outputs, **QUIET)
    model.input(update, inputs, outputs, **QUIET)
