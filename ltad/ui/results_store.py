"""Runs by name for the Results tab: each is read once and then shared by all visitors."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from ltad import runs
from ltad.again import evaluate_again
from ltad.run_files import ABOUT_FILE
from ltad.runs import Run
from ltad.types import CheckpointError, LTADError, SettingError


class RunReader:
    """Reads the runs of one folder and keeps those that were looked at last.

    Args:
        folder: its sub-folders are the runs.
        keep: how many stay in memory.
    """

    def __init__(self, folder: Path, keep: int = 8) -> None:
        self._folder = folder
        self._keep = keep
        self._read: OrderedDict[tuple[str, int], Run] = OrderedDict()
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        """All runs there are now, the newest first."""
        return runs.run_names(self._folder)

    def run(self, name: str) -> Run:
        """One run.

        Raises:
            SettingError: there is no such run.
            CheckpointError: its folder is damaged, or was deleted just now.
        """
        folder = self._folder_of(name)
        with self._lock:
            try:
                key = (name, (folder / ABOUT_FILE).stat().st_mtime_ns)  # made anew, another run
                if key not in self._read:
                    self._read[key] = runs.read_run(folder)
            except (OSError, CheckpointError) as error:
                # The page says which run, not where on this machine it lies.
                raise CheckpointError(str(error).replace(str(folder), f"Run {name}")) from error
            self._read.move_to_end(key)
            while len(self._read) > self._keep:
                self._read.popitem(last=False)
            return self._read[key]

    def all(self, names: Sequence[str]) -> list[Run]:
        """Several runs in the given order, each once; errors as `run`."""
        return [self.run(name) for name in dict.fromkeys(names)]

    def delete(self, name: str) -> None:
        """Remove a run's folder for good; errors as `run`."""
        runs.delete_run(self._folder_of(name))

    def again(self, name: str, work: Path, device: str = "cpu") -> str:
        """Evaluate a run's model once more into a new run beside it; the new run's name.

        Args:
            name: the run.
            work: folder of features and of what the stages of ablations learned.
            device: to compute on.

        Raises:
            SettingError: there is no such run.
            LTADError: as `evaluate_again`.
        """
        run = self.run(name)
        try:
            made = evaluate_again(run, work, device)
        except LTADError as error:
            raise type(error)(_without_folders(str(error), run, work)) from error
        numbers = ("", *(f" {number}" for number in range(2, 1000)))
        new = next(f"{name}-again{number}" for number in numbers
                   if not (self._folder / f"{name}-again{number}").exists())
        return made.write(self._folder / new).name

    def _folder_of(self, name: str) -> Path:
        # Only a name from the list becomes a path, so none can lead out of the folder.
        names = self.names()
        if name not in names:
            known = ", ".join(names[:8]) or "none yet"
            raise SettingError(f"There is no run {name!r}. There are: {known}.")
        return self._folder / name


def _without_folders(text: str, run: Run, work: Path) -> str:
    """The text with folders named, not where on this machine they lie."""
    for folder in (run.about["data"]["root"], run.about["model"]["folder"], str(work)):
        text = text.replace(folder, Path(folder).name) if folder else text
    return text
