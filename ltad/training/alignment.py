"""A start for Phi that already speaks the text encoder's language."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ltad.features import split_layers, to_grid
from ltad.models.semantic import SemanticHead
from ltad.training.data import TrainingData

RIDGE = 10.0
MOST_PICTURES = 2_000


@torch.no_grad()
def align(head: SemanticHead, data: TrainingData) -> None:
    """Set each Phi_l to the ridge regression of the encoder's last map on the layer p_l.

    ALIGN's image embedding is the mean of its last map, so the positions of that map lie in the
    joint space where t_n and t_a were trained to tell good from broken. Phi is there to bring
    patches into that space; from this start, S_sem carries the encoder's own idea of damage before
    the first step. Only the normal training pictures are used.

    Raises:
        ValueError: the last map has another number of channels than the joint space.
    """
    chosen = np.unique(np.linspace(0, len(data) - 1, min(len(data), MOST_PICTURES)).astype(int))
    patches = data.patches(chosen)
    target = _rows(to_grid(data.latents(chosen), patches.shape[-1]))
    joint_width = head.maps[0].out_features
    if target.shape[1] != joint_width:
        raise ValueError(
            f"The last map has {target.shape[1]} channels, but the joint space {joint_width}."
        )
    for phi, layer in zip(head.maps, split_layers(patches, head.channels), strict=True):
        weight, bias = _ridge(_rows(layer), target)
        phi.weight.copy_(weight.T)
        phi.bias.copy_(bias)


def _rows(maps: Tensor) -> Tensor:
    """(B * G * G, C) float64 of maps (B, C, G, G)."""
    return maps.movedim(1, -1).flatten(0, 2).double()


def _ridge(inputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Weight (C, d) and bias (d,) of the ridge regression of `target` on `inputs`."""
    input_mean, target_mean = inputs.mean(dim=0), target.mean(dim=0)
    centred = inputs - input_mean
    gram = centred.T @ centred + RIDGE * torch.eye(inputs.shape[1], dtype=inputs.dtype)
    weight = torch.linalg.solve(gram, centred.T @ (target - target_mean))
    return weight, target_mean - input_mean @ weight
