"""Rendered textures: hard and soft surfaces."""

from __future__ import annotations

import numpy as np

from ltad.synthetic.geometry import Frame, along, bevel, field, fractal, rectangle, smoothstep
from ltad.synthetic.objects import Change
from ltad.synthetic.photo import Layers, Paint, linear, start_layers


def build_wood(
    rng: np.random.Generator, frame: Frame, paint: Paint, change: Change | None
) -> Layers:
    """A planed board, grain running along u, with early and late wood and fine pores."""
    size = frame.size
    across = frame.v + 0.05 * field(rng, size, 2) + 0.018 * field(rng, size, 3, 7)
    rings = along(rng, across, 16) * 0.9 + across * 13
    late = np.abs((rings % 1) * 2 - 1)
    late = late * late
    fibre = along(rng, across * 1.0 + 0.002 * field(rng, size, 8), 130)
    streak = field(rng, size, 7, 150)
    turned = abs(np.sin(frame.angle)) > 0.7
    streak = streak.T if turned else streak
    pores = smoothstep(streak, 1.5, 2.4)
    cover = np.ones((size, size), np.float32)
    height = 0.003 * fibre - 0.006 * pores + 0.002 * late
    layers = start_layers(cover, height * 0.6, paint.albedo, paint.gloss, 0.0)
    tone = 1.06 - 0.34 * late + 0.07 * fibre + 0.05 * streak - 0.22 * pores
    layers.albedo *= np.maximum(tone, 0.2)[..., None]
    layers.albedo[..., 2] *= 1 - 0.18 * late
    return layers


TILES = 4


def build_tile(
    rng: np.random.Generator, frame: Frame, paint: Paint, change: Change | None
) -> Layers:
    """Glazed mosaic squares set in grey grout."""
    size = frame.size
    tints = rng.standard_normal((64, 64), dtype=np.float32)
    tilts = rng.normal(0, 0.016, (2, 64, 64)).astype(np.float32)
    speckle = smoothstep(field(rng, size, 110), 1.4, 2.2)
    u, v = frame.u * np.float32(TILES / 2), frame.v * np.float32(TILES / 2)
    column, row = np.floor(u).astype(np.int32), np.floor(v).astype(np.int32)
    inner_u, inner_v = u - column - np.float32(0.5), v - row - np.float32(0.5)
    outline = rectangle(inner_u, inner_v, 0.455, 0.455, 0.05)
    if change is not None:
        outline, inner_u, inner_v = _wrong_tile(outline, inner_u, inner_v, row, column, change)
    weight = np.clip(0.5 - outline / np.float32(frame.pixel * TILES / 2), 0, 1)
    cover = np.ones((size, size), np.float32)
    grout = linear(150, 147, 140)
    layers = start_layers(cover, 0.004 * (1 - weight) * field(rng, size, 100), grout, 0.08, 0.0)
    layers.albedo *= (1 + 0.07 * fractal(rng, size, 40, 2))[..., None]
    spot = (row & 63, column & 63)
    glaze = paint.albedo * (1 + 0.06 * tints[spot] - 0.16 * speckle)[..., None]
    layers.paint(weight, glaze, paint.gloss)
    slope = tilts[0][spot] * inner_u + tilts[1][spot] * inner_v
    layers.height += weight * (0.03 * np.sqrt(bevel(outline, 0.09)) + slope)
    layers.height += weight * 0.001 * field(rng, size, 7)
    return layers


def _wrong_tile(
    outline: np.ndarray, inner_u: np.ndarray, inner_v: np.ndarray, row: np.ndarray, column:
    np.ndarray, change: Change
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One of the four middle tiles left out, or set askew within its joint."""
    index = change.index(4)
    here = (row == index // 2 - 1) & (column == index % 2 - 1)
    if change.missing:
        return np.where(here, np.float32(1), outline), inner_u, inner_v
    turn = 0.1 + 0.16 * abs(change.turn)
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    moved_u = inner_u - np.float32(0.06 * change.along)
    moved_v = inner_v - np.float32(0.06 * change.across)
    turned_u, turned_v = moved_u * cos + moved_v * sin, moved_v * cos - moved_u * sin
    askew = rectangle(turned_u, turned_v, 0.42, 0.42, 0.05)
    return (
        np.where(here, askew, outline),
        np.where(here, turned_u, inner_u),
        np.where(here, turned_v, inner_v),
    )


def build_brushed_metal(
    rng: np.random.Generator, frame: Frame, paint: Paint, change: Change | None
) -> Layers:
    """Sheet ground in one direction: streaks of every width along u."""
    size = frame.size
    v = frame.v + 0.003 * field(rng, size, 3)
    streaks = 0.5 * along(rng, v, 60) + 0.8 * along(rng, v, 200)
    short = field(rng, size, 9, 200)
    if abs(np.sin(frame.angle)) > 0.7:
        short = short.T
    relief = streaks + 0.7 * short
    cover = np.ones((size, size), np.float32)
    height = 0.0011 * relief + 0.004 * field(rng, size, 2)
    layers = start_layers(cover, height, paint.albedo, paint.gloss, 1.0)
    layers.albedo *= (1 + 0.05 * relief)[..., None]
    return layers


WIRES = 9


def build_wire_mesh(
    rng: np.random.Generator, frame: Frame, paint: Paint, change: Change | None
) -> Layers:
    """Plain-woven wire cloth over an open background."""
    wobble = rng.normal(0, 0.02, (2, 64)).astype(np.float32)
    u, v = frame.u * np.float32(WIRES / 2), frame.v * np.float32(WIRES / 2)
    shifts = np.zeros((2, 64), np.float32) + wobble
    present = np.ones((2, 64), np.float32)
    if change is not None:
        group, number = change.index(2), change.index(10) // 2 - 2
        if change.missing:
            present[group, number & 63] = 0
        else:
            shifts[group, number & 63] += 0.2 * np.sign(change.along) + 0.08 * change.along
    upright = _wires(u, v, shifts[0], present[0], 0)
    level = _wires(v, u, shifts[1], present[1], 1)
    height = np.maximum(upright[1], level[1])
    distance = np.minimum(upright[0], level[0])
    cover = np.clip(0.5 - distance / np.float32(frame.pixel * WIRES / 2), 0, 1)
    scale = frame.scale * 2 / WIRES
    layers = start_layers(
        cover, (height + 1.0) * np.float32(scale), paint.albedo, paint.gloss, paint.metal
    )
    layers.albedo *= (1 + 0.06 * field(rng, frame.size, 90))[..., None]
    return layers


def _wires(
    across: np.ndarray, lengthwise: np.ndarray, shifts: np.ndarray, present: np.ndarray, parity: int
) -> tuple[np.ndarray, np.ndarray]:
    """Distance to, and height of, the wires that cross one axis, in lattice units."""
    number = np.round(across).astype(np.int32)
    away = np.abs(across - number - shifts[number & 63])
    distance = away - np.float32(0.19) + (1 - present[number & 63])
    weave = np.cos((lengthwise + number + parity) * np.float32(np.pi)) * np.float32(0.16)
    rise = np.sqrt(np.clip(1 - (away / np.float32(0.2)) ** 2, 0, 1)) * np.float32(0.2)
    return distance, np.where(distance < 0.08, rise + weave, np.float32(-0.3))


def nearest_seeds(
    rng: np.random.Generator, u: np.ndarray, v: np.ndarray, cells: float
) -> tuple[np.ndarray, np.ndarray]:
    """Distances to the nearest and second nearest of randomly scattered seeds.

    Seeds sit one per unit square of a ``cells``-fine lattice; three by three squares around
    each pixel are looked at. Returns two (size, size) float32 arrays in lattice units.
    """
    table = rng.uniform(0.12, 0.88, (2, 64, 64)).astype(np.float32)
    across, down = u * np.float32(cells), v * np.float32(cells)
    column, row = np.floor(across).astype(np.int32), np.floor(down).astype(np.int32)
    part_u, part_v = across - column, down - row
    first = np.full_like(part_u, 9)
    second = np.full_like(part_u, 9)
    for step_v in (-1, 0, 1):
        for step_u in (-1, 0, 1):
            spot = ((row + step_v) & 63) * 64 + ((column + step_u) & 63)
            away_u = table[0].ravel()[spot] + step_u - part_u
            away_v = table[1].ravel()[spot] + step_v - part_v
            distance = away_u * away_u + away_v * away_v
            np.minimum(second, np.maximum(first, distance), out=second)
            np.minimum(first, distance, out=first)
    return np.sqrt(first), np.sqrt(second)


def build_leather(
    rng: np.random.Generator, frame: Frame, paint: Paint, change: Change | None
) -> Layers:
    """Dyed cow leather: pebbled grain with fine creases between the pebbles."""
    size = frame.size
    sway = 0.03 * field(rng, size, 9)
    first, second = nearest_seeds(rng, frame.u + sway, frame.v - sway, 11.0)
    pebble = smoothstep(second - first, 0.0, 0.42)
    height = 0.02 * pebble + 0.003 * fractal(rng, size, 30, 2) + 0.006 * field(rng, size, 4)
    cover = np.ones((size, size), np.float32)
    layers = start_layers(cover, height, paint.albedo, paint.gloss, 0.0)
    tone = 0.78 + 0.24 * pebble + 0.05 * field(rng, size, 5) + 0.02 * field(rng, size, 100)
    layers.albedo *= tone[..., None]
    return layers


def build_carpet(
    rng: np.random.Generator, frame: Frame, paint: Paint, change: Change | None
) -> Layers:
    """Short loop carpet: rows of slightly irregular loops in two yarn shades."""
    size = frame.size
    loops = np.float32(17)
    u = frame.u * loops + 0.16 * field(rng, size, 14)
    v = frame.v * loops * np.float32(0.8) + 0.16 * field(rng, size, 14)
    row = np.floor(v)
    column = np.floor(u + 0.5 * (row % 2))
    inner_u, inner_v = u + 0.5 * (row % 2) - column - 0.5, v - row - 0.5
    bump = np.clip(1 - 3.4 * (inner_u**2 + inner_v**2), 0, 1)
    table = rng.standard_normal((64, 64), dtype=np.float32)
    yarn = table[row.astype(np.int32) & 63, column.astype(np.int32) & 63]
    twist = np.sin((inner_u + inner_v) * np.float32(24))
    height = 0.035 * np.sqrt(bump) + 0.0022 * twist + 0.002 * field(rng, size, 90)
    cover = np.ones((size, size), np.float32)
    layers = start_layers(cover, height, paint.albedo, 0.05, 0.0)
    tone = 0.5 + 0.5 * bump + 0.09 * yarn + 0.05 * twist + 0.04 * field(rng, size, 6)
    layers.albedo *= np.maximum(tone, 0.15)[..., None]
    fleck = np.clip(yarn - 1.0, 0, 0.5) * bump
    layers.paint(fleck, linear(212, 206, 196))
    return layers
