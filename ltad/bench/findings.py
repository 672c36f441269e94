"""What a measurement under load found: losses, errors, growth; as figures and as a plot."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from scipy import stats

from ltad.app.components import UNEXPECTED
from ltad.bench.clients import Acknowledged, Brought, Diary
from ltad.bench.faults import Struck
from ltad.bench.served import CLOSE_ENOUGH, Call
from ltad.evaluation.figures import COLOURS

AFTERMATH_SECONDS = 20.0
"""So long after a fault was undone an error may still come from it."""
UNCLEAR = ("Traceback", "Internal Server Error", UNEXPECTED, "(nothing was said)")
BLOCKS = 20
"""Means over so many stretches of time are what a line is fitted to: samples hang together."""
WARM_UP = 1 / 3
"""Of a process's life, whose memory does not count yet: its caches fill."""
SHORTEST = 300.0
"""Seconds after the warm-up from which growth can be measured."""
ENDED = ("finished", "cancelled")


@dataclass(frozen=True)
class Sample:
    """A process at one moment: seconds since 1970, its id, memory in MB, open file handles."""

    time: float
    process: int
    megabytes: float
    handles: int


@dataclass(frozen=True)
class Growth:
    """How a quantity of the last process grew, an hour, with the interval of 95%.

    Attributes:
        first, last: means of the first and of the last stretch after the warm-up.
        minutes: from which it was found.
    """

    an_hour: float
    low: float
    high: float
    first: float
    last: float
    minutes: float


@dataclass
class Lasting:
    """Everything that one measurement noted.

    Attributes:
        began, ended: seconds since 1970; of the load, without the start of the processes.
        samples: name of a process -> its samples, in order.
        compared, wrong: scores that were compared with the scorer's own, and that differ.
        lost, unscored: see `lost_decisions` and `unscored_batches`.
        raised: unexpected errors in the processes' logs, each line as often as it is there.
    """

    began: float
    ended: float
    diary: Diary
    struck: list[Struck]
    samples: dict[str, list[Sample]]
    compared: int = 0
    wrong: int = 0
    lost: list[str] = field(default_factory=list)
    unscored: list[str] = field(default_factory=list)
    raised: list[str] = field(default_factory=list)


def lost_decisions(acknowledged: Sequence[Acknowledged]) -> list[str]:
    """The acknowledged decisions that are not in their database as they were answered."""
    lost = []
    for path, decisions in groupby(sorted(acknowledged, key=lambda d: str(d.database)),
                                   key=lambda d: d.database):
        stored = {row[0]: row[1:] for row in _rows(
            path, "SELECT decisions.id, item_id, person, verdict, COALESCE(mask_key, '') FROM"
            " decisions LEFT JOIN blobs ON key = mask_key WHERE mask_key IS NULL OR content != ''"
        )}
        lost += [
            f"{path.name}: decision {one.id} of {one.person}" for one in decisions
            if stored.get(one.id) != (one.item_id, one.person, one.verdict, one.mask_key)
        ]
    return lost


def unscored_batches(batches: Sequence[Brought]) -> list[Brought]:
    """The acknowledged batches that are not scored, or that lack their items."""
    return [batch for batch in batches if not _is_scored(batch)]


def _is_scored(batch: Brought) -> bool:
    (state,), = _rows(batch.database, f"SELECT state FROM batches WHERE id = {batch.id}")
    (items, waiting), = _rows(
        batch.database, "SELECT COUNT(*), COALESCE(SUM(status = 'waiting'), 0) FROM items"
        f" WHERE batch_id = {batch.id}")
    return state in ENDED and items > 0 and waiting == 0


def _rows(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=60)) as database:
        return database.execute(sql).fetchall()


def changed_scores(scores: Sequence[tuple[int, str, float]]) -> int:
    """How many (image, prompt) did not get the same score each time, over kills and damage."""
    seen: dict[tuple[int, str], list[float]] = {}
    for number, prompt, score in scores:
        seen.setdefault((number, prompt), []).append(score)
    return sum(max(own) - min(own) > CLOSE_ENOUGH * max(1.0, max(own)) for own in seen.values())


def is_clear(error: str) -> bool:
    """Whether the reader of an error learns anything from it."""
    return bool(error.strip()) and not any(words in error for words in UNCLEAR)


def is_explained(call: Call, struck: Sequence[Struck]) -> bool:
    """Whether a request met a fault, or came soon after one."""
    return any(call.began < fault.ended + AFTERMATH_SECONDS
               and call.began + call.seconds > fault.began for fault in struck)


def growth(times: Sequence[float], values: Sequence[float]) -> Growth | None:
    """Least squares over means of stretches of time, after the warm-up; None for too short a life.

    Args:
        times: in seconds, ascending; of one process.
        values: as many.
    """
    t, v = np.asarray(times, dtype=float), np.asarray(values, dtype=float)
    late = t >= t[0] + WARM_UP * (t[-1] - t[0]) if len(t) else np.zeros(0, bool)
    t, v = t[late], v[late]
    if len(t) < 2 * BLOCKS or t[-1] - t[0] < SHORTEST:
        return None
    hours = np.array([b.mean() for b in np.array_split(t, BLOCKS)]) / 3600
    means = np.array([b.mean() for b in np.array_split(v, BLOCKS)])
    line: Any = stats.linregress(hours, means)
    margin = stats.t.ppf(0.975, BLOCKS - 2) * line.stderr
    return Growth(*(round(float(x), 2) for x in (
        line.slope, line.slope - margin, line.slope + margin, means[0], means[-1],
        (t[-1] - t[0]) / 60,
    )))


def last_life(samples: Sequence[Sample]) -> list[Sample]:
    """Those of the process that ran at the end."""
    return [one for one in samples if one.process == samples[-1].process]


def figures(lasting: Lasting) -> dict[str, Any]:
    """All findings as plain data for JSON."""
    calls = lasting.diary.calls
    answered = [(kind, call) for kind, call in calls if not call.error]
    failed = [call for _, call in calls if call.error]
    seconds = lasting.ended - lasting.began
    undisturbed = [(kind, call) for kind, call in answered
                   if not is_explained(call, lasting.struck)]
    grown = {name: last_life(samples) for name, samples in lasting.samples.items()}
    return {
        "minutes": round(seconds / 60, 1),
        "answers": len(answered), "answers_a_second": round(len(answered) / seconds, 1),
        "waits_ms": {name: _waits(answered, name) for name in _names(answered)},
        "waits_ms_without_fault": {name: _waits(undisturbed, name) for name in _names(undisturbed)},
        "faults": [fault.record() | {"errors_until_s_after": _aftermath(fault, failed)}
                   for fault in lasting.struck],
        "decisions": len(lasting.diary.decisions), "decisions_lost": lasting.lost,
        "batches": len(lasting.diary.batches), "batches_unscored": lasting.unscored,
        "trainings": _counted(lasting.diary.trained),
        "exports": _counted(lasting.diary.exported),
        "scores": len(lasting.diary.scores), "scores_compared": lasting.compared,
        "scores_of_another_image": lasting.wrong,
        "scores_changed": changed_scores(lasting.diary.scores),
        "scores_asked_again": len(lasting.diary.scores)
        - len({score[:2] for score in lasting.diary.scores}),
        "errors": _counted(call.error for call in failed),
        "errors_unclear": _counted(
            f"{call.name}: {call.error}" for call in failed if not is_clear(call.error)),
        "errors_without_fault": _counted(
            f"{call.name}: {call.error}" for call in failed
            if not is_explained(call, lasting.struck)),
        "http_5xx": sum(call.status >= 500 for call in failed),
        "findings": _counted(lasting.diary.findings), "logged": _counted(lasting.raised),
        "handles": {name: _grown(life, "handles") for name, life in grown.items()},
        "megabytes": {name: _grown(life, "megabytes") for name, life in grown.items()},
    }


def is_sound(found: dict[str, Any]) -> bool:
    """Whether nothing was found that must not be."""
    return not (found["decisions_lost"] or found["batches_unscored"] or found["findings"]
                or found["scores_of_another_image"] or found["scores_changed"]
                or found["errors_unclear"]
                or found["errors_without_fault"])


def _grown(life: Sequence[Sample], what: str) -> dict[str, Any] | None:
    found = growth([one.time for one in life], [getattr(one, what) for one in life])
    return asdict(found) if found else None


def _names(calls: Sequence[tuple[str, Call]]) -> list[str]:
    return sorted({call.name for _, call in calls})


def _waits(calls: Sequence[tuple[str, Call]], name: str) -> dict[str, float]:
    seconds = [call.seconds for _, call in calls if call.name == name]
    middle, late = np.quantile(seconds, (0.5, 0.95))
    return {"count": len(seconds), "p50": round(1e3 * middle), "p95": round(1e3 * late)}


def _aftermath(fault: Struck, failed: Sequence[Call]) -> float:
    """Seconds from a fault's end until the last request that failed because of it began."""
    after = [call.began - fault.ended for call in failed if is_explained(call, [fault])]
    return round(max([0.0, *after]), 1)


def _counted(texts: Any) -> dict[str, int]:
    """How often each text came; texts that differ in numbers only are one."""
    return dict(Counter(re.sub(r"\d+", "0", text) for text in texts).most_common())


def plot(lasting: Lasting) -> go.Figure:
    """Memory, handles, answers and errors over time; faults are shaded."""
    figure = make_subplots(rows=3, cols=1, shared_xaxes=True, vertical_spacing=0.06)
    for (name, samples), colour in zip(lasting.samples.items(), COLOURS, strict=False):
        minutes = [(one.time - lasting.began) / 60 for one in samples]
        for row, what in enumerate(("megabytes", "handles"), start=1):
            figure.add_scatter(x=minutes, y=[getattr(one, what) for one in samples], name=name,
                               legendgroup=name, showlegend=row == 1, line_color=colour,
                               row=row, col=1)
    width = max(1.0, (lasting.ended - lasting.began) / 240)
    edges = np.arange(0.0, lasting.ended - lasting.began + width, width)
    for name, is_error in (("answers", False), ("errors", True)):
        ends = [call.began + call.seconds - lasting.began for _, call in lasting.diary.calls
                if bool(call.error) == is_error]
        counts, _ = np.histogram(ends, edges)
        figure.add_scatter(x=edges[:-1] / 60, y=counts / width, name=name, row=3, col=1)
    for fault in lasting.struck:
        begin, end = ((at - lasting.began) / 60 for at in (fault.began, fault.ended))
        figure.add_vrect(x0=begin, x1=end, fillcolor="grey", opacity=0.25, line_width=0)
        figure.add_annotation(x=begin, y=1.0, yref="paper", text=fault.name, textangle=-60,
                              showarrow=False, font_size=9, yanchor="bottom")
    figure.update_xaxes(title_text="minutes", row=3, col=1)
    for row, title in enumerate(("memory, MB", "open file handles", "answers and errors a second"),
                                start=1):
        figure.update_yaxes(title_text=title, row=row, col=1)
    figure.update_layout(height=900, margin_t=140, template="plotly_white")
    return figure
