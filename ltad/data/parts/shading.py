"""From layers to linear light: normals, one key light, reflections, shadows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .layers import Layers
from .noise import soften

SHADOW_STEPS = 9
STEEPEST = 2.5


@dataclass(frozen=True)
class Light:
    """Key light: direction of travel back to the lamp, share of ambient light, tint, fall-off."""

    azimuth: float
    elevation: float
    ambient: float
    strength: float
    fall_off: float
    tint: np.ndarray


def draw_light(rng: np.random.Generator) -> Light:
    """A random but plausible inspection light."""
    warmth = float(rng.uniform(-0.05, 0.05))
    return Light(
        azimuth=float(rng.uniform(0, 2 * np.pi)),
        elevation=float(np.radians(rng.uniform(38, 62))),
        ambient=float(rng.uniform(0.38, 0.58)),
        strength=float(rng.uniform(0.85, 1.12)),
        fall_off=float(rng.uniform(0.0, 0.14)),
        tint=np.array([1 + warmth, 1, 1 - warmth], np.float32),
    )


def shade(layers: Layers, backdrop: np.ndarray, light: Light) -> np.ndarray:
    """Lit picture in linear light, (size, size, 3) float32.

    ``backdrop`` is the background's linear albedo, the table at height 0.
    """
    size = layers.cover.shape[0]
    slope_x, slope_y = _slopes(layers.height)
    up = 1 / np.sqrt(1 + slope_x * slope_x + slope_y * slope_y)
    out_x, out_y = -slope_x * up, -slope_y * up
    lamp = _direction(light)
    facing = np.maximum(out_x * lamp[0] + out_y * lamp[1] + up * lamp[2], 0)
    solid = layers.height * layers.cover
    lit = 1 - _shadow(solid, light)
    open_sky = _open_sky(solid)
    scattered = open_sky * (light.ambient + (1 - light.ambient) * lit * facing / lamp[2])
    mirrored = _mirrored(out_x, out_y, up, lamp, layers.gloss)
    reflected = open_sky * (0.45 + 0.55 * lit) * mirrored
    body = (1 - layers.metal) * scattered + layers.metal * reflected
    sheen = _sheen(out_x, out_y, up, lamp, layers.gloss) * lit * (1 - layers.metal)
    surface = layers.albedo * body[..., None] + sheen[..., None]
    table = backdrop * (open_sky * (light.ambient + (1 - light.ambient) * lit))[..., None]
    picture = table + layers.cover[..., None] * (surface - table)
    axis = (np.arange(size, dtype=np.float32) + 0.5) * np.float32(2 / size) - 1
    fall = 1 + light.fall_off * (axis[None, :] * lamp[0] + axis[:, None] * lamp[1])
    return picture * (fall * np.float32(light.strength))[..., None] * light.tint


def _direction(light: Light) -> np.ndarray:
    flat = np.cos(light.elevation)
    return np.array(
        [np.cos(light.azimuth) * flat, np.sin(light.azimuth) * flat, np.sin(light.elevation)],
        np.float32,
    )


def _slopes(height: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scale = np.float32(height.shape[0] / 4)
    padded = np.pad(height, 1, mode="edge")
    slope_x = (padded[1:-1, 2:] - padded[1:-1, :-2]) * scale
    slope_y = (padded[2:, 1:-1] - padded[:-2, 1:-1]) * scale
    return np.clip(slope_x, -STEEPEST, STEEPEST), np.clip(slope_y, -STEEPEST, STEEPEST)


def _mirrored(out_x, out_y, up, lamp, gloss) -> np.ndarray:
    """Brightness of the surroundings in the mirror direction: a bright lamp, a dark far side."""
    toward = 2 * up * (out_x * lamp[0] + out_y * lamp[1]) + (2 * up * up - 1) * lamp[2]
    low = 2 * up * (out_x * lamp[0] + out_y * lamp[1])
    glow = np.maximum(toward, 0) ** (3 + 22 * gloss)
    return np.maximum(0.52 + 0.42 * low + 0.95 * glow, 0.05)


def _sheen(out_x, out_y, up, lamp, gloss) -> np.ndarray:
    """Highlight of a coated or plastic surface."""
    half = lamp + np.array([0, 0, 1], np.float32)
    half = half / np.linalg.norm(half)
    facing = np.maximum(out_x * half[0] + out_y * half[1] + up * half[2], 0)
    return 0.75 * gloss * gloss * facing ** (6 + 90 * gloss)


def _shadow(solid: np.ndarray, light: Light) -> np.ndarray:
    """Share of the key light kept off each pixel by anything higher towards the lamp."""
    size = solid.shape[0]
    tangent = np.tan(light.elevation)
    top = float(solid.max())
    reach = (top - float(solid.min())) / tangent * size / 2
    if reach < 0.7:
        return np.zeros_like(solid)
    blocker = np.full_like(solid, -1)
    for step in range(1, SHADOW_STEPS + 1):
        pixels = reach * step / SHADOW_STEPS
        right = round(float(np.cos(light.azimuth)) * pixels)
        down = round(float(np.sin(light.azimuth)) * pixels)
        rise = np.float32(np.hypot(right, down) * 2 / size * tangent)
        if right or down:
            np.maximum(blocker, _moved(solid, right, down) - rise, out=blocker)
    return soften(np.clip((blocker - solid) * np.float32(1 / 0.025), 0, 1), size / 64)


def _moved(values: np.ndarray, right: int, down: int) -> np.ndarray:
    """The value ``right`` and ``down`` pixels away, repeating the border."""
    rows = np.clip(np.arange(values.shape[0]) + down, 0, values.shape[0] - 1)
    columns = np.clip(np.arange(values.shape[1]) + right, 0, values.shape[1] - 1)
    return values[rows][:, columns]


def _open_sky(solid: np.ndarray) -> np.ndarray:
    """Less ambient light where the surroundings stand higher: seams, feet, grooves."""
    size = solid.shape[0]
    wide = soften(solid, size / 22) - solid
    narrow = soften(solid, size / 70) - solid
    return 1 / (1 + 5 * np.maximum(wide, 0) + 9 * np.maximum(narrow, 0))
