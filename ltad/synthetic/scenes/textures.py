"""Textures of scenes: continuous ones, and ones of cells."""

from __future__ import annotations

import numpy as np

from ltad.synthetic.scenes.fields import (
    FLOAT,
    fractal,
    fraction,
    log_uniform,
    lookup,
    profile,
    rescale,
    smoothstep,
    uniform,
    value_noise,
)

Array = np.ndarray
TAU = 2 * np.pi


def stripes(x: Array, y: Array, rng: np.random.Generator, size: int) -> Array:
    """Parallel stripes: waves, bars with hard edges, or saw teeth."""
    count = log_uniform(rng, 3, size / 5)
    kind = rng.integers(3)
    if kind == 0:
        return 0.5 + 0.5 * np.sin(x * FLOAT(TAU * count))
    if kind == 1:
        edge = uniform(rng, 0.03, 0.2)
        wave = np.abs(fraction(x * FLOAT(count)) - FLOAT(0.5)) * 2
        level = uniform(rng, 0.3, 0.7)
        return smoothstep(level - edge, level + edge, wave)
    return fraction(x * FLOAT(count))


def bars(x: Array, y: Array, rng: np.random.Generator, size: int) -> Array:
    """Bands of uneven width and tone, as in striped cloth."""
    tones = np.repeat(rng.random(12, dtype=FLOAT), rng.integers(1, 5, 12))
    return profile(tones, x * FLOAT(log_uniform(rng, 15, 60)))


def checks(x: Array, y: Array, rng: np.random.Generator, size: int) -> Array:
    """A checkerboard with soft or hard edges."""
    count, hard = log_uniform(rng, 2, size / 10), log_uniform(rng, 2, 12)
    wave = np.sin(x * FLOAT(np.pi * count)) * np.sin(y * FLOAT(np.pi * count))
    return np.clip(0.5 + wave * FLOAT(hard), 0, 1)


def plaid(x: Array, y: Array, rng: np.random.Generator, size: int) -> Array:
    """Two sets of bands crossing."""
    return 0.5 * bars(x, y, rng, size) + 0.5 * bars(y, x, rng, size)


def dots(x: Array, y: Array, rng: np.random.Generator, size: int) -> Array:
    """Round dots on a square or a staggered lattice."""
    count, radius = log_uniform(rng, 4, size / 8), uniform(rng, 0.18, 0.42)
    rows = y * FLOAT(count)
    columns = x * FLOAT(count)
    if rng.random() < 0.5:
        columns = columns + FLOAT(0.5) * (np.floor(rows) % 2)
    distance = np.hypot(fraction(columns) - FLOAT(0.5), fraction(rows) - FLOAT(0.5))
    return smoothstep(radius + uniform(rng, 0.04, 0.2), radius, distance)


def weave(x: Array, y: Array, rng: np.random.Generator, size: int) -> Array:
    """Threads passing over and under one another; plain weave or twill."""
    count, repeat = log_uniform(rng, 8, size / 6), int(rng.integers(2, 5))
    across, down = x * FLOAT(count), y * FLOAT(count)
    order = (np.floor(across) + np.floor(down)) % repeat
    warp = np.abs(np.sin(across * FLOAT(np.pi)))
    weft = np.abs(np.sin(down * FLOAT(np.pi)))
    over = np.where(order < 0.5, warp * (FLOAT(0.55) + FLOAT(0.45) * weft), 0)
    under = np.where(order < 0.5, 0, weft * (FLOAT(0.45) + FLOAT(0.4) * warp))
    return over + under


def mesh(x: Array, y: Array, rng: np.random.Generator, size: int) -> Array:
    """Thin wires crossing over dark gaps."""
    count, width = log_uniform(rng, 6, size / 8), uniform(rng, 0.06, 0.22)
    across = np.abs(fraction(x * FLOAT(count)) - FLOAT(0.5))
    down = np.abs(fraction(y * FLOAT(count)) - FLOAT(0.5))
    return smoothstep(width + 0.08, width, np.minimum(across, down))


def scales(x: Array, y: Array, rng: np.random.Generator, size: int) -> Array:
    """Overlapping rounded scales, or roof tiles."""
    count = log_uniform(rng, 4, size / 10)
    rows = y * FLOAT(count * uniform(rng, 1.0, 1.8))
    row = np.floor(rows)
    down = rows - row
    here = fraction(x * FLOAT(count) + FLOAT(0.5) * (row % 2)) - FLOAT(0.5)
    above = fraction(x * FLOAT(count) + FLOAT(0.5) * ((row + 1) % 2)) - FLOAT(0.5)
    reach = np.hypot(here, down * FLOAT(0.6))
    beneath = np.hypot(above, (down + 1) * FLOAT(0.6))
    return np.where(reach < 0.5, 1 - reach * FLOAT(1.3), np.clip(1.2 - beneath * 1.2, 0, 1))


def bricks(x: Array, y: Array, rng: np.random.Generator, size: int) -> Array:
    """Blocks in running bond or stacked, each with its own tone, and joints between them."""
    count, shift = log_uniform(rng, 3, 14), float(rng.choice([0.5, 0.5, 0.33, 0.0]))
    aspect, joint = uniform(rng, 1.0, 3.0), uniform(rng, 0.02, 0.09)
    rows = y * FLOAT(count * aspect**0.5)
    row = np.floor(rows)
    columns = x * FLOAT(count / aspect**0.5) + FLOAT(shift) * row
    tones = FLOAT(0.6) + FLOAT(uniform(rng, 0, 0.4)) * rng.random((31, 37), dtype=FLOAT)
    tone = tones[row.astype(int) % 31, np.floor(columns).astype(int) % 37]
    down = FLOAT(0.5) - np.abs(rows - row - FLOAT(0.5))
    across = FLOAT(0.5) - np.abs(fraction(columns) - FLOAT(0.5))
    gap = np.minimum(down, across * FLOAT(aspect))
    return tone * smoothstep(joint * 0.6, joint * 1.6, gap)


def knit(x: Array, y: Array, rng: np.random.Generator, size: int) -> Array:
    """Columns of V-shaped stitches."""
    count, slant = log_uniform(rng, 5, size / 12), uniform(rng, 0.5, 1.1)
    across = fraction(x * FLOAT(count))
    arm = np.abs(across - FLOAT(0.5))
    down = fraction(y * FLOAT(count * 1.3) + arm * FLOAT(2 * slant))
    return np.sin(down * FLOAT(np.pi)) * np.sqrt(np.abs(np.sin(across * FLOAT(TAU))) + FLOAT(0.02))


def chevrons(x: Array, y: Array, rng: np.random.Generator, size: int) -> Array:
    """Zigzag bands, or herringbone."""
    count, slope = log_uniform(rng, 3, 10), uniform(rng, 0.5, 2.0)
    zigzag = np.abs(fraction(x * FLOAT(count)) - FLOAT(0.5)) * FLOAT(2 * slope)
    wave = np.sin((y * FLOAT(count * 2) + zigzag) * FLOAT(TAU))
    return np.clip(0.5 + wave * FLOAT(log_uniform(rng, 0.5, 4)), 0, 1)


def waves(x: Array, y: Array, rng: np.random.Generator, size: int) -> Array:
    """Wavy parallel bands."""
    count, swing = log_uniform(rng, 4, 24), uniform(rng, 0.1, 0.8)
    bend = np.sin(y * FLOAT(TAU * uniform(rng, 1, 6))) * FLOAT(swing)
    return 0.5 + 0.5 * np.sin((x * FLOAT(count) + bend) * FLOAT(TAU))


def honeycomb(x: Array, y: Array, rng: np.random.Generator, size: int) -> Array:
    """Hexagonal cells with walls, or closed hexagonal tiles."""
    count, wall = log_uniform(rng, 4, size / 10), uniform(rng, 0.03, 0.14)
    tall = np.sqrt(3.0)

    def offset(across: Array, down: Array) -> tuple[Array, Array]:
        folded = (fraction(down / FLOAT(tall)) - FLOAT(0.5)) * FLOAT(tall)
        return fraction(across) - FLOAT(0.5), folded

    first = offset(x * FLOAT(count), y * FLOAT(count))
    second = offset(x * FLOAT(count) + FLOAT(0.5), y * FLOAT(count) + FLOAT(tall / 2))
    nearer = first[0] ** 2 + first[1] ** 2 < second[0] ** 2 + second[1] ** 2
    across = np.abs(np.where(nearer, first[0], second[0]))
    down = np.abs(np.where(nearer, first[1], second[1]))
    inside = FLOAT(0.5) - np.maximum(across, across * FLOAT(0.5) + down * FLOAT(tall / 2))
    return smoothstep(wall * 0.5, wall * 1.5, inside)


def lathe(x: Array, y: Array, rng: np.random.Generator, size: int) -> Array:
    """Concentric tool marks about a centre that may lie outside the image."""
    radius_of_centre, angle = uniform(rng, 0.0, 1.2), uniform(rng, 0, TAU)
    across = x - FLOAT(radius_of_centre * np.cos(angle))
    down = y - FLOAT(radius_of_centre * np.sin(angle))
    radius = np.hypot(across, down)
    grooves = profile(rng.random(64, dtype=FLOAT), radius * FLOAT(log_uniform(rng, 25, size / 2)))
    regular = 0.5 + 0.5 * np.sin(radius * FLOAT(TAU * log_uniform(rng, 10, size / 5)))
    glint = (across * across - down * down) / (radius * radius + FLOAT(1e-3))
    share = uniform(rng, 0, 1)
    marks = grooves * FLOAT(1 - share) + regular * FLOAT(share)
    return np.clip(marks * (FLOAT(0.7) + FLOAT(0.3) * glint), 0, 1)


def brushed(x: Array, y: Array, rng: np.random.Generator, size: int) -> Array:
    """Long fine streaks in one direction, as on ground or rolled metal."""
    table = rng.random((211, 23), dtype=FLOAT)
    fine = lookup(table, x * FLOAT(log_uniform(rng, 0.6, 5)), y * FLOAT(log_uniform(rng, 60, size)))
    wide, high = uniform(rng, 0.3, 1.5), uniform(rng, 8, 30)
    broad = lookup(table, x * FLOAT(wide) + 7, y * FLOAT(high) + 90)
    share = uniform(rng, 0.1, 0.6)
    return fine * FLOAT(1 - share) + broad * FLOAT(share)


def grain(x: Array, y: Array, rng: np.random.Generator, size: int) -> Array:
    """Wood: growth rings cut lengthwise, with fine pores along them."""
    table = rng.random((64, 16), dtype=FLOAT)
    bend = lookup(table, x * FLOAT(uniform(rng, 1, 3)), y * FLOAT(uniform(rng, 2, 6)))
    rings = fraction(y * FLOAT(log_uniform(rng, 3, 16)) + bend * FLOAT(uniform(rng, 0.5, 3)))
    pores = lookup(table, x * FLOAT(uniform(rng, 4, 10)), y * FLOAT(uniform(rng, 60, 120)))
    return np.clip(rings * rings * FLOAT(0.65) + pores * FLOAT(0.35), 0, 1)


def voronoi(
    x: Array, y: Array, rng: np.random.Generator, count: float, jitter: float
) -> tuple[Array, Array, Array]:
    """Distances to the nearest and second nearest of scattered points, and the nearest's tone.

    There are about `count` points across the image, `jitter` in [0, 1] away from a lattice.
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
