"""AUROC per image and per pixel, and the table of a benchmark's results.

Fractions in [0, 1] everywhere but in the printed table, which is in percent. None stands for an
AUROC that does not exist, because only one of the two labels occurs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ltad.data.longtail import majority

BRANCHES = ("combined", "reconstruction", "semantic")
METRICS = ("image", "pixel")
BINS = 2**20


def image_auroc(
    labels: Sequence[int] | np.ndarray, scores: Sequence[float] | np.ndarray
) -> float | None:
    """Exact AUROC of `scores` (n,) against `labels` (n,), nonzero for an anomaly; ties count half.

    Returns:
        A float in [0, 1], or None if all labels are the same.

    Raises:
        ValueError: the lengths differ, or a score is not finite.
    """
    labels, scores = np.asarray(labels).astype(bool), np.asarray(scores, np.float64)
    if labels.ndim != 1 or labels.shape != scores.shape:
        raise ValueError(f"labels {labels.shape} and scores {scores.shape} must both be (n,)")
    _require_finite(scores)
    _, places = np.unique(scores, return_inverse=True)
    return _area(np.bincount(places[labels], minlength=places.size),
                 np.bincount(places[~labels], minlength=places.size))


def pixel_auroc(masks: Iterable[np.ndarray], maps: Iterable[np.ndarray]) -> float | None:
    """AUROC over the pixels of all pairs of a mask and a map; see `PixelScores`.

    Both may be iterators. Raises ValueError as `PixelScores.add`, or if one runs out first.
    """
    pixels = PixelScores()
    for mask, anomaly_map in zip(masks, maps, strict=True):
        pixels.add(mask, anomaly_map)
    return pixels.auroc()


class PixelScores:
    """Pixel scores of normal and defective pixels, counted in 2^20 equal bins (16 MB in all).

    The bins cover the first map; a later value outside doubles the range, merging bins in pairs,
    so that the values seen span more than a quarter of the bins. Scores that share a bin count as
    ties, which puts the result within `error` of the exact AUROC.
    """

    def __init__(self) -> None:
        self._counts = np.zeros((2, BINS), np.int64)
        self._low = 0.0
        self._width = 0.0

    def add(self, mask: np.ndarray, anomaly_map: np.ndarray) -> None:
        """Count a map (H, W) of finite numbers; `mask` (H, W) is nonzero at defective pixels.

        Raises:
            ValueError: the shapes differ or a score is not finite.
        """
        mask, scores = np.asarray(mask).astype(bool), np.asarray(anomaly_map, np.float64)
        if mask.shape != scores.shape or mask.size == 0:
            raise ValueError(f"mask {mask.shape} and map {scores.shape} must have one shape")
        _require_finite(scores)
        self._cover(float(scores.min()), float(scores.max()))
        bins = np.minimum(((scores - self._low) / self._width).astype(np.int64), BINS - 1)
        self._counts[0] += np.bincount(bins[~mask], minlength=BINS)
        self._counts[1] += np.bincount(bins[mask], minlength=BINS)

    def auroc(self) -> float | None:
        """The AUROC of all pixels so far, or None if all are normal or all defective."""
        return _area(self._counts[1], self._counts[0])

    @property
    def error(self) -> float:
        """Largest possible distance to the exact AUROC: half the share of pairs in one bin."""
        normal, defective = self._counts.astype(np.float64)
        pairs = normal.sum() * defective.sum()
        return float(0.5 * (normal @ defective) / pairs) if pairs else 0.0

    def _cover(self, low: float, high: float) -> None:
        if self._width == 0:
            self._low = low
            self._width = max(high - low, 1e-9 * max(1.0, abs(low))) / BINS
        while high > self._low + BINS * self._width:
            self._double(keep_at=0)
        while low < self._low:
            self._low -= BINS * self._width
            self._double(keep_at=BINS // 2)

    def _double(self, keep_at: int) -> None:
        """Twice the bin width; what was counted moves to the half that starts at `keep_at`."""
        merged = self._counts.reshape(2, BINS // 2, 2).sum(axis=2)
        self._counts = np.zeros_like(self._counts)
        self._counts[:, keep_at : keep_at + BINS // 2] = merged
        self._width *= 2


def _require_finite(scores: np.ndarray) -> None:
    if not np.isfinite(scores).all():
        raise ValueError("a score is not a finite number, so no AUROC exists")


def _area(positive: np.ndarray, negative: np.ndarray) -> float | None:
    """AUROC from the counts of both labels at rising scores: P(above) + P(equal) / 2."""
    positive, negative = positive.astype(np.float64), negative.astype(np.float64)
    pairs = positive.sum() * negative.sum()
    if pairs == 0:
        return None
    below = np.cumsum(negative) - negative
    return float(positive @ (below + negative / 2) / pairs)


@dataclass(frozen=True)
class ClassResult:
    """Results of one class.

    Attributes:
        class_name: the class.
        train_count: training pictures that it had, which decides between High and Low.
        image, pixel: AUROC in [0, 1] by branch ("combined", "reconstruction", "semantic"), or
            None where the test set has one label only.
    """

    class_name: str
    train_count: int
    image: dict[str, float | None]
    pixel: dict[str, float | None]


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

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: classes, summary, groups and missing; values are fractions."""
        return {
            "classes": [asdict(result) for result in self.classes],
            "summary": self.summary(),
            "groups": self.groups(),
            "missing": self.missing(),
        }

    def table(self) -> str:
        """The results as plain text, AUROC in percent, with the means below the classes."""
        rows = [_row(r.class_name, r.train_count, r.image, r.pixel) for r in self.classes]
        means = [_row(g, "", m["image"], m["pixel"]) for g, m in self.summary().items()]
        heading = ["class", "train"] + [f"{m} {b}" for m in METRICS for b in BRANCHES]
        widths = [max(map(len, column)) for column in zip(heading, *rows, *means, strict=True)]
        rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
        lines = [_line(heading, widths), rule, *(_line(row, widths) for row in rows), rule,
                 *(_line(row, widths) for row in means)]
        for metric, names in self.missing().items():
            if names:
                lines.append(
                    f"Not in the {metric} means, because their test pictures lack "
                    f"normal or defective {metric}s: {', '.join(names)}."
                )
        return "\n".join(lines)

    def _mean(self, names: list[str], metric: str, branch: str) -> float | None:
        values = [
            getattr(result, metric).get(branch)
            for result in self.classes if result.class_name in names
        ]
        known = [value for value in values if value is not None]
        return float(np.mean(known)) if known else None


def _row(name: str, count: int | str, image: dict, pixel: dict) -> list[str]:
    values = [image.get(b) for b in BRANCHES] + [pixel.get(b) for b in BRANCHES]
    return [name, str(count)] + ["n/a" if v is None else f"{100 * v:.2f}" for v in values]


def _line(cells: list[str], widths: list[int]) -> str:
    name, *rest = cells
    numbers = (cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))
    return "  ".join([name.ljust(widths[0]), *numbers])
