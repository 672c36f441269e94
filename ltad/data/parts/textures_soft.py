"""Soft surfaces that fill the picture: leather and carpet."""

from __future__ import annotations

import numpy as np

from .layers import Layers, linear, start_layers
from .noise import field, fractal, smoothstep


def nearest_seeds(rng, u, v, cells: float):
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


def build_leather(rng, frame, paint, change) -> Layers:
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


def build_carpet(rng, frame, paint, change) -> Layers:
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
