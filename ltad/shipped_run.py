"""A run that comes with the program: without its data, without the paths of the machine it is from.

The figures stay those of the whole test set; of its pictures an even share is kept, so that the
folder stays small.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from ltad.run_files import OUTLINES, THUMBNAILS, new_run_folder
from ltad.runs import Run, write_run
from ltad.types import SettingError

NOT_HERE = "not shipped"
"""In place of the data set's folder."""


def ship_run(run: Run, runs: Path, pictures: int) -> Path:
    """Copy a run into the folder `runs`, under its own name.

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
