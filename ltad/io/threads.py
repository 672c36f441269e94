"""Work that threads do ahead of whoever needs its results."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

Given = TypeVar("Given")
Result = TypeVar("Result")


def in_order(
    pool: Executor, function: Callable[[Given], Result], given: Iterable[Given], ahead: int
) -> Iterator[Result]:
    """The results for `given` in its order, each computed while those before it are used.

    Args:
        pool: does the work.
        ahead: results that may wait at most, so that memory stays bounded.

    Raises:
        Exception: what `function` raised, when its turn comes.
    """
    waiting: deque[Future[Result]] = deque()
    for one in given:
        waiting.append(pool.submit(function, one))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
