"""A batch on its way through the model, in a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from itertools import chain, repeat
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from ltad.inference.registry import ModelRegistry
from ltad.inference.scorer import Scorer
from ltad.io.images import Prepared, read_image
from ltad.io.masks import decode_mask
from ltad.review.database import Database
from ltad.review.images import ImageStore
from ltad.review.records import Batch, DeskError, ItemResult, NewItem, Progress
from ltad.review.regions import MINIMUM_AREA, apply_ignore, check_minimum_area, find_regions
from ltad.types import Detection, LTADError

_SCORE_SETTINGS = (
    "class_name", "normal_prompt", "abnormal_prompt", "lam", "tau", "false_alarm_rate",
)
_log = logging.getLogger(__name__)
Outcomes = dict[int, ItemResult | str]
FIRST_CHUNK = 4
"""Few images first, so that something is to be seen soon."""
CHUNK = 16
SPEED_MEMORY = 0.7
"""Weight of the past in the images per second."""


def checked_settings(scorer: Scorer, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Every setting of a batch, with the model's own values for what is missing.

    Raises:
        LTADError: a value is out of its range, or an unknown setting or class.
    """
    known = (*_SCORE_SETTINGS, "minimum_area")
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise DeskError(f"There is no setting {unknown[0]!r}, only {', '.join(known)}.")
    given = {name: value for name, value in settings.items() if value is not None}
    used = scorer.score_settings(
        *(given.get(name) for name in ("normal_prompt", "abnormal_prompt", "lam", "tau"))
    )
    class_name = given.get("class_name") or None
    rate = float(given.get("false_alarm_rate", 0.05))
    if not 0 < rate < 1:
        raise DeskError(f"The false-alarm rate is {rate}, but it must be between 0 and 1.")
    if class_name is not None:
        scorer.detector.index(class_name)
    return {
        "class_name": class_name, "normal_prompt": used.normal_prompt,
        "abnormal_prompt": used.abnormal_prompt, "lam": used.lam, "tau": used.tau,
        "false_alarm_rate": rate,
        "minimum_area": check_minimum_area(float(given.get("minimum_area", MINIMUM_AREA))),
    }


def score_items(
    database: Database, images: ImageStore, scorer: Scorer, settings: Mapping[str, Any],
    items: Sequence[tuple[int, str, str]],
) -> Outcomes:
    """Results of some items, or the reason why one has none.

    Args:
        items: (id, file name, content key), as `Database.waiting` gives them.
        settings: of the batch.
    """
    outcomes: Outcomes = {}
    prepared, sizes = {}, {}
    for item_id, name, key in items:
        try:
            image = read_image(images.bytes(key), name)
            prepared[item_id], sizes[item_id] = scorer.prepare(image), image.size
        except Exception as error:  # one broken image must not stop the others
            outcomes[item_id] = reason_of(error)
    detections = _detect(scorer, prepared, settings)
    masks = _IgnoreRegions(database)
    for item_id, detection in detections.items():
        try:
            if isinstance(detection, Exception):
                raise detection
            outcomes[item_id] = item_result(
                detection, sizes[item_id], settings.get("minimum_area") or 0.0,
                masks.of(detection.class_name), scorer.config.model.score_pool,
            )
        except Exception as error:
            outcomes[item_id] = reason_of(error)
    return outcomes


def item_result(
    detection: Detection, size: tuple[int, int], minimum_area: float,
    ignore: np.ndarray | None, pool: int,
) -> ItemResult:
    """What is kept of a Detection on an image of `size` (width, height); see `apply_ignore`."""
    if ignore is not None:
        detection = apply_ignore(detection, ignore, pool)
    found = find_regions(detection.anomaly_map, detection.pixel_threshold, minimum_area, size)
    return ItemResult(
        *size, detection.class_name,
        detection.class_probabilities.get(detection.class_name, 0.0), detection.is_recognised,
        detection.score, detection.reconstruction_score, detection.semantic_score,
        detection.threshold, tuple(region.record() for region in found),
    )


def _detect(
    scorer: Scorer, prepared: Mapping[int, Prepared], settings: Mapping[str, Any]
) -> dict[int, Detection | Exception]:
    """All at once; one by one only when that fails, to find out which it is."""
    if not prepared:
        return {}
    given = {name: settings[name] for name in _SCORE_SETTINGS if settings.get(name) is not None}
    try:
        found = scorer.score_batch(list(prepared.values()), **given)
        return dict(zip(prepared, found, strict=True))
    except Exception as error:
        if len(prepared) == 1:
            return dict.fromkeys(prepared, error)
        return {
            item_id: detection
            for item_id, image in prepared.items()
            for detection in _detect(scorer, {item_id: image}, settings).values()
        }


class _IgnoreRegions:
    """The ignore masks that one chunk needs, each read once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._masks: dict[str, np.ndarray | None] = {}

    def of(self, class_name: str) -> np.ndarray | None:
        if class_name not in self._masks:
            png = self._database.ignore_region(class_name)
            self._masks[class_name] = decode_mask(png, "The ignore region") if png else None
        return self._masks[class_name]


def reason_of(error: Exception) -> str:
    """Why an image has no result, for its row."""
    if isinstance(error, LTADError):
        return str(error)
    _log.warning("An image could not be scored", exc_info=error)
    return f"It could not be scored ({type(error).__name__}: {error}). Score it again."


class BatchRunner:
    """Scores batches, one thread each, one chunk at a time.

    Args:
        database: where batches wait and results go.
        images: the images' files.
        registry: the models by name (`ltad.inference.registry.ModelRegistry`).
        turn: held while a chunk is scored; shared by runners that must not score at once.
    """

    def __init__(
        self, database: Database, images: ImageStore, registry: ModelRegistry,
        turn: threading.Lock | None = None,
    ) -> None:
        self.database = database
        self.images = images
        self.registry = registry
        self._threads: dict[int, threading.Thread] = {}
        self._lock = threading.Lock()
        self._turn = turn or threading.Lock()

    def open_batch(
        self, name: str, person: str, model: str | None, settings: Mapping[str, Any],
        items: Sequence[NewItem],
    ) -> Batch:
        """Make a batch of collected images and begin to score it.

        Raises:
            LTADError: no such model or class, or a setting out of its range.
        """
        scorer = self.registry.scorer(model)
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
        scorer = self.registry.scorer(batch.model)
        speed = None
        for size in chain([FIRST_CHUNK], repeat(CHUNK)):
            items = self.database.waiting(batch_id, size)
            if not items or self.database.batch(batch_id).deleted:
                break
            with self._turn:  # batches take turns, so one chunk is in memory
                start, version = time.monotonic(), self.database.ignore_version()
                outcomes = score_items(
                    self.database, self.images, scorer, batch.settings, items
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
        expected = isinstance(error, LTADError)  # it says itself what was wrong
        _log.warning("Batch %s stopped: %s", batch_id, error, exc_info=None if expected else error)
        try:
            items = self.database.waiting(batch_id, -1)
            self.database.record_outcomes({item[0]: reason_of(error) for item in items})
            self.database.set_batch_state(batch_id, "finished")
        except DeskError as second:
            _log.error("Batch %s is left as it is: %s", batch_id, second)
            return False
        return True
