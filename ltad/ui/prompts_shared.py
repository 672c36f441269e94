"""What the Prompts tab's panels share: where they read, and what a measurement leaves behind."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr
import pandas as pd

from ltad.prompt_lab.experiment import Outcome
from ltad.prompt_lab.lab import PromptLab
from ltad.types import SettingError
from ltad.ui.text import escape

BUSY = {"concurrency_limit": 1, "concurrency_id": "prompt-lab", "api_visibility": "private"}
QUIET = {"show_progress": "hidden", "trigger_mode": "always_last", "api_visibility": "private"}
NO_DATA = (
    "There is no test set yet. Start the page with a server folder that holds a data set in MVTec "
    "AD's layout, or evaluate a model (`python -m ltad evaluate --run NAME`): its data is offered "
    "here. Models of rendered parts need nothing."
)


@dataclass(frozen=True)
class Sources:
    """The components of the tab that the panels read.

    Attributes:
        photo: the picture's state.
        model, normals, abnormals, lam, tau: the controls.
        boxes: v^n and v^a of pair A, then of pair B.
    """

    photo: gr.State
    model: gr.Dropdown
    normals: gr.Textbox
    abnormals: gr.Textbox
    lam: gr.Number
    tau: gr.Number
    boxes: list[gr.Textbox]


@dataclass(frozen=True)
class Measured:
    """What a finished measurement leaves with the page: plain data, no model."""

    frame: pd.DataFrame
    command: str
    about: str


def measured(lab: PromptLab, model: str, data: str, outcome: Outcome) -> Measured:
    """An outcome as plain data, with the sentence that says how it was made."""
    grid = outcome.before
    about = (
        f"{len(grid.pairs)} pair{'s' if len(grid.pairs) > 1 else ''} on {grid.pictures} pictures "
        f"of {escape(data)} in <b>{outcome.seconds:.1f} s</b>. Image AUROC is exact; pixels are "
        f"counted on maps of {grid.pixel_size} × {grid.pixel_size}."
    )
    command = lab.command(model, outcome.experiment, data)
    return Measured(outcome.frame(), command, about)


def chosen_data(data: str | None) -> str:
    """The name of the chosen test set. Raises SettingError when there is none."""
    if not data:
        raise SettingError(NO_DATA.replace("`", ""))
    return data
