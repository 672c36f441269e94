"""The settings of an answer: which model, class, words and numbers, and their controls.

Handlers take them in the order of `KEYS`, which are also their names in the page's address.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import gradio as gr

from ltad.app.html import readable
from ltad.inference.registry import ModelRegistry
from ltad.inference.scorer import Scorer

AUTOMATIC = ""
NORMAL_WORDS = ("a", "a normal", "a good", "a flawless")
ABNORMAL_WORDS = ("a broken", "a damaged", "an abnormal", "a defective")
FALSE_ALARM_RATE = 0.05
MOST_LETTERS = 200
KEYS = ("class", "normal", "abnormal", "lambda", "tau", "rate", "reference")


@dataclass(frozen=True)
class Controls:
    """The components of the Inspect tab that other tabs read too.

    Attributes:
        model: the model's name.
        settings: in the order of `KEYS`.
        defaults: what the chosen model sets them to, as JSON; with the model's name as "model".
        notes: remarks on the words.
    """

    model: gr.Dropdown
    settings: list[Any]
    defaults: gr.Textbox
    notes: gr.HTML


def default_settings(scorer: Scorer) -> dict[str, Any]:
    """The model's own settings, by `KEYS`."""
    model = scorer.config.model
    values = (AUTOMATIC, model.normal_prompt, model.abnormal_prompt, model.lam, model.tau,
              FALSE_ALARM_RATE, model.reference_weight)
    return dict(zip(KEYS, values, strict=True))


def slider_ranges(scorer: Scorer) -> dict[str, tuple[float, float, float]]:
    """Lowest, highest and step of the numbers, by key."""
    model = scorer.config.model
    return {
        "lambda": (0.0, max(2.0, 2 * model.lam), 0.05) if model.good_units else
        (0.0, 2 * model.lam or 1000.0, model.lam / 100 or 5.0),
        "tau": (0.1, max(10.0, 2 * model.tau), 0.1),
        "rate": (0.01, 0.5, 0.01),
        "reference": (0.0, max(2.0, 2 * model.reference_weight), 0.05) if model.good_units else
        (0.0, 2 * model.reference_weight or 1.0, model.reference_weight / 100 or 0.01),
    }


def has_reference(scorer: Scorer) -> bool:
    """Whether the model has a reference branch, whose weight can be chosen."""
    return scorer.config.model.reference_size > 0


def class_choices(scorer: Scorer) -> list[tuple[str, str]]:
    """The classes for a dropdown, without the automatic choice."""
    return [(readable(name), name) for name in scorer.class_names]


def model_choices(registry: ModelRegistry, model: str) -> dict[str, Any]:
    """An update of a model's dropdown: the models there are now; hidden when there is one.

    A model that has gone meanwhile gives way to the first one.
    """
    names = registry.names()
    chosen = model if model in names else registry.first.name
    return gr.update(choices=names, value=chosen, visible=len(names) > 1)


def model_choices_now(registry: ModelRegistry, model: str) -> dict[str, Any]:
    """As `model_choices`, but a model that is still there is not set again: an address, or the
    person, may choose another one before this arrives."""
    update = model_choices(registry, model)
    return {key: value for key, value in update.items() if (key, value) != ("value", model)}


def defaults_text(scorer: Scorer, model: str, values: dict[str, Any] | None = None) -> str:
    """The value of `Controls.defaults`: `values` by `KEYS`, by default the model's own."""
    return json.dumps({"model": model, **(values or default_settings(scorer))})


def settings_updates(scorer: Scorer, values: dict[str, Any]) -> list[dict[str, Any]]:
    """Updates of `Controls.settings` for a model: choices, ranges, hints and the given values."""
    own, ranges = default_settings(scorer), slider_ranges(scorer)
    updates = [gr.update(choices=_with_automatic(scorer), value=values["class"])]
    updates += [
        gr.update(value=values[key], placeholder=_hint(own[key])) for key in ("normal", "abnormal")
    ]
    for key, (low, high, step) in ranges.items():
        updates.append(gr.update(minimum=low, maximum=high, step=step, value=values[key]))
    updates[-1]["visible"] = has_reference(scorer)
    return updates


def configure(registry: ModelRegistry, model: str, defaults: str) -> list[Any]:
    """Updates of defaults and settings after another model was chosen; nothing if it was not."""
    if json.loads(defaults)["model"] == model:
        return [gr.skip()] * (1 + len(KEYS))
    scorer = registry.scorer(model)
    return [defaults_text(scorer, model), *settings_updates(scorer, default_settings(scorer))]


def build_controls(registry: ModelRegistry) -> Controls:
    """Lay out the controls with the first model's settings, and the button that restores them."""
    scorer = registry.first
    own, ranges = default_settings(scorer), slider_ranges(scorer)
    names = registry.names()
    model = gr.Dropdown(
        names, value=names[0], label="Model", visible=len(names) > 1, elem_id="lt-model"
    )
    class_name = gr.Dropdown(
        _with_automatic(scorer), value=AUTOMATIC, label="Class of the part"
    )
    normal = _prompt_box("normal", "Words for normal, vⁿ", own["normal"], NORMAL_WORDS)
    abnormal = _prompt_box(
        "abnormal", "Words for anomalous, vᵃ", own["abnormal"], ABNORMAL_WORDS
    )
    notes = gr.HTML(elem_id="lt-notes")
    lam, tau, rate, reference = (
        gr.Slider(low, high, own[key], step=step, label=label, info=info, buttons=[],
                  elem_id=f"lt-{key}-weight" if key == "reference" else None,
                  visible=key != "reference" or has_reference(scorer))
        for (key, (low, high, step)), label, info in zip(
            ranges.items(), _SLIDER_LABELS, _SLIDER_HINTS, strict=True
        )
    )
    settings = [class_name, normal, abnormal, lam, tau, rate, reference]
    defaults = gr.Textbox(defaults_text(scorer, names[0]), visible=False, label="Defaults")
    reset = gr.Button("Reset to the model's defaults", size="sm")
    keys = json.dumps(KEYS)
    reset.click(None, defaults, settings,
                js=f"(own) => {keys}.map((key) => JSON.parse(own)[key])")
    return Controls(model, settings, defaults, notes)


_SLIDER_LABELS = ("λ, weight of the semantic map", "τ, temperature", "False alarms accepted",
                  "Weight of the reference map")
_SLIDER_HINTS = (
    None, None, "Share of good parts that may be called anomalous; sets the threshold.",
    "At 0 the score is LTAD's own two branches, as published.",
)


def _with_automatic(scorer: Scorer) -> list[tuple[str, str]]:
    return [("Recognise automatically", AUTOMATIC), *class_choices(scorer)]


def _hint(words: str) -> str:
    return f"{words} (the model's own)"


def _prompt_box(
    key: str, label: str, words: str, suggestions: tuple[str, ...]
) -> gr.Textbox:
    box = gr.Textbox(
        words, label=label, placeholder=_hint(words), max_lines=1, max_length=MOST_LETTERS,
        elem_id=f"lt-{key}-words",
    )
    with gr.Row(elem_classes="lt-chips"):
        for suggestion in suggestions:
            chip = gr.Button(suggestion, size="sm", min_width=0)
            chip.click(None, None, box, js=f"() => {json.dumps(suggestion)}")
    return box
