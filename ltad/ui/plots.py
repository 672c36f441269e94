"""Plotly figures of the Class names tab: the map of the vocabulary and the classes' similarity.

Backgrounds are transparent and text has no colour of its own here: ``style.css`` gives it the
page's, so that the figures follow light and dark.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from ltad.ui.text import escape, readable

_GREY = "rgba(128, 134, 145, {})"
_ACCENT, _NAMES, _FOUND = "#ee6c4d", "#3d7ea6", "#2a9d6f"
_SVG_POINTS = 4000  # beyond this many points a canvas draws faster than SVG
_SIMILARITY = [(0.0, "#1b1041"), (0.35, "#681f7a"), (0.6, "#be3460"), (0.82, "#f0743e"),
               (1.0, "#fde26c")]


def vocabulary_figure(vocabulary: Any, class_name: str, word: str = "") -> go.Figure:
    """The vocabulary's tokens and the learned names in the plane.

    The vectors of `class_name` stand out, and so do the tokens that contain `word`.
    """
    tokens = np.asarray(vocabulary.tokens, dtype=object)
    found = _matches(tokens, word)
    mine = np.array([name.rsplit(" ", 1)[0] == class_name for name in vocabulary.names], bool)
    names = np.array([readable(name) for name in vocabulary.names], dtype=object)
    marker = go.Scattergl if len(tokens) > _SVG_POINTS else go.Scatter
    figure = go.Figure()
    figure.add_trace(
        _points(marker, "tokens", vocabulary.token_xy, tokens, size=4, color=_GREY.format(0.5))
    )
    figure.add_trace(
        _points(go.Scatter, "other classes", vocabulary.name_xy[~mine], names[~mine],
                size=7, color=_NAMES, symbol="diamond", opacity=0.75)
    )
    figure.add_trace(
        _points(go.Scatter, _short(readable(class_name)), vocabulary.name_xy[mine], names[mine],
                size=13, color=_ACCENT, symbol="diamond", label=True)
    )
    figure.add_trace(
        _points(go.Scatter, "start: object", vocabulary.initial_xy,
                np.array(["object (start)"], dtype=object), size=13, color=_ACCENT, symbol="x")
    )
    if found.any():
        figure.add_trace(
            _points(go.Scatter, f"“{word.strip()}”", vocabulary.token_xy[found], tokens[found],
                    size=11, color=_FOUND, symbol="circle", label=found.sum() <= 12)
        )
    figure.update_xaxes(
        title=f"Two principal components: {vocabulary.explained:.0%} of the variance"
    )
    return _finish(figure, height=520, legend=True)


def _matches(tokens: np.ndarray, word: str) -> np.ndarray:
    wanted = word.strip().lower()
    return np.array([bool(wanted) and wanted in str(token).lower() for token in tokens], bool)


def _points(
    kind: type, title: str, places: np.ndarray, texts: np.ndarray, *, label: bool = False,
    **marker: Any,
) -> Any:
    return kind(
        x=places[:, 0], y=places[:, 1], text=[escape(_short(text)) for text in texts],
        hovertext=[escape(text) for text in texts], name=escape(title),
        mode="markers+text" if label else "markers",
        textposition=[("top center", "bottom center")[index % 2] for index in range(len(texts))],
        marker=marker, hovertemplate="%{hovertext}<extra></extra>",
    )


def similarity_figure(class_names: Sequence[str], similarity: np.ndarray) -> go.Figure:
    """Cosine similarity of every pair of classes' text embeddings."""
    names = [escape(_short(readable(name))) for name in class_names]
    figure = go.Figure(
        go.Heatmap(
            z=similarity, x=names, y=names, colorscale=_SIMILARITY, zmax=1.0,
            zmin=float(min(similarity.min(), 0.999)),
            hovertemplate="%{y} and %{x}: %{z:.3f}<extra></extra>",
            colorbar={"thickness": 10, "outlinewidth": 0, "title": {"text": "cosine"}},
        )
    )
    figure.update_yaxes(autorange="reversed", showticklabels=True)
    figure.update_xaxes(showticklabels=True, tickangle=-45)
    return _finish(figure, height=max(380, 30 * len(names) + 140), legend=False)


def _short(name: str, limit: int = 22) -> str:
    """A name that fits into a figure: its beginning and, because vectors are numbered, its end."""
    return name if len(name) <= limit else f"{name[: limit - 3]}…{name[-2:]}"


def _finish(figure: go.Figure, height: int, legend: bool) -> go.Figure:
    figure.update_layout(
        height=height, showlegend=legend, paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)", margin={"l": 8, "r": 8, "t": 24, "b": 8},
        font={"family": "system-ui, sans-serif", "size": 12},
        legend={"orientation": "h", "y": -0.1, "yanchor": "top", "x": 0},
        hoverlabel={"font": {"family": "system-ui, sans-serif"}},
    )
    line = _GREY.format(0.25)
    show = {} if not legend else {"showticklabels": False}
    figure.update_xaxes(automargin=True, gridcolor=line, zeroline=False, **show)
    figure.update_yaxes(automargin=True, gridcolor=line, zeroline=False, **show)
    return figure
