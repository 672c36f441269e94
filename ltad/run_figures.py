"""Plotly figures of runs: the long tail, training sets, and the map of the embeddings.

Shared by the Results tab and the HTML report; those of scores are in `ltad.score_figures`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from sklearn.decomposition import PCA

from ltad.data.named_splits import NamedSplit
from ltad.figure_style import (
    COLOURS,
    DASHES,
    GREY,
    finish,
    first_of,
    head_to_tail,
    label,
    number_text,
    short,
)
from ltad.run_errors import VERDICTS, verdicts
from ltad.runs import METRICS, Run
from ltad.types import SettingError

_VERDICT_COLOURS = ("#9aa3b2", "#3d7ea6", "#c9971c", "#d1345b")
_SYMBOLS = {"combined": "circle", "reconstruction": "square", "semantic": "diamond",
            "reference": "cross"}
_SCALE = [(0.0, "#1b1041"), (0.35, "#681f7a"), (0.6, "#be3460"), (0.82, "#f0743e"),
          (1.0, "#fde26c")]


def long_tail_figure(runs: Sequence[Run], metric: str = "image") -> go.Figure:
    """AUROC of every class, head to tail, over the classes' training pictures.

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
    figure.update_yaxes(title=f"{METRICS[metric]} AUROC, %", row=1, col=1)
    figure.update_yaxes(title="pictures", type="log", row=2, col=1, dtick=1)
    finish(figure, 460)
    return figure.update_xaxes(showticklabels=False, row=1, col=1)


def splits_figure(splits: Sequence[NamedSplit]) -> go.Figure:
    """Training pictures over the classes' ranks, a line for each split, data sets side by side."""
    data_sets = list(dict.fromkeys(named.dataset for named in splits))
    figure = make_subplots(rows=1, cols=len(data_sets), subplot_titles=list(map(short, data_sets)))
    for number, named in enumerate(splits):
        figure.add_trace(go.Scatter(
            x=list(range(1, len(named.counts) + 1)), y=list(named.counts.values()),
            text=[short(name) for name in named.counts], name=short(named.name, 60),
            mode="lines+markers", line={"color": COLOURS[number % len(COLOURS)], "width": 1.5},
            hovertemplate="%{text}: %{y} training pictures<extra>%{fullData.name}</extra>",
        ), row=1, col=data_sets.index(named.dataset) + 1)
    figure.update_xaxes(title="rank of the class")
    figure.update_yaxes(type="log", dtick=1)
    figure.update_yaxes(title="training pictures", row=1, col=1)
    height = 480
    return finish(figure, height).update_layout(legend_y=1 + 40 / height, margin_t=140)


def embedding_map(
    run: Run, colour: str = "class", threshold: float | Mapping[str, float] | None = None,
    seed: int = 0,
) -> go.Figure:
    """The test pictures in the plane of their embeddings' two principal components.

    Channels are in units of their deviation. Each point's ``customdata`` is its picture's index.

    Args:
        run: with two test pictures or more.
        colour: "class", "score" (of the run's own branch) or "error" (`ltad.run_errors.VERDICTS`).
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
    if colour == "error":
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
    run: Run, places: np.ndarray, chosen: np.ndarray, name: str, marker: dict
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
        hovertemplate="%{hovertext}: %{y} training pictures<extra></extra>",
    )


def _name_places(figure: go.Figure, names: Sequence[str]) -> go.Figure:
    """Whole numbers as places, so that two names cut to the same text stay apart."""
    return figure.update_xaxes(tickvals=list(range(len(names))), tickangle=-40,
                               ticktext=[short(name) for name in names])
