"""A part that nobody trained, in the Inspect tab: a few good photographs, a name, and its answers.

What a visitor showed lives in their session as prepared images; the scorer made of them is only
cached (:class:`ltad.inference.reference_mode.ReferenceRegistry`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from ltad.app.components import PRIVATE, friendly
from ltad.app.controls import (
    KEYS,
    Controls,
    default_settings,
    defaults_text,
    settings_updates,
    slider_ranges,
)
from ltad.app.html import render
from ltad.data.datasets import SUFFIXES
from ltad.inference.reference_mode import (
    LONGEST_NAME,
    MOST_IMAGES,
    ReferenceRegistry,
    ReferenceScorer,
    checked_name,
)
from ltad.inference.registry import ModelRegistry
from ltad.io.images import Prepared, read_image
from ltad.types import Detection, SettingError

Record = Callable[[Detection, bool], dict[str, Any]]
"""Makes the API's answer of a detection, with its maps or without."""


@dataclass(frozen=True)
class References:
    """What a visitor showed of a part.

    Attributes:
        images: made ready for `model`.
        name: what it is, in words.
        model: the model whose encoder and prompts are used.
    """

    images: tuple[Prepared, ...]
    name: str
    model: str


@dataclass(frozen=True)
class ReferencePanel:
    """The components, and the state that holds a `References` or None."""

    state: gr.State
    name: gr.Textbox
    files: gr.File
    show: gr.Button
    leave: gr.Button
    note: gr.HTML


_MADE = ReferenceRegistry()


def scorer_for(registry: ModelRegistry, model: str, references: References | None) -> Any:
    """The model's scorer, or the one for what the visitor showed of another part."""
    base = registry.scorer(model)
    if references is None or references.model != model:
        return base
    return _MADE.scorer(base, references.images, references.name)


def read_references(
    registry: ModelRegistry, model: str, name: str, files: list[str] | None
) -> References:
    """The references in uploaded files. Raises ImageError and SettingError."""
    if not files:
        raise SettingError(
            f"There is no photograph of the part. Give one to {MOST_IMAGES}, all of good parts."
        )
    if len(files) > MOST_IMAGES:
        raise SettingError(
            f"There are {len(files)} photographs, but at most {MOST_IMAGES} are taken here. With "
            "more, teach the model the part in the Train tab."
        )
    base = registry.scorer(model)
    images = tuple(base.prepare(read_image(file, Path(file).name)) for file in files)
    return References(images, checked_name(name), model)


def show_references(
    registry: ModelRegistry, model: str, name: str, files: list[str] | None
) -> list[Any]:
    """Take the references in: state, note, the button that leaves them, defaults and settings."""
    references = read_references(registry, model, name, files)
    scorer = scorer_for(registry, model, references)
    values = {**default_settings(scorer), "class": references.name}
    updates = settings_updates(scorer, values)
    updates[0] = gr.update(choices=[references.name], value=references.name, interactive=False)
    # The page may ask once more before its sliders have moved: where they stand must stay allowed.
    for update, (_, highest, _) in zip(
        updates[3:], slider_ranges(registry.scorer(model)).values(), strict=True
    ):
        update["maximum"] = max(update["maximum"], highest)
    return [references, note_html(scorer), gr.update(visible=True),
            defaults_text(scorer, model, values), *updates]


def leave_references(registry: ModelRegistry, model: str) -> list[Any]:
    """Back to the model's own classes; outputs as `show_references`."""
    scorer = registry.scorer(model)
    updates = settings_updates(scorer, default_settings(scorer))
    updates[0]["interactive"] = True
    return [None, "", gr.update(visible=False), defaults_text(scorer, model), *updates]


def note_html(scorer: ReferenceScorer) -> str:
    """What is compared with, and what so few images can say."""
    name = scorer.class_names[0]
    count = scorer.checkpoint.about["split_counts"][name]
    return render("inspect.references_note", name, count, scorer.turns)


def score_by_references(
    registry: ModelRegistry, record: Record, files: list[str] | None, name: str,
    image: Image.Image | None,
    *settings_and_model: Any,
) -> dict[str, Any]:
    """Score one image of a part that no model knows, beside good ones.

    Args:
        record: makes the answer.
        settings_and_model: v^n, v^a, lambda, tau, false-alarm rate, weight of the reference map
            (each None or empty for its default), whether to include the maps, and the model.
    """
    *settings, include_maps, model = settings_and_model
    if image is None:
        raise SettingError("There is no photograph to judge. Send one beside the references.")
    references = read_references(registry, model, name, files)
    scorer = scorer_for(registry, model, references)
    normal, abnormal, lam, tau, rate, weight = (value if value != "" else None
                                                for value in settings)
    detection = scorer.score(
        image, references.name, normal, abnormal, lam, tau, rate or 0.05, weight
    )
    return record(detection, include_maps)


def build_panel() -> ReferencePanel:
    """Lay the panel out, inside the current column."""
    with gr.Accordion("Inspect a part that nobody trained", open=False, elem_id="lt-references"):
        gr.HTML(render("inspect.references_intro"))
        name = gr.Textbox(label="What it is, in words", placeholder="door hinge", max_lines=1,
                          max_length=LONGEST_NAME, elem_id="lt-reference-name")
        files = gr.File(label="Photographs of good ones", file_count="multiple", height=130,
                        file_types=sorted(SUFFIXES), elem_id="lt-reference-files")
        show = gr.Button("Compare with these", size="sm", elem_id="lt-reference-show")
        note = gr.HTML(elem_id="lt-reference-note")
        leave = gr.Button("Back to the model's own parts", size="sm", visible=False,
                          elem_id="lt-reference-leave")
    return ReferencePanel(gr.State(None, time_to_live=3600), name, files, show, leave, note)


def wire_panel(registry: ModelRegistry, panel: ReferencePanel, controls: Controls) -> None:
    """Connect the panel to the controls; afterwards the page asks for an answer."""
    outputs = [panel.state, panel.note, panel.leave, controls.defaults, *controls.settings]
    shown = panel.show.click(
        friendly(partial(show_references, registry)), [controls.model, panel.name, panel.files],
        outputs, show_progress_on=[panel.note], api_visibility="private",
    )
    left = panel.leave.click(
        friendly(partial(leave_references, registry)), controls.model, outputs,
        show_progress_on=[panel.note], api_visibility="private",
    )
    for done in (shown, left):
        done.success(None, js="() => window.ltad.askOnce()")
    # Another model's encoder may be another one: what was shown has to be shown again.
    controls.model.change(
        lambda: [None, "", gr.update(visible=False), gr.update(interactive=True)], None,
        [panel.state, panel.note, panel.leave, controls.settings[0]],
        trigger_mode="multiple", **PRIVATE,
    )


def build_endpoint(registry: ModelRegistry, record: Record, image: gr.Image) -> None:
    """The API's ``score_by_references``."""
    def hidden(kind: type, label: str, **settings: Any) -> Any:
        return kind(label=label, visible=False, **settings)

    numbers = [hidden(gr.Number, label, value=None) for label in KEYS[3:]]
    gr.Button(visible=False).click(
        friendly(partial(score_by_references, registry, record)),
        [hidden(gr.File, "Good images", file_count="multiple"), hidden(gr.Textbox, "Name"), image,
         hidden(gr.Textbox, "Words for normal"), hidden(gr.Textbox, "Words for anomalous"),
         *numbers, hidden(gr.Checkbox, "Include the maps"), hidden(gr.Textbox, "Model")],
        hidden(gr.JSON, "Record"), api_name="score_by_references",
        api_description=f"Score one image of a part that no model was trained on, beside one to "
        f"{MOST_IMAGES} good images of it and its name in words. What is left empty takes its "
        "default. Answers as score.",
    )
