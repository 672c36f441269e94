"""Files that other processes may read at any moment: whole or not at all, arrays, locks; seeds."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ltad.types import DatasetError


@contextmanager
def atomic_path(path: str | Path, durable: bool = False) -> Generator[Path]:
    """A path beside `path` to write a file or a folder to; it becomes `path` when the block ends.

    Others see the old content or the new one, never half of it. After an error nothing is left.

    Args:
        path: where it shall stand; missing parent folders are made.
        durable: wait until a file's bytes are on the disk.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        yield part
        if durable:
            with part.open("rb") as written:
                os.fsync(written.fileno())
        part.replace(path)
    finally:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


def open_array(path: Path, shape: tuple[int, ...], dtype: type) -> np.memmap:
    """A writable memory-mapped .npy array; created if missing, with its space reserved.

    Reserving the space at once turns a full disk into an error here rather than a crash later.

    Raises:
        DatasetError: no space left; the message says how much is needed.
    """
    if path.exists():
        return np.lib.format.open_memmap(path, mode="r+", dtype=dtype, shape=shape)
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    try:
        with atomic_path(path) as part:
            np.lib.format.open_memmap(part, mode="w+", dtype=dtype, shape=shape).flush()
            with part.open("r+b") as opened:
                os.posix_fallocate(opened.fileno(), 0, opened.seek(0, os.SEEK_END))
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise DatasetError(
            f"The disk is full: {path.name} needs {size / 2**20:.0f} MiB under {path.parent}. "
            "Free some space, or choose another working folder."
        ) from error
    return np.lib.format.open_memmap(path, mode="r+", dtype=dtype, shape=shape)


def try_lock(path: Path) -> int | None:
    """A file descriptor that holds the lock, or None where somebody else holds it.

    The lock lives as long as any process has the descriptor open, a child that inherited it among
    them; closing the last one frees it.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def is_locked(path: Path) -> bool:
    """Whether somebody holds the lock now."""
    if not path.exists():
        return False
    handle = try_lock(path)
    if handle is None:
        return True
    os.close(handle)
    return False


def generator(*key: int) -> np.random.Generator:
    """A numpy generator that depends on the integers of `key` only."""
    return np.random.default_rng(np.random.SeedSequence(key))
