"""A job: one model being taught, its name, state and progress."""

from __future__ import annotations

import json
import re
import shutil
import time
import unicodedata
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from ltad.inference.scorer import Scorer
from ltad.io.files import atomic_path, is_locked
from ltad.jobs import dataset
from ltad.jobs.dataset import ROLES, Facts
from ltad.jobs.quality import FEWEST, QualityWarning, find_warnings
from ltad.synthetic.classes import PART_CLASSES
from ltad.types import SettingError
from ltad.workspace import Workspace

LONGEST = 60
_ALLOWED = re.compile(r"[^\W_][\w -]*")
BEGUN = "begun"
STAGES = {
    "waiting": "Waiting for another training to end", "begun": "Loading the encoder",
    "rendering": "Rendering the old parts", "pictures": "Reading the images",
    "phase 1": "Phase 1: class names and synthesis",
    "phase 2": "Phase 2: reconstruction and semantics", "figures": "Measuring the new model",
}
LONGEST_PAUSE = 120.0
"""Seconds between two lines beyond which the training was not running."""
FOLDER = ".jobs"
RECORD_FILE, LOG_FILE, LOCK_FILE, CANCEL_FILE, OUTPUT_FILE = (
    "job.json", "log.jsonl", "lock", "cancel", "output.txt"
)
MOST_JOBS, MOST_PARTS = 100, 30
DRAFT, STARTED, FINISHED, FAILED, CANCELLED = (
    "draft", "started", "finished", "failed", "cancelled"
)
INTERRUPTED = "interrupted"
"""Not kept on disk: a job that was started, whose process is gone without saying so."""


def checked_name(kind: str, name: str, taken: Iterable[str] = ()) -> str:
    """`name` without outer spaces, safe as a folder's name.

    Args:
        kind: what it names, for messages: "part" or "model".
        name: letters, digits, ``-``, ``_`` and spaces, at most 60, a letter or digit first.
        taken: names that it must not look like; case and ``_`` against space do not count.

    Raises:
        SettingError: any of this does not hold.
    """
    name = " ".join(unicodedata.normalize("NFC", str(name)).split())
    if not name:
        raise SettingError(f"The {kind} has no name yet. Give it one, for example “left bracket”.")
    if len(name) > LONGEST:
        raise SettingError(
            f"The {kind}'s name has {len(name)} characters, but {LONGEST} are the most."
        )
    if not _ALLOWED.fullmatch(name):
        raise SettingError(
            f"The {kind}'s name {name!r} may hold only letters, digits, “-”, “_” and spaces, and "
            "must begin with a letter or a digit."
        )
    alike = next((other for other in taken if _folded(other) == _folded(name)), None)
    if alike is not None:
        raise SettingError(
            f"There is already a {kind} called {alike!r}. Choose another name than {name!r}."
        )
    return name


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold().replace("_", " ")


@dataclass(frozen=True)
class Progress:
    """What a log says.

    Attributes:
        stage: one of `STAGES`, or "" before the first line.
        step, steps: of the stage; 0 where it has no steps.
        seconds: that the training ran, pauses not counted.
        seconds_left: estimate for the stage, or None.
        losses: loss -> (step, value) pairs in order.
    """

    stage: str = ""
    step: int = 0
    steps: int = 0
    seconds: float = 0.0
    seconds_left: float | None = None
    losses: dict[str, list[tuple[int, float]]] = field(default_factory=dict)


class ProgressLog:
    """Appends to a file of JSON lines."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(
        self, stage: str, step: int = 0, steps: int = 0, losses: Mapping[str, float] | None = None
    ) -> None:
        """Note a step, or the beginning of a stage without steps."""
        line = {"time": round(time.time(), 2), "stage": stage, "step": step, "steps": steps,
                "losses": {name: float(f"{value:.5g}") for name, value in (losses or {}).items()}}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def begin(self) -> None:
        """Note that a process took the training up; a torn last line is closed first."""
        if self._path.is_file() and not self._path.read_bytes().endswith(b"\n"):
            with self._path.open("a", encoding="utf-8") as file:
                file.write("\n")
        self.write(BEGUN)

    def read(self) -> Progress:
        """Everything so far. Steps that a resumed training repeated count once."""
        lines = _lines(self._path)
        if not lines:
            return Progress()
        losses: dict[str, dict[int, float]] = {}
        for line in lines:
            for name, value in line["losses"].items():
                losses.setdefault(f"{line['stage']}: {name}", {})[line["step"]] = value
        last, ran = lines[-1], _pauseless(lines)
        return Progress(
            last["stage"], last["step"], last["steps"], ran, _seconds_left(lines),
            {name: sorted(points.items()) for name, points in losses.items()},
        )


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:  # torn by a kill
            continue
    return lines


def _pauseless(lines: list[dict[str, Any]]) -> float:
    """Seconds from line to line, without those before each new beginning."""
    return sum(
        min(max(later["time"] - earlier["time"], 0.0), LONGEST_PAUSE)
        for earlier, later in pairwise(lines)
        if later["stage"] != BEGUN and earlier["stage"] != "waiting"
    )


def _seconds_left(lines: list[dict[str, Any]]) -> float | None:
    """From the pace of the last steps of the running stage."""
    last = lines[-1]
    since_begun = max(i for i, line in enumerate(lines) if line["stage"] == BEGUN or i == 0)
    recent = [line for line in lines[since_begun:]
              if line["stage"] == last["stage"] and line["steps"]][-50:]
    if len(recent) < 3:
        return None
    pace = (recent[-1]["time"] - recent[0]["time"]) / (len(recent) - 1)
    return pace * (last["steps"] - last["step"])


@dataclass(frozen=True)
class Job:
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
        with atomic_path(path) as part:
            part.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")

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
        return dataset.parts(self.folder)

    def facts(self, role: str = "learn") -> dict[str, list[Facts]]:
        """part -> facts of its images in that role."""
        return {part: dataset.read_facts(self.folder, part, role) for part in self.parts()}

    def counts(self) -> dict[str, dict[str, int]]:
        """part -> role -> number of images."""
        return {
            part: {
                role: len(list((self.folder / "data" / part / place).glob("*.png")))
                for role, place in ROLES.items()
            }
            for part in self.parts()
        }

    def warnings(self) -> list[QualityWarning]:
        """Warnings about the images to learn from."""
        return find_warnings(self.facts(), self.record()["config"]["features"]["image_size"])

    def progress(self) -> Progress:
        """How far the training is."""
        return self.log.read()

    def require_editable(self) -> None:
        """Raises SettingError while images must stay as they are."""
        if self.state in (STARTED, FINISHED):
            raise SettingError(
                f"The images of {self.name!r} cannot change any more: it is "
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
        """Raises SettingError where the job cannot be trained as it is."""
        counts = self.counts()
        if not counts:
            raise SettingError("There is no part yet. Name one and bring good images of it.")
        for part, roles in counts.items():
            if roles["learn"] < FEWEST:
                raise SettingError(
                    f"{part} has {roles['learn']} images to learn from. Bring at least {FEWEST}."
                )
            if keep_old:
                checked_name("part", part, self.old_classes())

    def old_classes(self) -> list[str]:
        """Classes of the first model that can be kept, because they can be rendered again."""
        return [name for name in self.record()["first_classes"] if name in PART_CLASSES]

    def discard(self) -> None:
        """Delete the job with its images; a finished model stays.

        Raises:
            SettingError: it is training.
        """
        if self.is_running:
            raise SettingError(f"{self.name!r} is training. Cancel it first.")
        shutil.rmtree(self.folder)


def job_names(workspace: Workspace) -> list[str]:
    """All jobs, the newest first."""
    dated = []
    for path in (workspace.models / FOLDER).glob(f"[!.]*/{RECORD_FILE}"):
        with suppress(SettingError):  # damaged, or discarded a moment ago
            dated.append((Job(path.parent).record()["created"], path.parent.name))
    return [name for _, name in sorted(dated, reverse=True)]


def find_job(workspace: Workspace, name: str) -> Job:
    """The job of that name.

    Raises:
        SettingError: there is none.
    """
    if name not in job_names(workspace):
        raise SettingError(f"There is no training called {str(name)[:80]!r}. Choose one, or begin "
                           "a new model.")
    return Job(workspace.models / FOLDER / name)


def new_job(
    workspace: Workspace, name: str, first: Scorer, taken: Sequence[str] = ()
) -> Job:
    """Begin a job.

    Args:
        workspace: where.
        name: of the model to be.
        first: the scorer whose encoder and sizes the new model shares.
        taken: names of models there are.

    Raises:
        SettingError: the name cannot be used, or there are too many jobs.
    """
    known = job_names(workspace)
    name = checked_name("model", name, [*taken, *known])
    if len(known) >= MOST_JOBS:
        raise SettingError(f"There are {MOST_JOBS} trainings already. Discard one first.")
    encoder = first.encoder.source
    unnamed = Job(workspace.models / FOLDER / f".{uuid.uuid4().hex}")
    unnamed.folder.mkdir(parents=True)
    unnamed.update(
        state=DRAFT, message="", created=datetime.now(UTC).isoformat(timespec="milliseconds"),
        encoder=str(Path(encoder).absolute()) if Path(encoder).is_dir() else encoder,
        device=str(first.encoder.device), first_model=first.name,
        first_classes=list(first.class_names), config=first.config.to_dict(),
        features=str(workspace.features.absolute()),
        rendered=str((workspace.root / "rendered-parts").absolute()),
    )
    job = Job(unnamed.folder.with_name(name))
    try:
        unnamed.folder.rename(job.folder)
    except OSError as error:  # somebody took the name a moment ago
        shutil.rmtree(unnamed.folder)
        raise SettingError(f"There is already a model called {name!r}. Choose another.") from error
    return job


def suggested_name(workspace: Workspace, taken: Sequence[str]) -> str:
    """A name for a new model that nobody uses yet."""
    used = {*taken, *job_names(workspace)}
    day = time.strftime("%d %b").lstrip("0")
    names = (f"my parts {day}{f' {n}' if n > 1 else ''}" for n in range(1, 1000))
    return next(name for name in names if name not in used)
