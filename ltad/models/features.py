"""Patch features: the encoder's taps on one grid (the paper's section 4), and few for many."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

PROJECTION = 32
"""Dimensions of the random projection on which `coreset` compares distances."""


def to_grid(layer: Tensor, grid: int) -> Tensor:
    """(B, C, grid, grid) of a map (B, C, H, W), bilinear, without anti-aliasing."""
    if layer.shape[-2:] == (grid, grid):
        return layer
    return functional.interpolate(layer, size=(grid, grid), mode="bilinear", align_corners=False)


def patch_features(taps: Sequence[Tensor], grid: int) -> Tensor:
    """p: the taps resized to one grid and concatenated, (B, sum of C_l, grid, grid)."""
    return torch.cat([to_grid(tap, grid) for tap in taps], dim=1)


BORDER = 1 / 20
"""Share of an image's side that `border_weights` takes for its border: 16 of 320 pixels."""


@lru_cache(maxsize=32)
def border_weights(grid: int, weight: float) -> Tensor:
    """What each place counts, (grid, grid): `weight` in the image's border, 1 inside of it, and for
    a place that holds both their mean by area."""
    ends = torch.arange(grid + 1) / grid
    inside = ends.clamp(BORDER, 1 - BORDER).diff() * grid
    return weight + (1.0 - weight) * torch.outer(inside, inside)


def split_layers(patches: Tensor, channels: Sequence[int]) -> tuple[Tensor, ...]:
    """The layers p_l of patch features (B, C, G, G): the inverse of the concatenation."""
    return patches.split(list(channels), dim=1)


def coreset(points: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Indices (size,) of points that stand for all (n, C) float32, as PatchCore makes its memory.

    Greedy k-centre choice on a random projection; the first point is random.
    """
    projected = torch.from_numpy(
        points @ rng.standard_normal((points.shape[1], PROJECTION), dtype=np.float32)
    )
    squares = projected.square().sum(dim=1)
    nearest = torch.full_like(squares, torch.inf)
    chosen = [int(rng.integers(len(points)))]
    for _ in range(size - 1):
        # |a - b|^2 as |a|^2 - 2 a.b + |b|^2: one product with a vector a step
        last = torch.add(squares, projected @ projected[chosen[-1]], alpha=-2)
        torch.minimum(nearest, last.add_(squares[chosen[-1]]), out=nearest)
        chosen.append(int(nearest.argmax()))
    return np.array(chosen)
