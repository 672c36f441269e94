"""Cores and memory of this process, and work that threads do ahead of whoever needs it."""

from __future__ import annotations

import ctypes
import math
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import TypeVar

Given = TypeVar("Given")
Result = TypeVar("Result")
QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Microseconds of processor time in each period that a container may use, and the period; or "max"
for no limit (cgroup 2)."""


def usable_cores() -> int:
    """Cores that this process may keep busy, at least one: those that the scheduler gives it, and
    no more than a container's quota lasts for."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        quota, period = map(int, QUOTA.read_text("ascii").split())
    except (OSError, ValueError):
        return cores
    return max(1, min(cores, math.ceil(quota / period)))


HEAPS = 2
_M_ARENA_MAX = -8
"""glibc's name of that setting; see mallopt(3)."""


def keep_few_heaps(most: int = HEAPS) -> bool:
    """Let threads share so many heaps of glibc's, instead of eight a core; whether it has such.

    To be called before threads start. Each heap holds pages that are nearly empty, more of them by
    the hour, and what one thread freed in its heap no thread of another heap can use.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    return set_option is not None and set_option(_M_ARENA_MAX, most) == 1


def hand_back_freed() -> bool:
    """Hand freed memory back to the system; whether this system has a way to (glibc's).

    glibc keeps what was freed between blocks that are in use, in several heaps a core. Threads that
    score and fill caches leave a multiple of what is in use there.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
    return trim is not None


def in_order(
    pool: Executor, function: Callable[[Given], Result], given: Iterable[Given], ahead: int
) -> Iterator[Result]:
    """The results for `given` in its order, each computed while those before it are used.

    Args:
        pool: does the work.
        ahead: results that may wait at most, so that memory stays bounded.

    Raises:
        Exception: what `function` raised, when its turn comes.
    """
    waiting: deque[Future[Result]] = deque()
    for one in given:
        waiting.append(pool.submit(function, one))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
