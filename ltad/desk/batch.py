"""The queue: scores the waiting items of batches in the background, and outlives its server.

All it knows is in the database. One process at a time works on a batch; it holds a file lock that
the system itself opens when the process dies, so any other may go on at once, or the next start.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from itertools import chain, repeat
from typing import Any

from filelock import FileLock, Timeout

from ltad.desk.database import Database
from ltad.desk.outcomes import checked_settings, reason_of, score_items
from ltad.desk.pictures import PictureStore
from ltad.desk.records import Batch, DeskError, NewItem, Progress

FIRST_CHUNK = 4
"""Few pictures first, so that something is to be seen soon."""
CHUNK = 16
SPEED_MEMORY = 0.7
"""Weight of the past in the images per second."""
_log = logging.getLogger(__name__)


class BatchRunner:
    """Scores batches, one thread each, one chunk at a time.

    Args:
        database: where batches wait and results go.
        pictures: the pictures' files.
        shelf: the models by name (`ltad.shelf.ModelShelf`).
        turn: held while a chunk is scored; shared by runners that must not score at once.
    """

    def __init__(
        self, database: Database, pictures: PictureStore, shelf: Any,
        turn: threading.Lock | None = None,
    ) -> None:
        self.database = database
        self.pictures = pictures
        self.shelf = shelf
        self._threads: dict[int, threading.Thread] = {}
        self._lock = threading.Lock()
        self._turn = turn or threading.Lock()

    def open_batch(
        self, name: str, person: str, model: str | None, settings: Mapping[str, Any],
        items: Sequence[NewItem],
    ) -> Batch:
        """Make a batch of collected pictures and begin to score it.

        Raises:
            LTADError: no such model or class, or a setting out of its range.
        """
        scorer = self.shelf.scorer(model)
        batch = self.database.create_batch(
            name, person, scorer.name, checked_settings(scorer, settings)
        )
        self.database.add_items(batch.id, items)
        self.start(batch.id)
        return self.database.batch(batch.id)

    def start(self, batch_id: int) -> bool:
        """Go on with a running batch; False when another process is at it, or it needs nothing."""
        batch = self.database.batch(batch_id)
        if batch.state != "running" or batch.deleted:
            return False
        with self._lock:
            if batch_id in self._threads:
                return True
            claim = self._claim(batch_id)
            if claim is None:
                return False
            thread = threading.Thread(
                target=self._run, args=(batch_id, claim), name=f"batch-{batch_id}", daemon=True
            )
            self._threads[batch_id] = thread
            thread.start()
        return True

    def resume(self) -> list[int]:
        """Go on with every batch that a server left unfinished; returns those that this one took.

        To be called once at start-up.
        """
        running = [b.id for b in self.database.batches() if b.state == "running"]
        return [batch_id for batch_id in reversed(running) if self.start(batch_id)]

    def cancel(self, batch_id: int) -> None:
        """Stop after the chunk in work; what waits is cancelled. `restart` takes it up again."""
        self.database.set_batch_state(batch_id, "cancelled")

    def restart(self, batch_id: int) -> None:
        """Let the cancelled items of a batch wait again, and go on."""
        self.database.set_batch_state(batch_id, "running")
        self.start(batch_id)

    def rescore(self, batch_id: int, class_name: str | None = None) -> int:
        """Score again, as after a new ignore region; returns how many items. Decisions stay.

        Features come from the cache, so this is much faster than the first time.
        """
        count = self.database.reopen_items(batch_id, class_name)
        self.start(batch_id)
        return count

    def progress(self, batch_id: int) -> Progress:
        """How far a batch is. A running one whose process has died is taken up on the way."""
        progress = self.database.progress(batch_id)
        if progress.state == "running":
            self.start(batch_id)
        return progress

    def wait(self, batch_id: int, seconds: float | None = None) -> Progress:
        """Block until this process has no more work on a batch, or until time is up."""
        end = time.monotonic() + (threading.TIMEOUT_MAX if seconds is None else seconds)
        while (thread := self._threads.get(batch_id)) and time.monotonic() < end:
            thread.join(end - time.monotonic())
        return self.database.progress(batch_id)

    def _claim(self, batch_id: int) -> FileLock | None:
        claim = FileLock(
            f"{self.database.path}.batch-{batch_id}.lock", timeout=0, thread_local=False,
            fallback_to_soft=False,
        )
        try:
            claim.acquire()
        except Timeout:
            return None
        return claim

    def _run(self, batch_id: int, claim: FileLock) -> None:
        can_go_on = True
        try:
            self._work(batch_id)
        except Exception as error:
            can_go_on = self._give_up(batch_id, error)
        with self._lock:
            del self._threads[batch_id]
            claim.release()
        if can_go_on:  # `start` may have been asked again after the last look at what waits
            self.start(batch_id)
        self.database.close()

    def _work(self, batch_id: int) -> None:
        batch = self.database.batch(batch_id)
        scorer = self.shelf.scorer(batch.model)
        speed = None
        for size in chain([FIRST_CHUNK], repeat(CHUNK)):
            items = self.database.waiting(batch_id, size)
            if not items or self.database.batch(batch_id).deleted:
                break
            with self._turn:  # batches take turns, so one chunk is in memory
                start, version = time.monotonic(), self.database.ignore_version()
                outcomes = score_items(
                    self.database, self.pictures, scorer, batch.settings, items
                )
            latest = len(items) / max(time.monotonic() - start, 1e-6)
            speed = latest if speed is None else (
                SPEED_MEMORY * speed + (1 - SPEED_MEMORY) * latest
            )
            self.database.record_outcomes(outcomes, speed, version)
        self.database.set_batch_state(batch_id, "finished")

    def _give_up(self, batch_id: int, error: Exception) -> bool:
        """Nothing of the batch can be scored, for example because its model is gone: say so.

        Returns:
            False when not even that can be written; the batch is then taken up later.
        """
        _log.warning("Batch %s stopped", batch_id, exc_info=error)
        try:
            items = self.database.waiting(batch_id, -1)
            self.database.record_outcomes({item[0]: reason_of(error) for item in items})
            self.database.set_batch_state(batch_id, "finished")
        except DeskError as second:
            _log.error("Batch %s is left as it is: %s", batch_id, second)
            return False
        return True
