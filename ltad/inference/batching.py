"""Many callers, one batch: what several threads ask for at the same time is computed together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import Lock
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class Batcher(Generic[Asked, Answer]):
    """Runs a function on batches gathered from every thread that calls.

    Whoever finds it idle runs at once, with a batch of its own; what others ask for meanwhile is
    the next batch. So a single caller waits for nobody, and the cores never work on two batches
    that get into each other's way.

    Args:
        run: batch -> one answer for each of its items, in order; called by one thread at a time.
        size: items in a batch at most.
    """

    def __init__(self, run: Callable[[Sequence[Asked]], Sequence[Answer]], size: int) -> None:
        self._run, self._size = run, size
        self._waiting: list[tuple[Asked, Future[Answer]]] = []
        self._lock, self._running = Lock(), Lock()

    def __call__(self, items: Sequence[Asked]) -> list[Answer]:
        """The answers to `items`. Raises what `run` raised for the batch that held one of them."""
        asked = [(item, Future()) for item in items]
        with self._lock:
            self._waiting += asked
        for _, future in asked:
            while not future.done():
                with self._running:  # whoever comes next runs the next batch, its own or not
                    if not future.done():
                        self._run_next()
        return [future.result() for _, future in asked]

    def _run_next(self) -> None:
        with self._lock:
            batch, self._waiting = self._waiting[: self._size], self._waiting[self._size :]
        try:
            answers = self._run([item for item, _ in batch])
            for (_, future), answer in zip(batch, answers, strict=True):
                future.set_result(answer)
        except BaseException as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
