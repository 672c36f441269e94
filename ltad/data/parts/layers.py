"""The layered description of a part before it is lit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


def linear(red: float, green: float, blue: float) -> np.ndarray:
    """A screen colour (0 to 255 each) as linear light, (3,) float32 in 0 to 1."""
    return (np.array([red, green, blue], np.float32) / np.float32(255)) ** 2


@dataclass
class Layers:
    """What covers each pixel, all float32 and (size, size) except albedo (size, size, 3).

    ``cover``: 0 background to 1 part. ``height``: above the table, in picture units (2 is the
    picture's width). ``albedo``: linear 0 to 1. ``gloss``: 0 dull to 1 mirror-like.
    ``metal``: 0 to 1, how far the surface reflects its surroundings instead of scattering.
    """

    cover: np.ndarray
    height: np.ndarray
    albedo: np.ndarray
    gloss: np.ndarray
    metal: np.ndarray

    def copy(self) -> Layers:
        """A deep copy, so that an edit leaves the good twin alone."""
        return Layers(
            self.cover.copy(),
            self.height.copy(),
            self.albedo.copy(),
            self.gloss.copy(),
            self.metal.copy(),
        )

    def window(self, pixels) -> Layers:
        """The same layers seen through a window: edits of the window edit these layers."""
        return Layers(
            self.cover[pixels],
            self.height[pixels],
            self.albedo[pixels],
            self.gloss[pixels],
            self.metal[pixels],
        )

    def paint(self, weight, color, gloss=None, metal=None) -> None:
        """Blend colour (and gloss, metal when given) into the pixels of ``weight`` (0 to 1)."""
        self.albedo += weight[..., None] * (color - self.albedo)
        if gloss is not None:
            self.gloss += weight * (np.float32(gloss) - self.gloss)
        if metal is not None:
            self.metal += weight * (np.float32(metal) - self.metal)

    def lift(self, weight, amount) -> None:
        """Raise (or lower) the surface by ``weight`` times ``amount`` picture units."""
        self.height += weight * np.float32(amount)


def start_layers(cover, height, color, gloss: float, metal: float) -> Layers:
    """Layers of one plain material."""
    shape = cover.shape
    albedo = np.empty((*shape, 3), np.float32)
    albedo[:] = color
    return Layers(
        cover.astype(np.float32),
        height.astype(np.float32),
        albedo,
        np.full(shape, gloss, np.float32),
        np.full(shape, metal, np.float32),
    )


def differing(good: Layers, bad: Layers) -> np.ndarray:
    """Pixels (bool) where two descriptions differ by enough to be seen."""
    seen = np.maximum(good.cover, bad.cover)
    color = np.abs(good.albedo - bad.albedo).max(axis=-1) > 0.03
    surface = (np.abs(good.height - bad.height) > 0.012) | (np.abs(good.metal - bad.metal) > 0.2)
    return (np.abs(good.cover - bad.cover) > 0.4) | ((seen > 0.4) & (color | surface))
