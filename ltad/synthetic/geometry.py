"""Coordinates of a rendered part, the shapes and marks drawn in them, and noise."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw
from scipy.ndimage import uniform_filter

SUPERSAMPLING = 3
Point = Sequence[float] | np.ndarray
Lines = Iterable[ArrayLike]
"""Each (n, 2) points."""


@dataclass(frozen=True)
class Frame:
    """Coordinates of every pixel, in the image (x, y) and on the part (u, v).

    ``x`` and ``y`` run from -1 to 1 over the image, ``y`` downwards. ``u`` and ``v`` are the
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

    def near(self, place: Point, reach: float) -> tuple[Frame, tuple[slice, slice]]:
        """The frame cropped to a square about a part point, and the crop's pixels.

        Drawing small pieces inside their own window costs a fraction of the full image.
        """
        x, y = self.to_image(np.array([[place[0], place[1]]]))[0]
        half = reach * self.scale + 2.0 / self.size
        rows, columns = (
            slice(
                int(np.clip((middle - half + 1) * self.size / 2, 0, self.size - 1)),
                int(np.clip((middle + half + 1) * self.size / 2 + 1, 1, self.size)),
            )
            for middle in (y, x)
        )
        window = rows, columns
        cropped = replace(
            self, x=self.x[window], y=self.y[window], u=self.u[window], v=self.v[window]
        )
        return cropped, window

    def to_image(self, points: np.ndarray) -> np.ndarray:
        """(n, 2) part points as (n, 2) image points."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        turned = points @ np.array([[cos, sin], [-sin, cos]])
        return turned * self.scale + np.array(self.center)

    def ink_part(self, lines: Lines = (), width: float = 0.02, polygons: Lines = ()) -> np.ndarray:
        """Ink of polylines and filled polygons given in part units, (size, size) in 0 to 1."""
        return ink(
            self.size,
            [self.to_image(np.asarray(line, float)) for line in lines],
            width * self.scale,
            [self.to_image(np.asarray(polygon, float)) for polygon in polygons],
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


def ink(
    size: int, lines: Lines = (), width: float = 0.02, polygons: Lines = (),
    widths: Sequence[float] | np.ndarray | None = None,
) -> np.ndarray:
    """Antialiased ink of polylines and polygons given in image units."""
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


def ring_radius(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Distance from the origin."""
    return np.sqrt(u * u + v * v)


def hexagon(u: np.ndarray, v: np.ndarray, inner: float) -> np.ndarray:
    """Hexagon whose flats lie ``inner`` from the middle."""
    across = np.abs(u)
    slanted = across * np.float32(0.5) + np.abs(v) * np.float32(0.8660254)
    return np.maximum(across, slanted) - np.float32(inner)


def rectangle(
    u: np.ndarray, v: np.ndarray, half_u: float, half_v: float, round_by: float = 0.0
) -> np.ndarray:
    """Rectangle of the given half sides with rounded corners."""
    away_u = np.abs(u) - (half_u - round_by)
    away_v = np.abs(v) - (half_v - round_by)
    outside = np.sqrt(np.maximum(away_u, 0) ** 2 + np.maximum(away_v, 0) ** 2)
    return outside + np.minimum(np.maximum(away_u, away_v), 0) - np.float32(round_by)


def stadium(u: np.ndarray, v: np.ndarray, half: float, radius: float) -> np.ndarray:
    """Capsule outline: a bar of half length ``half`` with round ends."""
    away = np.maximum(np.abs(u) - np.float32(half), 0)
    return np.sqrt(away * away + v * v) - np.float32(radius)


def local(
    u: np.ndarray, v: np.ndarray, place: tuple[float, float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates seen from a piece's own place and turn."""
    away_u, away_v = u - np.float32(place[0]), v - np.float32(place[1])
    if not place[2]:
        return away_u, away_v
    cos, sin = np.float32(np.cos(place[2])), np.float32(np.sin(place[2]))
    return away_u * cos + away_v * sin, away_v * cos - away_u * sin


def dome(distance: np.ndarray, radius: float) -> np.ndarray:
    """Round edge profile: 0 at the outline, rising as a quarter circle to 1 ``radius`` inside."""
    inside = np.clip(1 + distance / np.float32(radius), 0, 1)
    return np.sqrt(1 - inside * inside * np.float32(0.999))


def bevel(distance: np.ndarray, width: float) -> np.ndarray:
    """Straight edge profile: 0 at the outline, 1 from ``width`` inside on."""
    return np.clip(-distance / np.float32(width), 0, 1)


def circle_points(radius: float, count: int, start: float = 0.0) -> np.ndarray:
    """(count, 2) points evenly on a circle."""
    angles = start + np.arange(count) * (2 * np.pi / count)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius


def pick_spot(
    rng: np.random.Generator, cover: np.ndarray, margin: float = 0.0
) -> tuple[float, float]:
    """A random point on the part, away from its edges by about ``margin`` where possible."""
    size = cover.shape[0]
    tries = rng.uniform(-0.82, 0.82, (300, 2))
    offsets = np.array([(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)], float) * margin
    for needed in (len(offsets), 1):
        points = tries[:, None, :] + offsets[None, :needed]
        pixels = np.clip(((points + 1) * size / 2).astype(int), 0, size - 1)
        inside = (cover[pixels[..., 1], pixels[..., 0]] > 0.9).all(axis=1)
        if inside.any():
            first = tries[int(np.argmax(inside))]
            return float(first[0]), float(first[1])
    rows, columns = np.nonzero(cover >= cover.max())
    middle = len(rows) // 2
    return (columns[middle] + 0.5) * 2 / size - 1, (rows[middle] + 0.5) * 2 / size - 1


def pick_rim(
    rng: np.random.Generator, cover: np.ndarray, center: Point
) -> tuple[float, float, float]:
    """A random point on the outline and the outward direction there (radians)."""
    size = cover.shape[0]
    angle = rng.uniform(0, 2 * np.pi)
    steps = np.linspace(0, 1.3, 260)
    x, y = center[0] + steps * np.cos(angle), center[1] + steps * np.sin(angle)
    columns = np.clip(((x + 1) * size / 2).astype(int), 0, size - 1)
    rows = np.clip(((y + 1) * size / 2).astype(int), 0, size - 1)
    seen = (cover[rows, columns] > 0.5) & (np.abs(x) < 0.97) & (np.abs(y) < 0.97)
    if not seen.any():
        return (*pick_spot(rng, cover), angle)
    last = int(np.flatnonzero(seen)[-1])
    return float(x[last]), float(y[last]), float(angle)


def blob(
    rng: np.random.Generator, frame: Frame, spot: Point, radius: float, rough: float,
    longer: float = 1.0,
) -> np.ndarray:
    """Signed distance (about) to an irregular rounded patch, negative inside."""
    angle = rng.uniform(0, np.pi)
    away_x, away_y = frame.x - np.float32(spot[0]), frame.y - np.float32(spot[1])
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    along = (away_x * cos + away_y * sin) / np.float32(np.sqrt(longer))
    across = (away_y * cos - away_x * sin) * np.float32(np.sqrt(longer))
    turn = np.arctan2(across, along)
    edge = np.float32(1)
    for wave in range(2, 8):
        weight = np.float32(rough * rng.normal() / wave)
        edge = edge + weight * np.cos(wave * turn + np.float32(rng.uniform(0, 6.28)))
    reach = np.sqrt(along * along + across * across)
    return reach - np.float32(radius) * np.clip(edge, 0.45, 1.7)


def chip_shape(rng: np.random.Generator, frame: Frame, spot: Point, radius: float) -> np.ndarray:
    """Signed distance to an angular patch, as brittle fracture leaves it."""
    away_x, away_y = frame.x - np.float32(spot[0]), frame.y - np.float32(spot[1])
    sides = int(rng.integers(5, 8))
    angles = (np.arange(sides) + rng.uniform(-0.3, 0.3, sides)) * (2 * np.pi / sides)
    angles = angles + rng.uniform(0, 6.28)
    reach = radius * rng.uniform(0.6, 1.15, sides)
    distance = np.full((frame.size, frame.size), -9, np.float32)
    for angle, limit in zip(angles, reach, strict=True):
        side = away_x * np.float32(np.cos(angle)) + away_y * np.float32(np.sin(angle))
        np.maximum(distance, side - np.float32(limit), out=distance)
    ripple = np.sin(away_x * np.float32(55) + 2) + np.sin(away_y * np.float32(61))
    return distance + np.float32(0.008) * ripple


def cover_of(distance: np.ndarray, soft: float | None = None) -> np.ndarray:
    """Weight 0 to 1 of the inside of a distance in image units, with an edge ``soft`` wide."""
    width = max(2.0 / distance.shape[0], soft or 0.0)
    return np.clip(0.5 - distance / np.float32(width), 0, 1)


def wander(
    rng: np.random.Generator, spot: Point, length: float, kink: float, curl: float
) -> np.ndarray:
    """(n, 2) image points of a line about ``spot``: ``kink`` jagged, ``curl`` bowed."""
    count = 14
    heading = rng.uniform(0, 2 * np.pi)
    turns = np.cumsum(np.full(count, curl / count)) + rng.normal(0, kink, count)
    steps = length / count * rng.uniform(0.6, 1.4, count)
    moves = np.stack([np.cos(heading + turns), np.sin(heading + turns)], axis=1) * steps[:, None]
    points = np.concatenate([[[0.0, 0.0]], np.cumsum(moves, axis=0)])
    return points - points[count // 2] + np.array(spot)


def field(
    rng: np.random.Generator, size: int, cells: int, cells_down: int | None = None
) -> np.ndarray:
    """Smooth zero-mean noise (size, size) float32 of about unit spread, ``cells`` bumps wide."""
    grid = rng.standard_normal((cells_down or cells, cells), dtype=np.float32)
    return np.asarray(Image.fromarray(grid).resize((size, size), Image.Resampling.BICUBIC))


def fractal(
    rng: np.random.Generator, size: int, cells: int, octaves: int = 3, fade: float = 0.55
) -> np.ndarray:
    """Sum of fields, each twice as fine as the one before and weaker by ``fade``."""
    total = field(rng, size, cells)
    for octave in range(1, octaves):
        total = total + field(rng, size, cells << octave) * np.float32(fade**octave)
    return total


def along(rng: np.random.Generator, position: np.ndarray, steps: int) -> np.ndarray:
    """Random unit-spread function of one coordinate (period 2), interpolated linearly."""
    table = rng.standard_normal(steps, dtype=np.float32)
    table = np.append(table, table[:1])
    place = (position * np.float32(0.5) + np.float32(0.5)) % np.float32(1) * np.float32(steps)
    whole = np.minimum(place.astype(np.int32), steps - 1)
    rest = place - whole
    return table[whole] * (1 - rest) + table[whole + 1] * rest


def soften(values: np.ndarray, width: float) -> np.ndarray:
    """Two box blurs of ``width`` pixels: close to a Gaussian, at a cost free of the width."""
    box = max(1, round(width))
    if box == 1:
        return values
    return uniform_filter(uniform_filter(values, box, mode="nearest"), box, mode="nearest")


def smoothstep(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 below ``low``, 1 above ``high``, smooth between."""
    share = np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1)
    return share * share * (3 - 2 * share)
