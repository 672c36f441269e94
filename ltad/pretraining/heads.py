"""What is trained on the frozen towers: the text projection, the last block's projection, and Phi.

All three are linear, so that they fold into an `AlignModel` and a start for LTAD's semantic head
without a trace: the joint space costs nothing at inference.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import AlignModel

from ltad.encoders.align import SEMANTIC_START_FILE

JOINT_SCALE = 0.15
"""Length of the joint space's axes at the start, so that first logits lie near zero."""


class JointHeads(nn.Module):
    """Linear maps of standardised frozen features into the joint space.

    Args:
        channels: C_l of each tap.
        text_width: of the text tower's states.
        classifier: the ImageNet classifier's weights, (1000, 1280). The joint space starts as the
            plane of its strongest directions.
        joint_width: d.
        patch_mean, patch_scale: (C,) of patch features.
        head_mean, head_scale: (1280,) and () of the classifier's channels.
    """

    def __init__(
        self, channels: Sequence[int], text_width: int, classifier: Tensor, joint_width: int,
        patch_mean: Tensor, patch_scale: Tensor, head_mean: Tensor, head_scale: Tensor,
    ) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.text = nn.Linear(text_width, joint_width)
        self.layers = nn.ModuleList(nn.Linear(width, joint_width) for width in channels)
        self.last = nn.Linear(classifier.shape[1], joint_width)
        directions = classifier - classifier.mean(dim=0)
        axes = torch.linalg.svd(directions, full_matrices=False)[2][:joint_width]
        with torch.no_grad():
            self.last.weight.copy_(axes * JOINT_SCALE)
            self.last.bias.zero_()
            for layer in self.layers:
                nn.init.normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        for name, tensor in (
            ("directions", directions), ("patch_mean", patch_mean), ("patch_scale", patch_scale),
            ("head_mean", head_mean), ("head_scale", head_scale),
        ):
            self.register_buffer(name, tensor)

    def patches(self, features: Tensor) -> Tensor:
        """p^ of equation (2), (..., d), of patch features (..., C)."""
        standard = (features.float() - self.patch_mean) / self.patch_scale
        parts = standard.split(self.channels, dim=-1)
        return torch.stack([m(p) for m, p in zip(self.layers, parts, strict=True)]).amax(dim=0)

    def last_map(self, features: Tensor) -> Tensor:
        """The last map's places, (..., d), of the classifier's channels (..., 1280)."""
        return self.last((features.float() - self.head_mean) / self.head_scale)

    def class_directions(self) -> Tensor:
        """Unit directions of the classifier's classes in the joint space, (1000, d)."""
        return functional.normalize(self.directions @ self.last.weight.T, dim=1)

    @torch.no_grad()
    def fold_into(self, model: AlignModel) -> None:
        """Write text projection and last projection into the model, which then computes both."""
        model.text_projection.weight.copy_(self.text.weight)
        model.text_projection.bias.copy_(self.text.bias)
        projection = model.vision_model.encoder.blocks[-1].projection
        weight = self.last.weight / self.head_scale
        projection.project_conv.weight.copy_(weight[:, :, None, None])
        norm = projection.project_bn
        norm.running_mean.zero_()
        norm.running_var.fill_(1.0)
        norm.weight.fill_((1.0 + norm.eps) ** 0.5)
        norm.bias.copy_(self.last.bias - weight @ self.head_mean)

    @torch.no_grad()
    def save_semantic_start(self, folder: str | Path) -> None:
        """Phi's starting weights for raw patch features, as the encoder's folder carries them."""
        tensors = {}
        scales = self.patch_scale.split(self.channels)
        means = self.patch_mean.split(self.channels)
        for index, (layer, mean, scale) in enumerate(zip(self.layers, means, scales, strict=True)):
            weight = layer.weight / scale
            tensors[f"maps.{index}.weight"] = weight.contiguous()
            tensors[f"maps.{index}.bias"] = (layer.bias - weight @ mean).contiguous()
        save_file(tensors, Path(folder) / SEMANTIC_START_FILE)
