"""A full disk, a folder that cannot be written, a damaged database, a kill in the middle: what was
acknowledged is there, and the rest is said."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from ltad.app.components import page_error
from ltad.app.page import build_app
from ltad.app.review_batches import BatchEndpoints
from ltad.app.visitors import Desks
from ltad.review.database import Database
from ltad.review.imports import import_decisions
from ltad.review.records import DeskError, NewItem
from ltad.types import disk_trouble
from ltad.workspace import Workspace

REPOSITORY = Path(__file__).parents[2]
COUNT = 40
START = f"""
import sys
from pathlib import Path
from ltad.review.database import Database
from ltad.review.images import ImageStore
from ltad.review.records import DeskError, NewItem
folder = Path(sys.argv[1])
database = Database(folder / "desk.sqlite")
batch = database.create_batch("shift", "Ann", "demo", {{}})
items = database.add_items(batch.id, [NewItem(f"{{n}}.png", "") for n in range({COUNT})])
database.decide(items[0], "good", "Ann")
"""


def on_small_disk(folder: Path, script: str, size: str = "600k") -> str:
    """What a script prints that works in a small file system of its own."""
    namespace = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    mount = f"mount -t tmpfs -o size={size} tmpfs {folder}"
    try:
        subprocess.run([*namespace, mount], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no file system can be mounted here")
    command = f'{mount} && exec "{sys.executable}" -c "$SCRIPT" {folder}'
    done = subprocess.run(
        [*namespace, command], capture_output=True, text=True, timeout=120, cwd=REPOSITORY,
        env={**os.environ, "SCRIPT": START + textwrap.dedent(script)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_full_disk_refuses_decisions_and_pictures_and_keeps_what_was_acknowledged(tmp_path):
    said = on_small_disk(tmp_path, """
        acknowledged = [items[0]]
        filler = folder / "filler"
        with filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass
        for act in (
            lambda: [database.decide(i, "defective", "Ann", note="x" * 900) for i in items],
            lambda: database.create_batch("next", "Ann" * 30, "demo", {"a": "b" * 9000}),
            lambda: ImageStore(folder / "images").put(bytes(9000)),
        ):
            try:
                act()
                print("not full")
            except DeskError as error:
                print(error)
        print(sum(1 for i in items if database.item(i).verdict))
        filler.unlink()
        database.decide(items[-1], "unsure", "Ann")
        print(database.item(items[0]).verdict, database.item(items[-1]).verdict)
        print(database._rows("PRAGMA integrity_check"), list((folder / "images").rglob("*.png")))
    """)
    decision, batch, picture, decided, verdicts, whole = said.splitlines()
    for refusal in (decision, batch):
        assert "Nothing was saved" in refusal and "free space" in refusal, said
    assert "No space left" in picture and "Free some space" in picture
    assert int(decided) >= 1 and verdicts.endswith("unsure") and whole.startswith("[('ok',)]")


def test_a_full_disk_stops_a_training_with_a_reason_and_it_goes_on_afterwards(
    tmp_path, tiny_encoder_folder, parts_folder, tiny_config
):
    """Full before the features, and full before the weights: both leave no model behind."""
    said = on_small_disk(tmp_path, f"""
        import json, shutil
        from ltad.config import Config
        from ltad.data.datasets import load_folder
        from ltad.models.align import load_encoder
        from ltad.training.train import train
        from ltad.types import LTADError
        config = Config.from_dict(json.loads({json.dumps(json.dumps(tiny_config.to_dict()))}))
        encoder = load_encoder({str(tiny_encoder_folder)!r})
        samples = load_folder({str(parts_folder)!r})
        filler = folder / "filler"
        def learn():
            return train(samples, encoder, config, folder / "model", "encoder",
                         features=folder / "features")
        for left in (20_000, 400_000):
            with filler.open("wb", buffering=0) as file:
                while shutil.disk_usage(folder).free > left and file.write(bytes(4096)):
                    pass
            try:
                learn()
                print("not full")
            except (LTADError, OSError) as error:
                print(type(error).__name__, error, (folder / "model" / "model.json").exists())
            filler.unlink()
        print(*learn().detector.class_names)
    """, size="30m")
    *refusals, classes = said.splitlines()
    assert classes.split() == ["hex_nut", "leather", "screw"]
    assert len(refusals) == 2
    for refusal in refusals:
        assert "disk is full" in refusal.lower() and refusal.endswith("False"), said


def test_a_folder_that_turns_read_only_says_so_and_still_shows_what_is_there(tmp_path):
    said = on_small_disk(tmp_path, """
        import subprocess
        database.close()
        database = None
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        try:
            Database(folder / "desk.sqlite").decide(items[1], "good", "Ann")
            print("written")
        except DeskError as error:
            print(error)
        try:
            ImageStore(folder / "images").put(b"image")
        except DeskError as error:
            print(error)
    """, "4m")
    decision, picture = said.splitlines()
    assert "Nothing was saved" in decision and "rights" in decision
    assert "Read-only file system" in picture


def test_disk_trouble_is_named_on_the_page_and_other_errors_are_not():
    assert disk_trouble(OSError(errno.ENOSPC, "x")) == "The server's disk is full."
    assert "cannot be written" in disk_trouble(PermissionError(errno.EACCES, "x"))
    assert disk_trouble(Exception("I/O error: No space left on device (os error 28)"))
    assert disk_trouble(FileNotFoundError(errno.ENOENT, "x")) == disk_trouble(ValueError("x")) == ""
    assert "disk is full. Nothing was saved" in page_error(OSError(errno.ENOSPC, "/a/path")).message


def test_a_damaged_database_closes_review_and_nothing_else(tiny_scorer, tmp_path):
    workspace = Workspace(tmp_path / "work")
    database = Database(workspace.database)
    batch = database.create_batch("shift", "Ann", "demo", {})
    item, = database.add_items(batch.id, [NewItem("a.png", "")])
    database.decide(item, "defective", "Ann")
    copy = database.backup(tmp_path / "backup.sqlite")
    database.close()
    content = bytearray(workspace.database.read_bytes())
    content[:100] = b"\xff" * 100
    workspace.database.write_bytes(content)
    build_app(tiny_scorer, tmp_path / "examples", workspace)  # the page starts
    endpoints = BatchEndpoints(Desks(None, workspace).everybody)
    with pytest.raises(DeskError, match=r"not a database.*put back a backup"):
        endpoints.batches()
    shutil.copyfile(copy, workspace.database)
    assert Database(workspace.database).item(item).verdict == "defective"


SLOW_EXPORT = """
import sys, time
sys.path.insert(0, "tests")
from pathlib import Path
from ltad.review import archive
from ltad.review.database import Database
from ltad.review.images import ImageStore
from ltad.inference.registry import ModelRegistry
from types import SimpleNamespace
folder = Path(sys.argv[1])
database = Database(folder / "desk.sqlite")
def pause(done, total):
    print(done, flush=True)
    time.sleep(0.2)
class NoModel:
    def scorer(self, name):
        raise archive.DeskError("gone")
archive.write_archive(folder / "out.zip", database.batch(1), database.items(1), database,
                      ImageStore(folder / "images"), NoModel(), progress=pause)
"""
IMPORTER = """
import sys
from pathlib import Path
from ltad.review.database import Database
from ltad.review.imports import import_decisions
folder = Path(sys.argv[1])
print("begins", flush=True)
import_decisions(Database(folder / "desk.sqlite"), 2, folder / "batch.json", "batch.json", "Bo")
print("done", flush=True)
"""


@pytest.fixture
def decided(tmp_path) -> Path:
    """Batch 1 with decisions and its export, batch 2 of the same names without any."""
    database = Database(tmp_path / "desk.sqlite")
    from ltad.review.export import json_bytes

    for name in ("first", "second"):
        batch = database.create_batch(name, "Ann", "demo", {})
        items = database.add_items(batch.id, [
            NewItem(f"{n}.png", f"{n:064x}") for n in range(COUNT)])
        if name == "first":
            for item in items:
                database.decide(item, "defective", "Ann", note="scratched")
            (tmp_path / "batch.json").write_bytes(
                json_bytes(batch, database.items(batch.id), None, database))
    database.close()
    return tmp_path


def kill_after(script: str, folder: Path, line: str, seconds: float = 0.0) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE, text=True,
        cwd=REPOSITORY, env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    ) as process:
        for printed in process.stdout:
            if printed.strip() == line:
                break
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)


def test_a_kill_in_an_export_leaves_no_half_file(decided):
    kill_after(SLOW_EXPORT, decided, "3")
    assert not (decided / "out.zip").exists()


@pytest.mark.parametrize("seconds", [0.0, 0.004, 0.02, 0.06])
def test_a_kill_in_an_import_brings_all_decisions_back_or_can_be_done_again(decided, seconds):
    kill_after(IMPORTER, decided, "begins", seconds)
    database = Database(decided / "desk.sqlite")
    assert database._rows("PRAGMA integrity_check") == [("ok",)]
    assert all(item.verdict == "defective" for item in database.items(1))
    import_decisions(database, 2, decided / "batch.json", "batch.json", "Bo")
    assert [item.verdict for item in database.items(2)] == ["defective"] * COUNT
    assert [len(database.history(item.id)) for item in database.items(2)] == [1] * COUNT


def test_two_servers_on_one_work_folder_keep_both_peoples_decisions(tmp_path):
    one, other = (Database(tmp_path / "desk.sqlite") for _ in range(2))
    batch = one.create_batch("shift", "Ann", "demo", {})
    items = one.add_items(batch.id, [NewItem(f"{n}.png", "") for n in range(10)])
    for place, item in enumerate(items):
        (one, other)[place % 2].decide(item, "good", ("Ann", "Bo")[place % 2])
    for database in (one, other):
        people = [database.item(item).decision.person for item in items]
        assert people == ["Ann", "Bo"] * 5
    assert json.loads(json.dumps([b.decided for b in other.batches()])) == [10]
