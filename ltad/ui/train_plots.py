"""The Train tab's plotly figure: the losses of a training as it goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

_COLOURS = ("#3d7ea6", "#8a94a3", "#ee6c4d", "#2a9d6f", "#9b5de5")
MOST_POINTS = 200
LOSS_NAMES = {
    "phase 1: synthesis": "Phase 1: synthesised features",
    "phase 1: kl": "Phase 1: KL divergence of the latent",
    "phase 2: reconstruction": "Phase 2: reconstruction", "phase 2: semantic": "Phase 2: semantics",
}
"""A training's losses in words."""


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
