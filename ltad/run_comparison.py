"""Runs side by side: two of them, or the seeds of each row of a table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ltad.runs import GROUPS, METRICS, Run


def compare_runs(a: Run, b: Run, branch: str | None = None) -> pd.DataFrame:
    """Both runs' AUROC, fractions, NaN where one has no value.

    Args:
        a, b: the runs.
        branch: of both; by default each one's own.

    Returns:
        A row a class of either, then All, High and Low: ``name``, ``is_group``, and ``image_a``,
        ``image_b``, ``image_difference`` (b less a), and the same of ``pixel``.
    """
    classes = sorted({*a.class_names, *b.class_names})
    rows = []
    for name, is_group in [(n, False) for n in classes] + [(n, True) for n in GROUPS]:
        row: dict[str, Any] = {"name": name, "is_group": is_group}
        for metric in METRICS:
            first, second = (_number(run.value(name, metric, branch)) for run in (a, b))
            row |= {f"{metric}_a": first, f"{metric}_b": second,
                    f"{metric}_difference": second - first}
        rows.append(row)
    return pd.DataFrame(rows)


def differing_tests(runs: Sequence[Run]) -> str:
    """A sentence that says on which test pictures runs were measured, "" if on the same ones.

    The same are those of the same paths in data sets of one name.
    """
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.about["data"]["name"], *run.images["path"]), []).append(run)
    if len(groups) < 2:
        return ""
    said = "; ".join(
        f"{', '.join(run.name for run in group)} on {len(key) - 1} pictures of {key[0]}"
        for key, group in groups.items()
    )
    return f"Not the same test pictures, so the figures do not compare: {said}."


def summarise(runs: Sequence[Run]) -> pd.DataFrame:
    """Mean and deviation over runs that differ by the seed only, fractions.

    Returns:
        A row for each ``row``, ``kind``, ``data``, ``split`` and configuration in order of
        appearance, ``runs`` (how many), and for
        each of "Det. All" ... "Seg. Low" the mean under that name and the sample standard
        deviation under the name and " ±" (NaN for one run).
    """
    cells = {f"{task} {group}": (metric, group) for metric, task in METRICS.items()
             for group in GROUPS}
    keys = ["row", "kind", "data", "split", "config"]
    table = pd.DataFrame([
        {"row": run.about["row"] or "", "kind": run.about["kind"],
         "data": run.about["data"]["name"], "split": run.about["split"]["name"],
         "config": _without_seed(run.about["config"]),
         **{cell: _number(run.value(group, metric)) for cell, (metric, group) in cells.items()}}
        for run in runs
    ], columns=[*keys, *cells])
    groups = table.groupby(keys, sort=False)
    means, deviations = groups.mean(), groups.std(ddof=1).add_suffix(" ±")
    ordered = [column for cell in cells for column in (cell, f"{cell} ±")]
    both = pd.concat([means, deviations], axis=1)[ordered]
    both.insert(0, "runs", groups.size())
    return both.reset_index().drop(columns="config")


def _without_seed(config: Mapping[str, Any] | None) -> str:
    """A configuration as text that is equal for runs of other seeds."""
    if config is None:
        return ""
    return json.dumps({**config, "training": {**config["training"], "seed": None}}, sort_keys=True)


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
