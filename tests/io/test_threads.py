"""How many cores a process may keep busy."""

import os

import pytest

from ltad.io import threads


@pytest.mark.parametrize(("content", "cores"), [
    ("max 100000", 8), ("200000 100000", 2), ("150000 100000", 2), ("20000 100000", 1),
    ("6400000 100000", 8), ("no figures", 8), (None, 8),
])
def test_a_containers_quota_limits_the_cores(content, cores, tmp_path, monkeypatch):
    quota = tmp_path / "cpu.max"
    if content is not None:
        quota.write_text(content)
    monkeypatch.setattr(threads, "QUOTA", quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert threads.usable_cores() == cores


def test_a_process_kept_to_one_core_has_one():
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system keeps no process to a core")
    own = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(own)})
        assert threads.usable_cores() == 1
    finally:
        os.sched_setaffinity(0, own)
