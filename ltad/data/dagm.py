"""DAGM 2007 as published: ``ClassK/{Train,Test}/NNNN.PNG``, masks in ``Label/NNNN_label.PNG``.

Wieler and Hahn, "Weakly Supervised Learning for Industrial Optical Inspection" (DAGM symposium,
2007).
"""

from __future__ import annotations

import re
from pathlib import Path

from ltad.data.datasets import SUFFIXES
from ltad.types import DatasetError, Sample

LAYOUT = "ClassK/{Train,Test}/NNNN.PNG with {Train,Test}/Label/NNNN_label.PNG"
DEFECT = "defect"
MASK_ENDING = "_label"
SPLITS = {"train": "Train", "test": "Test"}


def is_dagm(root: Path) -> bool:
    """Whether `root` holds folders ``ClassK/Train`` or ``ClassK/Test``, or is such a class."""
    return bool(_classes(root))


def load_dagm(root: str | Path) -> list[Sample]:
    """Every test image and every normal training image; the kind of defect is ``"defect"``.

    An image is defective when a mask is named after it, or when ``Label/Labels.txt`` names such a
    mask; without the file itself it gets ``mask_path=None``. Defective training images are left
    out, as the method trains on normal ones. `root` may also be a single class folder.

    Returns:
        Samples ordered by the class's number, then train before test, then file name.

    Raises:
        DatasetError: no class, a class without normal training images, a file in ``Label`` that
            is named after no image, or a ``Labels.txt`` that cannot be read.
    """
    classes = _classes(Path(root))
    if not classes:
        raise DatasetError(f"{root} holds no class of DAGM 2007. Expected {LAYOUT}.")
    return [sample for folder in classes for sample in _load_class(folder)]


def _classes(root: Path) -> list[Path]:
    """Class folders by number. A folder ``Train/good`` belongs to another layout."""
    root = root.absolute()
    found = {
        int(match[1]): folder
        for folder in (root, *root.iterdir())
        if (match := re.fullmatch(r"Class([0-9]+)", folder.name))
        and any((folder / name).is_dir() for name in SPLITS.values())
        and not (folder / SPLITS["train"] / "good").is_dir()
    }
    return [found[number] for number in sorted(found)]


def _load_class(folder: Path) -> list[Sample]:
    samples = [s for split in SPLITS for s in _load_split(folder, split)]
    if not any(sample.split == "train" for sample in samples):
        raise DatasetError(
            f"{folder / SPLITS['train']} holds no normal images to train on. "
            f"Expected {LAYOUT}."
        )
    return samples


def _load_split(folder: Path, split: str) -> list[Sample]:
    images = _images(folder / SPLITS[split])
    masks = _masks(folder / SPLITS[split] / "Label", {path.stem for path in images})
    samples = [
        Sample(path, folder.name, split, DEFECT, masks[path.stem])
        if path.stem in masks
        else Sample(path, folder.name, split)
        for path in images
    ]
    return [sample for sample in samples if split == "test" or not sample.is_defective]


def _masks(folder: Path, stems: set[str]) -> dict[str, Path | None]:
    """Mask of each defective image by the image's stem, None where the file is missing."""
    masks: dict[str, Path | None] = dict.fromkeys(_listed(folder / "Labels.txt"))
    for path in _images(folder):
        stem = path.stem.removesuffix(MASK_ENDING)
        if stem == path.stem or stem not in stems:
            # Left aside, a misnamed mask would turn its image into a normal one.
            raise DatasetError(
                f"{path} is named after no image of {folder.parent}. A mask of NNNN.PNG must be "
                f"called NNNN{MASK_ENDING}.PNG; rename or remove it."
            )
        masks[stem] = path
    return masks


def _listed(path: Path) -> list[str]:
    """Stems of the images whose masks ``Labels.txt`` names; none without that file."""
    if not path.is_file():
        return []
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read: {error}. Take it from the archive.") from error
    return re.findall(rf"([^\s/\\]+){MASK_ENDING}\.\w+", text)


def _images(folder: Path) -> list[Path]:
    """Image files of a folder by name; none if there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(
        path for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )
