"""Memory that this process has freed and its allocator keeps."""

from __future__ import annotations

import ctypes
import sys


def hand_back_freed() -> bool:
    """Hand freed memory back to the system; whether this system has a way to (glibc's).

    glibc keeps what was freed between blocks that are in use, in several heaps a core. Threads that
    score and fill caches leave a multiple of what is in use there.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
    return trim is not None
