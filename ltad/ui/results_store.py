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
    """Reads the runs of a folder and keeps those that were looked at last.

    Args:
        folder: its sub-folders are the runs.
        shipped: a folder of more of them, which come with the program and are only read. A run
            of the same name in `folder` hides one.
        keep: how many stay in memory.
    """

    def __init__(self, folder: Path, shipped: Path | None = None, keep: int = 8) -> None:
        self._folder = folder
        self._shipped = shipped
        self._keep = keep
        self._read: OrderedDict[tuple[str, int], Run] = OrderedDict()
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        """All runs there are now, the newest first; those that came with the program last."""
        own = runs.run_names(self._folder)
        return own + [name for name in self._shipped_names() if name not in own]

    def _shipped_names(self) -> list[str]:
        return runs.run_names(self._shipped) if self._shipped else []

    def _require_own(self, name: str) -> None:
        if not self._folder_of(name).is_relative_to(self._folder):
            raise SettingError(
                f"The run {name!r} came with the program, without its data. It can be looked at, "
                "not deleted or evaluated again; evaluate the model to have a run of your own."
            )

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
        """Remove a run's folder for good; errors as `run`, and SettingError for a shipped one."""
        self._require_own(name)
        runs.delete_run(self._folder_of(name))

    def again(self, name: str, work: Path, device: str = "cpu") -> str:
        """Evaluate a run's model once more into a new run beside it; the new run's name.

        Args:
            name: the run.
            work: folder of features and of what the stages of ablations learned.
            device: to compute on.

        Raises:
            SettingError: there is no such run, or it came with the program.
            LTADError: as `evaluate_again`.
        """
        self._require_own(name)
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
        is_own = name in runs.run_names(self._folder)
        return (self._folder if is_own or self._shipped is None else self._shipped) / name


def _without_folders(text: str, run: Run, work: Path) -> str:
    """The text with folders named, not where on this machine they lie."""
    for folder in (run.about["data"]["root"], run.about["model"]["folder"], str(work)):
        text = text.replace(folder, Path(folder).name) if folder else text
    return text
