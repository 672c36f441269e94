"""Running a table of ablations: its rows share features and every stage of the training they can.

A row under one seed is one run, written when it is finished, so that a killed table goes on where
it stopped.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from ltad.ablations import ABLATED, GROUPS, TASKS, Row, paper_name, reference
from ltad.config import Config
from ltad.evaluation import calibration_table, evaluate_tests
from ltad.measures import settings_of
from ltad.model_runs import ModelEvaluation
from ltad.run_comparison import summarise
from ltad.run_files import ABOUT_FILE
from ltad.run_writing import encoder_facts, settings_facts, split_facts
from ltad.runs import Run, read_run
from ltad.study import Study, measured_branches, row_measure


def run_folder(study: Study, row: Row, base: Config, out: str | Path) -> Path:
    """The run of a row: its name says the row, the seed, and by a hash everything else."""
    seed = row.config(base).training.seed
    return Path(out) / f"{row.id}-seed{seed}-{study.key(row, base)[:8]}"


def evaluate_row(study: Study, row: Row, base: Config, group: str) -> ModelEvaluation:
    """Train what a row still needs, and score the test pictures.

    Args:
        study: what the rows share.
        row: the row.
        base: the settings under the row's own.
        group: which rows its run belongs with, in words.
    """
    began = time.monotonic()
    config = row.config(base)
    branches = measured_branches(row, config)
    measure, stages = row_measure(study, row, config)
    trained = time.monotonic()
    evaluation = evaluate_tests(study.tests, measure, study.counts, branches)
    calibration = calibration_table(study.store, study.calibration(row, config), measure, branches)
    finished, encoder = time.monotonic(), Path(study.source.encoder)
    facts = {
        "kind": row.name, "row": row.id, "group": group,
        "model": {"name": row.name, "folder": None},
        "encoder": encoder_facts(study.source.encoder, study.encoder)
        | ({"folder": str(encoder.resolve())} if encoder.is_dir() else {}),
        "config": config.to_dict(), "settings": settings_facts(settings_of(config)),
        "seed": config.training.seed, "data": study.source.data,
        "split": split_facts(study.source.split, study.counts, study.source.listed),
        "training_pictures": dict(zip(study.class_names, study.data.class_counts, strict=True)),
        "seconds": {"training": round(trained - began, 1),
                    "evaluation": round(finished - trained, 1)},
        "stages": stages, "key": study.key(row, base),
        "paper": paper_figures(row, *reference(study.class_names, study.source.split)),
    }
    return ModelEvaluation(evaluation, calibration, facts, study.source.root, study.features)


def run_row(study: Study, row: Row, base: Config, out: str | Path, table: str) -> Run:
    """`evaluate_row`, kept as the row's run."""
    group = f"{table} seed {row.config(base).training.seed}"
    return evaluate_row(study, row, base, group).write(run_folder(study, row, base, out))


def paper_figures(row: Row, data: str, split: str) -> dict[str, float | None]:
    """The paper's AUROC in percent: "Det. All" ... "Seg. Low"; see `Row.paper`."""
    return {f"{t} {g}": row.paper(t, g, data, split) for t in TASKS.values() for g in GROUPS}


def reference_of(run: Run) -> tuple[str, str]:
    """Data set and split whose published figures stand beside a run."""
    return reference(run.about["training_pictures"], run.about["split"]["name"])


def run_table(
    study: Study, rows: Sequence[Row], base: Config, out: str | Path, table: str
) -> list[Run]:
    """Run the rows that `out` holds no run of yet; the runs of all, in their order.

    Raises:
        CheckpointError: a run or a stage cannot be read or written.
    """
    runs = []
    for number, row in enumerate(rows, start=1):
        folder, title = run_folder(study, row, base, out), f"{row.id} {row.name}"
        if (folder / ABOUT_FILE).exists():
            print(f"[{number}/{len(rows)}] {title}: finished before")
            runs.append(read_run(folder))
            continue
        print(f"[{number}/{len(rows)}] {title}")
        runs.append(run_row(study, row, base, out, table))
        shown = (f"{task} {_percent(runs[-1].value('All', metric))}"
                 for metric, task in TASKS.items())
        print(f"    {', '.join(shown)} ({seconds_of(runs[-1]):.0f} s)")
    return runs


def seconds_of(run: Run) -> float:
    """What a run took in all."""
    return sum(run.about["seconds"].values())


def report_table(rows: Sequence[Row], runs: Sequence[Run]) -> str:
    """AUROC in percent of All, High and Low, the paper's figure in brackets behind each.

    Over several seeds, mean ± sample standard deviation.
    """
    data, split = reference_of(runs[0]) if runs else ABLATED
    cells = [(task, group) for task in TASKS.values() for group in GROUPS]
    found = summarise(runs).set_index("row").to_dict("index")
    lines = [["row", "", *(f"{task} {group}" for task, group in cells)]]
    for row in rows:
        lines.append([row.id, row.name, *(
            f"{_cell(found.get(row.id), f'{task} {group}')} "
            f"({_figure(row.paper(task, group, data, split))})"
            for task, group in cells
        )])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip()
            for line in lines]
    seeds = len({run.about["seed"] for run in runs})
    if seeds > 1:
        text.append(f"Mean ± standard deviation over {seeds} seeds.")
    notes = [f"{row.id} was not run: it wants {row.wants_encoder}. Give that as --encoder, with "
             f"--rows {row.id}." for row in rows if row.wants_encoder and row.id not in found]
    whose = "each row's split" if any(row.split for row in rows) else split
    return "\n".join([*text, f"In brackets: {paper_name(data, whose)}.", *notes])


def _cell(summary: Mapping[str, float] | None, name: str) -> str:
    if summary is None or pd.isna(summary[name]):
        return "-"
    deviation = summary[f"{name} ±"]
    return _percent(summary[name]) + ("" if pd.isna(deviation) else f" ± {100 * deviation:.2f}")


def _percent(value: float | None) -> str:
    return _figure(None if value is None else 100 * value)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
