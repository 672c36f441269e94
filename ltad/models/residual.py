"""What a reconstruction's residual is measured by: S_rec of equation (1), or a conditioned form.

A squared error grows with the energy of channels and textures, so that rough good parts outrank
smooth broken ones. The conditioned forms weigh a residual by those of good images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ltad.io.files import generator
from ltad.models.features import coreset

KINDS = ("squared", "scaled", "cosine", "mahalanobis", "nearest")
BANK_SIZE = 256
"""Good residuals kept for each class by "nearest"; more of them rank photographs no better."""
LARGEST = 6e4
"""Of half precision, in which whitening and bank are kept."""
CANDIDATES = 8
"""Good residuals, for each one kept, that a bank is chosen from."""
POOLED_WEIGHT = 1.0
"""How many images the other classes' residuals count for beside a class's own."""
RIDGE = 0.03
"""Share of the mean variance that is added to every direction before inversion."""
SHORT = 64
"""Dimensions of the random projection on which a large bank is searched first."""
FINALISTS = 4
"""Entries of a large bank whose exact distances are compared."""


class ResidualScore(nn.Module):
    """S_rec of patches and their reconstruction.

    Args:
        kind: "squared", equation (1); "scaled", each channel in units of its root mean square on
            good images; "cosine", one minus the cosine of patch and reconstruction; "mahalanobis",
            the distance of the residual under the covariance of its class's good residuals;
            "nearest", under the same covariance its distance to the nearest good residual.
        classes, channels: sizes of what is kept of good images.
        bank_size: good residuals kept for each class by "nearest".
        pooled_weight: how many images the other classes' residuals count for.
        ridge: share of the mean variance added to every direction.
    """

    scale: Tensor
    mean: Tensor
    whitening: Tensor
    bank: Tensor
    ends: Tensor

    def __init__(
        self, kind: str, classes: int, channels: int, bank_size: int = BANK_SIZE,
        pooled_weight: float = POOLED_WEIGHT, ridge: float = RIDGE,
    ) -> None:
        super().__init__()
        self.kind = kind
        self.bank_size, self.pooled_weight, self.ridge = bank_size, pooled_weight, ridge
        self._short: dict[int, tuple[Tensor, Tensor]] = {}
        if kind == "scaled":
            self.register_buffer("scale", torch.ones(classes, channels))
        if kind in ("mahalanobis", "nearest"):
            self.register_buffer("mean", torch.zeros(classes, channels))
            self.register_buffer("whitening", torch.eye(channels).half().repeat(classes, 1, 1))
        if kind == "nearest":
            self.register_buffer("bank", torch.zeros(classes, channels).half())
            self.register_buffer("ends", torch.arange(1, classes + 1))

    def forward(self, rebuilt: Tensor, patches: Tensor, class_index: int) -> Tensor:
        """S_rec on the grid, (B, G, G) >= 0, of (B, C, G, G).

        "scaled" and "mahalanobis" are divided so that good patches lie around 1, whatever C;
        "nearest" has the unit of "mahalanobis".
        """
        if self.kind == "cosine":
            return 1.0 - functional.cosine_similarity(rebuilt, patches, dim=1)
        residual = rebuilt - patches
        if self.kind == "scaled":
            return (residual / self.scale[class_index][:, None, None]).square().mean(dim=1)
        if self.kind == "mahalanobis":
            return self.whitened(residual, class_index).square().mean(dim=-1).sqrt()
        if self.kind == "nearest":
            whitened = self.whitened(residual, class_index)
            nearest = self._nearest(whitened.flatten(0, -2), class_index)
            return nearest.view(whitened.shape[:-1]) * residual.shape[1] ** -0.5
        return residual.square().sum(dim=1)

    def whitened(self, residual: Tensor, class_index: int) -> Tensor:
        """Residuals under the covariance of good ones, (B, G, G, C) of (B, C, G, G)."""
        centred = residual.movedim(1, -1) - self.mean[class_index]
        return centred @ self.whitening[class_index].float()

    def _nearest(self, rows: Tensor, class_index: int) -> Tensor:
        """Distance (n,) of whitened rows (n, C) to the bank; in a large bank to the nearest of
        those that are nearest in a random projection."""
        begin, end = ([0, *self.ends.tolist()][class_index + i] for i in (0, 1))
        if end - begin <= SHORT * FINALISTS:
            return torch.cdist(rows, self.bank[begin:end].float()).amin(dim=1)
        if class_index not in self._short:
            random = torch.from_numpy(generator(0, 72).standard_normal((rows.shape[1], SHORT)))
            random = random.float().to(rows.device)
            self._short[class_index] = (random, self.bank[begin:end].float() @ random)
        random, short = self._short[class_index]
        found = torch.cdist(rows @ random, short).topk(FINALISTS, dim=1, largest=False).indices
        finalists = self.bank[begin:end][found].float()
        return (finalists - rows[:, None]).norm(dim=2).amin(dim=1)

    @torch.no_grad()
    def fit(self, residuals: Callable[[], Iterable[tuple[Tensor, int]]]) -> None:
        """Learn the scales from good images.

        A class of few images borrows the shape of its covariance from all: the mean over the
        classes, brought to the class's own level, counts for `pooled_weight` images more of it.

        Args:
            residuals: goes through (B, C, G, G) of some images and their class, in any order.
        """
        self._short = {}
        if self.kind in ("scaled", "mahalanobis", "nearest"):
            self._fit_scales(residuals())
        if self.kind == "nearest":
            self._fit_bank(residuals())

    def _fit_scales(self, residuals: Iterable[tuple[Tensor, int]]) -> None:
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
        own = images / (images + self.pooled_weight).clamp(min=1e-9)
        if self.kind == "scaled":
            power = _borrowed(raw, own, seen).diagonal(dim1=1, dim2=2)
            self.scale.copy_(power.clamp(min=1e-12).sqrt())
            return
        covariance = _borrowed(covariance, own, seen)
        ridge = self.ridge * _level(covariance)[:, None]
        identity = torch.eye(channels, dtype=torch.float64)
        factor = torch.linalg.cholesky(covariance + ridge[:, :, None] * identity)
        inverse = torch.linalg.solve_triangular(factor, identity.expand_as(factor), upper=False)
        self.mean.copy_(mean)
        self.whitening.copy_(inverse.mT.clamp(-LARGEST, LARGEST))

    def _fit_bank(self, residuals: Iterable[tuple[Tensor, int]]) -> None:
        """Keep those whitened residuals of each class that lie far from one another."""
        found: dict[int, list[Tensor]] = {}
        for residual, index in residuals:
            found.setdefault(index, []).append(
                self.whitened(residual, index).flatten(0, -2).cpu().half()
            )
        banks = []
        for index in range(len(self.ends)):
            rows, random = torch.cat(found.pop(index)), generator(0, 71, index)
            if len(rows) > CANDIDATES * self.bank_size:
                rows = rows[random.choice(len(rows), CANDIDATES * self.bank_size, replace=False)]
            rows = rows.float()
            if len(rows) > self.bank_size:
                rows = rows[coreset(rows.numpy(), self.bank_size, random)]
            banks.append(rows.clamp(-LARGEST, LARGEST).half())
        device = self.bank.device
        self.bank = torch.cat(banks).to(device)
        self.ends = torch.tensor([len(b) for b in banks], device=device).cumsum(0)

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Tensor], prefix: str, *arguments: Any, **settings: Any
    ) -> None:
        """A bank comes in whatever length it was fitted to."""
        self._short = {}
        if self.kind == "nearest" and f"{prefix}bank" in state_dict:
            self.bank = torch.empty_like(state_dict[f"{prefix}bank"], device=self.bank.device)
        super()._load_from_state_dict(state_dict, prefix, *arguments, **settings)


def _level(matrices: Tensor) -> Tensor:
    """Mean of each diagonal, (classes,), well above rounding."""
    return matrices.diagonal(dim1=1, dim2=2).mean(dim=1).clamp(min=1e-8)


def _borrowed(matrices: Tensor, own: Tensor, seen: Tensor) -> Tensor:
    """(classes, C, C): `own` (classes,) of each matrix, the rest the mean of all at its level."""
    levels = _level(matrices)
    shape = (matrices[seen] / levels[seen][:, None, None]).mean(dim=0)
    own = own[:, None, None]
    return own * matrices + (1 - own) * shape * levels[:, None, None]
