"""The reference branch: how far each patch lies from the nearest patch of good images.

Not in the paper. A memory of good patches as PatchCore keeps it, whose distances are measured under
the covariance of the class's own good patches, so that what varies among good images counts little.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from ltad.models.residual import BANK_SIZE, ResidualScore

RIDGE = 0.5
"""Share of the mean variance added to every direction. Chosen on photographs (0.02 to 0.5)."""

STILL_ALIKE = 1.6
"""A turn is allowed while it brings an image at most this many times as far from the others as it
was. On photographs: screws 1.5, concrete 1.3, tiles and solar cells 1.3 upside down and 2.3 on
their side, a leather's grain 1.9 and more."""


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

    def within(self, image: Tensor, farther_than: int) -> Tensor:
        """The distance (1, G, G) of each place of one good image to the nearest of its own places
        that lie more than `farther_than` rows or columns away.

        Args:
            image: patch features (1, C, G, G) of a class with index 0.
            farther_than: more than 1, or a smoothed patch meets a part of itself.
        """
        side = image.shape[-1]
        rows = self.nearest.whitened(smoothed(image), 0).view(side * side, -1)
        places = torch.cartesian_prod(torch.arange(side), torch.arange(side)).float()
        is_near = torch.cdist(places, places, p=float("inf")) <= farther_than
        distances = torch.cdist(rows, rows).masked_fill(is_near.to(rows.device), float("inf"))
        return distances.amin(dim=1).view(1, side, side) * image.shape[1] ** -0.5


@torch.no_grad()
def allowed_turns(images: Tensor, turned: Mapping[str, Tensor]) -> list[str]:
    """The turns under which images still look like one another (`STILL_ALIKE`).

    Args:
        images: patch features (n, C, G, G), n >= 2.
        turned: turn -> those of the same images turned, (n, C, G, G).
    """
    branch = ReferenceBranch(1, images.shape[1], BANK_SIZE).to(images.device)
    ratios: dict[str, list[float]] = {turn: [] for turn in turned}
    for place in range(len(images)):
        others = torch.cat([images[:place], images[place + 1 :]])
        branch.fit(lambda others=others: [(others, 0)])
        as_it_is = branch.scores(images[place : place + 1], 0).mean()
        for turn, features in turned.items():
            distance = branch.scores(features[place : place + 1], 0).mean()
            ratios[turn].append(float(distance / as_it_is))
    return [t for t, own in ratios.items() if torch.tensor(own).median() < STILL_ALIKE]
