"""The command line: ``python -m ltad COMMAND --help`` explains each command."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import typer

from ltad.cli import data, models, runs
from ltad.cli.options import Command, new_app
from ltad.cli.prompts import prompts
from ltad.io import processes
from ltad.types import LTADError, SettingError

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

app = new_app(help="Long-tailed anomaly detection with learnable class names (LTAD, CVPR 2024).")
for command in (models.train, models.evaluate, models.ablate, runs.report, prompts, models.score,
                models.tokens, data.check, data.splits, data.parts, models.pretrain, models.probe,
                models.bench):
    app.command(cls=Command)(command)
app.add_typer(runs.app, name="runs")
TOGETHER, SIDE_BY_SIDE = ("train", "evaluate"), ("score",)
"""Commands whose processes, started by torchrun, are one job, or share out the work by files."""


def _processes(words: Sequence[str]) -> AbstractContextManager[None]:
    """What makes the processes of a command one job.

    Raises:
        SettingError: the command runs as one process, and torchrun started several.
    """
    command = words[0] if words else ""
    if command in TOGETHER:
        return processes.joined()
    if processes.started() > 1 and command not in SIDE_BY_SIDE:
        raise SettingError(
            f"torchrun started {processes.started()} processes of {command!r}, which runs as one. "
            f"Start it without torchrun; {', '.join((*TOGETHER, *SIDE_BY_SIDE))} can be divided."
        )
    return nullcontext()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status: 0, 1 after an error that was explained, or 2
    after a call that is not understood."""
    commands = typer.main.get_command(app)
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with commands.make_context("python -m ltad", words) as context, _processes(words):
            commands.invoke(context)
        sys.stdout.flush()
    except typer.Exit as ended:  # by --help
        return ended.exit_code
    except typer.TyperException as error:
        error.show()  # pyright: ignore[reportAttributeAccessIssue]
        return error.exit_code
    except LTADError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. The same command goes on from here.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, for example `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0
