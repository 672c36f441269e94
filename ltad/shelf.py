"""The models that one page offers: the one it was started with, and those trained in it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path

from ltad.checkpoint import MODEL_FILE
from ltad.loading import load_scorer
from ltad.service import Scorer
from ltad.types import SettingError


class ModelShelf:
    """Scorers by name. The first one always stays in memory, of the others the last few used.

    Args:
        first: the model that the page was started with.
        folder: its sub-folders that hold a finished model are offered too; None: only `first`.
        keep: how many of those stay in memory.
    """

    def __init__(self, first: Scorer, folder: Path | None = None, keep: int = 2) -> None:
        self.first = first
        self._folder = folder
        self._keep = keep
        self._loaded: OrderedDict[tuple[str, int], Scorer] = OrderedDict()
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        """All models there are now, the first one first."""
        return [self.first.name, *sorted(set(self._folders()) - {self.first.name})]

    def scorer(self, name: str | None = None) -> Scorer:
        """The model of that name; None or "" means the first one.

        Raises:
            SettingError: no such model.
            CheckpointError: it cannot be loaded.
        """
        if not name or name == self.first.name:
            return self.first
        folder = self._folders().get(name)
        if folder is None:
            raise SettingError(f"There is no model {name!r}. There are: {', '.join(self.names())}.")
        # A model trained again under its old name is another model.
        key = (name, (folder / MODEL_FILE).stat().st_mtime_ns)
        with self._lock:
            if key not in self._loaded:
                self._loaded[key] = load_scorer(folder, device=str(self.first.encoder.device))
            self._loaded.move_to_end(key)
            while len(self._loaded) > self._keep:
                self._loaded.popitem(last=False)
            return self._loaded[key]

    def _folders(self) -> dict[str, Path]:
        if self._folder is None or not self._folder.is_dir():
            return {}
        return {p.parent.name: p.parent for p in self._folder.glob(f"*/{MODEL_FILE}")}
