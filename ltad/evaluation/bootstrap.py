"""Bootstrap intervals of AUROC, per image and per pixel.

What is drawn anew, with replacement, are whole test images: the pixels of one image depend on
each other, so that drawing pixels would make every figure look surer than it is. Both figures of a
class see the same draws, which depend on the seed and the class's name alone.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import numpy as np

from ltad.evaluation.metrics import image_auroc

RESAMPLES = 200
PERCENTILES = (2.5, 97.5)
QUANTILES = 1024


def percentile_interval(
    resampled: Sequence[tuple[float, ...] | None],
) -> tuple[float, float] | None:
    """95% interval of the mean over classes, from each class's resampled values.

    Args:
        resampled: per class the `RESAMPLES` values of its draws, or None: it is left out.

    Returns:
        (low, high), or None where that leaves no class.
    """
    known = [values for values in resampled if values is not None]
    if not known:
        return None
    low, high = np.percentile(np.mean(known, axis=0), PERCENTILES)
    return float(low), float(high)


def resampled_image_auroc(
    labels: Sequence[int] | np.ndarray, scores: Sequence[float] | np.ndarray, name: str,
    seed: int = 0,
) -> tuple[float, ...] | None:
    """The image AUROC of each of 200 draws of n images, with replacement.

    A draw without both labels is drawn again.

    Args:
        labels, scores: as for `ltad.evaluation.metrics.image_auroc`.
        name: the class.
        seed: of the draws.

    Returns:
        Floats in [0, 1] in the order of the draws, or None if all labels are the same.
    """
    labels, scores = np.asarray(labels).astype(bool), np.asarray(scores, np.float64)
    if labels.all() or not labels.any():
        return None
    return _resampled(lambda drawn: image_auroc(labels[drawn], scores[drawn]), len(labels), name,
                      seed)


class ImagePixels:
    """The pixel scores of each image, as at most 1,024 quantiles of its normal and of its
    defective pixels (8 KB an image).

    An image with fewer pixels of a kind keeps each of them. Otherwise a quantile stands for 1/1024
    of them, so that no share of an image's pixels above a score is wrong by more than half of
    that, and no AUROC of any draw by more than 1/1024, whatever the scores' range and shape. In
    practice the errors of neighbouring quantiles cancel, and it is wrong by less than 1e-4.
    """

    def __init__(self) -> None:
        self._normal: list[np.ndarray] = []
        self._defective: list[np.ndarray] = []
        self._counts: list[tuple[int, int]] = []

    def add(self, mask: np.ndarray | None, anomaly_map: np.ndarray) -> None:
        """The next image: its map (H, W) of finite numbers, and its mask (H, W), nonzero at
        defective pixels, or None where no mask was published."""
        scores = np.asarray(anomaly_map, np.float32)
        if mask is None:  # drawn like any other image, but it has no pixels to rank
            scores, mask = scores[:0], np.zeros((0, *scores.shape[1:]))
        is_defective = np.asarray(mask).astype(bool)
        normal, defective = scores[~is_defective], scores[is_defective]
        self._normal.append(_quantiles(normal))
        self._defective.append(_quantiles(defective))
        self._counts.append((normal.size, defective.size))

    def resampled_auroc(self, name: str, seed: int = 0) -> tuple[float, ...] | None:
        """The pixel AUROC of each of 200 draws of n images; as `resampled_image_auroc`.

        A draw without pixels of both kinds is drawn again.

        Args:
            name: the class.
            seed: of the draws.

        Returns:
            Floats in [0, 1], or None if no pixel is normal or none is defective.
        """
        normal, defective = np.array(self._counts, np.float64).reshape(-1, 2).T
        if not (normal.any() and defective.any()):
            return None
        won = self._won() * np.outer(defective, normal)

        def auroc(drawn: np.ndarray) -> float | None:
            times = np.bincount(drawn, minlength=len(normal)).astype(np.float64)
            pairs = (times @ defective) * (times @ normal)
            return float(times @ won @ times / pairs) if pairs else None

        return _resampled(auroc, len(normal), name, seed)

    def _won(self) -> np.ndarray:
        """(n, n): the AUROC of image i's defective pixels against image j's normal ones."""
        sizes = [scores.size for scores in self._defective]
        rows, scores = np.repeat(np.arange(len(sizes)), sizes), np.concatenate(self._defective)
        order = np.argsort(scores)
        rows, scores = rows[order], scores[order]
        won = np.zeros((len(sizes), len(sizes)))
        for column, normal in enumerate(self._normal):
            # Each normal score is below all from its place on; equal ones count half.
            places = [np.searchsorted(scores, normal, side) for side in ("left", "right")]
            twice = np.cumsum(np.bincount(np.concatenate(places), minlength=scores.size + 1)[:-1])
            won[:, column] = np.bincount(rows, twice, len(sizes)) / max(1, 2 * normal.size)
        return won / np.maximum(1, sizes)[:, None]


def _quantiles(scores: np.ndarray) -> np.ndarray:
    """The middles of 1,024 equal parts of the sorted scores, or all of them, sorted."""
    scores = np.sort(scores)
    if scores.size <= QUANTILES:
        return scores
    return scores[((np.arange(QUANTILES) + 0.5) * scores.size / QUANTILES).astype(np.int64)]


def _resampled(
    auroc: Callable[[np.ndarray], float | None], count: int, name: str, seed: int
) -> tuple[float, ...]:
    """The values of the first 200 draws of `count` images that have one."""
    rng = np.random.default_rng(np.random.SeedSequence((seed, zlib.crc32(name.encode()))))
    found: list[float] = []
    while len(found) < RESAMPLES:
        value = auroc(rng.integers(count, size=count))
        if value is not None:
            found.append(value)
    return tuple(found)
