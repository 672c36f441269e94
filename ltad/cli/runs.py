"""What ``python -m ltad runs`` and ``python -m ltad report`` do."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from ltad.evaluation.record import ship_run
from ltad.evaluation.report import write_report
from ltad.evaluation.results import description, percent, printed_comparison, printed_results
from ltad.evaluation.run_store import evaluate_again
from ltad.evaluation.runs import Run, delete_run, new_run_folder, read_run, run_names
from ltad.types import CheckpointError
from ltad.workspace import Workspace


def list_runs(options: Namespace) -> None:
    """``python -m ltad runs list``"""
    folder = _folder(options)
    names = run_names(folder)
    if not names:
        print(f"No runs in {folder}. Make one: python -m ltad evaluate --data parts --run NAME")
        return
    lines = [("run", "created", "kind", "data", "split", "pictures", "image", "pixel")]
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
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print("  ".join(cells).rstrip())


def show_run(options: Namespace) -> None:
    """``python -m ltad runs show NAME``"""
    run = find_run(options, options.name)
    for label, text in description(run).items():
        print(f"{label:20} {text}")
    print("\n" + printed_results(run.results, run.branches))


def ship(options: Namespace) -> None:
    """``python -m ltad runs ship NAME --to DIR``"""
    run = find_run(options, options.name)
    target = ship_run(run, options.to, options.pictures)
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    print(f"Run: {target}, {size / 1e6:.1f} MB")


def compare(options: Namespace) -> None:
    """``python -m ltad runs compare A B``"""
    print(printed_comparison(find_run(options, options.a), find_run(options, options.b)))


def delete(options: Namespace) -> None:
    """``python -m ltad runs delete NAME...``"""
    for folder in [run_folder(options, name) for name in options.names]:  # a damaged run, too
        delete_run(folder)
        print(f"Deleted: {folder}")


def again(options: Namespace) -> None:
    """``python -m ltad runs again NAME``"""
    run = find_run(options, options.name)
    folder = new_run_folder(_folder(options), options.run_name or f"{run.name}-again")
    made = evaluate_again(run, options.work, options.device).write(folder)
    print(printed_comparison(run, made))


def report(options: Namespace) -> None:
    """``python -m ltad report RUN...``"""
    runs = [find_run(options, name) for name in options.names]
    write_report(runs, options.out, options.false_alarm_rate)
    print(f"{options.out}: {options.out.stat().st_size / 2**20:.1f} MiB. It opens in a browser "
          "as it is.")


def find_run(options: Namespace, name: str) -> Run:
    """A run by its name, or by its folder.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    return read_run(run_folder(options, name))


def run_folder(options: Namespace, name: str) -> Path:
    """The folder of a run by its name, or by that folder itself.

    Raises:
        CheckpointError: there is none.
    """
    folder = _folder(options) / name
    if not folder.is_dir() and Path(name).is_dir():
        folder = Path(name)
    if not folder.is_dir():
        known = ", ".join(run_names(_folder(options))) or "none"
        raise CheckpointError(f"There is no run {name!r} in {_folder(options)}. Runs: {known}.")
    return folder


def _folder(options: Namespace) -> Path:
    return Workspace(options.work).runs
