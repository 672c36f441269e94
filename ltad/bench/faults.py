"""What goes wrong on a server, on purpose: each fault is done, lasts a while, and is undone."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ltad.bench.served import App
from ltad.workspace import Workspace

WORKER = "ltad.jobs.worker"
WORKER_SECONDS = 120.0
"""So long a fault waits for a training that it can kill."""
LOCKER = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
connection.execute("ROLLBACK")
"""


@dataclass(frozen=True)
class Ground:
    """Where the faults strike.

    Attributes:
        private, public: the processes.
        disk: a file system of their own that holds whatever they write; None: there is none.
        disk_bytes: its size.
    """

    private: App
    public: App
    disk: Path | None = None
    disk_bytes: int = 0


class Fault(Protocol):
    """One kind of fault."""

    @property
    def name(self) -> str:
        """In a few words."""
        ...

    def strike(self, ground: Ground, dice: random.Random) -> str:
        """Do it, wait, undo it; returns what was done."""
        ...


@dataclass(frozen=True)
class KilledApp:
    """A process of the app is killed and started again."""

    is_public: bool

    @property
    def name(self) -> str:
        return f"{'public' if self.is_public else 'private'} app killed"

    def strike(self, ground: Ground, dice: random.Random) -> str:
        """Kill it and start it again."""
        app = ground.public if self.is_public else ground.private
        app.kill()
        return f"answered again {app.start():.0f} s after its start"


@dataclass(frozen=True)
class KilledWorker:
    """The process that trains is killed."""

    name: str = "training killed"

    def strike(self, ground: Ground, dice: random.Random) -> str:
        """Kill it, once there is one."""
        end = time.monotonic() + WORKER_SECONDS
        while time.monotonic() < end:
            if trainings(ground.private.work):
                time.sleep(dice.uniform(0, 3))  # somewhere in its work
                end_trainings(ground.private.work)
                return "killed"
            time.sleep(0.2)
        return "there was no training to kill"


def trainings(work: Path) -> list[int]:
    """Processes that train a model in a work folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().decode(errors="replace").split("\0")
        except OSError:  # ended meanwhile
            continue
        if WORKER in words and any(Path(word).is_relative_to(work) for word in words if word):
            found.append(int(entry.parent.name))
    return found


def end_trainings(work: Path) -> None:
    """Kill them (SIGKILL), and wait until they are gone."""
    while found := trainings(work):
        for process in found:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.05)


@dataclass(frozen=True)
class FullDisk:
    """The file system with everything that the app writes has no room left.

    It is made as small as what lies in it, which takes no memory, unlike filling it.
    """

    seconds: float
    name: str = "disk full"

    def strike(self, ground: Ground, dice: random.Random) -> str:
        """Leave no room for so long."""
        if ground.disk is None:
            return "left out: no file system of its own could be mounted"
        used = 0
        try:
            end = time.monotonic() + self.seconds
            while time.monotonic() < end:  # what the app frees meanwhile is taken as well
                used = shutil.disk_usage(ground.disk).used
                _resize(ground.disk, used)
                time.sleep(0.05)
        finally:
            _resize(ground.disk, ground.disk_bytes)
        return f"for {self.seconds:.0f} s, with {used / 1e6:.0f} MB in it"


@contextmanager
def mounted(disk: Path, size: int) -> Generator[None]:
    """A file system of so many bytes, in a namespace in which it may be mounted."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)], check=True)
    try:
        yield
    finally:
        # Lazily: a process that was killed a moment ago may not have let go of it yet.
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def _resize(disk: Path, size: int) -> None:
    """Change the size of a mounted file system; nothing where it holds more than that by now."""
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=False,
                   capture_output=True)


@dataclass(frozen=True)
class DamagedCache:
    """Rows of the cache are cut, zeroed in part, or have bytes that changed."""

    rows: int = 20
    name: str = "cache damaged"

    def strike(self, ground: Ground, dice: random.Random) -> str:
        """Damage some of the large rows, which are files, and of the small ones, which are not."""
        cache = ground.private.cache
        files = sorted(cache.glob("*/*/*.val"))
        chosen = dice.sample(files, min(self.rows, len(files)))
        for number, path in enumerate(chosen):
            path.write_bytes(damaged(path.read_bytes(), number))
        with closing(sqlite3.connect(cache / "cache.db", timeout=60)) as database, database:
            rows = database.execute(
                "SELECT rowid, value FROM Cache WHERE filename IS NULL AND key LIKE 'features-%'"
            ).fetchall()
            small = dice.sample(rows, min(self.rows, len(rows)))
            database.executemany("UPDATE Cache SET value = ? WHERE rowid = ?", [
                (damaged(value, number), row) for number, (row, value) in enumerate(small)])
        return f"{len(chosen) + len(small)} of {len(files) + len(rows)} rows"


def damaged(content: bytes, kind: int) -> bytes:
    """Bytes that were cut, zeroed in their middle, or changed there."""
    middle = len(content) // 2
    part = content[middle : middle + 4096]
    if kind % 3 == 0:
        return content[:middle]
    changed = bytes(len(part)) if kind % 3 == 1 else bytes(byte ^ 0xFF for byte in part)
    return content[:middle] + changed + content[middle + 4096 :]


@dataclass(frozen=True)
class LockedDatabase:
    """Another process holds the database's write lock, as a backup program might."""

    seconds: float
    name: str = "database locked"

    def strike(self, ground: Ground, dice: random.Random) -> str:
        """Hold the lock for so long."""
        path = Workspace(ground.private.work).database
        with subprocess.Popen(
            [sys.executable, "-c", LOCKER, str(path), str(self.seconds)], stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        ) as holder:
            _, said = holder.communicate()
        return f"for {self.seconds:.0f} s" if holder.returncode == 0 else said.strip()[-200:]


@dataclass
class Struck:
    """A fault that was done.

    Attributes:
        name: of its kind.
        began, ended: seconds since 1970; it was undone at the latter.
        outcome: what was done.
    """

    name: str
    began: float
    ended: float
    outcome: str

    def record(self) -> dict[str, Any]:
        """As plain data; the report calls the outcome "told"."""
        return {"name": self.name, "began": self.began, "ended": self.ended, "told": self.outcome}


def plan(seconds: float, seed: int) -> list[tuple[float, Fault]]:
    """When which fault strikes: (seconds after the beginning, fault), in order.

    Each round has all of them, every ten minutes or once. The app itself is killed in the first
    third only, so that it lives long enough afterwards for its memory to be judged.
    """
    dice, rounds = random.Random(seed), max(1, round(seconds / 600))
    planned = []
    for number in range(rounds):
        faults: list[Fault] = [
            KilledWorker(), DamagedCache(), KilledApp(False), FullDisk(8.0),
            LockedDatabase(35.0 if number % 2 else 5.0),  # the app waits for 30
            KilledApp(True),
        ]
        if number and number >= rounds / 3:
            faults = [fault for fault in faults if not isinstance(fault, KilledApp)]
        room = 0.8 * seconds / rounds / len(faults)
        begin = (number + 0.1) * seconds / rounds
        planned += [(begin + (place + dice.uniform(0, 0.5)) * room, fault)
                    for place, fault in enumerate(faults)]
    return planned


def strike_all(
    planned: list[tuple[float, Fault]], ground: Ground, seed: int, struck: list[Struck]
) -> None:
    """Do all faults at their times, one after another, and note each in `struck`."""
    dice, beginning = random.Random(seed), time.monotonic()
    for after, fault in planned:
        time.sleep(max(0.0, beginning + after - time.monotonic()))
        began = time.time()
        try:
            outcome = fault.strike(ground, dice)
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            outcome = f"it could not be done: {str(error)[-300:]}"
        struck.append(Struck(fault.name, began, time.time(), outcome))
        print(f"{time.monotonic() - beginning:7.0f} s  {fault.name}: {outcome}", flush=True)
