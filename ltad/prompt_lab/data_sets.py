"""The pictures of an experiment: a data set by name, its test set, and what Phi was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ltad.data import dagm, visa
from ltad.data.feature_store import build_store
from ltad.data.folders import holds_classes, load_folder
from ltad.data.layouts import load_dataset
from ltad.data.longtail import resample_again
from ltad.data.write_parts import write_parts
from ltad.service import Scorer
from ltad.training.data import TrainingData
from ltad.training.train import learned_and_held_out, training_pictures
from ltad.types import DatasetError, Sample, SettingError

PARTS = "parts"
_PARTS_SPLIT = ("step100", 0)


def read_samples(scorer: Scorer, data: str | Path, work: str | Path) -> list[Sample]:
    """Every picture of a data set.

    Args:
        scorer: the model, whose split the rendered parts take if it was trained on them.
        data: a folder in a known layout, or "parts" for the rendered benchmark.
        work: folder in which the parts are rendered, if they are not there yet.

    Raises:
        DatasetError: as `load_dataset` and `write_parts`.
    """
    if str(data) != PARTS:
        return load_dataset(data)
    about = scorer.checkpoint.about
    is_own = about.get("data") == PARTS
    split, seed = (about["split"], about["split_seed"]) if is_own else _PARTS_SPLIT
    return load_folder(write_parts(Path(work) / f"parts-{split}-{seed}", split, seed))


def training_data(
    scorer: Scorer, samples: Sequence[Sample], features: str | Path
) -> TrainingData:
    """The good pictures that the model learns from, under its own split and without those that it
    holds out; their features are computed, or found under `features`.

    Raises:
        DatasetError: no training picture of any class that the model knows.
        SettingError: the model was trained on a list of pictures that it does not carry.
    """
    known = [s for s in samples if s.class_name in scorer.class_names]
    if not any(s.split == "train" for s in known):
        raise DatasetError(
            "The data set holds no training picture of the model's classes, so there is nothing to "
            "refit on (MVTec AD: CLASS/train/good/*.png). Choose another data set."
        )
    about = scorer.checkpoint.about
    try:
        used = resample_again(known, about["split"], about["split_seed"], about["split_counts"],
                              about.get("split_list", ()))
    except SettingError as error:
        raise SettingError(
            f"The model was trained on the list {about['split']!r}, which it does not carry, so it "
            "cannot be refitted on the same pictures. Choose a model that was trained on a split."
        ) from error
    store = build_store(training_pictures(used), scorer.encoder, features)
    learned, _ = learned_and_held_out(store, scorer.class_names, scorer.config)
    return TrainingData.of(store, learned, scorer.class_names, scorer.encoder.device)


def is_data_set(folder: Path) -> bool:
    """Whether a folder has one of the known layouts, at a glance."""
    try:
        if not folder.is_dir():
            return False
        return holds_classes(folder) or visa.is_visa(folder) or dagm.is_dagm(folder)
    except (OSError, DatasetError):
        return False
