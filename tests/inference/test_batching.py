"""Many callers, one batch."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from ltad.inference.batching import Batcher, Turns

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


def begun(turns: Turns, kinds: list[bool]) -> list[bool]:
    """Both turns are taken; then these ask for one, in order, and the first turn that is given on
    preferred quick work. In which order they began."""
    order, threads = [], []
    taken, free = [threading.Event() for _ in range(2)], [threading.Event() for _ in range(2)]

    def hold(number: int) -> None:
        with turns.turn(True):
            taken[number].set()
            assert free[number].wait(WAIT)

    def ask(kind: bool) -> None:
        with turns.turn(kind):
            order.append(kind)

    holders = [threading.Thread(target=hold, args=(number,)) for number in range(2)]
    for number, holder in enumerate(holders):  # the turn of the highest number is given first
        holder.start()
        assert taken[number].wait(WAIT)
    for kind in kinds:
        threads.append(threading.Thread(target=ask, args=(kind,)))
        threads[-1].start()
        while sum(map(len, turns._waiting.values())) < len(threads):
            threading.Event().wait(0.001)
    free[1].set()  # the second holder has turn 0, which prefers quick work
    for thread in threads:
        thread.join(WAIT)
    free[0].set()
    for holder in holders:
        holder.join(WAIT)
    return order


def test_quick_work_goes_first_and_the_rest_follows():
    assert begun(Turns(2), [False, False, True, True]) == [True, True, False, False]


def test_the_other_turn_goes_to_long_work_first():
    turns = Turns(2)
    turns._free.reverse()  # so that the second holder has turn 1
    assert begun(turns, [True, True, False]) == [False, True, True]


def test_no_more_than_the_turns_are_at_work_and_an_error_gives_its_turn_on():
    turns, at_work, most = Turns(3), [], []

    def work(number: int) -> None:
        with turns.turn(number % 2 == 0):
            at_work.append(number)
            most.append(len(at_work))
            threading.Event().wait(0.002)
            at_work.remove(number)
            if number % 3 == 0:
                raise ValueError(number)

    with ThreadPoolExecutor(12) as pool:
        done = [pool.submit(work, number) for number in range(60)]
    assert sum(one.exception() is not None for one in done) == 20
    assert max(most) == 3
    assert sorted(turns._free) == [0, 1, 2]
