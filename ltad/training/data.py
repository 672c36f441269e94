"""Training features in the shape that both phases read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ltad.data.feature_store import FeatureStore


@dataclass(frozen=True)
class TrainingData:
    """The pictures one training learns from: positions in a store, and their classes.

    Attributes:
        store: frozen features of all pictures.
        positions: (n,) int, the training pictures' places in the store.
        classes: (n,) int64 tensor, their class indices.
        class_counts: training pictures per class index.
        device: where batches go.
    """

    store: FeatureStore
    positions: np.ndarray
    classes: Tensor
    class_counts: tuple[int, ...]
    device: torch.device

    @classmethod
    def of(
        cls, store: FeatureStore, positions: Sequence[int], class_names: Sequence[str],
        device: torch.device,
    ) -> TrainingData:
        """Training data at `positions` of `store`."""
        index = {name: i for i, name in enumerate(class_names)}
        classes = torch.tensor([index[store.samples[p].class_name] for p in positions])
        counts = torch.bincount(classes, minlength=len(class_names))
        return cls(store, np.asarray(positions), classes, tuple(counts.tolist()), device)

    def __len__(self) -> int:
        return len(self.positions)

    def patches(self, chosen: np.ndarray) -> Tensor:
        """f^real on the grid, (B, C, G, G) float32."""
        return self._load(self.store.patches, chosen)

    def latents(self, chosen: np.ndarray) -> Tensor:
        """f_L, (B, C_L, h, w) float32."""
        return self._load(self.store.latents, chosen)

    def _load(self, array: np.ndarray, chosen: np.ndarray) -> Tensor:
        return torch.from_numpy(array[self.positions[chosen]]).to(self.device).float()
