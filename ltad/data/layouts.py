"""Data sets as they are published: which layout a folder has."""

from __future__ import annotations

from pathlib import Path

from ltad.data import dagm, datasets, visa
from ltad.types import DatasetError, Sample


def load_dataset(root: str | Path) -> list[Sample]:
    """Every image of a data set in the layout of MVTec AD, VisA or DAGM 2007, or plain folders.

    The layout follows from what lies in `root`. Masks are found by name, never by order.

    Returns:
        Samples ordered by class, then train before test, as the layout's own function gives them
        (`datasets.load_folder`, `visa.load_visa`, `dagm.load_dagm`).

    Raises:
        DatasetError: no such folder, none of these layouts, or an error of the layout's own
            function.
    """
    root = Path(root)
    if not root.is_dir():
        raise DatasetError(f"{root} is not a folder. Give the folder that holds the classes.")
    if visa.is_visa(root):
        return visa.load_visa(root)
    if dagm.is_dagm(root):
        return dagm.load_dagm(root)
    if not datasets.holds_classes(root):
        raise DatasetError(
            f"{root} holds no class. Expected MVTec AD's layout ({datasets.LAYOUT}), VisA's "
            f"({visa.LAYOUT}), DAGM 2007's ({dagm.LAYOUT}) or plain folders "
            f"({datasets.PLAIN_LAYOUT})."
        )
    return datasets.load_folder(root)
