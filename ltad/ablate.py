"""Running a table of ablations: its rows share features and every stage of the training they can.

A row's report is written when it is finished, so that a killed table goes on where it stopped.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tqdm import tqdm

from ltad import __version__, scoring
from ltad.ablations import GROUPS, TASKS, Row, derangement
from ltad.baselines import NearestNeighbourBank
from ltad.calibration import BRANCHES, BranchMaps, Readings, ScoreSettings, branch_maps
from ltad.config import Config
from ltad.data.feature_store import FeatureStore, build_store
from ltad.encoders.base import Encoder
from ltad.evaluation import evaluate_class, test_samples
from ltad.metrics import Results
from ltad.models import Detector
from ltad.training.data import TrainingData
from ltad.training.phase2 import PARTS
from ltad.training.stages import key_hash, pictures_hash, train_stages, training_identity
from ltad.training.train import hold_out, training_pictures
from ltad.types import CheckpointError, DatasetError, Sample, SettingError


@dataclass(frozen=True)
class Study:
    """What all rows of a table share.

    Attributes:
        encoder: frozen.
        class_names: in the order of their indices.
        store, tests: frozen features of the training and of the test pictures.
        data: the training pictures that are learned from.
        stages: folder of what each stage of a training learned.
        identity: of training pictures and encoder.
        tests_hash: of the test pictures.
    """

    encoder: Encoder
    class_names: tuple[str, ...]
    store: FeatureStore
    tests: FeatureStore
    data: TrainingData
    stages: Path
    identity: dict[str, Any]
    tests_hash: str

    @classmethod
    def of(
        cls, samples: Sequence[Sample], encoder: Encoder, base: Config, work: str | Path
    ) -> Study:
        """A study of a data set; the features are computed, or found under `work`.

        Raises:
            DatasetError: a class is without training pictures, or there are no test pictures.
        """
        training, groups = training_pictures(samples), test_samples(samples)
        class_names = tuple(sorted({sample.class_name for sample in training}))
        unknown = sorted(set(groups) - set(class_names))
        if unknown:
            raise DatasetError(f"No training picture is there of: {', '.join(unknown)}.")
        features = Path(work) / "features"
        store = build_store(training, encoder, features)
        tests = build_store([s for group in groups.values() for s in group], encoder, features)
        kept, _ = hold_out(store, class_names, base)
        data = TrainingData.of(store, kept, class_names, encoder.device)
        return cls(
            encoder, class_names, store, tests, data, Path(work) / "stages",
            training_identity(class_names, encoder, data), pictures_hash(tests, range(len(tests))),
        )

    @property
    def counts(self) -> dict[str, int]:
        """Training pictures of each class, which decide between High and Low."""
        return {name: len(self.store.indices(name)) for name in self.class_names}


def needed_stages(row: Row, config: Config) -> tuple[str, ...]:
    """The stages that a row's scores come from, in order."""
    parts = PARTS if row.branch == "combined" else (row.branch,)
    return parts if config.training.skip_phase1 else ("phase1", *parts)


def trained_detector(
    study: Study, row: Row, config: Config
) -> tuple[Detector, dict[str, str]]:
    """A detector after the stages that the row needs, and what became of each of them."""
    detector = Detector(study.class_names, study.encoder, config).to(study.encoder.device)
    stages = train_stages(
        detector, study.encoder, study.data, needed_stages(row, config), study.stages,
        study.identity,
    )
    return detector.eval().requires_grad_(False), stages


ClassMeasure = Callable[[int, list[int]], BranchMaps]
"""Maps of test pictures of one class, given its index and their places in the test store."""


def detector_measure(study: Study, detector: Detector, shuffles_names: bool) -> ClassMeasure:
    """Scores by a detector, under the classes' own names or, shuffled, under another's."""
    config, every = detector.config, range(len(study.class_names))
    model = config.model
    used = derangement(len(every), config.training.seed) if shuffles_names else every
    with torch.inference_mode():
        normal, abnormal = (
            detector.texts(study.encoder, words, used)
            for words in (model.normal_prompt, model.abnormal_prompt)
        )
    settings = ScoreSettings(
        model.normal_prompt, model.abnormal_prompt, model.lam, model.tau, model.score_pool,
        config.features.image_size,
    )

    @torch.inference_mode()
    def measure(index: int, places: list[int]) -> BranchMaps:
        coarse, fine = (
            torch.from_numpy(array[places].astype(np.float32)).to(study.encoder.device)
            for array in (study.tests.patches, study.tests.fine_patches)
        )
        rebuilt = detector.reconstruction(coarse)
        readings = Readings(
            scoring.reconstruction_score(rebuilt, coarse), detector.semantic(fine)
        )
        return branch_maps(readings, normal[index], abnormal[index], settings)

    return measure


def bank_measure(study: Study, config: Config) -> ClassMeasure:
    """Scores by a nearest-neighbour bank for each class, filled with its training pictures."""
    banks = {}

    def measure(index: int, places: list[int]) -> BranchMaps:
        if index not in banks:
            positions = study.store.indices(study.class_names[index])
            banks[index] = NearestNeighbourBank.fit(
                study.store.fine_patches[positions], config.training.seed
            )
        patches = torch.from_numpy(study.tests.fine_patches[places].astype(np.float32))
        return banks[index].measure(
            patches, config.features.image_size, config.model.score_pool
        )

    return measure


def evaluate_row(study: Study, measure: ClassMeasure, branch: str) -> Results:
    """The benchmark's figures of one branch, in the place of every branch."""
    place = {sample.path: i for i, sample in enumerate(study.tests.samples)}
    results, counts = [], study.counts
    for name, group in tqdm(test_samples(study.tests.samples).items(), desc="classes"):
        index = study.class_names.index(name)

        def of_branch(batch: Sequence[Sample], index: int = index) -> BranchMaps:
            found = measure(index, [place[sample.path] for sample in batch])
            return BranchMaps(
                dict.fromkeys(BRANCHES, found.maps[branch]),
                dict.fromkeys(BRANCHES, found.scores[branch]),
            )

        results.append(evaluate_class(group, of_branch, counts[name]))
    return Results(tuple(results))


def run_row(study: Study, row: Row, base: Config) -> dict[str, Any]:
    """Train what a row still needs, score the test pictures, and give its report."""
    began = time.monotonic()
    config = row.config(base)
    if row.is_bank:
        measure, stages = bank_measure(study, config), {}
    else:
        detector, stages = trained_detector(study, row, config)
        measure = detector_measure(study, detector, row.shuffles_names)
    results = evaluate_row(study, measure, row.branch)
    found = results.to_dict()
    for entry in found["classes"]:
        entry |= {metric: entry[metric][row.branch] for metric in TASKS}
    return {
        "row": row.id, "name": row.name, "branch": row.branch, "key": row_key(study, row, base),
        "seed": config.training.seed, "config": config.to_dict(), "stages": stages,
        "counts": study.counts,
        "training_pictures": dict(zip(study.class_names, study.data.class_counts, strict=True)),
        **{name: found[name] for name in ("classes", "figures", "intervals", "groups", "missing")},
        "summary": {
            group: {metric: values[metric][row.branch] for metric in TASKS}
            for group, values in found["summary"].items()
        },
        "paper": {f"{t} {g}": row.paper(t, g) for t in TASKS.values() for g in GROUPS},
        "seconds": round(time.monotonic() - began, 1),
        "versions": {"ltad": __version__, "python": platform.python_version(),
                     "torch": torch.__version__, "transformers": transformers.__version__,
                     "numpy": np.__version__},
    }


def row_key(study: Study, row: Row, base: Config) -> str:
    """Hash of all that a row's figures depend on."""
    return key_hash({
        **study.identity, "tests": study.tests_hash, "config": row.config(base).to_dict(),
        "branch": row.branch, "shuffles_names": row.shuffles_names, "is_bank": row.is_bank,
    })


def run_table(
    study: Study, rows: Sequence[Row], base: Config, out: str | Path
) -> dict[str, dict[str, Any]]:
    """Run the rows that `out` holds no report of yet; all reports, by row.

    Raises:
        SettingError: `out` holds the report of a row under other settings or pictures.
        CheckpointError: a report or a stage cannot be read or written.
    """
    reports = {row.id: _finished(study, row, base, Path(out)) for row in rows}
    for number, row in enumerate(rows, start=1):
        if reports[row.id] is not None:
            print(f"[{number}/{len(rows)}] {row.id} {row.name}: finished before")
            continue
        print(f"[{number}/{len(rows)}] {row.id} {row.name}")
        _write_report(_report_path(Path(out), row), run_row(study, row, base))
        reports[row.id] = _finished(study, row, base, Path(out))
        every, seconds = reports[row.id]["summary"]["All"], reports[row.id]["seconds"]
        shown = (f"{task} {_figure(_percent(every[metric]))}" for metric, task in TASKS.items())
        print(f"    {', '.join(shown)} ({seconds:.0f} s)")
    return reports


def _report_path(out: Path, row: Row) -> Path:
    return out / f"{row.id}.json"


def _finished(study: Study, row: Row, base: Config, out: Path) -> dict[str, Any] | None:
    path = _report_path(out, row)
    if not path.exists():
        return None
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        key = report["key"]
    except (OSError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is no report of a row: {error}. Delete it.") from error
    if key != row_key(study, row, base):
        raise SettingError(
            f"{path} was made with other settings, pictures or another encoder. Delete it, or "
            "choose another --out."
        )
    return report


def _write_report(path: Path, report: Mapping[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise CheckpointError(f"{path} could not be written: {error}.") from error


def report_table(rows: Sequence[Row], reports: Mapping[str, Mapping[str, Any]]) -> str:
    """AUROC in percent of All, High and Low, the paper's figure in brackets behind each."""
    cells = [(task, metric, group) for metric, task in TASKS.items() for group in GROUPS]
    lines = [["row", "", *(f"{task} {group}" for task, _, group in cells)]]
    for row in rows:
        report = reports.get(row.id)
        lines.append([row.id, row.name, *(
            f"{_figure(report and _percent(report['summary'][group][metric]))} "
            f"({_figure(row.paper(task, group))})"
            for task, metric, group in cells
        )])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip()
            for line in lines]
    notes = [f"{row.id} was not run: it wants {row.wants_encoder}. Give that as --encoder, with "
             f"--rows {row.id}." for row in rows if row.wants_encoder and row.id not in reports]
    return "\n".join([*text, "In brackets: the paper, MVTec AD step100.", *notes])


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
