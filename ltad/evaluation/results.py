"""Tables of results: classes, All / High / Low, two runs side by side, printed one way."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from ltad.data.splits import majority
from ltad.evaluation.bootstrap import percentile_interval
from ltad.evaluation.runs import Run
from ltad.types import ALL_BRANCHES, BRANCHES, GROUPS, METRICS, TASKS

FIGURES = {
    "image_average_precision": "image AP",
    "image_f1_max": "image F1-max",
    "pixel_average_precision": "pixel AP",
    "pixel_f1_max": "pixel F1-max",
    "aupro": "AUPRO",
}
"""Figures of the combined branch beside AUROC: field of `ClassResult` -> heading."""


@dataclass(frozen=True)
class ClassResult:
    """Results of one class.

    Attributes:
        class_name: the class.
        train_count: training images that it had, which decides between High and Low.
        image, pixel: AUROC in [0, 1] by branch ("combined", "reconstruction", "semantic",
            and "reference" where there is one), or None where the test set has one label only.
        image_average_precision, image_f1_max, pixel_average_precision, pixel_f1_max, aupro: of
            the combined branch, in [0, 1], or None if not measured or not defined.
        resampled_image_auroc, resampled_pixel_auroc: of the combined branch, a value for each
            bootstrap draw of `ltad.evaluation.bootstrap`, or None if not resampled.
    """

    class_name: str
    train_count: int
    image: dict[str, float | None]
    pixel: dict[str, float | None]
    image_average_precision: float | None = None
    image_f1_max: float | None = None
    pixel_average_precision: float | None = None
    pixel_f1_max: float | None = None
    aupro: float | None = None
    resampled_image_auroc: tuple[float, ...] | None = None
    resampled_pixel_auroc: tuple[float, ...] | None = None

    def resampled(self, metric: str) -> tuple[float, ...] | None:
        """The draws' AUROC by `metric`, "image" or "pixel"."""
        return {"image": self.resampled_image_auroc, "pixel": self.resampled_pixel_auroc}[metric]

    def interval(self, metric: str) -> tuple[float, float] | None:
        """95% interval (low, high) of the combined AUROC, as `Results.intervals`."""
        return percentile_interval([self.resampled(metric)])


@dataclass(frozen=True)
class Results:
    """Results of a benchmark, one entry per class."""

    classes: tuple[ClassResult, ...]

    def groups(self) -> dict[str, list[str]]:
        """Class names of "All", "High" (the majority) and "Low" (the minority)."""
        high, low = majority({result.class_name: result.train_count for result in self.classes})
        return {
            "All": [result.class_name for result in self.classes],
            "High": [r.class_name for r in self.classes if r.class_name in high],
            "Low": [r.class_name for r in self.classes if r.class_name in low],
        }

    @property
    def branches(self) -> tuple[str, ...]:
        """`BRANCHES`, and of the optional ones those that some class has."""
        known = {b for r in self.classes for metric in METRICS for b in getattr(r, metric)}
        return tuple(b for b in ALL_BRANCHES if b in BRANCHES or b in known)

    def summary(self) -> dict[str, dict[str, dict[str, float | None]]]:
        """Means over classes: group ("All", "High", "Low") -> metric -> branch -> fraction.

        A class without a value is left out of the mean; None if that leaves no class.
        """
        return {
            group: {
                metric: {branch: self._mean(names, metric, branch) for branch in self.branches}
                for metric in METRICS
            }
            for group, names in self.groups().items()
        }

    def missing(self) -> dict[str, list[str]]:
        """Metric -> classes that have no value for it and are left out of its means."""
        return {
            metric: [
                r.class_name for r in self.classes
                if any(getattr(r, metric).get(branch) is None for branch in BRANCHES)
            ]
            for metric in METRICS
        }

    def figures(self) -> dict[str, dict[str, float | None]]:
        """Means over classes of what `FIGURES` lists: group -> figure -> fraction.

        As in `summary`, a class without a value is left out.
        """
        return {
            group: {
                figure: _mean(
                    getattr(result, figure) for result in self.classes
                    if result.class_name in names
                )
                for figure in FIGURES
            }
            for group, names in self.groups().items()
        }

    def intervals(self, metric: str) -> dict[str, tuple[float, float] | None]:
        """95% interval of the mean combined AUROC by `metric`: group -> (low, high).

        Percentile bootstrap: each class's test images are drawn anew, and the classes' AUROC of
        one draw is averaged. None where no class was resampled.
        """
        return {
            group: percentile_interval([
                result.resampled(metric) for result in self.classes if result.class_name in names
            ])
            for group, names in self.groups().items()
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: classes, means, intervals, groups, missing; all as fractions."""
        classes = []
        for result in self.classes:
            entry = asdict(result)
            for metric in METRICS:
                del entry[f"resampled_{metric}_auroc"]  # long: the interval says what it is for
                entry[f"{metric}_interval"] = result.interval(metric)
            classes.append(entry)
        return {
            "classes": classes,
            "summary": self.summary(),
            "figures": self.figures(),
            "intervals": self.intervals("image"),
            "pixel_intervals": self.intervals("pixel"),
            "groups": self.groups(),
            "missing": self.missing(),
        }

    def table(self) -> str:
        """The results as plain text, AUROC in percent, with the means below the classes."""
        branches = self.branches
        rows = [_row(r.class_name, r.train_count, r.image, r.pixel, branches)
                for r in self.classes]
        means = [_row(g, "", m["image"], m["pixel"], branches) for g, m in self.summary().items()]
        heading = ["class", "train"] + [f"{m} {b}" for m in METRICS for b in branches]
        lines = [_ruled(heading, rows, means)]
        for metric, names in self.missing().items():
            if names:
                lines.append(
                    f"Not in the {metric} means, because their test images lack "
                    f"normal or defective {metric}s: {', '.join(names)}."
                )
        return "\n".join(lines)

    def figures_table(self) -> str:
        """The combined branch's other figures in percent, and the intervals of its AUROC."""
        rows = [
            _figures_row(r.class_name, (getattr(r, f) for f in FIGURES), map(r.interval, METRICS))
            for r in self.classes
        ]
        intervals = [self.intervals(metric) for metric in METRICS]
        means = [
            _figures_row(group, values.values(), (one[group] for one in intervals))
            for group, values in self.figures().items()
        ]
        heading = ["class", *FIGURES.values(), *(f"{metric} AUROC, 95%" for metric in METRICS)]
        return _ruled(heading, rows, means)

    def _mean(self, names: list[str], metric: str, branch: str) -> float | None:
        return _mean(
            getattr(result, metric).get(branch)
            for result in self.classes if result.class_name in names
        )


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _percent(value: float | None) -> str:
    return "n/a" if value is None else f"{100 * value:.2f}"


def _row(
    name: str, count: int | str, image: dict[str, Any], pixel: dict[str, Any],
    branches: tuple[str, ...],
) -> list[str]:
    values = [image.get(b) for b in branches] + [pixel.get(b) for b in branches]
    return [name, str(count), *map(_percent, values)]


def _figures_row(
    name: str, values: Iterable[float | None], intervals: Iterable[tuple[float, float] | None]
) -> list[str]:
    ends = ("n/a" if one is None else " - ".join(map(_percent, one)) for one in intervals)
    return [name, *map(_percent, values), *ends]


def text_table(
    lines: Sequence[Sequence[str]], has_numbers: bool = False, rules: Sequence[int] = ()
) -> str:
    """Lines of cells as text in aligned columns.

    Args:
        lines: the heading first; as many cells in each.
        has_numbers: all columns but the first are aligned to the right.
        rules: places of lines that have a rule above them.
    """
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule, text = "-" * (sum(widths) + 2 * (len(widths) - 1)), list[str]()
    for place, line in enumerate(lines):
        if place in rules:
            text.append(rule)
        cells = (cell.rjust(width) if has_numbers and column else cell.ljust(width)
                 for column, (cell, width) in enumerate(zip(line, widths, strict=True)))
        text.append("  ".join(cells).rstrip())
    return "\n".join(text)


def _ruled(heading: list[str], rows: list[list[str]], means: list[list[str]]) -> str:
    """Heading, rows and means with rules between them."""
    return text_table([heading, *rows, *means], True, (1, 1 + len(rows)))


def class_table(results: Mapping[str, Any], branches: Sequence[str]) -> pd.DataFrame:
    """All figures of a run, fractions, NaN for what does not exist.

    Args:
        results: `ltad.evaluation.results.Results.to_dict`.
        branches: those that were measured.

    Returns:
        A row a class, then All, High and Low: ``name``, ``is_group``, ``train`` (training
        images, NaN for a group), "image combined" and so on for each metric and branch, "image
        low", "image high", "pixel low" and "pixel high" (95% intervals of the first branch's
        AUROC), and the fields of `ltad.evaluation.results.FIGURES`.
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
    return _ruled_frame(shown, len(table) - len(GROUPS))


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
        *([differing] if differing else []), _ruled_frame(shown, len(table) - len(GROUPS)),
    ])


def percent(value: float | None) -> str:
    """A fraction in percent with one decimal, "n/a" for none."""
    return "n/a" if value is None or math.isnan(value) else f"{100 * value:.1f}"


def signed_percent(value: float | None) -> str:
    """As `percent`, with a sign."""
    return "n/a" if value is None or math.isnan(value) else f"{100 * value:+.1f}"


def interval(low: float, high: float) -> str:
    """Both ends in percent."""
    return "n/a" if pd.isna(low) else f"{100 * low:.1f} - {100 * high:.1f}"


def _count(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.0f}"


def _ruled_frame(shown: pd.DataFrame, classes: int) -> str:
    """The table as text with a rule below the heading and above the groups."""
    lines = [[str(cell) for cell in row] for row in shown.to_numpy().tolist()]
    return text_table([list(shown.columns), *lines], True, (1, 1 + classes))


def description(run: Run) -> dict[str, str]:
    """What a run is, in words: label -> text."""
    about, settings = run.about, run.about["settings"]
    counts = about["split"]["counts"].values()
    defective = np.count_nonzero(run.images["is_defective"])
    facts = {
        "kind": about["kind"],
        "made": about["created"].replace("T", " ").replace("+00:00", " UTC"),
        "data": f"{about['data']['name']} ({about['data']['layout']} layout)",
        "split": f"{about['split']['name']}: {sum(counts)} training images of {len(counts)} "
                 f"classes, {min(counts)} to {max(counts)} each",
        "test images": f"{len(run.images)}, {defective} of them defective",
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
    """A sentence that says on which test images runs were measured, "" if on the same ones.

    The same are those of the same paths in data sets of one name.
    """
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.about["data"]["name"], *run.images["path"]), []).append(run)
    if len(groups) < 2:
        return ""
    said = "; ".join(
        f"{', '.join(run.name for run in group)} on {len(key) - 1} images of {key[0]}"
        for key, group in groups.items()
    )
    return f"Not the same test images, so the figures do not compare: {said}."


def summarise(runs: Sequence[Run]) -> pd.DataFrame:
    """Mean and deviation over runs that differ by the seed only, fractions.

    Returns:
        A row for each ``row``, ``kind``, ``data``, ``split`` and configuration in order of
        appearance, ``runs`` (how many), and for
        each of "Det. All" ... "Seg. Low" the mean under that name and the sample standard
        deviation under the name and " ±" (NaN for one run).
    """
    cells = {f"{task} {group}": (metric, group) for metric, task in TASKS.items()
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
    means = pd.DataFrame(groups.mean())
    deviations = pd.DataFrame(groups.std(ddof=1)).add_suffix(" ±")
    ordered = [column for cell in cells for column in (cell, f"{cell} ±")]
    both = pd.concat([means, deviations], axis=1).loc[:, ordered]
    both.insert(0, "runs", groups.size())
    return both.reset_index().drop(columns="config")


def _without_seed(config: Mapping[str, Any] | None) -> str:
    """A configuration as text that is equal for runs of other seeds."""
    if config is None:
        return ""
    return json.dumps({**config, "training": {**config["training"], "seed": None}}, sort_keys=True)


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
