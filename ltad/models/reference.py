"""The reference branch: how far each patch lies from the nearest patch of good images.

Not in the paper. A memory of good patches as PatchCore keeps it, whose distances are measured under
the covariance of the class's own good patches, so that what varies among good images counts little.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from ltad.models.residual import ResidualScore

RIDGE = 0.5
"""Share of the mean variance added to every direction. Chosen on photographs (0.02 to 0.5)."""


def smoothed(patches: Tensor) -> Tensor:
    """Each patch averaged with its eight neighbours, (B, C, G, G)."""
    return functional.avg_pool2d(patches, 3, 1, 1, count_include_pad=False)


class ReferenceBranch(nn.Module):
    """S_ref: the distance to the nearest good patch of the class.

    Args:
        classes, channels: sizes of what is kept.
        size: good patches kept for each class at most.
    """

    def __init__(self, classes: int, channels: int, size: int) -> None:
        super().__init__()
        # A class's own covariance alone: borrowing from other classes ranked photographs worse.
        self.nearest = ResidualScore("nearest", classes, channels, size, 0.0, RIDGE)

    @torch.no_grad()
    def fit(self, patches: Callable[[], Iterable[tuple[Tensor, int]]]) -> None:
        """Keep good patches. `patches` goes through (B, C, G, G) of some images and their class."""
        self.nearest.fit(lambda: ((smoothed(rows), index) for rows, index in patches()))

    def scores(self, patches: Tensor, class_index: int) -> Tensor:
        """S_ref (B, G, G) >= 0 of (B, C, G, G)."""
        known = smoothed(patches)
        return self.nearest(known, torch.zeros_like(known), class_index)
