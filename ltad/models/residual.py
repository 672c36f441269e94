"""What a reconstruction's residual is measured by: S_rec of equation (1), or a conditioned form.

A squared error grows with the energy of channels and textures, so that rough good parts outrank
smooth broken ones. The conditioned forms weigh a residual by those of good images.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

KINDS = ("squared", "scaled", "cosine", "mahalanobis")
POOLED_WEIGHT = 1.0
"""How many images the other classes' residuals count for beside a class's own."""
RIDGE = 0.03
"""Share of the mean variance that is added to every direction before inversion."""


class ResidualScore(nn.Module):
    """S_rec of patches and their reconstruction.

    Args:
        kind: "squared", equation (1); "scaled", each channel in units of its root mean square on
            good images; "cosine", one minus the cosine of patch and reconstruction; "mahalanobis",
            the distance of the residual under the covariance of its class's good residuals.
        classes, channels: sizes of what is kept of good images.
    """

    def __init__(self, kind: str, classes: int, channels: int) -> None:
        super().__init__()
        self.kind = kind
        if kind == "scaled":
            self.register_buffer("scale", torch.ones(classes, channels))
        if kind == "mahalanobis":
            self.register_buffer("mean", torch.zeros(classes, channels))
            self.register_buffer("whitening", torch.eye(channels).repeat(classes, 1, 1))

    def forward(self, rebuilt: Tensor, patches: Tensor, class_index: int) -> Tensor:
        """S_rec on the grid, (B, G, G) >= 0, of (B, C, G, G).

        "scaled" and "mahalanobis" are divided so that good patches lie around 1, whatever C.
        """
        if self.kind == "cosine":
            return 1.0 - functional.cosine_similarity(rebuilt, patches, dim=1)
        residual = rebuilt - patches
        if self.kind == "scaled":
            return (residual / self.scale[class_index][:, None, None]).square().mean(dim=1)
        if self.kind == "mahalanobis":
            centred = residual.movedim(1, -1) - self.mean[class_index]
            return (centred @ self.whitening[class_index]).square().mean(dim=-1).sqrt()
        return residual.square().sum(dim=1)

    @torch.no_grad()
    def fit(self, residuals: Iterable[tuple[Tensor, int]]) -> None:
        """Learn the scales from good images.

        A class of few images borrows the shape of its covariance from all: the mean over the
        classes, brought to the class's own level, counts for `POOLED_WEIGHT` images more of it.

        Args:
            residuals: (B, C, G, G) of some images, and their class; classes come in any order.
        """
        if self.kind not in ("scaled", "mahalanobis"):
            return
        classes, channels = (self.scale if self.kind == "scaled" else self.mean).shape
        images = torch.zeros(classes, dtype=torch.float64)
        first = torch.zeros(classes, channels, dtype=torch.float64)
        second = torch.zeros(classes, channels, channels, dtype=torch.float64)
        for residual, index in residuals:
            rows = residual.movedim(1, -1).flatten(0, -2).double().cpu()
            places = len(rows) / len(residual)
            images[index] += len(residual)
            first[index] += rows.sum(dim=0) / places
            second[index] += rows.T @ rows / places
        seen = images > 0
        mean = first / images.clamp(min=1)[:, None]
        raw = second / images.clamp(min=1)[:, None, None]
        covariance = raw - mean[:, :, None] * mean[:, None, :]
        own = images / (images + POOLED_WEIGHT)
        if self.kind == "scaled":
            power = _borrowed(raw, own, seen).diagonal(dim1=1, dim2=2)
            self.scale.copy_(power.clamp(min=1e-12).sqrt())
            return
        covariance = _borrowed(covariance, own, seen)
        ridge = RIDGE * _level(covariance)
        covariance += ridge[:, None, None] * torch.eye(channels, dtype=torch.float64)
        self.mean.copy_(mean)
        self.whitening.copy_(torch.linalg.cholesky(torch.linalg.inv(covariance)))


def _level(matrices: Tensor) -> Tensor:
    """Mean of each diagonal, (classes,), above zero."""
    return matrices.diagonal(dim1=1, dim2=2).mean(dim=1).clamp(min=1e-12)


def _borrowed(matrices: Tensor, own: Tensor, seen: Tensor) -> Tensor:
    """(classes, C, C): `own` (classes,) of each matrix, the rest the mean of all at its level."""
    levels = _level(matrices)
    shape = (matrices[seen] / levels[seen][:, None, None]).mean(dim=0)
    own = own[:, None, None]
    return own * matrices + (1 - own) * shape * levels[:, None, None]
