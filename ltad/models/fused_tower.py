"""The image tower on a processor: each convolution with what follows it in one pass over memory.

Batch norms are folded into the weights, and oneDNN applies the activation and adds the skipped
connection while a result is still in the processor's cache. Features differ from those of the
separate layers by some 1e-6 of their norm (`tests/models/test_fused_tower.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

if TYPE_CHECKING:
    from transformers.models.align.modeling_align import AlignVisionBlock, AlignVisionModel

ACTIVATIONS: dict[type, tuple[str, list[float]]] = {
    nn.ReLU6: ("hardtanh", [0.0, 6.0]), nn.SiLU: ("swish", []), type(None): ("none", []),
}
"""How oneDNN calls them, and their constants."""


def tower_blocks(tower: AlignVisionModel) -> list[AlignVisionBlock]:
    """The blocks of ALIGN's image tower, first to last."""
    return cast("list[AlignVisionBlock]", list(tower.encoder.blocks))


class FusedConvolution:
    """A convolution, its batch norm and its activation, of channels-last images.

    Args:
        convolution: without dilation.
        norm: in eval mode.
        activation: one of `ACTIVATIONS`.
        padding: rows and columns of zeros (left, right, top, bottom) in front of it, or None where
            the convolution keeps the size. The right and the bottom may have one more.
    """

    def __init__(
        self, convolution: nn.Conv2d, norm: nn.BatchNorm2d, activation: nn.Module | None = None,
        padding: tuple[int, int, int, int] | None = None,
    ) -> None:
        assert norm.running_mean is not None and norm.running_var is not None
        weight, bias = fuse_conv_bn_weights(
            convolution.weight, convolution.bias, norm.running_mean, norm.running_var, norm.eps,
            norm.weight, norm.bias,
        )
        if padding is None:
            before = convolution.kernel_size[0] // 2
        else:
            before = padding[1]
            # oneDNN pads evenly: a kernel that begins with zeros looks past what is too much.
            missing = padding[1] - padding[0]
            weight = nn.functional.pad(weight, (missing, 0, missing, 0))
        self._weight = weight.detach().contiguous(memory_format=torch.channels_last)
        self._bias = bias.detach()
        self._where = [before, before], list(convolution.stride), [1, 1], convolution.groups
        self._activation = ACTIVATIONS[type(activation)]

    def __call__(self, hidden: Tensor, added: Tensor | None = None) -> Tensor:
        """(B, C', H', W') of (B, C, H, W); `added`, of the result's shape, is added to it."""
        run = torch.ops.mkldnn._convolution_pointwise
        if added is None:
            return run(hidden, self._weight, self._bias, *self._where, *self._activation, "")
        return run.binary(hidden, added, self._weight, self._bias, *self._where, "add", None, None,
                          [], None)


class FusedBlock:
    """An AlignVisionBlock."""

    def __init__(self, block: AlignVisionBlock) -> None:
        depthwise, projection = block.depthwise_conv, block.projection
        self._convolutions = []
        if block.expand_ratio != 1:
            expansion = block.expansion
            self._convolutions.append(FusedConvolution(
                expansion.expand_conv, expansion.expand_bn, expansion.expand_act))
        self._convolutions.append(FusedConvolution(
            depthwise.depthwise_conv, depthwise.depthwise_norm, depthwise.depthwise_act,
            depthwise.depthwise_conv_pad.padding if depthwise.stride == 2 else None,
        ))
        self._gate = block.squeeze_excite
        self._projection = FusedConvolution(projection.project_conv, projection.project_bn)
        self._is_skipped = projection.apply_dropout

    def __call__(self, hidden: Tensor) -> Tensor:
        before = hidden
        for convolution in self._convolutions:
            hidden = convolution(hidden)
        return self._projection(self._gate(hidden), before if self._is_skipped else None)


class FusedTower:
    """An AlignVisionModel without its last pooling; the weights as they are now.

    Args:
        tower: on the CPU, in eval mode; see `fits`.
    """

    def __init__(self, tower: AlignVisionModel) -> None:
        stem = tower.embeddings
        self._stem = FusedConvolution(
            stem.convolution, stem.batchnorm, stem.activation, stem.padding.padding)
        self._blocks = [FusedBlock(block) for block in tower_blocks(tower)]

    @staticmethod
    def fits(tower: AlignVisionModel) -> bool:
        """Whether this machine's PyTorch and the tower's device and layers allow it."""
        depthwise = [block.depthwise_conv for block in tower_blocks(tower)]
        return (
            torch.backends.mkldnn.is_available()
            and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
            and next(tower.parameters()).device.type == "cpu"
            and next(tower.parameters()).dtype == torch.float32
            and all(type(layer.depthwise_act) in ACTIVATIONS for layer in depthwise)
        )

    def outputs(self, pixels: Tensor) -> Iterator[Tensor]:
        """The output of each block in turn, (B, C_l, H_l, W_l), computed as it is asked for.

        Args:
            pixels: (B, 3, S, S) float32.
        """
        hidden = self._stem(pixels.contiguous(memory_format=torch.channels_last))
        for block in self._blocks:
            hidden = block(hidden)
            yield hidden
