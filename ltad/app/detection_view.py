"""A Detection as HTML: the verdict, the three maps with their boxes, and the table of regions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ltad.app.html import apart, render
from ltad.io import heatmap
from ltad.io.heatmap import heat_png
from ltad.io.images import Prepared
from ltad.types import BRANCH_TABLE, Detection, Region

NONSENSE = "a blorf"
"""Stands for words that say nothing."""
NOTICEABLE = 0.05
"""A difference of two semantic scores in [0, 1] that counts as one."""
LITTLE = 0.05
"""Share of the pixels below which words do as much as a nonsense word."""


@dataclass(frozen=True)
class Photo:
    """An image on show: what the page draws under the maps.

    Attributes:
        jpeg_url: the photograph as a data URL, in its own proportions.
        width, height: of the photograph in pixels.
    """

    jpeg_url: str
    width: int
    height: int

    def box(self, region: Region, shape: tuple[int, int]) -> tuple[int, int, int, int]:
        """Left, top, right, bottom in pixels of the photograph of a region on maps of `shape`."""
        across, down = self.width / shape[1], self.height / shape[0]
        return (
            round(region.left * across), round(region.top * down),
            round(region.right * across), round(region.bottom * down),
        )


@dataclass(frozen=True)
class ReadyPhoto(Photo):
    """An image on show that can be scored.

    Attributes:
        prepared: the scorer's own record of the image.
        model: name of the model that `prepared` is for; "" is the first one.
    """

    prepared: Prepared
    model: str = ""


@dataclass(frozen=True)
class Refusal:
    """In place of a `Photo`: why the image cannot be used."""

    reason: str


def answer_html(detection: Detection) -> str:
    """The notices, the verdict card and the recognised class."""
    return render("detection.answer", detection, gauge(detection))


def gauge(detection: Detection, before: float | None = None) -> dict[str, Any]:
    """The `scale` of a detection's score; `before` is an earlier score."""
    return scale(
        detection.score, detection.threshold, detection.map_scale["combined"][0], before
    )


def scale(
    score: float, threshold: float, start: float, before: float | None = None
) -> dict[str, Any]:
    """What the gauge of a score shows: its two ends, and places on it in percent.

    It begins at `start`, the map's usual low, and keeps the threshold in its middle until the
    score needs more room.
    """
    start = min(start, threshold)
    full = max(2 * (threshold - start), 1.15 * (score - start), 1e-9)
    fill, tick, mark = (
        100 * max(0.0, value - start) / full for value in (score, threshold, before or 0.0)
    )
    score_text, threshold_text = apart(score, threshold)
    return {
        "score": score_text, "threshold": threshold_text, "before": before,
        "side": "above" if score > threshold else "not above",
        "low": start, "high": start + full, "fill": fill, "tick": tick, "mark": min(mark, 100),
    }


def effect_html(share: float) -> str:
    """What the anomalous words do, and a notice when `NONSENSE` does as much.

    Args:
        share: of the pixels, in [0, 1], whose semantic score differs by `NOTICEABLE`.
    """
    return render("detection.effect", share, NONSENSE, NOTICEABLE, share < LITTLE)


@dataclass(frozen=True)
class Map:
    """A map of a Detection as the page shows it: branch, values (H, W) and title."""

    key: str
    values: np.ndarray
    title: str


def maps_of(detection: Detection) -> list[Map]:
    """The maps that there are, the sum first."""
    return [
        Map(branch.name, values, branch.title) for branch in BRANCH_TABLE
        if (values := getattr(detection, branch.map)) is not None
    ]


def maps_html(detection: Detection, photo: Photo, outline_url: str = "", effect: str = "") -> str:
    """The maps over the photograph, with the values under the pointer packed beside them.

    Args:
        detection, photo: what is drawn.
        outline_url: a transparent image that is laid over each.
        effect: HTML right under the maps.
    """
    maps = maps_of(detection)
    return render(
        "detection.maps", detection, photo, [_figure(detection, one) for one in maps],
        *heatmap.pack_maps([one.values for one in maps]), heatmap.scale_gradient(),
        outline_url, effect,
    )


def _figure(detection: Detection, one: Map) -> dict[str, Any]:
    low, high = detection.map_scale[one.key]
    begin = 100 * (detection.pixel_threshold - low) / max(high - low, 1e-12)
    return {
        "key": one.key, "title": one.title, "highest": float(one.values.max()),
        "heat": heatmap.data_url(heat_png(one.values, low, high), "image/png"),
        # Half a hundredth of the scale is nothing to read, and would be a power of ten.
        "ends": apart(0.0 if abs(low) < 0.005 * (high - low) else low, high),
        "regions_from": begin if one.key == "combined" and 0 <= begin <= 100 else None,
    }


def prompt_notes(normal: str, abnormal: str, unknown: list[str]) -> str:
    """What a prompt writer should know about the two prompts, or nothing."""
    return render("detection.prompt_notes", normal.split() == abnormal.split(), unknown)
