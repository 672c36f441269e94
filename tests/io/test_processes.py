"""What processes that torchrun started share out, seen from one of them."""

import numpy as np
import pytest

from ltad.io import processes
from ltad.io.threads import in_order


@pytest.mark.parametrize(("device", "local", "own"), [
    ("cuda", "3", "cuda:3"), ("cuda", None, "cuda"), ("cuda:1", "3", "cuda:1"), ("cpu", "3", "cpu"),
])
def test_each_process_of_a_machine_has_a_device_of_its_own(device, local, own, monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if local:
        monkeypatch.setenv("LOCAL_RANK", local)
    assert processes.own_device(device) == own


@pytest.mark.parametrize(("start", "stop", "of"), [(0, 10, 3), (7, 9, 4), (5, 5, 2), (6, 5, 2)])
def test_the_shares_follow_each_other_and_leave_nothing_out(start, stop, of, monkeypatch):
    monkeypatch.setattr(processes, "count", lambda: of)
    shares = []
    for rank in range(of):
        monkeypatch.setattr(processes, "rank", lambda rank=rank: rank)
        shares.append(processes.share(start, stop))
    assert [place for one in shares for place in one] == list(range(start, stop))
    assert np.ptp([len(one) for one in shares]) <= 1


def test_one_process_alone_agrees_with_itself():
    with processes.joined(), processes.first_goes_ahead():
        assert processes.agreed({"screw": ["half"]}) == {"screw": ["half"]}
        assert processes.gathered(b"\x00own") == [b"\x00own"]


def test_threads_give_results_in_order_and_stay_only_so_far_ahead():
    class Now:
        """A pool that does everything at once, and counts it."""

        begun = 0

        def submit(self, function, one):
            from concurrent.futures import Future

            self.begun += 1
            future = Future()
            future.set_result(function(one))
            return future

    pool = Now()
    found = in_order(pool, lambda one: one * one, range(100), ahead=5)
    assert next(found) == 0 and pool.begun == 6
    assert list(found) == [one * one for one in range(1, 100)]
