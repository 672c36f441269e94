"""Defects of rendered parts: of the surface and of the shape."""

from __future__ import annotations

import numpy as np

from ltad.synthetic.geometry import (
    Frame,
    blob,
    chip_shape,
    cover_of,
    field,
    ink,
    pick_rim,
    pick_spot,
    wander,
)
from ltad.synthetic.photo import Layers, linear

FULLY = 0.35


def crack(rng: np.random.Generator, frame: Frame, layers: Layers, strength: float) -> np.ndarray:
    """A dark jagged line that branches."""
    spot = pick_spot(rng, layers.cover, 0.1)
    length = rng.uniform(0.4, 1.1)
    trunk = wander(rng, spot, length, 0.45, rng.uniform(-0.5, 0.5))
    lines = [trunk[:6], trunk[5:10], trunk[9:]]
    widths = list(rng.permutation([0.012, 0.022, 0.015]) * rng.uniform(0.9, 1.5))
    for _ in range(int(rng.integers(0, 3))):
        start = trunk[int(rng.integers(3, 12))]
        branch = wander(rng, start, length * rng.uniform(0.15, 0.4), 0.4, 0.3)
        lines.append(branch - branch[0] + start)
        widths.append(0.011)
    weight = ink(frame.size, lines, widths=widths) * (layers.cover > 0.5)
    depth = 0.2 + 0.75 * strength
    layers.paint(weight * depth, layers.albedo * 0.05, 0.05, 0.0)
    layers.lift(weight, -0.02 * depth)
    return weight > FULLY


def scratch(rng: np.random.Generator, frame: Frame, layers: Layers, strength: float) -> np.ndarray:
    """One to four nearly parallel gouges baring lighter or darker material."""
    spot = pick_spot(rng, layers.cover, 0.1)
    first = wander(rng, spot, rng.uniform(0.35, 1.2), 0.03, rng.uniform(-0.7, 0.7))
    across = np.array([first[0, 1] - first[-1, 1], first[-1, 0] - first[0, 0]])
    across = across / max(np.linalg.norm(across), 1e-6)
    count = int(rng.integers(1, 5))
    lines = []
    for number in range(count):
        begin, end = rng.integers(0, 4), rng.integers(10, 15)
        lines.append(first[begin:end] + across * (number - count / 2) * rng.uniform(0.03, 0.06))
    widths = rng.uniform(0.012, 0.024, count)
    weight = ink(frame.size, lines, widths=widths) * (layers.cover > 0.5)
    under = layers.albedo[weight > FULLY]
    bright = float(under.mean()) if under.size else 0.5
    bared = linear(232, 232, 228) if bright < 0.36 else np.float32(0.22) * layers.albedo
    share = 0.25 + 0.6 * strength
    layers.paint(weight * share, bared)
    layers.gloss -= weight * share * layers.gloss * 0.6
    layers.lift(weight, -0.008 * share)
    return weight > FULLY


def stain(rng: np.random.Generator, frame: Frame, layers: Layers, strength: float) -> np.ndarray:
    """A dried splash: tinted inside, darker along its rim, sharp-edged."""
    spot = pick_spot(rng, layers.cover, 0.08)
    distance = blob(rng, frame, spot, rng.uniform(0.09, 0.28), 0.5, rng.uniform(1, 1.7))
    for _ in range(int(rng.integers(0, 4))):
        near = np.array(spot) + rng.normal(0, 0.2, 2)
        distance = np.minimum(distance, blob(rng, frame, near, rng.uniform(0.02, 0.05), 0.3))
    weight = cover_of(distance, 0.03) * (layers.cover > 0.5)
    rim = np.clip(1 - np.abs(distance + 0.012) / np.float32(0.025), 0, 1) * weight
    tints = ((0.42, 0.3, 0.2), (0.22, 0.21, 0.2), (0.5, 0.42, 0.22), (0.28, 0.34, 0.42))
    tint = np.array(tints[int(rng.integers(len(tints)))], np.float32)
    share = (0.3 + 0.65 * strength) * (0.85 + 0.12 * field(rng, frame.size, 14))
    layers.paint(weight * np.clip(share, 0.1, 1), layers.albedo * tint)
    layers.paint(rim * 0.45 * strength, layers.albedo * tint)
    shine = rng.choice([0.15, 0.8])
    layers.gloss += weight * strength * (np.float32(shine) - layers.gloss)
    layers.metal -= weight * layers.metal * np.float32(0.5 * strength)
    return weight > FULLY


def contamination(
    rng: np.random.Generator, frame: Frame, layers: Layers, strength: float
) -> np.ndarray:
    """Foreign matter lying on the part: a fibre, a scatter of crumbs, or a smeared lump."""
    spot = pick_spot(rng, layers.cover, 0.08)
    under = layers.albedo[layers.cover > 0.5].mean()
    dark = ((48, 40, 34), (86, 46, 38), (40, 60, 46))
    light = ((226, 220, 200), (206, 120, 60), (150, 176, 206))
    colors = light if under < 0.3 else dark
    color = linear(*colors[int(rng.integers(3))])
    shape = rng.integers(3)
    if shape == 0:
        line = wander(rng, spot, rng.uniform(0.5, 1.1), 0.12, rng.uniform(-4, 4))
        weight = ink(frame.size, [line], rng.uniform(0.024, 0.036))
        rise = weight * 0.03
    elif shape == 1:
        weight = np.zeros((frame.size, frame.size), np.float32)
        for _ in range(int(rng.integers(5, 14))):
            near = np.array(spot) + rng.normal(0, 0.09, 2)
            crumb = blob(rng, frame, near, rng.uniform(0.018, 0.04), 0.5)
            weight = np.maximum(weight, cover_of(crumb))
        rise = weight * 0.035
    else:
        distance = blob(rng, frame, spot, rng.uniform(0.07, 0.16), 0.6, rng.uniform(1, 2))
        weight = cover_of(distance, 0.02)
        rise = 0.05 * np.sqrt(np.clip(-distance / np.float32(0.1), 0, 1))
        rise = rise * (1 + 0.12 * field(rng, frame.size, 40))
    weight = weight * (layers.cover > 0.5)
    share = weight * np.float32(0.25 + 0.75 * strength)
    layers.paint(share, color * (1 + 0.12 * field(rng, frame.size, 60))[..., None], 0.25, 0.0)
    layers.lift(np.where(weight > 0, rise, 0), 0.5 + 0.5 * strength)
    return weight > FULLY


def discoloration(
    rng: np.random.Generator, frame: Frame, layers: Layers, strength: float
) -> np.ndarray:
    """A soft-edged shift of hue or lightness, as heat, bleach or bad dye leaves it."""
    spot = pick_spot(rng, layers.cover, 0.05)
    distance = blob(rng, frame, spot, rng.uniform(0.16, 0.3), 0.35, rng.uniform(1, 2))
    weight = np.clip(0.5 - distance / np.float32(0.16), 0, 1)
    weight = weight * weight * (3 - 2 * weight) * (layers.cover > 0.5)
    shifts = ((1.15, 0.74, 0.36), (0.52, 0.66, 1.0), (1.0, 0.56, 0.48), (0.5, 0.46, 0.44))
    shift = np.array(shifts[int(rng.integers(len(shifts)))], np.float32)
    bleach = rng.random() < 0.3
    under = layers.albedo[weight > FULLY]
    if bleach or (under.size and under.mean() < 0.12):
        shift = shift * 0.7
        mixed = shift * (0.35 + 0.65 * layers.albedo)
    else:
        mixed = np.clip(layers.albedo * shift, 0, 1)
    layers.paint(weight * np.float32(0.25 + 0.6 * strength), mixed)
    return weight > FULLY


def hole(rng: np.random.Generator, frame: Frame, layers: Layers, strength: float) -> np.ndarray:
    """A punched or gnawed hole: dark, deep, with a slightly raised burr."""
    spot = pick_spot(rng, layers.cover, 0.12)
    distance = blob(rng, frame, spot, rng.uniform(0.065, 0.18), 0.22, rng.uniform(1, 1.35))
    weight = cover_of(distance) * (layers.cover > 0.5)
    burr = np.clip(1 - np.abs(distance - 0.012) / np.float32(0.02), 0, 1) * (layers.cover > 0.5)
    layers.lift(burr, 0.012 * strength)
    depth = np.clip(-distance / np.float32(0.03), 0, 1)
    layers.lift(depth * weight, -0.12 * (0.4 + 0.6 * strength))
    layers.paint(weight * np.float32(0.35 + 0.6 * strength), layers.albedo * 0.04, 0.0, 0.0)
    return (weight > FULLY) | (burr > 0.6)


def broken_piece(
    rng: np.random.Generator, frame: Frame, layers: Layers, strength: float, fills: bool
) -> np.ndarray:
    """A piece broken off the rim, or chipped out of a surface that has no rim."""
    radius = rng.uniform(0.11, 0.17) + 0.09 * strength
    if fills:
        return _chip(rng, frame, layers, strength, radius)
    x, y, outward = pick_rim(rng, layers.cover, frame.center)
    inset = radius * rng.uniform(-0.05, 0.25)
    spot = (x + inset * np.cos(outward), y + inset * np.sin(outward))
    distance = chip_shape(rng, frame, spot, radius)
    had = layers.cover > 0.5
    gone = cover_of(distance) * had
    face = cover_of(distance - 0.03) * had * (1 - gone)
    layers.paint(0.6 * face, layers.albedo * 0.45, 0.05)
    layers.lift(face, -0.04)
    layers.cover *= 1 - gone
    return (gone > FULLY) | (face > 0.5)


def _chip(
    rng: np.random.Generator, frame: Frame, layers: Layers, strength: float, radius: float
) -> np.ndarray:
    spot = pick_spot(rng, layers.cover)
    distance = chip_shape(rng, frame, spot, radius * 0.8)
    weight = cover_of(distance)
    rough = 1 + 0.22 * field(rng, frame.size, 40)
    depth = np.clip(-distance / np.float32(0.05), 0, 1) * rough
    layers.lift(depth, -0.05 * (0.4 + 0.6 * strength))
    bare = np.clip(layers.albedo.mean(axis=(0, 1)) * 0.5 + 0.05, 0, 1)
    layers.paint(weight * (0.4 + 0.5 * strength), bare * rough[..., None], 0.03, 0.0)
    return weight > FULLY


def dent(rng: np.random.Generator, frame: Frame, layers: Layers, strength: float) -> np.ndarray:
    """A pressed-in hollow with a faint raised lip; colour stays as it was."""
    spot = pick_spot(rng, layers.cover, 0.08)
    radius = rng.uniform(0.13, 0.26)
    distance = blob(rng, frame, spot, radius, 0.22, rng.uniform(1, 2.4))
    share = np.clip(-distance / np.float32(radius), -0.35, 1)
    hollow = np.where(share > 0, share * share * (3 - 2 * share), 0)
    lip = np.clip(1 - np.abs(share + 0.08) / 0.2, 0, 1)
    on_part = layers.cover > 0.5
    depth = radius * (0.13 + 0.33 * strength)
    layers.lift(hollow * on_part, -depth)
    layers.lift(lip * on_part, 0.12 * depth)
    return (distance < 0) & on_part


def bend(
    rng: np.random.Generator, frame: Frame, layers: Layers, strength: float
) -> tuple[Frame, np.ndarray]:
    """A frame whose material is pushed sideways near a spot, and where that matters (bool)."""
    spot = pick_spot(rng, layers.cover, 0.0)
    reach = rng.uniform(0.24, 0.36)
    away_x, away_y = frame.x - np.float32(spot[0]), frame.y - np.float32(spot[1])
    share = np.clip(1 - (away_x**2 + away_y**2) / np.float32(reach * reach), 0, 1)
    push = share * share * np.float32(reach * (0.2 + 0.28 * strength) / frame.scale)
    outward = np.arctan2(spot[1] - frame.center[1], spot[0] - frame.center[0]) - frame.angle
    angle = outward + (np.pi / 2) * rng.integers(-1, 2)
    moved = frame.bent(push * np.float32(np.cos(angle)), push * np.float32(np.sin(angle)))
    return moved, share > 0.45
