"""The Results tab's figures: those of the report, with the operating point drawn in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from ltad import run_figures, score_figures
from ltad.figure_style import COLOURS
from ltad.runs import Run
from ltad.ui.results_operating import OperatingPoint, confusions, judge, seen_by
from ltad.ui.text import escape

EMBEDDING_COLOURS = {"class": "Class", "score": "Score", "error": "Verdict"}


def long_tail(runs: Sequence[Run], metric: str) -> go.Figure:
    """AUROC over the classes' training pictures; the classes are named once, below both."""
    figure = run_figures.long_tail_figure(runs, metric)
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
        return score_figures.score_histogram(run, class_name, branch, thresholds[class_name])
    if point.score is not None:
        return score_figures.score_histogram(run, None, branch, point.score)
    figure = score_figures.score_histograms(run, thresholds, branch, columns)
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
    figure = score_figures.roc_and_precision_recall(able, class_name or None, point.branch or None)
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
    figure = run_figures.embedding_map(seen, colour, point.thresholds(run))
    figure.update_layout(
        dragmode="lasso", height=460, margin={"t": 8},
        legend={"font": {"size": 11}, "itemwidth": 30},
        newselection={"line": {"color": "#ee6c4d", "width": 2}},
    )
    return figure
