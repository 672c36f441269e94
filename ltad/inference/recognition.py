"""Which class is this? Learned from the frozen features of the training images alone.

An image's descriptor is the mean and the standard deviation of each channel of its patch
features, without the patches that are least like the rest of the image: what is damaged on a part
must not hide what part it is. Classes are Gaussians with one shrunk covariance (linear discriminant
analysis), so that a class with one image has a place too. An image farther from its nearest
class than held-out images are from their own looks like none of them. The mean of n images is
itself off by chance, so that a further image's squared distance from it is 1 + 1/n times that
from the true mean: a class with one image reaches that much farther than one with many.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ltad.inference.scoring import conformal_threshold

TRIMMED = 0.2
"""Share of an image's patches that its descriptor leaves out. On rendered validation images,
among shares from 0 to 0.3, a fifth named the class most often, and strangers were no nearer."""
NONE_OF_THEM_RATE = 0.01
RECOGNITION_VERSION = 1
"""Of the recognitions on disk: one more whenever the same features come to look otherwise."""
MARGIN = 1.5
"""Held-out images come from the training images' own line; others of the same kind lie a
little farther, so the limit is this factor on the conformal distance."""


def descriptor(patches: Tensor, trimmed: float = TRIMMED) -> Tensor:
    """(B, 2C) mean and standard deviation of each channel over an image's patches.

    Args:
        patches: patch features (B, C, G, G).
        trimmed: share in [0, 1) of the patches to leave out: those farthest from the image's
            median patch, each channel in units of its own deviation.
    """
    flat = patches.float().flatten(2)
    remaining = flat.shape[2] - int(trimmed * flat.shape[2])
    if remaining < flat.shape[2]:
        spread = flat.std(dim=2, keepdim=True, unbiased=False).clamp_min(1e-6)
        offsets = (flat - flat.median(dim=2, keepdim=True).values) / spread
        nearest = offsets.square().sum(dim=1).argsort(dim=1, stable=True)[:, None, :remaining]
        flat = flat.gather(2, nearest.expand(-1, flat.shape[1], -1))
    return torch.cat([flat.mean(dim=2), flat.std(dim=2, unbiased=False)], dim=1)


@dataclass(frozen=True)
class Recognition:
    """Ranked classes of one image: name -> probability, descending; and whether it is known."""

    probabilities: dict[str, float]
    is_known: bool

    @classmethod
    def of(cls, class_names: tuple[str, ...], probabilities: Tensor, is_known: bool) -> Recognition:
        """Of the classes' probabilities (classes,), in any order."""
        ranked = probabilities.argsort(descending=True).tolist()
        return cls({class_names[i]: float(probabilities[i]) for i in ranked}, is_known)

    @property
    def best(self) -> str:
        return next(iter(self.probabilities))


@dataclass(frozen=True)
class ClassRecogniser:
    """Distances to class means under one shared covariance.

    Attributes:
        class_names: in the order of `means`.
        whitening: (2C, 2C) float32 matrix W; distance is ||W (x - mean)||.
        means: (classes, 2C) float32, already whitened.
        temperature: divides the squared distances before the softmax.
        limit: distance from a class of many images beyond which an image looks like no class.
        counts: training images of each class, at least 1.
        trimmed: of the descriptors, see `descriptor`.
    """

    class_names: tuple[str, ...]
    whitening: Tensor
    means: Tensor
    temperature: float
    limit: float
    counts: tuple[int, ...]
    trimmed: float = TRIMMED

    @classmethod
    def fit(
        cls, class_names: tuple[str, ...], train: Tensor, train_classes: np.ndarray,
        held_out: Tensor, held_out_classes: np.ndarray,
    ) -> ClassRecogniser:
        """Fit on descriptors (n, 2C), trimmed by `TRIMMED`; the held-out ones give temperature and
        limit.

        Without held-out images the training images stand in, and the limit is doubled.
        """
        from sklearn.covariance import LedoitWolf  # who only recognises does not wait for it

        known = train.double().numpy()
        means = np.stack([known[train_classes == c].mean(0) for c in range(len(class_names))])
        residuals = known - means[train_classes]
        covariance = LedoitWolf(assume_centered=True).fit(residuals).covariance_
        floor = 1e-4 * np.trace(covariance) / len(covariance) + 1e-12
        values, vectors = np.linalg.eigh(covariance + floor * np.eye(len(covariance)))
        whitening = (vectors / np.sqrt(values)).T
        checked, checked_classes, factor = held_out.double().numpy(), held_out_classes, MARGIN
        if not len(checked):
            checked, checked_classes, factor = known, train_classes, 2.0 * MARGIN
        distances = np.linalg.norm((checked[:, None] - means) @ whitening.T, axis=2)
        own = distances[np.arange(len(checked)), checked_classes]
        return cls(
            tuple(class_names),
            torch.from_numpy(whitening).float(),
            torch.from_numpy(means @ whitening.T).float(),
            _temperature(distances, checked_classes),
            factor * conformal_threshold(own, NONE_OF_THEM_RATE),
            tuple(np.bincount(train_classes, minlength=len(class_names)).tolist()),
        )

    def for_part(self, name: str, descriptors: Tensor) -> ClassRecogniser:
        """One that knows a single other part, from descriptors (n, 2C) of good images of it.

        It measures by this one's covariance, and its limit is this one's, or `MARGIN` times what
        lies between each of those images and the mean of the others.
        """
        whitened = descriptors.cpu() @ self.whitening.T
        count, mean = len(whitened), whitened.mean(dim=0, keepdim=True)
        # From the mean of the others an image is n / (n - 1) times as far as from the mean of all.
        apart = torch.cdist(whitened, mean).max() * count / max(count - 1, 1)
        return replace(
            self, class_names=(name,), means=mean, counts=(count,),
            limit=max(self.limit, MARGIN * float(apart)),
        )

    def recognise(self, patches: Tensor) -> list[Recognition]:
        """Rank the classes for patch features (B, C, G, G)."""
        return [Recognition.of(self.class_names, row, known)
                for row, known in zip(*self.measure(patches), strict=True)]

    def measure(self, patches: Tensor) -> tuple[Tensor, list[bool]]:
        """The classes' probabilities (B, classes) for patch features (B, C, G, G), and whether each
        image is one of them."""
        whitened = descriptor(patches, self.trimmed).cpu() @ self.whitening.T
        distances = torch.cdist(whitened, self.means)
        probabilities = torch.softmax(-0.5 * distances.square() / self.temperature, dim=1)
        limits = self.limit * (1 + 1 / torch.tensor(self.counts)).sqrt()
        is_known = (distances <= limits).gather(1, distances.argmin(dim=1, keepdim=True))[:, 0]
        return probabilities, is_known.tolist()

    @cached_property
    def key(self) -> str:
        """Short hash of all that a recognition follows from beside the features."""
        told = f"{RECOGNITION_VERSION}{self.class_names}{self.counts}{self.trimmed}"
        digest = hashlib.sha256(told.encode())
        for tensor in self.tensors().values():
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint keeps beside the counts; the inverse of `from_tensors`."""
        numbers = torch.tensor([self.temperature, self.limit, self.trimmed])
        return {"whitening": self.whitening, "means": self.means, "numbers": numbers}

    @classmethod
    def from_tensors(
        cls, class_names: tuple[str, ...], tensors: Mapping[str, Tensor], counts: Mapping[str, int]
    ) -> ClassRecogniser:
        """`counts` are the training images by class; one where they are not known.

        Raises:
            KeyError: a tensor is missing.
        """
        temperature, limit, *trimmed = tensors["numbers"].tolist()
        return cls(
            class_names, tensors["whitening"], tensors["means"], temperature, limit,
            tuple(counts.get(name, 1) for name in class_names),
            trimmed[0] if trimmed else 0.0,  # older models use every patch
        )


def _temperature(distances: np.ndarray, classes: np.ndarray) -> float:
    """The temperature with the highest likelihood of the right classes, between 1 and 1000."""
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    def negative_log_likelihood(log_temperature: float) -> float:
        scores = log_softmax(-0.5 * distances**2 / np.exp(log_temperature), axis=1)
        return -scores[np.arange(len(classes)), classes].mean()

    found = minimize_scalar(negative_log_likelihood, bounds=(0.0, np.log(1e3)), method="bounded")
    return float(np.exp(found.x))
