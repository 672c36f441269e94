"""Random generators that depend on a few integers only, so that every draw can be repeated."""

from __future__ import annotations

import numpy as np
import torch


def generator(*key: int) -> np.random.Generator:
    """A numpy generator that depends on the integers of `key` only."""
    return np.random.default_rng(np.random.SeedSequence(key))


def torch_generator(*key: int) -> torch.Generator:
    """A torch generator (CPU) that depends on the integers of `key` only."""
    return torch.Generator().manual_seed(int(generator(*key).integers(2**63)))
