"""Small pictures of a test set with the outlines of its defects, made once for all runs on it."""

from __future__ import annotations

import hashlib
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from ltad.data.masks import read_mask
from ltad.images import read_image
from ltad.run_files import OUTLINES, THUMBNAILS
from ltad.types import CheckpointError, DatasetError, ImageError, Sample

SIDE = 160
QUALITY = 82


def build_thumbnails(
    samples: Sequence[Sample], root: str | Path, progress: bool = True
) -> Path:
    """A folder with ``thumbnails/NNNNN.jpg`` of every sample, in their order from 0, and
    ``outlines/NNNNN.png`` of every mask; found again while no file of theirs changes.

    Args:
        samples: pictures.
        root: where such folders are kept.
        progress: show a bar.

    Raises:
        DatasetError: a picture or a mask cannot be read.
        CheckpointError: the folder cannot be written.
    """
    folder = Path(root) / f"thumbnails-{_state_of(samples)}"
    if folder.is_dir():
        return folder
    beside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        for kind in (THUMBNAILS, OUTLINES):
            (beside / kind).mkdir(parents=True)
        for index, sample in enumerate(tqdm(samples, desc="thumbnails", disable=not progress)):
            _write(sample, index, beside)
        if not folder.is_dir():
            beside.rename(folder)
    except ImageError as error:
        raise DatasetError(f"{sample.path} cannot be used: {error}") from error
    except OSError as error:
        raise CheckpointError(f"{folder} could not be written: {error}.") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return folder


def _write(sample: Sample, index: int, folder: Path) -> None:
    picture = read_image(sample.path)
    picture.thumbnail((SIDE, SIDE))
    picture.save(folder / THUMBNAILS / f"{index:05d}.jpg", "JPEG", quality=QUALITY)
    if sample.mask_path is not None:
        mask = Image.fromarray(read_mask(sample.mask_path).astype(np.uint8) * 255)
        # The mean over each box, above zero, so that the smallest defect does not vanish.
        small = np.asarray(mask.resize(picture.size, Image.Resampling.BOX)) > 0
        Image.fromarray(small).save(folder / OUTLINES / f"{index:05d}.png")


def _state_of(samples: Sequence[Sample]) -> str:
    """Hash of the files' names, sizes and times."""
    digest = hashlib.sha256(f"{SIDE} {QUALITY}\n".encode())
    for sample in samples:
        for path in (sample.path, sample.mask_path):
            try:
                state = path.stat() if path else None
            except OSError as error:
                raise DatasetError(f"{path} cannot be read: {error.strerror}.") from error
            digest.update(
                f"{path} {state and (state.st_size, state.st_mtime_ns)}\n".encode()
            )
    return digest.hexdigest()[:16]
