"""The scores of the paper's equations (1) to (5) as pure functions on tensors and maps."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from ltad.io.masks import connected_areas
from ltad.types import Region

LEAST_SEMANTIC_UNIT = 0.02
"""Of a probability: a semantic branch that is silent on good images is not made shrill by that."""


def reconstruction_score(reconstruction: Tensor, patches: Tensor) -> Tensor:
    """S_rec of equation (1): squared L2 distance over the channels, (B, G, G) >= 0.

    Args:
        reconstruction, patches: (B, C, G, G).
    """
    return (reconstruction - patches).square().sum(dim=1)


def semantic_score(
    projected: Tensor, normal_text: Tensor, abnormal_text: Tensor, tau: float
) -> Tensor:
    """S_sem of equation (3), (B, G, G) in [0, 1].

    The two-way softmax is the sigmoid of the difference of its logits, which cannot overflow.

    Args:
        projected: p^ of equation (2), (B, d, G, G).
        normal_text, abnormal_text: t_n and t_a of each image's class, (B, d).
        tau: temperature, above zero.
    """
    return torch.sigmoid(semantic_logit(projected, normal_text, abnormal_text) / tau)


def semantic_logit(projected: Tensor, normal_text: Tensor, abnormal_text: Tensor) -> Tensor:
    """(t_a - t_n) . p^, (B, G, G); shapes as in `semantic_score`."""
    return torch.einsum("bdhw,bd->bhw", projected, abnormal_text - normal_text)


def upsample(scores: Tensor, size: int) -> Tensor:
    """Pixel map (B, size, size) of grid scores (B, G, G), bilinear."""
    return functional.interpolate(
        scores[:, None], size=(size, size), mode="bilinear", align_corners=False
    )[:, 0]


def combine(reconstruction_map: Tensor, semantic_map: Tensor, lam: float) -> Tensor:
    """S of equation (5): S_rec + lambda * S_sem, any shape."""
    return reconstruction_map + lam * semantic_map


@lru_cache(maxsize=32)
def pooling_matrix(grid: int, size: int, pool: int) -> Tensor:
    """A (size - pool + 1, grid) such that A g A^T is a grid map g upsampled and average-pooled.

    Bilinear upsampling and average pooling are both linear and separable, so the two together are
    one small matrix on either side, and no map of the full size is needed to score an image.
    """
    upsampling = functional.interpolate(
        torch.eye(grid)[None], size=size, mode="linear", align_corners=False
    )[0]
    return functional.avg_pool1d(upsampling[None], min(pool, size), stride=1)[0].T.contiguous()


def pooled_map(scores: Tensor, size: int, pool: int) -> Tensor:
    """Grid scores (B, G, G) upsampled to `size` and pool x pool averaged with stride 1."""
    matrix = pooling_matrix(scores.shape[-1], size, pool).to(scores.device)
    return matrix @ scores @ matrix.T


def image_score(pooled: Tensor) -> Tensor:
    """(B,) maximum of pooled maps (B, P, P) (open; UniAD's evaluation)."""
    return pooled.amax(dim=(1, 2))


def good_unit(raw: Tensor, size: int, pool: int, least: float = 1e-6) -> tuple[float, float]:
    """What counts as 0 and as 1 of a branch on good images: the middle place, and the middle
    image score.

    Args:
        raw: the branch on some good images, (n, G, G).
        size, pool: of `pooled_map`.
        least: distance between the two, at least.
    """
    zero = float(raw.median())
    worst = float(image_score(pooled_map(raw, size, pool)).median())
    return zero, zero + max(worst - zero, least)


def conformal_threshold(normal_scores: np.ndarray, false_alarm_rate: float) -> float:
    """The ceil((n + 1)(1 - rate))-th smallest score of held-out normal images.

    A new normal image exceeds it with probability at most `false_alarm_rate`, whatever the
    scores' distribution. With too few scores for that promise (n + 1 < 1 / rate) it is the largest.

    Args:
        normal_scores: (n,), n >= 1.
        false_alarm_rate: in (0, 1).
    """
    ordered = np.sort(np.asarray(normal_scores, dtype=np.float64))
    rank = int(np.ceil((len(ordered) + 1) * (1.0 - false_alarm_rate) - 1e-9))
    return float(ordered[min(max(rank, 1), len(ordered)) - 1])


def region_limit(score: float, threshold: float, pixel_threshold: float) -> float:
    """The value of the map above which regions begin, in the map's units.

    Under the threshold it is `pixel_threshold`. Above it, it is never more than the threshold: a
    score is the mean of a window of the map, so that every alarm then has a place.
    """
    return min(pixel_threshold, threshold) if score > threshold else pixel_threshold


def regions(anomaly_map: np.ndarray, threshold: float, minimum_area: int = 16) -> list[Region]:
    """Connected areas of `anomaly_map` (H, W) above `threshold`, highest score first.

    Args:
        anomaly_map: float32.
        threshold: in the map's units.
        minimum_area: smaller areas, in pixels, are left out.
    """
    labels, count = connected_areas(anomaly_map > threshold)
    found = []
    for index, box in enumerate(ndimage.find_objects(labels, max_label=count), start=1):
        inside = labels[box] == index
        area = int(inside.sum())
        if area >= minimum_area:
            rows, columns = box
            peak = float(anomaly_map[box][inside].max())
            found.append(
                Region(columns.start, rows.start, columns.stop, rows.stop, area, peak)
            )
    return sorted(found, key=lambda region: -region.score)
