"""How many cores a process may keep busy."""

import os
import re
import subprocess
import sys
import textwrap

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


def test_threads_share_few_heaps():
    """As glibc itself tells (malloc_info); it would start one for each of eight threads."""
    script = """
        import ctypes, sys, threading
        from ltad.io.threads import keep_few_heaps
        if sys.argv[1] == "few" and not keep_few_heaps():
            sys.exit(77)
        meeting, libc = threading.Barrier(8), ctypes.CDLL(None)
        libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
        def work():
            libc.malloc(10_000)
            meeting.wait()
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        libc.fdopen.restype = ctypes.c_void_p
        out = libc.fdopen(1, b"w")
        libc.malloc_info(0, ctypes.c_void_p(out))
        libc.fflush(ctypes.c_void_p(out))
    """
    told = {}
    for which in ("few", "own"):
        ran = subprocess.run([sys.executable, "-c", textwrap.dedent(script), which],
                             capture_output=True, text=True, timeout=120, check=False)
        if ran.returncode == 77:
            pytest.skip("this system has no such heaps")
        assert ran.returncode == 0, ran.stderr
        told[which] = len(re.findall("<heap nr=", ran.stdout))
    assert told["few"] <= threads.HEAPS < 8 <= told["own"]
