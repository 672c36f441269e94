"""From an evaluation to the run that keeps it; from a run to one that comes with the program."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import transformers

from ltad import __version__
from ltad.calibration import BRANCHES, REFERENCE, ScoreSettings
from ltad.data import dagm, visa
from ltad.data.folders import plain_classes
from ltad.encoders.base import Encoder
from ltad.evaluation import Evaluation
from ltad.run_files import IMAGE_COLUMNS, OUTLINES, THUMBNAILS, new_run_folder
from ltad.runs import Run, write_run
from ltad.thumbnails import build_thumbnails
from ltad.types import SettingError

NOT_HERE = "not shipped"
"""In place of the data set's folder."""


def record(
    folder: str | Path, evaluation: Evaluation, calibration: pd.DataFrame, root: str | Path,
    features: str | Path, facts: Mapping[str, Any],
) -> Run:
    """Write an evaluation as the run `folder`, with small pictures of its test set.

    Args:
        folder: of the new run.
        evaluation: what was measured.
        calibration: see `ltad.evaluation.calibration_table`.
        root: of the data set, above every test picture.
        features: where the small pictures are kept for the next run on this test set.
        facts: for ``run.json``: kind, model, encoder, config, settings, seed, data (its name),
            split, training_pictures, seconds; row and group where there are such.

    Raises:
        SettingError: there is such a run, or it cannot have that name.
        CheckpointError: it cannot be written.
    """
    root = Path(root).resolve()
    about = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"), "row": None, "group": None,
        **facts,
        "data": {"name": facts["data"], "root": str(root), "layout": layout_of(root)},
        "versions": versions(), "branches": list(evaluation.branches),
    }
    return write_run(
        folder, about, images_table(evaluation, root), calibration, evaluation.results_dict(),
        evaluation.embeddings, evaluation.maps, build_thumbnails(evaluation.samples, features),
    )


def images_table(evaluation: Evaluation, root: Path) -> pd.DataFrame:
    """``images.csv`` of an evaluation; `root` is absolute."""
    samples = evaluation.samples
    table = pd.DataFrame({
        "index": np.arange(len(samples)),
        "class_name": [sample.class_name for sample in samples],
        "defect": [sample.defect or "" for sample in samples],
        "is_defective": [int(sample.is_defective) for sample in samples],
        "path": [_below(root, sample.path) for sample in samples],
        "mask_path": [_below(root, sample.mask_path) for sample in samples],
        **{branch: evaluation.scores.get(branch, np.nan) for branch in BRANCHES},
        "recognised": evaluation.recognised,
    })
    columns = list(IMAGE_COLUMNS)
    if REFERENCE in evaluation.scores:
        table[REFERENCE] = evaluation.scores[REFERENCE]
        columns.insert(columns.index(BRANCHES[-1]) + 1, REFERENCE)
    return table[columns]


def _below(root: Path, path: Path | None) -> str:
    return "" if path is None else path.resolve().relative_to(root).as_posix()


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
    """``split`` of ``run.json``: ``listed`` is there only if a list named the pictures."""
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


def ship_run(run: Run, runs: Path, pictures: int) -> Path:
    """Copy a run into the folder `runs`, without its data and without this machine's paths.

    The figures stay those of the whole test set; of its images an even share is kept.

    Args:
        run: the run.
        runs: where it will lie.
        pictures: test pictures to keep at most; at least one of every class and defect type stays.

    Returns:
        The new run's folder.

    Raises:
        SettingError: there is such a run already, or `pictures` is less than 1.
        CheckpointError: it cannot be written.
    """
    if pictures < 1:
        raise SettingError(f"--pictures is {pictures}, but it must be 1 or more.")
    target = new_run_folder(runs, run.name)
    kept = chosen_pictures(run.images, pictures)
    about = {
        **run.about, "data": {**run.about["data"], "root": NOT_HERE},
        "model": {**run.about["model"], "folder": None},
    }
    about.pop("format", None)
    images = run.images.loc[kept].assign(index=np.arange(len(kept)))
    beside = runs / f".{run.name}.pictures"
    try:
        _copy_pictures(run, kept, beside)
        write_run(
            target, about, images.reset_index(drop=True), run.calibration, run.results,
            run.embeddings()[kept], run.maps()[kept], beside,
        )
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return target


def chosen_pictures(images: pd.DataFrame, most: int) -> list[int]:
    """Places of an even share of every class and defect type, in order."""
    share = min(1.0, most / len(images))
    kept: list[int] = []
    for _, group in images.groupby(["class_name", "defect"], sort=True):
        count = max(1, int(len(group) * share))
        kept += list(group.index[np.linspace(0, len(group) - 1, count).round().astype(int)])
    return sorted(kept)


def _copy_pictures(run: Run, kept: list[int], folder: Path) -> None:
    for kind in (THUMBNAILS, OUTLINES):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for new, old in enumerate(kept):
        shutil.copyfile(run.thumbnail(old), folder / THUMBNAILS / f"{new:05d}.jpg")
        if (outline := run.outline(old)) is not None:
            shutil.copyfile(outline, folder / OUTLINES / f"{new:05d}.png")
