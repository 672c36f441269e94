"""Teaching parts: what comes in, what is warned of, the training process, its figures."""

from __future__ import annotations

import io
import json
import os
import shlex
import signal
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image

from ltad.cli.main import app
from ltad.cli.models import configured
from ltad.config import preset
from ltad.data.datasets import load_folder
from ltad.inference.checkpoint import load_checkpoint
from ltad.inference.registry import ModelRegistry
from ltad.io.files import is_locked, try_lock
from ltad.jobs import worker
from ltad.jobs.dataset import (
    Incoming,
    add_images,
    from_files,
    from_server_folder,
    remove_image,
    remove_part,
    server_choices,
)
from ltad.jobs.evaluate import compare, own_examples, read_figures, rows_of
from ltad.jobs.job import ProgressLog, checked_name, find_job, job_names, new_job
from ltad.jobs.worker import config_for_few_images, training_command
from ltad.synthetic.painting import DAMAGE, paint_damage
from ltad.synthetic.render import render_part
from ltad.types import LTADError, SettingError
from ltad.workspace import Workspace

WAIT = 180  # seconds, for a slow machine


def picture(part: str, seed: int, size: int = 96) -> Image.Image:
    return Image.fromarray(render_part(part, seed, size).image)


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def good(part: str, count: int, first: int = 0) -> list[Incoming]:
    return [Incoming(f"{n}.png", png(picture(part, first + n))) for n in range(count)]


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    return Workspace(tmp_path / "work")


@pytest.fixture
def job(workspace, tiny_scorer):
    return new_job(workspace, "my parts", tiny_scorer, ["assets"])


BAD_NAMES = ["", "  ", "../up", "a/b", ".hidden", "x" * 61, "a\0b", "_x", "a.b"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_cannot_be_folders_are_refused(name):
    with pytest.raises(SettingError):
        checked_name("part", name)


def test_names_are_cleaned_and_compared_as_people_read_them():
    assert checked_name("part", "  left   bracket-2 ") == "left bracket-2"
    with pytest.raises(SettingError, match="already a part called 'hex_nut'"):
        checked_name("part", "Hex Nut", ["gear", "hex_nut"])


def test_uploads_come_from_files_and_zips_and_bad_ones_say_why(job, tmp_path, tiny_encoder):
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
        archive.writestr("../../evil.png", png(picture("gear", 1)))
        archive.writestr("inner/2.png", png(picture("gear", 2)))
        archive.writestr("again.png", png(picture("gear", 2)))
        archive.writestr("broken.png", b"\x89PNG\r\n\x1a\n nothing")
    wide = picture("gear", 3).resize((3000, 1500))
    wide.save(tmp_path / "wide.png")
    added = add_images(job.folder, "gear", "learn", from_files(
        [tmp_path / "some.zip", tmp_path / "wide.png"]), tiny_encoder)
    assert added.stored == 3
    assert any("broken.png" in text for text in added.refused)
    assert any("the same image" in text for text in added.refused)
    stored = sorted((job.folder / "data/gear/train/good").iterdir())
    assert [path.suffix for path in stored] == [".png"] * 3
    assert max(Image.open(path).size for path in stored) == (1024, 512)
    outside = [p for p in tmp_path.rglob("*evil*") if not p.is_relative_to(job.folder)]
    assert outside == []


def test_only_allowed_server_folders_are_read(tmp_path):
    for name in ("open/inner", "closed"):
        (tmp_path / name).mkdir(parents=True)
        picture("gear", 1).save(tmp_path / name / "1.png")
    allowed = [tmp_path / "open"]
    assert server_choices(allowed) == [str(tmp_path / "open/inner")]
    assert len(list(from_server_folder(str(tmp_path / "open/inner"), allowed))) == 1
    for folder in ("closed", "open/../closed"):
        with pytest.raises(LTADError):
            list(from_server_folder(str(tmp_path / folder), allowed))


def test_odd_ones_out_are_named(job, tiny_encoder):
    add_images(job.folder, "screw", "learn", good("screw", 10), tiny_encoder)
    add_images(job.folder, "leather", "learn", good("leather", 10), tiny_encoder)
    large = picture("screw", 71, 240)
    odd = [
        Incoming("first.png", png(large)),
        Incoming("alien.png", png(picture("leather", 77))),
        Incoming("twin.png", png(large.resize((200, 200)))),
        Incoming("long.png", png(picture("screw", 70).crop((0, 20, 96, 70)))),
        Incoming("blank.png", png(Image.new("RGB", (96, 96), "gray"))),
    ]
    add_images(job.folder, "screw", "learn", odd, tiny_encoder)
    found = {(o.image.split("_")[-1], o.kind): o.text for o in job.warnings()}
    assert "leather" in found["alien.png", "another part"]
    assert "010_first.png" in found["twin.png", "twin"]
    assert ("long.png", "size") in found and ("blank.png", "blank") in found
    for kind in ("twin", "size", "blank"):
        assert len([True for _, other in found if other == kind]) == 1
    assert ("", "few") in found


def test_a_small_part_is_told_where_its_threshold_comes_from(job, tiny_encoder):
    add_images(job.folder, "screw", "learn", good("screw", 4), tiny_encoder)
    (alone,) = [one.text for one in job.warnings() if one.kind == "few"]
    assert "With 4 images none can be held out" in alone and "learnt from" in alone
    add_images(job.folder, "leather", "learn", good("leather", 10), tiny_encoder)
    beside = next(o.text for o in job.warnings() if (o.part, o.kind) == ("screw", "few"))
    assert "comes from the other parts" in beside


def test_a_part_with_too_few_pictures_is_not_trained(job, workspace, tiny_encoder):
    with pytest.raises(SettingError, match="no part yet"):
        worker.start(workspace, job.name)
    add_images(job.folder, "gear", "learn", good("gear", 4), tiny_encoder)
    remove_image(job.folder, "gear", "learn", "000_0.png")
    with pytest.raises(SettingError, match="gear has 3 images"):
        worker.start(workspace, job.name)
    for part, name in (("gear", "../../job.json"), ("..", "job.json")):
        with pytest.raises(SettingError):
            remove_image(job.folder, part, "learn", name)
    with pytest.raises(SettingError):
        remove_part(job.folder, "../data")
    remove_part(job.folder, "gear")
    assert job.parts() == []


def test_kept_old_classes_may_not_share_a_name_with_new_ones(job, workspace, tiny_encoder):
    add_images(job.folder, "Hex nut", "learn", good("hex_nut", 4), tiny_encoder)
    with pytest.raises(SettingError, match="already a part called 'hex_nut'"):
        worker.start(workspace, job.name, keep_old=True)


def test_a_taken_name_is_refused(job, workspace, tiny_scorer):
    for name in ("My_Parts", "assets"):
        with pytest.raises(SettingError, match="already a model"):
            new_job(workspace, name, tiny_scorer, ["assets"])
    with pytest.raises(SettingError, match="no training called"):
        find_job(workspace, "../my parts")


@pytest.mark.parametrize("kind", DAMAGE)
def test_painted_damage_is_repeatable_and_lies_where_the_mask_says(kind):
    image = picture("leather", 5)
    damaged, mask = paint_damage(image, kind, 3)
    again, _ = paint_damage(image, kind, 3)
    before, after = np.asarray(image).astype(int), np.asarray(damaged).astype(int)
    change = np.abs(after - before).max(axis=-1)
    assert np.array_equal(after, np.asarray(again))
    assert 0.002 <= mask.mean() <= 0.15 and change[mask].mean() >= 11
    assert change[~mask].max() <= 255 * 6 / 255 + 1


def test_the_command_repeats_the_settings(tiny_config):
    config = config_for_few_images(tiny_config, {"a": 20, "b": 4})
    words = shlex.split(training_command(config, "my data", "some/encoder", "out"))
    command = typer.main.get_command(app).commands[words[3]]
    options = command.make_context(words[3], words[4:]).params
    said = configured(preset(options["preset"]), options["changes"]).replace(seed=options["seed"])
    assert said == config and options["data"] == "my data"
    steps = config.training.phase2_epochs * -(-19 // config.training.batch_size)
    assert 560 <= steps < 560 + 2


def test_progress_survives_a_torn_line_and_a_resumed_step(tmp_path):
    log = ProgressLog(tmp_path / "log")
    log.begin()
    log.write("phase 1", 1, 3, {"synthesis": 4.0})
    log.write("phase 1", 2, 3, {"synthesis": 3.0})
    with (tmp_path / "log").open("a") as file:
        file.write('{"time": 1, "sta')
    log.begin()
    log.write("phase 1", 2, 3, {"synthesis": 2.5})
    found = log.read()
    assert found.losses == {"phase 1: synthesis": [(1, 4.0), (2, 2.5)]}
    assert (found.stage, found.step, found.steps) == ("phase 1", 2, 3)


def test_a_lock_is_free_when_its_holder_lets_go(tmp_path):
    handle = try_lock(tmp_path / "lock")
    assert try_lock(tmp_path / "lock") is None and is_locked(tmp_path / "lock")
    os.close(handle)
    assert not is_locked(tmp_path / "lock")


def short(base, counts):
    """A recipe of few steps; the child process reads it from job.json."""
    return config_for_few_images(base, counts).replace(phase1_epochs=2, phase2_epochs=4)


def long(base, counts):
    return config_for_few_images(base, counts).replace(phase1_epochs=2, phase2_epochs=20_000)


def wait_for(condition, seconds: float = WAIT) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "took too long"
        time.sleep(0.1)


def child_of(job) -> int:
    """The process that trains the job, found by its own command line."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if str(job.folder.absolute()).encode() in command:
            return int(folder.name)
    raise AssertionError("no process trains this job")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks the process up in /proc")
def test_training_is_killed_resumed_cancelled_and_finished(
    workspace, job, tiny_scorer, tiny_encoder, monkeypatch
):
    add_images(job.folder, "round thing", "learn", good("gear", 12), tiny_encoder)
    add_images(job.folder, "hide", "learn", good("leather", 5), tiny_encoder)
    add_images(job.folder, "hide", "test good", good("leather", 2, 50), tiny_encoder)
    stained = Image.fromarray(render_part("leather", 60, 96, "stain").image)
    add_images(job.folder, "hide", "test defective",
                 [Incoming("s.png", png(stained))], tiny_encoder)
    monkeypatch.setattr(worker, "config_for_few_images", long)
    worker.start(workspace, job.name)
    with pytest.raises(SettingError, match="training"):
        worker.start(workspace, job.name)
    with pytest.raises(SettingError, match="cannot change"):
        job.require_editable()
    wait_for(lambda: job.progress().stage == "phase 2")
    os.kill(child_of(job), signal.SIGKILL)
    wait_for(lambda: job.state == "interrupted")
    assert worker.resume_interrupted(workspace) == [job.name]
    assert job.state == "started"
    steps = job.progress().step
    wait_for(lambda: job.progress().stage == "phase 2" and job.progress().step >= steps)
    worker.cancel(workspace, job.name)
    wait_for(lambda: job.state == "cancelled")
    assert (job.folder / "model").exists() and not job.model_folder.exists()

    monkeypatch.setattr(worker, "config_for_few_images", short)
    worker.start(workspace, job.name, false_alarm_rate=0.1)
    wait_for(lambda: job.state in ("finished", "failed"))
    assert job.record()["message"] == ""
    check_the_model(workspace, job, tiny_scorer, tiny_encoder)


def check_the_model(workspace, job, tiny_scorer, tiny_encoder) -> None:
    registry = ModelRegistry(tiny_scorer, workspace.models)
    assert registry.names() == [tiny_scorer.name, "my parts"]
    taught = registry.scorer("my parts")
    assert taught.class_names == ("hide", "round thing")
    figures = read_figures(job.model_folder)
    hide, round_thing = figures["classes"]
    assert (round_thing["training"], round_thing["held_out"]) == (12, 12)
    assert (hide["training"], hide["held_out"], hide["are_held_out"]) == (5, 5, True)
    assert round_thing["painted"]["defective"] == 3 * len(DAMAGE) and round_thing["test"] is None
    assert hide["test"]["good"] == 2 and hide["test"]["defective"] == 1
    assert round_thing["is_cross_fitted"] and round_thing["painted"]["good"] == 3  # a fifth of 12
    assert "train --data" in figures["command"]

    examples = own_examples(workspace, taught)
    assert [(e.part, e.is_defective) for e in examples] == (
        [("hide", False)] * 2 + [("hide", True)]
        + [("round thing", False)] * 12 + [("round thing", True)] * 12
    )
    taught.checkpoint.about["held_out_pictures"]["round thing"] = 0  # as if none could be
    titles = [e.title for e in own_examples(workspace, taught) if e.part == "round thing"]
    assert titles and all(title.startswith("learnt from ") for title in titles)
    pairs = compare(tiny_scorer, taught, examples)
    assert [(row.part, row.good, row.defective) for row in rows_of(pairs)] == [
        ("hide", 2, 1), ("round thing", 12, 12)
    ]
    for row in rows_of(pairs):
        own = [pair for pair in pairs if pair.example.part == row.part]
        said = [(p.first.verdict, p.second.verdict, p.example.is_defective) for p in own]
        for side in (0, 1):
            assert row.not_judged[side] == sum(one[side] == "not judged" for one in said)
            assert row.false_alarms[side] + row.found[side] == sum(
                one[side] == "anomalous" for one in said)
    direct = tiny_scorer.score(examples[0].image)
    assert pairs[0].first.score == pytest.approx(direct.score, rel=1e-5)
    with pytest.raises(SettingError, match="finished"):
        worker.start(workspace, job.name)
    job.discard()
    assert job_names(workspace) == [] and job.model_folder.exists()


def test_test_pictures_never_enter_the_training(workspace, tiny_scorer, tiny_encoder, monkeypatch):
    job = new_job(workspace, "clean", tiny_scorer)
    add_images(job.folder, "gear", "learn", good("gear", 4), tiny_encoder)
    add_images(job.folder, "gear", "test defective", good("leather", 1), tiny_encoder)
    samples = load_folder(job.folder / "data")
    assert [s.split for s in samples if s.is_defective] == ["test"]
    monkeypatch.setattr(worker, "config_for_few_images", short)
    monkeypatch.setattr(worker, "_launch", lambda job, lock: None)
    worker.start(workspace, "clean")
    from ltad.jobs.worker import work

    assert work(job) == 0
    model = json.loads((job.model_folder / "model.json").read_text())
    assert model["about"]["training_pictures"] == {"gear": 4}
    assert load_checkpoint(job.model_folder, tiny_encoder).detector.class_names == ("gear",)
