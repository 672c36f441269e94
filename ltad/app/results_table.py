"""The figures of runs as one table: per class and All / High / Low, with differences.

A frame of figures has one row a class, ``("class", name)``, and one a mean, ``("mean", "All")``
and so on; its columns are the keys of `HEADINGS`, in percent, NaN where a figure does not exist.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ltad.evaluation.ablations import PublishedTable, published
from ltad.evaluation.results import FIGURES, class_intervals, group_intervals
from ltad.evaluation.runs import Run
from ltad.review.export import guard
from ltad.types import ALL_BRANCHES as BRANCHES
from ltad.types import GROUPS, METRICS, SettingError

PAPER_TABLES = (3, 4, 5, 6, 7, 8, 9)
EXTRAS = {"branches": "Each branch", "interval": "95% interval"} | {
    key: heading[0].upper() + heading[1:] for key, heading in FIGURES.items()
}
"""What can be switched on in the table: key -> label."""
HEADINGS = {
    f"{metric} {branch}": (f"{metric.capitalize()} AUROC", branch)
    for metric in METRICS for branch in BRANCHES
} | {
    f"{metric} {end}": (f"{metric.capitalize()} AUROC", text)
    for metric in METRICS
    for end, text in (("low", "95% from"), ("high", "95% to"), ("difference", "difference"))
} | {key: ("Further figures", heading) for key, heading in FIGURES.items()}
"""Column -> (group of columns, column) as printed."""


@dataclass(frozen=True)
class Baseline:
    """What the differences are taken to: a name, where it is from, and a frame of figures."""

    name: str
    source: str
    frame: pd.DataFrame


def figures_frame(results: dict[str, Any]) -> pd.DataFrame:
    """The frame of figures of one run's results, with "training pictures" of each class."""
    rows = {
        ("class", entry["class_name"]): {
            "training pictures": entry["train_count"],
            **_row(entry, class_intervals(entry), entry),
        }
        for entry in results["classes"]
    }
    for group in GROUPS:
        means = results["summary"].get(group)
        if means and results["groups"].get(group):
            rows["mean", group] = _row(
                means, group_intervals(results, group), results.get("figures", {}).get(group, {})
            )
    frame = pd.DataFrame.from_dict(rows, orient="index")
    frame.index = pd.MultiIndex.from_tuples(list(rows), names=["kind", "name"])
    return frame.astype(float)


def _row(
    areas: dict[str, Any], intervals: dict[str, Sequence[float] | None], figures: dict[str, Any]
) -> dict[str, float]:
    values = {}
    for metric, ends in intervals.items():
        values |= {f"{metric} {branch}": areas[metric].get(branch) for branch in BRANCHES}
        values |= zip((f"{metric} low", f"{metric} high"), ends or (None, None), strict=True)
    values |= {key: figures.get(key) for key in FIGURES}
    return {key: float("nan") if v is None else 100 * v for key, v in values.items()}


def run_baseline(run: Run) -> Baseline:
    """Another run to take differences to."""
    source = f"Run {run.name}, on {len(run.images)} images of {run.about['data']['name']}."
    return Baseline(run.name, source, figures_frame(run.results))


def paper_title(table: int) -> str:
    """What a table of the paper compares, in a few words."""
    return published(table).title.removeprefix("Quantitative comparison on ")


def paper_entries(table: int) -> list[str]:
    """What one can compare to in a table of the paper: methods and splits, or experiments."""
    paper = published(table)
    if table <= 5:
        splits = dict.fromkeys(row.split(" ")[0] for row in paper.rows)
        return [f"{column}, {split}" for column in reversed(paper.columns) for split in splits]
    if table <= 8:
        return [f"{row}: {paper.about.get(row, row)}" for row in reversed(paper.rows)]
    words = dict.fromkeys(column.rsplit(" ", 1)[0] for column in paper.columns)
    return [f"{row} | {word}" for row in paper.rows for word in words]


def paper_baseline(table: int, entry: str) -> Baseline:
    """Figures of the paper as a baseline; they know no classes, only means.

    Args:
        table: 3 to 9.
        entry: one of ``paper_entries(table)``.

    Raises:
        SettingError: no such table or entry.
    """
    paper = published(table)
    entries = paper_entries(table)
    if entry not in entries:
        raise SettingError(
            f"{entry!r} is not in Table {table}. It has: {', '.join(entries[:6])} and so on."
        )
    cells = {}
    for metric, short in (("image", "Det."), ("pixel", "Seg.")):
        for group in GROUPS:
            value = _paper_value(paper, table, entry, short, group)
            if value is not None:
                cells["mean", group] = cells.get(("mean", group), {}) | {
                    f"{metric} combined": value
                }
    frame = pd.DataFrame.from_dict(cells, orient="index", dtype=float)
    frame.index = pd.MultiIndex.from_tuples(list(cells), names=["kind", "name"])
    source = f"{paper.source} {paper.note}".strip()
    return Baseline(f"paper, Table {table}: {entry}", source, frame)


def _paper_value(
    paper: PublishedTable, table: int, entry: str, short: str, group: str
) -> float | None:
    if table <= 5:
        column, split = entry.rsplit(", ", 1)
        return paper.value(f"{split} {short}", column) if group == "All" else None
    if table <= 8:
        return paper.value(entry.split(":")[0], f"{short} {group}")
    row, word = entry.split(" | ")
    return paper.value(row, f"{word} {short}") if group == "All" else None


def results_table(
    runs: Sequence[Run], extras: Sequence[str] = (), baseline: Baseline | None = None
) -> pd.DataFrame:
    """Runs side by side.

    Args:
        runs: at least one; the first one's training images order the classes, head to tail.
        extras: keys of `EXTRAS`.
        baseline: adds "image difference" and "pixel difference", run minus baseline.

    Returns:
        Rows as in a frame of figures, every class of any run; columns (run, key), after one column
        ("", "training pictures").

    Raises:
        SettingError: an unknown extra.
    """
    unknown = sorted(set(extras) - set(EXTRAS))
    if unknown:
        raise SettingError(f"{unknown[0]!r} is no column. There are: {', '.join(EXTRAS)}.")
    parts, counts = {}, None
    for run in runs:
        frame = figures_frame(run.results)
        taken = frame.pop("training pictures")
        counts = taken if counts is None else counts.combine_first(taken)
        for key in _keys(run, extras, baseline, frame):
            parts[run.name, key] = _column(frame, key, run.branch, baseline)
    table = pd.DataFrame(parts)
    table.insert(0, ("", "training pictures"), counts)
    return table.loc[_order(table)]


def _keys(
    run: Run, extras: Sequence[str], baseline: Baseline | None, frame: pd.DataFrame
) -> list[str]:
    branches = run.branches if "branches" in extras else [run.branch]
    keys = []
    for metric in METRICS:
        keys.append(f"{metric} {run.branch}")
        # A run may be older than the intervals of its pixels.
        if "interval" in extras and frame.loc[:, f"{metric} low"].notna().any():
            keys += [f"{metric} low", f"{metric} high"]
        if baseline is not None:
            keys.append(f"{metric} difference")
        keys += [f"{metric} {b}" for b in branches if b != run.branch]
    return keys + [key for key in FIGURES if key in extras]


def _column(frame: pd.DataFrame, key: str, branch: str, baseline: Baseline | None) -> pd.Series:
    if not key.endswith("difference") or baseline is None:
        return frame.loc[:, key]
    metric = key.split(" ")[0]
    # A baseline of one branch is compared by that branch.
    other = next(
        (own for b in BRANCHES if f"{metric} {b}" in baseline.frame
         and (own := baseline.frame.loc[:, f"{metric} {b}"]).notna().any()),
        pd.Series(dtype=float),
    )
    return frame.loc[:, f"{metric} {branch}"] - other.reindex(frame.index)


def _order(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Classes from head to tail, then the means; of one class they would only repeat it."""
    counts = table["", "training pictures"]
    classes = [row for row in table.index if row[0] == "class"]
    classes.sort(key=lambda row: (-counts[row], row[1]))
    if len(classes) == 1:
        return classes
    return classes + [("mean", group) for group in GROUPS if ("mean", group) in table.index]


def table_csv(table: pd.DataFrame) -> str:
    """The table as CSV text, figures in percent with four decimals."""
    flat = table.astype({("", "training pictures"): "Int64"})
    several = len({run for run, _ in table.columns if run}) > 1
    flat.columns = [guard(f"{run}: {key}" if several and run else key) for run, key in flat.columns]
    flat.index = pd.MultiIndex.from_tuples(
        [(kind, guard(name)) for kind, name in table.index], names=["kind", "name"]
    )
    return flat.to_csv(float_format="%.4f")


def rows_of(table: pd.DataFrame) -> Iterator[tuple[tuple[str, str], dict[tuple[str, str], Any]]]:
    """("class" or "mean", its name) of each row, and the row's figures by column."""
    for place, (_, row) in zip(table.index, table.iterrows(), strict=True):
        yield place, row.to_dict()


def table_records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The table as plain rows for JSON; figures that do not exist are None."""
    records = []
    for (kind, name), row in rows_of(table):
        record: dict[str, Any] = {"kind": kind, "name": name, "runs": {}}
        for (run, key), value in row.items():
            value = None if pd.isna(value) else round(float(value), 4)
            if run:
                record["runs"].setdefault(run, {})[key] = value
            else:
                record[key] = None if value is None else int(value)
        records.append(record)
    return records
