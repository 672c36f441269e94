"""What is wrong with a data set's files, found before a training or an evaluation trips over it."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from ltad.data.datasets import MASK_ENDING, mask_doubts, read_mask, stray_masks
from ltad.io.images import read_image
from ltad.types import ImageError, Sample

SPLITS = {"train": "training", "test": "test"}


def check_dataset(samples: Iterable[Sample]) -> list[str]:
    """Decode every image and mask, and report what is wrong.

    Faults: a file that cannot be read, a defective image without a mask, a mask of another size
    than its image, without a defective pixel or of doubtful meaning, a mask of no image, a
    class without training or test images, and a training image that is a test image too, byte
    by byte.

    Args:
        samples: read once, so that an iterator with a progress bar will do.

    Returns:
        One sentence or two for each fault, beginning with the file; empty if all is well.
    """
    faults: list[str] = []
    seen: list[Sample] = []
    first: dict[str, dict[str, Path]] = defaultdict(dict)
    contents: dict[bytes, dict[str, Path]] = defaultdict(dict)
    for sample in samples:
        first[sample.class_name].setdefault(sample.split, sample.path)
        seen.append(sample)
        faults += _image_faults(sample)
        if (digest := _digest(sample.path)) is not None:
            contents[digest].setdefault(sample.split, sample.path)
    return faults + _stray(seen) + _class_faults(first) + _duplicates(contents)


def count_table(samples: Sequence[Sample]) -> str:
    """Images per class, split and kind of defect, as plain text; ``good`` for none."""
    counts = Counter((s.class_name, s.split, s.defect or "good") for s in samples)
    width = max((len(name) for name, _, _ in counts), default=5)
    lines = [
        f"{name:{width}}  {split:5}  {count:6}  {defect}"
        for (name, split, defect), count in counts.items()
    ]
    return "\n".join([f"{'class':{width}}  split   count  defect", *lines])


def _image_faults(sample: Sample) -> list[str]:
    try:
        width, height = read_image(sample.path).size
    except ImageError as error:
        return [str(error)]
    if not sample.is_defective:
        return []
    if sample.mask_path is None:
        return [f"{sample.path} is defective but has no mask of its name. Add the published one."]
    try:
        mask = read_mask(sample.mask_path)
    except ImageError as error:
        return [str(error)]
    faults = []
    if mask.shape != (height, width):
        faults.append(
            f"{sample.mask_path} is {mask.shape[1]} x {mask.shape[0]} pixels, but its image "
            f"{sample.path} is {width} x {height}. Make them the same size."
        )
    faults += mask_doubts(sample.mask_path)
    if not mask.any():
        faults.append(
            f"{sample.mask_path} marks no pixel, but its image {sample.path} is defective. "
            "Mark the defect, or move the image to the good ones."
        )
    return faults


def _stray(samples: Sequence[Sample]) -> list[str]:
    return [
        f"{path} is the mask of no image: a mask of NAME.png in test/{path.parent.name} must be "
        f"called NAME{MASK_ENDING}.png or NAME.png, and be the only one. Rename or remove it."
        for path in stray_masks(samples)
    ]


def _digest(path: Path) -> bytes | None:
    """SHA-256 of a file's bytes; None where it cannot be read, which is a fault of its own."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return None


def _class_faults(first: dict[str, dict[str, Path]]) -> list[str]:
    return [
        f"{next(iter(paths.values())).parent} belongs to class {name}, which has no {word} "
        "images. Add some, or take the class out."
        for name, paths in first.items()
        for split, word in SPLITS.items()
        if split not in paths
    ]


def _duplicates(contents: dict[bytes, dict[str, Path]]) -> list[str]:
    return [
        f"{paths['train']} is a training image with the same bytes as the test image "
        f"{paths['test']}. Remove one of them."
        for paths in contents.values()
        if len(paths) == len(SPLITS)
    ]
