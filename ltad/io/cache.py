"""Three caches: bytes on disk that are never unpickled, tensors in memory in front of them, and any
values in memory."""

from __future__ import annotations

import json
import logging
import re
import sqlite3
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Generator, Hashable, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, cast

import diskcache
import torch
from diskcache import core
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ltad.types import CheckpointError

Tensors = dict[str, Tensor]
T = TypeVar("T")
_VALUE_FILE = re.compile(r"[0-9a-f]{2}[/\\][0-9a-f]{2}[/\\][0-9a-f]{28}\.val")
_log = logging.getLogger(__name__)
CHECKSUM = "crc32"
_PAGES_IN_MEMORY = 256
"""Of 4 KB, for each thread that reads; diskcache's own values are 32 MB and a mapping of 64 MB."""
OBJECT_BYTES = 1000
"""What a tensor in memory takes beside its values, with its place in the cache: 790 to 950 bytes
each for 200,000 small ones."""


class RefusedRow(OSError):
    """A row that `ByteCache` did not write. diskcache takes an OSError on reading for a miss."""


class _BytesOnly(core.Disk):
    """diskcache's storage without its pickle: text keys and bytes values, in and out.

    diskcache unpickles whatever a row says is pickled (CVE-2025-69872) and follows whatever file
    name a row holds, so whoever can write the folder could run code or have files removed.
    """

    def put(self, key: Any) -> tuple[str, Literal[True]]:
        if type(key) is not str:
            raise TypeError(f"cache key {key!r} is a {type(key).__name__}, but it must be a str")
        return key, True

    def get(self, key: Any, raw: bool) -> str:
        if not raw or type(key) is not str:
            raise RefusedRow("a cache key that is not text was refused")
        return key

    def store(self, value: Any, read: bool, key: Any = core.UNKNOWN) -> tuple[Any, ...]:
        if type(value) is not bytes:
            raise TypeError(f"cache value is a {type(value).__name__}, but it must be bytes")
        return super().store(value, False, key)

    def _write(self, full_path: str, iterator: Any, mode: str, encoding: Any = None) -> None:
        # A BytesIO is iterated by lines, of which binary values have hundreds.
        super()._write(full_path, iter([iterator.getvalue()]), mode, encoding)

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> bytes:
        if mode == core.MODE_RAW and type(value) is bytes:
            return value
        if mode == core.MODE_BINARY and _is_value_file(filename):
            return cast(bytes, super().fetch(mode, filename, None, False))
        raise RefusedRow("a cache row that is not plain bytes was refused")

    def remove(self, file_path: str) -> None:
        if _is_value_file(file_path):
            super().remove(file_path)


def _is_value_file(name: Any) -> bool:
    return isinstance(name, str) and _VALUE_FILE.fullmatch(name) is not None


class ByteCache:
    """Bytes by text key in a folder, shared by threads and processes.

    Args:
        folder: created with mode 0700 if it is missing.
        size_limit_bytes: the oldest rows make room beyond this size.

    Raises:
        CheckpointError: here and in every method, when the folder cannot be used or is damaged.
    """

    def __init__(self, folder: str | Path, size_limit_bytes: int = 2 * 1024**3) -> None:
        self.folder = Path(folder)
        with self._explained(Exception):  # a damaged settings table fails in many ways
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._rows = diskcache.Cache(
                str(self.folder), disk=_BytesOnly, size_limit=size_limit_bytes, cull_limit=2,
                sqlite_mmap_size=0, sqlite_cache_size=_PAGES_IN_MEMORY,
            )  # more rows at once would empty a cache of few large rows

    def get(self, key: str) -> bytes | None:
        """The bytes of `key`; None if there are none, or if the row is not plain bytes."""
        with self._explained():
            return cast(bytes | None, self._rows.get(key, retry=True))

    def put(self, key: str, value: bytes) -> None:
        """Keep `value` under `key`. Raises TypeError for a key not str or a value not bytes."""
        with self._explained():
            self._rows.set(key, value, retry=True)

    def delete(self, key: str) -> None:
        """Forget `key`, if it is there."""
        with self._explained():
            self._rows.delete(key, retry=True)

    def close(self) -> None:
        """Close this thread's connection; the cache reopens by itself when used again."""
        self._rows.close()

    @contextmanager
    def _explained(self, *kinds: type[Exception]) -> Generator[None]:
        kinds = kinds or (OSError, sqlite3.Error, core.Timeout)
        try:
            yield
        except kinds as error:
            raise CheckpointError(
                f"The cache folder {self.folder} cannot be used ({error}). "
                "Free some space, delete the folder, or choose another one."
            ) from error


class TensorCache:
    """Named tensors by text key: the latest used in memory, all of them on disk if there is one.

    Thread-safe. The tensors that come out are shared with every other caller and must never be
    changed in place; clone them first. They carry no gradient, and may be saved for a backward
    pass even if they were computed in inference mode.

    Args:
        memory_bytes: size of the tensors kept in memory, each with `OBJECT_BYTES` of its own; the
            least recently used leave first.
        disk: where they are kept as safetensors too, or None. A disk that fails costs speed only:
            it is logged and the cache goes on.
        device: where the tensors in memory live.
    """

    def __init__(
        self,
        memory_bytes: int,
        disk: ByteCache | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.memory_bytes = memory_bytes
        self.disk = disk
        self.device = torch.device(device)
        self._lock = threading.Lock()
        self._memory: OrderedDict[str, Tensors] = OrderedDict()
        self._used = 0
        self._pending: dict[str, Future[Tensors]] = {}

    @property
    def memory_used(self) -> int:
        """Bytes of the tensors now in memory, at most `memory_bytes`."""
        return self._used

    def get(self, key: str) -> Tensors | None:
        """The tensors of `key` on the cache's device, or None. A damaged disk row is deleted."""
        with self._lock:
            if key in self._memory:
                self._memory.move_to_end(key)
                return dict(self._memory[key])
        stored = self._from_disk(key)
        if stored is None:
            return None
        self._remember(key, stored)
        return dict(stored)

    def put(self, key: str, tensors: Mapping[str, Tensor]) -> Tensors:
        """Keep copies of `tensors` under `key`, and return the copies."""
        own = self._own(tensors)
        self._remember(key, own)
        self._to_disk(key, own)
        return dict(own)

    def get_or_compute(self, key: str, compute: Callable[[], Mapping[str, Tensor]]) -> Tensors:
        """The tensors of `key`, from `compute` if they are nowhere.

        One thread of this process computes a key at a time; the others wait and get its result,
        or its error. `compute` must not ask for its own key.
        """
        with self._lock:
            pending = self._pending.get(key)
            is_mine = pending is None
            if is_mine:
                pending = self._pending[key] = Future()
        if not is_mine:
            return dict(pending.result())
        try:
            found = self.get(key)
            if found is None:
                found = self.put(key, compute())
            pending.set_result(found)
            return dict(found)
        except BaseException as error:
            pending.set_exception(error)
            raise
        finally:
            with self._lock:
                del self._pending[key]

    def _own(self, tensors: Mapping[str, Tensor]) -> Tensors:
        """Copies on the device that keep no larger storage alive and know no inference mode."""
        with torch.inference_mode(False), torch.no_grad():
            return {
                name: tensor.to(self.device).clone(memory_format=torch.contiguous_format)
                for name, tensor in tensors.items()
            }

    def _remember(self, key: str, tensors: Tensors) -> None:
        size = _size(tensors)
        with self._lock:
            self._used -= _size(self._memory.pop(key, {}))
            if size > self.memory_bytes:
                return
            while self._used + size > self.memory_bytes:
                _, oldest = self._memory.popitem(last=False)
                self._used -= _size(oldest)
            self._memory[key] = tensors
            self._used += size

    def _from_disk(self, key: str) -> Tensors | None:
        if self.disk is None:
            return None
        try:
            row = self.disk.get(key)
            return None if row is None else self._own(_unpacked(row))
        except CheckpointError as error:
            _log.warning("%s", error)
        except (SafetensorError, ValueError, KeyError) as error:
            _log.warning("The damaged cache row %s was deleted: %s", key, error)
            _forget(self.disk, key)
        return None

    def _to_disk(self, key: str, tensors: Tensors) -> None:
        if self.disk is None:
            return
        try:
            self.disk.put(key, _packed({name: tensor.cpu() for name, tensor in tensors.items()}))
        except CheckpointError as error:
            _log.warning("%s", error)


def _forget(disk: ByteCache, key: str) -> None:
    try:
        disk.delete(key)
    except CheckpointError as error:
        _log.warning("%s", error)


def _packed(tensors: Tensors) -> bytes:
    """A row: safetensors whose header holds a checksum of the tensors' bytes.

    safetensors itself notices a damaged header or length only, and damaged features would be scored
    like any others.
    """
    plain = save(tensors)
    return save(tensors, {CHECKSUM: _checksum(plain)})


def _unpacked(row: bytes) -> Tensors:
    """The tensors of a row. Raises ValueError or SafetensorError for a damaged one."""
    tensors = load(row)
    header = json.loads(row[8 : _data_begins(row)])
    expected = header.get("__metadata__", {}).get(CHECKSUM)
    if expected not in (None, _checksum(row)):  # None: written before there were checksums
        raise ValueError("its bytes are not those that were written")
    return tensors


def _checksum(row: bytes) -> str:
    return f"{zlib.crc32(memoryview(row)[_data_begins(row):]):08x}"


def _data_begins(row: bytes) -> int:
    """Where the header of safetensors ends: its length stands in the first eight bytes."""
    return 8 + int.from_bytes(row[:8], "little")


def _size(tensors: Tensors) -> int:
    return sum(tensor.nbytes + OBJECT_BYTES for tensor in tensors.values())


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
