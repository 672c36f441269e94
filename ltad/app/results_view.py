"""What the Results tab shows of one run and of several."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import pandas as pd
import plotly.graph_objects as go

from ltad.app import results_cards, results_gallery, results_table
from ltad.app.html import escape, readable, render
from ltad.app.results_table import HEADINGS, PAPER_TABLES, Baseline, rows_of
from ltad.evaluation.figures import COLOURS
from ltad.evaluation.operating_point import (
    OperatingPoint,
    confusions,
    count_verdicts,
    judge,
    other_verdicts,
    rate_at,
)
from ltad.evaluation.results import FIGURES, differing_tests
from ltad.evaluation.run_store import RunReader
from ltad.evaluation.runs import Run
from ltad.inference.registry import ModelRegistry
from ltad.types import METRICS, SettingError

_CHANCE = 50.0  # per cent, where bars and whiskers begin
Column = tuple[str, str]  # run, key
NOTHING = ""


def table_html(table: pd.DataFrame, runs: Sequence[Run], baseline: Baseline | None = None) -> str:
    """What ``results_table.results_table`` made of `runs` and `baseline`."""
    columns = [column for column in table.columns[1:] if not column[1].endswith(" low")]
    starts = _starts([(run, HEADINGS[key][0]) for run, key in columns])
    own = {run.name: run.branch for run in runs}
    best = _best(table, own) if len(runs) > 1 else set()
    floor = _floor(table, columns)
    rows: dict[str, list[dict[str, Any]]] = {"class": [], "mean": []}
    for place, row in rows_of(table):
        cells = [
            _cell(row, column, own[column[0]], floor) | {
                "is_best": (place, column) in best, "is_start": start}
            for column, start in zip(columns, starts, strict=True)
        ]
        rows[place[0]].append(_name(*place, row, runs[0].results["groups"]) | {"cells": cells})
    headings = [("95% interval" if key.endswith(" high") else HEADINGS[key][1], start)
                for (_, key), start in zip(columns, starts, strict=True)]
    return render(
        "results.table", _run_headings(columns, runs) if len(runs) > 1 else [],
        [(group, count) for (_, group), count in
         _spans([(run, HEADINGS[key][0]) for run, key in columns])],
        [(label[0].upper() + label[1:], start) for label, start in headings], rows,
        render("results.notes", differing_tests(runs), _missing(runs), baseline),
    )


def _starts(keys: Sequence[Any]) -> list[bool]:
    """Which keys differ from the one before."""
    return [index == 0 or keys[index - 1] != key for index, key in enumerate(keys)]


def _spans(keys: Sequence[Any]) -> list[tuple[Any, int]]:
    """Equal neighbours, and how many they are."""
    places = [index for index, is_start in enumerate(_starts(keys)) if is_start]
    ends = [*places[1:], len(keys)]
    return [(keys[start], end - start) for start, end in zip(places, ends, strict=True)]


def _run_headings(columns: Sequence[Column], runs: Sequence[Run]) -> list[dict[str, Any]]:
    about = {
        run.name: {"name": run.name, "kind": run.about["kind"], "colour": COLOURS[i % len(COLOURS)]}
        for i, run in enumerate(runs)
    }
    return [about[name] | {"count": count} for name, count in _spans([run for run, _ in columns])]


def _name(
    kind: str, name: str, row: Mapping[Column, Any], groups: dict[str, list[str]]
) -> dict[str, Any]:
    if kind == "mean":
        return {"name": name, "count": len(groups.get(name, ()))}
    side = next((group for group in ("High", "Low") if name in groups.get(group, ())), "")
    return {"name": name, "side": side, "taken": row["", "training pictures"]}


def _cell(
    row: Mapping[Column, Any], column: Column, branch: str, floor: float
) -> dict[str, Any]:
    value, key = row[column], column[1]
    if pd.isna(value):
        return {"kind": "none"}
    if key.endswith(" high"):
        return _interval_cell(row, column, branch, floor)
    if key.endswith(" difference"):
        return _difference_cell(row, column, branch)
    return {"kind": "figure", "value": value, "share": _share(value, floor)}


def _share(value: float, floor: float) -> float:
    return 100 * max(0.0, value - floor) / (100 - floor)


def _interval_cell(
    row: Mapping[Column, Any], column: Column, branch: str, floor: float
) -> dict[str, Any]:
    """The interval as a line, with the figure itself as a dot on it."""
    run, metric = column[0], column[1].split(" ")[0]
    low, high, value = row[run, f"{metric} low"], row[column], row[run, f"{metric} {branch}"]
    left, right, dot = (_share(one, floor) for one in (low, high, value))
    return {"kind": "interval", "low": low, "high": high, "left": left, "width": right - left,
            "dot": dot}


def _difference_cell(row: Mapping[Column, Any], column: Column, branch: str) -> dict[str, Any]:
    """Quiet where the baseline lies inside the run's own 95% interval."""
    run, metric = column[0], column[1].split(" ")[0]
    value, mine = row[column], row[run, f"{metric} {branch}"]
    low, high = row.get((run, f"{metric} low")), row.get((run, f"{metric} high"))
    text = f"{value:+.2f}"
    return {"kind": "difference", "value": value,
            "text": "0.00" if text in ("+0.00", "-0.00") else text,
            "is_inside": low is not None and low <= mine - value <= high}


def _best(table: pd.DataFrame, own: dict[str, str]) -> set[tuple[tuple[str, str], Column]]:
    """(row, column) of the best run in each row by each figure; ties have none.

    Runs are compared by the branch that each is judged by.
    """
    contests = [[(run, f"{metric} {branch}") for run, branch in own.items()] for metric in METRICS]
    contests += [[(run, key) for run in own if (run, key) in table] for key in FIGURES]
    found = set()
    for contest in contests:
        for place, row in rows_of(table.loc[:, contest]):
            values = {column: value for column, value in row.items() if not pd.isna(value)}
            top = [column for column, value in values.items() if value == max(values.values())]
            if len(top) == 1 and len(values) > 1:
                found.add((place, top[0]))
    return found


def _floor(table: pd.DataFrame, columns: Sequence[Column]) -> float:
    """Chance level, or the tens below the lowest AUROC."""
    scores = [c for c in columns if "AUROC" in HEADINGS[c[1]][0] and "difference" not in c[1]]
    lows = [c for c in table.columns if c[1].endswith(" low")]
    lowest = table[scores + lows].min().min()
    return _CHANCE if pd.isna(lowest) else min(_CHANCE, 10.0 * math.floor(lowest / 10))


def _missing(runs: Sequence[Run]) -> list[tuple[str, str, list[str]]]:
    """Run, metric and the classes that its means leave out."""
    missing = [
        (run.name, metric, [name for name in names if run.value(name, metric) is None])
        for run in runs for metric, names in run.results["missing"].items()
    ]
    return [one for one in missing if one[2]]


def list_runs(reader: RunReader, chosen: list[str]) -> tuple[Any, str]:
    """The runs there are now; the newest is chosen where none of the chosen ones is left."""
    names = reader.names()
    selected = [name for name in chosen or [] if name in names] or names[:1]
    dropdown = gr.update(choices=names, value=selected, visible=bool(names))
    return dropdown, opening_html(reader, selected)


def opening_html(reader: RunReader, chosen: Sequence[str]) -> str:
    """What stands in place of the tables while no run is chosen."""
    if chosen:
        return ""
    return render("results.nothing_chosen" if reader.names() else "results.no_run")


def choose_runs(
    reader: RunReader, chosen: list[str], focus: str, class_name: str, defect: str, baseline: str
) -> tuple[Any, ...]:
    """What can be chosen among the runs: opening text, body, run in view, class, defect type,
    baseline, facts.
    """
    if not chosen:
        return opening_html(reader, []), gr.update(visible=False), *[gr.skip()] * 4, ""
    runs = reader.all(chosen)
    run = next((run for run in runs if run.name == focus), runs[0])
    classes = [("All classes", NOTHING), *[(readable(n), n) for n in sorted(run.class_names)]]
    defects = [("All", NOTHING), ("good", results_gallery.GOOD)]
    defects += [(readable(d), d) for d in sorted(set(run.images["defect"]) - {NOTHING})]
    baselines = [("nothing", NOTHING)]
    baselines += [(f"Table {n}: {results_table.paper_title(n)}", f"table:{n}")
                  for n in PAPER_TABLES]
    baselines += [(f"run {name}", f"run:{name}") for name in reader.names()]
    return (
        "", gr.update(visible=True),
        gr.update(choices=[one.name for one in runs], value=run.name, visible=len(runs) > 1),
        _keep(classes, class_name), _keep(defects, defect), _keep(baselines, baseline),
        results_cards.facts_html(run),
    )


def _keep(choices: list[tuple[str, str]], value: str) -> Any:
    """The choices with the value kept if it is one of them."""
    return gr.update(choices=choices, value=value if value in dict(choices).values() else NOTHING)


def find_baseline(reader: RunReader, name: str, entry: str) -> results_table.Baseline | None:
    """The baseline of "run:NAME", of "table:N" and its entry, or None for "".

    Raises:
        SettingError: there is no such baseline.
    """
    kind, _, value = name.partition(":")
    if kind == "run":
        return results_table.run_baseline(reader.run(value))
    if kind == "table" and value.isdigit():
        return results_table.paper_baseline(int(value), entry)
    if name:
        raise SettingError(f"{name!r} is no baseline. Write run:NAME or table:NUMBER.")
    return None


def offer_entries(baseline: str) -> Any:
    """The rows and columns of the paper's table that is chosen as baseline, if one is."""
    kind, _, value = baseline.partition(":")
    entries = results_table.paper_entries(int(value)) if kind == "table" else []
    return gr.update(choices=entries, value=entries[0] if entries else None, visible=bool(entries))


def show_table(
    reader: RunReader, chosen: list[str], extras: list[str], baseline: str, entry: str
) -> tuple[str, str]:
    """The table as HTML and as CSV."""
    if not chosen:
        return "", ""
    runs = reader.all(chosen)
    # A table just chosen arrives before its first entry does.
    is_pending = baseline.startswith("table:") and not entry
    found = None if is_pending else find_baseline(reader, baseline, entry)
    table = results_table.results_table(runs, extras, found)
    return table_html(table, runs, found), results_table.table_csv(table)


def show_long_tail(reader: RunReader, chosen: list[str], metric: str) -> go.Figure | None:
    """AUROC over the classes' training images, head to tail."""
    return results_cards.long_tail(reader.all(chosen), metric) if chosen else None


def read_point(rate: float, score: str, branch: str = NOTHING) -> OperatingPoint:
    """The operating point of the bar; an empty score means that the rate decides.

    Raises:
        SettingError: the score is no number.
    """
    try:
        return OperatingPoint(rate, float(score) if score.strip() else None, branch)
    except ValueError as error:
        raise SettingError(f"The score is {score!r}, but it must be a number, or empty.") from error


def rate_of_line(reader: RunReader, line: str, focus: str, branch: str) -> float:
    """The rate to which a class's threshold was dragged; `line` is JSON, ``[class, score]``."""
    class_name, score = json.loads(line)
    return rate_at(reader.run(focus), class_name, float(score), branch)


def show_operating_point(
    reader: RunReader, chosen: list[str], columns: float, focus: str, class_name: str, branch: str,
    rate: float, score: str,
) -> tuple[str, go.Figure | None, go.Figure | None]:
    """The count_verdicts table, the histogram of the run in view, and the curves of all runs."""
    if not chosen or not focus:
        return "", None, None
    run, point = reader.run(focus), read_point(rate, score, branch)
    judged = judge(run, point)
    if class_name:
        judged = judged.loc[judged["class_name"] == class_name]
    text = results_cards.confusion_html(
        count_verdicts(judged), confusions(judged), point.thresholds(run), point,
        point.is_hindsight(run),
    )
    return (text, results_cards.histogram(run, class_name, point, int(columns)),
            results_cards.curves(reader.all(chosen), run, class_name, point, columns < 3))


def show_map(
    reader: RunReader, colour: str, focus: str, branch: str, rate: float, score: str
) -> go.Figure | None:
    """The map of the run in view."""
    if not focus:
        return None
    return results_cards.embedding(reader.run(focus), colour, read_point(rate, score, branch))


def show_gallery(
    reader: RunReader, models: Callable[[], list[str]], step: int, chosen: list[str], focus: str,
    class_name: str, branch: str, rate: float, score: str, defect: str, verdict: str, sort: str,
    selection: str, page: float,
) -> tuple[str, int]:
    """A page of images: the first one, or with a `step` the next or the previous one."""
    if not chosen or not focus:
        return "", 1
    run, point = reader.run(focus), read_point(rate, score, branch)
    judged = judge(run, point)
    others = [name for name in chosen if name != focus]
    if others:
        theirs = judge(reader.run(others[0]), read_point(rate, score).of_another())
        judged = judged.assign(other_verdict=other_verdicts(judged, theirs))
    picked = results_gallery.read_chosen(selection, focus)
    query = results_gallery.GalleryQuery(class_name, defect, verdict, sort, picked)
    opening = results_gallery.opening_settings(run, models()) | {"false_alarm_rate": rate}
    return results_gallery.gallery_html(
        run, results_gallery.select(judged, query), int(page or 1) + step if step else 1,
        opening, "" if picked is None else render("results.chip", len(picked)),
    )


def delete_run(reader: RunReader, focus: str, chosen: list[str]) -> tuple[Any, str]:
    """Delete the run in view; then as `list_runs`."""
    reader.delete(focus)
    gr.Info(f"Run {escape(focus)} is deleted.")
    return list_runs(reader, [name for name in chosen if name != focus])


def re_evaluate(
    reader: RunReader, registry: ModelRegistry, work: Path, focus: str, chosen: list[str],
    progress: gr.Progress = gr.Progress(track_tqdm=True),  # noqa: B008
) -> tuple[Any, str]:
    """Evaluate the model of the run in view once more, and choose the new run beside the others."""
    made = reader.re_evaluate(focus, work, str(registry.first.encoder.device))
    gr.Info(f"Run {escape(made)} is there.")
    return list_runs(reader, [*chosen, made])


def ask_deletion(focus: str) -> tuple[Any, Any, Any]:
    """The buttons "delete", "really" and "keep" once deletion was asked for."""
    really = gr.update(visible=True, value=f"Really delete {focus}")
    return gr.update(visible=False), really, gr.update(visible=True)


def forget_deletion() -> tuple[Any, Any, Any]:
    """The same buttons at rest."""
    return gr.update(visible=True), gr.update(visible=False), gr.update(visible=False)


def show_facts(reader: RunReader, focus: str) -> str:
    """What there is to know about the run in view."""
    return results_cards.facts_html(reader.run(focus)) if focus else ""
