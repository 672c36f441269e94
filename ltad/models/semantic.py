"""The semantic head: patch features into the text encoder's joint space, equation (2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ltad.models.features import split_layers


class SemanticHead(nn.Module):
    """Phi_l for every layer, and the pooling over layers.

    Args:
        channels: C_l of each layer.
        joint_width: d.
        pooling: "max" (equation 2), "mean", or "none": one linear map of the concatenation
            (Table 7, 7.1).
        learned_classes: above zero, t_n and t_a of so many classes are learned here rather than
            read from the text encoder (Table 8, 8.2): `class_texts`, (classes, 2, d).
    """

    def __init__(
        self, channels: Sequence[int], joint_width: int, pooling: str, learned_classes: int = 0
    ) -> None:
        super().__init__()
        self.channels = tuple(channels) if pooling != "none" else (sum(channels),)
        self.pooling = pooling
        self.maps = nn.ModuleList(nn.Linear(width, joint_width) for width in self.channels)
        self.class_texts = nn.Parameter(
            torch.randn(learned_classes, 2, joint_width) * joint_width**-0.5
        ) if learned_classes else None

    def forward(self, patches: Tensor) -> Tensor:
        """p^ (B, d, G, G) of patch features (B, C, G, G); any grid, for the head is per patch."""
        projected = [
            phi(layer.movedim(1, -1))
            for phi, layer in zip(self.maps, split_layers(patches, self.channels), strict=True)
        ]
        if len(projected) == 1:
            pooled = projected[0]
        elif self.pooling == "mean":
            pooled = torch.stack(projected).mean(dim=0)
        else:
            pooled = torch.stack(projected).amax(dim=0)
        return pooled.movedim(-1, 1)
