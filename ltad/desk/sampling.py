"""An honest estimate of what is missed: people review worst first, so only a random sample knows.

The sample of a batch is fixed: the first items in an order that depends on nothing but their ids.
Nobody can pick it, and it needs no place to be kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from scipy.stats import binomtest

from ltad.desk.records import ItemSummary

SAMPLE_SIZE = 30
CONFIDENCE = 0.95


@dataclass(frozen=True)
class SampleEstimate:
    """What the random sample of a batch says of its threshold.

    Attributes:
        size, reviewed: items in the sample, and how many of them somebody decided on.
        defective, missed: of the reviewed ones those called defective, and those of them without
            an alarm.
        recall: share of the defective that raise an alarm; None until the whole sample is reviewed
            and holds a defective item.
        low, high: the 95% interval of `recall` (Clopper and Pearson), or None.
    """

    size: int
    reviewed: int
    defective: int
    missed: int
    recall: float | None = None
    low: float | None = None
    high: float | None = None


def random_sample(batch_id: int, rows: Iterable[ItemSummary]) -> frozenset[int]:
    """Ids of at most `SAMPLE_SIZE` scored items, whatever their scores and decisions are."""
    def order(item_id: int) -> str:
        return hashlib.sha256(f"{batch_id}:{item_id}".encode()).hexdigest()

    ids = sorted((row.id for row in rows if row.status == "scored"), key=order)
    return frozenset(ids[:SAMPLE_SIZE])


def estimate_from_sample(
    batch_id: int, rows: Sequence[ItemSummary], thresholds: Mapping[str, float],
    class_name: str = "",
) -> SampleEstimate:
    """The estimate at given thresholds by class name, of one class or of all ("").

    Args:
        rows: all of one batch.
    """
    chosen = random_sample(batch_id, rows)
    sample = [row for row in rows if row.id in chosen and class_name in ("", row.class_name)]
    reviewed = [row for row in sample if row.verdict]
    defective = [row for row in reviewed if row.verdict == "defective"]
    missed = sum(row.score <= thresholds.get(row.class_name, row.threshold) for row in defective)
    counts = (len(sample), len(reviewed), len(defective), missed)
    if len(reviewed) < len(sample) or not defective:
        return SampleEstimate(*counts)
    found = len(defective) - missed
    interval = binomtest(found, len(defective)).proportion_ci(CONFIDENCE, method="exact")
    return SampleEstimate(
        *counts, found / len(defective), float(interval.low), float(interval.high)
    )
