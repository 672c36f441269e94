"""What the embedded encoder learns from: names for whole pictures, good or broken for each place.

The image tower's last map lives in the joint space, because ALIGN's image embedding is its mean;
so the difference of a twin pair's two caption embeddings, t_abnormal - t_normal, can be held
against every position of it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class LayerProbes(nn.Module):
    """Linear maps from early layers to the joint space, used in training only.

    They hand the dense target to the layers that LTAD taps, so that these carry the traces of
    damage at their own, finer resolution. `offset` is the log odds of damage anywhere.
    """

    def __init__(self, channels: tuple[int, ...], joint_width: int) -> None:
        super().__init__()
        # Damaged places are few. Without an offset of its own the joint space would have to spend
        # a direction on that, in which all pictures and all texts agree.
        self.offset = nn.Parameter(torch.tensor(-2.5))
        self.maps = nn.ModuleList(nn.Conv2d(c, joint_width, 1) for c in channels)

    def logits(self, layers: list[Tensor], directions: Tensor) -> list[Tensor]:
        """(B, H_l, W_l) each, for layers (B, C_l, H_l, W_l) and directions (B, d)."""
        outputs = []
        for layer, probe in zip(layers, self.maps, strict=True):
            weight = directions @ probe.weight.flatten(1)
            outputs.append(
                torch.einsum("bchw,bc->bhw", layer, weight)
                + (directions @ probe.bias)[:, None, None]
                + self.offset
            )
        return outputs


class NameAnchors(nn.Module):
    """One point of the joint space for each subject, near to its pictures and its captions.

    Used in training only. From scratch, a text tower first learns to say the same of every
    picture and is slow to leave that; anchors tell both towers at once what to tell apart.
    """

    def __init__(self, subjects: int, joint_width: int) -> None:
        super().__init__()
        self.points = nn.Parameter(torch.randn(subjects, joint_width))

    def loss(self, embeddings: Tensor, subjects: Tensor, temperature: Tensor) -> Tensor:
        """Cross entropy of embeddings (B, d) of any length, with subject indices (B,)."""
        unit = functional.normalize(embeddings, dim=1)
        points = functional.normalize(self.points, dim=1)
        return functional.cross_entropy(unit @ points.T / temperature, subjects)


def contrastive_loss(
    image_embeddings: Tensor, text_embeddings: Tensor, temperature: Tensor, captions: list[str]
) -> Tensor:
    """Symmetric cross entropy over a batch; pictures that share a caption share its probability.

    Args:
        image_embeddings, text_embeddings: (B, d), not normalised.
        temperature: scalar, above zero.
        captions: the B captions.
    """
    images = functional.normalize(image_embeddings, dim=1)
    texts = functional.normalize(text_embeddings, dim=1)
    logits = images @ texts.T / temperature
    names = {caption: index for index, caption in enumerate(dict.fromkeys(captions))}
    labels = torch.tensor([names[caption] for caption in captions])
    target = (labels[:, None] == labels[None]).float()
    target = target / target.sum(dim=1, keepdim=True)
    return 0.5 * (
        functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)
    )


def dense_loss(logits: Tensor, masks: Tensor, positive_weight: float = 3.0) -> Tensor:
    """Binary cross entropy of each place, and of the three highest places for each picture.

    Args:
        logits: (B, H, W), log odds of "abnormal" at each place.
        masks: (B, S, S) in [0, 1]; all zero for a good picture.
        positive_weight: weight of damaged places, which are few.
    """
    share = functional.adaptive_avg_pool2d(masks[:, None], logits.shape[-2:])[:, 0]
    peak = functional.adaptive_max_pool2d(masks[:, None], logits.shape[-2:])[:, 0]
    target = torch.maximum((share * 4).clamp(max=1.0), 0.5 * (share > 0.02) * peak)
    weight = 1.0 + (positive_weight - 1.0) * target
    places = functional.binary_cross_entropy_with_logits(logits, target, weight=weight)
    top = logits.flatten(1).topk(3, dim=1).values.mean(dim=1)
    flawed = (masks.flatten(1).amax(dim=1) > 0.5).float()
    return places + 0.3 * functional.binary_cross_entropy_with_logits(top, flawed)
