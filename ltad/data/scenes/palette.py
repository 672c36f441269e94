"""Colours and materials: names that captions use, with the values that pictures use."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ltad.data.scenes.fields import FLOAT, uniform

COLOURS: dict[str, tuple[int, int, int]] = {
    "white": (236, 236, 232), "gray": (132, 132, 134), "black": (34, 34, 36),
    "silver": (186, 188, 192), "red": (190, 42, 38), "orange": (222, 122, 36),
    "yellow": (226, 196, 52), "green": (58, 140, 66), "blue": (44, 92, 178),
    "purple": (116, 62, 150), "pink": (226, 142, 168), "brown": (120, 78, 46),
    "beige": (208, 186, 150), "gold": (200, 160, 72), "copper": (186, 108, 70),
    "turquoise": (62, 170, 168), "cream": (234, 222, 196), "maroon": (104, 34, 40),
    "navy": (34, 46, 92), "olive": (112, 116, 58), "tan": (188, 148, 104),
    "bronze": (148, 112, 62),
}  # fmt: skip


@dataclass(frozen=True)
class Material:
    """How a material looks: its usual colours, `gloss` in [0, 1] and grain strength."""

    name: str
    adjective: str
    colours: tuple[str, ...]
    gloss: tuple[float, float]
    grain: float


_ANY = (
    "white", "gray", "black", "red", "orange", "yellow", "green", "blue", "purple", "pink",
    "brown", "beige", "turquoise", "cream", "maroon", "navy", "olive", "tan",
)  # fmt: skip
_METAL = ("silver", "silver", "gray", "gray", "silver", "black", "gold", "copper", "bronze")
MATERIALS: dict[str, Material] = {
    material.name: material
    for material in (
        Material("metal", "metal", _METAL, (0.4, 1.0), 0.05),
        Material("plastic", "plastic", _ANY, (0.2, 0.8), 0.01),
        Material("wood", "wooden", ("brown", "tan", "beige", "brown"), (0.0, 0.2), 0.2),
        Material("stone", "stone", ("gray", "beige", "brown", "black", "white"), (0, 0.2), 0.22),
        Material("rubber", "rubber", ("black", "gray", "black", "red"), (0.0, 0.3), 0.04),
        Material("ceramic", "ceramic", ("white", "cream", "beige", "blue"), (0.3, 1), 0.02),
        Material("glass", "glass", ("green", "brown", "blue", "turquoise", "gray"), (0.7, 1), 0.01),
        Material("fabric", "fabric", _ANY, (0.0, 0.05), 0.1),
        Material("leather", "leather", ("brown", "black", "tan", "maroon"), (0.1, 0.4), 0.1),
        Material("paper", "paper", _ANY, (0.0, 0.05), 0.03),
        Material("concrete", "concrete", ("gray", "gray", "beige"), (0.0, 0.05), 0.2),
        Material("foam", "foam", ("white", "black", "yellow", "pink", "blue"), (0.0, 0.1), 0.12),
        Material("clay", "clay", ("brown", "orange", "tan", "maroon"), (0.0, 0.15), 0.12),
    )
}


def pick(rng: np.random.Generator, choices: tuple | list):
    """One of the choices, all equally likely."""
    return choices[int(rng.integers(len(choices)))]


def shade(rng: np.random.Generator, name: str) -> np.ndarray:
    """A shade of a named colour, (3,) float32 in [0.02, 0.98].

    Raises KeyError for a name that is not in COLOURS.
    """
    base = np.array(COLOURS[name], dtype=FLOAT) / 255
    drift = rng.normal(0, 0.025, 3).astype(FLOAT)
    return np.clip(base * FLOAT(uniform(rng, 0.82, 1.12)) + drift, 0.02, 0.98).astype(FLOAT)


def neighbour(rng: np.random.Generator, colour: np.ndarray, contrast: float) -> np.ndarray:
    """A second tone for a texture, (3,) float32, `contrast` in [0, 1] away in lightness."""
    direction = -1.0 if colour.mean() > uniform(rng, 0.3, 0.6) else 1.0
    tint = rng.normal(0, 0.06 * contrast, 3).astype(FLOAT)
    return np.clip(colour * (1 + direction * contrast) + direction * 0.1 * contrast + tint, 0.01, 1)


def gray_name(level: float) -> str:
    """The word for a grey level in [0, 1]: black, gray or white."""
    if level < 0.2:
        return "black"
    return "white" if level > 0.72 else "gray"
