"""Images from files, zips and folders, through the queue, to results, whatever happens."""

from __future__ import annotations

import io
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ltad.inference.registry import ModelRegistry
from ltad.io.masks import encode_mask
from ltad.review import uploads as collecting
from ltad.review.database import Database
from ltad.review.images import ImageStore
from ltad.review.records import DeskError, NewItem
from ltad.review.uploads import collect, collect_server_folder
from ltad.review.worker import BatchRunner, checked_settings
from ltad.synthetic.render import render_part
from ltad.types import LTADError


def _encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _part(name: str, seed: int, defect: str | None = None) -> Image.Image:
    return Image.fromarray(render_part(name, seed, 96, defect).image)


@pytest.fixture(scope="module")
def mixed() -> dict[str, bytes]:
    """Name -> bytes of images of every kind, and of files that are none."""
    plain = [_encoded(_part("hex_nut", seed)) for seed in range(4)]
    turned = Image.Exif()
    turned[0x0112] = 6
    wide = _part("screw", 1).resize((96, 64))
    clear = _part("screw", 2).convert("RGBA")
    clear.putalpha(128)
    deep = Image.fromarray(np.asarray(_part("leather", 1).convert("L"), np.uint16) * 200)
    frames = [_part("leather", seed).convert("P") for seed in (2, 3)]
    return {
        **{f"shift 1/nut_{n}.png": content for n, content in enumerate(plain)},
        "shift 2/copy of nut_1.png": plain[1],
        "shift 2/copy of nut_2.png": plain[1],
        "turned.jpg": _encoded(wide, "JPEG", exif=turned),
        "deep.png": _encoded(deep),
        "print.jpg": _encoded(_part("screw", 4).convert("CMYK"), "JPEG"),
        "clear.png": _encoded(clear),
        "moving.gif": _encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "empty.png": b"",
        "notes.png": b"these are my notes",
        "cut.png": plain[0][: len(plain[0]) // 2],
        "cut.jpg": _encoded(_part("screw", 5), "JPEG")[:1500],
        "tiny.png": _encoded(Image.new("RGB", (4, 4))),
    }


BROKEN = ("empty.png", "notes.png", "cut.png", "cut.jpg", "tiny.png")


def _zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "pictures")


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "desk.sqlite")


class CountingShelf(ModelRegistry):
    """Counts the images that are really scored; may be told to hold each chunk back."""

    scored = 0
    seconds = 0.0

    def scorer(self, name: str | None = None):
        registry, scorer = self, super().scorer(name)

        class Counting:
            def __getattr__(self, attribute: str):
                return getattr(scorer, attribute)

            def score_batch(self, images, **settings):
                time.sleep(registry.seconds)
                registry.scored += len(images)
                return scorer.score_batch(images, **settings)

        return Counting()


@pytest.fixture
def runner(database: Database, pictures: ImageStore, tiny_scorer) -> BatchRunner:
    return BatchRunner(database, pictures, CountingShelf(tiny_scorer))


def test_a_mixed_zip_is_worked_through_to_the_end(
    runner: BatchRunner, mixed: dict[str, bytes], tmp_path: Path, tiny_scorer
):
    archive = _zip(tmp_path / "mixed.zip", {**mixed, "__MACOSX/._a.png": b"x", ".hidden": b"x"})
    items = collect([archive], runner.images)
    assert [item.file_name for item in items] == sorted(mixed)
    batch = runner.open_batch("mixed", "anna", None, {"false_alarm_rate": 0.1}, items)
    progress = runner.wait(batch.id)
    assert (progress.state, progress.done, progress.total) == ("finished", 16, 16)
    assert progress.failed == len(BROKEN)
    assert progress.images_per_second > 0 and progress.seconds_left is None
    found = {item.file_name: item for item in runner.database.items(batch.id)}
    for name in BROKEN:
        assert found[name].status == "failed"
        assert found[name].reason.startswith(name), "the reason names the file"
    good = [item for item in found.values() if item.status == "scored"]
    assert len(good) == len(mixed) - len(BROKEN)
    assert runner.registry.scored == len(good) - 2, "duplicates are scored once"
    copies = [found[f"shift 2/copy of nut_{n}.png"] for n in (1, 2)]
    assert {c.duplicate_of for c in copies} == {found["shift 1/nut_1.png"].id}
    assert {c.score for c in copies} == {found["shift 1/nut_1.png"].score}
    assert (found["turned.jpg"].width, found["turned.jpg"].height) == (64, 96)
    for item in good:
        own = tiny_scorer.score(runner.images.image(item.content_key), false_alarm_rate=0.1)
        assert item.score == pytest.approx(own.score, rel=1e-4)
        assert (item.class_name, item.threshold) == (own.class_name, pytest.approx(own.threshold))
        for region in item.regions:
            assert 0 <= region["left"] < region["right"] <= item.width
            assert 0 <= region["top"] < region["bottom"] <= item.height
    margins = [i.score - i.threshold for i in runner.database.items(batch.id) if i.score]
    assert margins == sorted(margins, reverse=True)


def test_a_cancelled_batch_can_be_taken_up_again(runner: BatchRunner, mixed: dict[str, bytes]):
    runner.registry.seconds = 0.5
    items = [
        NewItem(f"{n}.png", runner.images.put(_encoded(_part("screw", n)))) for n in range(30)
    ]
    batch = runner.open_batch("long", "anna", None, {}, items)
    runner.cancel(batch.id)
    progress = runner.wait(batch.id)
    statuses = [item.status for item in runner.database.items(batch.id)]
    assert progress.state == "cancelled"
    assert 14 <= statuses.count("cancelled") <= 30
    assert statuses.count("cancelled") + statuses.count("scored") == 30
    runner.restart(batch.id)
    assert runner.wait(batch.id).state == "finished"
    assert runner.database.batch(batch.id).scored == 30


def test_an_ignore_region_changes_scores_when_scored_again(runner: BatchRunner):
    items = [
        NewItem(f"{n}.png", runner.images.put(_encoded(_part("screw", n)))) for n in range(3)
    ]
    batch = runner.open_batch("b", "anna", None, {"class_name": "screw"}, items)
    runner.wait(batch.id)
    before = {item.id: item for item in runner.database.items(batch.id)}
    runner.database.decide(min(before), "good", "anna")
    runner.database.set_ignore_region("screw", encode_mask(np.ones((8, 8), bool)), "anna")
    assert runner.rescore(batch.id, "hex_nut") == 0
    assert runner.rescore(batch.id, "screw") == 3
    assert runner.wait(batch.id).state == "finished"
    for item in runner.database.items(batch.id):
        assert (item.score, item.regions) == (0.0, ())
        assert before[item.id].score > 0
    assert runner.database.item(min(before)).verdict == "good"
    runner.database.set_ignore_region("screw", None, "anna")
    runner.rescore(batch.id)
    runner.wait(batch.id)
    assert runner.database.items(batch.id)[0].score == max(i.score for i in before.values())


# A server that holds its claim on a batch until it is killed.
CLAIM = """
import sys, time
from filelock import FileLock
lock = FileLock(sys.argv[1], timeout=0)
lock.acquire()
print("claimed", flush=True)
time.sleep(600)
"""


def test_a_batch_of_a_killed_server_goes_on(runner: BatchRunner):
    database = runner.database
    batch = database.create_batch("b", "anna", runner.registry.first.name, {})
    keys = [runner.images.put(_encoded(_part("screw", n))) for n in range(3)]
    ids = database.add_items(batch.id, [NewItem(f"{n}", key) for n, key in enumerate(keys)])
    database.record_failure(ids[0], "done before the kill")
    lock = f"{database.path}.batch-{batch.id}.lock"
    with subprocess.Popen([sys.executable, "-c", CLAIM, lock], stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout.readline() == b"claimed\n"
            assert runner.resume() == [], "another process works on it"
            assert runner.progress(batch.id).done == 1
        finally:
            server.kill()
    assert runner.resume() == [batch.id]
    assert runner.wait(batch.id).state == "finished"
    assert runner.registry.scored == 2, "what was done before is not done again"
    assert database.item(ids[0]).reason == "done before the kill"


def test_two_servers_do_not_both_work_on_a_batch(runner: BatchRunner, pictures: ImageStore):
    second = BatchRunner(
        Database(runner.database.path), pictures, CountingShelf(runner.registry.first)
    )
    runner.registry.seconds = 0.3
    items = [NewItem(f"{n}", pictures.put(_encoded(_part("screw", n)))) for n in range(6)]
    batch = runner.open_batch("b", "anna", None, {}, items)
    assert not second.start(batch.id)
    assert second.progress(batch.id).state == "running"
    runner.wait(batch.id)
    assert second.progress(batch.id).state == "finished"
    assert (runner.registry.scored, second.registry.scored) == (6, 0)


def test_a_batch_whose_model_is_gone_ends_with_the_reason(runner: BatchRunner):
    batch = runner.database.create_batch("b", "anna", "vanished", {})
    key = runner.images.put(_encoded(_part("screw", 0)))
    runner.database.add_items(batch.id, [NewItem("a.png", key)])
    runner.start(batch.id)
    assert runner.wait(batch.id).state == "finished"
    assert "no model 'vanished'" in runner.database.items(batch.id)[0].reason


def test_a_picture_that_vanished_fails_alone(runner: BatchRunner):
    keys = [runner.images.put(_encoded(_part("screw", n))) for n in range(2)]
    runner.images.path(keys[0]).unlink()
    items = [NewItem(f"{n}.png", key) for n, key in enumerate(keys)]
    batch = runner.open_batch("b", "anna", None, {}, items)
    runner.wait(batch.id)
    assert [i.status for i in runner.database.items(batch.id)] == ["scored", "failed"]
    assert "no longer there" in runner.database.items(batch.id)[1].reason


@pytest.mark.parametrize("settings", [
    {"class_name": "zebra"}, {"false_alarm_rate": 2.0}, {"minimum_area": 3.0}, {"lam": -1.0},
    {"colour": "red"},
])
def test_wrong_settings_are_refused_before_anything_is_kept(runner: BatchRunner, settings: dict):
    with pytest.raises(LTADError):
        runner.open_batch("b", "anna", None, settings, [NewItem("a", "1" * 64)])
    assert runner.database.batches() == []


def test_missing_settings_are_the_models_own(tiny_scorer):
    found = checked_settings(tiny_scorer, {"lam": 2, "class_name": "", "normal_prompt": None})
    assert found == {
        "class_name": None, "normal_prompt": "a", "abnormal_prompt": "a broken", "lam": 2.0,
        "tau": 1.0, "false_alarm_rate": 0.05, "minimum_area": 0.0003,
    }


def test_names_in_a_zip_lead_nowhere(pictures: ImageStore, tmp_path: Path):
    content = _encoded(_part("screw", 0))
    names = ["../../up.png", "/root.png", "C:\\disk\\a.png", "a/./b\n.png"]
    items = collect([_zip(tmp_path / "a.ZIP", dict.fromkeys(names, content))], pictures)
    assert {item.file_name for item in items} == {"up.png", "root.png", "disk/a.png", "a/b.png"}
    assert {p.parent.parent for p in pictures.folder.rglob("*") if p.is_file()} == {pictures.folder}


@pytest.mark.parametrize(("stored", "is_flagged"), [
    ("Bohrung_a\u0308.png".encode(), False),  # macOS: UTF-8, accents apart, no flag
    ("Bohrung_ä.png".encode("cp437"), False),  # an old Windows
    ("Bohrung_ä.png".encode(), True),
])
def test_names_in_a_zip_are_read_as_they_were_meant(pictures, tmp_path, stored, is_flagged):
    plain = b"_" * len(stored)
    path = _zip(tmp_path / "a.zip", {plain.decode(): _encoded(_part("screw", 0))})
    data = path.read_bytes().replace(plain, stored)
    if is_flagged:  # in the local and in the central header
        for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            at = data.index(mark) + place
            data = data[:at] + (0x800).to_bytes(2, "little") + data[at + 2 :]
    path.write_bytes(data)
    assert [(i.file_name, i.reason) for i in collect([path], pictures)] == [("Bohrung_ä.png", "")]


def test_zips_that_cannot_be_used_say_why(
    pictures: ImageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    good = {f"{n}.png": _encoded(_part("screw", n)) for n in range(3)}
    damaged = tmp_path / "damaged.zip"
    damaged.write_bytes(_zip(tmp_path / "good.zip", good).read_bytes()[:-40])
    locked = tmp_path / "locked.zip"
    content = bytearray((tmp_path / "good.zip").read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1  # the first entry's flag: encrypted
    locked.write_bytes(content)
    empty = _zip(tmp_path / "empty.zip", {})
    bomb = _zip(tmp_path / "bomb.zip", {"blank.bmp": bytes(5_000_000)})
    monkeypatch.setattr(collecting, "RATIO_FREE", 1_000_000)
    outer = _zip(tmp_path / "outer.zip", {"inner.zip": (tmp_path / "good.zip").read_bytes()})
    items = collect([damaged, locked, empty, bomb, outer], pictures)
    reasons = {item.file_name: item.reason for item in items}
    assert "damaged and cannot be unpacked" in reasons["damaged.zip"]
    assert "protected by a password" in reasons["0.png"]
    assert reasons["1.png"] == reasons["2.png"] == ""
    assert "holds no files" in reasons["empty.zip"]
    assert "a zip inside a zip" in reasons["inner.zip"]
    assert "as no zip of photographs does" in reasons["bomb.zip"]
    monkeypatch.setattr(collecting, "MAX_FILES", 2)
    assert "holds 3 files" in collect([tmp_path / "good.zip"], pictures)[0].reason
    monkeypatch.setattr(collecting, "MAX_UNPACKED", 1000)
    monkeypatch.setattr(collecting, "MAX_FILES", 3)
    assert "unpacks to more than" in collect([tmp_path / "good.zip"], pictures)[0].reason
    with pytest.raises(DeskError, match="more than 3 files"):
        collect([damaged] * 4, pictures)
    with pytest.raises(DeskError, match="no files"):
        collect([], pictures)


def test_only_allowed_folders_of_the_server_are_read(pictures: ImageStore, tmp_path: Path):
    allowed, secret = tmp_path / "allowed", tmp_path / "secret"
    for folder in (allowed / "line 1", secret):
        folder.mkdir(parents=True)
        _part("screw", 0).save(folder / "a.png")
    (allowed / "link").symlink_to(secret)
    (allowed / "line 1" / "b.png").symlink_to(secret / "a.png")
    items = collect_server_folder(allowed, [allowed], pictures)
    assert [item.file_name for item in items] == ["line 1/a.png"]
    assert collect_server_folder(f"{allowed}/line 1", [allowed], pictures)[0].file_name == "a.png"
    for folder in (secret, f"{allowed}/../secret", allowed / "link", "", "/"):
        with pytest.raises(DeskError, match="not one that the operator"):
            collect_server_folder(folder, [allowed], pictures)
    with pytest.raises(DeskError, match="no folder"):
        collect_server_folder(allowed / "line 9", [allowed], pictures)


def test_a_key_is_no_path(pictures: ImageStore):
    for key in ("../" * 10 + "etc/passwd", "", "A" * 64):
        with pytest.raises(DeskError, match="not the key"):
            pictures.bytes(key)
