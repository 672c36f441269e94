"""Filling the reference branch with good images, and the units of every branch. Nothing is learned
by descent here; both read frozen features."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ltad.inference import scoring
from ltad.inference.feature_store import ROTATIONS, VIEWS, FeatureStore, build_store
from ltad.io import processes
from ltad.models.align import Encoder
from ltad.models.detector import UNIT_BRANCHES, Detector
from ltad.models.reference import allowed_turns
from ltad.types import REFERENCE

AT_ONCE = 16
MOST_TURNED = 40
"""A class with more images than this has seen enough; turning them would cost more than it adds."""
COMPARED = 8


def fit_reference(
    detector: Detector, encoder: Encoder, store: FeatureStore, positions: Sequence[int],
    features: str | Path, views: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, list[str]]:
    """Fill the reference branch with the images at `positions`.

    Args:
        views: class -> the turns to read its images in too; by default by the setting `views`.

    Returns:
        Class -> the turns that its images were also read in.
    """
    by_class = _by_class(detector, store, positions)
    if views is None:
        views = processes.agreed({
            name: chosen_views(detector, encoder, store, own, features)
            for name, own in by_class.items()
        })
    turns = {name: list(own) for name, own in views.items()}

    def patches() -> Iterator[tuple[Tensor, int]]:
        for name, own in by_class.items():
            turned = [_turned(store, own, view, encoder, features) for view in turns[name]]
            for stored, places in ((store, own), *((t, range(len(t))) for t in turned)):
                for batch in _batches(places):
                    yield _fine(stored, batch, encoder), detector.index(name)

    assert detector.reference is not None
    detector.reference.fit(patches)
    return turns


def chosen_views(
    detector: Detector, encoder: Encoder, store: FeatureStore, own: Sequence[int],
    features: str | Path,
) -> list[str]:
    """The turns that a class's images are read in, by the setting `views`."""
    setting = detector.config.training.views
    if setting == "none" or not own or len(own) > MOST_TURNED:
        return []
    if setting != "auto":
        return list(ROTATIONS if setting == "rotations" else VIEWS)
    if len(own) == 1:
        return list(ROTATIONS)
    own = own[:COMPARED]
    return allowed_turns(_fine(store, own, encoder), {
        view: _fine(_turned(store, own, view, encoder, features), range(len(own)), encoder)
        for view in ROTATIONS
    })


@torch.no_grad()
def fit_units(
    detector: Detector, store: FeatureStore, held_out: Mapping[str, Sequence[int]],
    texts: tuple[Tensor, Tensor], apart: Mapping[str, Mapping[str, Tensor]] | None = None,
) -> None:
    """Set `Detector.units` from held-out good images; a class without any takes the others' mean.

    Args:
        detector: all else fitted.
        store: features of the training images.
        held_out: class -> places in the store.
        texts: t_n and t_a of every class, (classes, d).
        apart: class -> branch -> raw scores of those images by a detector that does not hold them;
            by default the detector's own.
    """
    device, model = texts[0].device, detector.config.model
    detector.units[:] = torch.tensor([0.0, 1.0])
    found: dict[int, Tensor] = {}
    for name, places in held_out.items():
        if len(places):
            index = detector.index(name)
            found[index] = torch.stack([
                torch.tensor(scoring.good_unit(
                    raw, detector.config.features.image_size, model.score_pool,
                    scoring.LEAST_SEMANTIC_UNIT if branch == "semantic" else 1e-6,
                )) if raw is not None else torch.tensor([0.0, 1.0])
                for branch, raw in {
                    **_raw(detector, store, places, index, texts, device),
                    **(apart or {}).get(name, {}),
                }.items()
            ])
    if found:
        detector.units[:] = torch.stack(list(found.values())).mean(dim=0)
    for index, unit in found.items():
        detector.units[index] = unit


def _raw(
    detector: Detector, store: FeatureStore, places: Sequence[int], index: int,
    texts: tuple[Tensor, Tensor], device: torch.device,
) -> dict[str, Tensor | None]:
    """Every branch of some images on its grid, in its own units, in the order of UNIT_BRANCHES."""
    coarse, fine = (
        torch.from_numpy(array[list(places)].astype(np.float32)).to(device)
        for array in (store.patches, store.fine_patches)
    )
    normal, abnormal = (t[index].expand(len(places), -1) for t in texts)
    known = {
        "reconstruction": detector.raw_reconstruction(coarse, index),
        "semantic": scoring.semantic_score(
            detector.semantic(fine), normal, abnormal, detector.config.model.tau
        ),
        REFERENCE: detector.raw_reference(fine, index),
    }
    return {branch: known[branch] for branch in UNIT_BRANCHES}


def _by_class(
    detector: Detector, store: FeatureStore, positions: Sequence[int]
) -> dict[str, list[int]]:
    chosen = set(positions)
    return {
        name: [p for p in store.indices(name) if p in chosen] for name in detector.class_names
    }


def _turned(
    store: FeatureStore, own: Sequence[int], view: str, encoder: Encoder, features: str | Path
) -> FeatureStore:
    return build_store([store.samples[p] for p in own], encoder, features, progress=False,
                       view=view)


def _batches(places: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(places), AT_ONCE):
        yield places[start : start + AT_ONCE]


def _fine(store: FeatureStore, places: Sequence[int], encoder: Encoder) -> Tensor:
    return torch.from_numpy(store.fine_patches[list(places)].astype(np.float32)).to(encoder.device)
