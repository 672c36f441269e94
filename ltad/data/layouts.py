"""Data sets as they are published: which layout a folder has, and what its masks mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ltad.data import dagm, folders, visa
from ltad.images import read_image
from ltad.types import DatasetError, Sample

LARGEST_LABEL = 31
"""A lossless mask whose values stay up to this holds labels (VisA), not shades."""
LOSSY = frozenset({".jpg", ".jpeg", ".webp"})


def load_dataset(root: str | Path) -> list[Sample]:
    """Every picture of a data set in the layout of MVTec AD, VisA or DAGM 2007.

    The layout is told by what lies in `root`. Masks are found by name, never by order.

    Returns:
        Samples ordered by class, then train before test, as the layout's own function gives them
        (`folders.load_folder`, `visa.load_visa`, `dagm.load_dagm`).

    Raises:
        DatasetError: no such folder, none of the three layouts, or an error of the layout's own
            function.
    """
    root = Path(root)
    if not root.is_dir():
        raise DatasetError(f"{root} is not a folder. Give the folder that holds the classes.")
    if visa.is_visa(root):
        return visa.load_visa(root)
    if dagm.is_dagm(root):
        return dagm.load_dagm(root)
    if not _is_mvtec(root):
        raise DatasetError(
            f"{root} holds no class. Expected MVTec AD's layout ({folders.LAYOUT}), VisA's "
            f"({visa.LAYOUT}) or DAGM 2007's ({dagm.LAYOUT})."
        )
    return folders.load_folder(root)


def read_mask(path: str | Path) -> np.ndarray:
    """A defect's pixels, (H, W) bool.

    A lossless mask of small values holds labels, each of them a defect. Any other is cut at half
    of its largest value, so that a blurred edge or JPEG's noise does not count. A black mask is
    all False.

    Raises:
        ImageError: as `ltad.images.read_image`.
    """
    values = np.asarray(read_image(path).convert("L"))
    largest = int(values.max())
    is_labelled = largest <= LARGEST_LABEL and Path(path).suffix.lower() not in LOSSY
    return values > (0 if is_labelled else largest / 2)


def _is_mvtec(root: Path) -> bool:
    return any((f / name).is_dir() for f in (root, *root.iterdir()) for name in ("train", "test"))
