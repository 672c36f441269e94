"""Data sets on disk: folders of images in MVTec AD's layout or plain ones, and their masks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image
from scipy import ndimage

from ltad.io.images import check_header, read_values
from ltad.io.masks import levels_of
from ltad.types import DatasetError, ImageError, Sample

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
LAYOUT = "CLASS/train/good, CLASS/test/TYPE and, for masks, CLASS/ground_truth/TYPE"
PLAIN_LAYOUT = "CLASS/good and, for defects, CLASS/TYPE such as CLASS/bad"
GOOD = frozenset({"good", "ok", "normal"})
"""Names of folders of good images, in any case; every other name is a kind of defect."""
TEST_SHARE = 0.2
"""Of the good images of a plain class; these are kept for testing."""
TEST_SEED = 0
SPLITS = ("train", "test")
MASKS = "ground_truth"
MASK_ENDING = "_mask"
_NAMED_IN_MESSAGES = 5
MOST_LABELS = 32
"""A lossless mask of at most this many levels holds labels, one of more levels holds shades."""
LOSSY = frozenset({".jpg", ".jpeg", ".webp"})
_FAINT = 1 / 8
"""Of the largest level: what lies below is JPEG's noise, what lies above may be a darker label."""


def load_folder(root: str | Path) -> list[Sample]:
    """Every image of a data set in MVTec AD's layout, or in plain folders of good and bad.

    Folders of good images may be called as in `GOOD`. Of a plain class, `TEST_SHARE` of the good
    images, drawn by their names under `TEST_SEED`, are test images, and so are all others. A
    mask belongs to the image of the same stem, or stem + ``_mask``, in the folder of the same
    TYPE, whatever its suffix and its place in the listing. A defective image without a mask gets
    ``mask_path=None``. `root` may also be a single class folder.

    Returns:
        Samples ordered by class, then train before test, then TYPE, then file name.

    Raises:
        DatasetError: no such folder, no class in it, a class without training images, or one
            whose good images lie in two folders.
    """
    root = Path(root)
    if not root.is_dir():
        raise DatasetError(f"{root} is not a folder. Give the folder that holds the classes.")
    classes = [f for f in _class_folders(root) if is_published(f) or is_plain(f)]
    if not classes:
        raise DatasetError(
            f"{root} holds no class. Expected {LAYOUT}; or {PLAIN_LAYOUT}; found {_listing(root)}."
        )
    return [
        sample for folder in classes
        for sample in (_load_class(folder) if is_published(folder) else _load_plain(folder))
    ]


def holds_classes(root: Path) -> bool:
    """Whether `root` is a class of `load_folder` or holds one."""
    return any(is_published(folder) or is_plain(folder) for folder in (root, *_folders(root)))


def is_published(folder: Path) -> bool:
    """Whether a class has MVTec AD's layout."""
    return any((folder / split).is_dir() for split in SPLITS)


def is_plain(folder: Path) -> bool:
    """Whether a class is only folders of images, one of them of good ones."""
    is_split = folder.name.casefold() in SPLITS
    return not (is_split or is_published(folder)) and any(map(_images, _good_folders(folder)))


def plain_classes(root: str | Path) -> list[str]:
    """Names of the classes whose test images `load_folder` draws itself."""
    return [folder.name for folder in _class_folders(Path(root)) if is_plain(folder)]


def stray_masks(samples: Iterable[Sample]) -> list[Path]:
    """Masks beside the samples, in MVTec AD's place for them, that belong to no sample."""
    samples = list(samples)
    used = {sample.mask_path for sample in samples}
    folders = dict.fromkeys(
        sample.path.parents[2 if sample.path.parent.parent.name in SPLITS else 1]
        for sample in samples
    )
    return [
        mask for folder in folders for kind in _folders(folder / MASKS) if not _is_good(kind)
        for mask in _images(kind) if mask not in used
    ]


def check_readable(samples: Iterable[Sample]) -> None:
    """Check the header of every image and mask, without decoding them.

    Raises:
        DatasetError: some cannot be read; names the first and says how many there are.
    """
    first, failures = None, 0
    for sample in samples:
        for path in filter(None, (sample.path, sample.mask_path)):
            try:
                check_header(path)
            except ImageError as error:
                first, failures = first or error, failures + 1
    if first is not None:
        raise DatasetError(
            f"{first} Unreadable files in all: {failures}. Replace or remove them."
        ) from first


def read_list(path: str | Path, root: str | Path) -> list[str]:
    """Training images named by a list file, as paths relative to `root` with ``/``.

    A line is a relative path, or a JSON object with ``filename`` and, where that does not start at
    `root`, ``clsname``. Empty lines are skipped; an image named twice counts once.

    Raises:
        DatasetError: the file cannot be read, is empty, or a line is not understood or names no
            file under `root`; the message gives the line's number.
    """
    path, root = Path(path), Path(root)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"The list {path} cannot be read: {error}. Check the path.") from error
    listed = [
        _read_line(line.strip(), root, f"Line {number} of {path}")
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]
    if not listed:
        raise DatasetError(f"The list {path} names no image. Give one relative path a line.")
    return list(dict.fromkeys(listed))


def select(samples: Sequence[Sample], listed: Iterable[str]) -> list[Sample]:
    """The listed training samples and all test samples, in their order.

    A listed path such as ``bottle/train/good/000.png`` names the sample whose path ends with it.

    Raises:
        DatasetError: a path names no sample, or a test sample, or a class of `samples` is left
            without any training image.
    """
    wanted = {PurePosixPath(name).parts: name for name in listed}
    lengths = {len(parts) for parts in wanted}
    selected, named = [], set()
    for sample in samples:
        parts = sample.path.parts
        hits = {parts[-length:] for length in lengths} & wanted.keys()
        if hits and sample.split != "train":
            raise DatasetError(
                f"The list names {wanted[hits.pop()]}, a test image. Remove it from the list."
            )
        if hits or sample.split != "train":
            selected.append(sample)
        named |= hits
    missing = [name for parts, name in wanted.items() if parts not in named]
    if missing:
        raise DatasetError(
            f"The list names {missing[0]}, which is no training image of this data set "
            f"({len(missing)} such paths in all). Check that list and folder belong together."
        )
    empty = sorted({s.class_name for s in samples} - {s.class_name for s in selected if _trains(s)})
    if empty:
        raise DatasetError(
            f"The list leaves class {empty[0]} without training images. "
            "List at least one, or take the class out of the folder."
        )
    return selected


def _trains(sample: Sample) -> bool:
    return sample.split == "train"


def _class_folders(root: Path) -> list[Path]:
    """The folders that may be classes: `root` itself if it is one, else those in it."""
    is_class = (root / "train").is_dir() or is_plain(root)
    return [root.absolute()] if is_class else _folders(root)


def _load_class(folder: Path) -> list[Sample]:
    good = _only_good_folder(folder / "train")
    train = [Sample(path, folder.name, "train") for path in _images(good)]
    if not train:
        raise DatasetError(
            f"{good} holds no images. Put the class's good parts there "
            f"({', '.join(sorted(SUFFIXES))})."
        )
    test = [s for kind in _folders(folder / "test") for s in _tests(folder, kind)]
    return train + test


def _load_plain(folder: Path) -> list[Sample]:
    good = _only_good_folder(folder)
    found = _images(good)
    tested = set(sorted(found, key=_lot)[: round(TEST_SHARE * len(found))])
    train = [Sample(path, folder.name, "train") for path in found if path not in tested]
    kinds = [kind for kind in _folders(folder) if kind.name != MASKS]
    test = [s for kind in kinds for s in _tests(folder, kind) if s.is_defective or s.path in tested]
    return train + test


def _tests(folder: Path, kind: Path) -> list[Sample]:
    """The images of one kind as test images of the class."""
    if _is_good(kind):
        return [Sample(path, folder.name, "test") for path in _images(kind)]
    masks = _masks(folder / MASKS / kind.name)
    return [
        Sample(path, folder.name, "test", kind.name,
               masks.get(f"{path.stem}{MASK_ENDING}") or masks.get(path.stem))
        for path in _images(kind)
    ]


def _lot(path: Path) -> bytes:
    return hashlib.sha256(f"{TEST_SEED} {path.name}".encode()).digest()


def _is_good(folder: Path) -> bool:
    return folder.name.casefold() in GOOD


def _good_folders(folder: Path) -> list[Path]:
    return [inside for inside in _folders(folder) if _is_good(inside)]


def _only_good_folder(folder: Path) -> Path:
    found = _good_folders(folder)
    if len(found) > 1:
        raise DatasetError(
            f"{folder} has good images in {' and '.join(f.name for f in found)}. Put them into "
            "one folder called good."
        )
    return found[0] if found else folder / "good"


def _masks(folder: Path) -> dict[str, Path]:
    """Masks by stem; of several with one stem, the first by name."""
    return {path.stem: path for path in reversed(_images(folder))}


def _folders(folder: Path) -> list[Path]:
    return [path for path in _entries(folder) if path.is_dir()]


def _images(folder: Path) -> list[Path]:
    return [p for p in _entries(folder) if p.suffix.lower() in SUFFIXES and p.is_file()]


def _entries(folder: Path) -> list[Path]:
    """What lies in a folder, sorted by name; nothing if there is no such folder."""
    if not folder.is_dir():
        return []
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise DatasetError(f"{folder} cannot be listed: {error.strerror}.") from error


def _listing(folder: Path) -> str:
    names = [path.name + "/" * path.is_dir() for path in _entries(folder)]
    more = ", ..." if len(names) > _NAMED_IN_MESSAGES else ""
    return ", ".join(names[:_NAMED_IN_MESSAGES]) + more if names else "nothing"


def _read_line(line: str, root: Path, where: str) -> str:
    name, class_name = _parse_line(line, where)
    for candidate in (PurePosixPath(name), PurePosixPath(class_name, name)):
        if candidate.is_absolute() or ".." in candidate.parts:
            raise DatasetError(f"{where} is {name!r}, but it must be relative to {root}.")
        if (root / candidate).is_file():
            return candidate.as_posix()
    raise DatasetError(f"{where} names {name!r}, but there is no such file under {root}.")


def _parse_line(line: str, where: str) -> tuple[str, str]:
    """File name with ``/`` and class name ("" if none) of one line."""
    if not line.startswith("{"):
        return line.replace("\\", "/"), ""
    try:
        entry = json.loads(line)
        name, class_name = entry["filename"], entry.get("clsname", "")
    except (json.JSONDecodeError, KeyError) as error:
        raise DatasetError(
            f'{where} is not a JSON object with "filename": {line[:60]}. Correct the line.'
        ) from error
    if not isinstance(name, str) or not isinstance(class_name, str):
        raise DatasetError(f'{where} has a "filename" or "clsname" that is not text.')
    return name.replace("\\", "/"), class_name


def read_mask(path: str | Path) -> np.ndarray:
    """A defect's pixels, (H, W) bool.

    The background is black, or transparent where some of the mask is; every other colour and every
    grey level of a lossless file of at most `MOST_LABELS` levels is a defect. Any other file is cut
    at half of its largest level, so that a blurred edge or JPEG's noise does not count. A black
    mask is all False. `mask_doubts` says where these rules may be wrong.

    Raises:
        ImageError: as `ltad.io.images.read_image`.
    """
    levels, _ = levels_of(read_values(path))
    return _marked(path, levels)


def mask_doubts(path: str | Path) -> list[str]:
    """What in a mask could mean something else than `read_mask` makes of it; empty if nothing.

    Raises:
        ImageError: as `ltad.io.images.read_image`.
    """
    levels, is_mixed = levels_of(read_values(path))
    marked, doubts = _marked(path, levels), []
    advice = "Save the mask in black (background) and white (defect)."
    if is_mixed:
        doubts.append(f"{path} has transparent, black and coloured pixels; transparent and black "
                      f"ones were both taken for background. {advice}")
    border = np.concatenate([marked[0], marked[-1], marked[:, 0], marked[:, -1]])
    if marked.mean() > 0.5 and border.all():
        doubts.append(f"{path} marks {marked.mean():.0%} of the image with its whole border, as "
                      f"a mask does whose black and white are swapped. {advice}")
    shades = ~marked & (levels > levels.max() * _FAINT)
    if shades.sum() > marked.sum() / 4:
        doubts.append(f"{path} has {shades.sum():,} pixels of darker grey, which were taken for a "
                      f"blurred edge beside {marked.sum():,} brighter ones. {advice}")
    return doubts


def reduce_mask(mask: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """A mask at the scoring size, and those of its pixels that are there although they are less
    than half covered; both (side, side) bool.

    A pixel is marked where half of it is covered. What is thinner than that, a speck or a scratch,
    is kept too, one pixel wide: every pixel that it touches, unless a half covered one is beside.

    Args:
        mask: (H, W) bool.
        side: in pixels; may be larger than the mask's.
    """
    size, covered = (side, side), Image.fromarray(mask.astype(np.float32))
    covered = np.asarray(covered.resize(size, Image.Resampling.BOX))
    marked = covered >= 0.5
    is_beside = np.asarray(ndimage.binary_dilation(marked, np.ones((3, 3))), bool)
    thin = (covered > 0) & ~is_beside
    return marked | thin, thin




def _marked(path: str | Path, levels: np.ndarray) -> np.ndarray:
    is_lossy = Path(path).suffix.lower() in LOSSY
    holds_labels = not is_lossy and len(np.unique(levels)) <= MOST_LABELS
    return levels > (0 if holds_labels else levels.max() / 2)
