"""Verdicts at a threshold: who is right, what is missed, at which threshold F1 is best."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from PIL import Image

from ltad.evaluation.metrics import Confusion, best_f1_threshold, image_auroc
from ltad.evaluation.runs import Run
from ltad.types import SettingError

VERDICTS = ("passed", "found", "false alarm", "missed")
"""Good below the threshold, defective above it, good above it, defective below it."""
NEAR = 0.05
"""A map is coarser than a scratch is wide, so its highest place may lie this far beside it."""
VERDICT_HEADINGS = {
    "false alarm": "False alarms",
    "missed": "Missed",
    "found": "Found",
    "passed": "Passed",
}
"""Of `ltad.evaluation.operating_point.VERDICTS` -> heading, the errors first."""


def limits(run: Run, threshold: float | Mapping[str, float]) -> np.ndarray:
    """(n,) the threshold of each test image: one for all, or that of its class."""
    if isinstance(threshold, Mapping):
        return run.images["class_name"].map(threshold.get).to_numpy(float)
    return np.full(len(run.images), float(threshold))


def verdicts(
    run: Run, threshold: float | Mapping[str, float], branch: str | None = None
) -> np.ndarray:
    """(n,) one of `VERDICTS` for each test image.

    Args:
        run: the run.
        threshold: one for all classes, or class -> threshold (`Run.thresholds`).
        branch: whose scores; by default the run's own.
    """
    above = run.images[branch or run.branch].to_numpy() > limits(run, threshold)
    defective = run.images["is_defective"].to_numpy().astype(bool)
    return np.array(VERDICTS, dtype=object)[2 * (above != defective) + defective]


def confusion(
    run: Run, threshold: float | Mapping[str, float], branch: str | None = None
) -> pd.DataFrame:
    """Images of each verdict by class, with a last row "All": columns `VERDICTS`."""
    table = pd.crosstab(run.images["class_name"], verdicts(run, threshold, branch))
    table = table.reindex(columns=list(VERDICTS), fill_value=0).reindex(run.class_names)
    table.loc["All"] = table.sum()
    return table.rename_axis(index="class_name", columns=None)


def worst(
    run: Run, threshold: Mapping[str, float], count: int, branch: str | None = None
) -> dict[str, pd.DataFrame]:
    """"missed" and "false alarm": the `count` images farthest on the wrong side of the threshold.

    Distance is measured in standard deviations of the class's good test scores, because classes
    score on different scales; it stands in the column ``distance``.
    """
    branch = branch or run.branch
    scores = run.images[branch]
    good = run.images["is_defective"] == 0
    deviation = scores.where(good).groupby(run.images["class_name"]).transform("std")
    scale = deviation.fillna(scores.std()).clip(lower=1e-12)
    table = run.images.assign(
        threshold=limits(run, threshold),
        distance=(scores - limits(run, threshold)).abs() / scale,
    )
    said = verdicts(run, threshold, branch)
    return {
        kind: table.loc[said == kind].nlargest(count, "distance")
        for kind in ("missed", "false alarm")
    }


@dataclass(frozen=True)
class Coverage:
    """How much of what was painted a map finds.

    Attributes:
        painted: share of the image's pixels that are painted, in [0, 1].
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


@dataclass(frozen=True)
class OperatingPoint:
    """Where the line between good and defective is drawn.

    Attributes:
        rate: share of good images that may raise an alarm, in (0, 1); gives each class the
            threshold of its held-out good images. A run without such images takes the
            threshold of each class's best F1 on the test set, whatever the rate.
        score: one score for every class instead, or None.
        branch: whose scores; "" means the one that the run is judged by.
    """

    rate: float = 0.05
    score: float | None = None
    branch: str = ""

    def branch_of(self, run: Run) -> str:
        """The branch whose scores are looked at; Raises SettingError if not measured."""
        branch = self.branch or run.branch
        if branch not in run.branches:
            raise SettingError(
                f"Run {run.name} has no scores of the {branch} branch. It has: "
                + ", ".join(run.branches) + "."
            )
        return branch

    def thresholds(self, run: Run) -> dict[str, float]:
        """Class -> threshold. Raises SettingError as `Run.thresholds`."""
        branch = self.branch_of(run)
        if self.score is not None:
            return dict.fromkeys(run.class_names, float(self.score))
        if run.calibration.empty:
            return {str(name): best_f1_threshold(rows.loc[:, "is_defective"], rows.loc[:, branch])
                    for name, rows in run.images.groupby("class_name")}
        return run.thresholds(self.rate, branch)

    def of_another(self) -> OperatingPoint:
        """The point for a run beside the one in view: by the rate, since a score belongs to the
        scale of its run."""
        return replace(self, score=None)

    def is_hindsight(self, run: Run) -> bool:
        """Whether the thresholds were taken from the test set itself."""
        return self.score is None and run.calibration.empty


def rate_at(run: Run, class_name: str, score: float, branch: str = "") -> float:
    """The share of accepted false alarms, in whole percent up to 50, at which a class's threshold
    comes nearest to a score.

    Raises:
        SettingError: the run has no such class, or as `Run.thresholds`.
    """
    if class_name not in run.class_names:
        raise SettingError(f"Run {run.name} has no class {class_name!r}.")
    rates = [percent / 100 for percent in range(1, 51)]
    return min(rates, key=lambda rate: abs(
        OperatingPoint(rate, None, branch).thresholds(run)[class_name] - score
    ))


def seen_by(run: Run, branch: str) -> Run:
    """The run as if it were judged by that branch's scores."""
    return replace(run, images=run.images.assign(**{run.branch: run.images[branch]}))


def record(counts: Confusion) -> dict[str, float | int | None]:
    """Counts, under the names of `VERDICTS`, and shares as plain data."""
    shares = ("precision", "recall", "f1", "false_alarm_rate")
    return {
        "found": counts.true_positives, "missed": counts.false_negatives,
        "false_alarms": counts.false_positives, "passed": counts.true_negatives,
        **{name: getattr(counts, name) for name in shares},
    }


def judge(run: Run, point: OperatingPoint) -> pd.DataFrame:
    """The run's test images with what the operating point makes of them.

    Returns:
        ``run.images`` and ``score`` (of the branch), ``threshold`` (of the class), ``verdict`` (a
        key of `VERDICT_HEADINGS`), ``margin`` (score less threshold) and ``distance``, the margin
        in standard deviations of the class's good test images, because classes score on
        different scales.

    Raises:
        SettingError: as `OperatingPoint.branch_of` and `Run.thresholds`.
    """
    branch, thresholds = point.branch_of(run), point.thresholds(run)
    frame = run.images.assign(
        score=run.images[branch], threshold=run.images["class_name"].map(thresholds.get),
        verdict=verdicts(run, thresholds, branch),
    )
    frame["margin"] = frame["score"] - frame["threshold"]
    is_good = frame["is_defective"] == 0
    deviation = frame["score"].where(is_good).groupby(frame["class_name"]).transform("std")
    scale = deviation.fillna(frame["score"].std()).fillna(1.0).clip(lower=1e-12)
    return frame.assign(distance=frame["margin"] / scale)


def count_verdicts(judged: pd.DataFrame) -> Confusion:
    """The counts of judged images."""
    counts = Counter(judged["verdict"])
    return Confusion(*(counts[verdict] for verdict in ("found", "missed", "false alarm", "passed")))


def confusions(judged: pd.DataFrame) -> dict[str, Confusion]:
    """Class -> its counts, the classes with most errors first."""
    found = {str(name): count_verdicts(group) for name, group in judged.groupby("class_name")}
    return dict(sorted(
        found.items(), key=lambda c: (-c[1].false_negatives - c[1].false_positives, c[0])
    ))


def other_verdicts(judged: pd.DataFrame, other: pd.DataFrame) -> pd.Series:
    """The other run's verdict on each image of `judged`, by class and path; "" where that run
    did not see it.
    """
    keys = ["class_name", "path"]
    theirs = other.drop_duplicates(keys).set_index(keys)["verdict"]
    mine = pd.MultiIndex.from_frame(judged.loc[:, keys])
    return pd.Series(theirs.reindex(mine).fillna("").to_numpy(), index=judged.index)
