"""Random fields and colours of scenes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from scipy import ndimage

T = TypeVar("T")
FLOAT = np.float32
COLOURS: dict[str, tuple[int, int, int]] = {
    "white": (236, 236, 232), "gray": (132, 132, 134), "black": (34, 34, 36),
    "silver": (186, 188, 192), "red": (190, 42, 38), "orange": (222, 122, 36),
    "yellow": (226, 196, 52), "green": (58, 140, 66), "blue": (44, 92, 178),
    "purple": (116, 62, 150), "pink": (226, 142, 168), "brown": (120, 78, 46),
    "beige": (208, 186, 150), "gold": (200, 160, 72), "copper": (186, 108, 70),
    "turquoise": (62, 170, 168), "cream": (234, 222, 196), "maroon": (104, 34, 40),
    "navy": (34, 46, 92), "olive": (112, 116, 58), "tan": (188, 148, 104),
    "bronze": (148, 112, 62),
}  # fmt: skip


@lru_cache(maxsize=256)
def axes(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Read-only pixel centres (x, y), each (size, size) float32 in (-0.5, 0.5)."""
    line = (np.arange(size, dtype=FLOAT) + FLOAT(0.5)) / FLOAT(size) - FLOAT(0.5)
    y, x = np.meshgrid(line, line, indexing="ij")
    x, y = np.ascontiguousarray(x), np.ascontiguousarray(y)
    x.setflags(write=False)
    y.setflags(write=False)
    return x, y


def uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """One draw from [low, high) as a Python float, which keeps float32 arrays float32."""
    return float(low + (high - low) * rng.random())


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """One draw from [low, high), uniform in the logarithm; both ends must be positive."""
    return float(low * (high / low) ** rng.random())


def rescale(field: np.ndarray) -> np.ndarray:
    """The field stretched linearly to [0, 1]; all zeros where it is constant."""
    low, high = float(field.min()), float(field.max())
    return (field - FLOAT(low)) * FLOAT(1.0 / max(high - low, 1e-6))


def value_noise(
    rng: np.random.Generator, size: int, across: int, down: int | None = None
) -> np.ndarray:
    """Smooth (size, size) float32 noise around [0, 1] with `across` x `down` cells."""
    down = across if down is None else down
    grid = rng.random((max(2, down + 1), max(2, across + 1)), dtype=FLOAT)
    enlarged = Image.fromarray(grid).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(enlarged)


def fractal(rng: np.random.Generator, size: int, cells: int, octaves: int = 3) -> np.ndarray:
    """Sum of noise octaves, (size, size) float32 stretched to [0, 1]."""
    total = np.zeros((size, size), FLOAT)
    for octave in range(octaves):
        count = cells * 2**octave
        if count > size:
            break
        total += value_noise(rng, size, count) * FLOAT(0.55**octave)
    return rescale(total)


def lookup(table: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Bilinear read of a 2-D table that repeats; x counts columns and y rows, in cells."""
    rows, columns = table.shape
    x_floor, y_floor = np.floor(x), np.floor(y)
    x_part, y_part = x - x_floor, y - y_floor
    left = x_floor.astype(np.int32) % columns
    top = y_floor.astype(np.int32) % rows
    right, bottom = (left + 1) % columns, (top + 1) % rows
    upper = table[top, left] * (1 - x_part) + table[top, right] * x_part
    lower = table[bottom, left] * (1 - x_part) + table[bottom, right] * x_part
    return upper * (1 - y_part) + lower * y_part


def profile(values: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Linear read of a 1-D table that repeats, at float positions counted in entries."""
    floor = np.floor(position)
    part = position - floor
    index = floor.astype(np.int32) % len(values)
    return values[index] * (1 - part) + values[(index + 1) % len(values)] * part


def fraction(field: np.ndarray) -> np.ndarray:
    """The part of each value above its floor, in [0, 1)."""
    return field - np.floor(field)


def smoothstep(low: float, high: float, field: np.ndarray) -> np.ndarray:
    """Cubic ramp from 0 at `low` to 1 at `high`; a falling one where high < low."""
    t = np.clip((field - FLOAT(low)) * FLOAT(1.0 / (high - low)), 0, 1)
    return t * t * (3 - 2 * t)


def slopes(height: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Central differences (along x, along y) per pixel, zero on the outermost line."""
    along_x, along_y = np.zeros_like(height), np.zeros_like(height)
    along_x[:, 1:-1] = (height[:, 2:] - height[:, :-2]) * FLOAT(0.5)
    along_y[1:-1] = (height[2:] - height[:-2]) * FLOAT(0.5)
    return along_x, along_y


def soften(field: np.ndarray, radius: float) -> np.ndarray:
    """Gaussian blur of a (height, width) field in [0, 1]; 8 bits deep, because that is fast."""
    if radius <= 0:
        return field
    image = Image.fromarray((np.clip(field, 0, 1) * 255 + 0.5).astype(np.uint8))
    blurred = image.filter(ImageFilter.GaussianBlur(radius))
    return np.asarray(blurred, dtype=FLOAT) * FLOAT(1 / 255)


def blur_image(image: np.ndarray, radius: float) -> np.ndarray:
    """Gaussian blur of a (height, width, 3) float32 image at full precision."""
    return ndimage.gaussian_filter(image, (radius, radius, 0), truncate=3.0, mode="nearest")


def resample(image: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Bilinear read of a (height, width, 3) image at float pixel positions, mirrored."""
    where = np.stack([rows, columns])
    planes = [
        ndimage.map_coordinates(image[..., channel], where, order=1, mode="mirror")
        for channel in range(3)
    ]
    return np.stack(planes, axis=-1).astype(FLOAT)


def outline(
    rng: np.random.Generator, size: int, centre: tuple[float, float], radius: float, rough: float
) -> np.ndarray:
    """Anti-aliased irregular closed shape, (size, size) float32 in [0, 1].

    `centre` is (row, column) and `radius` the mean radius, in pixels. `rough` in [0, 1] takes
    the outline from an ellipse to a jagged one.
    """
    angles = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    radii = np.ones_like(angles)
    for harmonic in range(2, 12):
        strength = rough * rng.normal() * 0.55 / harmonic**0.8
        radii += strength * np.cos(harmonic * angles + uniform(rng, 0, 6.28))
    stretch, turn = log_uniform(rng, 0.5, 2.0) ** 0.5, uniform(rng, 0, 3.14)
    radii = np.clip(radii, 0.2, 2.2) * radius
    major, minor = radii * np.cos(angles) * stretch, radii * np.sin(angles) / stretch
    columns = centre[1] + major * np.cos(turn) - minor * np.sin(turn)
    rows = centre[0] + major * np.sin(turn) + minor * np.cos(turn)
    points = np.stack([columns, rows], axis=1)
    return draw_polygon(size, points)


def draw_polygon(size: int, points: np.ndarray) -> np.ndarray:
    """Coverage of a filled polygon, (size, size) float32 in [0, 1]; points are (x, y) pixels."""
    canvas = Image.new("L", (size * 3, size * 3))
    ImageDraw.Draw(canvas).polygon([(float(x) * 3, float(y) * 3) for x, y in points], fill=255)
    return np.asarray(canvas.reduce(3), dtype=FLOAT) * FLOAT(1 / 255)


def draw_strokes(size: int, strokes: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Coverage of polylines, (size, size) float32 in [0, 1].

    Each stroke is (points, widths): (n, 2) pixels as (x, y) and (n,) widths in pixels.
    """
    canvas = Image.new("L", (size * 3, size * 3))
    pen = ImageDraw.Draw(canvas)
    for points, widths in strokes:
        scaled = [(float(x) * 3, float(y) * 3) for x, y in points]
        for start, end, width in zip(scaled[:-1], scaled[1:], widths[:-1], strict=True):
            pen.line([start, end], fill=255, width=max(1, round(float(width) * 3)))
    return np.asarray(canvas.reduce(3), dtype=FLOAT) * FLOAT(1 / 255)


@dataclass(frozen=True)
class Material:
    """How a material looks: its usual colours, `gloss` in [0, 1] and grain strength."""

    name: str
    adjective: str
    colours: tuple[str, ...]
    gloss: tuple[float, float]
    grain: float


_ANY = (
    "white", "gray", "black", "red", "orange", "yellow", "green", "blue", "purple", "pink",
    "brown", "beige", "turquoise", "cream", "maroon", "navy", "olive", "tan",
)  # fmt: skip
_METAL = ("silver", "silver", "gray", "gray", "silver", "black", "gold", "copper", "bronze")
MATERIALS: dict[str, Material] = {
    material.name: material
    for material in (
        Material("metal", "metal", _METAL, (0.4, 1.0), 0.05),
        Material("plastic", "plastic", _ANY, (0.2, 0.8), 0.01),
        Material("wood", "wooden", ("brown", "tan", "beige", "brown"), (0.0, 0.2), 0.2),
        Material("stone", "stone", ("gray", "beige", "brown", "black", "white"), (0, 0.2), 0.22),
        Material("rubber", "rubber", ("black", "gray", "black", "red"), (0.0, 0.3), 0.04),
        Material("ceramic", "ceramic", ("white", "cream", "beige", "blue"), (0.3, 1), 0.02),
        Material("glass", "glass", ("green", "brown", "blue", "turquoise", "gray"), (0.7, 1), 0.01),
        Material("fabric", "fabric", _ANY, (0.0, 0.05), 0.1),
        Material("leather", "leather", ("brown", "black", "tan", "maroon"), (0.1, 0.4), 0.1),
        Material("paper", "paper", _ANY, (0.0, 0.05), 0.03),
        Material("concrete", "concrete", ("gray", "gray", "beige"), (0.0, 0.05), 0.2),
        Material("foam", "foam", ("white", "black", "yellow", "pink", "blue"), (0.0, 0.1), 0.12),
        Material("clay", "clay", ("brown", "orange", "tan", "maroon"), (0.0, 0.15), 0.12),
    )
}


def pick(rng: np.random.Generator, choices: Sequence[T]) -> T:
    """One of the choices, all equally likely."""
    return choices[int(rng.integers(len(choices)))]


def shade(rng: np.random.Generator, name: str) -> np.ndarray:
    """A shade of a named colour, (3,) float32 in [0.02, 0.98].

    Raises KeyError for a name that is not in COLOURS.
    """
    base = np.array(COLOURS[name], dtype=FLOAT) / 255
    drift = rng.normal(0, 0.025, 3).astype(FLOAT)
    return np.clip(base * FLOAT(uniform(rng, 0.82, 1.12)) + drift, 0.02, 0.98).astype(FLOAT)


def neighbour(rng: np.random.Generator, colour: np.ndarray, contrast: float) -> np.ndarray:
    """A second tone for a texture, (3,) float32, `contrast` in [0, 1] away in lightness."""
    direction = -1.0 if colour.mean() > uniform(rng, 0.3, 0.6) else 1.0
    tint = rng.normal(0, 0.06 * contrast, 3).astype(FLOAT)
    return np.clip(colour * (1 + direction * contrast) + direction * 0.1 * contrast + tint, 0.01, 1)


def gray_name(level: float) -> str:
    """The word for a grey level in [0, 1]: black, gray or white."""
    if level < 0.2:
        return "black"
    return "white" if level > 0.72 else "gray"
