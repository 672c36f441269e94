"""Flaws that disturb what is already in the picture, and the choice among all flaws."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ltad.data.scenes import marks
from ltad.data.scenes.canvas import Canvas
from ltad.data.scenes.fields import FLOAT, blur_image, outline, uniform
from ltad.data.scenes.marks import blend, patch, reach, spot

Array = np.ndarray
Flaw = Callable[[Canvas, np.random.Generator], tuple[Array, Array]]


def moved_patch(canvas: Canvas, rng: np.random.Generator) -> tuple[Array, Array]:
    """A piece of the same picture from elsewhere, shifted, turned or mirrored."""
    share = patch(canvas, rng, 0.004, 0.1) * canvas.region
    size = share.shape[0]
    other = canvas.image
    if rng.random() < 0.6:
        other = np.rot90(other, int(rng.integers(1, 4)))
    if rng.random() < 0.3:
        other = other[:, ::-1]
    shift = rng.integers(size // 16 + 1, size - size // 16, 2)
    other = np.roll(other, (int(shift[0]), int(shift[1])), axis=(0, 1))
    return blend(canvas.image, other * FLOAT(uniform(rng, 0.85, 1.15)), share), share


def smeared(canvas: Canvas, rng: np.random.Generator) -> tuple[Array, Array]:
    """A place out of focus or wiped in one direction."""
    share = patch(canvas, rng, 0.01, 0.12) * canvas.region
    if rng.random() < 0.5:
        other = blur_image(canvas.image, uniform(rng, 1.5, 4.0))
    else:
        steps = int(rng.integers(5, 14))
        lean = int(rng.integers(-1, 2))
        slope = (lean, 1) if rng.random() < 0.5 else (1, lean)
        other = np.zeros_like(canvas.image)
        for step in range(steps):
            other += np.roll(canvas.image, (slope[0] * step, slope[1] * step), axis=(0, 1))
        other /= FLOAT(steps)
    return blend(canvas.image, other * FLOAT(uniform(rng, 0.85, 1.2)), share), share


def bitten(canvas: Canvas, rng: np.random.Generator) -> tuple[Array, Array]:
    """A piece broken out of the subject's edge, so that the backdrop shows.

    On a canvas without a backdrop or an edge it is a stain instead.
    """
    edge = canvas.region.copy()
    edge[1:-1, 1:-1] &= ~(
        canvas.region[:-2, 1:-1] & canvas.region[2:, 1:-1]
        & canvas.region[1:-1, :-2] & canvas.region[1:-1, 2:]
    )  # fmt: skip
    places = np.flatnonzero(edge)
    if canvas.backdrop is None or not len(places):
        return marks.stain(canvas, rng)
    size = edge.shape[0]
    row, column = divmod(int(places[int(rng.integers(len(places)))]), size)
    radius = max(4.0, reach(canvas, rng, 0.01, 0.12) * 1.3)
    share = outline(rng, size, (row, column), radius, uniform(rng, 0.2, 1)) * canvas.region
    beneath = canvas.backdrop * FLOAT(uniform(rng, 0.6, 1.0))
    rim = np.clip(share - np.roll(share, (1, 1), axis=(0, 1)), 0, 1) * FLOAT(0.5)
    return blend(blend(canvas.image, beneath, share), canvas.image * FLOAT(0.4), rim), share


# No holes, dents or warps: `hole` and `deformation` are the defect types that the encoder must
# never have been trained on.
FLAWS: tuple[tuple[Flaw, float], ...] = (
    (marks.scratch, 2.2), (marks.crack, 1.2), (marks.stain, 2.6), (marks.discoloured, 1.0),
    (marks.specks, 1.2), (marks.scuff, 1.2),
    (marks.thread, 1.0), (marks.foreign, 1.2), (marks.other_texture, 1.2),
    (moved_patch, 1.6), (smeared, 1.0),
)  # fmt: skip
_TOTAL = np.cumsum([weight for _, weight in FLAWS])
REARRANGED = "rearranged"
FALLBACK = "blob"
FLAW_KINDS = (*(flaw.__name__ for flaw, _ in FLAWS), bitten.__name__, REARRANGED, FALLBACK)


def draw_flaw(canvas: Canvas, rng: np.random.Generator) -> tuple[Array, Array, str]:
    """A flaw of any kind that suits the canvas: (image, bool mask, kind).

    The image is (size, size, 3) float32 in [0, 1] and equals the canvas outside the mask. The kind
    is one of `FLAW_KINDS`.
    """
    choice = rng.random()
    if canvas.edit is not None and choice < 0.45:
        return *_confined(canvas, *canvas.edit(rng)), REARRANGED
    if canvas.backdrop is not None and choice < 0.2:
        flaw = bitten
    else:
        flaw = FLAWS[int(np.searchsorted(_TOTAL, rng.random() * _TOTAL[-1] * 0.999999))][0]
    image, share = flaw(canvas, rng)
    return *_confined(canvas, image, share > 0.1), flaw.__name__


def _confined(canvas: Canvas, image: Array, mask: Array) -> tuple[Array, Array]:
    """The picture clipped, and reset to the canvas outside the mask so that the mask is exact."""
    return np.where(mask[..., None], np.clip(image, 0, 1), canvas.image).astype(FLOAT), mask


def fallback(canvas: Canvas, rng: np.random.Generator) -> tuple[Array, Array]:
    """A plain blob that is always large enough to see."""
    size = canvas.region.shape[0]
    share = outline(rng, size, spot(canvas, rng), max(3.0, 0.03 * size), 0.3)
    level = 0.12 if canvas.image[share > 0.1].mean() > 0.45 else 0.85
    return _confined(canvas, blend(canvas.image, np.full(3, level, FLOAT), share), share > 0.1)
