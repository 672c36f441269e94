"""AUROC and other figures per image and per pixel, and the tables of a benchmark's results.

Fractions in [0, 1] everywhere but in the printed tables, which are in percent. None stands for a
figure that does not exist, because only one of the two labels occurs.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ltad.data.longtail import majority
from ltad.metrics_pixel import PixelScores, area_under_roc, average_precision, f1_max

BRANCHES = ("combined", "reconstruction", "semantic")
METRICS = ("image", "pixel")
FIGURES = {
    "image_average_precision": "image AP",
    "image_f1_max": "image F1-max",
    "pixel_average_precision": "pixel AP",
    "pixel_f1_max": "pixel F1-max",
    "aupro": "AUPRO",
}
"""Figures of the combined branch beside AUROC: field of `ClassResult` -> heading."""
RESAMPLES = 200
INTERVAL_PERCENTILES = (2.5, 97.5)


def image_auroc(
    labels: Sequence[int] | np.ndarray, scores: Sequence[float] | np.ndarray
) -> float | None:
    """Exact AUROC of `scores` (n,) against `labels` (n,), nonzero for an anomaly; ties count half.

    Returns:
        A float in [0, 1], or None if all labels are the same.

    Raises:
        ValueError: the lengths differ, or a score is not finite.
    """
    return area_under_roc(*_counted(labels, scores))


def image_average_precision(
    labels: Sequence[int] | np.ndarray, scores: Sequence[float] | np.ndarray
) -> float | None:
    """Exact average precision, in [0, 1]; arguments, None and errors as `image_auroc`."""
    return average_precision(*_counted(labels, scores))


def image_f1_max(
    labels: Sequence[int] | np.ndarray, scores: Sequence[float] | np.ndarray
) -> float | None:
    """The largest F1 of any threshold, in [0, 1]; arguments, None and errors as `image_auroc`."""
    return f1_max(*_counted(labels, scores))


def pixel_auroc(masks: Iterable[np.ndarray], maps: Iterable[np.ndarray]) -> float | None:
    """AUROC over the pixels of all pairs of a mask and a map; see `PixelScores`.

    Both may be iterators. Raises ValueError as `PixelScores.add`, or if one runs out first.
    """
    pixels = PixelScores()
    for mask, anomaly_map in zip(masks, maps, strict=True):
        pixels.add(mask, anomaly_map)
    return pixels.auroc()


def resampled_auroc(
    labels: Sequence[int] | np.ndarray, scores: Sequence[float] | np.ndarray, name: str,
    seed: int = 0,
) -> tuple[float, ...] | None:
    """Bootstrap: the AUROC of each of 200 draws of n pictures, with replacement.

    A draw without both labels is drawn again. The draws depend on (`seed`, `name`) alone, so that
    each class has its own whatever the order of the classes.

    Args:
        labels, scores: as for `image_auroc`.
        name: the class.
        seed: of the draws.

    Returns:
        Floats in [0, 1] in the order of the draws, or None if all labels are the same.
    """
    labels, scores = np.asarray(labels).astype(bool), np.asarray(scores, np.float64)
    if labels.all() or not labels.any():
        return None
    key = np.random.SeedSequence((seed, zlib.crc32(name.encode())))
    rng = np.random.default_rng(key)
    found: list[float] = []
    while len(found) < RESAMPLES:
        drawn = rng.integers(len(labels), size=len(labels))
        value = image_auroc(labels[drawn], scores[drawn])
        if value is not None:
            found.append(value)
    return tuple(found)


def _counted(
    labels: Sequence[int] | np.ndarray, scores: Sequence[float] | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Counts of anomalies and of normal pictures at each rising score."""
    labels, scores = np.asarray(labels).astype(bool), np.asarray(scores, np.float64)
    if labels.ndim != 1 or labels.shape != scores.shape:
        raise ValueError(f"labels {labels.shape} and scores {scores.shape} must both be (n,)")
    if not np.isfinite(scores).all():
        raise ValueError("a score is not a finite number, so it cannot be ranked")
    _, places = np.unique(scores, return_inverse=True)
    return (np.bincount(places[labels], minlength=places.size),
            np.bincount(places[~labels], minlength=places.size))


@dataclass(frozen=True)
class ClassResult:
    """Results of one class.

    Attributes:
        class_name: the class.
        train_count: training pictures that it had, which decides between High and Low.
        image, pixel: AUROC in [0, 1] by branch ("combined", "reconstruction", "semantic"), or
            None where the test set has one label only.
        image_average_precision, image_f1_max, pixel_average_precision, pixel_f1_max, aupro: of
            the combined branch, in [0, 1], or None if not measured or not defined.
        resampled_image_auroc: of the combined branch, see `resampled_auroc`.
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

    @property
    def image_interval(self) -> tuple[float, float] | None:
        """95% interval (low, high) of the combined image AUROC, as `Results.intervals`."""
        return _interval([self.resampled_image_auroc] if self.resampled_image_auroc else [])


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

    def summary(self) -> dict[str, dict[str, dict[str, float | None]]]:
        """Means over classes: group ("All", "High", "Low") -> metric -> branch -> fraction.

        A class without a value is left out of the mean; None if that leaves no class.
        """
        return {
            group: {
                metric: {branch: self._mean(names, metric, branch) for branch in BRANCHES}
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

    def intervals(self) -> dict[str, tuple[float, float] | None]:
        """95% interval of the mean combined image AUROC: group -> (low, high).

        Percentile bootstrap: each class's test pictures are drawn anew, and the classes' AUROC of
        one draw is averaged. None where no class was resampled.
        """
        return {
            group: _interval([
                result.resampled_image_auroc for result in self.classes
                if result.class_name in names and result.resampled_image_auroc is not None
            ])
            for group, names in self.groups().items()
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: classes, means, intervals, groups, missing; all as fractions."""
        classes = []
        for result in self.classes:
            entry = asdict(result) | {"image_interval": result.image_interval}
            del entry["resampled_image_auroc"]  # long, and the interval says what it is for
            classes.append(entry)
        return {
            "classes": classes,
            "summary": self.summary(),
            "figures": self.figures(),
            "intervals": self.intervals(),
            "groups": self.groups(),
            "missing": self.missing(),
        }

    def table(self) -> str:
        """The results as plain text, AUROC in percent, with the means below the classes."""
        rows = [_row(r.class_name, r.train_count, r.image, r.pixel) for r in self.classes]
        means = [_row(g, "", m["image"], m["pixel"]) for g, m in self.summary().items()]
        heading = ["class", "train"] + [f"{m} {b}" for m in METRICS for b in BRANCHES]
        lines = [_ruled(heading, rows, means)]
        for metric, names in self.missing().items():
            if names:
                lines.append(
                    f"Not in the {metric} means, because their test pictures lack "
                    f"normal or defective {metric}s: {', '.join(names)}."
                )
        return "\n".join(lines)

    def figures_table(self) -> str:
        """The combined branch's other figures in percent, and its image AUROC's intervals."""
        rows = [
            _figures_row(r.class_name, (getattr(r, f) for f in FIGURES), r.image_interval)
            for r in self.classes
        ]
        intervals = self.intervals()
        means = [
            _figures_row(group, values.values(), intervals[group])
            for group, values in self.figures().items()
        ]
        return _ruled(["class", *FIGURES.values(), "image AUROC, 95%"], rows, means)

    def _mean(self, names: list[str], metric: str, branch: str) -> float | None:
        return _mean(
            getattr(result, metric).get(branch)
            for result in self.classes if result.class_name in names
        )


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _interval(resampled: list[tuple[float, ...]]) -> tuple[float, float] | None:
    if not resampled:
        return None
    low, high = np.percentile(np.mean(resampled, axis=0), INTERVAL_PERCENTILES)
    return float(low), float(high)


def _percent(value: float | None) -> str:
    return "n/a" if value is None else f"{100 * value:.2f}"


def _row(name: str, count: int | str, image: dict, pixel: dict) -> list[str]:
    values = [image.get(b) for b in BRANCHES] + [pixel.get(b) for b in BRANCHES]
    return [name, str(count), *map(_percent, values)]


def _figures_row(
    name: str, values: Iterable[float | None], interval: tuple[float, float] | None
) -> list[str]:
    ends = "n/a" if interval is None else " - ".join(map(_percent, interval))
    return [name, *map(_percent, values), ends]


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
