"""What the Train tab shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from ltad.app.html import render
from ltad.io.heatmap import data_url
from ltad.jobs.dataset import ROLES
from ltad.jobs.evaluate import read_figures
from ltad.jobs.job import CANCELLED, DRAFT, FAILED, FINISHED, INTERRUPTED, STAGES, STARTED, Job
from ltad.jobs.quality import QualityWarning

_COLOURS = ("#3d7ea6", "#8a94a3", "#ee6c4d", "#2a9d6f", "#9b5de5")
MOST_POINTS = 200
LOSS_NAMES = {
    "phase 1: synthesis": "Phase 1: synthesised features",
    "phase 1: kl": "Phase 1: KL divergence of the latent",
    "phase 2: reconstruction": "Phase 2: reconstruction", "phase 2: semantic": "Phase 2: semantics",
}
"""A training's losses in words."""
MOST_SHOWN = 60
_ROLE_TITLES = {"learn": "to learn from", "test good": "good, to test on",
                "test defective": "defective, to test on"}
_STATES = {
    DRAFT: "Not trained yet", STARTED: "Training", FINISHED: "Finished", FAILED: "Failed",
    CANCELLED: "Cancelled", INTERRUPTED: "Interrupted",
}
_POOR = "Finished, with poor figures"


def loss_figure(losses: Mapping[str, Sequence[tuple[int, float]]]) -> go.Figure:
    """Every loss over the steps of its phase; many steps are averaged into `MOST_POINTS`."""
    figure = go.Figure()
    for index, (name, points) in enumerate(losses.items()):
        steps, values = thinned(points)
        name = LOSS_NAMES.get(name, name)
        figure.add_trace(go.Scatter(
            x=steps, y=values, name=name, mode="lines",
            line={"color": _COLOURS[index % len(_COLOURS)], "width": 2},
            hovertemplate="step %{x}: %{y:.4g}<extra>" + name + "</extra>",
        ))
    line = "rgba(128, 134, 145, 0.25)"
    figure.update_layout(
        height=280, paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 8, "r": 8, "t": 8, "b": 8}, showlegend=True, uirevision="same",
        font={"family": "system-ui, sans-serif", "size": 12},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )
    figure.update_xaxes(title="step of the phase", automargin=True, gridcolor=line, zeroline=False)
    figure.update_yaxes(title="loss", type="log", automargin=True, gridcolor=line, zeroline=False,
                        exponentformat="power", dtick=1)
    return figure


def thinned(points: Sequence[tuple[int, float]]) -> tuple[list[float], list[float]]:
    """Steps and values, each the mean of neighbours where there are more than `MOST_POINTS`."""
    steps, values = np.array(points, dtype=float).T
    groups = np.array_split(np.arange(len(steps)), min(len(steps), MOST_POINTS))
    means = [(steps[g].mean(), values[g].mean()) for g in groups]
    return [s for s, _ in means], [v for _, v in means]


def parts_html(job: Job) -> str:
    """Every part with its counts, warnings and images, odd ones first."""
    warnings = job.warnings()
    parts = [
        _part(job, part, roles, [w for w in warnings if w.part == part])
        for part, roles in job.counts().items()
    ]
    if not parts:
        return render("train.nothing_yet")
    return render("train.parts", parts, job.state not in (STARTED, FINISHED))


def _part(
    job: Job, part: str, roles: dict[str, int], warnings: Sequence[QualityWarning]
) -> dict[str, Any]:
    return {
        "name": part,
        "counts": " · ".join(f"{roles[r]} {_ROLE_TITLES[r]}" for r in ROLES if roles[r]),
        "warnings": [w.text for w in warnings if not w.image],
        "odd": len({w.image for w in warnings if w.image}),
        "roles": [_shots(job, part, role, warnings) for role in ROLES if roles[role]],
    }


def _shots(job: Job, part: str, role: str, warnings: Sequence[QualityWarning]) -> dict[str, Any]:
    facts = job.facts(role)[part]
    texts: dict[str, list[str]] = {}
    if role == "learn":
        for warning in warnings:
            texts.setdefault(warning.image, []).append(warning.text)
    facts.sort(key=lambda f: f.name not in texts)
    return {
        "name": role, "title": "" if role == "learn" else _ROLE_TITLES[role].capitalize(),
        "shots": [
            {"name": f.name, "picture": data_url(f.thumbnail, "image/jpeg"),
             "words": " ".join(texts.get(f.name, []))} for f in facts[:MOST_SHOWN]
        ],
        "more": max(0, len(facts) - MOST_SHOWN),
    }


def status_html(job: Job) -> str:
    """The state, and while training how far it is and how long it will take."""
    record, state = job.record(), job.state
    poor = poor_classes(read_figures(job.model_folder)) if state == FINISHED else []
    word, kind = (_POOR, FAILED) if poor else (_STATES[state], state)
    return render(
        "train.status", job.name, state, kind, word, poor,
        record["message"] if state == FAILED else "",
        record["seconds"] / 60 if state == FINISHED else None,
        _progress(job) if state == STARTED else None,
    )


def _progress(job: Job) -> dict[str, Any]:
    found = job.progress()
    steps = f"step {found.step:,} of {found.steps:,}" if found.steps else ""
    left = f"{time_text(found.seconds_left)} left in this stage" \
        if found.seconds_left is not None else ""
    return {
        "stage": STAGES.get(found.stage, "Starting"),
        "share": 100 * found.step / found.steps if found.steps else 0,
        "facts": " · ".join(filter(None, (steps, f"{time_text(found.seconds)} so far", left))),
    }


def time_text(seconds: float) -> str:
    """``45 s`` or ``3 min 20 s``."""
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02d} s"


CHANCE = 0.6
"""AUROC below which a model can hardly tell good from damaged; 0.5 is guessing."""


def poor_classes(figures: dict[str, Any] | None) -> list[str]:
    """Classes on whose images, tested or painted, the new model does little better than chance,
    or finds none of the damage."""
    poor = []
    for one in (figures or {}).get("classes", []):
        trials = [trial for trial in (one["test"], one["painted"]) if trial and trial["defective"]]
        is_blind = any(trial["auroc"] is not None and trial["auroc"] < CHANCE for trial in trials)
        if is_blind or any(trial["found"] == 0 for trial in trials):
            poor.append(one["class_name"])
    return poor


def figures_html(figures: dict[str, Any] | None) -> str:
    """What the finished model is worth, per class, and the command that repeats it."""
    return render("train.figures", figures) if figures else ""
