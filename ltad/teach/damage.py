"""Damage painted on photographs of good parts, to try a model that nobody has shown a defect."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ltad.data.scenes import marks
from ltad.data.scenes.canvas import Canvas
from ltad.data.scenes.distortions import fallback
from ltad.data.scenes.fields import FLOAT
from ltad.seeds import generator

KINDS = {"scratch": marks.scratch, "crack": marks.crack, "stain": marks.stain}
LEAST_CHANGE = 12.0 / 255
LEAST_SHARE, LARGEST_SHARE = 0.002, 0.15
ATTEMPTS = 12
CENTRE = 0.36
"""Radius, as a share of the side, of the disc in which damage lies: most parts fill it."""


def paint_damage(image: Image.Image, kind: str, seed: int) -> tuple[Image.Image, np.ndarray]:
    """A square picture with one visible flaw, and where it is.

    Args:
        image: (S, S) RGB of a good part.
        kind: one of `KINDS`.
        seed: the same seed paints the same flaw.

    Returns:
        The damaged picture and its mask, (S, S) bool, of pixels that changed visibly.
    """
    pixels = np.asarray(image.convert("RGB"), dtype=FLOAT) / 255
    canvas = Canvas(pixels, _disc(len(pixels)), "part")
    random = generator(seed, list(KINDS).index(kind))
    for _ in range(ATTEMPTS):
        changed, share = KINDS[kind](canvas, random)
        painted, mask = _visible(pixels, changed, share > 0.1)
        if mask is not None:
            return painted, mask
    changed, mask = fallback(canvas, random)
    return Image.fromarray((changed * 255).round().astype(np.uint8)), mask


def _disc(size: int) -> np.ndarray:
    rows, columns = np.ogrid[:size, :size]
    middle = (size - 1) / 2
    return (rows - middle) ** 2 + (columns - middle) ** 2 <= (CENTRE * size) ** 2


def _visible(
    pixels: np.ndarray, changed: np.ndarray, area: np.ndarray
) -> tuple[Image.Image, np.ndarray | None]:
    """The flawed picture; no mask where the flaw would be overlooked, or covers too much."""
    changed = np.where(area[..., None], np.clip(changed, 0, 1), pixels)
    difference = np.abs(changed - pixels).max(axis=-1)
    mask = difference > LEAST_CHANGE / 2
    fits = LEAST_SHARE <= mask.mean() <= LARGEST_SHARE
    painted = Image.fromarray((changed * 255).round().astype(np.uint8))
    return painted, mask if fits and difference[mask].mean() >= LEAST_CHANGE else None
