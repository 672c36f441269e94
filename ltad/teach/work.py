"""What the training process does with a lesson, from pictures to a model on the shelf."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ltad.checkpoint import MODEL_FILE, Checkpoint, load_checkpoint
from ltad.config import Config
from ltad.data.folders import load_folder
from ltad.data.write_parts import write_parts
from ltad.encoders import Encoder, load_encoder
from ltad.service import Scorer
from ltad.teach.figures import measure_class, write_figures
from ltad.teach.lessons import CANCEL_FILE, CANCELLED, FAILED, FINISHED, Lesson
from ltad.teach.locks import try_lock
from ltad.teach.recipe import RENDERED_PER_CLASS, training_command
from ltad.training.train import train
from ltad.types import LTADError, Sample, disk_trouble

_LOG = logging.getLogger(__name__)
TURN_FILE, MODEL = "turn", "model"
SECONDS_BETWEEN_LOOKS = 1.0
RENDERED_SIZE = 256


class Cancelled(LTADError):
    """A person stopped the training."""


def work(lesson: Lesson) -> int:
    """Train, and say in ``job.json`` how it ended. Returns the exit status."""
    try:
        _train(lesson)
    except Cancelled:
        lesson.update(state=CANCELLED, message="Cancelled. Starting again goes on from here.")
        return 0
    except LTADError as error:
        lesson.update(state=FAILED, message=_without_paths(str(error), lesson))
        return 1
    except Exception as error:
        _LOG.exception("the training of %s failed", lesson.name)
        _fail(lesson, error)
        return 1
    lesson.update(
        state=FINISHED, seconds=round(lesson.progress().seconds, 1),
        processor_seconds=round(time.process_time(), 1),  # of this process, the last one
    )
    return 0


def _fail(lesson: Lesson, error: Exception) -> None:
    """Say why; on a full disk even that may not be possible, and the training is "interrupted"."""
    trouble = disk_trouble(error)
    message = f"{trouble} Free some space and train again: it goes on from here." if trouble \
        else "Something went wrong; the server's log says what."
    with suppress(OSError):
        lesson.update(state=FAILED, message=message)


def _train(lesson: Lesson) -> None:
    if (lesson.model_folder / MODEL_FILE).exists():  # killed between the last two steps
        return
    turn = _wait_for_turn(lesson)
    try:
        record, log = lesson.record(), lesson.log
        log.begin()
        if record["old_classes"]:
            log.write("rendering")
            _render_old(lesson, record)
        config = Config.from_dict(record["training_config"])
        encoder = load_encoder(record["encoder"], config.features, record["device"])
        _stop_if_asked(lesson)
        log.write("pictures")
        samples = load_folder(lesson.folder / "data")
        checkpoint = _checkpoint(lesson, record, samples, encoder, config)
        log.write("figures")
        _measure(lesson, record, samples, Scorer(encoder, checkpoint, None, lesson.name))
        (lesson.folder / MODEL).replace(lesson.model_folder)
    finally:
        os.close(turn)


def _checkpoint(
    lesson: Lesson, record: dict, samples: list[Sample], encoder: Encoder, config: Config
) -> Checkpoint:
    """The trained model; one that was finished before a kill is only read."""
    out, log = lesson.folder / MODEL, lesson.log
    if (out / MODEL_FILE).exists():
        return load_checkpoint(out, encoder)

    def report(stage: str, step: int, steps: int, losses: Mapping[str, float]) -> None:
        log.write(stage, step, steps, losses)
        _stop_if_asked(lesson)

    about = {"data": "own pictures", "new_classes": lesson.parts(),
             "old_classes": record["old_classes"]}
    return train(samples, encoder, config, out, _reference(record["encoder"], lesson),
                 record["features"], report, about)


def _measure(lesson: Lesson, record: dict, samples: list[Sample], scorer: Scorer) -> None:
    rate, new, figures = record["false_alarm_rate"], lesson.parts(), []
    for name in scorer.class_names:
        own = [sample for sample in samples if sample.class_name == name]
        figures.append(measure_class(scorer, name, name in new, own, rate))
        _stop_if_asked(lesson)
    command = training_command(
        scorer.config, _shown(lesson.folder / "data"), _shown(record["encoder"]),
        _shown(lesson.model_folder),
    )
    write_figures(lesson.folder / MODEL, figures, rate, command=command,
                  seconds=round(lesson.progress().seconds, 1))


def _wait_for_turn(lesson: Lesson) -> int:
    """One training at a time, because two would each take more than twice as long."""
    path = lesson.folder.parent / TURN_FILE
    if (turn := try_lock(path)) is None:
        lesson.log.write("waiting")
    while turn is None:
        turn = try_lock(path)
        _stop_if_asked(lesson)
        time.sleep(0 if turn else SECONDS_BETWEEN_LOOKS)
    return turn


def _stop_if_asked(lesson: Lesson) -> None:
    if (lesson.folder / CANCEL_FILE).exists():
        raise Cancelled(f"{lesson.name} was cancelled.")


def _render_old(lesson: Lesson, record: dict) -> None:
    """Put the old parts' pictures beside the new ones; they are rendered once for all lessons."""
    rendered = write_parts(
        record["rendered"], "none", train_per_class=RENDERED_PER_CLASS, test_good=0,
        test_defective=0, size=RENDERED_SIZE,
    )
    for name in record["old_classes"]:
        target = lesson.folder / "data" / name / "train" / "good"
        shutil.copytree(rendered / name / "train" / "good", target, dirs_exist_ok=True)


def _reference(encoder: str, lesson: Lesson) -> str:
    """How the finished model names its encoder: relative to its own folder, or by hub name."""
    return os.path.relpath(encoder, lesson.model_folder) if Path(encoder).is_dir() else encoder


def _without_paths(message: str, lesson: Lesson) -> str:
    """For the page, where the server's folders concern nobody."""
    return message.replace(f"{lesson.folder}{os.sep}", "").replace(str(lesson.folder), "the lesson")


def _shown(path: str | Path) -> str:
    """A path as one would type it where the page was started."""
    path = Path(path)
    return os.path.relpath(path) if path.exists() or path.is_absolute() else str(path)
