"""Defects of shape: holes, lost pieces, dents, and bent outlines."""

from __future__ import annotations

import numpy as np

from .frame import Frame
from .layers import Layers
from .marks import blob, chip_shape, cover_of, pick_rim, pick_spot
from .noise import field

FULLY = 0.35


def hole(rng, frame: Frame, layers: Layers, strength: float) -> np.ndarray:
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


def broken_piece(rng, frame: Frame, layers: Layers, strength: float, fills: bool) -> np.ndarray:
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


def _chip(rng, frame, layers, strength, radius) -> np.ndarray:
    spot = pick_spot(rng, layers.cover)
    distance = chip_shape(rng, frame, spot, radius * 0.8)
    weight = cover_of(distance)
    rough = 1 + 0.22 * field(rng, frame.size, 40)
    depth = np.clip(-distance / np.float32(0.05), 0, 1) * rough
    layers.lift(depth, -0.05 * (0.4 + 0.6 * strength))
    bare = np.clip(layers.albedo.mean(axis=(0, 1)) * 0.5 + 0.05, 0, 1)
    layers.paint(weight * (0.4 + 0.5 * strength), bare * rough[..., None], 0.03, 0.0)
    return weight > FULLY


def dent(rng, frame: Frame, layers: Layers, strength: float) -> np.ndarray:
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


def bend(rng, frame: Frame, layers: Layers, strength: float) -> tuple[Frame, np.ndarray]:
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
