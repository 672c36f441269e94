"""Runs as one HTML file that opens from disk: figures, tables and images are all inside."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup
from PIL import Image, ImageChops, ImageFilter
from plotly.offline import get_plotlyjs

from ltad.evaluation import figures
from ltad.evaluation.ablations import TABLES, paper_name, reference
from ltad.evaluation.figures import head_to_tail
from ltad.evaluation.operating_point import confusion, worst
from ltad.evaluation.results import (
    FIGURES,
    class_table,
    description,
    differing_tests,
    group_intervals,
    interval,
    percent,
    signed_percent,
    summarise,
)
from ltad.evaluation.runs import Run
from ltad.io.templates import environment, style_of
from ltad.types import GROUPS, METRICS, TASKS, CheckpointError, SettingError

MOST_IMAGES = 40
_TEMPLATES = environment("ltad.evaluation")
_OUTLINE = (255, 72, 120)
_CELLS = [(f"{task} {group}", metric, group) for metric, task in TASKS.items() for group in GROUPS]


def write_report(runs: Sequence[Run], path: str | Path, false_alarm_rate: float = 0.05) -> None:
    """Write the report on `runs`; the others are compared to the first.

    Args:
        runs: one or more.
        path: the HTML file.
        false_alarm_rate: of the thresholds, in (0, 1).

    Raises:
        SettingError: no run, or a rate out of its range.
        CheckpointError: the file cannot be written.
    """
    content, path = report(runs, false_alarm_rate), Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise CheckpointError(f"{path} could not be written: {error.strerror}.") from error


def report(runs: Sequence[Run], false_alarm_rate: float = 0.05) -> str:
    """The report as HTML; arguments and errors as `write_report`."""
    if not runs:
        raise SettingError("A report needs a run. Name one; `python -m ltad runs list` lists them.")
    if not 0 < false_alarm_rate < 1:
        raise SettingError(
            f"The false-alarm rate is {false_alarm_rate}, but it must be between 0 and 1."
        )
    share = MOST_IMAGES // (2 * len(runs))
    page = {
        "title": runs[0].name if len(runs) == 1 else f"{len(runs)} runs",
        "data": ", ".join(dict.fromkeys(run.about["data"]["name"] for run in runs)),
        "written": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "columns": [name for name, *_ in _CELLS],
        "summary": [_summary(run) for run in runs],
        "differing": differing_tests(runs),
        "repeated": _repeated(runs),
        "long_tail": [
            (_drawn(figures.long_tail_figure(runs, metric)), f"{word} AUROC of each class")
            for metric, word in zip(METRICS, ("Image", "Pixel"), strict=True)
        ],
        "classes": [_classes(run, runs[0] if number else None) for number, run in enumerate(runs)],
        "curves": _drawn(figures.roc_and_precision_recall(runs)),
        "runs": [_one_run(run, false_alarm_rate, share) for run in runs],
    }
    return _TEMPLATES.get_template("report.jinja").render(
        page=page, style=style_of(_TEMPLATES, "report.css"), plotly=Markup(get_plotlyjs())
    )


def _summary(run: Run) -> dict[str, Any]:
    """A run's figures as a row, and the paper's where it is a row of one of its tables."""
    cells = [
        _bar(run.value(group, metric))
        | {"interval": interval(*ends) if (ends := group_intervals(run.results, group)[metric])
           else ""}
        for _, metric, group in _CELLS
    ]
    return {"name": run.name, "kind": run.about["kind"], "branch": run.branch, "cells": cells,
            "paper": _paper(run)}


def _paper(run: Run) -> dict[str, Any] | None:
    row = next((row for rows in TABLES.values() for row in rows if row.id == run.about["row"]),
               None)
    data, split = reference(run.about["training_pictures"], run.about["split"]["name"])
    if row is None:
        return None
    values = [row.paper(TASKS[metric], group, data, split) for _, metric, group in _CELLS]
    if not any(value is not None for value in values):
        return None
    return {"whose": paper_name(data, row.split or split),
            "cells": ["" if value is None else f"{value:.1f}" for value in values]}


def _repeated(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Mean and deviation of the rows that were run under several seeds."""
    seeds = {
        (run.about.get("key", run.name), run.about["row"], run.about["seed"]): run for run in runs
    }
    table = summarise(list(seeds.values()))  # a row evaluated again is no other seed
    table = table.loc[(table["runs"] > 1) & (table["row"] != "")]
    return [
        {"name": f"{entry['row']} {entry['kind']}",
         "about": f"{entry['runs']} seeds of {entry['data']} {entry['split']}",
         "cells": [(percent(entry[name]), percent(entry[f"{name} ±"])) for name, *_ in _CELLS]}
        for entry in table.to_dict("records")
    ]


def _classes(run: Run, compared: Run | None) -> dict[str, Any]:
    """The classes of a run, compared to another one if there is one."""
    areas = [f"{metric} {branch}" for metric in METRICS for branch in run.branches]
    heading = ["class", "train", *areas, *(f"{metric}, 95%" for metric in METRICS),
               *FIGURES.values(),
               *(["image, to the first", "pixel, to the first"] if compared else [])]
    table = class_table(run.results, run.branches)
    rows = [_class_row(entry, run, areas, compared) for entry in table.to_dict("records")]
    return {"name": run.name, "heading": heading, "rows": rows}


def _class_row(
    entry: Mapping[Any, Any], run: Run, areas: Sequence[str], compared: Run | None
) -> dict[str, Any]:
    differences = []
    for metric in METRICS if compared else ():
        first, own = (one and one.value(entry["name"], metric) for one in (compared, run))
        difference = None if first is None or own is None else own - first
        differences.append((_tone(difference), signed_percent(difference)))
    return {
        "name": _readable(entry["name"]), "is_group": entry["is_group"],
        "count": "" if pd.isna(entry["train"]) else f"{entry['train']:.0f}",
        "areas": [_bar(entry[name]) for name in areas],
        "figures": [
            *(interval(entry[f"{metric} low"], entry[f"{metric} high"]) for metric in METRICS),
            *(percent(entry[figure]) for figure in FIGURES),
        ],
        "differences": differences,
    }


def _one_run(run: Run, rate: float, most: int) -> dict[str, Any]:
    thresholds = {} if run.calibration.empty else run.thresholds(rate)
    counts = ", ".join(f"{name} {run.about['split']['counts'].get(name, 0)}"
                       for name in head_to_tail(run))
    return {
        "name": run.name, "facts": [*description(run).items(), ("counts", counts)],
        "histograms": _drawn(figures.score_histograms(run, thresholds)),
        "caption": f"Scores of good and defective images, {run.branch} branch; the line is the "
                   f"threshold at a false-alarm rate of {rate:.1%}",
        "errors": _errors(run, thresholds, most) if thresholds else None,
        "config": json.dumps(run.about["config"], indent=1),
    }


def _errors(run: Run, thresholds: Mapping[str, float], most: int) -> dict[str, Any]:
    table = confusion(run, thresholds)
    titles = {"missed": "Worst misses", "false alarm": "Worst false alarms"}
    return {
        "columns": list(table.columns),
        "rows": [(_readable(str(name)), counts) for name, *counts in table.itertuples()],
        "worst": [
            (titles[kind], [_card(run, row) for row in chosen.to_dict("records")])
            for kind, chosen in worst(run, thresholds, most).items()
        ],
    }


def _card(run: Run, row: Mapping[Any, Any]) -> dict[str, str]:
    return {
        "said": _readable(f"{row['class_name']}, {row['defect'] or 'good'}"),
        "image": _outlined(run, row["index"]),
        "scores": f"{_score(row[run.branch])} / {_score(row['threshold'])}",
    }


def _outlined(run: Run, index: int) -> str:
    """A thumbnail with the edge of its defect drawn on it, as a data URL."""
    with Image.open(run.thumbnail(index), formats=["JPEG"]) as opened:
        image = opened.convert("RGB")
    path = run.outline(index)
    if path is not None:
        with Image.open(path, formats=["PNG"]) as opened:
            mask = opened.convert("L")
        edge = ImageChops.difference(mask.filter(ImageFilter.MaxFilter(5)), mask)
        image.paste(_OUTLINE, mask=edge)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _tone(difference: float | None) -> str:
    """Class of a cell that holds a difference; none where it rounds to nothing."""
    if difference is None or abs(difference) < 0.0005:
        return ""
    return "up" if difference > 0 else "down"


def _readable(name: str) -> str:
    return name.replace("_", " ")


def _score(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _bar(value: float | None) -> dict[str, str]:
    """A cell's text, and the width of its bar, which runs from 50 to 100 percent."""
    if value is None or pd.isna(value):
        return {"text": "n/a", "width": ""}
    return {"text": percent(value), "width": f"{max(0.0, 200 * value - 100):.1f}"}


def _drawn(figure: go.Figure) -> Markup:
    return Markup(figure.to_html(full_html=False, include_plotlyjs=False,
                                 config={"displaylogo": False, "responsive": True}))
