"""Cards and plots of the Results tab."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from ltad.app.html import escape, notice, number, readable
from ltad.evaluation import figures
from ltad.evaluation.figures import COLOURS
from ltad.evaluation.operating_point import Confusion, OperatingPoint, confusions, judge, seen_by
from ltad.evaluation.runs import Run

EMBEDDING_COLOURS = {"class": "Class", "score": "Score", "error": "Verdict"}
_DOUBTFUL = 2.0  # times the rate asked for
_HINDSIGHT = (
    "No good picture was held out for this run, so each class has the threshold of its best F1 on "
    "the test set itself: better than anybody could know beforehand. Set one score to try others."
)
_FACTS = ("kind", "created", "group", "row", "seed", "model", "encoder", "settings", "data",
          "split", "training_pictures", "seconds", "versions", "config")


def long_tail(runs: Sequence[Run], metric: str) -> go.Figure:
    """AUROC over the classes' training pictures; the classes are named once, below both."""
    figure = figures.long_tail_figure(runs, metric)
    figure.update_xaxes(showticklabels=False, row=1, col=1)
    return _legend_above(figure, height=460)


def _legend_above(figure: go.Figure, height: int) -> go.Figure:
    """The legend where no long class name can run into it."""
    return figure.update_layout(
        height=height, margin={"t": 52}, legend={"yref": "container", "y": 1, "yanchor": "top"},
    )


def histogram(
    run: Run, class_name: str, point: OperatingPoint, columns: int = 4
) -> go.Figure:
    """Scores of good and defective pictures with the threshold; for all classes, when each has
    its own threshold, one small histogram a class.

    Args:
        run: the run.
        class_name: "" for all.
        point: where the threshold is.
        columns: small histograms side by side.
    """
    branch, thresholds = point.branch_of(run), point.thresholds(run)
    if class_name:
        return figures.score_histogram(run, class_name, branch, thresholds[class_name])
    if point.score is not None:
        return figures.score_histogram(run, None, branch, point.score)
    figure = figures.score_histograms(run, thresholds, branch, columns)
    if point.is_hindsight(run):  # no rate moves these thresholds, so there is nothing to drag
        figure.update_shapes(name="")
    return _legend_above(figure, height=figure.layout.height + 10)


def curves(
    runs: Sequence[Run], in_view: Run, class_name: str, point: OperatingPoint,
    is_narrow: bool = False,
) -> go.Figure:
    """ROC and precision-recall curves of the runs that know the class and measured the branch,
    with a dot at the operating point; a score is that of the run `in_view` alone.
    """
    able = [
        run for run in runs
        if (not point.branch or point.branch in run.branches)
        and (not class_name or class_name in run.class_names)
    ]
    figure = figures.roc_and_precision_recall(able, class_name or None, point.branch or None)
    for run in able:
        colour = COLOURS[able.index(run) % len(COLOURS)]
        own = point if run.name == in_view.name else point.of_another()
        _mark(figure, run, _mean_point(run, class_name, own), colour)
    figure.update_xaxes(title_standoff=4)
    return _legend_above(figure, height=300 if is_narrow else 420)


def _mean_point(run: Run, class_name: str, point: OperatingPoint) -> Mapping[str, float]:
    """False alarms, recall and precision, each the mean over classes, as the curves are."""
    judged = judge(run, point)
    if class_name:
        judged = judged[judged["class_name"] == class_name]
    shares = pd.DataFrame([
        (one.false_alarm_rate, one.recall, one.precision) for one in confusions(judged).values()
    ], columns=["false_alarms", "recall", "precision"], dtype=float)
    return shares.mean()


def _mark(figure: go.Figure, run: Run, place: Mapping[str, float], colour: str) -> None:
    pairs = (("false_alarms", "recall"), ("recall", "precision"))
    for column, (x, y) in enumerate(pairs, start=1):
        if np.isfinite(place[x]) and np.isfinite(place[y]):
            figure.add_trace(go.Scatter(
                x=[100 * place[x]], y=[100 * place[y]], mode="markers", showlegend=False,
                name=escape(f"{run.name}, operating point"), legendgroup=run.name,
                marker={"size": 12, "color": colour, "line": {"width": 2, "color": "#fff"}},
                hovertemplate="operating point: %{x:.1f} → %{y:.1f}<extra></extra>",
            ), row=1, col=column)


def embedding(run: Run, colour: str, point: OperatingPoint) -> go.Figure:
    """The map of the test pictures; dragging on it selects."""
    seen = seen_by(run, point.branch_of(run))
    figure = figures.embedding_map(seen, colour, point.thresholds(run))
    figure.update_layout(
        dragmode="lasso", height=460, margin={"t": 8},
        legend={"font": {"size": 11}, "itemwidth": 30},
        newselection={"line": {"color": "#ee6c4d", "width": 2}},
    )
    return figure


def empty_html() -> str:
    """What stands in place of the tab before there is a run."""
    return (
        "<div class='lt-empty'><h2>No run yet</h2><p>A run is one evaluation on a test set. Its "
        "tables, curves and every picture appear here. Make the first one where this page "
        "runs, then come back:</p>"
        "<p><code class='lt-run-command'>python -m ltad evaluate --data parts --run NAME</code></p>"
        "<p>Any folder in MVTec AD's layout does in place of <code>parts</code>.</p></div>"
    )


def nothing_chosen_html() -> str:
    """What stands there when no run is chosen."""
    return (
        "<div class='lt-empty'><h2>Choose a run</h2>"
        "<p>Pick one above, or several to see them side by side.</p></div>"
    )


def facts_html(run: Run) -> str:
    """What ``run.json`` says, of paths only the last part."""
    rows = "".join(
        f"<tr><th scope='row'>{escape(readable(name).capitalize())}</th>"
        f"<td>{_fact_html(run.about[name])}</td></tr>"
        for name in _FACTS
        if run.about.get(name) not in (None, "", {}, [])
    )
    counted = f"{len(run.images):,}, of them {int(run.images['is_defective'].sum()):,} defective"
    return (
        f"<table class='lt-table lt-facts'><tbody><tr><th scope='row'>Test pictures</th>"
        f"<td>{counted}</td></tr>{rows}</tbody></table>"
    )


def _fact_html(fact: Any) -> str:
    if isinstance(fact, dict):
        return "<dl class='lt-run-pairs'>" + "".join(
            f"<div><dt>{escape(readable(str(key)))}</dt><dd>{_fact_html(value)}</dd></div>"
            for key, value in fact.items() if value not in (None, "")
        ) + "</dl>"
    if isinstance(fact, list | tuple):
        return ", ".join(_fact_html(value) for value in fact)
    if isinstance(fact, bool):
        return "yes" if fact else "no"
    if isinstance(fact, float):
        return number(fact)
    text = str(fact)
    return escape(Path(text).name if Path(text).is_absolute() else text)


def confusion_html(
    total: Confusion, by_class: dict[str, Confusion], thresholds: dict[str, float],
    point: OperatingPoint, is_hindsight: bool = False,
) -> str:
    """The counts as a square, their shares, and a row a class.

    Args:
        total: of the pictures looked at.
        by_class: of each class among them.
        thresholds: of each class.
        point: where they are from.
        is_hindsight: the thresholds were taken from the test set itself.
    """
    doubt = notice(_HINDSIGHT) if is_hindsight else _doubt_html(total, point)
    return (
        f"{doubt}<div class='lt-run-operating'>{_square_html(total)}"
        f"{_shares_html(total, point)}</div>{_classes_html(by_class, thresholds)}"
    )


def _doubt_html(total: Confusion, point: OperatingPoint) -> str:
    """Says when good test pictures raise far more alarms than the held-out ones promised."""
    measured = total.false_alarm_rate
    if point.score is not None or measured is None or measured <= _DOUBTFUL * point.rate:
        return ""
    return notice(
        f"Of the good test pictures {measured:.1%} raise an alarm, although {point.rate:.0%} were "
        "asked for: the few held-out pictures that set the threshold do not stand for the test set."
    )


def _square_html(total: Confusion) -> str:
    def cell(count: int, word: str, kind: str) -> str:
        return f"<td class='lt-run-cell-{kind}'><b>{count:,}</b><span>{word}</span></td>"

    return (
        "<table class='lt-run-square'><thead><tr><td></td><th scope='col'>called defective</th>"
        "<th scope='col'>called good</th></tr></thead><tbody>"
        f"<tr><th scope='row'>is defective</th>{cell(total.found, 'found', 'right')}"
        f"{cell(total.missed, 'missed', 'missed')}</tr>"
        f"<tr><th scope='row'>is good</th>{cell(total.false_alarms, 'false alarms', 'alarm')}"
        f"{cell(total.passed, 'passed', 'right')}</tr></tbody></table>"
    )


def _shares_html(total: Confusion, point: OperatingPoint) -> str:
    asked = "" if point.score is not None else f"asked for: {point.rate:.0%}"
    facts = (
        ("Precision", total.precision, "alarms that are defects"),
        ("Recall", total.recall, "defects that raise an alarm"),
        ("F1", total.f1, "harmonic mean of both"),
        ("False alarms", total.false_alarm_rate, asked or "good pictures that raise an alarm"),
    )
    return "<dl class='lt-run-shares'>" + "".join(
        f"<div><dt>{name}</dt><dd>{_percent(share)}</dd><dd class='lt-quiet'>{about}</dd></div>"
        for name, share, about in facts
    ) + "</dl>"


def _classes_html(by_class: dict[str, Confusion], thresholds: dict[str, float]) -> str:
    heads = ("Class", "Threshold", "Found", "Missed", "False alarms", "Passed", "Precision",
             "Recall", "F1")
    head = "".join(
        f"<th scope='col' class='{'lt-run-number' if index else ''}' aria-sort='none'>"
        f"<button type='button' data-lt-sort>{name}</button></th>"
        for index, name in enumerate(heads)
    )
    rows = "".join(
        f"<tr><th scope='row' data-value='{escape(readable(name))}'><button type='button' "
        f"data-lt-class='{escape(name)}'>{escape(readable(name))}</button></th>"
        + _number_cell(thresholds[name], number(thresholds[name]))
        + _number_cell(one.found) + _number_cell(one.missed, kind="missed")
        + _number_cell(one.false_alarms, kind="alarm") + _number_cell(one.passed)
        + "".join(_number_cell(share, _percent(share)) for share in
                  (one.precision, one.recall, one.f1))
        + "</tr>"
        for name, one in by_class.items()
    )
    return (
        "<div class='lt-run-scroll' tabindex='0' role='region' aria-label='Errors per class'>"
        f"<table class='lt-table lt-results'><thead><tr class='lt-run-sorts'>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
    )


def _number_cell(value: float | None, text: str | None = None, kind: str = "") -> str:
    tone = f" lt-run-tone-{kind}" if kind and value else ""
    return (
        f"<td class='lt-run-number{tone}' data-value='{-1 if value is None else value}'>"
        f"{value if text is None else text}</td>"
    )


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}%"
