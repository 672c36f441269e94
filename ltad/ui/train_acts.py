"""What the Train tab does when somebody acts: each function answers with all that changes on it.

Everything lies on disk (``ltad.teach``), so the page only shows a lesson and acts on it: a reload,
another visitor or a new server finds the same.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import gradio as gr

from ltad.shelf import ModelShelf
from ltad.teach import jobs, pictures
from ltad.teach.figures import read_figures
from ltad.teach.intake import from_files, from_review, from_server_folder
from ltad.teach.lessons import (
    FINISHED,
    STARTED,
    Lesson,
    find_lesson,
    lesson_names,
    new_lesson,
    suggested_name,
)
from ltad.teach.pictures import Added, add_pictures
from ltad.types import LTADError, SettingError
from ltad.ui.text import escape, notice
from ltad.ui.train_html import EMPTY, figures_html, parts_html, status_html
from ltad.ui.train_plots import loss_figure
from ltad.workspace import Workspace

NEW = ""


def watch(workspace: Workspace, name: str) -> tuple[Any, ...]:
    """Status, losses, figures, what can be pressed, and whether to look again."""
    if not name or name not in lesson_names(workspace):
        hidden = gr.update(visible=False)
        return "", hidden, "", gr.update(interactive=False), hidden, hidden, gr.Timer(active=False)
    lesson = find_lesson(workspace, name)
    state = lesson.state
    losses = lesson.progress().losses
    plot = gr.update(value=loss_figure(losses), visible=True) if losses \
        else gr.update(visible=False)
    return (
        status_html(lesson), plot,
        figures_html(read_figures(lesson.model_folder)) if state == FINISHED else "",
        gr.update(interactive=state not in (STARTED, FINISHED)),
        gr.update(visible=state == STARTED), gr.update(visible=state != STARTED),
        gr.Timer(active=state == STARTED),
    )


def show(workspace: Workspace, name: str, report: str = "") -> tuple[Any, ...]:
    """The pictures of a lesson, with what happened to the last ones, and all of `watch`."""
    known = name in lesson_names(workspace)
    parts = parts_html(find_lesson(workspace, name)) if known else EMPTY
    return report + parts, *watch(workspace, name)


def enter(shelf: ModelShelf, workspace: Workspace, remembered: str) -> tuple[Any, ...]:
    """The choice of lessons as the tab opens, on the one that this browser saw last."""
    names = lesson_names(workspace)
    chosen = remembered if remembered in names else NEW
    return (_choices(names, chosen), *_new_name(shelf, workspace, chosen),
            *show(workspace, chosen), *model_updates(shelf, chosen))


def choose(shelf: ModelShelf, workspace: Workspace, name: str) -> tuple[Any, ...]:
    """Another lesson, or a new one."""
    return (name, *_new_name(shelf, workspace, name), *show(workspace, name),
            *model_updates(shelf, name))


def _choices(names: Sequence[str], chosen: str) -> Any:
    return gr.update(choices=[("A new model", NEW), *[(n, n) for n in names]], value=chosen)


def _new_name(shelf: ModelShelf, workspace: Workspace, chosen: str) -> tuple[Any]:
    return (gr.update(visible=chosen == NEW, value=suggested_name(workspace, shelf.names())),)


def model_updates(shelf: ModelShelf, name: str) -> tuple[Any, Any]:
    """The two models to compare: the first one, and the lesson's or the newest."""
    names = shelf.names()
    second = name if name in names else names[-1]
    return gr.update(choices=names, value=names[0]), gr.update(choices=names, value=second)


def add(
    shelf: ModelShelf, workspace: Workspace, source: str, lesson_name: str, new_name: str,
    part: str, role: str, brought: Any,
) -> tuple[Any, ...]:
    """Pictures into a part; a new lesson begins with its first part."""
    if not brought and source != "review":
        raise SettingError("There are no pictures yet. Choose some.")
    lesson, added = bring(shelf, workspace, source, lesson_name, new_name, part, role, brought)
    return (
        _choices(lesson_names(workspace), lesson.name), lesson.name, gr.update(visible=False),
        None, *show(workspace, lesson.name, added_html(part, added)),
    )


def add_waiting(
    shelf: ModelShelf, workspace: Workspace, lesson_name: str, new_name: str, part: str, role: str,
    files: Sequence[str] | None,
) -> Any:
    """The pictures that were chosen before their part had a name, once it has one."""
    if not files or not part.strip():
        return gr.skip()
    return add(shelf, workspace, "files", lesson_name, new_name, part, role, files)


def bring(
    shelf: ModelShelf, workspace: Workspace, source: str, lesson_name: str, new_name: str,
    part: str, role: str, brought: Any,
) -> tuple[Lesson, Added]:
    """Take pictures in from "files", a "folder" of the server, or the desk's "review"."""
    if not str(part).strip():
        raise SettingError("Name the part first, for example “left bracket”.")
    incoming = {
        "files": lambda: from_files(brought),
        "folder": lambda: from_server_folder(brought, workspace.server_folders),
        "review": lambda: from_review(workspace),
    }[source]()
    lesson = find_lesson(workspace, lesson_name) if lesson_name else new_lesson(
        workspace, new_name, shelf.first, shelf.names()
    )
    try:
        lesson.require_editable()
        added = add_pictures(
            lesson.folder, lesson.check_part(part), role, incoming, shelf.first.encoder
        )
    except LTADError:
        if not lesson.parts():  # a lesson that began with a mistake leaves no trace
            lesson.discard()
        raise
    return lesson, added


def added_html(part: str, added: Added) -> str:
    """How many pictures were kept, and the reasons for the others."""
    kept = f"<p class='lt-quiet'>{added.kept} pictures of {escape(part)} added.</p>"
    return kept + "".join(notice(escape(reason)) for reason in added.refused[:20])


def act(workspace: Workspace, name: str, action: str) -> tuple[Any, ...]:
    """What was pressed on a picture or a part: ``{"action": ..., "subject": [...]}`` as JSON."""
    pressed = json.loads(action)
    lesson = find_lesson(workspace, name)
    lesson.require_editable()
    if pressed["action"] == "remove":
        pictures.remove_part(lesson.folder, pressed["subject"][0])
    else:
        pictures.remove_picture(lesson.folder, *pressed["subject"])
    return show(workspace, name)


def begin(workspace: Workspace, name: str, keep_old: bool, rate: float) -> tuple[Any, ...]:
    """Press Train."""
    if not name:
        raise SettingError("There is no part yet. Name one and bring good pictures of it.")
    jobs.start(workspace, name, keep_old, rate)
    return show(workspace, name)


def stop(workspace: Workspace, name: str) -> tuple[Any, ...]:
    """Press Cancel."""
    jobs.cancel(workspace, name)
    return watch(workspace, name)


def discard(shelf: ModelShelf, workspace: Workspace, name: str) -> tuple[Any, ...]:
    """Throw a lesson and its pictures away; a finished model stays on the shelf."""
    find_lesson(workspace, name).discard()
    return (_choices(lesson_names(workspace), NEW), NEW, *_new_name(shelf, workspace, NEW),
            *show(workspace, NEW))
