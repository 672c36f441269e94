"""The caches: bytes only, no unpickling, several processes, several threads, byte limits."""

import os
import pickle
import sqlite3
import stat
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import diskcache
import pytest
import torch
from safetensors.torch import save

from ltad.io.cache import OBJECT_BYTES, ByteCache, Memory, TensorCache
from ltad.types import CheckpointError

ROOT = Path(__file__).resolve().parents[2]
EXECUTED = []
LARGE = bytes(range(256)) * 400


def leave_trace(words: str) -> None:
    EXECUTED.append(words)


class Poison:
    """Unpickling this leaves a trace."""

    def __reduce__(self):
        return leave_trace, ("poison ran",)


@pytest.fixture
def disk(tmp_path):
    cache = ByteCache(tmp_path / "cache")
    yield cache
    cache.close()


def tensors(value: float, count: int = 100) -> dict[str, torch.Tensor]:
    return {"features": torch.full((count,), float(value))}


def test_bytes_come_back(disk):
    for value in (b"", b"small", LARGE):
        disk.put("key", value)
        assert disk.get("key") == value
    disk.delete("key")
    disk.delete("key")
    assert disk.get("key") is None


def test_folder_is_private(tmp_path):
    ByteCache(tmp_path / "new").close()
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


@pytest.mark.parametrize("value", ["text", 1, 1.5, None, [b"x"], bytearray(b"x"), Poison()])
def test_other_values_are_refused(disk, value):
    with pytest.raises(TypeError, match="must be bytes"):
        disk.put("key", value)
    assert disk.get("key") is None and EXECUTED == []


@pytest.mark.parametrize("key", [1, b"key", None, ("a", "b")])
def test_other_keys_are_refused(disk, key):
    for use in (lambda: disk.put(key, b"x"), lambda: disk.get(key), lambda: disk.delete(key)):
        with pytest.raises(TypeError, match="must be a str"):
            use()


@pytest.mark.parametrize("padding", [0, 100_000], ids=["in the table", "in a file"])
def test_poisoned_rows_are_misses(disk, padding):
    plain = diskcache.Cache(str(disk.folder), disk=diskcache.Disk)
    plain.set("key", [Poison(), "x" * padding])
    assert disk.get("key") is None and EXECUTED == []
    plain.get("key")
    assert EXECUTED.pop() == "poison ran"  # so the poison is real
    disk.put("key", b"clean")
    assert disk.get("key") == b"clean"
    plain.set("text", "text")
    assert disk.get("text") is None
    plain.close()


def test_rows_cannot_reach_outside_the_folder(disk, tmp_path):
    secret = tmp_path / "secret.val"
    secret.write_bytes(b"secret")
    disk.put("key", LARGE)
    disk.close()
    with sqlite3.connect(disk.folder / "cache.db") as database:
        database.execute("UPDATE Cache SET filename = '../secret.val'")
    database.close()
    assert disk.get("key") is None
    disk.delete("key")
    assert secret.exists()


def test_settings_table_cannot_choose_the_pickle(disk):
    disk.close()
    with sqlite3.connect(disk.folder / "cache.db") as database:
        database.execute("INSERT INTO Settings VALUES ('disk_unknown', 1)")
    database.close()
    with pytest.raises(CheckpointError, match="delete the folder"):
        ByteCache(disk.folder)


def test_unusable_folders(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="file"):
        ByteCache(tmp_path / "file")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "cache.db").write_bytes(b"no database" * 100)
    with pytest.raises(CheckpointError, match="broken"):
        ByteCache(tmp_path / "broken")


def test_size_limit(tmp_path):
    cache = ByteCache(tmp_path / "cache", size_limit_bytes=1_000_000)
    for index in range(40):
        cache.put(str(index), os.urandom(100_000))
    kept = [index for index in range(40) if cache.get(str(index)) is not None]
    assert kept and kept[-1] == 39 and len(kept) <= 10
    cache.close()


def mapped_megabytes() -> float:
    """Of files that this process holds in its memory, as Linux counts them."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[2])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def test_reading_threads_hold_no_copy_of_the_database(disk):
    for number in range(3000):
        disk.put(str(number), LARGE[:7000])
    before, held = mapped_megabytes(), list[float]()

    def read() -> None:
        for number in range(3000):
            disk.get(str(number))
        held.append(mapped_megabytes())

    for _ in range(3):
        thread = threading.Thread(target=read)
        thread.start()
        thread.join()
    database = (disk.folder / "cache.db").stat().st_size / 2**20
    assert database > 20
    assert max(held) - before < database / 4


def test_two_processes(disk):
    program = (
        "import sys; from ltad.io.cache import ByteCache; folder, mine, other = sys.argv[1:]\n"
        "cache = ByteCache(folder)\n"
        "for i in range(50): cache.put(f'{mine}{i}', mine.encode() * 50_000)\n"
        "for i in range(50): assert cache.get(f'{other}{i}') in (None, other.encode() * 50_000)\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", program, str(disk.folder), *pair], cwd=ROOT)
        for pair in (("a", "b"), ("b", "a"))
    ]
    assert [process.wait(60) for process in running] == [0, 0]
    for name in "ab":
        assert all(disk.get(f"{name}{i}") == name.encode() * 50_000 for i in range(50))


def test_tensors_come_back_from_memory_and_disk(disk):
    kept = {"a": torch.randn(3, 4), "b": torch.arange(5), "c": torch.ones(2, dtype=torch.bfloat16)}
    first = TensorCache(10_000, disk)
    first.put("key", kept)
    for cache in (first, TensorCache(10_000, disk), TensorCache(0, disk)):
        found = cache.get("key")
        assert found.keys() == kept.keys()
        assert all(torch.equal(found[name], kept[name]) for name in kept)
    assert first.get("other") is None


def test_least_recently_used_leaves_first():
    entry = 400 + OBJECT_BYTES
    cache = TensorCache(memory_bytes=2 * entry + 200, disk=None)
    cache.put("a", tensors(1))
    cache.put("b", tensors(2))
    cache.get("a")
    cache.put("c", tensors(3))
    assert cache.get("b") is None and cache.get("a") and cache.get("c")
    assert cache.memory_used == 2 * entry
    cache.put("a", tensors(4, count=10))
    assert cache.memory_used == entry + 40 + OBJECT_BYTES
    cache.put("a", tensors(4, count=1000))  # larger than the memory: not kept
    assert cache.get("a") is None and cache.memory_used == entry


def test_many_small_tensors_take_no_more_than_they_are_counted_as():
    """As a process sees it: a score is a few bytes, and the tensor that holds it a thousand."""
    script = """
        import torch
        from ltad.io.cache import TensorCache
        def resident():
            with open("/proc/self/statm") as told:
                return int(told.read().split()[1]) * 4096
        cache, before = TensorCache(8 * 2**20), resident()
        for number in range(20_000):
            cache.put(f"{number:064x}", {"score": torch.zeros(1)})
        print((resident() - before) / cache.memory_used)
    """
    told = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True,
                          text=True, check=True, timeout=120).stdout
    assert float(told) < 1.3


def test_entries_are_copies_without_their_batch():
    batch = torch.zeros(100, 10)
    cache = TensorCache(10_000)
    cache.put("key", {"row": batch[0]})
    batch += 1
    row = cache.get("key")["row"]
    assert row.sum() == 0 and row.untyped_storage().nbytes() == 40
    cache.get("key").clear()
    assert "row" in cache.get("key")


def test_tensors_of_inference_mode_can_be_trained_on(disk):
    weight = torch.ones(100, requires_grad=True)
    with torch.inference_mode():
        TensorCache(10_000, disk).put("key", tensors(2))
        reread = TensorCache(10_000, disk)
        reread.get("key")
    (weight * reread.get("key")["features"]).sum().backward()
    assert weight.grad.sum() == 200


@pytest.mark.parametrize("row", [b"", b"no safetensors", pickle.dumps({"a": 1}), b"\xff" * 100])
def test_damaged_disk_rows_are_deleted(disk, row):
    disk.put("key", row)
    cache = TensorCache(10_000, disk)
    assert cache.get("key") is None and disk.get("key") is None
    assert cache.get_or_compute("key", lambda: tensors(3))["features"][0] == 3
    assert TensorCache(10_000, disk).get("key")["features"][0] == 3


@pytest.mark.parametrize("place", [0.2, 0.5, 0.999])
def test_a_byte_of_a_tensor_that_changed_on_disk_is_noticed(disk, place):
    """safetensors reads such a row as if nothing were wrong."""
    written = {"map": torch.arange(300.0)}
    TensorCache(10**6, disk).put("row", written)
    row = bytearray(disk.get("row"))
    row[int(place * len(row))] ^= 0x10
    disk.put("row", bytes(row))
    assert TensorCache(10**6, disk).get("row") is None
    assert disk.get("row") is None


def test_rows_from_before_there_were_checksums_are_read(disk):
    disk.put("row", save({"map": torch.arange(3.0)}))
    assert torch.equal(TensorCache(10**6, disk).get("row")["map"], torch.arange(3.0))


def test_a_failing_disk_costs_speed_only(disk, monkeypatch):
    def fail(*_arguments):
        raise CheckpointError("disk full")

    for method in ("get", "put", "delete"):
        monkeypatch.setattr(disk, method, fail)
    cache = TensorCache(10_000, disk)
    assert cache.get_or_compute("key", lambda: tensors(3))["features"][0] == 3
    assert cache.get("key")["features"][0] == 3


def in_threads(count: int, work) -> list:
    results = []
    threads = [threading.Thread(target=lambda: results.append(work())) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return results


@pytest.mark.parametrize("memory", [10_000, 0])
def test_one_computation_per_key(memory):
    cache, calls = TensorCache(memory), []

    def compute():
        calls.append(1)
        time.sleep(0.3)
        return tensors(7)

    found = in_threads(8, lambda: cache.get_or_compute("key", compute))
    assert len(found) == 8 and len(calls) == 1
    assert all(entry["features"][0] == 7 for entry in found)


def test_keys_do_not_wait_for_each_other():
    cache, meeting = TensorCache(10_000), threading.Barrier(2, timeout=10)
    keys = iter(["a", "b"])

    def compute():
        meeting.wait()  # breaks unless both computations run at once
        return tensors(1)

    assert len(in_threads(2, lambda: cache.get_or_compute(next(keys), compute))) == 2


def test_a_failed_computation_is_tried_again():
    cache = TensorCache(10_000)
    with pytest.raises(ZeroDivisionError):
        cache.get_or_compute("key", lambda: 1 / 0)
    assert cache.get_or_compute("key", lambda: tensors(1))["features"][0] == 1


def test_many_threads_and_keys_stay_within_the_limit(disk):
    most = 5 * (400 + OBJECT_BYTES)
    cache = TensorCache(most, disk)

    def work():
        return [
            int(cache.get_or_compute(str(i), lambda i=i: tensors(i))["features"][0]) == i
            for i in list(range(20)) * 3
        ]

    found = in_threads(6, work)
    assert len(found) == 6 and all(all(each) for each in found)
    assert 0 < cache.memory_used <= most


def test_memory_keeps_the_last_used_and_computes_once():
    memory, made = Memory(2), []
    gate = threading.Barrier(4)

    def ask() -> None:
        gate.wait()
        memory.get_or_make("a", lambda: made.append(1) or "made")

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]
    memory.put("b", "b")
    memory.get("a")
    memory.put("c", "c")
    assert (memory.get("a"), memory.get("b"), memory.get("c")) == ("made", None, "c")
    memory.forget("a")
    assert memory.get("a") is None
