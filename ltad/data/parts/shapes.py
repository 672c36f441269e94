"""Signed distances in part units: negative inside, positive outside."""

from __future__ import annotations

import numpy as np


def ring_radius(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Distance from the origin."""
    return np.sqrt(u * u + v * v)


def hexagon(u: np.ndarray, v: np.ndarray, inner: float) -> np.ndarray:
    """Hexagon whose flats lie ``inner`` from the middle."""
    across = np.abs(u)
    slanted = across * np.float32(0.5) + np.abs(v) * np.float32(0.8660254)
    return np.maximum(across, slanted) - np.float32(inner)


def rectangle(u: np.ndarray, v: np.ndarray, half_u, half_v, round_by: float = 0.0) -> np.ndarray:
    """Rectangle of the given half sides with rounded corners."""
    away_u = np.abs(u) - (half_u - round_by)
    away_v = np.abs(v) - (half_v - round_by)
    outside = np.sqrt(np.maximum(away_u, 0) ** 2 + np.maximum(away_v, 0) ** 2)
    return outside + np.minimum(np.maximum(away_u, away_v), 0) - np.float32(round_by)


def stadium(u: np.ndarray, v: np.ndarray, half: float, radius: float) -> np.ndarray:
    """Capsule outline: a bar of half length ``half`` with round ends."""
    away = np.maximum(np.abs(u) - np.float32(half), 0)
    return np.sqrt(away * away + v * v) - np.float32(radius)


def local(u: np.ndarray, v: np.ndarray, place) -> tuple[np.ndarray, np.ndarray]:
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
