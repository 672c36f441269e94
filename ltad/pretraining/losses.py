"""What the embedded encoder learns from: names for whole pictures, good or broken for each place.

The image tower's last map lives in the joint space, because ALIGN's image embedding is its mean;
so the difference of two sentences' embeddings, t_abnormal - t_normal, can be held against every
position of it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class DamageAnchor(nn.Module):
    """The direction of the joint space that means damage, for every place and for every sentence.

    Used in training only. It splits a hard problem in two: the image tower learns at once which
    places are damaged, and the text tower that "abnormal" minus "normal" points that way. The maps
    hand the same target to the layers that LTAD taps, so that these carry the traces of damage at
    their own, finer resolution. `offset` is the log odds of damage anywhere.
    """

    SCALE = 4.0
    MARGIN = 0.5

    def __init__(self, channels: tuple[int, ...], joint_width: int) -> None:
        super().__init__()
        self.point = nn.Parameter(torch.randn(joint_width))
        self.offset = nn.Parameter(torch.tensor(-1.0))
        self.maps = nn.ModuleList(nn.Conv2d(c, joint_width, 1, bias=False) for c in channels)

    @property
    def direction(self) -> Tensor:
        """(d,), unit length."""
        return functional.normalize(self.point, dim=0)

    def logits(self, layers: list[Tensor], last: Tensor) -> list[Tensor]:
        """Log odds of damage (B, H_l, W_l) at each place of the last map, then of each layer."""
        weights = [self.direction, *(self.direction @ m.weight.flatten(1) for m in self.maps)]
        return [
            self.SCALE * torch.einsum("bchw,c->bhw", layer, weight) + self.offset
            for layer, weight in zip([last, *layers], weights, strict=True)
        ]

    def text_loss(self, normal: Tensor, abnormal: Tensor) -> Tensor:
        """Zero where abnormal - normal, (P, d) unit texts, points this way, `MARGIN` long."""
        difference = abnormal - normal
        aligned = functional.cosine_similarity(difference, self.direction[None], dim=1)
        length = difference @ self.direction
        return (1.0 - aligned).mean() + functional.relu(self.MARGIN - length).mean()


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


def dense_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Cross entropy of damaged and of sound places, in equal parts, and of whole pictures.

    Damaged places are one in fifty; averaged over all places they would hardly count. Places that
    the mask barely touches belong to neither side.

    Args:
        logits: (B, H, W), log odds of damage at each place.
        masks: (B, S, S) in [0, 1]; all zero for a good picture.
    """
    share = functional.adaptive_avg_pool2d(masks[:, None], logits.shape[-2:])[:, 0]
    damaged = (6.0 * share).clamp(max=1.0) * (share > 0.04)
    sound = (share == 0).float()
    places = (damaged * functional.softplus(-logits)).sum() / damaged.sum().clamp(min=1.0)
    places = places + (sound * functional.softplus(logits)).sum() / sound.sum().clamp(min=1.0)
    top = logits.flatten(1).topk(3, dim=1).values.mean(dim=1)
    flawed = (masks.flatten(1).amax(dim=1) > 0.5).float()
    # Only the order of pictures counts here, so their common level is taken out.
    ranking = functional.binary_cross_entropy_with_logits(top - top.detach().mean(), flawed)
    return places + 0.5 * ranking
