"""Locks that the system lets go of when their holder dies, so that a kill leaves none behind."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


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
