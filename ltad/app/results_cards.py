"""Cards and plots of the Results tab."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from ltad.app.html import escape, number, render
from ltad.evaluation import figures
from ltad.evaluation.figures import COLOURS
from ltad.evaluation.metrics import Confusion
from ltad.evaluation.operating_point import OperatingPoint, confusions, judge, seen_by
from ltad.evaluation.runs import Run

EMBEDDING_COLOURS = {"class": "Class", "score": "Score", "error": "Verdict"}
_DOUBTFUL = 2.0  # times the rate asked for
_FACTS = ("kind", "created", "group", "row", "seed", "model", "encoder", "settings", "data",
          "split", "training_pictures", "seconds", "versions", "config")


def long_tail(runs: Sequence[Run], metric: str) -> go.Figure:
    """AUROC over the classes' training images; the classes are named once, below both."""
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
    """Scores of good and defective images with the threshold; for all classes, when each has
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
    height = figure.layout.height  # pyright: ignore[reportAttributeAccessIssue]
    return _legend_above(figure, height=height + 10)


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
        judged = judged.loc[judged["class_name"] == class_name]
    shares = pd.DataFrame([
        (one.false_alarm_rate, one.recall, one.precision) for one in confusions(judged).values()
    ], columns=["false_alarms", "recall", "precision"], dtype=float)
    return shares.mean().to_dict()


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
    """The map of the test images; dragging on it selects."""
    seen = seen_by(run, point.branch_of(run))
    figure = figures.embedding_map(seen, colour, point.thresholds(run))
    figure.update_layout(
        dragmode="lasso", height=460, margin={"t": 8},
        legend={"font": {"size": 11}, "itemwidth": 30},
        newselection={"line": {"color": "#ee6c4d", "width": 2}},
    )
    return figure


def facts_html(run: Run) -> str:
    """What ``run.json`` says, of paths only the last part."""
    about = {name: _fact(run.about[name]) for name in _FACTS
             if run.about.get(name) not in (None, "", {}, [])}
    return render(
        "results.facts", len(run.images), np.count_nonzero(run.images["is_defective"]), about)


def _fact(fact: Any) -> Any:
    """The same dict or list with texts for its values."""
    if isinstance(fact, dict):
        return {str(key): _fact(value) for key, value in fact.items() if value not in (None, "")}
    if isinstance(fact, list | tuple):
        return [_fact(value) for value in fact]
    if isinstance(fact, bool):
        return "yes" if fact else "no"
    if isinstance(fact, float):
        return number(fact)
    text = str(fact)
    return Path(text).name if Path(text).is_absolute() else text


def confusion_html(
    total: Confusion, by_class: dict[str, Confusion], thresholds: dict[str, float],
    point: OperatingPoint, is_hindsight: bool = False,
) -> str:
    """The counts as a square, their shares, and a row a class.

    Args:
        total: of the images looked at.
        by_class: of each class among them.
        thresholds: of each class.
        point: where they are from.
        is_hindsight: the thresholds were taken from the test set itself.
    """
    return render(
        "results.confusion", total, by_class, thresholds, point, is_hindsight,
        _is_doubtful(total, point),
    )


def _is_doubtful(total: Confusion, point: OperatingPoint) -> bool:
    """Good test images raise far more alarms than the held-out ones promised."""
    measured = total.false_alarm_rate
    return point.score is None and measured is not None and measured > _DOUBTFUL * point.rate
