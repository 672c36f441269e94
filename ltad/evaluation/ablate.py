"""Running a table of ablations: its rows share features and every stage of the training they can.

A row under one seed is one run, written when it is finished, so that a killed table goes on where
it stopped.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ltad.config import Config
from ltad.evaluation.ablations import ABLATED, Row, derangement, paper_name, reference
from ltad.evaluation.evaluate import (
    Measure,
    bank_measure,
    calibration_table,
    detector_measure,
    evaluate_tests,
    ordered_tests,
    settings_of,
)
from ltad.evaluation.record import ModelEvaluation, encoder_facts, settings_facts, split_facts
from ltad.evaluation.results import summarise, text_table
from ltad.evaluation.runs import ABOUT_FILE, Run, read_run
from ltad.inference.feature_store import FeatureStore, build_store
from ltad.models.align import Encoder
from ltad.models.detector import Detector
from ltad.training.phases import PARTS, ClassTexts, TrainingData
from ltad.training.reference import fit_reference, fit_units
from ltad.training.train import (
    calibration_positions,
    images_hash,
    key_hash,
    learned_and_held_out,
    stage_file,
    train_stages,
    training_identity,
    training_images,
)
from ltad.types import BRANCHES, GROUPS, REFERENCE, TASKS, DatasetError, Sample, SettingError


@dataclass(frozen=True)
class Source:
    """Where a study's images and encoder come from, in words, for the runs' records.

    Attributes:
        root: of the data set, above every test image.
        data, split, encoder: names.
        listed: the training images, where a list named them in the split's place.
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
        store, tests: frozen features of the training and of the test images.
        data: the training images that are learned from.
        held_out: class -> places in `store` of the images kept for calibration.
        work: folder of the features, and of what each stage of a training learned.
        identity: of training images and encoder.
        tests_hash: of the test images.
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
            DatasetError: a class is without training images, or there are no test images.
        """
        if base.training.calibration == "cross_fitted":
            raise SettingError(
                "calibration is 'cross_fitted', but the rows of a table are judged on held-out "
                "images. Use calibration=held_out."
            )
        training, testing = training_images(samples), ordered_tests(samples)
        class_names = tuple(sorted({sample.class_name for sample in training}))
        unknown = sorted({sample.class_name for sample in testing} - set(class_names))
        if unknown:
            raise DatasetError(f"No training image is there of: {', '.join(unknown)}.")
        store = build_store(training, encoder, Path(work) / "features")
        tests = build_store(testing, encoder, Path(work) / "features")
        learned, held_out = learned_and_held_out(store, class_names, base)
        data = TrainingData.of(store, learned, class_names, encoder.device)
        return cls(
            source, encoder, class_names, store, tests, data, held_out, Path(work),
            training_identity(class_names, encoder, data), images_hash(tests, range(len(tests))),
        )

    @property
    def features(self) -> Path:
        return self.work / "features"

    @property
    def stages(self) -> Path:
        return self.work / "stages"

    @property
    def counts(self) -> dict[str, int]:
        """Training images of each class, which decide between High and Low."""
        return {name: len(self.store.indices(name)) for name in self.class_names}

    def key(self, row: Row, base: Config) -> str:
        """Hash of all that a row's figures depend on."""
        return key_hash({
            **self.identity, "tests": self.tests_hash, "config": row.config(base).to_dict(),
            "branch": row.branch, "shuffles_names": row.shuffles_names, "is_bank": row.is_bank,
        })

    def calibration(self, row: Row, config: Config) -> dict[str, list[int]]:
        """Places of the good images that the row's thresholds come from.

        A bank cannot be calibrated on what it holds: those images are at distance zero. Under
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
    """How a row scores images, trained if need be, and what became of each stage."""
    if row.is_bank:
        settings = settings_of(config)
        return bank_measure(
            study.store, _learned_positions(study), settings.size, settings.pool,
            config.training.seed,
        ), {}
    detector, stages = trained_detector(study, row, config)
    named_as = None
    if row.shuffles_names:
        named_as = derangement(len(study.class_names), config.training.seed)
    measure = detector_measure(
        detector, study.encoder, settings_of(config), named_as, measured_branches(row, config)
    )
    return measure, stages


def _learned_positions(study: Study) -> dict[str, list[int]]:
    learned = set(study.data.positions.tolist())
    return {name: [p for p in study.store.indices(name) if p in learned]
            for name in study.class_names}


def run_folder(study: Study, row: Row, base: Config, out: str | Path) -> Path:
    """The run of a row: its name says the row, the seed, and by a hash everything else."""
    seed = row.config(base).training.seed
    return Path(out) / f"{row.id}-seed{seed}-{study.key(row, base)[:8]}"


def evaluate_row(study: Study, row: Row, base: Config, group: str) -> ModelEvaluation:
    """Train what a row still needs, and score the test images.

    Args:
        study: what the rows share.
        row: the row.
        base: the settings under the row's own.
        group: which rows its run belongs with, in words.
    """
    began = time.monotonic()
    config = row.config(base)
    branches = measured_branches(row, config)
    measure, stages = row_measure(study, row, config)
    trained = time.monotonic()
    evaluation = evaluate_tests(study.tests, measure, study.counts, branches)
    calibration = calibration_table(study.store, study.calibration(row, config), measure, branches)
    finished, encoder = time.monotonic(), Path(study.source.encoder)
    facts = {
        "kind": row.name, "row": row.id, "group": group,
        "model": {"name": row.name, "folder": None},
        "encoder": encoder_facts(study.source.encoder, study.encoder)
        | ({"folder": str(encoder.resolve())} if encoder.is_dir() else {}),
        "config": config.to_dict(), "settings": settings_facts(settings_of(config)),
        "seed": config.training.seed, "data": study.source.data,
        "split": split_facts(study.source.split, study.counts, study.source.listed),
        "training_pictures": dict(zip(study.class_names, study.data.class_counts, strict=True)),
        "seconds": {"training": round(trained - began, 1),
                    "evaluation": round(finished - trained, 1)},
        "stages": stages, "key": study.key(row, base),
        "paper": paper_figures(row, *reference(study.class_names, study.source.split)),
    }
    return ModelEvaluation(evaluation, calibration, facts, study.source.root, study.features)


def run_row(study: Study, row: Row, base: Config, out: str | Path, table: str) -> Run:
    """`evaluate_row`, kept as the row's run."""
    group = f"{table} seed {row.config(base).training.seed}"
    return evaluate_row(study, row, base, group).write(run_folder(study, row, base, out))


def paper_figures(row: Row, data: str, split: str) -> dict[str, float | None]:
    """The paper's AUROC in percent: "Det. All" ... "Seg. Low"; see `Row.paper`."""
    return {f"{t} {g}": row.paper(t, g, data, split) for t in TASKS.values() for g in GROUPS}


def reference_of(run: Run) -> tuple[str, str]:
    """Data set and split whose published figures stand beside a run."""
    return reference(run.about["training_pictures"], run.about["split"]["name"])


def run_table(
    study: Study, rows: Sequence[Row], base: Config, out: str | Path, table: str
) -> list[Run]:
    """Run the rows that `out` holds no run of yet; the runs of all, in their order.

    Raises:
        CheckpointError: a run or a stage cannot be read or written.
    """
    runs = []
    for number, row in enumerate(rows, start=1):
        folder, title = run_folder(study, row, base, out), f"{row.id} {row.name}"
        if (folder / ABOUT_FILE).exists():
            print(f"[{number}/{len(rows)}] {title}: finished before")
            runs.append(read_run(folder))
            continue
        print(f"[{number}/{len(rows)}] {title}")
        runs.append(run_row(study, row, base, out, table))
        shown = (f"{task} {_percent(runs[-1].value('All', metric))}"
                 for metric, task in TASKS.items())
        print(f"    {', '.join(shown)} ({seconds_of(runs[-1]):.0f} s)")
    return runs


def seconds_of(run: Run) -> float:
    """What a run took in all."""
    return sum(run.about["seconds"].values())


def report_table(rows: Sequence[Row], runs: Sequence[Run]) -> str:
    """AUROC in percent of All, High and Low, the paper's figure in brackets behind each.

    Over several seeds, mean ± sample standard deviation.
    """
    data, split = reference_of(runs[0]) if runs else ABLATED
    cells = [(task, group) for task in TASKS.values() for group in GROUPS]
    found = summarise(runs).set_index("row").to_dict("index")
    lines = [["row", "", *(f"{task} {group}" for task, group in cells)]]
    for row in rows:
        lines.append([row.id, row.name, *(
            f"{_cell(found.get(row.id), f'{task} {group}')} "
            f"({_figure(row.paper(task, group, data, split))})"
            for task, group in cells
        )])
    text = [text_table(lines)]
    seeds = len({run.about["seed"] for run in runs})
    if seeds > 1:
        text.append(f"Mean ± standard deviation over {seeds} seeds.")
    notes = [f"{row.id} was not run: it wants {row.wants_encoder}. Give that as --encoder, with "
             f"--rows {row.id}." for row in rows if row.wants_encoder and row.id not in found]
    whose = "each row's split" if any(row.split for row in rows) else split
    return "\n".join([*text, f"In brackets: {paper_name(data, whose)}.", *notes])


def _cell(summary: Mapping[str, float] | None, name: str) -> str:
    if summary is None or pd.isna(summary[name]):
        return "-"
    deviation = summary[f"{name} ±"]
    return _percent(summary[name]) + ("" if pd.isna(deviation) else f" ± {100 * deviation:.2f}")


def _percent(value: float | None) -> str:
    return _figure(None if value is None else 100 * value)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
