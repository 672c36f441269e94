"""Training in a process of its own: the queue, the recipe and the work."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ltad.config import Config, preset
from ltad.data.datasets import load_folder
from ltad.inference.checkpoint import MODEL_FILE, Checkpoint, load_checkpoint
from ltad.inference.scorer import Scorer
from ltad.io.files import try_lock
from ltad.io.threads import usable_cores
from ltad.jobs.dataset import ROLES
from ltad.jobs.evaluate import measure_class, write_figures
from ltad.jobs.job import (
    CANCEL_FILE,
    CANCELLED,
    FAILED,
    FINISHED,
    FOLDER,
    INTERRUPTED,
    LOCK_FILE,
    LOG_FILE,
    OUTPUT_FILE,
    STARTED,
    Job,
    find_job,
    job_names,
)
from ltad.models.align import Encoder, load_encoder
from ltad.synthetic.dataset import write_parts
from ltad.training.train import train
from ltad.types import LTADError, Sample, SettingError, disk_trouble
from ltad.workspace import Workspace

PRESET = "demo"
PHASE1_STEPS, PHASE2_STEPS = 150, 480
"""Optimiser steps of each phase for one part; an epoch of few images is little."""
PHASE1_STEPS_PER_PART, PHASE2_STEPS_PER_PART = 15, 40
HELD_OUT = 0.25
"""Share of the images that set the thresholds: of 20 images, five."""
RENDERED_PER_CLASS = 20
"""Images of each rendered part that are trained again where the old classes are kept."""


FOR_PHOTOGRAPHS = ("standardize", "residual", "reference_size", "reference_weight",
                   "border_weight", "good_units", "lam", "views", "balance_classes")
"""Settings that the preset has from photographs; a base model may be of drawings, or published."""
_LOG = logging.getLogger(__name__)
TURN_FILE, MODEL = "turn", "model"
POLL_SECONDS = 1.0
RENDERED_SIZE = 256
NICENESS = 5


def config_for_few_images(base: Config, counts: dict[str, int]) -> Config:
    """The settings to teach parts with.

    Args:
        base: of the model that the page started with; its encoder, sizes and prompts are kept.
        counts: part -> images to learn from, old parts among them.
    """
    total = sum(counts.values())
    per_epoch = -(-total // base.training.batch_size)
    even = -(-total // per_epoch)  # else 34 images would be a batch of 32 and one of 2
    steps = (PHASE1_STEPS + PHASE1_STEPS_PER_PART * len(counts),
             PHASE2_STEPS + PHASE2_STEPS_PER_PART * len(counts))
    chosen = _flat(preset(PRESET))
    return base.replace(
        **{name: chosen[name] for name in FOR_PHOTOGRAPHS},
        phase1_epochs=-(-steps[0] // per_epoch), phase2_epochs=-(-steps[1] // per_epoch),
        batch_size=even, validation_fraction=HELD_OUT, calibration="cross_fitted",
        minimum_steps=0, seed=0,
    )


def training_command(
    config: Config, data: str | Path, encoder: str, out: str | Path
) -> str:
    """The command line that trains the same model from the same images.

    Settings that differ from the preset's are named one by one.
    """
    usual, own = _flat(preset(PRESET)), _flat(config)
    changes = [f"{name}={json.dumps(value)}" for name, value in own.items()
               if value != usual[name] and name != "seed"]
    words: Sequence[str] = (
        "python", "-m", "ltad", "train", "--data", str(data), "--encoder", encoder,
        "--preset", PRESET, "--seed", str(config.training.seed), "--out", str(out),
        *(["--set", *changes] if changes else []),
    )
    return shlex.join(words)


def _flat(config: Config) -> dict[str, Any]:
    return {name: value for group in config.to_dict().values() for name, value in group.items()}


class Cancelled(LTADError):
    """A person stopped the training."""


def work(job: Job) -> int:
    """Train, and say in ``job.json`` how it ended. Returns the exit status."""
    try:
        _train(job)
    except Cancelled:
        job.update(state=CANCELLED, message="Cancelled. Starting again goes on from here.")
        return 0
    except LTADError as error:
        job.update(state=FAILED, message=_without_paths(str(error), job))
        return 1
    except Exception as error:
        _LOG.exception("the training of %s failed", job.name)
        _fail(job, error)
        return 1
    job.update(
        state=FINISHED, seconds=round(job.progress().seconds, 1),
        processor_seconds=round(time.process_time(), 1),  # of this process, the last one
    )
    return 0


def _fail(job: Job, error: Exception) -> None:
    """Say why; on a full disk even that may not be possible, and the training is "interrupted"."""
    trouble = disk_trouble(error)
    message = f"{trouble} Free some space and train again: it goes on from here." if trouble \
        else "Something went wrong; the server's log says what."
    with suppress(OSError):
        job.update(state=FAILED, message=message)


def _train(job: Job) -> None:
    if (job.model_folder / MODEL_FILE).exists():  # killed between the last two steps
        return
    turn = _wait_for_turn(job)
    try:
        record, log = job.record(), job.log
        log.begin()
        if record["old_classes"]:
            log.write("rendering")
            _render_old(job, record)
        config = Config.from_dict(record["training_config"])
        encoder = load_encoder(record["encoder"], config.features, record["device"])
        _stop_if_asked(job)
        log.write("pictures")
        samples = load_folder(job.folder / "data")
        checkpoint = _checkpoint(job, record, samples, encoder, config)
        log.write("figures")
        _measure(job, record, samples, Scorer(encoder, checkpoint, None, job.name))
        (job.folder / MODEL).replace(job.model_folder)
    finally:
        os.close(turn)


def _checkpoint(
    job: Job, record: dict[str, Any], samples: list[Sample], encoder: Encoder, config: Config
) -> Checkpoint:
    """The trained model; one that was finished before a kill is only read."""
    out, log = job.folder / MODEL, job.log
    if (out / MODEL_FILE).exists():
        return load_checkpoint(out, encoder)

    def report(stage: str, step: int, steps: int, losses: Mapping[str, float]) -> None:
        log.write(stage, step, steps, losses)
        _stop_if_asked(job)

    about = {"data": "own images", "new_classes": job.parts(),
             "old_classes": record["old_classes"]}
    return train(samples, encoder, config, out, _reference(record["encoder"], job),
                 record["features"], report, about)


def _measure(job: Job, record: dict[str, Any], samples: list[Sample], scorer: Scorer) -> None:
    rate, new, figures = record["false_alarm_rate"], job.parts(), []
    for name in scorer.class_names:
        own = [sample for sample in samples if sample.class_name == name]
        figures.append(measure_class(scorer, name, name in new, own, rate))
        _stop_if_asked(job)
    command = training_command(
        scorer.config, _shown(job.folder / "data"), _shown(record["encoder"]),
        _shown(job.model_folder),
    )
    write_figures(job.folder / MODEL, figures, rate, command=command,
                  seconds=round(job.progress().seconds, 1))


def _wait_for_turn(job: Job) -> int:
    """One training at a time, because two would each take more than twice as long."""
    path = job.folder.parent / TURN_FILE
    if (turn := try_lock(path)) is None:
        job.log.write("waiting")
    while turn is None:
        turn = try_lock(path)
        _stop_if_asked(job)
        time.sleep(0 if turn else POLL_SECONDS)
    return turn


def _stop_if_asked(job: Job) -> None:
    if (job.folder / CANCEL_FILE).exists():
        raise Cancelled(f"{job.name} was cancelled.")


def _render_old(job: Job, record: dict[str, Any]) -> None:
    """Put the old parts' images beside the new ones; they are rendered once for all jobs."""
    rendered = write_parts(
        record["rendered"], "none", train_per_class=RENDERED_PER_CLASS, test_good=0,
        test_defective=0, size=RENDERED_SIZE,
    )
    for name in record["old_classes"]:
        target = job.folder / "data" / name / "train" / "good"
        shutil.copytree(rendered / name / "train" / "good", target, dirs_exist_ok=True)


def _reference(encoder: str, job: Job) -> str:
    """How the finished model names its encoder: relative to its own folder, or by hub name."""
    return os.path.relpath(encoder, job.model_folder) if Path(encoder).is_dir() else encoder


def _without_paths(message: str, job: Job) -> str:
    """For the page, where the server's folders concern nobody."""
    return message.replace(f"{job.folder}{os.sep}", "").replace(str(job.folder), "the job")


def _shown(path: str | Path) -> str:
    """A path as one would type it where the page was started."""
    path = Path(path)
    return os.path.relpath(path) if path.exists() or path.is_absolute() else str(path)


def start(
    workspace: Workspace, name: str, keep_old: bool = False, false_alarm_rate: float = 0.05
) -> Job:
    """Train a job in the background, or go on with one that stopped.

    Args:
        workspace: where the job is.
        name: of the job.
        keep_old: the rendered parts that the first model knows are learnt again, so that the new
            model knows old and new; otherwise it knows the new parts only.
        false_alarm_rate: at which the new model's figures are taken, in (0, 1).

    Raises:
        SettingError: there is no such job, it runs or is finished, or lacks images.
    """
    job = find_job(workspace, name)
    if job.state == FINISHED:
        raise SettingError(f"{name!r} is finished. Begin a new model to change it.")
    if not 0 < false_alarm_rate < 1:
        raise SettingError(f"The false-alarm rate is {false_alarm_rate}, but must be in (0, 1).")
    job.check_ready(keep_old)
    lock = try_lock(job.folder / LOCK_FILE)
    if lock is None:
        raise SettingError(f"{name!r} is training already.")
    try:
        _prepare(job, keep_old, false_alarm_rate)
        _launch(job, lock)
    finally:
        os.close(lock)  # the child keeps its own copy
    return job


def _prepare(job: Job, keep_old: bool, rate: float) -> None:
    """Settle what is trained. A half-finished model of other images is thrown away."""
    old = job.old_classes() if keep_old else []
    counts = {part: roles["learn"] for part, roles in job.counts().items()}
    counts |= dict.fromkeys(old, RENDERED_PER_CLASS)
    config = config_for_few_images(Config.from_dict(job.record()["config"]), counts)
    keys = [f.key for role in ROLES for own in job.facts(role).values() for f in own]
    text = json.dumps([keys, counts, config.to_dict()], sort_keys=True)
    identity = hashlib.sha256(text.encode()).hexdigest()[:16]
    if job.record().get("identity") != identity:
        for part in set(job.record().get("old_classes", [])) - set(job.parts()):
            shutil.rmtree(job.folder / "data" / part, ignore_errors=True)
        shutil.rmtree(job.folder / "model", ignore_errors=True)
        (job.folder / LOG_FILE).unlink(missing_ok=True)
    (job.folder / CANCEL_FILE).unlink(missing_ok=True)
    job.update(
        state=STARTED, message="", identity=identity, old_classes=old,
        false_alarm_rate=rate, training_config=config.to_dict(),
    )


def _launch(job: Job, lock: int) -> None:
    """The child inherits the lock, so that the job counts as running from here to its end."""
    import ltad

    with (job.folder / OUTPUT_FILE).open("ab") as output:
        subprocess.Popen(
            [sys.executable, "-m", "ltad.jobs.worker", str(job.folder.absolute())],
            cwd=Path(ltad.__file__).parents[1], stdin=subprocess.DEVNULL, stdout=output,
            stderr=output, pass_fds=(lock,), start_new_session=True,
        )


def cancel(workspace: Workspace, name: str) -> Job:
    """Ask a training to stop; it does so before its next step.

    Raises:
        SettingError: it does not run.
    """
    job = find_job(workspace, name)
    if not job.is_running:
        raise SettingError(f"{name!r} is not training.")
    (job.folder / CANCEL_FILE).touch()
    return job


def resume_interrupted(workspace: Workspace) -> list[str]:
    """Go on with all trainings whose process was killed; returns their names."""
    resumed = []
    for name in job_names(workspace):
        job = Job(workspace.models / FOLDER / name)
        try:
            if job.state == INTERRUPTED:
                record = job.record()
                start(workspace, name, bool(record["old_classes"]), record["false_alarm_rate"])
                resumed.append(name)
        except LTADError:  # another process was faster, or the folder is damaged
            continue
    return resumed


if __name__ == "__main__":
    import torch

    pass

    os.nice(NICENESS)
    # One core is left to the page, which must keep answering.
    torch.set_num_threads(max(1, min(torch.get_num_threads(), usable_cores() - 1)))
    sys.exit(work(Job(Path(sys.argv[1]))))
