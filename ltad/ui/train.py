"""The Train tab: teach the model a part from a few good pictures.

While a training runs, a timer looks every two seconds; the browser remembers which lesson it looked
at. What happens when somebody acts is in ``train_acts.py``.
"""

from __future__ import annotations

from functools import partial

import gradio as gr

from ltad.data.folders import SUFFIXES
from ltad.data.parts import PART_CLASSES
from ltad.shelf import ModelShelf
from ltad.teach import jobs
from ltad.teach.intake import server_choices
from ltad.ui import train_acts
from ltad.ui.errors import friendly
from ltad.ui.train_acts import NEW
from ltad.ui.train_api import build_train_api
from ltad.ui.train_compare import comparison_html
from ltad.ui.train_html import EMPTY
from ltad.workspace import COMMAND, Workspace

PUBLIC = (
    "<div class='lt-empty'><h3>Teach the model a part of your own</h3><p>A training takes minutes "
    "of this machine and its model would be everybody's, so a public page offers none. In a copy "
    "of this repository one command starts the same page for yourself, offline:</p>"
    f"<pre style='white-space: pre-wrap'>{COMMAND}</pre>"
    "<p>Four good pictures of a part are enough to start, 20 are better. "
    "Without the page: <code>.venv/bin/python -m ltad train --help</code></p></div>"
)
SECONDS_BETWEEN_LOOKS = 2.0
_ROLES = [("Good, to learn from", "learn"), ("Good, to test on only", "test good"),
          ("Defective, to test on only", "test defective")]


def build_train(shelf: ModelShelf, workspace: Workspace, tab: gr.Tab) -> None:
    """Lay out the tab inside the current ``gr.Blocks``, wire it up, and go on with trainings that
    a killed server left behind. A public page only says how to train elsewhere."""
    if workspace.is_public:
        gr.HTML(PUBLIC, elem_id="lt-train-public")
        return
    jobs.resume_interrupted(workspace)
    remembered = gr.BrowserState(NEW, storage_key="ltad-lesson", secret="a lesson's name only")
    with gr.Row(elem_classes="lt-columns"):
        with gr.Column(elem_classes="lt-left", min_width=0):
            lesson = gr.Dropdown([("A new model", NEW)], value=NEW, label="Model to teach")
            new_name = gr.Textbox(label="Name of the new model", max_lines=1, max_length=60)
            part = gr.Textbox(label="Part", placeholder="for example: left bracket", max_lines=1,
                              max_length=60, elem_id="lt-train-part")
            role = gr.Radio(_ROLES, value="learn", label="Its pictures are", elem_id="lt-role")
            files = gr.File(
                label="Pictures of the part, or a zip of them", file_count="multiple", height=170,
                file_types=[*sorted(SUFFIXES), ".zip"], elem_id="lt-train-files",
            )
            folder, take, review = _other_sources(workspace)
            keep_old, rate = _options(shelf)
            start = gr.Button("Train", variant="primary", interactive=False)
            with gr.Row():
                cancel = gr.Button("Cancel the training", size="sm", visible=False)
                drop = gr.Button("Discard pictures and training", size="sm", visible=False)
        with gr.Column(elem_classes=["lt-right", "lt-train"], min_width=0):
            status = gr.HTML(elem_id="lt-train-status")
            plot = gr.Plot(label="Losses", show_label=False, visible=False, elem_id="lt-losses")
            figures = gr.HTML(elem_id="lt-train-figures")
            parts = gr.HTML(EMPTY, elem_id="lt-train-parts")
            compared = _build_comparison(shelf, workspace)
    timer = gr.Timer(SECONDS_BETWEEN_LOOKS, active=False)
    watched = [status, plot, figures, start, cancel, drop, timer]
    shown = [parts, *watched]
    quiet = {"show_progress": "hidden", "api_visibility": "private"}
    tab.select(friendly(partial(train_acts.enter, shelf, workspace)), remembered,
               [lesson, new_name, *shown, *compared], **quiet)
    lesson.input(friendly(partial(train_acts.choose, shelf, workspace)), lesson,
                 [remembered, new_name, *shown, *compared], **quiet)
    for source, event, value in (
        ("files", files.upload, files), ("folder", take.click, folder),
        ("review", review.click, role),
    ):
        event(
            friendly(partial(train_acts.add, shelf, workspace, source)),
            [lesson, new_name, part, role, value],
            [lesson, remembered, new_name, files, *shown], api_visibility="private",
            show_progress_on=[parts],
        )
    gr.on(  # pictures may be chosen before their part is named
        [part.submit, part.blur], friendly(partial(train_acts.add_waiting, shelf, workspace)),
        [lesson, new_name, part, role, files],
        [lesson, remembered, new_name, files, *shown], **quiet,
    )
    pressed = gr.Textbox(visible=False, label="Pressed")
    press = gr.Button("Press", elem_id="lt-train-press", visible="hidden")
    press.click(friendly(partial(train_acts.act, workspace)), [lesson, pressed], shown, **quiet,
                js="(lesson, pressed) => [lesson, window.ltad.train.take()]")
    started = start.click(
        friendly(partial(train_acts.begin, workspace)), [lesson, keep_old, rate], shown, **quiet)
    started.success(None, js="() => document.getElementById('lt-train-status')"
                             ".scrollIntoView({ block: 'nearest', behavior: 'smooth' })")
    cancel.click(friendly(partial(train_acts.stop, workspace)), lesson, watched, **quiet)
    drop.click(friendly(partial(train_acts.discard, shelf, workspace)), lesson,
               [lesson, remembered, new_name, *shown], **quiet)
    looked = timer.tick(friendly(partial(train_acts.watch, workspace)), lesson, watched,
                        queue=False, **quiet)
    looked.then(friendly(partial(train_acts.model_updates, shelf)), lesson, compared,
                queue=False, **quiet)
    build_train_api(shelf, workspace)


def _other_sources(workspace: Workspace) -> tuple[gr.Dropdown, gr.Button, gr.Button]:
    """Folders that the operator opened, and what people chose in Review."""
    folders = server_choices(workspace.server_folders)
    with gr.Accordion("From elsewhere", open=False):
        folder = gr.Dropdown(folders, label="Folder on the server", visible=bool(folders))
        take = gr.Button("Take this folder", size="sm", visible=bool(folders))
        review = gr.Button("Take the good pictures chosen in Review", size="sm")
    return folder, take, review


def _options(shelf: ModelShelf) -> tuple[gr.Checkbox, gr.Slider]:
    old = [name for name in shelf.first.class_names if name in PART_CLASSES]
    keep_old = gr.Checkbox(
        False, label="Keep the rendered parts too", visible=bool(old), elem_id="lt-keep",
        info=f"The new model then knows {len(old)} old classes beside the new ones and takes "
        "about three times as long; otherwise it knows the new ones only.",
    )
    rate = gr.Slider(0.01, 0.5, 0.05, step=0.01, label="False alarms accepted in the figures",
                     buttons=[])
    return keep_old, rate


def _build_comparison(shelf: ModelShelf, workspace: Workspace) -> list[gr.Dropdown]:
    """Two models, optional pictures, and the answer; returns the two dropdowns."""
    with gr.Accordion("Compare two models on the same pictures", open=False):
        with gr.Row():
            names = shelf.names()
            first = gr.Dropdown(names, value=names[0], label="One model")
            second = gr.Dropdown(names, value=names[-1], label="Another model")
        files = gr.File(
            label="Pictures; without any, the other model's test or held-out ones",
            file_count="multiple", height=170, file_types=[*sorted(SUFFIXES), ".zip"],
        )
        button = gr.Button("Compare", size="sm")
        answer = gr.HTML(elem_id="lt-compared")
    button.click(friendly(partial(comparison_html, shelf, workspace)), [first, second, files],
                 answer, api_visibility="private", show_progress_on=[answer])
    return [first, second]
