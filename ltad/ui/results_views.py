"""The Results tab's handlers. Each takes what it needs from the page and keeps nothing.

The table, the long tail and the curves show all runs chosen; the operating point, the map and the
gallery are those of one of them, the run in view (`focus`). A handler that is called while no run
is chosen answers with nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import plotly.graph_objects as go

from ltad.shelf import ModelShelf
from ltad.types import SettingError
from ltad.ui import results_cards, results_gallery, results_html, results_plots, results_table
from ltad.ui.results_operating import (
    OperatingPoint,
    confusion,
    confusions,
    judge,
    other_verdicts,
    rate_at,
)
from ltad.ui.results_store import RunReader
from ltad.ui.results_table import PAPER_TABLES
from ltad.ui.text import escape, readable

NOTHING = ""


def list_runs(reader: RunReader, chosen: list[str]) -> tuple[Any, str]:
    """The runs there are now; the newest is chosen where none of the chosen ones is left."""
    names = reader.names()
    kept = [name for name in chosen or [] if name in names] or names[:1]
    return gr.update(choices=names, value=kept, visible=bool(names)), opening_html(reader, kept)


def opening_html(reader: RunReader, chosen: Sequence[str]) -> str:
    """What stands in place of the tables while no run is chosen."""
    if chosen:
        return ""
    return results_cards.nothing_chosen_html() if reader.names() else results_cards.empty_html()


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
    return results_html.table_html(table, runs, found), results_table.table_csv(table)


def show_long_tail(reader: RunReader, chosen: list[str], metric: str) -> go.Figure | None:
    """AUROC over the classes' training pictures, head to tail."""
    return results_plots.long_tail(reader.all(chosen), metric) if chosen else None


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
    """The confusion table, the histogram of the run in view, and the curves of all runs."""
    if not chosen or not focus:
        return "", None, None
    run, point = reader.run(focus), read_point(rate, score, branch)
    judged = judge(run, point)
    if class_name:
        judged = judged[judged["class_name"] == class_name]
    text = results_cards.confusion_html(
        confusion(judged), confusions(judged), point.thresholds(run), point,
        point.is_hindsight(run),
    )
    return (text, results_plots.histogram(run, class_name, point, int(columns)),
            results_plots.curves(reader.all(chosen), run, class_name, point, columns < 3))


def show_map(
    reader: RunReader, colour: str, focus: str, branch: str, rate: float, score: str
) -> go.Figure | None:
    """The map of the run in view."""
    if not focus:
        return None
    return results_plots.embedding(reader.run(focus), colour, read_point(rate, score, branch))


def show_gallery(
    reader: RunReader, models: Callable[[], list[str]], step: int, chosen: list[str], focus: str,
    class_name: str, branch: str, rate: float, score: str, defect: str, verdict: str, sort: str,
    selection: str, page: float,
) -> tuple[str, int]:
    """A page of pictures: the first one, or with a `step` the next or the previous one."""
    if not chosen or not focus:
        return "", 1
    run, point = reader.run(focus), read_point(rate, score, branch)
    judged = judge(run, point)
    others = [name for name in chosen if name != focus]
    if others:
        theirs = judge(reader.run(others[0]), read_point(rate, score).of_another())
        judged = judged.assign(other_verdict=other_verdicts(judged, theirs))
    picked = results_gallery.read_chosen(selection, focus)
    wish = results_gallery.Wish(class_name, defect, verdict, sort, picked)
    opening = results_gallery.opening_settings(run, models()) | {"false_alarm_rate": rate}
    return results_gallery.gallery_html(
        run, results_gallery.select(judged, wish), int(page or 1) + step if step else 1,
        opening, results_gallery.chip_html(picked),
    )


def delete_run(reader: RunReader, focus: str, chosen: list[str]) -> tuple[Any, str]:
    """Delete the run in view; then as `list_runs`."""
    reader.delete(focus)
    gr.Info(f"Run {escape(focus)} is deleted.")
    return list_runs(reader, [name for name in chosen if name != focus])


def evaluate_again(
    reader: RunReader, shelf: ModelShelf, work: Path, focus: str, chosen: list[str],
    progress: gr.Progress = gr.Progress(track_tqdm=True),  # noqa: B008
) -> tuple[Any, str]:
    """Evaluate the model of the run in view once more, and choose the new run beside the others."""
    made = reader.again(focus, work, str(shelf.first.encoder.device))
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
