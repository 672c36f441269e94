"""Shapes that defects take: blobs and wandering lines, in picture units."""

from __future__ import annotations

import numpy as np

from .frame import Frame


def pick_spot(rng, cover: np.ndarray, margin: float = 0.0) -> tuple[float, float]:
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


def pick_rim(rng, cover: np.ndarray, center) -> tuple[float, float, float]:
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


def blob(rng, frame: Frame, spot, radius: float, rough: float, longer: float = 1.0) -> np.ndarray:
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


def chip_shape(rng, frame: Frame, spot, radius: float) -> np.ndarray:
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
    """Weight 0 to 1 of the inside of a picture-unit distance, with an edge ``soft`` wide."""
    width = max(2.0 / distance.shape[0], soft or 0.0)
    return np.clip(0.5 - distance / np.float32(width), 0, 1)


def wander(rng, spot, length: float, kink: float, curl: float) -> np.ndarray:
    """(n, 2) picture points of a line about ``spot``: ``kink`` jagged, ``curl`` bowed."""
    count = 14
    heading = rng.uniform(0, 2 * np.pi)
    turns = np.cumsum(np.full(count, curl / count)) + rng.normal(0, kink, count)
    steps = length / count * rng.uniform(0.6, 1.4, count)
    moves = np.stack([np.cos(heading + turns), np.sin(heading + turns)], axis=1) * steps[:, None]
    points = np.concatenate([[[0.0, 0.0]], np.cumsum(moves, axis=0)])
    return points - points[count // 2] + np.array(spot)
