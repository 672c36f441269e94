"""Patch features: the encoder's taps on one grid (the paper's section 4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def to_grid(layer: Tensor, grid: int) -> Tensor:
    """(B, C, grid, grid) of a map (B, C, H, W), bilinear, without anti-aliasing."""
    if layer.shape[-2:] == (grid, grid):
        return layer
    return functional.interpolate(layer, size=(grid, grid), mode="bilinear", align_corners=False)


def patch_features(taps: Sequence[Tensor], grid: int) -> Tensor:
    """p: the taps resized to one grid and concatenated, (B, sum of C_l, grid, grid)."""
    return torch.cat([to_grid(tap, grid) for tap in taps], dim=1)


def split_layers(patches: Tensor, channels: Sequence[int]) -> tuple[Tensor, ...]:
    """The layers p_l of patch features (B, C, G, G): the inverse of the concatenation."""
    return patches.split(list(channels), dim=1)
