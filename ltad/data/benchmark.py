"""The rendered parts as a benchmark: which seeds and which defects belong to which split.

Seeds are drawn from three ranges that never meet: encoder training, detector training, test.
"""

from __future__ import annotations

PRETRAINING_SEED = 1_000_000_000
TRAIN_SEED = 2_000_000_000
TEST_SEED = 3_000_000_000
SEED_STRIDE = 10_000_000
"""Pictures of one class under one benchmark seed; ranges of two benchmark seeds never meet."""


def train_seed(index: int, seed: int = 0) -> int:
    """Renderer seed of training picture `index` under benchmark seed `seed`."""
    return TRAIN_SEED + _offset(index, seed)


def test_seed(index: int) -> int:
    """Renderer seed of test picture `index`; the test set is the same for every benchmark seed."""
    return TEST_SEED + _offset(index, 0)


def _offset(index: int, seed: int) -> int:
    if not 0 <= index < SEED_STRIDE or not 0 <= seed < 100:
        raise ValueError(f"index {index} or seed {seed} is out of range (0..{SEED_STRIDE}, 0..99)")
    return seed * SEED_STRIDE + index
