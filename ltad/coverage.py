"""How much of a painted defect an anomaly map finds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from ltad.metrics import image_auroc

NEAR = 0.05
"""A map is coarser than a scratch is wide, so its highest place may lie this far beside it."""


@dataclass(frozen=True)
class Coverage:
    """How much of what was painted a map finds.

    Attributes:
        painted: share of the picture's pixels that are painted, in [0, 1].
        found: share of the painted pixels above the threshold; None when nothing is painted.
        overlap: intersection over union of painted pixels and pixels above the threshold; None
            when there is neither.
        auroc: AUROC of the map's values against painted or not; None when nothing is painted.
        is_peak_near: whether the map is highest on what is painted, or at most `NEAR` of the
            shorter side from it; None when nothing is painted.
    """

    painted: float
    found: float | None
    overlap: float | None
    auroc: float | None
    is_peak_near: bool | None

    @property
    def is_shown(self) -> bool:
        """Whether the map shows what was painted: a painted pixel above the threshold, or its
        highest place there."""
        return bool(self.found or self.is_peak_near)


def measure_coverage(
    mask: np.ndarray, anomaly_map: np.ndarray, pixel_threshold: float
) -> Coverage:
    """Compare a mask (H, W) bool with a map of any size, stretched to the mask's, bilinear."""
    size = (mask.shape[1], mask.shape[0])
    stretched = np.asarray(
        Image.fromarray(anomaly_map.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    )
    above = stretched > pixel_threshold
    either = int((mask | above).sum())
    both = int((mask & above).sum())
    return Coverage(
        float(mask.mean()),
        both / int(mask.sum()) if mask.any() else None,
        both / either if either else None,
        image_auroc(mask.ravel(), stretched.ravel()) if mask.any() else None,
        _is_peak_near(mask, stretched) if mask.any() else None,
    )


def _is_peak_near(mask: np.ndarray, values: np.ndarray) -> bool:
    row, column = np.unravel_index(values.argmax(), values.shape)
    rows, columns = np.nonzero(mask)
    nearest = np.hypot(rows - row, columns - column).min()
    return bool(nearest <= NEAR * min(mask.shape))
