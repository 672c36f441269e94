"""Masks as data sets publish them: which pixels are a defect, whatever the file's colours mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from ltad.images import read_values

MOST_LABELS = 32
"""A lossless mask of at most this many levels holds labels, one of more levels holds shades."""
LOSSY = frozenset({".jpg", ".jpeg", ".webp"})
_FAINT = 1 / 8
"""Of the largest level: what lies below is JPEG's noise, what lies above may be a darker label."""


def read_mask(path: str | Path) -> np.ndarray:
    """A defect's pixels, (H, W) bool.

    The background is black, or transparent where some of the mask is; every other colour and every
    grey level of a lossless file of at most `MOST_LABELS` levels is a defect. Any other file is cut
    at half of its largest level, so that a blurred edge or JPEG's noise does not count. A black
    mask is all False. `mask_doubts` says where these rules may be wrong.

    Raises:
        ImageError: as `ltad.images.read_image`.
    """
    levels, _ = levels_of(read_values(path))
    return _marked(path, levels)


def mask_doubts(path: str | Path) -> list[str]:
    """What in a mask could mean something else than `read_mask` makes of it; empty if nothing.

    Raises:
        ImageError: as `ltad.images.read_image`.
    """
    levels, is_mixed = levels_of(read_values(path))
    marked, doubts = _marked(path, levels), []
    advice = "Save the mask in black (background) and white (defect)."
    if is_mixed:
        doubts.append(f"{path} has transparent, black and coloured pixels; transparent and black "
                      f"ones were both taken for background. {advice}")
    border = np.concatenate([marked[0], marked[-1], marked[:, 0], marked[:, -1]])
    if marked.mean() > 0.5 and border.all():
        doubts.append(f"{path} marks {marked.mean():.0%} of the image with its whole border, as "
                      f"a mask does whose black and white are swapped. {advice}")
    shades = ~marked & (levels > levels.max() * _FAINT)
    if shades.sum() > marked.sum() / 4:
        doubts.append(f"{path} has {shades.sum():,} pixels of darker grey, which were taken for a "
                      f"blurred edge beside {marked.sum():,} brighter ones. {advice}")
    return doubts


def reduce_mask(mask: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """A mask at the scoring size, and those of its pixels that are there although they are less
    than half covered; both (side, side) bool.

    A pixel is marked where half of it is covered. What is thinner than that, a speck or a scratch,
    is kept too, one pixel wide: every pixel that it touches, unless a half covered one is beside.

    Args:
        mask: (H, W) bool.
        side: in pixels; may be larger than the mask's.
    """
    size, covered = (side, side), Image.fromarray(mask.astype(np.float32))
    covered = np.asarray(covered.resize(size, Image.Resampling.BOX))
    marked = covered >= 0.5
    is_beside = ndimage.binary_dilation(marked, np.ones((3, 3)))
    thin = (covered > 0) & ~is_beside
    return marked | thin, thin


def levels_of(values: np.ndarray) -> tuple[np.ndarray, bool]:
    """How bright each pixel of a mask is, (H, W), 0 for background; and whether transparent, black
    and coloured pixels stand side by side.

    Args:
        values: as `ltad.images.read_values` gives them.
    """
    if values.ndim == 2:
        return values, False
    color, alpha = values[..., :3].max(axis=-1), values[..., 3]
    is_clear = alpha == 0
    if not is_clear.any() or is_clear.all():  # transparency says nothing
        return color, False
    if not color[~is_clear].any():  # black strokes on a transparent ground
        return alpha, False
    levels = np.where(is_clear, 0, color)
    return levels, bool((color[~is_clear] == 0).any())


def _marked(path: str | Path, levels: np.ndarray) -> np.ndarray:
    is_lossy = Path(path).suffix.lower() in LOSSY
    holds_labels = not is_lossy and len(np.unique(levels)) <= MOST_LABELS
    return levels > (0 if holds_labels else levels.max() / 2)
