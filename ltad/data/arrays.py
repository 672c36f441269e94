"""Arrays on disk that are filled piece by piece and mapped into memory."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np

from ltad.types import DatasetError


def open_array(path: Path, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """A writable memory-mapped .npy array; created if missing, with its space reserved.

    Reserving the space at once turns a full disk into an error here rather than a crash later.

    Raises:
        DatasetError: no space left; the message says how much is needed.
    """
    if path.exists():
        return np.lib.format.open_memmap(path, mode="r+", dtype=dtype, shape=shape)
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        np.lib.format.open_memmap(temporary, mode="w+", dtype=dtype, shape=shape).flush()
        with temporary.open("r+b") as opened:
            os.posix_fallocate(opened.fileno(), 0, opened.seek(0, os.SEEK_END))
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if error.errno != errno.ENOSPC:
            raise
        raise DatasetError(
            f"The disk is full: {path.name} needs {size / 2**20:.0f} MiB under {path.parent}. "
            "Free some space, or choose another working folder."
        ) from error
    temporary.replace(path)
    return np.lib.format.open_memmap(path, mode="r+", dtype=dtype, shape=shape)
