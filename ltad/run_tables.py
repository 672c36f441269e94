"""A run's figures as tables, for the report and the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ltad.metrics import METRICS
from ltad.results import FIGURES
from ltad.run_comparison import compare_runs, differing_tests
from ltad.runs import GROUPS, Run


def class_table(results: Mapping[str, Any], branches: Sequence[str]) -> pd.DataFrame:
    """All figures of a run, fractions, NaN for what does not exist.

    Args:
        results: `ltad.results.Results.to_dict`.
        branches: those that were measured.

    Returns:
        A row a class, then All, High and Low: ``name``, ``is_group``, ``train`` (training
        pictures, NaN for a group), "image combined" and so on for each metric and branch, "image
        low", "image high", "pixel low" and "pixel high" (95% intervals of the first branch's
        AUROC), and the fields of `ltad.results.FIGURES`.
    """
    rows = [
        {"name": entry["class_name"], "is_group": False, "train": entry["train_count"],
         **_areas(entry, branches),
         **_ends(class_intervals(entry)),
         **{figure: entry[figure] for figure in FIGURES}}
        for entry in results["classes"]
    ] + [
        {"name": group, "is_group": True, "train": None,
         **_areas(results["summary"][group], branches), **_ends(group_intervals(results, group)),
         **results["figures"][group]}
        for group in GROUPS
    ]
    table = pd.DataFrame(rows)
    return table.astype(dict.fromkeys(table.columns[2:], float))


def _areas(entry: Mapping[str, Any], branches: Sequence[str]) -> dict[str, float | None]:
    return {f"{metric} {branch}": entry[metric][branch]
            for metric in METRICS for branch in branches}


def class_intervals(entry: Mapping[str, Any]) -> dict[str, Sequence[float] | None]:
    """Metric -> (low, high) of a class's entry in the results; None for what was not resampled, as
    the pixels of older runs were not."""
    return {metric: entry.get(f"{metric}_interval") for metric in METRICS}


def group_intervals(results: Mapping[str, Any], group: str) -> dict[str, Sequence[float] | None]:
    """As `class_intervals`, of the means of "All", "High" or "Low"."""
    keys = {"image": "intervals", "pixel": "pixel_intervals"}
    return {metric: results.get(keys[metric], {}).get(group) for metric in METRICS}


def _ends(intervals: Mapping[str, Sequence[float] | None]) -> dict[str, float | None]:
    return {
        f"{metric} {end}": value for metric, ends in intervals.items()
        for end, value in zip(("low", "high"), ends or (None, None), strict=True)
    }


def printed_results(results: Mapping[str, Any], branches: Sequence[str]) -> str:
    """`class_table` as text, in percent."""
    table = class_table(results, branches)
    shown = pd.DataFrame({"class": table["name"], "train": table["train"].map(_count)})
    for column in table.columns[3:]:
        if not column.endswith((" low", " high")):
            shown[FIGURES.get(column, column)] = table[column].map(percent)
    for metric in METRICS:
        ends = table[[f"{metric} low", f"{metric} high"]]
        shown[f"{metric}, 95%"] = [interval(*one) for one in ends.itertuples(index=False)]
    return _ruled(shown, len(table) - len(GROUPS))


def printed_comparison(a: Run, b: Run) -> str:
    """`compare_runs` as text, in percent."""
    table = compare_runs(a, b)
    shown = pd.DataFrame({"class": table["name"]})
    for metric in METRICS:
        shown[f"{metric} A"] = table[f"{metric}_a"].map(percent)
        shown[f"{metric} B"] = table[f"{metric}_b"].map(percent)
        shown[f"{metric} B-A"] = table[f"{metric}_difference"].map(signed_percent)
    differing = differing_tests([a, b])
    return "\n".join([
        f"A: {a.name} ({a.about['kind']})", f"B: {b.name} ({b.about['kind']})",
        *([differing] if differing else []), _ruled(shown, len(table) - len(GROUPS)),
    ])


def percent(value: float | None) -> str:
    """A fraction in percent with one decimal, "n/a" for none."""
    return "n/a" if pd.isna(value) else f"{100 * value:.1f}"


def signed_percent(value: float | None) -> str:
    """As `percent`, with a sign."""
    return "n/a" if pd.isna(value) else f"{100 * value:+.1f}"


def interval(low: float, high: float) -> str:
    """Both ends in percent."""
    return "n/a" if pd.isna(low) else f"{100 * low:.1f} - {100 * high:.1f}"


def _count(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.0f}"


def _ruled(shown: pd.DataFrame, classes: int) -> str:
    """The table as text with a rule below the heading and above the groups."""
    lines = shown.to_string(index=False, justify="right").splitlines()
    rule = "-" * max(map(len, lines))
    return "\n".join([lines[0], rule, *lines[1 : classes + 1], rule, *lines[classes + 1 :]])


def description(run: Run) -> dict[str, str]:
    """What a run is, in words: label -> text."""
    about, settings = run.about, run.about["settings"]
    counts = about["split"]["counts"].values()
    defective = int(run.images["is_defective"].sum())
    facts = {
        "kind": about["kind"],
        "made": about["created"].replace("T", " ").replace("+00:00", " UTC"),
        "data": f"{about['data']['name']} ({about['data']['layout']} layout)",
        "split": f"{about['split']['name']}: {sum(counts)} training pictures of {len(counts)} "
                 f"classes, {min(counts)} to {max(counts)} each",
        "test pictures": f"{len(run.images)}, {defective} of them defective",
        "judged by": f"the {run.branch} branch",
        "encoder": f"{about['encoder']['name']} ({about['encoder']['fingerprint']})",
        "model": about["model"]["name"],
        "normal words": settings["normal_prompt"], "abnormal words": settings["abnormal_prompt"],
        "lambda, tau": f"{settings['lam']:g}, {settings['tau']:g}",
        "input": f"{settings['image_size']} pixels, scores pooled over {settings['score_pool']}",
        "seed": str(about["seed"]),
        "seconds": ", ".join(f"{name} {value:.1f}" for name, value in about["seconds"].items()),
        "versions": ", ".join(f"{name} {value}" for name, value in about["versions"].items()),
    }
    if about["group"]:
        facts["group"] = f"{about['group']}, row {about['row']}"
    return facts
