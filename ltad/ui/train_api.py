"""The Train tab's endpoints: everything a person does there, with plain inputs and answers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from functools import partial
from typing import Any

import gradio as gr

from ltad.shelf import ModelShelf
from ltad.teach import jobs, pictures
from ltad.teach.compare import rows_of
from ltad.teach.figures import read_figures
from ltad.teach.intake import Incoming, from_files, from_review, from_server_folder
from ltad.teach.lessons import Lesson, find_lesson, lesson_names, new_lesson
from ltad.teach.pictures import add_pictures
from ltad.types import SettingError
from ltad.ui.errors import friendly
from ltad.ui.train_compare import find_pairs, pair_record
from ltad.workspace import Workspace


def teach_check(
    shelf: ModelShelf, workspace: Workspace, model: str, part: str, role: str,
    files: list[str] | None, folder: str,
) -> dict[str, Any]:
    """Bring pictures of a part, from files or an allowed folder, and read all warnings."""
    incoming = None
    if files or folder:
        incoming = from_files(files) if files else from_server_folder(
            folder, workspace.server_folders
        )
    return _take_in(shelf, workspace, model, part, role, incoming)


def _take_in(
    shelf: ModelShelf, workspace: Workspace, model: str, part: str, role: str,
    incoming: Iterable[Incoming] | None,
) -> dict[str, Any]:
    lesson = find_lesson(workspace, model) if model in lesson_names(workspace) else new_lesson(
        workspace, model, shelf.first, shelf.names()
    )
    added = {"kept": 0, "refused": []}
    if incoming is not None:
        lesson.require_editable()
        added = asdict(add_pictures(
            lesson.folder, lesson.check_part(part), role or "learn", incoming,
            shelf.first.encoder,
        ))
    return {**added, "parts": lesson.counts(),
            "warnings": [asdict(warning) for warning in lesson.oddities()]}


def teach_remove(workspace: Workspace, model: str, part: str, role: str, picture: str) -> dict:
    """Take out one picture, or without its name the whole part."""
    lesson = find_lesson(workspace, model)
    lesson.require_editable()
    if picture:
        pictures.remove_picture(lesson.folder, part, role or "learn", picture)
    else:
        pictures.remove_part(lesson.folder, part)
    return {"parts": lesson.counts()}


def lesson_status(lesson: Lesson) -> dict[str, Any]:
    """State, progress and losses of a training."""
    record = lesson.record()
    return {
        "model": lesson.name, "state": lesson.state, "message": record["message"],
        "parts": lesson.counts(), "old_classes": record.get("old_classes", []),
        **asdict(lesson.progress()),
    }


def model_card(shelf: ModelShelf, workspace: Workspace, model: str) -> dict[str, Any]:
    """A model's classes, old and new, and its held-out figures if it was taught here."""
    scorer = shelf.scorer(model)
    about = scorer.checkpoint.about
    return {
        "name": scorer.name, "classes": list(scorer.class_names),
        "new_classes": about.get("new_classes", []), "old_classes": about.get("old_classes", []),
        "figures": None if scorer is shelf.first else read_figures(workspace.models / scorer.name),
    }


def model_compare(
    shelf: ModelShelf, workspace: Workspace, first: str, second: str,
    files: list[str] | None, false_alarm_rate: float | None,
) -> dict[str, Any]:
    """Two models on the same pictures."""
    rate = 0.05 if false_alarm_rate is None else false_alarm_rate
    pairs, refused = find_pairs(shelf, workspace, first, second, files, rate)
    return {"rows": [asdict(row) for row in rows_of(pairs)],
            "pictures": [pair_record(pair) for pair in pairs], "refused": refused}


def build_train_api(shelf: ModelShelf, workspace: Workspace) -> None:
    """Endpoints with files go through ``gr.File``, which takes nothing but real uploads."""
    def hidden(kind: type, label: str, **settings: Any) -> Any:
        return kind(label=label, visible=False, **settings)

    def start(model: str, keep_old: bool = False, false_alarm_rate: float = 0.05) -> dict:
        """Train a model in the background."""
        return lesson_status(jobs.start(workspace, model, keep_old, false_alarm_rate))

    def status(model: str) -> dict:
        """State, progress and losses of a training."""
        return lesson_status(find_lesson(workspace, model))

    def cancel(model: str) -> dict:
        """Stop a training before its next step."""
        return lesson_status(jobs.cancel(workspace, model))

    def discard(model: str) -> dict:
        """Throw a training and its pictures away; a finished model stays."""
        find_lesson(workspace, model).discard()
        return {"discarded": model}

    def lessons() -> list:
        """All trainings, the newest first."""
        return lesson_names(workspace)

    def review(model: str, part: str, class_name: str = "") -> dict:
        """Bring the good pictures that people chose for training in Review, of one class or of
        all, to a part of a model to be; answers as teach_check."""
        chosen = from_review(workspace, class_name or None)
        return _take_in(shelf, workspace, model, part, "learn", chosen)

    def remove(model: str, part: str, role: str = "learn", picture: str = "") -> dict:
        """Take out one picture, or without its name the whole part."""
        return teach_remove(workspace, model, part, role, picture)

    def card(model: str) -> dict:
        """A model's classes, old and new, and its held-out figures if it was taught here."""
        if not model:
            raise SettingError("Which model? Give its name.")
        return model_card(shelf, workspace, model)

    for name, endpoint in (
        ("teach_start", start), ("teach_status", status), ("teach_cancel", cancel),
        ("teach_discard", discard), ("teach_list", lessons), ("teach_remove", remove),
        ("teach_review", review), ("model_card", card),
    ):
        gr.api(friendly(endpoint), api_name=name)
    record = hidden(gr.JSON, "Record")
    many = {"file_count": "multiple"}
    gr.Button(visible=False).click(
        friendly(partial(teach_check, shelf, workspace)),
        [hidden(gr.Textbox, "Model"), hidden(gr.Textbox, "Part"), hidden(gr.Textbox, "Role"),
         hidden(gr.File, "Pictures and zips", **many), hidden(gr.Textbox, "Folder on the server")],
        record, api_name="teach_check",
        api_description="Bring pictures of a part to a model to be, which begins with its first "
        "part. Role: learn (good ones), test good, or test defective. Returns how many were kept, "
        "why others were not, the parts' counts and all warnings. Without pictures: the warnings.",
    )
    gr.Button(visible=False).click(
        friendly(partial(model_compare, shelf, workspace)),
        [hidden(gr.Textbox, "First model"), hidden(gr.Textbox, "Second model"),
         hidden(gr.File, "Pictures", **many), hidden(gr.Number, "False-alarm rate")],
        record, api_name="model_compare",
        api_description="Two models on the same pictures; without any, on the second model's own "
        "test or held-out pictures. Returns figures per part and both verdicts per picture.",
    )
