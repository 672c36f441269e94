"""The last few results of costly work, each computed by one thread at a time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Memory(Generic[T]):
    """Values by key, the least recently used forgotten first. Safe for many threads.

    Args:
        most: how many values are kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[Hashable, T] = OrderedDict()
        self._busy: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> T | None:
        """The value of `key`, or None."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def put(self, key: Hashable, value: T) -> T:
        """Keep `value`, and return it."""
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            while len(self._values) > self._most:
                self._values.popitem(last=False)
        return value

    def forget(self, key: Hashable) -> None:
        """Drop `key`, if it is there."""
        with self._lock:
            self._values.pop(key, None)

    def get_or_make(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value of `key`, from `make` if there is none; who asks meanwhile waits for it."""
        with self._lock:
            busy = self._busy.setdefault(key, threading.Lock())
        try:
            with busy:
                found = self.get(key)
                return self.put(key, make()) if found is None else found
        finally:
            with self._lock:
                self._busy.pop(key, None)
