"""The Train tab: images of good parts in, a model out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import gradio as gr

from ltad.app.components import PRIVATE, friendly
from ltad.app.html import render
from ltad.app.train_api import build_train_api, comparison_html
from ltad.app.train_view import figures_html, loss_figure, parts_html, status_html
from ltad.data.datasets import SUFFIXES
from ltad.inference.registry import ModelRegistry
from ltad.jobs import dataset, worker
from ltad.jobs.dataset import (
    Added,
    add_images,
    from_files,
    from_review,
    from_server_folder,
    server_choices,
)
from ltad.jobs.evaluate import read_figures
from ltad.jobs.job import (
    FINISHED,
    STARTED,
    Job,
    find_job,
    job_names,
    new_job,
    suggested_name,
)
from ltad.synthetic.classes import PART_CLASSES
from ltad.types import LTADError, SettingError
from ltad.workspace import COMMAND, Workspace

NEW = ""
POLL_SECONDS = 2.0
_ROLES = [("Good, to learn from", "learn"), ("Good, to test on only", "test good"),
          ("Defective, to test on only", "test defective")]


def watch(workspace: Workspace, name: str) -> tuple[Any, ...]:
    """Status, losses, figures, what can be pressed, and whether to look again."""
    if not name or name not in job_names(workspace):
        hidden = gr.update(visible=False)
        return "", hidden, "", gr.update(interactive=False), hidden, hidden, gr.Timer(active=False)
    job = find_job(workspace, name)
    state = job.state
    losses = job.progress().losses
    plot = gr.update(value=loss_figure(losses), visible=True) if losses \
        else gr.update(visible=False)
    return (
        status_html(job), plot,
        figures_html(read_figures(job.model_folder)) if state == FINISHED else "",
        gr.update(interactive=state not in (STARTED, FINISHED)),
        gr.update(visible=state == STARTED), gr.update(visible=state != STARTED),
        gr.Timer(active=state == STARTED),
    )


def show(workspace: Workspace, name: str, report: str = "") -> tuple[Any, ...]:
    """The images of a job, with what happened to the last ones, and all of `watch`."""
    known = name in job_names(workspace)
    parts = parts_html(find_job(workspace, name)) if known \
        else render("train.nothing_yet")
    return report + parts, *watch(workspace, name)


def enter(registry: ModelRegistry, workspace: Workspace, remembered: str) -> tuple[Any, ...]:
    """The choice of jobs as the tab opens, on the one that this browser saw last."""
    names = job_names(workspace)
    chosen = remembered if remembered in names else NEW
    return (_choices(names, chosen), *_new_name(registry, workspace, chosen),
            *show(workspace, chosen), *model_updates(registry, chosen))


def choose(registry: ModelRegistry, workspace: Workspace, name: str) -> tuple[Any, ...]:
    """Another job, or a new one."""
    return (name, *_new_name(registry, workspace, name), *show(workspace, name),
            *model_updates(registry, name))


def _choices(names: Sequence[str], chosen: str) -> Any:
    return gr.update(choices=[("A new model", NEW), *[(n, n) for n in names]], value=chosen)


def _new_name(registry: ModelRegistry, workspace: Workspace, chosen: str) -> tuple[Any]:
    return (gr.update(visible=chosen == NEW, value=suggested_name(workspace, registry.names())),)


def model_updates(registry: ModelRegistry, name: str) -> tuple[Any, Any]:
    """The two models to compare: the first one, and the job's or the newest."""
    names = registry.names()
    second = name if name in names else names[-1]
    return gr.update(choices=names, value=names[0]), gr.update(choices=names, value=second)


def add(
    registry: ModelRegistry, workspace: Workspace, source: str, job_name: str, new_name: str,
    part: str, role: str, brought: Any,
) -> tuple[Any, ...]:
    """Images into a part; a new job begins with its first part."""
    if not brought and source != "review":
        raise SettingError("There are no images yet. Choose some.")
    job, added = bring(registry, workspace, source, job_name, new_name, part, role, brought)
    return (
        _choices(job_names(workspace), job.name), job.name, gr.update(visible=False),
        None, *show(workspace, job.name,
                    render("train.added", part, added.stored, added.refused[:20])),
    )


def add_waiting(
    registry: ModelRegistry, workspace: Workspace, job_name: str, new_name: str, part: str,
    role: str, files: Sequence[str] | None,
) -> Any:
    """The images that were chosen before their part had a name, once it has one."""
    if not files or not part.strip():
        return gr.skip()
    return add(registry, workspace, "files", job_name, new_name, part, role, files)


def bring(
    registry: ModelRegistry, workspace: Workspace, source: str, job_name: str, new_name: str,
    part: str, role: str, brought: Any,
) -> tuple[Job, Added]:
    """Take images in from "files", a "folder" of the server, or the desk's "review"."""
    if not str(part).strip():
        raise SettingError("Name the part first, for example “left bracket”.")
    incoming = {
        "files": lambda: from_files(brought),
        "folder": lambda: from_server_folder(brought, workspace.server_folders),
        "review": lambda: from_review(workspace),
    }[source]()
    job = find_job(workspace, job_name) if job_name else new_job(
        workspace, new_name, registry.first, registry.names()
    )
    try:
        job.require_editable()
        added = add_images(
            job.folder, job.check_part(part), role, incoming, registry.first.encoder
        )
    except LTADError:
        if not job.parts():  # a job that began with a mistake leaves no trace
            job.discard()
        raise
    return job, added


def act(workspace: Workspace, name: str, action: str) -> tuple[Any, ...]:
    """What was pressed on an image or a part: ``{"action": ..., "subject": [...]}`` as JSON."""
    pressed = json.loads(action)
    job = find_job(workspace, name)
    job.require_editable()
    if pressed["action"] == "remove":
        dataset.remove_part(job.folder, pressed["subject"][0])
    else:
        dataset.remove_image(job.folder, *pressed["subject"])
    return show(workspace, name)


def begin(workspace: Workspace, name: str, keep_old: bool, rate: float) -> tuple[Any, ...]:
    """Press Train."""
    if not name:
        raise SettingError("There is no part yet. Name one and bring good images of it.")
    worker.start(workspace, name, keep_old, rate)
    return show(workspace, name)


def stop(workspace: Workspace, name: str) -> tuple[Any, ...]:
    """Press Cancel."""
    worker.cancel(workspace, name)
    return watch(workspace, name)


def discard(registry: ModelRegistry, workspace: Workspace, name: str) -> tuple[Any, ...]:
    """Throw a job and its images away; a finished model stays in the registry."""
    find_job(workspace, name).discard()
    return (_choices(job_names(workspace), NEW), NEW, *_new_name(registry, workspace, NEW),
            *show(workspace, NEW))


def build_train(registry: ModelRegistry, workspace: Workspace, tab: gr.Tab) -> None:
    """Lay out the tab inside the current ``gr.Blocks``, wire it up, and go on with trainings that
    a killed server left behind. A public page only says how to train elsewhere."""
    if workspace.is_public:
        gr.HTML(render("train.public", COMMAND), elem_id="lt-train-public")
        return
    worker.resume_interrupted(workspace)
    remembered = gr.BrowserState(NEW, storage_key="ltad-lesson", secret="a lesson's name only")
    with gr.Row(elem_classes="lt-columns"):
        with gr.Column(elem_classes="lt-left", min_width=0):
            job = gr.Dropdown([("A new model", NEW)], value=NEW, label="Model to teach")
            new_name = gr.Textbox(label="Name of the new model", max_lines=1, max_length=60)
            part = gr.Textbox(label="Part", placeholder="for example: left bracket", max_lines=1,
                              max_length=60, elem_id="lt-train-part")
            role = gr.Radio(_ROLES, value="learn", label="Its images are", elem_id="lt-role")
            files = gr.File(
                label="Images of the part, or a zip of them", file_count="multiple", height=170,
                file_types=[*sorted(SUFFIXES), ".zip"], elem_id="lt-train-files",
            )
            folder, take, review = _other_sources(workspace)
            keep_old, rate = _options(registry)
            start = gr.Button("Train", variant="primary", interactive=False)
            with gr.Row():
                cancel = gr.Button("Cancel the training", size="sm", visible=False)
                drop = gr.Button("Discard images and training", size="sm", visible=False)
        with gr.Column(elem_classes=["lt-right", "lt-train"], min_width=0):
            status = gr.HTML(elem_id="lt-train-status")
            plot = gr.Plot(label="Losses", show_label=False, visible=False, elem_id="lt-losses")
            figures = gr.HTML(elem_id="lt-train-figures")
            parts = gr.HTML(render("train.nothing_yet"), elem_id="lt-train-parts")
            compared = _build_comparison(registry, workspace)
    timer = gr.Timer(POLL_SECONDS, active=False)
    watched = [status, plot, figures, start, cancel, drop, timer]
    shown = [parts, *watched]
    tab.select(friendly(partial(enter, registry, workspace)), remembered,
               [job, new_name, *shown, *compared], **PRIVATE)
    job.input(friendly(partial(choose, registry, workspace)), job,
                 [remembered, new_name, *shown, *compared], **PRIVATE)
    for source, event, value in (
        ("files", files.upload, files), ("folder", take.click, folder),
        ("review", review.click, role),
    ):
        event(
            friendly(partial(add, registry, workspace, source)),
            [job, new_name, part, role, value],
            [job, remembered, new_name, files, *shown], api_visibility="private",
            show_progress_on=[parts],
        )
    gr.on(  # images may be chosen before their part is named
        [part.submit, part.blur], friendly(partial(add_waiting, registry, workspace)),
        [job, new_name, part, role, files],
        [job, remembered, new_name, files, *shown], **PRIVATE,
    )
    pressed = gr.Textbox(visible=False, label="Pressed")
    press = gr.Button("Press", elem_id="lt-train-press", visible="hidden")
    press.click(friendly(partial(act, workspace)), [job, pressed], shown, **PRIVATE,
                js="(job, pressed) => [job, window.ltad.train.take()]")
    started = start.click(
        friendly(partial(begin, workspace)), [job, keep_old, rate], shown, **PRIVATE)
    started.success(None, js="() => document.getElementById('lt-train-status')"
                             ".scrollIntoView({ block: 'nearest', behavior: 'smooth' })")
    cancel.click(friendly(partial(stop, workspace)), job, watched, **PRIVATE)
    drop.click(friendly(partial(discard, registry, workspace)), job,
               [job, remembered, new_name, *shown], **PRIVATE)
    polled = timer.tick(friendly(partial(watch, workspace)), job, watched,
                        queue=False, **PRIVATE)
    polled.then(friendly(partial(model_updates, registry)), job, compared,
                queue=False, **PRIVATE)
    build_train_api(registry, workspace)


def _other_sources(workspace: Workspace) -> tuple[gr.Dropdown, gr.Button, gr.Button]:
    """Folders that the operator opened, and what people chose in Review."""
    folders = server_choices(workspace.server_folders)
    with gr.Accordion("From elsewhere", open=False):
        folder = gr.Dropdown(folders, label="Folder on the server", visible=bool(folders))
        take = gr.Button("Take this folder", size="sm", visible=bool(folders))
        review = gr.Button("Take the good images chosen in Review", size="sm")
    return folder, take, review


def _options(registry: ModelRegistry) -> tuple[gr.Checkbox, gr.Slider]:
    old = [name for name in registry.first.class_names if name in PART_CLASSES]
    keep_old = gr.Checkbox(
        False, label="Keep the rendered parts too", visible=bool(old), elem_id="lt-keep",
        info=f"The new model then knows {len(old)} old classes beside the new ones and takes "
        "about three times as long; otherwise it knows the new ones only.",
    )
    rate = gr.Slider(0.01, 0.5, 0.05, step=0.01, label="False alarms accepted in the figures",
                     buttons=[])
    return keep_old, rate


def _build_comparison(registry: ModelRegistry, workspace: Workspace) -> list[gr.Dropdown]:
    """Two models, optional images, and the answer; returns the two dropdowns."""
    with gr.Accordion("Compare two models on the same images", open=False):
        with gr.Row():
            names = registry.names()
            first = gr.Dropdown(names, value=names[0], label="One model")
            second = gr.Dropdown(names, value=names[-1], label="Another model")
        files = gr.File(
            label="Images; without any, the other model's test or held-out ones",
            file_count="multiple", height=170, file_types=[*sorted(SUFFIXES), ".zip"],
        )
        button = gr.Button("Compare", size="sm")
        answer = gr.HTML(elem_id="lt-compared")
    button.click(friendly(partial(comparison_html, registry, workspace)), [first, second, files],
                 answer, api_visibility="private", show_progress_on=[answer])
    return [first, second]
