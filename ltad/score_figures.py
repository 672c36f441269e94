"""Plotly figures of a run's image scores: histograms with their threshold, ROC, and precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from sklearn.metrics import precision_recall_curve, roc_curve

from ltad.figure_style import COLOURS, DASHES, GREY, finish, first_of, head_to_tail, label, short
from ltad.runs import Run

GOOD, DEFECTIVE = "#3d7ea6", "#ee6c4d"
_BINS = 36
_CURVE = np.linspace(0, 1, 201)


def score_histogram(
    run: Run, class_name: str | None = None, branch: str | None = None,
    threshold: float | None = None,
) -> go.Figure:
    """Image scores of good and of defective test pictures, with the threshold as a dashed line.

    Args:
        run: the run.
        class_name: one class, or None for all pictures together.
        branch: by default the run's own.
        threshold: an image score, or None for no line.
    """
    bars = _histogram_bars(run, class_name, branch or run.branch)
    figure = go.Figure(bars)
    if threshold is not None:
        figure.add_vline(x=threshold, line={"dash": "dash", "width": 2, "color": GREY.format(1)},
                         name="threshold", annotation_text="threshold")
    figure.update_layout(barmode="overlay", bargap=0)
    figure.update_xaxes(title=f"image score, {branch or run.branch}")
    figure.update_yaxes(title="pictures", dtick=_whole_ticks(bars))
    return finish(figure, 320)


def score_histograms(
    run: Run, thresholds: Mapping[str, float], branch: str | None = None, columns: int = 4
) -> go.Figure:
    """`score_histogram` of every class, head to tail, at most `columns` side by side; each line has
    its class's name."""
    names = head_to_tail(run)
    columns = min(columns, len(names))
    rows = -(-len(names) // columns)
    figure = make_subplots(
        rows=rows, cols=columns, subplot_titles=[short(name) for name in names],
        vertical_spacing=0.32 / max(rows, 2), horizontal_spacing=0.05,
    )
    for number, name in enumerate(names):
        row, column = number // columns + 1, number % columns + 1
        bars = _histogram_bars(run, name, branch or run.branch, legend=number == 0)
        figure.add_traces(bars, rows=row, cols=column)
        figure.update_yaxes(dtick=_whole_ticks(bars), row=row, col=column)
        if name in thresholds:
            figure.add_vline(x=thresholds[name], row=row, col=column, name=name,
                             line={"dash": "dash", "width": 1.5, "color": GREY.format(1)})
    figure.update_layout(barmode="overlay", bargap=0)
    figure.update_annotations(font_size=12)
    height = 150 * rows + 80
    return finish(figure, height).update_layout(legend_y=1 + 30 / height, margin_t=60)


def roc_and_precision_recall(
    runs: Sequence[Run], class_name: str | None = None, branch: str | None = None
) -> go.Figure:
    """ROC left and precision over recall right, of image scores.

    For all classes it is the mean of the classes' curves, whose area is the mean AUROC: classes
    score on different scales, so one list of all pictures would mix them.

    Args:
        runs: one or more.
        class_name: one class, or None for the mean over all.
        branch: by default each run's own; a run that did not measure it is left out.
    """
    first_of(runs)
    figure = make_subplots(rows=1, cols=2, horizontal_spacing=0.12)
    figure.add_trace(go.Scatter(x=[0, 100], y=[0, 100], mode="lines", showlegend=False,
                                hoverinfo="skip", line={"color": GREY.format(0.6), "dash": "dot"}),
                     row=1, col=1)
    for number, run in enumerate(runs):
        used = branch or run.branch
        curves = _curves(run, class_name, used) if used in run.branches else []
        if not curves:
            continue
        for column, values in enumerate(np.mean(curves, axis=0), start=1):
            figure.add_trace(go.Scatter(
                x=100 * _CURVE, y=100 * values, mode="lines", name=label(run, used, True),
                line={"color": COLOURS[number % len(COLOURS)], "width": 2, "dash": DASHES[used]},
                legendgroup=run.name, showlegend=column == 1,
                hovertemplate="%{x:.1f} → %{y:.1f}<extra>%{fullData.name}</extra>",
            ), row=1, col=column)
    titles = (("false alarms, %", "defects found, %"), ("recall, %", "precision, %"))
    for column, (x, y) in enumerate(titles, start=1):
        figure.update_xaxes(title=x, range=[0, 100], row=1, col=column)
        figure.update_yaxes(title=y, range=[0, 101], row=1, col=column)
    return finish(figure, 380)


def _histogram_bars(
    run: Run, class_name: str | None, branch: str, legend: bool = True
) -> list[go.Bar]:
    """One series of bars for good pictures and one for defective ones, in shared bins."""
    rows = run.images if class_name is None else run.images[run.images["class_name"] == class_name]
    scores, defective = rows[branch].to_numpy(), rows["is_defective"].to_numpy() == 1
    edges = np.histogram_bin_edges(scores, bins=_BINS)
    middles = (edges[:-1] + edges[1:]) / 2
    return [
        go.Bar(
            x=middles, y=np.histogram(scores[chosen], edges)[0], name=name, width=np.diff(edges),
            marker={"color": colour, "opacity": 0.6}, legendgroup=name, showlegend=legend,
            hovertemplate="%{x:,.3r}: %{y}<extra>" + name + "</extra>",
        )
        for name, colour, chosen in (
            ("good", GOOD, ~defective), ("defective", DEFECTIVE, defective)
        )
    ]


def _whole_ticks(bars: Sequence[go.Bar]) -> int | None:
    """Step of an axis that counts pictures: 1 where Plotly's own would fall between them."""
    return 1 if max(max(one.y) for one in bars) <= 5 else None


def _curves(run: Run, class_name: str | None, branch: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """ROC and precision at `_CURVE`'s places, of each class that has both labels."""
    curves = []
    for name, rows in run.images.groupby("class_name"):
        labels = rows["is_defective"].to_numpy()
        if class_name not in (None, name) or labels.min() == labels.max():
            continue
        scores = rows[branch].to_numpy()
        false_alarms, found, _ = roc_curve(labels, scores)
        precision, recall, _ = precision_recall_curve(labels, scores)
        # As average precision sums it: the precision of the first threshold that reaches a recall.
        reached = np.searchsorted(recall[::-1], _CURVE - 1e-9)
        curves.append((np.interp(_CURVE, false_alarms, found), precision[::-1][reached]))
    return curves
