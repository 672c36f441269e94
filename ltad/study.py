"""What the rows of a table share, and how a row's detector is trained or found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltad.ablations import Row, derangement
from ltad.calibration import BRANCHES, REFERENCE
from ltad.config import Config
from ltad.data.feature_store import FeatureStore, build_store
from ltad.encoders.base import Encoder
from ltad.evaluation import Measure, ordered_tests
from ltad.measures import bank_measure, detector_measure, settings_of
from ltad.models import Detector
from ltad.training.data import TrainingData
from ltad.training.phase2 import PARTS, ClassTexts
from ltad.training.reference import fit_reference, fit_units
from ltad.training.stages import (
    key_hash,
    pictures_hash,
    stage_file,
    train_stages,
    training_identity,
)
from ltad.training.train import (
    calibration_positions,
    learned_and_held_out,
    training_pictures,
)
from ltad.types import DatasetError, Sample, SettingError


@dataclass(frozen=True)
class Source:
    """Where a study's pictures and encoder come from, in words, for the runs' records.

    Attributes:
        root: of the data set, above every test picture.
        data, split, encoder: names.
        listed: the training pictures, where a list named them in the split's place.
    """

    root: Path
    data: str
    split: str
    encoder: str
    listed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Study:
    """What all rows of a table share under one seed.

    Attributes:
        source: names.
        encoder: frozen.
        class_names: in the order of their indices.
        store, tests: frozen features of the training and of the test pictures.
        data: the training pictures that are learned from.
        held_out: class -> places in `store` of the pictures kept for calibration.
        work: folder of the features, and of what each stage of a training learned.
        identity: of training pictures and encoder.
        tests_hash: of the test pictures.
    """

    source: Source
    encoder: Encoder
    class_names: tuple[str, ...]
    store: FeatureStore
    tests: FeatureStore
    data: TrainingData
    held_out: dict[str, list[int]]
    work: Path
    identity: dict[str, Any]
    tests_hash: str

    @classmethod
    def of(
        cls, samples: Sequence[Sample], encoder: Encoder, base: Config, work: str | Path,
        source: Source,
    ) -> Study:
        """A study of a data set; the features are computed, or found under `work`.

        Raises:
            DatasetError: a class is without training pictures, or there are no test pictures.
        """
        if base.training.calibration == "cross_fitted":
            raise SettingError(
                "calibration is 'cross_fitted', but the rows of a table are judged on held-out "
                "images. Use calibration=held_out."
            )
        training, testing = training_pictures(samples), ordered_tests(samples)
        class_names = tuple(sorted({sample.class_name for sample in training}))
        unknown = sorted({sample.class_name for sample in testing} - set(class_names))
        if unknown:
            raise DatasetError(f"No training picture is there of: {', '.join(unknown)}.")
        store = build_store(training, encoder, Path(work) / "features")
        tests = build_store(testing, encoder, Path(work) / "features")
        learned, held_out = learned_and_held_out(store, class_names, base)
        data = TrainingData.of(store, learned, class_names, encoder.device)
        return cls(
            source, encoder, class_names, store, tests, data, held_out, Path(work),
            training_identity(class_names, encoder, data), pictures_hash(tests, range(len(tests))),
        )

    @property
    def features(self) -> Path:
        return self.work / "features"

    @property
    def stages(self) -> Path:
        return self.work / "stages"

    @property
    def counts(self) -> dict[str, int]:
        """Training pictures of each class, which decide between High and Low."""
        return {name: len(self.store.indices(name)) for name in self.class_names}

    def key(self, row: Row, base: Config) -> str:
        """Hash of all that a row's figures depend on."""
        return key_hash({
            **self.identity, "tests": self.tests_hash, "config": row.config(base).to_dict(),
            "branch": row.branch, "shuffles_names": row.shuffles_names, "is_bank": row.is_bank,
        })

    def calibration(self, row: Row, config: Config) -> dict[str, list[int]]:
        """Places of the good pictures that the row's thresholds come from.

        A bank cannot be calibrated on what it holds: those pictures are at distance zero. Under
        ``calibration="second_training"`` a row has none: a second training for each row would
        double a table's time, and AUROC needs no threshold.
        """
        if row.is_bank or config.training.calibration == "second_training":
            return self.held_out
        return calibration_positions(self.store, self.data.positions.tolist(), self.held_out)


def measured_branches(row: Row, config: Config) -> tuple[str, ...]:
    """The branches that a row measures, the one that it is judged by first."""
    if row.branch != "combined" or row.is_bank:
        return (row.branch,)
    return (*BRANCHES, REFERENCE) if config.model.reference_size else BRANCHES


def needed_stages(row: Row, config: Config) -> tuple[str, ...]:
    """The stages that a row's scores come from, in order."""
    if row.branch == REFERENCE:
        return ()
    parts = PARTS if row.branch == "combined" else (row.branch,)
    return parts if config.training.skip_phase1 else ("phase1", *parts)


def is_trained(study: Study, row: Row, config: Config) -> bool:
    """Whether what each stage of a row learned is kept, so that none has to be trained."""
    return row.is_bank or all(
        stage_file(study.stages, stage, config, study.identity).exists()
        for stage in needed_stages(row, config)
    )


def trained_detector(study: Study, row: Row, config: Config) -> tuple[Detector, dict[str, str]]:
    """A detector after the stages that the row needs, and what became of each of them."""
    detector = Detector(study.class_names, study.encoder, config).to(study.encoder.device)
    stages = train_stages(
        detector, study.encoder, study.data, needed_stages(row, config), study.stages,
        study.identity,
    )
    detector.eval().requires_grad_(False)
    if detector.reference is not None and row.branch in ("combined", REFERENCE):
        fit_reference(
            detector, study.encoder, study.store, study.data.positions.tolist(), study.features
        )
    if config.model.good_units:
        texts = ClassTexts.of(detector, study.encoder)
        fit_units(detector, study.store, study.calibration(row, config),
                  (texts.normal, texts.abnormal))
    return detector, stages


def row_measure(study: Study, row: Row, config: Config) -> tuple[Measure, dict[str, str]]:
    """How a row scores pictures, trained if need be, and what became of each stage."""
    if row.is_bank:
        settings = settings_of(config)
        return bank_measure(
            study.store, _kept(study), settings.size, settings.pool, config.training.seed
        ), {}
    detector, stages = trained_detector(study, row, config)
    named_as = None
    if row.shuffles_names:
        named_as = derangement(len(study.class_names), config.training.seed)
    measure = detector_measure(
        detector, study.encoder, settings_of(config), named_as, measured_branches(row, config)
    )
    return measure, stages


def _kept(study: Study) -> dict[str, list[int]]:
    kept = set(study.data.positions.tolist())
    return {name: [p for p in study.store.indices(name) if p in kept]
            for name in study.class_names}
