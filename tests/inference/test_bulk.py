"""Scoring into a folder: the same rows however the inputs are wrapped, and whoever is killed."""

import json
import multiprocessing
import random
import tarfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from filelock import FileLock
from pandas.testing import assert_frame_equal
from PIL import Image

from ltad import load_scorer
from ltad.inference import bulk
from ltad.inference.bulk_plan import LOCKS, PLAN_FILE, read_plan
from ltad.types import DatasetError, SettingError, UnknownClassError

IMAGES = 12
KILLS, KILLED_IMAGES, KILLED_SHARD = 8, 1200, 10


@pytest.fixture(scope="module")
def scorer(tiny_model_folder):
    return load_scorer(tiny_model_folder, keep=False)


@pytest.fixture(scope="module")
def images(parts_folder, tmp_path_factory) -> list[Path]:
    """Good and defective ones of every class, one that looks like none, and a copy."""
    found = sorted(parts_folder.glob("*/test/*/*.png"))[:: 2][: IMAGES - 2]
    folder = tmp_path_factory.mktemp("images") / "in"
    folder.mkdir()
    paths = [folder / f"{number:02d}.png" for number in range(IMAGES)]
    for source, path in zip([*found, found[0]], paths[1:], strict=True):
        path.write_bytes(source.read_bytes())
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    Image.fromarray(noise).save(paths[0])
    return paths


def score(folder, scorer, *args, **settings):
    return bulk.score_into(folder, scorer, *args, progress=False, **settings)


def write_tar(path: Path, images: list[Path]) -> Path:
    with tarfile.open(path, "w") as archive:
        for image in images:
            archive.add(image, image.name)
            archive.add(__file__, f"{image.stem}.py")
    return path


def test_a_row_says_what_the_scorer_says(scorer, images, tmp_path):
    settings = {"abnormal_prompt": "a dirty", "lam": 3.0, "false_alarm_rate": 0.5}
    summary = score(tmp_path / "out", scorer, images, shard_size=4, **settings)
    table, found = bulk.read(tmp_path / "out"), scorer.score_batch(images, **settings)
    assert table["path"].tolist() == [str(path) for path in images]
    for name in ("class_name", "verdict"):
        assert table[name].tolist() == [getattr(d, name) for d in found]
    for name in ("score", "threshold", "reconstruction_score", "semantic_score"):
        assert table[name].tolist() == pytest.approx([getattr(d, name) for d in found], rel=1e-3)
    assert table["is_known"].tolist() == [d.is_recognised for d in found]
    assert table["regions"].tolist() == [len(d.regions) for d in found]
    assert table["reference_score"].isna().all() and table["error"].isna().all()
    assert table["verdict"][0] == "not judged" and table["verdict"].nunique() == 3
    assert summary.verdicts == table["verdict"].value_counts().to_dict()
    assert (summary.images, summary.scored) == (IMAGES, IMAGES)
    assert sorted(p.name for p in (tmp_path / "out").glob("part-*")) == [
        f"part-0000{shard}.parquet" for shard in range(3)]


def test_a_class_that_is_given_judges_every_image(scorer, images, tmp_path):
    score(tmp_path, scorer, images, class_name="leather")
    table = bulk.read(tmp_path)
    assert set(table["class_name"]) == {"leather"} and "not judged" not in set(table["verdict"])
    assert not table["is_known"].all()


def test_folder_list_and_tars_give_the_same_rows(scorer, images, tmp_path):
    listed = tmp_path / "list.txt"
    listed.write_text("\n".join(map(str, images)))
    tars = [write_tar(tmp_path / "0.tar", images[:7]), write_tar(tmp_path / "1.tar", images[7:])]
    score(tmp_path / "folder", scorer, [images[0].parent], shard_size=5)
    score(tmp_path / "list", scorer, [], listed, shard_size=5)
    score(tmp_path / "tars", scorer, tars, shard_size=5)  # parts that begin and end within a tar
    by_folder, by_list, by_tars = (bulk.read(tmp_path / n) for n in ("folder", "list", "tars"))
    assert_frame_equal(by_list, by_folder)
    assert by_tars["path"].tolist() == [f"{tars[n >= 7]}/{n:02d}.png" for n in range(IMAGES)]
    assert_frame_equal(by_tars.drop(columns="path"), by_folder.drop(columns="path"))


def test_an_image_that_cannot_be_read_has_a_row_and_stops_nothing(scorer, images, tmp_path):
    bad, gone = tmp_path / "bad.png", tmp_path / "gone.png"
    bad.write_bytes(images[1].read_bytes()[:200])
    tar = write_tar(tmp_path / "0.tar", [bad, images[1]])
    summary = score(tmp_path / "out", scorer, [bad, images[0], gone, tar], shard_size=3)
    table = bulk.read(tmp_path / "out")
    unreadable = table[table["error"].notna()]
    assert unreadable["path"].tolist() == [str(bad), str(gone), f"{tar}/bad.png"]
    assert all(error.startswith(path) for path, error in zip(
        unreadable["path"], unreadable["error"], strict=True))
    assert "damaged or cut off" in table["error"][0] and "is not a file" in table["error"][2]
    assert unreadable.drop(columns=["path", "error"]).isna().all(axis=None)
    assert table["verdict"].notna().tolist() == [False, True, False, False, True]
    assert summary.verdicts["unreadable"] == 3 and "3 unreadable" in str(summary)


def test_a_second_start_does_only_what_is_missing(scorer, images, tmp_path):
    first = score(tmp_path, scorer, images, shard_size=5)
    whole, parts = bulk.read(tmp_path), read_plan(tmp_path).parts
    (tmp_path / ".part-00001.parquet.0a1b2c3d.part").write_bytes(b"of a killed worker")
    (tmp_path / "part-00001.parquet").unlink()
    with pytest.raises(DatasetError, match=r"1 of 3 parts are missing.* part-00001\.parquet"):
        bulk.read(tmp_path)
    before = [part.stat().st_mtime_ns for part in parts if part.exists()]
    again = score(tmp_path, scorer, images[::-1])  # the order of the arguments means nothing
    assert again.scored == 5 and again.verdicts == first.verdicts
    assert [parts[0].stat().st_mtime_ns, parts[2].stat().st_mtime_ns] == before
    assert_frame_equal(bulk.read(tmp_path), whole)
    assert score(tmp_path, scorer).scored == 0  # without saying which images, too
    assert "images a second" not in str(score(tmp_path, scorer))


def test_a_shard_that_another_worker_has_is_left_to_it_until_it_dies(
    scorer, images, tmp_path, monkeypatch
):
    score(tmp_path, scorer, images, shard_size=5)
    whole = bulk.read(tmp_path)
    for part in read_plan(tmp_path).parts:
        part.unlink()
    other, seen = FileLock(tmp_path / LOCKS / "00001.lock"), []
    other.acquire()

    def die(seconds):
        seen.extend(sorted(path.name for path in tmp_path.glob("part-*")))
        other.release()

    monkeypatch.setattr(bulk.time, "sleep", die)
    assert score(tmp_path, scorer).scored == IMAGES
    assert seen == ["part-00000.parquet", "part-00002.parquet"]
    assert_frame_equal(bulk.read(tmp_path), whole)


def test_other_inputs_model_and_settings_are_refused_by_name(
    scorer, tiny_model_folder, images, tmp_path
):
    tar = write_tar(tmp_path / "0.tar", images[:2])
    given, out = [*images[:3], tar], tmp_path / "out"
    score(out, scorer, given, shard_size=5, lam=3.0)
    for changes, told in (
        ({"lam": 5.0}, "the lam was 3.0 and is 5.0"),
        ({"abnormal_prompt": "a dirty"}, "the abnormal prompt was 'a broken' and is 'a dirty'"),
        ({"false_alarm_rate": 0.1}, "the false alarm rate was 0.05 and is 0.1"),
        ({"class_name": "screw"}, "the class name was None and is 'screw'"),
        ({"shard_size": 6}, "the shard size was 5 and is 6"),
        ({"images": [*given, images[4]]}, f"of the inputs, 1 new, such as {images[4]}"),
        ({"images": given[1:]}, f"of the inputs, 1 gone, such as {images[0]}"),
    ):
        with pytest.raises(DatasetError, match="was planned otherwise: .*" + told):
            score(out, scorer, **{"images": given, "lam": 3.0, **changes})
    score(out, scorer, given, lam=3.0, abnormal_prompt=" a  broken ")  # the model's own
    other = load_scorer(tiny_model_folder, keep=False)
    other.checkpoint.calibration["screw"].append(images_of(other)[0])
    with pytest.raises(DatasetError, match=r"the model was model\d+ .* and is model\d+"):
        score(out, other, given, lam=3.0)
    write_tar(tar, images[:3])
    with pytest.raises(DatasetError, match="of the inputs, a tar was written again"):
        score(out, scorer, given, lam=3.0)


def images_of(scorer) -> list[Image.Image]:
    return next(iter(scorer.checkpoint.calibration.values()))


def test_what_is_wrong_with_a_setting_is_told_before_there_is_a_plan(scorer, images, tmp_path):
    for error, settings in (
        (SettingError, {"false_alarm_rate": 1.0}), (SettingError, {"shard_size": 0}),
        (UnknownClassError, {"class_name": "teapot"}), (DatasetError, {"images": []}),
        (DatasetError, {"images": [write_tar(tmp_path / "0.tar", [])]}),
    ):
        with pytest.raises(error):
            score(tmp_path / "out", scorer, **{"images": images, **settings})
        assert not (tmp_path / "out" / PLAN_FILE).exists()


def test_parts_without_a_plan_are_not_taken_for_ones_own(scorer, images, tmp_path):
    score(tmp_path, scorer, images)
    (tmp_path / PLAN_FILE).unlink()
    with pytest.raises(DatasetError, match="holds parts without"):
        score(tmp_path, scorer, images[:3])
    (tmp_path / PLAN_FILE).write_text("{")
    with pytest.raises(DatasetError, match="cannot be read"):
        score(tmp_path, scorer, images)


@pytest.mark.parametrize(("environment", "first"), [
    ({}, 0), ({"RANK": "1", "WORLD_SIZE": "4"}, 2), ({"RANK": "3", "WORLD_SIZE": "4"}, 7),
    ({"SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_TASK_COUNT": "2"}, 0),
    ({"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_COUNT": "2",
      "RANK": "1", "WORLD_SIZE": "2"}, 7),
    ({"RANK": "x", "WORLD_SIZE": "0"}, 0),
])
def test_workers_begin_apart_and_see_to_every_shard(environment, first, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = bulk._round(10)
    assert found[0] == first and sorted(found) == list(range(10))
    assert bulk._round(1) == [0]


def _work(model: str, folder: str, given: list[str], done: str) -> None:
    """A worker, in a process of its own; at its end it writes how many images it scored."""
    torch.set_num_threads(1)
    scored = score(folder, load_scorer(model, keep=False), given, shard_size=KILLED_SHARD).scored
    Path(done).write_text(str(scored))


@pytest.fixture(scope="module")
def start_worker(tiny_model_folder, tmp_path_factory):
    """Starts a worker in a fork of a process that holds the libraries already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ltad.inference.bulk", "pyarrow.parquet"])
    done = tmp_path_factory.mktemp("done")

    def start(folder: Path, given: list[Path]) -> tuple[multiprocessing.Process, Path]:
        note = done / str(time.monotonic_ns())
        worker = context.Process(target=_work, args=(
            str(tiny_model_folder), str(folder), [str(path) for path in given], str(note)))
        worker.start()
        return worker, note

    return start


@pytest.fixture(scope="module")
def many(images, tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("many")
    paths = [folder / f"{number:04d}.png" for number in range(KILLED_IMAGES)]
    for number, path in enumerate(paths):
        path.symlink_to(images[number % IMAGES])
    return paths


def test_two_workers_do_no_shard_twice(start_worker, many, tmp_path):
    workers = [start_worker(tmp_path, many[:60]) for _ in range(2)]
    for worker, _ in workers:
        worker.join(120)
        assert worker.exitcode == 0
    scored = [int(note.read_text()) for _, note in workers]
    assert sum(scored) == 60 and len(bulk.read(tmp_path)) == 60


@pytest.mark.slow
def test_kill_9_at_any_moment_loses_nothing_and_changes_nothing(
    start_worker, many, tmp_path, tell
):
    chance, out, killed = random.Random(0), tmp_path / "out", []
    workers = [start_worker(out, many)[0] for _ in range(2)]
    end = time.monotonic() + 300
    while any(worker.exitcode is None for worker in workers) and time.monotonic() < end:
        if len(killed) < KILLS:
            wanted = len(list(out.glob("part-*"))) + chance.randint(0, 3)
            while len(list(out.glob("part-*"))) < wanted and time.monotonic() < end:
                time.sleep(0.002)
            time.sleep(chance.uniform(0, 0.1))
            victim = chance.randrange(2)
            workers[victim].kill()
            workers[victim].join()
            killed.append(workers[victim].exitcode)
            workers[victim] = start_worker(out, many)[0]
        time.sleep(0.01)
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert killed.count(-9) >= KILLS // 2, "the workers were finished too soon to be killed"
    tell(f"killed {killed.count(-9)} times")
    table = bulk.read(out)
    assert table["path"].tolist() == [str(path) for path in many]
    alone, _ = start_worker(tmp_path / "alone", many)
    alone.join(120)
    assert_frame_equal(table, bulk.read(tmp_path / "alone"), rtol=1e-6)


def test_pandas_reads_a_part_by_itself_and_the_plan_is_plain(scorer, images, tmp_path):
    score(tmp_path, scorer, images)
    own = pd.read_parquet(tmp_path / "part-00000.parquet")
    assert list(own) == list(bulk.COLUMNS) == list(bulk.read(tmp_path))
    plan = json.loads((tmp_path / PLAN_FILE).read_text())
    assert plan["images"] == IMAGES and plan["settings"]["abnormal_prompt"] == "a broken"
