"""What the figures of runs have in common: colours, names cut to fit, and the look.

Backgrounds are transparent and text has no colour of its own, so that the figures follow the
page's light or dark.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import plotly.graph_objects as go

from ltad.data.longtail import natural_order
from ltad.runs import Run
from ltad.types import SettingError

COLOURS = ("#3d7ea6", "#ee6c4d", "#2a9d6f", "#9b6bb3", "#c9971c", "#d1495b", "#5b7f95", "#7a8b3c")
GREY = "rgba(128, 134, 145, {})"
DASHES = {"combined": "solid", "reconstruction": "dash", "semantic": "dot",
          "reference": "dashdot"}


def head_to_tail(run: Run) -> list[str]:
    """The classes with test pictures, the one with the most training pictures first."""
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
