"""A memory bank with nearest neighbours, after PatchCore's idea, on the same frozen features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ltad.inference import scoring
from ltad.inference.calibration import BranchMaps
from ltad.io.files import generator
from ltad.models.features import coreset
from ltad.types import BRANCHES

if TYPE_CHECKING:
    from sklearn.neighbors import NearestNeighbors

BANK = "nearest neighbours, one bank a true class"
"""What its runs are called: LTAD and UniAD are one model for all classes, which this is not."""
BANK_SIZE = 4000


@dataclass(frozen=True)
class NearestNeighbourBank:
    """Patches of normal images; a patch's score is its distance to the nearest of them.

    Attributes:
        neighbours: fitted on the bank's patches, each channel in units of its deviation.
        mean, scale: (C,), of the channels over the bank's images.
    """

    neighbours: NearestNeighbors
    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def fit(cls, patches: np.ndarray, seed: int, size: int = BANK_SIZE) -> NearestNeighbourBank:
        """A bank of at most `size` patches out of (n, C, G, G), chosen as a greedy coreset."""
        from sklearn.neighbors import NearestNeighbors  # the page imports this module and no bank

        flat = np.moveaxis(np.asarray(patches, dtype=np.float32), 1, -1).reshape(
            -1, patches.shape[1]
        )
        rng = generator(seed, 70)
        if len(flat) > 10 * size:
            flat = flat[rng.choice(len(flat), 10 * size, replace=False)]
        mean, scale = flat.mean(axis=0), flat.std(axis=0) + 1e-6
        flat = (flat - mean) / scale
        chosen = coreset(flat, size, rng) if len(flat) > size else np.arange(len(flat))
        search = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(flat[chosen])
        return cls(search, mean, scale)

    def measure(self, patches: Tensor, size: int, pool: int) -> BranchMaps:
        """Maps and image scores of patches (B, C, G, G); every branch holds the same distance."""
        batch, channels, grid, _ = patches.shape
        flat = patches.movedim(1, -1).reshape(-1, channels).numpy()
        distances, _ = self.neighbours.kneighbors((flat - self.mean) / self.scale)
        scores = torch.from_numpy(distances.astype(np.float32)).view(batch, grid, grid)
        maps = scoring.upsample(scores, size)
        scores = scoring.image_score(scoring.pooled_map(scores, size, pool))
        return BranchMaps(dict.fromkeys(BRANCHES, maps), dict.fromkeys(BRANCHES, scores))
