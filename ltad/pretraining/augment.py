"""Random views of twin pictures: one geometry and one exposure a pair, so that twins stay twins."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def augment_pairs(
    images: Tensor, masks: Tensor, size: int, random: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Quarter turns, flips, zoom, shift, exposure and tint; the same for both twins of a pair.

    Args:
        images: (P, 2, 3, S, S) float32 in [-1, 1].
        masks: (P, S, S) float32 in {0, 1}.
        size: side of the result.
        random: the generator of every draw.

    Returns:
        Images (P, 2, 3, size, size) in about [-1, 1] and masks (P, size, size) in [0, 1].
    """
    pairs = len(images)
    grid = functional.affine_grid(
        _transforms(pairs, random), [pairs, 3, size, size], align_corners=False
    )
    stacked = torch.cat([images.flatten(1, 2), masks[:, None]], dim=1)
    moved = functional.grid_sample(
        stacked, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    return _expose(moved[:, :6].unflatten(1, (2, 3)), random), moved[:, 6]


def _transforms(pairs: int, random: torch.Generator) -> Tensor:
    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(pairs, generator=random)

    turn = torch.randint(4, (pairs,), generator=random) * (math.pi / 2) + uniform(-0.12, 0.12)
    flip = 1.0 - 2.0 * torch.randint(2, (pairs,), generator=random)
    zoom = torch.exp(uniform(-0.35, 0.15))
    cosine, sine = torch.cos(turn) * zoom, torch.sin(turn) * zoom
    shift_x, shift_y = uniform(-0.12, 0.12), uniform(-0.12, 0.12)
    rows = [cosine * flip, -sine, shift_x, sine * flip, cosine, shift_y]
    return torch.stack(rows, dim=1).view(pairs, 2, 3)


def _expose(images: Tensor, random: torch.Generator) -> Tensor:
    shape = (len(images), 1, 1, 1, 1)
    gain = torch.exp(0.35 * torch.randn(shape, generator=random).clamp(-2, 2))
    offset = 0.15 * torch.randn(shape, generator=random).clamp(-2, 2)
    tint = 1.0 + 0.05 * torch.randn(len(images), 1, 3, 1, 1, generator=random)
    grey = (torch.rand(shape, generator=random) < 0.2).float()
    mean = images.mean(dim=(2, 3, 4), keepdim=True)
    images = (images - mean) * gain + mean + offset
    luma = images.mean(dim=2, keepdim=True)
    return ((1 - grey) * images * tint + grey * luma).clamp(-1.2, 1.2)
