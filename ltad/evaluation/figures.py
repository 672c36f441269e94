"""Figures of runs, in one style."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ltad.data.splits import NamedSplit, natural_order
from ltad.evaluation.operating_point import VERDICTS, verdicts
from ltad.evaluation.runs import Run
from ltad.types import ALL_BRANCHES, TASKS, SettingError

COLOURS = ("#3d7ea6", "#ee6c4d", "#2a9d6f", "#9b6bb3", "#c9971c", "#d1495b", "#5b7f95", "#7a8b3c")
GREY = "rgba(128, 134, 145, {})"
DASHES = dict(zip(ALL_BRANCHES, ("solid", "dash", "dot", "dashdot", "longdash"), strict=False))
_VERDICT_COLOURS = ("#9aa3b2", "#3d7ea6", "#c9971c", "#d1345b")
_SYMBOLS = dict(zip(ALL_BRANCHES, ("circle", "square", "diamond", "cross", "x"), strict=False))
_SCALE = [(0.0, "#1b1041"), (0.35, "#681f7a"), (0.6, "#be3460"), (0.82, "#f0743e"),
          (1.0, "#fde26c")]
GOOD, DEFECTIVE = "#3d7ea6", "#ee6c4d"
_BINS = 36
_CURVE = np.linspace(0, 1, 201)


def head_to_tail(run: Run) -> list[str]:
    """The classes with test images, the one with the most training images first."""
    counts = run.about["split"]["counts"]
    return natural_order({name: counts.get(name, 0) for name in run.class_names})


def first_of(runs: Sequence[Run]) -> Run:
    """The first run. Raises SettingError if there is none."""
    if not runs:
        raise SettingError("There is no run to draw. Choose one.")
    return runs[0]


def label(run: Run, branch: str, with_name: bool) -> str:
    """What the legend calls a run's branch; its own branch is called after the run alone."""
    if not with_name:
        return branch
    name = short(run.name, 36)
    return name if branch == run.branch else f"{name}, {branch}"


def short(name: str, limit: int = 24) -> str:
    """A name as text of a figure, cut to `limit` characters and escaped."""
    name = name.replace("_", " ")
    return escape(name if len(name) <= limit else name[: limit - 1] + "…")


def finish(
    figure: go.Figure, height: int, legend: bool = True, ticks: bool = True
) -> go.Figure:
    """The figure with the look that all share; `height` in pixels."""
    font = {"family": "system-ui, sans-serif", "size": 12}
    figure.update_layout(
        height=height, showlegend=legend, template="none", paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)", margin={"l": 8, "r": 8, "t": 28, "b": 8}, font=font,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        hoverlabel={"font": font},
        # By default a dark box, made of the transparent paper's black.
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": GREY.format(0.7),
                 "activecolor": GREY.format(1)},
    )
    for update in (figure.update_xaxes, figure.update_yaxes):
        update(automargin=True, gridcolor=GREY.format(0.25), zeroline=False, showticklabels=ticks)
    return figure


def number_text(value: float) -> str:
    """Three significant digits, without an exponent for everyday sizes."""
    if value == 0:
        return "0"
    if not 0.001 <= abs(value) < 100_000:
        return f"{value:.2e}"
    return f"{value:.{decimals_of(value)}f}"


def decimals_of(value: float) -> int:
    """How many decimals three significant digits take."""
    size = abs(value)
    return 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3


def long_tail_figure(runs: Sequence[Run], metric: str = "image") -> go.Figure:
    """AUROC of every class, head to tail, over the classes' training images.

    With several runs only the branch that each is judged by is drawn at first; the legend shows
    the others. The order, the counts and the shaded tail are the first run's.

    Args:
        runs: one or more.
        metric: "image" or "pixel".
    """
    first = first_of(runs)
    names = head_to_tail(first)
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.68, 0.32],
                           vertical_spacing=0.05)
    for number, run in enumerate(runs):
        for place, branch in enumerate(run.branches):
            colour = COLOURS[(number if len(runs) > 1 else place) % len(COLOURS)]
            values = [run.value(name, metric, branch) for name in names]
            figure.add_trace(go.Scatter(
                x=list(range(len(names))), text=[short(name) for name in names],
                y=[None if v is None else 100 * v for v in values],
                name=label(run, branch, len(runs) > 1), mode="lines+markers",
                visible=True if len(runs) == 1 or branch == run.branch else "legendonly",
                line={"color": colour, "dash": DASHES[branch], "width": 1.5},
                marker={"symbol": _SYMBOLS[branch], "size": 8},
                hovertemplate="%{text}: %{y:.1f}<extra>%{fullData.name}</extra>",
            ), row=1, col=1)
    figure.add_trace(_count_bars(first, names), row=2, col=1)
    tail = sum(name not in first.results["groups"]["Low"] for name in names)
    if 0 < tail < len(names):
        figure.add_vrect(x0=tail - 0.5, x1=len(names) - 0.5, fillcolor=GREY.format(0.1),
                         line_width=0, layer="below")
    _name_places(figure, names)
    figure.update_yaxes(title=f"{TASKS[metric]} AUROC, %", row=1, col=1)
    figure.update_yaxes(title="images", type="log", row=2, col=1, dtick=1)
    finish(figure, 460)
    return figure.update_xaxes(showticklabels=False, row=1, col=1)


def splits_figure(splits: Sequence[NamedSplit]) -> go.Figure:
    """Training images over the classes' ranks, a line for each split, data sets side by side."""
    data_sets = list(dict.fromkeys(named.dataset for named in splits))
    figure = make_subplots(rows=1, cols=len(data_sets), subplot_titles=list(map(short, data_sets)))
    for number, named in enumerate(splits):
        figure.add_trace(go.Scatter(
            x=list(range(1, len(named.counts) + 1)), y=list(named.counts.values()),
            text=[short(name) for name in named.counts], name=short(named.name, 60),
            mode="lines+markers", line={"color": COLOURS[number % len(COLOURS)], "width": 1.5},
            hovertemplate="%{text}: %{y} training images<extra>%{fullData.name}</extra>",
        ), row=1, col=data_sets.index(named.dataset) + 1)
    figure.update_xaxes(title="rank of the class")
    figure.update_yaxes(type="log", dtick=1)
    figure.update_yaxes(title="training images", row=1, col=1)
    height = 480
    return finish(figure, height).update_layout(legend_y=1 + 40 / height, margin_t=140)


def embedding_map(
    run: Run, colour: str = "class", threshold: float | Mapping[str, float] | None = None,
    seed: int = 0,
) -> go.Figure:
    """The test images in the plane of their embeddings' two principal components.

    Channels are in units of their deviation. Each point's ``customdata`` is its image's index.

    Args:
        run: with two test images or more.
        colour: "class", "score" (of the run's own branch) or "error" (`VERDICTS`).
        threshold: for "error": one, or class -> threshold.
        seed: of the projection, where it draws.

    Raises:
        SettingError: another `colour`, or "error" without a threshold.
    """
    if colour not in ("class", "score", "error"):
        raise SettingError(f"colour is {colour!r}, but it must be 'class', 'score' or 'error'.")
    if colour == "error" and threshold is None:
        raise SettingError("The errors need a threshold. Give one, or colour by class or score.")
    places = project(run.embeddings(), seed)
    if colour == "score":
        return finish(_scored_points(run, places), 460, legend=False, ticks=False)
    groups = run.images["class_name"].to_numpy()
    order, colours = run.class_names, COLOURS
    if colour == "error" and threshold is not None:
        groups, order, colours = verdicts(run, threshold), VERDICTS, _VERDICT_COLOURS
    figure = go.Figure()
    for number, name in enumerate(order):
        chosen = np.flatnonzero(groups == name)
        if chosen.size:
            figure.add_trace(_points(run, places, chosen, short(str(name)),
                                     {"color": colours[number % len(colours)]}))
    return finish(figure, 460, ticks=False)


def project(embeddings: np.ndarray, seed: int = 0) -> np.ndarray:
    """(n, 2): principal components of (n, d), each channel in units of its deviation."""
    from sklearn.decomposition import PCA  # scikit-learn takes a while, and no visitor waits for it

    values = np.asarray(embeddings, np.float32)
    values = (values - values.mean(axis=0)) / (values.std(axis=0) + 1e-6)
    return PCA(2, random_state=seed).fit_transform(values)


def _scored_points(run: Run, places: np.ndarray) -> go.Figure:
    scores = run.images[run.branch].to_numpy()
    low, high = np.percentile(scores, (1, 99))
    return go.Figure(_points(run, places, np.arange(len(places)), "", {
        "color": scores, "colorscale": _SCALE, "cmin": low, "cmax": high, "showscale": True,
        "colorbar": {"thickness": 10, "outlinewidth": 0, "title": {"text": "score"}},
    }))


def _points(
    run: Run, places: np.ndarray, chosen: np.ndarray, name: str, marker: dict[str, Any]
) -> go.Scatter:
    rows = run.images.iloc[chosen]
    text = [
        f"{escape(row.class_name)}, {escape(row.defect) or 'good'}<br>"
        f"score {number_text(getattr(row, run.branch))}" for row in rows.itertuples()
    ]
    symbols = np.where(rows["is_defective"] == 1, "x", "circle")
    return go.Scatter(
        x=places[chosen, 0].round(4), y=places[chosen, 1].round(4), mode="markers", name=name,
        text=text, customdata=chosen, hovertemplate="%{text}<extra></extra>",
        marker={"size": 7, "symbol": symbols, "opacity": 0.8, **marker},
    )


def _count_bars(run: Run, names: Sequence[str]) -> go.Bar:
    counts = [run.about["split"]["counts"].get(name, 0) for name in names]
    return go.Bar(
        x=list(range(len(names))), y=counts, text=counts, textposition="auto",
        marker_color=GREY.format(0.7), showlegend=False, cliponaxis=False,
        hovertext=[short(name) for name in names],
        hovertemplate="%{hovertext}: %{y} training images<extra></extra>",
    )


def _name_places(figure: go.Figure, names: Sequence[str]) -> go.Figure:
    """Whole numbers as places, so that two names cut to the same text stay apart."""
    return figure.update_xaxes(tickvals=list(range(len(names))), tickangle=-40,
                               ticktext=[short(name) for name in names])


def score_histogram(
    run: Run, class_name: str | None = None, branch: str | None = None,
    threshold: float | None = None,
) -> go.Figure:
    """Image scores of good and of defective test images, with the threshold as a dashed line.

    Args:
        run: the run.
        class_name: one class, or None for all images together.
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
    figure.update_yaxes(title="images", dtick=_whole_ticks(bars))
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
            figure.add_vline(
                x=thresholds[name], name=name,
                row=row, col=column,  # pyright: ignore[reportArgumentType]
                line={"dash": "dash", "width": 1.5, "color": GREY.format(1)},
            )
    figure.update_layout(barmode="overlay", bargap=0)
    figure.update_annotations(font_size=12)
    height = 150 * rows + 80
    return finish(figure, height).update_layout(legend_y=1 + 30 / height, margin_t=60)


def roc_and_precision_recall(
    runs: Sequence[Run], class_name: str | None = None, branch: str | None = None
) -> go.Figure:
    """ROC left and precision over recall right, of image scores.

    For all classes it is the mean of the classes' curves, whose area is the mean AUROC: classes
    score on different scales, so one list of all images would mix them.

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
    """One series of bars for good images and one for defective ones, in shared bins."""
    names = run.images["class_name"]
    rows = run.images if class_name is None else run.images.loc[names == class_name]
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
    """Step of an axis that counts images: 1 where Plotly's own would fall between them."""
    highest = max(max(one.y) for one in bars)  # pyright: ignore[reportArgumentType]
    return 1 if highest <= 5 else None


def _curves(run: Run, class_name: str | None, branch: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """ROC and precision at `_CURVE`'s places, of each class that has both labels."""
    from sklearn.metrics import precision_recall_curve, roc_curve

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
