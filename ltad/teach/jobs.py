"""Training a lesson in a process of its own: ``python -m ltad.teach.jobs FOLDER``.

The process outlives the page that started it. It may be killed at any moment; the next start goes
on where it stopped, and the page starts interrupted trainings again when it starts itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from ltad.config import Config
from ltad.teach.lessons import (
    CANCEL_FILE,
    FINISHED,
    FOLDER,
    INTERRUPTED,
    LOCK_FILE,
    LOG_FILE,
    OUTPUT_FILE,
    STARTED,
    Lesson,
    find_lesson,
    lesson_names,
)
from ltad.teach.locks import try_lock
from ltad.teach.pictures import ROLES
from ltad.teach.recipe import RENDERED_PER_CLASS, few_pictures
from ltad.types import LTADError, SettingError
from ltad.workspace import Workspace

NICENESS = 5


def start(
    workspace: Workspace, name: str, keep_old: bool = False, false_alarm_rate: float = 0.05
) -> Lesson:
    """Train a lesson in the background, or go on with one that stopped.

    Args:
        workspace: where the lesson is.
        name: of the lesson.
        keep_old: the rendered parts that the first model knows are learnt again, so that the new
            model knows old and new; otherwise it knows the new parts only.
        false_alarm_rate: at which the new model's figures are taken, in (0, 1).

    Raises:
        SettingError: there is no such lesson, it runs or is finished, or lacks pictures.
    """
    lesson = find_lesson(workspace, name)
    if lesson.state == FINISHED:
        raise SettingError(f"{name!r} is finished. Begin a new model to change it.")
    if not 0 < false_alarm_rate < 1:
        raise SettingError(f"The false-alarm rate is {false_alarm_rate}, but must be in (0, 1).")
    lesson.check_ready(keep_old)
    lock = try_lock(lesson.folder / LOCK_FILE)
    if lock is None:
        raise SettingError(f"{name!r} is training already.")
    try:
        _prepare(lesson, keep_old, false_alarm_rate)
        _launch(lesson, lock)
    finally:
        os.close(lock)  # the child keeps its own copy
    return lesson


def _prepare(lesson: Lesson, keep_old: bool, rate: float) -> None:
    """Settle what is trained. A half-finished model of other pictures is thrown away."""
    old = lesson.old_classes() if keep_old else []
    counts = {part: roles["learn"] for part, roles in lesson.counts().items()}
    counts |= dict.fromkeys(old, RENDERED_PER_CLASS)
    config = few_pictures(Config.from_dict(lesson.record()["config"]), counts)
    keys = [f.key for role in ROLES for own in lesson.facts(role).values() for f in own]
    text = json.dumps([keys, counts, config.to_dict()], sort_keys=True)
    identity = hashlib.sha256(text.encode()).hexdigest()[:16]
    if lesson.record().get("identity") != identity:
        for part in set(lesson.record().get("old_classes", [])) - set(lesson.parts()):
            shutil.rmtree(lesson.folder / "data" / part, ignore_errors=True)
        shutil.rmtree(lesson.folder / "model", ignore_errors=True)
        (lesson.folder / LOG_FILE).unlink(missing_ok=True)
    (lesson.folder / CANCEL_FILE).unlink(missing_ok=True)
    lesson.update(
        state=STARTED, message="", identity=identity, old_classes=old,
        false_alarm_rate=rate, training_config=config.to_dict(),
    )


def _launch(lesson: Lesson, lock: int) -> None:
    """The child inherits the lock, so that the lesson counts as running from here to its end."""
    import ltad

    with (lesson.folder / OUTPUT_FILE).open("ab") as output:
        subprocess.Popen(
            [sys.executable, "-m", "ltad.teach.jobs", str(lesson.folder.absolute())],
            cwd=Path(ltad.__file__).parents[1], stdin=subprocess.DEVNULL, stdout=output,
            stderr=output, pass_fds=(lock,), start_new_session=True,
        )


def cancel(workspace: Workspace, name: str) -> Lesson:
    """Ask a training to stop; it does so before its next step.

    Raises:
        SettingError: it does not run.
    """
    lesson = find_lesson(workspace, name)
    if not lesson.is_running:
        raise SettingError(f"{name!r} is not training.")
    (lesson.folder / CANCEL_FILE).touch()
    return lesson


def resume_interrupted(workspace: Workspace) -> list[str]:
    """Go on with all trainings whose process was killed; returns their names."""
    resumed = []
    for name in lesson_names(workspace):
        lesson = Lesson(workspace.models / FOLDER / name)
        try:
            if lesson.state == INTERRUPTED:
                record = lesson.record()
                start(workspace, name, bool(record["old_classes"]), record["false_alarm_rate"])
                resumed.append(name)
        except LTADError:  # another process was faster, or the folder is damaged
            continue
    return resumed


if __name__ == "__main__":
    import torch

    from ltad.teach.work import work

    os.nice(NICENESS)
    # One core is left to the page, which must keep answering.
    torch.set_num_threads(max(1, min(torch.get_num_threads(), (os.cpu_count() or 2) - 1)))
    sys.exit(work(Lesson(Path(sys.argv[1]))))
