"""What the commands share: options that several of them take, and how values follow an option."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import typer
from typer.core import TyperCommand

from ltad.config import PRESETS

SPLITS = ("long tail: exp100, step200, ... or none; with '-reversed' after it the least populated "
          "class comes first, with '@' and all classes, commas between them, the order is yours")

Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps, ...")]
Work = Annotated[Path, typer.Option(help="folder for rendered parts, cached features and runs")]
Checkpoint = Annotated[str, typer.Option(help="model folder or hub name")]
Data = Annotated[str, typer.Option(
    help="folder in the layout of MVTec AD, VisA or DAGM 2007, or 'parts' for the rendered "
         "benchmark")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="write everything to this file")]
FalseAlarmRate = Annotated[float, typer.Option(
    help="of the threshold: share of good images that may raise an alarm")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="name of a run, or its folder")]

NormalPrompt = Annotated[str | None, typer.Option(help="v^n; by default the model's own")]
AbnormalPrompt = Annotated[str | None, typer.Option(help="v^a; by default the model's own")]
Lam = Annotated[float | None, typer.Option(help="lambda; by default the model's own")]
Tau = Annotated[float | None, typer.Option(help="tau; by default the model's own")]

Encoder = Annotated[str, typer.Option(
    help="ALIGN: a hub name (kakaobrain/align-base) or a local folder")]
Preset: TypeAlias = Annotated[
    Literal[*PRESETS],  # pyright: ignore[reportInvalidTypeForm]
    typer.Option(help="all settings at once"),
]
Changes = Annotated[list[str] | None, typer.Option(
    "--set", metavar="NAME=VALUE ...",
    help="single settings, e.g. lam=300 phase2_epochs=50")]
TrainingSplit = Annotated[str, typer.Option("--split", help=SPLITS)]
TrainingList = Annotated[Path | None, typer.Option(
    "--list", help="file that lists the training images, instead of --split")]
TrainingSeed = Annotated[int, typer.Option("--seed", help="of the split and of the training")]
Unchecked = Annotated[bool, typer.Option(
    "--unchecked",
    help="do not decode every image and mask first to report their faults")]

ENCODER = "assets/demo/encoder"
MODEL = "assets/demo"
WORK = Path(".ltad")
MAY_BE_EMPTY = "--set"


class Command(TyperCommand):
    """A command some of whose options take several values: ``--set lam=4 tau=1``.

    The beginning of an option's name stands for it where no other begins so.
    """

    def parse_args(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, ctx: typer.Context, args: list[str]
    ) -> list[str]:
        """The values of all options, each value of a list behind its own ``--set`` by then."""
        options = {name: option for option in self.get_params(ctx)
                   for name in option.opts if name.startswith("--")}
        several = {name for name, option in options.items() if option.multiple}
        words: list[str] = []
        flag = ""
        for word, following in pairwise([*args, "--"]):
            if word.startswith("-"):
                word = _whole_name(word, options)
                flag = word if word in several else ""
                needs_value = word in options and not (
                    options[word].is_flag)  # pyright: ignore[reportAttributeAccessIssue]
                if needs_value and word != MAY_BE_EMPTY and following.startswith("--"):
                    ctx.fail(f"Option {word!r} requires a value.")
            if not flag:
                words.append(word)
            elif word != flag:
                words += [flag, word]
        return super().parse_args(ctx, words)

    def get_short_help_str(self, limit: int = 45) -> str:
        """The first paragraph of the help, whole, for the list of commands."""
        return " ".join((self.help or "").split("\n\n")[0].split())


def _whole_name(word: str, names: Iterable[str]) -> str:
    name, equals, value = word.partition("=")
    found = [one for one in names if one.startswith(name)]
    return found[0] + equals + value if name not in names and len(found) == 1 else word


def new_app(**settings: Any) -> typer.Typer:
    """A group of commands: plain text, no shell completion, ``-h`` as well as ``--help``."""
    return typer.Typer(
        add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]}, **settings,
    )
