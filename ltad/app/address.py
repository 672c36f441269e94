"""The page's address: what of its state can be shared, read back and checked.

``?tab=inspect&class=hex_nut&abnormal=a+dented&lambda=300&example=1_hex_nut_crack``: what is left
out is the model's default. The script ``address.js`` writes it as things change; `restore` brings
the page to the state that an address names, at the first load and when another tab opens an image
in Inspect. An uploaded image is never part of it.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import gradio as gr
from PIL import Image

from ltad.app.components import QUIET, friendly
from ltad.app.controls import (
    KEYS,
    MOST_LETTERS,
    Controls,
    default_settings,
    defaults_text,
    model_choices,
    settings_updates,
    slider_ranges,
)
from ltad.app.sources import open_source
from ltad.inference.registry import ModelRegistry
from ltad.inference.scorer import Scorer
from ltad.io.images import read_image
from ltad.types import ImageError, LTADError
from ltad.workspace import Workspace

MODEL, TAB, EXAMPLE, SOURCE = "model", "tab", "example", "source"
_INSPECT_KEYS = {MODEL, EXAMPLE, SOURCE, *KEYS}
_LONGEST = 4000


@dataclass(frozen=True)
class RequestedState:
    """What an address asks for, checked.

    Attributes:
        tab: id of the tab to open, or "" for the one that is open.
        model: name of the model.
        settings: by `controls.KEYS`, every one of them; None when the address names none.
        example: file name without its ending, or "".
        problems: what was wrong, in sentences; those values are the defaults.
    """

    tab: str
    model: str
    settings: dict[str, Any] | None
    example: str = ""
    problems: list[str] = field(default_factory=list)


def read_address(
    query: str, registry: ModelRegistry, examples: Sequence[Path], tabs: Sequence[str]
) -> RequestedState:
    """What a query such as ``?tab=inspect&lambda=300`` asks for. Unknown keys are not ours."""
    given = {key: values[-1] for key, values in _parse(query).items()}
    problems: list[str] = []
    tab = _one_of(TAB, given.get(TAB, ""), tabs, problems)
    model = _one_of(MODEL, given.get(MODEL, ""), registry.names(), problems) or registry.first.name
    example = _one_of(EXAMPLE, given.get(EXAMPLE, ""), [p.stem for p in examples], problems)
    settings = None
    if _INSPECT_KEYS & set(given):
        try:
            scorer = registry.scorer(model)
        except LTADError as error:
            problems.append(str(error))
            model, scorer = registry.first.name, registry.first
        settings = _read_settings(given, scorer, problems)
    return RequestedState(tab, model, settings, example, problems)


def _parse(query: str) -> dict[str, list[str]]:
    try:
        return parse_qs(query[:_LONGEST].removeprefix("?"), max_num_fields=50)
    except ValueError:
        return {}


def _one_of(key: str, value: str, known: Sequence[str], problems: list[str]) -> str:
    if not value or value in known:
        return value
    problems.append(f"There is no {key} {value[:80]!r} here.")
    return ""


def _read_settings(given: dict[str, str], scorer: Scorer, problems: list[str]) -> dict[str, Any]:
    """The model's settings with those of the address in their place, where they are valid."""
    settings = default_settings(scorer)
    settings["class"] = _one_of("class", given.get("class", ""), scorer.class_names, problems)
    for key in ("normal", "abnormal"):
        words = " ".join(given.get(key, "").split())
        if len(words) > MOST_LETTERS:
            problems.append(f"The words for {key} have more than {MOST_LETTERS} letters.")
        elif words:
            settings[key] = words
    for key, (low, high, _) in slider_ranges(scorer).items():
        if key in given:
            value = _number(given[key])
            if low <= value <= high:
                settings[key] = value
            else:
                problems.append(
                    f"{key} is {given[key][:40]!r}, but it must be a number from {low:g} to "
                    f"{high:g}; {settings[key]:g} is used."
                )
    return settings


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def restore(
    registry: ModelRegistry, examples: Sequence[Path], tabs: Sequence[str], query: str, model: str
) -> list[Any]:
    """Updates of the tabs, the model, its defaults and the settings, in this order.

    What the address does not name stays as it is; a plain visit changes nothing but the list of
    models. Problems appear as one notice on the page.
    """
    requested = read_address(query, registry, examples, tabs)
    if requested.problems:
        gr.Warning(html.escape("In the address: " + " ".join(requested.problems), quote=False))
    opened = gr.Tabs(selected=requested.tab) if requested.tab else gr.skip()
    if requested.settings is None:
        return [opened, model_choices(registry, model), *[gr.skip()] * (1 + len(KEYS))]
    scorer = registry.scorer(requested.model)
    return [
        opened, model_choices(registry, requested.model), defaults_text(scorer, requested.model),
        *settings_updates(scorer, requested.settings),
    ]


def open_image(workspace: Workspace, examples: Sequence[Path], query: str) -> Image.Image:
    """The image that an address names, as `source` or as `example`.

    Raises:
        LTADError: there is none, or it cannot be read.
    """
    given = {key: values[-1] for key, values in _parse(query).items()}
    if SOURCE in given:
        return open_source(workspace, given[SOURCE])
    paths = {path.stem: path for path in examples}
    if given.get(EXAMPLE) in paths:
        return read_image(paths[given[EXAMPLE]])
    raise ImageError("The address names no image that is here. Upload one.")


def name_tabs(opened: dict[str, gr.Tab]) -> None:
    """Write into the address which tab is open. Call it first: listeners run in this order."""
    for place, (name, tab) in enumerate(opened.items()):
        is_first = json.dumps(place == 0)
        tab.select(None, js=f"() => window.ltad.address.tab({json.dumps(name)}, {is_first})")


def restore_at_load(
    page: gr.Blocks, registry: ModelRegistry, workspace: Workspace, examples: Sequence[Path],
    tab_names: Sequence[str], tabs: gr.Tabs, controls: Controls, image: gr.Image,
) -> None:
    """Inside ``page``: bring it to the state that its address names, and again when asked."""
    query = gr.Textbox(visible=False, label="Address")
    reopen = gr.Button("Open in Inspect", elem_id="lt-open", visible="hidden")
    show = gr.Button("Show", elem_id="lt-show", visible="hidden")
    restored = gr.on(
        [page.load, reopen.click], friendly(partial(restore, registry, examples, tab_names)),
        [query, controls.model],
        [tabs, controls.model, controls.defaults, *controls.settings],
        js="(query, model) => [window.ltad.address.take(), model]", **QUIET,
    )
    restored.success(None, js="() => window.ltad.address.show()")
    # A listener of its own: to "skip" an upload field, Gradio would put a plain one in its place.
    show.click(
        friendly(lambda query, model: open_image(workspace, examples, query)),
        [query, controls.model], image,
        js="(query, model) => [window.ltad.address.shown(), model]", **QUIET,
    )
