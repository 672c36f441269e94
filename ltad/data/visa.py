"""VisA as published: images and masks listed by ``split_csv/1cls.csv``.

The one-class split of Zou et al., "SPot-the-Difference Self-Supervised Pre-training for Anomaly
Detection and Segmentation" (ECCV 2022).
"""

from __future__ import annotations

import csv
from pathlib import Path, PurePosixPath

from ltad.types import DatasetError, Sample

LIST = Path("split_csv", "1cls.csv")
COLUMNS = ("object", "split", "label", "image", "mask")
LAYOUT = "CLASS/Data/{Images/{Normal,Anomaly}, Masks/Anomaly} with split_csv/1cls.csv"
DEFECT = "anomaly"


def is_visa(root: Path) -> bool:
    """Whether `root` holds VisA's list, or a class folder as VisA has them."""
    return (root / LIST).is_file() or any(root.glob("*/Data/Images"))


def load_visa(root: str | Path) -> list[Sample]:
    """Every image that ``split_csv/1cls.csv`` lists; its kind of defect is ``"anomaly"``.

    A defective image without a mask in the list gets ``mask_path=None``. Whether the listed
    files are there is not looked up; see `ltad.data.check.check_dataset`.

    Returns:
        Samples ordered by class, then train before test, then path.

    Raises:
        DatasetError: the list is missing, empty or unreadable, or a row is wrong: a field is
            missing, unknown or leaves `root`, a defective image is listed for training, or a
            mask is named after another image than its own. The message gives the row's line.
    """
    root = Path(root).absolute()
    samples = [
        _sample(root, row, f"Line {line} of {root / LIST}") for line, row in _rows(root / LIST)
    ]
    return sorted(samples, key=lambda s: (s.class_name, s.split != "train", s.path))


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Line number and fields of each row."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            rows = [] if missing else [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(
            f"{path} cannot be read ({error}). It lists VisA's images; take it from the "
            "published archive."
        ) from error
    if missing:
        raise DatasetError(
            f"{path} has no column {missing[0]!r}. Its first line must name {', '.join(COLUMNS)}."
        )
    if not rows:
        raise DatasetError(f"{path} lists no image. Take it from the published archive.")
    return rows


def _sample(root: Path, row: dict[str, str], where: str) -> Sample:
    for column in COLUMNS[:4]:
        if not row[column]:
            raise DatasetError(f"{where} has no {column}. Complete the row.")
    for column, known in (("split", ("train", "test")), ("label", ("normal", DEFECT))):
        if row[column] not in known:
            raise DatasetError(
                f"{where} has {column} {row[column]!r}, but it must be {' or '.join(known)}."
            )
    is_defective = row["label"] == DEFECT
    image = _relative(row["image"], where)
    if is_defective and row["split"] == "train":
        raise DatasetError(
            f"{where} lists the defective {image} for training, which uses normal images only. "
            "Take the one-class list 1cls.csv from the published archive."
        )
    mask = _relative(row["mask"], where) if is_defective and row["mask"] else None
    if mask and (mask.parts[0], mask.stem) != (image.parts[0], image.stem):
        raise DatasetError(
            f"{where} gives {image} the mask {mask}, which is named after another image."
        )
    return Sample(
        root / image, row["object"], row["split"], DEFECT if is_defective else None,
        root / mask if mask else None,
    )


def _relative(name: str, where: str) -> PurePosixPath:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        raise DatasetError(f"{where} names {name!r}, but paths must stay inside the data folder.")
    return path
