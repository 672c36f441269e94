"""Whose desk a request is for: everybody's own, or on a public page the visitor's own.

On a public page the browser makes up a private key, keeps it, and sends it with every request; the
desk lies in a folder named by the key's hash. There is no list of visitors, and no way to a desk
without its key. Desks that nobody used for a day are removed with all that is in them.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
import zipfile
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import gradio as gr

from ltad.desk.batch import BatchRunner
from ltad.desk.records import DeskError
from ltad.shelf import ModelShelf
from ltad.ui.review_desk import Desk
from ltad.ui.uploads import HEADER, SHORTEST_KEY, visitor_of
from ltad.workspace import Workspace

MOST_BYTES, MOST_PICTURES = 100_000_000, 500
"""Of one visitor's desk."""
MOST_VISITORS = 100
UNUSED_SECONDS, SPARED_SECONDS = 24 * 3600.0, 3600.0
"""A desk unused for so long is removed; one used within the latter never, even if all are taken."""


class Desks:
    """The desk of each request.

    Args:
        shelf: the models.
        workspace: on a public one the visitors' desks lie in folders of their own.
    """

    def __init__(self, shelf: ModelShelf, workspace: Workspace) -> None:
        self._shelf = shelf
        self._workspace = workspace
        self._everybody = None if workspace.is_public else Desk(shelf, workspace)
        self._visitors: OrderedDict[str, VisitorDesk] = OrderedDict()
        self._lock = threading.Lock()
        self._turn = threading.Lock()

    @property
    def everybody(self) -> Desk | None:
        """The one desk of a page that is not public."""
        return self._everybody

    def of(self, request: gr.Request | None) -> Desk:
        """The desk that a request is for.

        Raises:
            DeskError: a public page needs the visitor's key, and there is none.
        """
        if self._everybody is not None:
            return self._everybody
        name = visitor_of(request.headers if request is not None else {}, is_public=True)
        if not name:
            raise DeskError(
                f"This page is public, so each visitor has a desk of their own. Send a header "
                f"{HEADER}: a secret of at least {SHORTEST_KEY} random characters, always the same."
            )
        with self._lock:
            desk = self._visitors.setdefault(name, self._desk(name))
            self._visitors.move_to_end(name)
            while len(self._visitors) > 2 * MOST_VISITORS:
                self._visitors.popitem(last=False)
        with suppress(FileNotFoundError):  # nothing was brought yet
            os.utime(desk.workspace.root)
        return desk

    def make_room(self) -> None:
        """Remove desks that nobody uses any more; more of them when all places are taken.

        Raises:
            DeskError: all places are taken by people who are at it.
        """
        now = time.time()
        with self._lock:
            used = {path: path.stat().st_mtime for path in self._root.glob("*/")}
            longest_unused = sorted(used, key=used.get)
            for place, path in enumerate(longest_unused):
                unused = now - used[path]
                is_needed = len(used) - place >= MOST_VISITORS and unused > SPARED_SECONDS
                if unused > UNUSED_SECONDS or is_needed:
                    self._visitors.pop(path.name, None)
                    shutil.rmtree(path, ignore_errors=True)
            if len(list(self._root.glob("*/"))) >= MOST_VISITORS:
                raise DeskError(
                    "Too many people try the desk at the moment. Come back in an hour, or run the "
                    "page on your own machine."
                )

    @property
    def _root(self) -> Path:
        return self._workspace.root / "visitors"

    def _desk(self, name: str) -> VisitorDesk:
        own = replace(self._workspace, root=self._root / name, server_folders=())
        return VisitorDesk(self._shelf, own, self)

    def runner(self, desk: VisitorDesk) -> BatchRunner:
        """Scores one visitor's batches; all visitors' take turns, so one chunk is in memory."""
        return BatchRunner(desk.open_database(), desk.pictures, self._shelf, self._turn)


class VisitorDesk(Desk):
    """One visitor's desk on a public page: small, and begun by bringing a batch only."""

    note = (
        "This page is public: only this browser sees what you bring here, and it is removed after "
        "a day without use. To keep decisions, run the page on your own machine."
    )

    def __init__(self, shelf: ModelShelf, workspace: Workspace, desks: Desks) -> None:
        super().__init__(shelf, workspace)
        self._desks = desks

    def _make_runner(self) -> BatchRunner:
        if self.is_empty:  # whoever makes up keys must not fill the disk with empty desks
            raise DeskError("There is no batch here. Bring one first, or reload the page.")
        return self._desks.runner(self)

    def admit(self, files: Sequence[str], are_pictures: bool = True) -> None:
        """Check that there is room for what is about to be brought.

        Args:
            files: plain files that the visitor uploaded.
            are_pictures: False for decisions that come back, which take room but are no pictures.

        Raises:
            DeskError: it is too much for one visitor, or too many visitors are here.
        """
        count, size = 0, 0
        for path in map(Path, files):
            inside = _unpacked(path)
            count, size = count + are_pictures * len(inside), size + sum(inside)
        kept = [path.stat().st_size for path in self.workspace.root.rglob("*") if path.is_file()]
        if not self.is_empty:
            count += sum(batch.total for batch in self.database.batches())
            count += sum(batch.total for batch in self.database.deleted_batches())
        if count > MOST_PICTURES or size + sum(kept) > MOST_BYTES:
            raise DeskError(
                f"On this public page a visitor may keep {MOST_PICTURES} pictures and "
                f"{MOST_BYTES // 10**6} MB in all; with these it would be {count:,} pictures and "
                f"{(size + sum(kept)) / 1e6:,.0f} MB. Bring fewer, or run the page on your own "
                "machine."
            )
        if self.is_empty and are_pictures:
            self._desks.make_room()
            self.open_database()


def _unpacked(path: Path) -> list[int]:
    """The sizes of the files in a zip, or of the file itself."""
    try:
        if path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as archive:
                return [entry.file_size for entry in archive.infolist() if not entry.is_dir()]
    except (zipfile.BadZipFile, OSError, ValueError):  # its row will say so
        pass
    return [path.stat().st_size]
