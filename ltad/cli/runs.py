"""``python -m ltad runs`` and ``python -m ltad report``: evaluations that were kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ltad.cli.options import WORK, Command, Device, FalseAlarmRate, RunName, Work, new_app
from ltad.evaluation.record import ship_run
from ltad.evaluation.report import write_report
from ltad.evaluation.results import (
    description,
    percent,
    printed_comparison,
    printed_results,
    text_table,
)
from ltad.evaluation.run_store import re_evaluate
from ltad.evaluation.runs import Run, delete_run, new_run_folder, read_run, run_names
from ltad.types import CheckpointError
from ltad.workspace import Workspace

app = new_app(
    help="List, show, compare, delete and repeat evaluations.\n\n"
         "A run is one kept evaluation: `evaluate --run NAME` and `ablate` make them.",
)


@app.command("list", cls=Command)
def list_runs(device: Device = "cpu", work: Work = WORK) -> None:
    """All runs, newest first."""
    folder = Workspace(work).runs
    names = run_names(folder)
    if not names:
        print(f"No runs in {folder}. Make one: python -m ltad evaluate --data parts --run NAME")
        return
    lines = [("run", "created", "kind", "data", "split", "images", "image", "pixel")]
    for name in names:
        try:
            run = read_run(folder / name)
        except CheckpointError as error:
            print(f"{name}: {error}")
            continue
        about = run.about
        lines.append((
            name, about["created"][:16].replace("T", " "), about["kind"], about["data"]["name"],
            about["split"]["name"], str(len(run.images)), percent(run.value("All")),
            percent(run.value("All", "pixel")),
        ))
    print(text_table(lines))


@app.command("show", cls=Command)
def show_run(name: RunName, device: Device = "cpu", work: Work = WORK) -> None:
    """A run's facts and its figures."""
    run = find_run(work, name)
    for label, text in description(run).items():
        print(f"{label:20} {text}")
    print("\n" + printed_results(run.results, run.branches))


@app.command(cls=Command)
def compare(a: RunName, b: RunName, device: Device = "cpu", work: Work = WORK) -> None:
    """Two runs side by side."""
    print(printed_comparison(find_run(work, a), find_run(work, b)))


@app.command(cls=Command)
def ship(
    name: RunName,
    to: Annotated[Path, typer.Option(
        metavar="DIR", help="folder of runs that a page shows beside its own")
    ] = Path("assets/runs"),
    pictures: Annotated[int, typer.Option(
        metavar="N", help="test images to keep, evenly of every class and defect; the figures "
                          "stay those of all")] = 480,
    device: Device = "cpu",
    work: Work = WORK,
) -> None:
    """Copy a run to where it can be shown without its data."""
    target = ship_run(find_run(work, name), to, pictures)
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    print(f"Run: {target}, {size / 1e6:.1f} MB")


@app.command(cls=Command)
def delete(
    names: Annotated[list[str], typer.Argument(metavar="RUN")],
    device: Device = "cpu",
    work: Work = WORK,
) -> None:
    """Delete runs for good."""
    for folder in [run_folder(work, name) for name in names]:  # a damaged run, too
        delete_run(folder)
        print(f"Deleted: {folder}")


@app.command("again", cls=Command)
def rerun(
    name: RunName,
    new_name: Annotated[str | None, typer.Option(
        "--run", metavar="NAME", help="name of the new run, by default NAME-again")] = None,
    device: Device = "cpu",
    work: Work = WORK,
) -> None:
    """Evaluate a run's model again, with its settings and data."""
    run = find_run(work, name)
    folder = new_run_folder(Workspace(work).runs, new_name or f"{run.name}-again")
    made = re_evaluate(run, work, device).write(folder)
    print(printed_comparison(run, made))


def report(
    names: Annotated[list[str], typer.Argument(
        metavar="RUN", help="names or folders; the others are compared to the first")],
    out: Path = Path("report.html"),
    false_alarm_rate: FalseAlarmRate = 0.05,
    device: Device = "cpu",
    work: Work = WORK,
) -> None:
    """Write runs as one HTML file that opens without a server."""
    write_report([find_run(work, name) for name in names], out, false_alarm_rate)
    print(f"{out}: {out.stat().st_size / 2**20:.1f} MiB. It opens in a browser as it is.")


def find_run(work: Path, name: str) -> Run:
    """A run by its name, or by its folder.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    return read_run(run_folder(work, name))


def run_folder(work: Path, name: str) -> Path:
    """The folder of a run by its name, or by that folder itself.

    Raises:
        CheckpointError: there is none.
    """
    runs = Workspace(work).runs
    for folder in (runs / name, Path(name)):
        if folder.is_dir():
            return folder
    known = ", ".join(run_names(runs)) or "none"
    raise CheckpointError(f"There is no run {name!r} in {runs}. Runs: {known}.")
