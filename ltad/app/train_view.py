"""What the Train tab shows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from ltad.app.html import escape, notice, readable
from ltad.io.heatmap import data_url
from ltad.jobs.dataset import ROLES, Facts
from ltad.jobs.evaluate import read_figures
from ltad.jobs.job import CANCELLED, DRAFT, FAILED, FINISHED, INTERRUPTED, STAGES, STARTED, Job
from ltad.jobs.quality import Oddity

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
EMPTY = (
    "<div class='lt-empty'><h2>Teach it a part</h2><p>Name a part and drop in pictures of good "
    "ones: 4 are enough to start, 20 are better. Then add the next part, or press Train. Nobody "
    "needs to collect defects.</p></div>"
)
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


@dataclass(frozen=True)
class _Buttons:
    """Buttons that ``train.js`` reads; none where the pictures must stay as they are."""

    are_wanted: bool

    def html(self, action: str, subject: list[str], title: str, sign: str) -> str:
        if not self.are_wanted:
            return ""
        return (
            f"<button type='button' data-lt-train='{action}' data-subject='"
            f"{escape(json.dumps(subject))}' title='{escape(title)}' "
            f"aria-label='{escape(title)}'>{sign}</button>"
        )


def parts_html(job: Job) -> str:
    """Every part with its counts, warnings and pictures, odd ones first."""
    warnings = job.oddities()
    buttons = _Buttons(job.state not in (STARTED, FINISHED))
    cards = "".join(
        _part_html(job, part, roles, [w for w in warnings if w.part == part], buttons)
        for part, roles in job.counts().items()
    )
    return cards or EMPTY


def _part_html(
    job: Job, part: str, roles: dict[str, int], warnings: Sequence[Oddity],
    buttons: _Buttons,
) -> str:
    counts = " · ".join(f"{roles[role]} {_ROLE_TITLES[role]}" for role in ROLES if roles[role])
    general = "".join(notice(escape(w.text)) for w in warnings if not w.picture)
    odd = {w.picture for w in warnings if w.picture}
    summary = notice(
        f"<b>{len(odd)} odd {'one' if len(odd) == 1 else 'ones'} out</b>, marked below. Leave out "
        "what does not belong; whatever stays is learnt as good."
    ) if odd else ""
    return (
        f"<section class='lt-card lt-part' aria-label='{escape(part)}'><div class='lt-part-head'>"
        f"<h3>{escape(readable(part))}</h3><span class='lt-quiet'>{counts}</span>"
        f"{buttons.html('remove', [part], 'Remove this part', 'Remove')}</div>{general}{summary}"
        + "".join(
            _shots_html(job, part, role, warnings, buttons) for role in ROLES if roles[role]
        )
        + "</section>"
    )


def _shots_html(
    job: Job, part: str, role: str, warnings: Sequence[Oddity], buttons: _Buttons
) -> str:
    facts = job.facts(role)[part]
    texts: dict[str, list[str]] = {}
    if role == "learn":
        for warning in warnings:
            texts.setdefault(warning.picture, []).append(warning.text)
    facts.sort(key=lambda f: f.name not in texts)
    shots = "".join(
        _shot_html(part, role, f, texts.get(f.name, []), buttons) for f in facts[:MOST_SHOWN]
    )
    more = f"<p class='lt-quiet'>and {len(facts) - MOST_SHOWN} more</p>" \
        if len(facts) > MOST_SHOWN else ""
    title = "" if role == "learn" else f"<h4>{_ROLE_TITLES[role].capitalize()}</h4>"
    return f"{title}<div class='lt-shots'>{shots}</div>{more}"


def _shot_html(
    part: str, role: str, facts: Facts, warnings: Sequence[str], buttons: _Buttons
) -> str:
    picture = data_url(facts.thumbnail, "image/jpeg")
    words = " ".join(warnings)
    mark = f"<figcaption>{escape(words)}</figcaption>" if words else ""
    return (
        f"<figure class='lt-shot{' lt-odd' if words else ''}' title='{escape(facts.name)}'>"
        f"<span><img src='{picture}' alt='{escape(facts.name)}' loading='lazy'>"
        f"{buttons.html('leave', [part, role, facts.name], f'Leave out {facts.name}', '×')}</span>"
        f"{mark}</figure>"
    )


def status_html(job: Job) -> str:
    """The state, and while training how far it is and how long it will take."""
    record, state = job.record(), job.state
    poor = poor_classes(read_figures(job.model_folder)) if state == FINISHED else []
    word, kind = (_POOR, FAILED) if poor else (_STATES[state], state)
    head = f"<h3>{escape(job.name)} <span class='lt-state lt-state-{kind}'>{word}</span></h3>"
    names = ", ".join(escape(readable(name)) for name in poor)
    warning = notice(
        f"On <b>{names}</b> it does little better than guessing, or finds none of the damage: see "
        "the figures below. Do not rely on its verdicts there. More good pictures, in one pose and "
        "light, help most."
    ) if poor else ""
    return (
        f"<section class='lt-card lt-lesson' aria-live='polite'>{head}{_body(job, state)}"
        f"{warning}"
        f"{notice(escape(record['message'])) if state == FAILED else ''}</section>"
    )


def _body(job: Job, state: str) -> str:
    if state == DRAFT:
        return "<p class='lt-quiet'>Look at the warnings, then press Train.</p>"
    if state == FINISHED:
        minutes = job.record()["seconds"] / 60
        return (f"<p>Trained in {minutes:.1f} minutes. The model <b>{escape(job.name)}</b> is "
                "in every list of models now.</p>")
    if state in (CANCELLED, FAILED, INTERRUPTED):
        return "<p class='lt-quiet'>Train goes on where it stopped, unless pictures changed.</p>"
    found = job.progress()
    share = 100 * found.step / found.steps if found.steps else 0
    steps = f"step {found.step:,} of {found.steps:,}" if found.steps else ""
    left = f"{time_text(found.seconds_left)} left in this stage" \
        if found.seconds_left is not None else ""
    facts = " · ".join(filter(None, (steps, f"{time_text(found.seconds)} so far", left)))
    return (
        f"<p>{STAGES.get(found.stage, 'Starting')}</p><div class='lt-track' role='progressbar' "
        f"aria-valuenow='{share:.0f}' aria-valuemin='0' aria-valuemax='100'>"
        f"<i class='lt-fill lt-learning' style='width:{share:.1f}%'></i></div>"
        f"<p class='lt-quiet'>{facts}. You may leave this page; the training goes on.</p>"
    )


def time_text(seconds: float) -> str:
    """``45 s`` or ``3 min 20 s``."""
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02d} s"


_FIGURES_HEAD = (
    "<thead><tr><th></th><th colspan='2' scope='colgroup'>Pictures</th>"
    "<th colspan='3' scope='colgroup'>Held-out good ones</th>"
    "<th colspan='2' scope='colgroup'>Damage painted on them</th>"
    "<th colspan='3' scope='colgroup'>Your test pictures</th></tr><tr><th scope='col'>Class</th>"
    + "".join(f"<th scope='col'>{title}</th>" for title in (
        "learnt", "held out", "recognised", "explained", "false alarms", "AUROC", "found", "AUROC",
        "false alarms", "found"))
    + "</tr></thead>"
)


CHANCE = 0.6
"""AUROC below which a model can hardly tell good from damaged; 0.5 is guessing."""


def poor_classes(figures: dict[str, Any] | None) -> list[str]:
    """Classes on whose pictures, tested or painted, the new model does little better than chance,
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
    if figures is None:
        return ""
    rate = figures["false_alarm_rate"]
    rows = "".join(_figures_row(f) for f in figures["classes"])
    notes = []
    if not all(f["are_held_out"] for f in figures["classes"]):
        notes.append("* With fewer than 10 pictures none is held out: these were also learnt from, "
                     "so the figures are too good.")
    if any(f["is_pooled"] for f in figures["classes"]):
        notes.append("† Too few held-out pictures for a threshold of its own at this rate, so it "
                     "comes from all parts together.")
    if any(f.get("is_cross_fitted") for f in figures["classes"]):
        notes.append("Every picture was learnt from, and for the threshold each was held out in "
                     "turn: it was judged by what the others alone say. The painted damage is on a "
                     "fifth of them, judged without that fifth.")
    notes.append("Explained is the share of their features' variance that the reconstruction "
                 "module rebuilds: what it leaves is all that it can call suspicious.")
    notes.append(
        "Painted damage is drawn by the program on the held-out good pictures: scratches, cracks "
        "and stains, some faint. It is a check that the model learnt something, not a forecast "
        "for real defects. False alarms among the very pictures that set the threshold are few "
        "by construction; your own test pictures tell more."
    )
    return (
        "<section class='lt-card'><h3>Figures of the new model</h3>"
        f"<p>Threshold for at most {100 * rate:g}% false alarms, or as few as the held-out "
        "pictures can promise: of n, no less than 1 in n + 1.</p>"
        "<div class='lt-scroll'><table class='lt-table'>"
        f"{_FIGURES_HEAD}<tbody>{rows}</tbody></table></div>"
        + "".join(f"<p class='lt-quiet'>{note}</p>" for note in notes)
        + "<p>The same from the command line:</p>"
        f"<pre class='lt-command'>{escape(figures['command'])}</pre></section>"
    )


def _figures_row(figures: dict[str, Any]) -> str:
    star = "" if figures["are_held_out"] else "*"
    dagger = "†" if figures["is_pooled"] else ""
    kind = "new" if figures["is_new"] else "kept"
    painted, test = figures["painted"], figures["test"]
    cells = [
        f"{figures['training']}", f"{figures['held_out']}",
        f"{100 * figures['recognised']:.0f}%{star}", _whole_percent(figures.get("explained")),
        f"{painted['false_alarms']} of {painted['good']}{star}{dagger}",
        f"{percent(painted['auroc'])}{star}", f"{painted['found']} of {painted['defective']}",
        *((percent(test["auroc"]), f"{test['false_alarms']} of {test['good']}",
           f"{test['found']} of {test['defective']}") if test else ("–", "–", "–")),
    ]
    return (f"<tr><th scope='row'>{escape(readable(figures['class_name']))} "
            f"<span class='lt-quiet'>{kind}</span></th>"
            + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")


def _whole_percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f}%"


def percent(share: float | None) -> str:
    """``93.4``, or a dash where there is no figure."""
    return "–" if share is None else f"{100 * share:.1f}"
