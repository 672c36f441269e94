"""The rendered benchmark: written in MVTec AD's layout, its seeds apart for training and test."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from ltad.data.splits import long_tail_counts, parse_split
from ltad.io.files import atomic_path
from ltad.io.threads import usable_cores
from ltad.synthetic.classes import PART_CLASSES, applicable_defects
from ltad.synthetic.render import render_part
from ltad.types import DatasetError, SettingError

RECIPE_FILE = "parts.json"
FIRST_DEFECTIVE = 1_000_000
"""Test index of the first defective image, so that none is the twin of a good test image."""
PRETRAINING_SEED = 1_000_000_000
TRAIN_SEED = 2_000_000_000
TEST_SEED = 3_000_000_000
SEED_STRIDE = 10_000_000
"""Images of one class under one benchmark seed; ranges of two benchmark seeds never meet."""


@dataclass(frozen=True)
class Recipe:
    """What `parts.json` records beside the classes: everything the images depend on.

    Attributes:
        seed: benchmark seed of the training images (the test set is always the same).
        split: e.g. ``"exp100"``.
        size: side of the images in pixels.
        train_per_class: training images of a class before the split.
        test_good, test_defective: test images of each class.
        counts: class -> training images, ranked in the order of ``PART_CLASSES``.
    """

    seed: int
    split: str
    size: int
    train_per_class: int
    test_good: int
    test_defective: int
    counts: dict[str, int]


@dataclass(frozen=True)
class _PlannedImage:
    """One image to render: where it goes and what it shows."""

    path: Path
    mask_path: Path | None
    part_class: str
    seed: int
    size: int
    defect: str | None

    def is_written(self) -> bool:
        return self.path.exists() and (self.mask_path is None or self.mask_path.exists())


def write_parts(
    folder: str | Path,
    split_name: str,
    seed: int = 0,
    train_per_class: int = 100,
    test_good: int = 20,
    test_defective: int = 20,
    size: int = 256,
    progress: bool = True,
    workers: int | None = None,
) -> Path:
    """Render every part class into `folder`, or go on where an earlier call was stopped.

    Images are 8-bit RGB PNG, ``size`` x ``size``; masks ``ground_truth/TYPE/NNN_mask.png`` are
    0 and 255. The defects of a class are taken in turn. Only the training images that the split
    keeps are rendered. ``parts.json`` records the recipe.

    Args:
        folder: missing, empty, or with the same recipe; existing images are kept.
        split_name: as `ltad.data.splits.parse_split`; the first of ``PART_CLASSES`` has rank 0.
        seed: 0 to 99, of the training images.
        train_per_class: training images of a class before the split, at least 1.
        test_good, test_defective: test images of each class, zero or more.
        size: at least 32 pixels.
        progress: show a progress bar.
        workers: processes; by default one per processor.

    Returns:
        The folder.

    Raises:
        SettingError: a number or the split's name is out of range.
        DatasetError: the folder holds something else or cannot be written.
    """
    recipe = _make_recipe(seed, split_name, size, train_per_class, test_good, test_defective)
    folder = Path(folder)
    try:
        _claim(folder, recipe)
        todo = [planned for planned in _planned_images(folder, recipe) if not planned.is_written()]
        _write_all(todo, progress, workers or usable_cores())
    except OSError as error:
        raise DatasetError(
            f"{folder} cannot be written ({error}). Free some space, or choose another folder; "
            "the same call goes on where this one stopped."
        ) from error
    return folder


def _make_recipe(
    seed: int, split_name: str, size: int, train_per_class: int, test_good: int, test_defective: int
) -> Recipe:
    ranges = {
        "seed": (seed, 0, 99),
        "size": (size, 32, 4096),
        "train_per_class": (train_per_class, 1, FIRST_DEFECTIVE),
        "test_good": (test_good, 0, FIRST_DEFECTIVE),
        "test_defective": (test_defective, 0, FIRST_DEFECTIVE),
    }
    for name, (value, low, high) in ranges.items():
        if not low <= value <= high:
            raise SettingError(f"{name} is {value!r}, but it must be from {low} to {high}.")
    natural = dict.fromkeys(PART_CLASSES, train_per_class)
    counts = long_tail_counts(natural, parse_split(split_name), PART_CLASSES)
    return Recipe(seed, split_name, size, train_per_class, test_good, test_defective, counts)


def _claim(folder: Path, recipe: Recipe) -> None:
    """Record the recipe in an empty folder; check it in one that was begun."""
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / RECIPE_FILE
    if record.exists():
        try:
            found = json.loads(record.read_text(encoding="utf-8"))
        except ValueError:
            found = None
        if found != asdict(recipe):
            raise DatasetError(
                f"{folder} holds rendered parts of another recipe (see {RECIPE_FILE} there). "
                "Choose another folder, or delete this one."
            )
    elif any(not path.name.startswith(".") for path in folder.iterdir()):
        raise DatasetError(f"{folder} holds other files. Choose an empty or a new folder.")
    else:
        text = json.dumps(asdict(recipe), indent=2) + "\n"
        with atomic_path(record) as part:
            part.write_text(text, encoding="utf-8")


def _planned_images(folder: Path, recipe: Recipe) -> Iterator[_PlannedImage]:
    for name, count in recipe.counts.items():
        for index in range(count):
            path = folder / name / "train" / "good" / f"{index:03d}.png"
            image_seed = train_seed(index, recipe.seed)
            yield _PlannedImage(path, None, name, image_seed, recipe.size, None)
        for index in range(recipe.test_good):
            path = folder / name / "test" / "good" / f"{index:03d}.png"
            yield _PlannedImage(path, None, name, test_seed(index), recipe.size, None)
        defects = applicable_defects(name)
        for index in range(recipe.test_defective):
            number, turn = divmod(index, len(defects))
            defect = defects[turn]
            path = folder / name / "test" / defect / f"{number:03d}.png"
            mask = folder / name / "ground_truth" / defect / f"{number:03d}_mask.png"
            image_seed = test_seed(FIRST_DEFECTIVE + index)
            yield _PlannedImage(path, mask, name, image_seed, recipe.size, defect)


def _write_all(images: list[_PlannedImage], progress: bool, workers: int) -> None:
    bar = tqdm(total=len(images), desc="rendering", unit="images", disable=not progress)
    with bar:
        if workers == 1 or len(images) <= workers:
            for planned in images:
                _write(planned)
                bar.update()
            return
        spawn = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
        with ProcessPoolExecutor(workers, mp_context=spawn) as pool:
            for _ in pool.map(_write, images, chunksize=8):
                bar.update()


def _write(planned: _PlannedImage) -> None:
    part = render_part(planned.part_class, planned.seed, planned.size, planned.defect)
    if planned.mask_path is not None:
        _save(planned.mask_path, part.mask.astype(np.uint8) * np.uint8(255))
    _save(planned.path, part.image)


def _save(path: Path, pixels: np.ndarray) -> None:
    with atomic_path(path) as part:
        Image.fromarray(pixels).save(part, format="PNG")




def train_seed(index: int, seed: int = 0) -> int:
    """Renderer seed of training image `index` under benchmark seed `seed`."""
    return TRAIN_SEED + _offset(index, seed)


def test_seed(index: int) -> int:
    """Renderer seed of test image `index`; the test set is the same for every benchmark seed."""
    return TEST_SEED + _offset(index, 0)


def _offset(index: int, seed: int) -> int:
    if not 0 <= index < SEED_STRIDE or not 0 <= seed < 100:
        raise ValueError(f"index {index} or seed {seed} is out of range (0..{SEED_STRIDE}, 0..99)")
    return seed * SEED_STRIDE + index
