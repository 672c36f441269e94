"""Colour and material variants of a part."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .layers import linear


@dataclass(frozen=True)
class Paint:
    """One variant: its name for people (color, material) and how its surface looks."""

    color: str
    material: str
    screen: tuple[int, int, int]
    gloss: float
    metal: float

    @property
    def albedo(self) -> np.ndarray:
        """Linear colour, (3,) float32."""
        return linear(*self.screen)


STEEL = Paint("silver", "steel", (206, 208, 212), 0.55, 1.0)
BRASS = Paint("golden", "brass", (232, 194, 104), 0.6, 1.0)
COPPER = Paint("orange", "copper", (222, 146, 108), 0.55, 1.0)
IRON = Paint("black", "iron", (92, 92, 98), 0.5, 0.8)
