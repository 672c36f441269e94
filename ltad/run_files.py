"""The files of a run: their names, and reading and writing them one by one (see `ltad.runs`)."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ltad.calibration import BRANCHES, REFERENCE
from ltad.types import CheckpointError, SettingError

FORMAT = 1
ABOUT_FILE = "run.json"
IMAGES_FILE, CALIBRATION_FILE, RESULTS_FILE = "images.csv", "calibration.csv", "results.json"
EMBEDDINGS_FILE, MAPS_FILE = "embeddings.npy", "maps.npy"
THUMBNAILS, OUTLINES = "thumbnails", "outlines"
IMAGE_COLUMNS = ("index", "class_name", "defect", "is_defective", "path", "mask_path", *BRANCHES,
                 "recognised")
_TEXT = {"class_name": str, "defect": str, "path": str, "mask_path": str, "recognised": str}
_NAME = re.compile(r"[\w][\w.+ -]{0,119}")


def new_run_folder(runs: Path, name: str) -> Path:
    """Where the run `name` would lie. Raises SettingError: a bad name, or there is such a run."""
    if not _NAME.fullmatch(name) or name != name.strip():
        raise SettingError(
            f"{name!r} cannot be a run's name. Use letters, digits, spaces and . _ + -, at most "
            "120 of them, a letter or a digit first."
        )
    if (runs / name).exists():
        raise SettingError(f"There is a run {name!r} already. Delete it, or choose another name.")
    return runs / name


def half(values: np.ndarray) -> np.ndarray:
    """`values` as float16, what lies beyond its range cut to its ends."""
    limit = float(np.finfo(np.float16).max)
    return np.clip(values, -limit, limit).astype(np.float16)


def link_all(source: Path, target: Path) -> None:
    """All files of `source` in the new folder `target`, as links where the disk allows."""
    target.mkdir(parents=True)
    for path in source.iterdir() if source.is_dir() else ():
        try:
            (target / path.name).hardlink_to(path)
        except OSError:  # another disk, or one without links
            shutil.copyfile(path, target / path.name)


def torn(folder: Path, what: str) -> CheckpointError:
    """The error of a run that lacks something, to be raised."""
    return CheckpointError(
        f"{folder} is not a whole run: {what}. Delete it, and evaluate the model again."
    )


def read_json(folder: Path, file: str) -> dict[str, Any]:
    """An object out of a run's JSON file. Raises CheckpointError."""
    try:
        data = json.loads((folder / file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise torn(folder, f"{file}: {error}") from error
    if not isinstance(data, dict):
        raise torn(folder, f"{file} holds no object")
    return data


def read_table(folder: Path, file: str, columns: Sequence[str]) -> pd.DataFrame:
    """A table with exactly these columns, and "reference" behind the other branches where the
    run's model has that branch. Raises CheckpointError."""
    try:
        table = pd.read_csv(
            folder / file, dtype=_TEXT | dict.fromkeys((*BRANCHES, REFERENCE), float),
            keep_default_na=False, na_values={b: [""] for b in (*BRANCHES, REFERENCE)},
        )
    except (OSError, ValueError) as error:
        raise torn(folder, f"{file}: {error}") from error
    if [c for c in table.columns if c != REFERENCE] != list(columns):
        raise torn(folder, f"{file} has the columns {', '.join(table.columns)}")
    return table
