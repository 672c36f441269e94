"""Endpoints of the Train tab, and two models side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import gradio as gr
from gradio.events import api
from PIL import Image

from ltad.app.components import friendly
from ltad.app.detection_view import Photo
from ltad.app.html import apart, readable, render
from ltad.inference.registry import ModelRegistry
from ltad.io.heatmap import data_url, heat_png, photo_jpeg
from ltad.io.images import read_image
from ltad.jobs import dataset, worker
from ltad.jobs.dataset import Incoming, add_images, from_files, from_review, from_server_folder
from ltad.jobs.evaluate import (
    Pair,
    compare,
    own_examples,
    read_figures,
    reduced,
    rows_of,
    uploaded,
)
from ltad.jobs.job import Job, find_job, job_names, new_job
from ltad.types import Detection, ImageError, SettingError
from ltad.workspace import Workspace

MOST_DRAWN = 24
_SIDE = 240


def find_pairs(
    registry: ModelRegistry, workspace: Workspace, first: str, second: str,
    files: Sequence[str] | None, rate: float = 0.05,
) -> tuple[list[Pair], list[str]]:
    """Both models on the uploaded files, or without any on the second model's own examples.

    Returns:
        The pairs, and why some files could not be used.

    Raises:
        SettingError: no such model, one model twice, or no usable image.
    """
    old, new = registry.scorer(first), registry.scorer(second)
    if old is new:
        raise SettingError("Both are the same model. Choose two, or teach a new one first.")
    if not files:
        return compare(old, new, own_examples(workspace, new), rate), []
    images, refused = _decoded(files)
    return compare(old, new, uploaded(images), rate), refused


def _decoded(files: Sequence[str]) -> tuple[list[tuple[str, Image.Image]], list[str]]:
    images, refused = [], []
    for file in from_files(files):
        try:
            if file.content is None:
                raise ImageError(file.reason)
            images.append((file.name, reduced(read_image(file.content, file.name))))
        except ImageError as error:
            refused.append(str(error))
    return images, refused


def comparison_html(
    registry: ModelRegistry, workspace: Workspace, first: str, second: str,
    files: Sequence[str] | None,
) -> str:
    """The table and the maps side by side."""
    pairs, refused = find_pairs(registry, workspace, first, second, files)
    return render(
        "train.comparison", refused, rows_of(pairs), first, second,
        [_pair(pair, first, second) for pair in _chosen(pairs)],
    )


def _chosen(pairs: Sequence[Pair]) -> list[Pair]:
    """As many of each part as the page can show."""
    parts = list(dict.fromkeys(p.example.part for p in pairs))
    each = max(2, MOST_DRAWN // max(len(parts), 1))
    chosen = []
    for part in parts:
        own = [p for p in pairs if p.example.part == part]
        step = max(1, -(-len(own) // each))
        chosen += own[::step]
    return chosen[:MOST_DRAWN]


def _pair(pair: Pair, first: str, second: str) -> dict[str, Any]:
    example = pair.example
    photo = data_url(photo_jpeg(example.image, _SIDE), "image/jpeg")
    truth = {True: "defective", False: "good", None: ""}[example.is_defective]
    return {
        "photo": Photo(photo, *example.image.size),
        "words": " · ".join(filter(None, (readable(example.part), example.title, truth))),
        "sides": [_side(pair.first, first), _side(pair.second, second)],
    }


def _side(detection: Detection, model: str) -> dict[str, Any]:
    score, threshold = apart(detection.score, detection.threshold)
    heat = heat_png(detection.anomaly_map, *detection.map_scale["combined"])
    return {"detection": detection, "model": model, "score": score, "threshold": threshold,
            "heat": data_url(heat, "image/png")}


def pair_record(pair: Pair) -> dict[str, Any]:
    """A pair as plain data for the API."""
    def side(detection: Detection) -> dict[str, Any]:
        return {
            "score": detection.score, "threshold": detection.threshold,
            "verdict": detection.verdict, "is_anomalous": bool(detection.is_anomalous),
            "class_name": detection.class_name, "is_recognised": detection.is_recognised,
        }

    example = pair.example
    return {"title": example.title, "part": example.part, "is_defective": example.is_defective,
            "first": side(pair.first), "second": side(pair.second)}


def teach_check(
    registry: ModelRegistry, workspace: Workspace, model: str, part: str, role: str,
    files: list[str] | None, folder: str,
) -> dict[str, Any]:
    """Bring images of a part, from files or an allowed folder, and read all warnings."""
    incoming = None
    if files or folder:
        incoming = from_files(files) if files else from_server_folder(
            folder, workspace.server_folders
        )
    return _take_in(registry, workspace, model, part, role, incoming)


def _take_in(
    registry: ModelRegistry, workspace: Workspace, model: str, part: str, role: str,
    incoming: Iterable[Incoming] | None,
) -> dict[str, Any]:
    job = find_job(workspace, model) if model in job_names(workspace) else new_job(
        workspace, model, registry.first, registry.names()
    )
    added = {"kept": 0, "refused": []}
    if incoming is not None:
        job.require_editable()
        added = add_images(
            job.folder, job.check_part(part), role or "learn", incoming, registry.first.encoder
        ).record()
    return {**added, "parts": job.counts(),
            "warnings": [warning.record() for warning in job.warnings()]}


def teach_remove(
    workspace: Workspace, model: str, part: str, role: str, image: str
) -> dict[str, Any]:
    """Take out one image, or without its name the whole part."""
    job = find_job(workspace, model)
    job.require_editable()
    if image:
        dataset.remove_image(job.folder, part, role or "learn", image)
    else:
        dataset.remove_part(job.folder, part)
    return {"parts": job.counts()}


def job_status(job: Job) -> dict[str, Any]:
    """State, progress and losses of a training."""
    record = job.record()
    return {
        "model": job.name, "state": job.state, "message": record["message"],
        "parts": job.counts(), "old_classes": record.get("old_classes", []),
        **asdict(job.progress()),
    }


def model_card(registry: ModelRegistry, workspace: Workspace, model: str) -> dict[str, Any]:
    """A model's classes, old and new, and its held-out figures if it was taught here."""
    scorer = registry.scorer(model)
    about = scorer.checkpoint.about
    return {
        "name": scorer.name, "classes": list(scorer.class_names),
        "new_classes": about.get("new_classes", []), "old_classes": about.get("old_classes", []),
        "figures": None if scorer is registry.first
        else read_figures(workspace.models / scorer.name),
    }


def model_compare(
    registry: ModelRegistry, workspace: Workspace, first: str, second: str,
    files: list[str] | None, false_alarm_rate: float | None,
) -> dict[str, Any]:
    """Two models on the same images."""
    rate = 0.05 if false_alarm_rate is None else false_alarm_rate
    pairs, refused = find_pairs(registry, workspace, first, second, files, rate)
    return {"rows": [asdict(row) for row in rows_of(pairs)],
            "pictures": [pair_record(pair) for pair in pairs], "refused": refused}


def build_train_api(registry: ModelRegistry, workspace: Workspace) -> None:
    """Endpoints with files go through ``gr.File``, which takes nothing but real uploads."""
    def hidden(kind: type, label: str, **settings: Any) -> Any:
        return kind(label=label, visible=False, **settings)

    def start(model: str, keep_old: bool = False, false_alarm_rate: float = 0.05) -> dict[str, Any]:
        """Train a model in the background."""
        return job_status(worker.start(workspace, model, keep_old, false_alarm_rate))

    def status(model: str) -> dict[str, Any]:
        """State, progress and losses of a training."""
        return job_status(find_job(workspace, model))

    def cancel(model: str) -> dict[str, Any]:
        """Stop a training before its next step."""
        return job_status(worker.cancel(workspace, model))

    def discard(model: str) -> dict[str, Any]:
        """Throw a training and its images away; a finished model stays."""
        find_job(workspace, model).discard()
        return {"discarded": model}

    def jobs() -> list[Any]:
        """All trainings, the newest first."""
        return job_names(workspace)

    def review(model: str, part: str, class_name: str = "") -> dict[str, Any]:
        """Bring the good images that people chose for training in Review, of one class or of
        all, to a part of a model to be; answers as teach_check."""
        chosen = from_review(workspace, class_name or None)
        return _take_in(registry, workspace, model, part, "learn", chosen)

    def remove(model: str, part: str, role: str = "learn", picture: str = "") -> dict[str, Any]:
        """Take out one image, or without its name the whole part."""
        return teach_remove(workspace, model, part, role, picture)

    def card(model: str) -> dict[str, Any]:
        """A model's classes, old and new, and its held-out figures if it was taught here."""
        if not model:
            raise SettingError("Which model? Give its name.")
        return model_card(registry, workspace, model)

    for name, endpoint in (
        ("teach_start", start), ("teach_status", status), ("teach_cancel", cancel),
        ("teach_discard", discard), ("teach_list", jobs), ("teach_remove", remove),
        ("teach_review", review), ("model_card", card),
    ):
        api(friendly(endpoint), api_name=name)
    record = hidden(gr.JSON, "Record")
    many = {"file_count": "multiple"}
    gr.Button(visible=False).click(
        friendly(partial(teach_check, registry, workspace)),
        [hidden(gr.Textbox, "Model"), hidden(gr.Textbox, "Part"), hidden(gr.Textbox, "Role"),
         hidden(gr.File, "Images and zips", **many), hidden(gr.Textbox, "Folder on the server")],
        record, api_name="teach_check",
        api_description="Bring images of a part to a model to be, which begins with its first "
        "part. Role: learn (good ones), test good, or test defective. Returns how many were kept, "
        "why others were not, the parts' counts and all warnings. Without images: the warnings.",
    )
    gr.Button(visible=False).click(
        friendly(partial(model_compare, registry, workspace)),
        [hidden(gr.Textbox, "First model"), hidden(gr.Textbox, "Second model"),
         hidden(gr.File, "Pictures", **many), hidden(gr.Number, "False-alarm rate")],
        record, api_name="model_compare",
        api_description="Two models on the same images; without any, on the second model's own "
        "test or held-out images. Returns figures per part and both verdicts per image.",
    )
