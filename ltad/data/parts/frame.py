"""Where a part lies in the picture: pixel coordinates seen from the part's own axes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw

SUPERSAMPLING = 3


@dataclass(frozen=True)
class Frame:
    """Coordinates of every pixel, in the picture (x, y) and on the part (u, v).

    ``x`` and ``y`` run from -1 to 1 over the picture, ``y`` downwards. ``u`` and ``v`` are the
    same points after undoing the part's shift, turn and scale. All are (size, size) float32.
    """

    size: int
    angle: float
    scale: float
    center: tuple[float, float]
    x: np.ndarray
    y: np.ndarray
    u: np.ndarray
    v: np.ndarray

    @property
    def pixel(self) -> float:
        """Width of one pixel in part units."""
        return 2.0 / self.size / self.scale

    def cover(self, distance: np.ndarray) -> np.ndarray:
        """Antialiased coverage (0 to 1) of the region where a part-unit distance is negative."""
        return np.clip(0.5 - distance / self.pixel, 0.0, 1.0)

    def bent(self, shift_u: np.ndarray, shift_v: np.ndarray) -> Frame:
        """The same frame with the part's material displaced by a field in part units."""
        return replace(self, u=self.u - shift_u, v=self.v - shift_v)

    def near(self, place, reach: float) -> tuple[Frame, tuple[slice, slice]]:
        """The frame cropped to a square about a part point, and the crop's pixels.

        Drawing small pieces inside their own window costs a fraction of the full picture.
        """
        x, y = self.to_picture(np.array([[place[0], place[1]]]))[0]
        half = reach * self.scale + 2.0 / self.size
        window = tuple(
            slice(
                int(np.clip((middle - half + 1) * self.size / 2, 0, self.size - 1)),
                int(np.clip((middle + half + 1) * self.size / 2 + 1, 1, self.size)),
            )
            for middle in (y, x)
        )
        cropped = replace(
            self, x=self.x[window], y=self.y[window], u=self.u[window], v=self.v[window]
        )
        return cropped, window

    def to_picture(self, points: np.ndarray) -> np.ndarray:
        """(n, 2) part points as (n, 2) picture points."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        turned = points @ np.array([[cos, sin], [-sin, cos]])
        return turned * self.scale + np.array(self.center)

    def ink_part(self, lines=(), width=0.02, polygons=()) -> np.ndarray:
        """Ink of polylines and filled polygons given in part units, (size, size) in 0 to 1."""
        return ink(
            self.size,
            [self.to_picture(np.asarray(line, float)) for line in lines],
            width * self.scale,
            [self.to_picture(np.asarray(polygon, float)) for polygon in polygons],
        )


def make_frame(size: int, angle: float, scale: float, center: tuple[float, float]) -> Frame:
    """Frame of a part turned by ``angle`` radians, scaled, and moved to ``center``."""
    axis = (np.arange(size, dtype=np.float32) + np.float32(0.5)) * np.float32(2.0 / size) - 1
    x = np.broadcast_to(axis[None, :], (size, size))
    y = np.broadcast_to(axis[:, None], (size, size))
    cos, sin = np.float32(np.cos(angle) / scale), np.float32(np.sin(angle) / scale)
    away_x, away_y = x - np.float32(center[0]), y - np.float32(center[1])
    u = away_x * cos + away_y * sin
    v = away_y * cos - away_x * sin
    return Frame(size, angle, scale, center, x, y, u, v)


def ink(size: int, lines=(), width: float = 0.02, polygons=(), widths=None) -> np.ndarray:
    """Antialiased ink of polylines and polygons given in picture units."""
    large = size * SUPERSAMPLING
    sheet = Image.new("L", (large, large), 0)
    pen = ImageDraw.Draw(sheet)
    for index, line in enumerate(lines):
        thickness = width if widths is None else widths[index]
        pixels = ((np.asarray(line) + 1.0) * (large / 2.0)).ravel().tolist()
        pen.line(pixels, fill=255, width=max(1, round(thickness * large / 2.0)), joint="curve")
    for polygon in polygons:
        pen.polygon(((np.asarray(polygon) + 1.0) * (large / 2.0)).ravel().tolist(), fill=255)
    return np.asarray(sheet.reduce(SUPERSAMPLING), dtype=np.float32) / np.float32(255)
