"""The tables of a benchmark's results: per class, and the means of All, High and Low.

Fractions in [0, 1] everywhere but in the printed tables, which are in percent. None stands for a
figure that does not exist, because only one of the two labels occurs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ltad.data.longtail import majority
from ltad.intervals import percentile_interval
from ltad.metrics import ALL_BRANCHES, BRANCHES, METRICS

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
        train_count: training pictures that it had, which decides between High and Low.
        image, pixel: AUROC in [0, 1] by branch ("combined", "reconstruction", "semantic",
            and "reference" where there is one), or None where the test set has one label only.
        image_average_precision, image_f1_max, pixel_average_precision, pixel_f1_max, aupro: of
            the combined branch, in [0, 1], or None if not measured or not defined.
        resampled_image_auroc, resampled_pixel_auroc: of the combined branch, a value for each
            bootstrap draw of `ltad.intervals`, or None if not resampled.
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
        """`BRANCHES`, and "reference" where some class has it."""
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

        Percentile bootstrap: each class's test pictures are drawn anew, and the classes' AUROC of
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
                    f"Not in the {metric} means, because their test pictures lack "
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
    name: str, count: int | str, image: dict, pixel: dict, branches: tuple[str, ...]
) -> list[str]:
    values = [image.get(b) for b in branches] + [pixel.get(b) for b in branches]
    return [name, str(count), *map(_percent, values)]


def _figures_row(
    name: str, values: Iterable[float | None], intervals: Iterable[tuple[float, float] | None]
) -> list[str]:
    ends = ("n/a" if one is None else " - ".join(map(_percent, one)) for one in intervals)
    return [name, *map(_percent, values), *ends]


def _ruled(heading: list[str], rows: list[list[str]], means: list[list[str]]) -> str:
    """Heading, rows and means in aligned columns, with rules between them."""
    widths = [max(map(len, column)) for column in zip(heading, *rows, *means, strict=True)]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    return "\n".join([
        _line(heading, widths), rule, *(_line(row, widths) for row in rows), rule,
        *(_line(row, widths) for row in means),
    ])


def _line(cells: list[str], widths: list[int]) -> str:
    name, *rest = cells
    numbers = (cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))
    return "  ".join([name.ljust(widths[0]), *numbers])
