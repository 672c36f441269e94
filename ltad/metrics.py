"""AUROC and other figures per image and per pixel, as fractions in [0, 1].

None stands for a figure that does not exist, because only one of the two labels occurs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ltad.metrics_pixel import PixelScores, area_under_roc, average_precision, f1_max

BRANCHES = ("combined", "reconstruction", "semantic")
ALL_BRANCHES = (*BRANCHES, "reference")
"""With the branch that only some models have."""
METRICS = ("image", "pixel")


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
