"""Cheap random fields: small grids of numbers, drawn independently of the picture's size."""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy.ndimage import uniform_filter


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
