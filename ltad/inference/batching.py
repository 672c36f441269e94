"""Many callers, one batch: what several threads ask for at the same time is computed together."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from threading import Condition, Thread
from typing import Generic, TypeVar

import torch

from ltad.io.threads import usable_cores

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


ON_ACCELERATOR, ON_CPU = 16, 2
"""Images in a run of the image encoder. Larger ones fall out of a processor's cache: on two cores
an image took 31, 25, 27, 44 and 63 ms in runs of 1, 2, 4, 8 and 16."""


def batch_size(device: torch.device) -> int:
    """Images that the image encoder shall read in one run."""
    return ON_CPU if device.type == "cpu" else ON_ACCELERATOR


def runs_at_once(device: torch.device) -> int:
    """Runs of the image encoder that do not get into each other's way: one for each core, or one
    on an accelerator."""
    return usable_cores() if device.type == "cpu" else 1


class Batcher(Generic[Asked, Answer]):
    """Runs a function on batches gathered from every thread that calls.

    Whoever finds a run free takes it at once, with a batch of its own; what others ask for while
    none is free is the next batch. So a single caller waits for nobody, and however many call, no
    more than `runs` of them compute.

    Args:
        run: batch -> one answer for each of its items, in order.
        size: items in a batch at most.
        runs: batches at the same time at most.
    """

    def __init__(
        self, run: Callable[[Sequence[Asked]], Sequence[Answer]], size: int, runs: int = 1
    ) -> None:
        self._run, self._size, self._free = run, size, runs
        self._waiting: list[tuple[Asked, Future[Answer]]] = []
        self._changed = Condition()

    def __call__(self, items: Sequence[Asked]) -> list[Answer]:
        """The answers to `items`. Raises what `run` raised for the batch that held one of them."""
        asked = [(item, Future()) for item in items]
        with self._changed:
            self._waiting += asked
        while batch := self._next_batch([future for _, future in asked]):
            self._answer(batch)
            with self._changed:
                self._free += 1
                self._changed.notify_all()
        return [future.result() for _, future in asked]

    def _next_batch(self, own: list[Future[Answer]]) -> list[tuple[Asked, Future[Answer]]]:
        """The batch that the caller is to run; none once its own answers are there."""
        with self._changed:
            self._changed.wait_for(
                lambda: (self._free and self._waiting) or all(f.done() for f in own))
            if all(future.done() for future in own):
                return []
            self._free -= 1
            batch, self._waiting = self._waiting[: self._size], self._waiting[self._size :]
            return batch

    def _answer(self, batch: list[tuple[Asked, Future[Answer]]]) -> None:
        try:
            answers = self._run([item for item, _ in batch])
            for (_, future), answer in zip(batch, answers, strict=True):
                future.set_result(answer)
        except BaseException as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)


class Workers:
    """A few threads that compute for all others, one for each core, and each on one core.

    More threads than cores that compute take the processor from each other; and parallel loops of
    several threads wait for one another. On two cores, two callers get 36 new images a second from
    two threads with a core each, and one caller 21 (``python -m ltad bench``).

    Half of the workers take quick work first, such as a prompt on an image that is known; the
    others long work, such as a new image. Each takes the other kind where none of its own waits, so
    that neither waits for all of the other.

    Args:
        count: of the threads, at least two; they start with the first work.
    """

    def __init__(self, count: int) -> None:
        self._count = max(2, count)
        self._threads: list[Thread] = []
        self._changed = Condition()
        self._waiting: dict[bool, deque[Callable[[], None]]] = {True: deque(), False: deque()}

    def run(self, works: Iterable[tuple[Callable[[], Answer], bool]]) -> list[Answer]:
        """What each work returns, in order; of each is said whether it is quick.

        No more of a caller's works wait at a time than there are workers, so that others need not
        wait for the end of many.

        Raises:
            Exception: what the first of them that failed raised.
        """
        answers, begun = list[Answer](), deque[Future[Answer]]()
        for work, is_quick in works:
            if len(begun) == self._count:
                answers.append(begun.popleft().result())
            begun.append(self._submit(work, is_quick))
        return answers + [future.result() for future in begun]

    def _submit(self, work: Callable[[], Answer], is_quick: bool) -> Future[Answer]:
        future = Future[Answer]()

        def answer() -> None:
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)

        with self._changed:
            for number in range(len(self._threads), self._count):
                self._threads.append(Thread(
                    target=self._serve, args=(number % 2 == 0,), name=f"worker {number}",
                    daemon=True))
                self._threads[-1].start()
            self._waiting[is_quick].append(answer)
            self._changed.notify()
        return future

    def _serve(self, prefers_quick: bool) -> None:
        torch.set_num_threads(1)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: any(self._waiting.values()))
                own = self._waiting[prefers_quick] or self._waiting[not prefers_quick]
                work = own.popleft()
            work()
