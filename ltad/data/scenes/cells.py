"""Irregular texture patterns: cells, clouds, grains and flecks.

The signature is that of the patterns in `textures`.
"""

from __future__ import annotations

import numpy as np

from ltad.data.scenes.fields import (
    FLOAT,
    fractal,
    log_uniform,
    lookup,
    rescale,
    smoothstep,
    uniform,
    value_noise,
)  # fmt: skip

Array = np.ndarray


def voronoi(
    x: Array, y: Array, rng: np.random.Generator, count: float, jitter: float
) -> tuple[Array, Array, Array]:
    """Distances to the nearest and second nearest of scattered points, and the nearest's tone.

    There are about `count` points across the picture, `jitter` in [0, 1] away from a lattice.
    Distances are in cells; all three are float32 of the shape of x.
    """
    shifts = FLOAT(0.5) + FLOAT(jitter) * (rng.random((2, 29, 31), dtype=FLOAT) - FLOAT(0.5))
    tones = rng.random((29, 31), dtype=FLOAT)
    across, down = x * FLOAT(count), y * FLOAT(count)
    column, row = np.floor(across).astype(np.int32), np.floor(down).astype(np.int32)
    across, down = across - column, down - row
    flat_tones, flat_x, flat_y = tones.ravel(), shifts[0].ravel(), shifts[1].ravel()
    nearest = np.full(x.shape, 9, FLOAT)
    second = nearest.copy()
    tone = np.zeros(x.shape, FLOAT)
    columns = [(column + step) % 31 for step in (-1, 0, 1)]
    for row_step in (-1, 0, 1):
        start = (row + row_step) % 29 * 31
        for column_step in (-1, 0, 1):
            index = start + columns[column_step + 1]
            offset_x = flat_x[index] + column_step - across
            offset_y = flat_y[index] + row_step - down
            squared = offset_x * offset_x + offset_y * offset_y
            closer = squared < nearest
            second = np.minimum(second, np.maximum(squared, nearest))
            nearest = np.minimum(nearest, squared)
            tone = np.where(closer, flat_tones[index], tone)
    return np.sqrt(nearest), np.sqrt(second), tone


def cellular(x: Array, y: Array, rng: np.random.Generator, size: int) -> Array:
    """Rounded cells, light in the middle."""
    near, far, _ = voronoi(x, y, rng, log_uniform(rng, 4, size / 7), uniform(rng, 0.4, 1))
    return np.clip((far - near) * FLOAT(uniform(rng, 0.8, 1.6)), 0, 1)


def mud(x: Array, y: Array, rng: np.random.Generator, size: int) -> Array:
    """Plates parted by dark gaps, as in dried mud or crazed glaze."""
    near, far, tone = voronoi(x, y, rng, log_uniform(rng, 3, size / 10), uniform(rng, 0.6, 1))
    gap = uniform(rng, 0.03, 0.12)
    plate = FLOAT(0.75) + FLOAT(0.25) * tone
    return plate * smoothstep(gap * 0.3, gap * 1.7, far - near)


def hammered(x: Array, y: Array, rng: np.random.Generator, size: int) -> Array:
    """Shallow dimples meeting in ridges."""
    near, _, _ = voronoi(x, y, rng, log_uniform(rng, 4, size / 10), uniform(rng, 0.3, 0.9))
    return np.clip(near * near * FLOAT(1.6), 0, 1)


def terrazzo(x: Array, y: Array, rng: np.random.Generator, size: int) -> Array:
    """Chips of many tones set in a plain ground."""
    near, far, tone = voronoi(x, y, rng, log_uniform(rng, 6, size / 7), 1.0)
    chip = smoothstep(0.1, 0.2, far - near) * (tone > uniform(rng, 0.2, 0.7))
    return np.clip(chip * tone, 0, 1)


def pebbled(x: Array, y: Array, rng: np.random.Generator, size: int) -> Array:
    """Small soft bumps with creases between them, as on leather."""
    near, far, tone = voronoi(x, y, rng, log_uniform(rng, 14, size / 4.5), uniform(rng, 0.6, 1))
    crease = smoothstep(0.0, uniform(rng, 0.2, 0.5), far - near)
    return crease * (FLOAT(0.8) + FLOAT(0.2) * tone)


def granular(x: Array, y: Array, rng: np.random.Generator, size: int) -> Array:
    """Sand: coarse noise without direction."""
    cells = int(log_uniform(rng, size / 8, size))
    return rescale(value_noise(rng, size, cells) + 0.5 * value_noise(rng, size, max(4, cells // 2)))


def cloudy(x: Array, y: Array, rng: np.random.Generator, size: int) -> Array:
    """Smooth soft clouds."""
    return fractal(rng, size, int(rng.integers(2, 7)), int(rng.integers(1, 4)))


def cast(x: Array, y: Array, rng: np.random.Generator, size: int) -> Array:
    """Rough ground of all scales, as on castings, plaster and stone."""
    return fractal(rng, size, int(rng.integers(4, 24)), 5)


def plain(x: Array, y: Array, rng: np.random.Generator, size: int) -> Array:
    """An almost even surface with a faint orange-peel ripple."""
    ripple = value_noise(rng, size, int(log_uniform(rng, 10, size / 3)))
    return FLOAT(0.5) + (ripple - FLOAT(0.5)) * FLOAT(uniform(rng, 0.02, 0.3))


def gradient(x: Array, y: Array, rng: np.random.Generator, size: int) -> Array:
    """A ramp of tone, straight or round."""
    if rng.random() < 0.5:
        return np.clip(x + FLOAT(0.5), 0, 1)
    return np.clip(np.hypot(x, y) * FLOAT(uniform(rng, 1, 2)), 0, 1)


def marble(x: Array, y: Array, rng: np.random.Generator, size: int) -> Array:
    """Veins that wander through a soft ground."""
    bend = fractal(rng, size, int(rng.integers(2, 6)), 4)
    wave = np.sin((x * FLOAT(uniform(rng, 1, 5)) + bend * FLOAT(uniform(rng, 1, 4))) * FLOAT(6.283))
    return np.abs(wave) ** FLOAT(uniform(rng, 0.3, 1.2))


def speckle(x: Array, y: Array, rng: np.random.Generator, size: int) -> Array:
    """Fine flecks of several sizes on a plain ground, as in granite."""
    fine = value_noise(rng, size, int(log_uniform(rng, size / 4, size / 1.5)))
    broad = value_noise(rng, size, int(log_uniform(rng, size / 12, size / 4)))
    level = uniform(rng, 0.6, 0.8)
    return np.maximum(smoothstep(level, level + 0.15, fine), 0.7 * smoothstep(level, 0.95, broad))


def fibres(x: Array, y: Array, rng: np.random.Generator, size: int) -> Array:
    """Short hairs lying roughly one way, as on felt, fur and carpet."""
    bend = value_noise(rng, size, int(rng.integers(3, 9))) * FLOAT(uniform(rng, 0.02, 0.2))
    table = rng.random((173, 67), dtype=FLOAT)
    wide, high = uniform(rng, 8, 25), uniform(rng, 50, 110)
    strands = lookup(table, x * FLOAT(wide), (y + bend) * FLOAT(high))
    tufts = lookup(table, x * FLOAT(uniform(rng, 4, 12)), (y - bend) * FLOAT(uniform(rng, 15, 40)))
    return strands * FLOAT(0.6) + tufts * FLOAT(0.4)


def machined(x: Array, y: Array, rng: np.random.Generator, size: int) -> Array:
    """Face-milled metal: arcs of one cutter crossing arcs of the way back."""
    reach = uniform(rng, 0.6, 2.0)
    first, second = np.hypot(x - FLOAT(reach), y), np.hypot(x + FLOAT(reach), y)
    table = rng.random((97, 5), dtype=FLOAT)
    count = log_uniform(rng, 20, size / 2.2)
    marks = lookup(table, y * 2, first * FLOAT(count)) + FLOAT(uniform(rng, 0, 1)) * lookup(
        table, y * 2, second * FLOAT(count)
    )
    return rescale(marks)
