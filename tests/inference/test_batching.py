"""Many callers, one batch."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from ltad.inference.batching import Batcher, Workers

CALLERS = 9
WAIT = 10


class Doubler:
    """Doubles numbers; the first batch waits until `go` is set. Refuses a batch with a 13."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.started, self.go = threading.Event(), threading.Event()

    def __call__(self, batch):
        self.batches.append(list(batch))
        if len(self.batches) == 1:
            self.started.set()
            assert self.go.wait(WAIT)
        if 13 in batch:
            raise ValueError("thirteen")
        return [2 * number for number in batch]


def asked_at_once(batcher: Batcher, double: Doubler, numbers) -> list:
    """One caller with 0, and while it runs one caller for each of `numbers`; what each got."""
    def ask(number):
        try:
            return batcher([number])[0]
        except ValueError as error:
            return str(error)

    with ThreadPoolExecutor(len(numbers) + 1) as pool:
        first = pool.submit(ask, 0)
        assert double.started.wait(WAIT)
        others = [pool.submit(ask, number) for number in numbers]
        for _ in range(1000):
            if len(batcher._waiting) == len(numbers):
                break
            threading.Event().wait(0.01)
        double.go.set()
        return [future.result(WAIT) for future in (first, *others)]


def test_what_is_asked_meanwhile_is_the_next_batch():
    double = Doubler()
    found = asked_at_once(Batcher(double, 8), double, list(range(1, CALLERS + 1)))
    assert found == [0, *(2 * number for number in range(1, CALLERS + 1))]
    assert [len(batch) for batch in double.batches] == [1, 8, 1]


def test_an_error_reaches_the_callers_of_its_batch_and_no_others():
    double = Doubler()
    found = asked_at_once(Batcher(double, 2), double, [13, 13, 1, 2])
    assert found[0] == 0 and found.count("thirteen") in (2, 3, 4)
    for number, answer in zip((13, 13, 1, 2), found[1:], strict=True):
        assert answer == "thirteen" or answer == 2 * number != 26


def test_a_caller_alone_waits_for_nobody():
    double = Doubler()
    double.go.set()
    assert Batcher(double, 2)([1, 2, 3]) == [2, 4, 6]
    assert [len(batch) for batch in double.batches] == [2, 1]


def test_no_more_batches_at_once_than_it_may_run():
    both, lock, running, most = threading.Barrier(2, timeout=WAIT), threading.Lock(), [0], [0]

    def run(batch):
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        both.wait()  # passes only while two run
        with lock:
            running[0] -= 1
        return batch

    batcher = Batcher(run, 1, runs=2)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda n: batcher([n])[0], range(8))) == list(range(8))
    assert most[0] == 2


def begun(kinds: list[bool], released: str) -> list[bool]:
    """Both workers are held; then others ask, in order, and the worker `released` comes free. In
    which order they began."""
    workers, order, threads = Workers(2), [], []
    held, free = queue.SimpleQueue(), {name: threading.Event() for name in ("worker 0", "worker 1")}

    def hold() -> None:
        name = threading.current_thread().name
        held.put(name)
        assert free[name].wait(WAIT)

    def asks(work, is_quick: bool) -> None:
        threads.append(threading.Thread(target=workers.run, args=([(work, is_quick)],)))
        threads[-1].start()

    asks(hold, True)
    asks(hold, True)
    assert {held.get(timeout=WAIT) for _ in range(2)} == set(free)
    for number, kind in enumerate(kinds, start=1):
        asks(lambda kind=kind: order.append(kind), kind)
        while sum(map(len, workers._waiting.values())) < number:
            threading.Event().wait(0.001)
    free[released].set()
    for thread in threads[2:]:
        thread.join(WAIT)
    for event in free.values():
        event.set()
    return order


def test_quick_work_goes_first_and_the_rest_follows():
    assert begun([False, False, True, True], "worker 0") == [True, True, False, False]


def test_the_other_worker_takes_long_work_first():
    assert begun([True, True, False], "worker 1") == [False, True, True]


def test_only_the_workers_compute_and_an_error_is_the_callers():
    workers, at_work, most, names = Workers(3), [], [], set()

    def work(number: int) -> int:
        names.add(threading.current_thread().name)
        at_work.append(number)
        most.append(len(at_work))
        threading.Event().wait(0.002)
        at_work.remove(number)
        if number % 3 == 0:
            raise ValueError(number)
        return 2 * number

    def ask(number: int) -> int:
        return workers.run([(lambda: work(number), number % 2 == 0)])[0]

    with ThreadPoolExecutor(12) as pool:
        done = [pool.submit(ask, number) for number in range(60)]
    assert max(most) == 3 and names == {"worker 0", "worker 1", "worker 2"}
    for number, one in enumerate(done):
        if number % 3 == 0:
            assert one.exception().args == (number,)
        else:
            assert one.result() == 2 * number


def test_of_many_works_only_as_many_wait_as_there_are_workers():
    workers, taken = Workers(2), []

    def works():
        for number in range(20):
            taken.append(len(done))
            yield lambda number=number: done.append(number) or number, False

    done: list[int] = []
    assert workers.run(works()) == list(range(20))
    assert all(number - finished <= 2 for number, finished in enumerate(taken))


def test_an_error_in_one_of_many_is_raised_and_the_workers_go_on():
    workers = Workers(2)

    def work(number: int) -> int:
        if number == 3:
            raise ValueError("three")
        return number

    with pytest.raises(ValueError, match="three"):
        workers.run((partial(work, number), True) for number in range(6))
    assert workers.run([(partial(work, 7), True)]) == [7]
