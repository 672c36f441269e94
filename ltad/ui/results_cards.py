"""The Results tab's other pieces of HTML: empty states, a run's facts, the confusion table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ltad.runs import Run
from ltad.ui.results_operating import Confusion, OperatingPoint
from ltad.ui.text import escape, notice, number, readable

_DOUBTFUL = 2.0  # times the rate asked for
_HINDSIGHT = (
    "No good picture was held out for this run, so each class has the threshold of its best F1 on "
    "the test set itself: better than anybody could know beforehand. Set one score to try others."
)
_FACTS = ("kind", "created", "group", "row", "seed", "model", "encoder", "settings", "data",
          "split", "training_pictures", "seconds", "versions", "config")


def empty_html() -> str:
    """What stands in place of the tab before there is a run."""
    return (
        "<div class='lt-empty'><h2>No run yet</h2><p>A run is one evaluation on a test set. Its "
        "tables, curves and every picture appear here. Make the first one where this page "
        "runs, then come back:</p>"
        "<p><code class='lt-run-command'>python -m ltad evaluate --data parts --run NAME</code></p>"
        "<p>Any folder in MVTec AD's layout does in place of <code>parts</code>.</p></div>"
    )


def nothing_chosen_html() -> str:
    """What stands there when no run is chosen."""
    return (
        "<div class='lt-empty'><h2>Choose a run</h2>"
        "<p>Pick one above, or several to see them side by side.</p></div>"
    )


def facts_html(run: Run) -> str:
    """What ``run.json`` says, of paths only the last part."""
    rows = "".join(
        f"<tr><th scope='row'>{escape(readable(name).capitalize())}</th>"
        f"<td>{_fact_html(run.about[name])}</td></tr>"
        for name in _FACTS
        if run.about.get(name) not in (None, "", {}, [])
    )
    counted = f"{len(run.images):,}, of them {int(run.images['is_defective'].sum()):,} defective"
    return (
        f"<table class='lt-table lt-facts'><tbody><tr><th scope='row'>Test pictures</th>"
        f"<td>{counted}</td></tr>{rows}</tbody></table>"
    )


def _fact_html(fact: Any) -> str:
    if isinstance(fact, dict):
        return "<dl class='lt-run-pairs'>" + "".join(
            f"<div><dt>{escape(readable(str(key)))}</dt><dd>{_fact_html(value)}</dd></div>"
            for key, value in fact.items() if value not in (None, "")
        ) + "</dl>"
    if isinstance(fact, list | tuple):
        return ", ".join(_fact_html(value) for value in fact)
    if isinstance(fact, bool):
        return "yes" if fact else "no"
    if isinstance(fact, float):
        return number(fact)
    text = str(fact)
    return escape(Path(text).name if Path(text).is_absolute() else text)


def confusion_html(
    total: Confusion, by_class: dict[str, Confusion], thresholds: dict[str, float],
    point: OperatingPoint, is_hindsight: bool = False,
) -> str:
    """The counts as a square, their shares, and a row a class.

    Args:
        total: of the pictures looked at.
        by_class: of each class among them.
        thresholds: of each class.
        point: where they are from.
        is_hindsight: the thresholds were taken from the test set itself.
    """
    doubt = notice(_HINDSIGHT) if is_hindsight else _doubt_html(total, point)
    return (
        f"{doubt}<div class='lt-run-operating'>{_square_html(total)}"
        f"{_shares_html(total, point)}</div>{_classes_html(by_class, thresholds)}"
    )


def _doubt_html(total: Confusion, point: OperatingPoint) -> str:
    """Says when good test pictures raise far more alarms than the held-out ones promised."""
    measured = total.false_alarm_rate
    if point.score is not None or measured is None or measured <= _DOUBTFUL * point.rate:
        return ""
    return notice(
        f"Of the good test pictures {measured:.1%} raise an alarm, although {point.rate:.0%} were "
        "asked for: the few held-out pictures that set the threshold do not stand for the test set."
    )


def _square_html(total: Confusion) -> str:
    def cell(count: int, word: str, kind: str) -> str:
        return f"<td class='lt-run-cell-{kind}'><b>{count:,}</b><span>{word}</span></td>"

    return (
        "<table class='lt-run-square'><thead><tr><td></td><th scope='col'>called defective</th>"
        "<th scope='col'>called good</th></tr></thead><tbody>"
        f"<tr><th scope='row'>is defective</th>{cell(total.found, 'found', 'right')}"
        f"{cell(total.missed, 'missed', 'missed')}</tr>"
        f"<tr><th scope='row'>is good</th>{cell(total.false_alarms, 'false alarms', 'alarm')}"
        f"{cell(total.passed, 'passed', 'right')}</tr></tbody></table>"
    )


def _shares_html(total: Confusion, point: OperatingPoint) -> str:
    asked = "" if point.score is not None else f"asked for: {point.rate:.0%}"
    facts = (
        ("Precision", total.precision, "alarms that are defects"),
        ("Recall", total.recall, "defects that raise an alarm"),
        ("F1", total.f1, "harmonic mean of both"),
        ("False alarms", total.false_alarm_rate, asked or "good pictures that raise an alarm"),
    )
    return "<dl class='lt-run-shares'>" + "".join(
        f"<div><dt>{name}</dt><dd>{_percent(share)}</dd><dd class='lt-quiet'>{about}</dd></div>"
        for name, share, about in facts
    ) + "</dl>"


def _classes_html(by_class: dict[str, Confusion], thresholds: dict[str, float]) -> str:
    heads = ("Class", "Threshold", "Found", "Missed", "False alarms", "Passed", "Precision",
             "Recall", "F1")
    head = "".join(
        f"<th scope='col' class='{'lt-run-number' if index else ''}' aria-sort='none'>"
        f"<button type='button' data-lt-sort>{name}</button></th>"
        for index, name in enumerate(heads)
    )
    rows = "".join(
        f"<tr><th scope='row' data-value='{escape(readable(name))}'><button type='button' "
        f"data-lt-class='{escape(name)}'>{escape(readable(name))}</button></th>"
        + _number_cell(thresholds[name], number(thresholds[name]))
        + _number_cell(one.found) + _number_cell(one.missed, kind="missed")
        + _number_cell(one.false_alarms, kind="alarm") + _number_cell(one.passed)
        + "".join(_number_cell(share, _percent(share)) for share in
                  (one.precision, one.recall, one.f1))
        + "</tr>"
        for name, one in by_class.items()
    )
    return (
        "<div class='lt-run-scroll' tabindex='0' role='region' aria-label='Errors per class'>"
        f"<table class='lt-table lt-results'><thead><tr class='lt-run-sorts'>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
    )


def _number_cell(value: float | None, text: str | None = None, kind: str = "") -> str:
    tone = f" lt-run-tone-{kind}" if kind and value else ""
    return (
        f"<td class='lt-run-number{tone}' data-value='{-1 if value is None else value}'>"
        f"{value if text is None else text}</td>"
    )


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}%"
