"""The detectors that `ltad.evaluation` can measure, each as one function on frozen features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ltad.baselines import NearestNeighbourBank
from ltad.calibration import (
    BRANCHES,
    REFERENCE,
    BranchMaps,
    Readings,
    ScoreSettings,
    branch_maps,
)
from ltad.config import Config
from ltad.data.feature_store import FeatureStore
from ltad.encoders.base import Encoder
from ltad.evaluation import Measure
from ltad.models import Detector


def settings_of(config: Config) -> ScoreSettings:
    """A config's own score settings."""
    model = config.model
    return ScoreSettings(
        model.normal_prompt, model.abnormal_prompt, model.lam, model.tau, model.score_pool,
        config.features.image_size, model.reference_weight,
    )


def branches_of(detector: Detector) -> tuple[str, ...]:
    """The branches that a detector has, the sum first."""
    return BRANCHES if detector.reference is None else (*BRANCHES, REFERENCE)


@torch.inference_mode()
def detector_measure(
    detector: Detector, encoder: Encoder, settings: ScoreSettings,
    named_as: Sequence[int] | None = None, branches: Sequence[str] = BRANCHES,
) -> Measure:
    """Scores by a detector.

    Args:
        detector: in eval mode.
        encoder: the one it was trained on.
        settings: prompts, lambda, tau, pooling and size.
        named_as: for each class the index of the class whose name is used; by default its own.
        branches: those that are wanted. The parts of the detector that none of these needs do not
            run, and their maps mean nothing.
    """
    runs_reconstruction, runs_semantic, runs_reference = (
        bool({"combined", own} & set(branches))
        for own in ("reconstruction", "semantic", REFERENCE)
    )
    used = range(len(detector.class_names)) if named_as is None else named_as
    normal, abnormal = (
        detector.texts(encoder, words, used)
        for words in (settings.normal_prompt, settings.abnormal_prompt)
    )

    @torch.inference_mode()
    def measure(name: str, store: FeatureStore, places: Sequence[int]) -> BranchMaps:
        reconstruction = torch.zeros(len(places), 1, 1, device=encoder.device)
        projected = torch.zeros(len(places), normal.shape[-1], 1, 1, device=encoder.device)
        coarse = _batch(store.patches, places, encoder.device)
        index, reference = detector.index(name), None
        if runs_reconstruction:
            reconstruction = detector.reconstruction_scores(coarse, index)
        same = store.fine_patches is store.patches
        fine = coarse if same else _batch(store.fine_patches, places, encoder.device)
        if runs_semantic:
            projected = detector.semantic(fine)
        if runs_reference:
            reference = detector.reference_scores(fine, index)
        readings = Readings(reconstruction, projected, reference, detector.semantic_unit(index))
        return branch_maps(readings, normal[index], abnormal[index], settings)

    return measure


def bank_measure(
    training: FeatureStore, filled_with: Mapping[str, Sequence[int]], size: int, pool: int,
    seed: int = 0,
) -> Measure:
    """Scores by a nearest-neighbour bank for each class; every branch holds the same distance.

    Args:
        training: features of the training pictures.
        filled_with: class -> places in it, at least one.
        size, pool: of the maps and of the image score's pooling, in pixels.
        seed: of the coreset.
    """
    banks: dict[str, NearestNeighbourBank] = {}

    def measure(name: str, store: FeatureStore, places: Sequence[int]) -> BranchMaps:
        if name not in banks:
            banks[name] = NearestNeighbourBank.fit(
                training.fine_patches[list(filled_with[name])], seed
            )
        patches = _batch(store.fine_patches, places, torch.device("cpu"))
        return banks[name].measure(patches, size, pool)

    return measure


def _batch(array: np.ndarray, places: Sequence[int], device: torch.device) -> Tensor:
    return torch.from_numpy(array[list(places)].astype(np.float32)).to(device)
