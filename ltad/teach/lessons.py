"""A lesson: everything about one model that is being taught, in one folder.

``models/.jobs/NAME`` holds the pictures (``pictures.py``), ``job.json``, the training's log and its
half-finished model; the finished model moves to ``models/NAME``.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ltad.data.parts import PART_CLASSES
from ltad.teach import pictures
from ltad.teach.locks import is_locked
from ltad.teach.names import checked_name
from ltad.teach.oddities import FEWEST, Oddity, find_oddities
from ltad.teach.pictures import ROLES, Facts
from ltad.teach.progress import Progress, ProgressLog
from ltad.types import SettingError
from ltad.workspace import Workspace

FOLDER = ".jobs"
RECORD_FILE, LOG_FILE, LOCK_FILE, CANCEL_FILE, OUTPUT_FILE = (
    "job.json", "log.jsonl", "lock", "cancel", "output.txt"
)
MOST_LESSONS, MOST_PARTS = 100, 30
DRAFT, STARTED, FINISHED, FAILED, CANCELLED = (
    "draft", "started", "finished", "failed", "cancelled"
)
INTERRUPTED = "interrupted"
"""Not kept on disk: a lesson that was started, whose process is gone without saying so."""


@dataclass(frozen=True)
class Lesson:
    """One folder of ``models/.jobs``. Holds nothing itself: every call looks at the disk."""

    folder: Path

    @property
    def name(self) -> str:
        """Of the model to be."""
        return self.folder.name

    def record(self) -> dict[str, Any]:
        """The contents of ``job.json``."""
        try:
            return json.loads((self.folder / RECORD_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SettingError(
                f"The training of {self.name!r} is damaged or was discarded. Begin a new one."
            ) from error

    def update(self, **changes: Any) -> None:
        """Change single entries of ``job.json``, all or nothing."""
        path = self.folder / RECORD_FILE
        record = {**(self.record() if path.is_file() else {}), **changes}
        temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
        temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        temporary.replace(path)

    @property
    def state(self) -> str:
        """draft, started, interrupted, finished, failed or cancelled."""
        if self.is_running:  # also while a process that said how it ended has not yet exited
            return STARTED
        state = self.record()["state"]
        return INTERRUPTED if state == STARTED else state

    @property
    def is_running(self) -> bool:
        return is_locked(self.folder / LOCK_FILE)

    @property
    def log(self) -> ProgressLog:
        return ProgressLog(self.folder / LOG_FILE)

    @property
    def model_folder(self) -> Path:
        """Where the finished model stands."""
        return self.folder.parent.parent / self.name

    def parts(self) -> list[str]:
        """Parts that people brought, by name."""
        return pictures.parts(self.folder)

    def facts(self, role: str = "learn") -> dict[str, list[Facts]]:
        """part -> facts of its pictures in that role."""
        return {part: pictures.read_facts(self.folder, part, role) for part in self.parts()}

    def counts(self) -> dict[str, dict[str, int]]:
        """part -> role -> number of pictures."""
        return {
            part: {
                role: len(list((self.folder / "data" / part / place).glob("*.png")))
                for role, place in ROLES.items()
            }
            for part in self.parts()
        }

    def oddities(self) -> list[Oddity]:
        """Warnings about the pictures to learn from."""
        return find_oddities(self.facts(), self.record()["config"]["features"]["image_size"])

    def progress(self) -> Progress:
        """How far the training is."""
        return self.log.read()

    def require_editable(self) -> None:
        """Raises SettingError while pictures must stay as they are."""
        if self.state in (STARTED, FINISHED):
            raise SettingError(
                f"The pictures of {self.name!r} cannot change any more: it is "
                f"{'training' if self.state == STARTED else 'finished'}. Begin a new model."
            )

    def check_part(self, name: str) -> str:
        """A part's name: one that is here already, or a new one that is safe."""
        known = self.parts()
        if name in known:
            return name
        if len(known) >= MOST_PARTS:
            raise SettingError(f"{MOST_PARTS} parts are the most for one model.")
        return checked_name("part", name, known)

    def check_ready(self, keep_old: bool) -> None:
        """Raises SettingError where the lesson cannot be trained as it is."""
        counts = self.counts()
        if not counts:
            raise SettingError("There is no part yet. Name one and bring good pictures of it.")
        for part, roles in counts.items():
            if roles["learn"] < FEWEST:
                raise SettingError(
                    f"{part} has {roles['learn']} pictures to learn from. Bring at least {FEWEST}."
                )
            if keep_old:
                checked_name("part", part, self.old_classes())

    def old_classes(self) -> list[str]:
        """Classes of the first model that can be kept, because they can be rendered again."""
        return [name for name in self.record()["first_classes"] if name in PART_CLASSES]

    def discard(self) -> None:
        """Delete the lesson with its pictures; a finished model stays.

        Raises:
            SettingError: it is training.
        """
        if self.is_running:
            raise SettingError(f"{self.name!r} is training. Cancel it first.")
        shutil.rmtree(self.folder)


def lesson_names(workspace: Workspace) -> list[str]:
    """All lessons, the newest first."""
    dated = []
    for path in (workspace.models / FOLDER).glob(f"[!.]*/{RECORD_FILE}"):
        with suppress(SettingError):  # damaged, or discarded a moment ago
            dated.append((Lesson(path.parent).record()["created"], path.parent.name))
    return [name for _, name in sorted(dated, reverse=True)]


def find_lesson(workspace: Workspace, name: str) -> Lesson:
    """The lesson of that name.

    Raises:
        SettingError: there is none.
    """
    if name not in lesson_names(workspace):
        raise SettingError(f"There is no training called {str(name)[:80]!r}. Choose one, or begin "
                           "a new model.")
    return Lesson(workspace.models / FOLDER / name)


def new_lesson(
    workspace: Workspace, name: str, first: Any, taken: Sequence[str] = ()
) -> Lesson:
    """Begin a lesson.

    Args:
        workspace: where.
        name: of the model to be.
        first: the scorer whose encoder and sizes the new model shares.
        taken: names of models there are.

    Raises:
        SettingError: the name cannot be used, or there are too many lessons.
    """
    known = lesson_names(workspace)
    name = checked_name("model", name, [*taken, *known])
    if len(known) >= MOST_LESSONS:
        raise SettingError(f"There are {MOST_LESSONS} trainings already. Discard one first.")
    encoder = str(getattr(first.encoder.model, "name_or_path", ""))
    unnamed = Lesson(workspace.models / FOLDER / f".{uuid.uuid4().hex}")
    unnamed.folder.mkdir(parents=True)
    unnamed.update(
        state=DRAFT, message="", created=datetime.now(UTC).isoformat(timespec="milliseconds"),
        encoder=str(Path(encoder).absolute()) if Path(encoder).is_dir() else encoder,
        device=str(first.encoder.device), first_model=first.name,
        first_classes=list(first.class_names), config=first.config.to_dict(),
        features=str(workspace.features.absolute()),
        rendered=str((workspace.root / "rendered-parts").absolute()),
    )
    lesson = Lesson(unnamed.folder.with_name(name))
    try:
        unnamed.folder.rename(lesson.folder)
    except OSError as error:  # somebody took the name a moment ago
        shutil.rmtree(unnamed.folder)
        raise SettingError(f"There is already a model called {name!r}. Choose another.") from error
    return lesson


def suggested_name(workspace: Workspace, taken: Sequence[str]) -> str:
    """A name for a new model that nobody uses yet."""
    used = {*taken, *lesson_names(workspace)}
    day = time.strftime("%d %b").lstrip("0")
    names = (f"my parts {day}{f' {n}' if n > 1 else ''}" for n in range(1, 1000))
    return next(name for name in names if name not in used)
