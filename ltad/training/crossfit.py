"""Every training image judged without itself, so that none has to be held out.

The images of each class fall into folds. For each fold what only remembers good images, the
reference branch and the scale or bank of the residual, is filled again without it, and judges it.
RM's weights and Phi have seen them all: on photographs of four parts RM scored images it had
learned from 0.93 to 1.03 times as high as images held out, so that this much is left in.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ltad.inference.feature_store import FeatureStore
from ltad.io.files import generator
from ltad.models.align import Encoder
from ltad.models.detector import Detector
from ltad.training.phases import TrainingData, good_residuals
from ltad.training.reference import fit_reference
from ltad.types import REFERENCE

FOLDS = 5


@dataclass(frozen=True)
class CrossFit:
    """What cross-fitting found.

    Attributes:
        positions: class -> places in the store of the images that were judged; none of a class of
            one image.
        scores: class -> branch -> its raw scores on the grid, (n, G, G), in that order.
        without_first: the detector filled without the first fold.
        first: class -> the first fold, as indices into `positions`.
    """

    positions: dict[str, list[int]]
    scores: dict[str, dict[str, Tensor]]
    without_first: Detector
    first: dict[str, list[int]]


@torch.no_grad()
def cross_fit(
    detector: Detector, encoder: Encoder, store: FeatureStore,
    views: Mapping[str, Sequence[str]], features: str | Path, most: int,
) -> CrossFit:
    """Judge training images without themselves.

    Args:
        detector: trained, in eval mode; it is not changed.
        store: all of its training images.
        views: turns by class (`fit_reference`).
        most: images of a class that are judged at most.
    """
    folds = _folds(detector, store, most)
    positions = {name: [p for fold in own for p in fold] for name, own in folds.items()}
    scores: dict[str, dict[str, list[Tensor]]] = {name: {} for name in folds}
    filled = []
    for number in range(FOLDS):
        left_out = {name: own[number] for name, own in folds.items() if number < len(own)}
        one = _without(detector, encoder, store, left_out, views, features)
        filled.append(one)
        for name, places in left_out.items():
            for branch, raw in _judge(one, store, places, detector.index(name)).items():
                scores[name].setdefault(branch, []).append(raw.cpu())
    return CrossFit(
        positions,
        {name: {b: torch.cat(parts) for b, parts in own.items()} for name, own in scores.items()
         if own},
        filled[0], {name: list(range(len(own[0]))) for name, own in folds.items() if own},
    )


def _folds(detector: Detector, store: FeatureStore, most: int) -> dict[str, list[list[int]]]:
    """Class -> its folds, each at least one place in the store; no fold for a single image."""
    folds = {}
    for number, name in enumerate(detector.class_names):
        own = np.asarray(store.indices(name))
        order = generator(detector.config.training.seed, 81, number).permutation(len(own))
        chosen = own[order[:most]]
        count = min(FOLDS, len(chosen)) if len(own) > 1 else 0
        folds[name] = [sorted(chosen[fold::count].tolist()) for fold in range(count)]
    return folds


def _without(
    detector: Detector, encoder: Encoder, store: FeatureStore, left_out: Mapping[str, list[int]],
    views: Mapping[str, Sequence[str]], features: str | Path,
) -> Detector:
    """The detector, filled with all images but some."""
    gone = {p for places in left_out.values() for p in places}
    remaining = [p for p in range(len(store)) if p not in gone]
    one = detector.with_parts(
        reconstruction=copy.deepcopy(detector.reconstruction),
        **({REFERENCE: copy.deepcopy(detector.reference)} if detector.reference else {}),
    )
    data = TrainingData.of(store, remaining, detector.class_names, encoder.device)
    one.reconstruction.score.fit(lambda: good_residuals(one, data))
    if one.reference is not None:
        fit_reference(one, encoder, store, remaining, features, views)
    return one


def _judge(
    detector: Detector, store: FeatureStore, places: list[int], index: int
) -> dict[str, Tensor]:
    """Raw S_rec and S_ref of some images of a class."""
    device = detector.names.vectors.device
    coarse, fine = (
        torch.from_numpy(array[places].astype(np.float32)).to(device)
        for array in (store.patches, store.fine_patches)
    )
    found = {"reconstruction": detector.raw_reconstruction(coarse, index)}
    reference = detector.raw_reference(fine, index)
    return found if reference is None else {**found, REFERENCE: reference}
