"""AUROC, AP, F1-max and AUPRO, per image and per pixel, and the counts at one threshold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ltad.io.masks import connected_areas

BINS = 2**20
FALSE_POSITIVE_LIMIT = 0.3
"""AUPRO's integral ends at this rate, as in Bergmann et al., "MVTec AD" (IJCV 2021)."""
_EIGHT_NEIGHBOURS = np.ones((3, 3), int)


@dataclass(frozen=True)
class Confusion:
    """How alarms and the truth agree: counts, and shares in [0, 1].

    Attributes:
        true_positives: defective, alarm. false_negatives: defective, no alarm.
        false_positives: good, alarm. true_negatives: good, no alarm.
    """

    true_positives: int
    false_negatives: int
    false_positives: int
    true_negatives: int

    @property
    def precision(self) -> float | None:
        """Share of the alarms that are defective; None without alarms."""
        return _share(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float | None:
        """Share of the defective ones that raise an alarm; None without defective ones."""
        return _share(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def f1(self) -> float | None:
        """Harmonic mean of the two; None without alarms and defective ones."""
        wrong = self.false_positives + self.false_negatives
        return _share(2 * self.true_positives, 2 * self.true_positives + wrong)

    @property
    def false_alarm_rate(self) -> float | None:
        """Share of the good ones that raise an alarm; None without good ones."""
        return _share(self.false_positives, self.false_positives + self.true_negatives)

    @property
    def count(self) -> int:
        """All of them."""
        return (self.true_positives + self.false_negatives
                + self.false_positives + self.true_negatives)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


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


def best_f1_threshold(
    labels: Sequence[int] | np.ndarray, scores: Sequence[float] | np.ndarray
) -> float:
    """The threshold that the scores above it reach the largest F1 at.

    Of equally good ones the lowest, which misses least; the highest score where nothing is an
    anomaly. Arguments and errors as `image_auroc`; at least one score.
    """
    defective, normal = _counted(labels, scores)
    values = np.unique(scores)
    if not defective.any():
        return float(values[-1])
    flagged = _above(defective + normal)
    return threshold_under(values, int((_above(defective) / (flagged + defective.sum())).argmax()))


def threshold_under(values: np.ndarray, place: int) -> float:
    """A threshold that the rising score `values[place]` is above and the one before it is not:
    halfway between them."""
    just_below = float(np.nextafter(values[place], -np.inf))
    return min(float(values[place - 1] + values[place]) / 2, just_below) if place else just_below


def pixel_auroc(masks: Iterable[np.ndarray], maps: Iterable[np.ndarray]) -> float | None:
    """AUROC over the pixels of all pairs of a mask and a map; see `PixelScores`.

    Both may be iterators. Raises ValueError as `PixelScores.add`, or if one runs out first.
    """
    pixels = PixelScores()
    for mask, anomaly_map in zip(masks, maps, strict=True):
        pixels.add(mask, anomaly_map)
    return pixels.auroc()


def _counted(
    labels: Sequence[int] | np.ndarray, scores: Sequence[float] | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Counts of anomalies and of normal images at each rising score."""
    labels, scores = np.asarray(labels).astype(bool), np.asarray(scores, np.float64)
    if labels.ndim != 1 or labels.shape != scores.shape:
        raise ValueError(f"labels {labels.shape} and scores {scores.shape} must both be (n,)")
    if not np.isfinite(scores).all():
        raise ValueError("a score is not a finite number, so it cannot be ranked")
    _, places = np.unique(scores, return_inverse=True)
    return (np.bincount(places[labels], minlength=places.size),
            np.bincount(places[~labels], minlength=places.size))


def area_under_roc(defective: np.ndarray, normal: np.ndarray) -> float | None:
    """AUROC in [0, 1]: P(defective above normal) + P(equal) / 2."""
    defective, normal = defective.astype(np.float64), normal.astype(np.float64)
    pairs = defective.sum() * normal.sum()
    if pairs == 0:
        return None
    below = np.cumsum(normal) - normal
    return float(defective @ (below + normal / 2) / pairs)


def average_precision(defective: np.ndarray, normal: np.ndarray) -> float | None:
    """Average precision in [0, 1]: the sum over thresholds of recall gained times precision."""
    if not (defective.any() and normal.any()):
        return None
    found, flagged = _above(defective), _above(defective + normal)
    gains = defective > 0
    return float(defective[gains] @ (found[gains] / flagged[gains]) / defective.sum())


def f1_max(defective: np.ndarray, normal: np.ndarray) -> float | None:
    """The largest F1 in [0, 1] that any threshold reaches, 2 TP / (2 TP + FP + FN)."""
    if not (defective.any() and normal.any()):
        return None
    flagged = _above(defective + normal)
    return float((2 * _above(defective) / (flagged + defective.sum())).max())


def _above(counts: np.ndarray) -> np.ndarray:
    """How many items score at least as high as each place, (n,) float64."""
    return np.cumsum(counts[::-1], dtype=np.float64)[::-1]


class PixelScores:
    """Pixel scores of normal and defective pixels, counted in equal bins (8 MB a row of them).

    The bins cover the first map; a later value outside doubles the range, merging bins in pairs,
    so that the values seen span more than a quarter of the bins. Scores that share a bin count as
    ties; `errors` bounds what that can change. For AUPRO a third row counts each defective pixel
    as 1 / (pixels of its region), so that the sum above a threshold is the sum of the regions'
    covered shares.

    Args:
        with_regions: count for `aupro` too, which takes a labelling of each mask.
        bins: how many, an even number.
    """

    def __init__(self, with_regions: bool = False, bins: int = BINS) -> None:
        self._counts = np.zeros((3 if with_regions else 2, bins))
        self._regions = 0
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
        if not np.isfinite(scores).all():
            raise ValueError("a score is not a finite number, so it cannot be ranked")
        self._cover(float(scores.min()), float(scores.max()))
        bins = self._counts.shape[1]
        places = np.minimum(((scores - self._low) / self._width).astype(np.int64), bins - 1)
        # add.at, not bincount: a map touches few of the bins
        np.add.at(self._counts[0], places[~mask], 1.0)
        np.add.at(self._counts[1], places[mask], 1.0)
        if len(self._counts) == 3 and mask.any():
            regions, count = connected_areas(mask, _EIGHT_NEIGHBOURS)
            inside = regions[mask]
            np.add.at(self._counts[2], places[mask], 1 / np.bincount(inside)[inside])
            self._regions += count

    def auroc(self) -> float | None:
        """The AUROC of all pixels so far, or None if all are normal or all defective."""
        return area_under_roc(self._counts[1], self._counts[0])

    def average_precision(self) -> float | None:
        """The average precision of all pixels so far; None as for `auroc`."""
        return average_precision(self._counts[1], self._counts[0])

    def f1_max(self) -> float | None:
        """The largest F1 of all pixels so far at one threshold; None as for `auroc`."""
        return f1_max(self._counts[1], self._counts[0])

    def aupro(self, limit: float = FALSE_POSITIVE_LIMIT) -> float | None:
        """Area under the per-region overlap up to a false positive rate, in [0, 1].

        At each threshold, the mean over all connected regions (8 neighbours) of the share of a
        region's pixels that score above it, against the share of all normal pixels that do;
        joined by straight lines, cut at `limit` and divided by it.

        Returns:
            None as for `auroc`, or if regions were not counted.
        """
        curve = self._overlap_curve()
        if curve is None:
            return None
        false_positives, overlap = curve
        inside = false_positives <= limit
        x = np.append(false_positives[inside], limit)
        y = np.append(overlap[inside], np.interp(limit, false_positives, overlap))
        return min(1.0, float(np.trapezoid(y, x) / limit))

    @property
    def error(self) -> float:
        """Largest possible distance to the exact AUROC: half the share of pairs in one bin."""
        normal, defective = self._counts[:2]
        pairs = normal.sum() * defective.sum()
        return float(0.5 * (normal @ defective) / pairs) if pairs else 0.0

    def errors(self) -> dict[str, float]:
        """Largest possible distance of each figure to the exact one, by its method's name.

        Inside a bin the order of the pixels is unknown. The bounds take the best and the worst:
        all its defective pixels above its normal ones, or below; true ties are not distinguished
        from pixels that only share a bin. 0 for a figure that is None.
        """
        normal, defective = self._counts[:2]
        if not (normal.any() and defective.any()):
            return dict.fromkeys(("auroc", "average_precision", "f1_max", "aupro"), 0.0)
        gains = defective > 0
        own = defective[gains]
        found, false = _above(defective)[gains], _above(normal)[gains]
        best = found / (found + false - normal[gains])
        worst = (found - own + 1) / (found - own + 1 + false)
        precision = found / (found + false)
        share = own / defective.sum()
        largest_f1 = 2 * found / (found + false - normal[gains] + defective.sum())
        return {
            "auroc": self.error,
            "average_precision": float(share @ np.maximum(best - precision, precision - worst)),
            "f1_max": float(largest_f1.max()) - (self.f1_max() or 0.0),
            "aupro": self._aupro_error(FALSE_POSITIVE_LIMIT),
        }

    def _aupro_error(self, limit: float) -> float:
        """The curve is known at the bins' edges and rises between them: the area left open."""
        curve = self._overlap_curve()
        if curve is None:
            return 0.0
        false_positives, overlap = np.minimum(curve[0], limit), curve[1]
        return float(np.diff(false_positives) @ np.diff(overlap) / limit)

    def _overlap_curve(self) -> tuple[np.ndarray, np.ndarray] | None:
        """False positive rate and mean overlap at falling thresholds, each from 0 to 1."""
        if not self._regions or not self._counts[0].any():
            return None
        used = self._counts.any(axis=0)
        normal, _, shares = self._counts[:, used][:, ::-1]
        false_positives = np.append(0.0, np.cumsum(normal) / normal.sum())
        return false_positives, np.append(0.0, np.cumsum(shares) / self._regions)

    def _cover(self, low: float, high: float) -> None:
        bins = self._counts.shape[1]
        if self._width == 0:
            self._low = low
            self._width = max(high - low, 1e-9 * max(1.0, abs(low))) / bins
        while high > self._low + bins * self._width:
            self._double(keep_at=0)
        while low < self._low:
            self._low -= bins * self._width
            self._double(keep_at=bins // 2)

    def _double(self, keep_at: int) -> None:
        """Twice the bin width; what was counted moves to the half that starts at `keep_at`."""
        rows, bins = self._counts.shape
        merged = self._counts.reshape(rows, bins // 2, 2).sum(axis=2)
        self._counts = np.zeros_like(self._counts)
        self._counts[:, keep_at : keep_at + bins // 2] = merged
        self._width *= 2
