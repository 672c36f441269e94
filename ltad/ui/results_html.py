"""The table of figures as HTML: sortable, with intervals drawn and differences coloured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from ltad.metrics import METRICS
from ltad.results import FIGURES
from ltad.run_comparison import differing_tests
from ltad.runs import Run
from ltad.ui.results_table import HEADINGS, Baseline
from ltad.ui.text import escape, readable

COLOURS = ("#3d7ea6", "#ee6c4d", "#2a9d6f", "#8e6bbf", "#c9962c", "#6b7685")
_CHANCE = 50.0  # per cent, where bars and whiskers begin
Column = tuple[str, str]  # run, key


def table_html(table: pd.DataFrame, runs: Sequence[Run], baseline: Baseline | None = None) -> str:
    """What ``results_table.results_table`` made of `runs` and `baseline`."""
    columns = [column for column in table.columns[1:] if not column[1].endswith(" low")]
    starts = _starts([(run, HEADINGS[key][0]) for run, key in columns])
    own = {run.name: run.branch for run in runs}
    best = _best(table, own) if len(runs) > 1 else set()
    floor = _floor(table, columns)
    groups = runs[0].results["groups"]
    body = {"class": "", "mean": ""}
    for place, row in table.iterrows():
        cells = "".join(
            _cell_html(row, column, own[column[0]], floor, (place, column) in best, start)
            for column, start in zip(columns, starts, strict=True)
        )
        body[place[0]] += f"<tr>{_name_html(*place, row, groups)}{cells}</tr>"
    return (
        "<div class='lt-run-scroll' tabindex='0' role='region' aria-label='Figures of the runs'>"
        f"<table class='lt-table lt-results'>{_head_html(columns, starts, runs)}"
        f"<tbody>{body['class']}</tbody><tfoot>{body['mean']}</tfoot></table></div>"
        f"{_notes_html(runs, baseline)}"
    )


def _starts(keys: Sequence[Any]) -> list[bool]:
    """Which keys differ from the one before."""
    return [index == 0 or keys[index - 1] != key for index, key in enumerate(keys)]


def _spans(keys: Sequence[Any]) -> list[tuple[Any, int]]:
    """Equal neighbours, and how many they are."""
    places = [index for index, is_start in enumerate(_starts(keys)) if is_start]
    ends = [*places[1:], len(keys)]
    return [(keys[start], end - start) for start, end in zip(places, ends, strict=True)]


def _head_html(columns: Sequence[Column], starts: Sequence[bool], runs: Sequence[Run]) -> str:
    corner = "<td colspan='2'></td>"
    rows = ""
    if len(runs) > 1:
        colours = {run.name: COLOURS[i % len(COLOURS)] for i, run in enumerate(runs)}
        kinds = {run.name: run.about["kind"] for run in runs}
        rows = f"<tr>{corner}" + "".join(
            f"<th colspan='{count}' scope='colgroup' class='lt-run-start'>"
            f"<span class='lt-run-name' title='{escape(name)}'>"
            f"<i style='background:{colours[name]}'></i>{escape(name)}</span>"
            f"<small class='lt-run-kind' title='{escape(kinds[name])}'>{escape(kinds[name])}"
            "</small></th>"
            for name, count in _spans([run for run, _ in columns])
        ) + "</tr>"
    rows += f"<tr>{corner}" + "".join(
        f"<th colspan='{count}' scope='colgroup' class='lt-run-start'>{escape(group)}</th>"
        for (_, group), count in _spans([(run, HEADINGS[key][0]) for run, key in columns])
    ) + "</tr>"
    buttons = _sort_html("Class", "") + _sort_html("Trained on", "lt-run-number")
    for (_, key), is_start in zip(columns, starts, strict=True):
        label = "95% interval" if key.endswith(" high") else HEADINGS[key][1]
        buttons += _sort_html(label, "lt-run-number lt-run-start" if is_start else "lt-run-number")
    return f"<thead>{rows}<tr class='lt-run-sorts'>{buttons}</tr></thead>"


def _sort_html(label: str, classes: str) -> str:
    return (
        f"<th scope='col' class='{classes}' aria-sort='none'>"
        f"<button type='button' data-lt-sort>{escape(label[0].upper() + label[1:])}</button></th>"
    )


def _name_html(kind: str, name: str, row: pd.Series, groups: dict[str, list[str]]) -> str:
    if kind == "mean":
        count = len(groups.get(name, ()))
        return (
            f"<th scope='row'>{escape(name)}</th><td class='lt-run-number lt-quiet'>"
            f"{count} class{'' if count == 1 else 'es'}</td>"
        )
    side = next((group for group in ("High", "Low") if name in groups.get(group, ())), "")
    tag = f"<small class='lt-run-tag lt-run-tag-{side.lower()}'>{side}</small>" if side else ""
    shown, taken = escape(readable(name)), row["", "training pictures"]
    return (
        f"<th scope='row' data-value='{shown}'><button type='button' data-lt-class='{escape(name)}'"
        f" title='Show the pictures of {shown}'>{shown}</button>{tag}</th>"
        f"<td class='lt-run-number' data-value='{taken:.0f}'>{taken:.0f}</td>"
    )


def _cell_html(
    row: pd.Series, column: Column, branch: str, floor: float, is_best: bool, is_start: bool
) -> str:
    value, key = row[column], column[1]
    start = " lt-run-start" if is_start else ""
    if pd.isna(value):
        return f"<td class='lt-run-number lt-quiet{start}'>–</td>"
    if key.endswith(" high"):
        return _interval_html(row, column, branch, floor)
    if key.endswith(" difference"):
        return _difference_html(row, column, branch)
    text = f"<b title='best of the runs'>{value:.2f}</b>" if is_best else f"{value:.2f}"
    return (
        f"<td class='lt-run-number lt-with-bar{start}' data-value='{value:.6f}'>"
        f"<i style='width:{_share(value, floor):.1f}%'></i><span>{text}</span></td>"
    )


def _share(value: float, floor: float) -> float:
    return 100 * max(0.0, value - floor) / (100 - floor)


def _interval_html(row: pd.Series, column: Column, branch: str, floor: float) -> str:
    """The interval as a line, with the figure itself as a dot on it."""
    run, metric = column[0], column[1].split(" ")[0]
    low, high, value = row[run, f"{metric} low"], row[column], row[run, f"{metric} {branch}"]
    left, right, dot = (_share(one, floor) for one in (low, high, value))
    return (
        f"<td class='lt-run-number lt-run-interval' data-value='{low:.6f}'>"
        f"<span class='lt-run-whisker' aria-hidden='true'><i style='left:{left:.1f}%;"
        f"width:{right - left:.1f}%'></i><b style='left:{dot:.1f}%'></b></span>"
        f"<span>{low:.1f}–{high:.1f}</span></td>"
    )


def _difference_html(row: pd.Series, column: Column, branch: str) -> str:
    """Quiet where the baseline lies inside the run's own 95% interval."""
    run, metric = column[0], column[1].split(" ")[0]
    value, mine = row[column], row[run, f"{metric} {branch}"]
    low, high = row.get((run, f"{metric} low")), row.get((run, f"{metric} high"))
    is_inside = low is not None and low <= mine - value <= high
    kind = "lt-quiet" if is_inside else "lt-run-up" if value > 0 else "lt-run-down"
    title = " title='The other figure lies inside the 95% interval'" if is_inside else ""
    return (
        f"<td class='lt-run-number {kind}' data-value='{value:.6f}'{title}>"
        f"{value:+.2f}</td>".replace("-0.00", "0.00").replace("+0.00", "0.00")
    )


def _best(table: pd.DataFrame, own: dict[str, str]) -> set[tuple[tuple[str, str], Column]]:
    """(row, column) of the best run in each row by each figure; ties have none.

    Runs are compared by the branch that each is judged by.
    """
    contests = [[(run, f"{metric} {branch}") for run, branch in own.items()] for metric in METRICS]
    contests += [[(run, key) for run in own if (run, key) in table] for key in FIGURES]
    found = set()
    for contest in contests:
        for place, row in table[contest].iterrows():
            top = row[row == row.max()]
            if len(top) == 1 and row.notna().sum() > 1:
                found.add((place, top.index[0]))
    return found


def _floor(table: pd.DataFrame, columns: Sequence[Column]) -> float:
    """Chance level, or the tens below the lowest AUROC."""
    scores = [c for c in columns if "AUROC" in HEADINGS[c[1]][0] and "difference" not in c[1]]
    lows = [c for c in table.columns if c[1].endswith(" low")]
    lowest = table[scores + lows].min().min()
    return _CHANCE if pd.isna(lowest) else min(_CHANCE, 10.0 * math.floor(lowest / 10))


def _notes_html(runs: Sequence[Run], baseline: Baseline | None) -> str:
    """Which classes the means leave out, and where the compared figures are from."""
    differing = differing_tests(runs)
    notes = [f"<b>{escape(differing)}</b>"] if differing else []
    for run in runs:
        for metric, names in run.results["missing"].items():
            lacking = [n for n in names if run.value(n, metric) is None]
            if lacking:
                notes.append(
                    f"{escape(run.name)}: without {metric} AUROC, and left out of its means, "
                    f"because one of the two labels is missing: "
                    f"{escape(', '.join(map(readable, lacking)))}."
                )
    if baseline is not None:
        notes.append(
            f"Differences are to <b>{escape(baseline.name)}</b>; grey where that figure lies "
            f"inside the 95% interval. {escape(baseline.source)}"
        )
    notes.append("AUROC in percent, training pictures from head to tail. Click a class to see its "
                 "pictures, a heading to sort.")
    return "".join(f"<p class='lt-quiet lt-run-note'>{note}</p>" for note in notes)
