"""Runs as one HTML file that opens from disk: figures, tables and pictures are all inside."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
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
from ltad.types import GROUPS, METRICS, TASKS, CheckpointError, SettingError

MOST_PICTURES = 40
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
    share = MOST_PICTURES // (2 * len(runs))
    title = runs[0].name if len(runs) == 1 else f"{len(runs)} runs"
    body = [
        _header(title, runs), _summary(runs), _repeated(runs), _long_tail(runs), _classes(runs),
        _curves(runs), *(_one_run(run, false_alarm_rate, share) for run in runs),
    ]
    style = files("ltad.evaluation").joinpath("report.css").read_text("utf-8")
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{escape(title)} · LTAD report</title><style>{style}</style>"
        f"<script>{get_plotlyjs()}</script></head><body><main>{''.join(body)}</main></body></html>"
    )


def _header(title: str, runs: Sequence[Run]) -> str:
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    data = ", ".join(dict.fromkeys(run.about["data"]["name"] for run in runs))
    return (
        f"<header><h1>{escape(title)}</h1><p>Long-tailed anomaly detection on {escape(data)}. "
        "AUROC in percent: Det. per image, Seg. per pixel. High is the half of the classes with "
        f"the most training pictures, Low the rest.</p>"
        f"<p class='quiet'>Written {made}.</p></header>"
    )


def _summary(runs: Sequence[Run]) -> str:
    rows = []
    for run in runs:
        cells = [(_bar(run.value(group, metric)), group_intervals(run.results, group)[metric])
                 for _, metric, group in _CELLS]
        shown = "".join(
            f"<td{style}><b>{text}</b>" + (f"<small>{interval(*ends)}</small>" if ends else "")
            + "</td>" for (style, text), ends in cells
        )
        rows.append(f"<tr><th scope='row'>{escape(run.name)}<small>{escape(run.about['kind'])}, "
                    f"{escape(run.branch)}</small></th>{shown}</tr>" + _paper_row(run))
    return _section(
        "Results", _table(["run", *(name for name, *_ in _CELLS)], rows)
        + (f"<p>{escape(differing)}</p>" if (differing := differing_tests(runs)) else "")
        + "<p class='quiet'>Small print: 95% bootstrap interval over the test pictures.</p>"
    )


def _paper_row(run: Run) -> str:
    """The paper's figures under a run that is a row of one of its tables."""
    row = next((row for rows in TABLES.values() for row in rows if row.id == run.about["row"]),
               None)
    data, split = reference(run.about["training_pictures"], run.about["split"]["name"])
    values = [row.paper(*name.split(), data, split) for name, *_ in _CELLS] if row else []
    if not any(value is not None for value in values):
        return ""
    cells = "".join(f"<td>{'' if value is None else f'{value:.1f}'}</td>" for value in values)
    whose = escape(paper_name(data, row.split or split))
    return f"<tr class='paper'><th scope='row'>{whose}</th>{cells}</tr>"


def _repeated(runs: Sequence[Run]) -> str:
    """Mean and deviation of the rows that were run under several seeds."""
    seeds = {
        (run.about.get("key", run.name), run.about["row"], run.about["seed"]): run for run in runs
    }
    table = summarise(list(seeds.values()))  # a row evaluated again is no other seed
    table = table[(table["runs"] > 1) & (table["row"] != "")]
    if table.empty:
        return ""
    rows = [
        f"<tr><th scope='row'>{escape(entry['row'])} {escape(entry['kind'])}"
        f"<small>{entry['runs']} seeds of {escape(entry['data'])} {escape(entry['split'])}"
        "</small></th>" + "".join(
            f"<td>{percent(entry[name])}<small>± {percent(entry[f'{name} ±'])}</small></td>"
            for name, *_ in _CELLS
        ) + "</tr>"
        for entry in table.to_dict("records")
    ]
    return _section("Mean and standard deviation over seeds",
                    _table(["row", *(name for name, *_ in _CELLS)], rows))


def _long_tail(runs: Sequence[Run]) -> str:
    return _section("From head to tail", "".join(
        _figure(figures.long_tail_figure(runs, metric), f"{word} AUROC of each class")
        for metric, word in zip(METRICS, ("Image", "Pixel"), strict=True)
    ))


def _classes(runs: Sequence[Run]) -> str:
    parts = []
    for number, run in enumerate(runs):
        table = class_table(run.results, run.branches)
        areas = [f"{metric} {branch}" for metric in METRICS for branch in run.branches]
        heading = ["class", "train", *areas, *(f"{metric}, 95%" for metric in METRICS),
                   *FIGURES.values()]
        compared = runs[0] if number else None
        if compared:
            heading += ["image, to the first", "pixel, to the first"]
        rows = [_class_row(entry, run, areas, compared) for entry in table.to_dict("records")]
        parts.append(f"<details open><summary>{escape(run.name)}</summary>"
                     f"{_table(heading, rows)}</details>")
    return _section("Classes", "".join(parts) + "<p class='quiet'>AP, F1-max, AUPRO and the "
                    "intervals belong to the branch that comes first.</p>")


def _class_row(entry: Mapping, run: Run, areas: Sequence[str], compared: Run | None) -> str:
    count = "" if pd.isna(entry["train"]) else f"{entry['train']:.0f}"
    cells = [f"<td>{count}</td>"]
    for name in areas:
        style, text = _bar(entry[name])
        cells.append(f"<td{style}>{text}</td>")
    cells += [f"<td>{interval(entry[f'{metric} low'], entry[f'{metric} high'])}</td>"
              for metric in METRICS]
    cells += [f"<td>{percent(entry[figure])}</td>" for figure in FIGURES]
    for metric in METRICS if compared else ():
        values = [other.value(entry["name"], metric) for other in (compared, run)]
        difference = None if None in values else values[1] - values[0]
        cells.append(f"<td{_tone(difference)}>{signed_percent(difference)}</td>")
    kind = " class='group'" if entry["is_group"] else ""
    return f"<tr{kind}><th scope='row'>{escape(_readable(entry['name']))}</th>{''.join(cells)}</tr>"


def _curves(runs: Sequence[Run]) -> str:
    figure = figures.roc_and_precision_recall(runs)
    return _section("ROC and precision over recall",
                    _figure(figure, "Mean over the classes of their curves"))


def _one_run(run: Run, rate: float, pictures: int) -> str:
    thresholds = {} if run.calibration.empty else run.thresholds(rate)
    histograms = _figure(figures.score_histograms(run, thresholds),
                         f"Scores of good and defective pictures, {run.branch} branch; the line is "
                         f"the threshold at a false-alarm rate of {rate:.1%}")
    errors = _errors(run, thresholds, pictures) if thresholds else (
        "<p class='quiet'>No good picture was held out for this run, so it has no thresholds.</p>"
    )
    facts = "".join(f"<dt>{escape(label)}</dt><dd>{escape(text)}</dd>"
                    for label, text in description(run).items())
    counts = ", ".join(f"{name} {run.about['split']['counts'].get(name, 0)}"
                       for name in head_to_tail(run))
    config = json.dumps(run.about["config"], indent=1)
    return _section(
        run.name, f"<dl>{facts}<dt>counts</dt><dd>{escape(counts)}</dd></dl>{histograms}{errors}"
        f"<details><summary>All settings</summary><pre>{escape(config)}</pre></details>"
    )


def _errors(run: Run, thresholds: Mapping[str, float], pictures: int) -> str:
    table = confusion(run, thresholds)
    rows = [
        f"<tr{' class=group' if name == 'All' else ''}><th scope='row'>"
        f"{escape(_readable(str(name)))}</th>"
        + "".join(f"<td>{count}</td>" for count in counts) + "</tr>"
        for name, *counts in table.itertuples()
    ]
    parts = [_table(["class", *table.columns], rows)]
    titles = {"missed": "Worst misses", "false alarm": "Worst false alarms"}
    for kind, chosen in worst(run, thresholds, pictures).items():
        cards = "".join(_card(run, row) for row in chosen.to_dict("records"))
        said = "Score / threshold; defects are outlined." if cards else "None at this threshold."
        parts.append(f"<h3>{titles[kind]}</h3><p class='quiet'>{said}</p>"
                     f"<div class='strip'>{cards}</div>")
    return "".join(parts)


def _card(run: Run, row: Mapping) -> str:
    said = escape(_readable(f"{row['class_name']}, {row['defect'] or 'good'}"))
    return (
        f"<figure><img alt='{said}' src='{_outlined(run, row['index'])}'><figcaption>{said}"
        f"<small>{_score(row[run.branch])} / {_score(row['threshold'])}</small></figcaption>"
        "</figure>"
    )


def _outlined(run: Run, index: int) -> str:
    """A thumbnail with the edge of its defect drawn on it, as a data URL."""
    with Image.open(run.thumbnail(index), formats=["JPEG"]) as opened:
        picture = opened.convert("RGB")
    path = run.outline(index)
    if path is not None:
        with Image.open(path, formats=["PNG"]) as opened:
            mask = opened.convert("L")
        edge = ImageChops.difference(mask.filter(ImageFilter.MaxFilter(5)), mask)
        picture.paste(_OUTLINE, mask=edge)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _tone(difference: float | None) -> str:
    """Class of a cell that holds a difference; none where it rounds to nothing."""
    if difference is None or abs(difference) < 0.0005:
        return ""
    return " class='up'" if difference > 0 else " class='down'"


def _readable(name: str) -> str:
    return name.replace("_", " ")


def _score(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _bar(value: float | None) -> tuple[str, str]:
    """Style of a cell whose bar runs from 50 to 100 percent, and its text."""
    if value is None or pd.isna(value):
        return "", "n/a"
    return f" class='bar' style='--v:{max(0.0, 200 * value - 100):.1f}%'", percent(value)


def _figure(figure: go.Figure, caption: str) -> str:
    drawn = figure.to_html(full_html=False, include_plotlyjs=False,
                           config={"displaylogo": False, "responsive": True})
    return f"<figure class='plot'><figcaption>{escape(caption)}</figcaption>{drawn}</figure>"


def _table(heading: Sequence[str], rows: Sequence[str]) -> str:
    cells = "".join(f"<th scope='col'>{escape(text)}</th>" for text in heading)
    return (f"<div class='wide'><table><thead><tr>{cells}</tr></thead>"
            f"<tbody>{''.join(rows)}</tbody></table></div>")


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{content}</section>"
