"""The table a part lies on, as linear albedo."""

from __future__ import annotations

import numpy as np

from .frame import Frame
from .layers import linear
from .noise import along, field, fractal

PLAIN = {
    "white": (222, 222, 220),
    "grey": (140, 142, 144),
    "black": (38, 38, 40),
    "blue": (66, 92, 132),
    "green": (66, 104, 84),
}


def draw_background(name: str, rng: np.random.Generator, frame: Frame) -> np.ndarray:
    """Albedo (size, size, 3) float32 of the named background."""
    if name in PLAIN:
        return _plain(PLAIN[name], rng, frame)
    return SURFACES[name](rng, frame)


def _plain(color, rng, frame):
    clouds = 1 + 0.035 * field(rng, frame.size, 4) + 0.012 * field(rng, frame.size, 96)
    return clouds[..., None] * linear(*color)


def _wooden(rng, frame):
    angle = rng.uniform(-0.25, 0.25) + (np.pi / 2) * rng.integers(2)
    across = frame.y * np.float32(np.cos(angle)) - frame.x * np.float32(np.sin(angle))
    across = across + 0.035 * field(rng, frame.size, 3)
    grain = 0.6 * along(rng, across, 34) + 0.4 * along(rng, across, 150)
    tone = 1 + 0.13 * grain + 0.03 * field(rng, frame.size, 90)
    return np.maximum(tone, 0.2)[..., None] * linear(168, 128, 90)


def _concrete(rng, frame):
    tone = 1 + 0.09 * fractal(rng, frame.size, 6, 3) + 0.07 * field(rng, frame.size, 110)
    return np.maximum(tone, 0.2)[..., None] * linear(150, 148, 143)


def _fabric(rng, frame):
    weave = np.sin(frame.x * np.float32(150)) * np.sin(frame.y * np.float32(150))
    tone = 1 + 0.14 * weave + 0.06 * fractal(rng, frame.size, 5, 2)
    return np.maximum(tone, 0.2)[..., None] * linear(96, 100, 112)


def _metallic(rng, frame):
    tone = 1 + 0.09 * along(rng, frame.y + 0.004 * frame.x, 170) + 0.08 * field(rng, frame.size, 3)
    return np.maximum(tone, 0.2)[..., None] * linear(158, 160, 163)


SURFACES = {
    "wooden": _wooden,
    "concrete": _concrete,
    "fabric": _fabric,
    "metallic": _metallic,
}
BACKGROUNDS = (*PLAIN, *SURFACES)
