"""A run: one kept evaluation in one folder."""

from __future__ import annotations

import json
import re
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from ltad.inference.scoring import conformal_threshold
from ltad.io.files import atomic_path
from ltad.io.images import read_image
from ltad.types import ALL_BRANCHES, BRANCHES, CheckpointError, ImageError, SettingError

FORMAT = 1
ABOUT_FILE = "run.json"
IMAGES_FILE, CALIBRATION_FILE, RESULTS_FILE = "images.csv", "calibration.csv", "results.json"
EMBEDDINGS_FILE, MAPS_FILE = "embeddings.npy", "maps.npy"
THUMBNAILS, OUTLINES = "thumbnails", "outlines"
IMAGE_COLUMNS = ("index", "class_name", "defect", "is_defective", "path", "mask_path", *BRANCHES,
                 "recognised")
_TEXT = {"class_name": str, "defect": str, "path": str, "mask_path": str, "recognised": str}
_NAME = re.compile(r"[\w][\w.+ -]{0,119}")


@dataclass(frozen=True)
class Run:
    """One evaluation. Arrays and images are read when they are asked for.

    Attributes:
        folder: where it lies.
        about: ``run.json``: name, created, kind, row, group, model, encoder, config, settings,
            seed, data, split, training_pictures, seconds, versions, branches.
        images: a row a test image (`IMAGE_COLUMNS`): ``defect`` is "" for a good one,
            ``is_defective`` 0 or 1, the paths relative to the data's root, the image scores NaN
            for a branch that was not measured, ``recognised`` a class name or "".
        calibration: ``class_name`` and the image scores by branch of held-out good images.
        results: `Results.to_dict`, as fractions; its figures beside AUROC and its
            intervals are those of `branch`.
    """

    folder: Path
    about: dict[str, Any]
    images: pd.DataFrame
    calibration: pd.DataFrame
    results: dict[str, Any]

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def branches(self) -> tuple[str, ...]:
        """The branches that were measured, the one that the run is judged by first."""
        return tuple(self.about["branches"])

    @property
    def branch(self) -> str:
        """The branch that the run is judged by: "combined" wherever it was measured."""
        return self.branches[0]

    @property
    def class_names(self) -> list[str]:
        """The classes with test images, in the order of the results."""
        return [entry["class_name"] for entry in self.results["classes"]]

    def value(self, name: str, metric: str = "image", branch: str | None = None) -> float | None:
        """AUROC in [0, 1] of a class or of "All", "High", "Low"; None where it does not exist.

        Args:
            name: class or group. A class of a group's name is found under the class.
            metric: "image" or "pixel".
            branch: by default the run's own.
        """
        for entry in self.results["classes"]:
            if entry["class_name"] == name:
                return entry[metric].get(branch or self.branch)
        group = self.results["summary"].get(name)
        return group[metric].get(branch or self.branch) if group else None

    def embeddings(self) -> np.ndarray:
        """(n, d) float16: the mean patch feature of each test image."""
        return self._array(EMBEDDINGS_FILE)

    def maps(self) -> np.ndarray:
        """(n, g, g) float16: the run's own branch's anomaly map, mean over each grid cell."""
        return self._array(MAPS_FILE)

    def thumbnail(self, index: int) -> Path:
        """A JPEG of at most 160 pixels a side."""
        return self.folder / THUMBNAILS / f"{index:05d}.jpg"

    def outline(self, index: int) -> Path | None:
        """A 1-bit PNG of the thumbnail's size, white inside the defect; None where no mask is."""
        path = self.folder / OUTLINES / f"{index:05d}.png"
        return path if path.exists() else None

    def image(self, index: int) -> Image.Image:
        """The test image as RGB: from the data set, or the thumbnail where that is gone.

        Raises:
            SettingError: no such image in this run.
            CheckpointError: neither can be read.
        """
        row = self.row(index)
        root = Path(self.about["data"]["root"]).resolve()
        path = (root / row["path"]).resolve()
        try:
            if path.is_relative_to(root) and path.is_file():
                return read_image(path)
            return read_image(self.thumbnail(index))
        except ImageError as error:
            raise CheckpointError(f"Image {index} of run {self.name} is gone: {error}") from error

    def row(self, index: int) -> pd.Series:
        """The row of `images` with that index. Raises SettingError if there is none."""
        if not 0 <= index < len(self.images):
            raise SettingError(
                f"Run {self.name} has no image {index}; it has 0 to {len(self.images) - 1}."
            )
        return self.images.iloc[index]

    def thresholds(self, false_alarm_rate: float, branch: str | None = None) -> dict[str, float]:
        """Class -> the image score above which at most that share of good images lies.

        Conformal, from the class's held-out images; where they are too few for the rate, from
        those of all classes together.

        Raises:
            SettingError: the rate is not between 0 and 1, the branch was not measured, or no
                image was held out.
        """
        branch = branch or self.branch
        if not 0 < false_alarm_rate < 1:
            raise SettingError(
                f"The false-alarm rate is {false_alarm_rate}, but it must be between 0 and 1."
            )
        if branch not in self.branches:
            raise SettingError(
                f"Run {self.name} has no scores of the {branch} branch. It has: "
                + ", ".join(self.branches) + "."
            )
        if self.calibration.empty:
            raise SettingError(
                f"Run {self.name} has no threshold, because no good image was held out for it. "
                "Choose a threshold by hand."
            )
        together = conformal_threshold(self.calibration[branch].to_numpy(), false_alarm_rate)
        own = {
            name: conformal_threshold(scores.to_numpy(), false_alarm_rate)
            for name, scores in self.calibration.groupby("class_name")[branch]
            if len(scores) + 1 >= 1 / false_alarm_rate
        }
        return {name: own.get(name, together) for name in self.class_names}

    def _array(self, file: str) -> np.ndarray:
        try:
            return np.load(self.folder / file, allow_pickle=False, mmap_mode="r")
        except (OSError, ValueError) as error:
            raise torn(self.folder, f"{file}: {error}") from error


def run_names(folder: str | Path) -> list[str]:
    """The finished runs in `folder`, newest first; none if there is no such folder."""
    folder = Path(folder)
    if not folder.is_dir():
        return []
    found = [path for path in folder.glob(f"*/{ABOUT_FILE}") if path.parent.name[0] != "."]
    found.sort(key=lambda path: (-path.stat().st_mtime_ns, path.parent.name))
    return [path.parent.name for path in found]


def read_run(folder: str | Path) -> Run:
    """The run in `folder`.

    Raises:
        CheckpointError: it is no run, of another format, or a file of it is missing or damaged.
    """
    folder = Path(folder)
    about = read_json(folder, ABOUT_FILE)
    if about.get("format") != FORMAT:
        raise CheckpointError(
            f"{folder / ABOUT_FILE} has format {about.get('format')!r}, but this version reads "
            f"{FORMAT}. Evaluate the model again."
        )
    images = read_table(folder, IMAGES_FILE, IMAGE_COLUMNS)
    if (images["index"].to_numpy() != np.arange(len(images))).any():
        raise torn(folder, f"the rows of {IMAGES_FILE} are not numbered from 0")
    calibration = read_table(folder, CALIBRATION_FILE, ("class_name", *BRANCHES))
    return Run(folder, about, images, calibration, read_json(folder, RESULTS_FILE))


def write_run(
    folder: str | Path, about: dict[str, Any], images: pd.DataFrame, calibration: pd.DataFrame,
    results: dict[str, Any], embeddings: np.ndarray, maps: np.ndarray, image_folder: str | Path,
) -> Run:
    """Write a run, all or nothing: beside its place, then renamed.

    Args:
        folder: of the new run; its name becomes the run's.
        about, images, calibration, results: as `Run` has them (``format`` and ``name`` are added).
        embeddings: (n, d); maps: (n, g, g). Values beyond half precision are cut to its ends.
        image_folder: folder with ``thumbnails`` and ``outlines`` of these n images, whose files are
            linked or copied (`ltad.evaluation.record`).

    Raises:
        SettingError: the name cannot be a run's, or there is such a run.
        CheckpointError: it cannot be written.
    """
    folder = new_run_folder(Path(folder).parent, Path(folder).name)
    try:
        with atomic_path(folder) as beside:
            for kind in (THUMBNAILS, OUTLINES):
                link_all(Path(image_folder) / kind, beside / kind)
            further = [b for b in ALL_BRANCHES if b not in BRANCHES and b in images]
            columns = [*IMAGE_COLUMNS[:-1], *further, IMAGE_COLUMNS[-1]]
            images.to_csv(beside / IMAGES_FILE, columns=columns, index=False)
            calibration.to_csv(beside / CALIBRATION_FILE, index=False)
            (beside / RESULTS_FILE).write_text(json.dumps(results, indent=1) + "\n", "utf-8")
            for file, values in ((EMBEDDINGS_FILE, embeddings), (MAPS_FILE, maps)):
                np.save(beside / file, half(values), allow_pickle=False)
            about = {**about, "format": FORMAT, "name": folder.name}
            (beside / ABOUT_FILE).write_text(json.dumps(about, indent=1) + "\n", "utf-8")
    except OSError as error:
        raise CheckpointError(f"Run {folder} could not be written: {error}.") from error
    return read_run(folder)


def delete_run(folder: str | Path) -> None:
    """Delete a run and nothing else.

    Raises:
        CheckpointError: `folder` is no run, or it cannot be deleted.
    """
    folder = Path(folder)
    if folder.is_symlink() or not (folder / ABOUT_FILE).is_file():
        raise CheckpointError(f"{folder} is not a run, so it was not deleted.")
    gone = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.gone")
    try:
        folder.rename(gone)  # at once, so that nobody reads half a run
        shutil.rmtree(gone)
    except OSError as error:
        raise CheckpointError(f"Run {folder.name} could not be deleted: {error}.") from error


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
    """A table with exactly these columns, and those of optional branches where the run's model
    has them. Raises CheckpointError."""
    try:
        table = pd.read_csv(
            folder / file, dtype={**_TEXT, **dict.fromkeys(ALL_BRANCHES, float)},
            keep_default_na=False, na_values={branch: [""] for branch in ALL_BRANCHES},
        )
    except (OSError, ValueError) as error:
        raise torn(folder, f"{file}: {error}") from error
    if [c for c in table.columns if c in columns or c not in ALL_BRANCHES] != list(columns):
        raise torn(folder, f"{file} has the columns {', '.join(table.columns)}")
    return table
