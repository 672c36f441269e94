"""From an evaluation to a run: facts, figures and thumbnails."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import transformers
from PIL import Image
from tqdm import tqdm

from ltad import __version__
from ltad.data import dagm, visa
from ltad.data.datasets import plain_classes, read_mask
from ltad.data.splits import resample_as_trained
from ltad.evaluation.evaluate import (
    Evaluation,
    bank_measure,
    branches_of,
    calibration_table,
    detector_measure,
    evaluate_tests,
    ordered_tests,
)
from ltad.evaluation.runs import OUTLINES, THUMBNAILS, Run, new_run_folder, write_run
from ltad.inference.calibration import ScoreSettings
from ltad.inference.feature_store import FeatureStore, build_store
from ltad.inference.patch_bank import BANK
from ltad.inference.scorer import Scorer
from ltad.io.files import atomic_path
from ltad.io.images import read_image
from ltad.models.align import Encoder
from ltad.training.train import learned_and_held_out, training_images
from ltad.types import (
    ALL_BRANCHES,
    BRANCHES,
    CheckpointError,
    DatasetError,
    ImageError,
    Sample,
    SettingError,
)

NOT_HERE = "not shipped"
"""In place of the data set's folder."""
SIDE = 160
QUALITY = 82


def record(
    folder: str | Path, evaluation: Evaluation, calibration: pd.DataFrame, root: str | Path,
    features: str | Path, facts: Mapping[str, Any],
) -> Run:
    """Write an evaluation as the run `folder`, with small images of its test set.

    Args:
        folder: of the new run.
        evaluation: what was measured.
        calibration: see `ltad.evaluation.evaluate.calibration_table`.
        root: of the data set, above every test image.
        features: where the small images are kept for the next run on this test set.
        facts: for ``run.json``: kind, model, encoder, config, settings, seed, data (its name),
            split, training_pictures, seconds; row and group where there are such.

    Raises:
        SettingError: there is such a run, or it cannot have that name.
        CheckpointError: it cannot be written.
    """
    root = Path(root).absolute()
    about = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"), "row": None, "group": None,
        **facts,
        "data": {"name": facts["data"], "root": str(root.resolve()), "layout": layout_of(root)},
        "versions": versions(), "branches": list(evaluation.branches),
    }
    return write_run(
        folder, about, images_table(evaluation, root), calibration, evaluation.results_dict(),
        evaluation.embeddings, evaluation.maps, build_thumbnails(evaluation.samples, features),
    )


def images_table(evaluation: Evaluation, root: Path) -> pd.DataFrame:
    """``images.csv`` of an evaluation; `root` is absolute, and may hold links."""
    samples = evaluation.samples
    return pd.DataFrame({
        "index": np.arange(len(samples)),
        "class_name": [sample.class_name for sample in samples],
        "defect": [sample.defect or "" for sample in samples],
        "is_defective": [int(sample.is_defective) for sample in samples],
        "path": [_below(root, sample.path) for sample in samples],
        "mask_path": [_below(root, sample.mask_path) for sample in samples],
        **{branch: evaluation.scores.get(branch, np.nan) for branch in ALL_BRANCHES
           if branch in BRANCHES or branch in evaluation.scores},
        "recognised": evaluation.recognised,
    })


def _below(root: Path, path: Path | None) -> str:
    # A link belongs to the data set, wherever it leads: nothing is resolved.
    return "" if path is None else Path(os.path.relpath(path.absolute(), root)).as_posix()


def layout_of(root: Path) -> str:
    """In whose layout a data set lies, as `ltad.data.layouts.load_dataset` tells it."""
    if visa.is_visa(root):
        return "VisA"
    if dagm.is_dagm(root):
        return "DAGM 2007"
    return "plain folders" if plain_classes(root) else "MVTec AD"


def encoder_facts(name: str, encoder: Encoder) -> dict[str, str]:
    """``encoder`` of ``run.json``."""
    return {"name": name, "fingerprint": encoder.fingerprint}


def split_facts(name: str, counts: Mapping[str, int], listed: Sequence[str]) -> dict[str, Any]:
    """``split`` of ``run.json``: ``listed`` is there only if a list named the images."""
    return {"name": name, "counts": counts, **({"listed": list(listed)} if listed else {})}


def settings_facts(settings: ScoreSettings) -> dict[str, Any]:
    """``settings`` of ``run.json``."""
    return {
        "normal_prompt": settings.normal_prompt, "abnormal_prompt": settings.abnormal_prompt,
        "lam": settings.lam, "tau": settings.tau, "score_pool": settings.pool,
        "image_size": settings.size,
    }


def versions() -> dict[str, str]:
    """Of what a figure can depend on."""
    return {
        "ltad": __version__, "python": platform.python_version(), "torch": torch.__version__,
        "transformers": transformers.__version__, "numpy": np.__version__,
    }


def ship_run(run: Run, runs: Path, most: int) -> Path:
    """Copy a run into the folder `runs`, without its data and without this machine's paths.

    The figures stay those of the whole test set; of its images an even share is kept.

    Args:
        run: the run.
        runs: where it will lie.
        most: test images to keep; at least one of every class and defect type stays.

    Returns:
        The new run's folder.

    Raises:
        SettingError: there is such a run already, or `most` is less than 1.
        CheckpointError: it cannot be written.
    """
    if most < 1:
        raise SettingError(f"--pictures is {most}, but it must be 1 or more.")
    target = new_run_folder(runs, run.name)
    chosen = chosen_images(run.images, most)
    about = {
        **run.about, "data": {**run.about["data"], "root": NOT_HERE},
        "model": {**run.about["model"], "folder": None},
    }
    about.pop("format", None)
    images = run.images.loc[chosen].assign(index=np.arange(len(chosen)))
    beside = runs / f".{run.name}.pictures"
    try:
        _copy_images(run, chosen, beside)
        write_run(
            target, about, images.reset_index(drop=True), run.calibration, run.results,
            run.embeddings()[chosen], run.maps()[chosen], beside,
        )
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return target


def chosen_images(images: pd.DataFrame, most: int) -> list[int]:
    """Places of an even share of every class and defect type, in order."""
    share = min(1.0, most / len(images))
    chosen: list[int] = []
    for _, group in images.groupby(["class_name", "defect"], sort=True):
        count = max(1, int(len(group) * share))
        chosen += list(group.index[np.linspace(0, len(group) - 1, count).round().astype(int)])
    return sorted(chosen)


def _copy_images(run: Run, chosen: list[int], folder: Path) -> None:
    for kind in (THUMBNAILS, OUTLINES):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for new, old in enumerate(chosen):
        shutil.copyfile(run.thumbnail(old), folder / THUMBNAILS / f"{new:05d}.jpg")
        if (outline := run.outline(old)) is not None:
            shutil.copyfile(outline, folder / OUTLINES / f"{new:05d}.png")


@dataclass(frozen=True)
class ModelEvaluation:
    """An evaluation and all that its run has to say.

    Attributes:
        evaluation: what was measured.
        calibration: scores of held-out good images.
        facts: for ``run.json``, see `ltad.evaluation.record.record`.
        root: of the data set.
        features: folder of the feature stores.
    """

    evaluation: Evaluation
    calibration: pd.DataFrame
    facts: dict[str, Any]
    root: Path
    features: Path

    def write(self, folder: str | Path) -> Run:
        """Keep it as the run `folder`; errors as `ltad.evaluation.record.record`."""
        return record(folder, self.evaluation, self.calibration, self.root, self.features,
                      self.facts)


def evaluate_model(
    scorer: Scorer, samples: Sequence[Sample], root: str | Path, features: str | Path,
    settings: ScoreSettings | None = None, folder: str | Path | None = None, data: str = "",
    progress: bool = True,
) -> ModelEvaluation:
    """Score every test image with its true class. High and Low go by the model's own split.

    Args:
        scorer: the model.
        samples: a data set; only its test images are read.
        root: the data set's folder.
        features: folder of the feature stores; what they hold is not encoded again.
        settings: instead of the model's own.
        folder: the model's, so that a run can be evaluated again.
        data: the data set's name; by default its folder's.
        progress: show bars.

    Raises:
        DatasetError: no test image, or a class that the model does not know.
    """
    began = time.monotonic()
    tests = _tests(scorer, samples, features, progress)
    encoded = time.monotonic()
    settings = settings or scorer.score_settings()
    branches = branches_of(scorer.detector)
    measure = detector_measure(scorer.detector, scorer.encoder, settings, branches=branches)
    evaluation = evaluate_tests(
        tests, measure, scorer.checkpoint.about["split_counts"], branches,
        scorer.checkpoint.recogniser, progress,
    )
    facts = {
        **_facts(scorer, settings, data or Path(root).name), "kind": "LTAD",
        "model": {"name": scorer.name, "folder": _folder_fact(folder)},
        "seconds": {"features": round(encoded - began, 1),
                    "evaluation": round(time.monotonic() - encoded, 1)},
    }
    calibration = _calibration(scorer, settings)
    return ModelEvaluation(evaluation, calibration, facts, Path(root), Path(features))


def evaluate_bank(
    scorer: Scorer, samples: Sequence[Sample], root: str | Path, features: str | Path,
    folder: str | Path | None = None, data: str = "", progress: bool = True,
) -> ModelEvaluation:
    """The same for a nearest-neighbour bank a class, filled with what the model learned from.

    Raises:
        DatasetError: as `evaluate_model`.
        SettingError: the model's split is no named one, or a test class has no training image.
    """
    began = time.monotonic()
    about, config = scorer.checkpoint.about, scorer.config
    used = resample_as_trained(samples, about["split"], about["split_seed"], about["split_counts"],
                               about.get("split_list", ()))
    training = build_store(training_images(used), scorer.encoder, features, progress=progress)
    learned, held_out = learned_and_held_out(training, scorer.class_names, config)
    filled = {name: sorted(set(training.indices(name)) & set(learned))
              for name in scorer.class_names}
    tests = _tests(scorer, samples, features, progress)
    for name in sorted({sample.class_name for sample in tests.samples}):
        if not filled[name]:
            raise SettingError(f"No training image of {name} is there to fill a bank with.")
    encoded = time.monotonic()
    settings = scorer.score_settings()
    measure = bank_measure(training, filled, settings.size, settings.pool, config.training.seed)
    evaluation = evaluate_tests(
        tests, measure, about["split_counts"], ("combined",), progress=progress
    )
    facts = {
        **_facts(scorer, settings, data or Path(root).name), "kind": BANK,
        "model": {"name": BANK, "folder": _folder_fact(folder)},
        "training_pictures": {name: len(places) for name, places in filled.items()},
        "seconds": {"features": round(encoded - began, 1),
                    "evaluation": round(time.monotonic() - encoded, 1)},
    }
    calibration = calibration_table(training, held_out, measure, ("combined",))
    return ModelEvaluation(evaluation, calibration, facts, Path(root), Path(features))


def _tests(
    scorer: Scorer, samples: Sequence[Sample], features: str | Path, progress: bool
) -> FeatureStore:
    tests = ordered_tests(samples)
    unknown = sorted({sample.class_name for sample in tests} - set(scorer.class_names))
    if unknown:
        raise DatasetError(
            f"The model was not trained on {', '.join(unknown)}. It knows: "
            + ", ".join(scorer.class_names) + "."
        )
    return build_store(tests, scorer.encoder, features, progress=progress)


def alarm_table(
    scorer: Scorer, evaluation: Evaluation, settings: ScoreSettings, rates: Sequence[float]
) -> pd.DataFrame:
    """How many test images lie above the thresholds for some false-alarm rates.

    Returns:
        One row for each class and one for all: "2 of 80" good and defective images above, by
        rate; for all also the 95% interval (Clopper and Pearson) of the share of good ones.
    """
    from scipy.stats import binomtest

    names = np.array([sample.class_name for sample in evaluation.samples])
    is_defective = np.array([sample.is_defective for sample in evaluation.samples])
    scores, rows = evaluation.scores["combined"], {}
    totals = {(rate, kind): np.zeros(2, int) for rate in rates for kind in ("good", "defective")}
    for name in dict.fromkeys(names):
        rows[name] = {}
        for rate in rates:
            threshold = scorer.calibration.limits(name, settings, rate).thresholds["combined"]
            for kind, is_kind in (("good", ~is_defective), ("defective", is_defective)):
                own = scores[(names == name) & is_kind]
                counts = np.array([(own > threshold).sum(), len(own)])
                totals[rate, kind] += counts
                rows[name][f"{100 * rate:g}%, {kind}"] = f"{counts[0]} of {counts[1]}"
    rows["All"] = {}
    for (rate, kind), (above, count) in totals.items():
        text = f"{above} of {count}"
        if kind == "good" and count:
            low, high = binomtest(int(above), int(count)).proportion_ci(0.95)
            text += f" ({100 * above / count:.1f}%, {100 * low:.1f} - {100 * high:.1f})"
        rows["All"][f"{100 * rate:g}%, {kind}"] = text
    return pd.DataFrame.from_dict(rows, orient="index")


def _calibration(scorer: Scorer, settings: ScoreSettings) -> pd.DataFrame:
    rows = []
    for name, images in scorer.checkpoint.calibration.items():
        if images:
            scores = scorer.calibration_scores(name, settings)
            rows.append(pd.DataFrame({"class_name": name, **{
                branch: scores[branch].double().cpu().numpy()
                for branch in branches_of(scorer.detector)
            }}))
    empty = pd.DataFrame(columns=["class_name", *branches_of(scorer.detector)])
    return pd.concat(rows, ignore_index=True) if rows else empty


def _folder_fact(folder: str | Path | None) -> str | None:
    return str(Path(folder).resolve()) if folder else None


def _facts(scorer: Scorer, settings: ScoreSettings, data: str) -> dict[str, Any]:
    about = scorer.checkpoint.about
    return {
        "encoder": encoder_facts(scorer.checkpoint.encoder_name, scorer.encoder),
        "config": scorer.config.to_dict(), "settings": settings_facts(settings),
        "seed": scorer.config.training.seed, "data": data,
        "split": split_facts(about["split"], about["split_counts"], about.get("split_list", ())),
        "training_pictures": about["training_pictures"],
    }


def build_thumbnails(
    samples: Sequence[Sample], root: str | Path, progress: bool = True
) -> Path:
    """A folder with ``thumbnails/NNNNN.jpg`` of every sample, in their order from 0, and
    ``outlines/NNNNN.png`` of every mask; found again while no file of theirs changes.

    Args:
        samples: images.
        root: where such folders are kept.
        progress: show a bar.

    Raises:
        DatasetError: an image or a mask cannot be read.
        CheckpointError: the folder cannot be written.
    """
    folder = Path(root) / f"thumbnails-{_state_of(samples)}"
    if folder.is_dir():
        return folder
    try:
        with atomic_path(folder) as beside:
            for kind in (THUMBNAILS, OUTLINES):
                (beside / kind).mkdir(parents=True)
            for index, sample in enumerate(tqdm(samples, desc="thumbnails", disable=not progress)):
                _write(sample, index, beside)
    except OSError as error:
        if not folder.is_dir():  # else somebody was faster
            raise CheckpointError(f"{folder} could not be written: {error}.") from error
    return folder


def _write(sample: Sample, index: int, folder: Path) -> None:
    try:
        image = read_image(sample.path)
        mask = None if sample.mask_path is None else read_mask(sample.mask_path)
    except ImageError as error:
        raise DatasetError(f"{sample.path} cannot be used: {error}") from error
    image.thumbnail((SIDE, SIDE))
    image.save(folder / THUMBNAILS / f"{index:05d}.jpg", "JPEG", quality=QUALITY)
    if mask is not None:
        whole = Image.fromarray(mask.astype(np.uint8) * 255)
        # The mean over each box, above zero, so that the smallest defect does not vanish.
        small = np.asarray(whole.resize(image.size, Image.Resampling.BOX)) > 0
        Image.fromarray(small).save(folder / OUTLINES / f"{index:05d}.png")


def _state_of(samples: Sequence[Sample]) -> str:
    """Hash of the files' names, sizes and times."""
    digest = hashlib.sha256(f"{SIDE} {QUALITY}\n".encode())
    for sample in samples:
        for path in (sample.path, sample.mask_path):
            try:
                state = path.stat() if path else None
            except OSError as error:
                raise DatasetError(f"{path} cannot be read: {error.strerror}.") from error
            digest.update(
                f"{path} {state and (state.st_size, state.st_mtime_ns)}\n".encode()
            )
    return digest.hexdigest()[:16]
