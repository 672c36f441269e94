"""The people of a measurement under load: each kind does its round again and again over HTTP."""

from __future__ import annotations

import csv
import io
import itertools
import json
import random
import sqlite3
import threading
import time
import zipfile
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import httpx
import numpy as np

from ltad.bench.served import App, Call, Conversation, Refused, image_file
from ltad.bench.speed import SIDE
from ltad.io.heatmap import data_url
from ltad.io.masks import encode_mask

PROMPTS = ("a broken", "a dirty", "a scratched", "a bent")
IMAGES_PER_BATCH = 3
MOST_PER_KEY = 450
"""Images that a visitor brings to a public page's Review before somebody else comes."""
BATCH_SECONDS, TRAINING_SECONDS = 300.0, 1800.0
"""A batch or a training that takes longer is stuck."""
LEARNT = 4
"""Images of a part that is taught: the fewest that are enough."""
EXPORTS = ("csv", "json", "coco", "zip", "report", "backup")
PART = "bolt"


@dataclass(frozen=True)
class Acknowledged:
    """A decision that was answered, so that it has to be in the database for good."""

    database: Path
    id: int
    item_id: int
    person: str
    verdict: str
    mask_key: str


@dataclass(frozen=True)
class Brought:
    """A batch that was answered, so that it has to be scored in the end.

    A public app takes up what it left when it was killed once the batch's owner asks for it, which
    `poll` does.
    """

    database: Path
    id: int
    poll: Callable[[], object]


@dataclass
class Diary:
    """What all clients met; shared by their threads.

    Attributes:
        calls: every request, with the kind of client that sent it.
        scores: (number of the image, abnormal prompt, score).
        decisions, batches: those that were acknowledged.
        findings: what no client should ever see, in words.
        trained: how each training ended; "interrupted" where one was found dead and taken up,
            "left" where it ran at the end.
        exported: the kinds of the exports that came whole.
        is_over: set when no client should wait for anything long any more.
    """

    calls: list[tuple[str, Call]] = field(default_factory=list)
    scores: list[tuple[int, str, float]] = field(default_factory=list)
    decisions: list[Acknowledged] = field(default_factory=list)
    batches: list[Brought] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    trained: list[str] = field(default_factory=list)
    exported: list[str] = field(default_factory=list)
    is_over: threading.Event = field(default_factory=threading.Event)


class Numbers:
    """Numbers of images, each new one given once; safe for threads."""

    def __init__(self) -> None:
        self._numbers, self._lock, self._latest = itertools.count(), threading.Lock(), 0

    def new(self) -> int:
        """One that nobody had."""
        with self._lock:
            self._latest = next(self._numbers)
            return self._latest

    def old(self, dice: random.Random) -> int:
        """One that somebody had, most often lately; 0 at the beginning."""
        return max(0, self._latest - int(dice.expovariate(1 / 200)))


class Client(Protocol):
    """Somebody who uses the page.

    Attributes:
        pause: seconds between two rounds, on average.
    """

    pause: float

    def round(self) -> None:
        """What this kind does. Raises Refused or httpx.HTTPError where it cannot go on."""


class Visitor:
    """Sends an image, new or seen before, and has it scored under four prompts."""

    pause = 0.5

    def __init__(
        self, app: App, name: str, diary: Diary, numbers: Numbers, settings: list[Any]
    ) -> None:
        self._dice = random.Random(name)
        self._talk = conversation(app, name, diary)
        self._diary, self._numbers, self._settings = diary, numbers, settings

    def round(self) -> None:
        number = self._numbers.old(self._dice) if self._dice.random() < 0.3 else self._numbers.new()
        image = self._talk.upload(image_file(number))
        for prompt in PROMPTS:
            score = self._talk.score(image, prompt, self._settings)
            self._diary.scores.append((number, prompt, score))


class Reviewer:
    """Brings a batch, waits for its scores, decides on each image, paints, undoes, looks again."""

    pause = 2.0

    def __init__(self, app: App, name: str, diary: Diary, numbers: Numbers) -> None:
        self._app, self._name, self._diary, self._numbers = app, name, diary, numbers
        self._dice, self._brought = random.Random(name), 0
        self._talk = conversation(app, name, diary)

    def round(self) -> None:
        if self._app.is_public and self._brought >= MOST_PER_KEY:
            self._talk, self._brought = conversation(self._app, self._name, self._diary), 0
        numbers = [self._numbers.new() for _ in range(IMAGES_PER_BATCH)]
        self._brought += len(numbers)
        files = [self._talk.upload(image_file(number)) for number in numbers]
        names = [f"{number}.jpg" for number in numbers]
        batch = self._talk.ask("desk_create_batch", files, names, "", f"{self._name} {numbers[0]}",
                               self._name, "", None)["batch"]["id"]
        self._diary.batches.append(Brought(
            self._app.database(self._talk.key), batch,
            partial(self._talk.ask, "desk_progress", batch),
        ))
        if not is_scored(self._talk, batch):
            self._diary.findings.append("a batch is stuck")
            return
        items = self._talk.ask("desk_items", batch, "")["items"]
        self._note_scores(items)
        for place, item in enumerate(items):
            self._decide(item["id"], is_painted=place == 0 and item["status"] == "scored")
        self._keep(self._talk.ask("desk_undo", batch, self._name)["decision"])
        self._fetch_images(items)
        if self._app.is_public:
            self._check_own_batches()

    def _note_scores(self, items: list[dict[str, Any]]) -> None:
        for item in items:
            if item["status"] == "scored":
                number = int(item["file_name"].removesuffix(".jpg"))
                self._diary.scores.append((number, PROMPTS[0], item["score"]))
            elif item["status"] != "failed" or not item["reason"]:
                self._diary.findings.append(f"an item ended as {item['status']!r} without a reason")

    def _decide(self, item: int, is_painted: bool) -> None:
        verdict = "defective" if is_painted else self._dice.choice(("good", "defective", "unsure"))
        mask = _painting(self._dice) if is_painted else ""
        answer = self._talk.ask("desk_decide", item, verdict, self._name, "scratch",
                                f"{verdict} by {self._name}", mask, 0)
        self._keep(answer.get("decision"))

    def _keep(self, decision: dict[str, Any] | None) -> None:
        if decision is None:
            self._diary.findings.append("a decision of one's own was answered with none")
            return
        if decision["person"] != self._name:
            self._diary.findings.append("a decision was answered under another person's name")
        self._diary.decisions.append(Acknowledged(
            self._app.database(self._talk.key), decision["id"], decision["item_id"],
            decision["person"], decision["verdict"], decision["mask_key"],
        ))

    def _fetch_images(self, items: list[dict[str, Any]]) -> None:
        scored = [item["id"] for item in items if item["status"] == "scored"]
        if scored:
            self._talk.ask("desk_map", scored[0])
        self._talk.ask("desk_thumbnails", [item["id"] for item in items])

    def _check_own_batches(self) -> None:
        for batch in self._talk.ask("desk_batches")["batches"]:
            if batch["person"] != self._name:
                self._diary.findings.append("a visitor saw another visitor's batch")


class Exporter:
    """Takes the newest batches out in every format, and opens what comes."""

    pause = 15.0

    def __init__(self, app: App, name: str, diary: Diary) -> None:
        self._talk, self._diary = conversation(app, name, diary), diary
        self._kinds = itertools.cycle(EXPORTS)

    def round(self) -> None:
        batches = self._talk.ask("desk_batches")["batches"]
        done = next((one["id"] for one in batches if one["state"] == "finished"), None)
        if done is None:
            return
        kind = next(self._kinds)
        content = self._talk.download(self._talk.ask("desk_export", done, kind))
        try:
            _open(kind, content)
            self._diary.exported.append(kind)
        except (ValueError, OSError, zipfile.BadZipFile, sqlite3.Error) as error:
            self._diary.findings.append(f"an export as {kind} does not open: {error}")


class Trainer:
    """Teaches the model one part after another, and takes each training up again when it died."""

    pause = 5.0

    def __init__(self, app: App, name: str, diary: Diary, numbers: Numbers) -> None:
        self._talk, self._diary, self._numbers = conversation(app, name, diary), diary, numbers
        self._name, self._rounds = name, itertools.count(1)

    def round(self) -> None:
        model = f"{self._name} {next(self._rounds)}"
        files = [self._talk.upload(image_file(self._numbers.new())) for _ in range(LEARNT)]
        self._talk.ask_in_turn("teach_check", model, PART, "learn", files, "")
        self._talk.ask_in_turn("teach_start", model, False, 0.05)
        ended = self._ended(model)
        self._diary.trained.append(ended)
        if ended == "finished":
            self._talk.ask_in_turn("model_card", model)
        if ended != "left":
            self._talk.ask_in_turn("teach_discard", model)

    def _ended(self, model: str) -> str:
        end = time.monotonic() + TRAINING_SECONDS
        while time.monotonic() < end:
            if self._diary.is_over.is_set():
                return "left"
            with suppress(Refused, httpx.HTTPError):  # noted; the training goes on meanwhile
                state = self._talk.ask_in_turn("teach_status", model)["state"]
                if state == "interrupted":
                    self._diary.trained.append(state)
                    self._talk.ask_in_turn("teach_start", model, False, 0.05)
                elif state != "started":
                    return state
            time.sleep(2.0)
        self._diary.findings.append("a training is stuck")
        return "stuck"


def conversation(app: App, kind: str, diary: Diary) -> Conversation:
    """One that writes down what it meets, under a kind of client."""
    return Conversation(app.url, lambda call: diary.calls.append((kind.split()[0], call)))


def is_scored(talk: Conversation, batch: int) -> bool:
    """Wait until a batch is scored; whether it ever was."""
    end = time.monotonic() + BATCH_SECONDS
    while time.monotonic() < end:
        if talk.ask("desk_progress", batch)["state"] != "running":
            return True
        time.sleep(0.5)
    return False


def _painting(dice: random.Random) -> str:
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    left, top = dice.randrange(SIDE // 2), dice.randrange(SIDE // 2)
    mask[top : top + SIDE // 4, left : left + SIDE // 4] = True
    return data_url(encode_mask(mask), "image/png")


def _open(kind: str, content: bytes) -> None:
    """Read an export as its reader would. Raises what the reader raises, or ValueError."""
    if kind in ("json", "coco"):
        json.loads(content)
    elif kind == "csv":
        rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))
        if not rows:
            raise ValueError("it has no rows")
    elif kind == "zip":
        if broken := zipfile.ZipFile(io.BytesIO(content)).testzip():
            raise ValueError(f"{broken} is damaged")
    elif kind == "report":
        if b"</html>" not in content:
            raise ValueError("it ends early")
    else:
        with closing(sqlite3.connect(":memory:")) as copy:
            copy.deserialize(content)
            if copy.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
                raise ValueError("it is damaged")
