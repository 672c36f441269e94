"""Few points that stand for many: greedy k-centre choice, as PatchCore makes its memory small."""

from __future__ import annotations

import numpy as np
import torch

PROJECTION = 32
"""Dimensions of the random projection on which distances are compared."""


def coreset(points: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Greedy k-centre choice of `size` points out of (n, C) float32 on a random projection;
    (size,) indices, the first of them random."""
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
