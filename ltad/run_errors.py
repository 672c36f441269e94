"""What a run gets wrong under given thresholds: false alarms and misses, the worst first."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ltad.runs import Run

VERDICTS = ("passed", "found", "false alarm", "missed")
"""Good below the threshold, defective above it, good above it, defective below it."""


def limits(run: Run, threshold: float | Mapping[str, float]) -> np.ndarray:
    """(n,) the threshold of each test picture: one for all, or that of its class."""
    if isinstance(threshold, Mapping):
        return run.images["class_name"].map(threshold).to_numpy(float)
    return np.full(len(run.images), float(threshold))


def verdicts(
    run: Run, threshold: float | Mapping[str, float], branch: str | None = None
) -> np.ndarray:
    """(n,) one of `VERDICTS` for each test picture.

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
    """Pictures of each verdict by class, with a last row "All": columns `VERDICTS`."""
    table = pd.crosstab(run.images["class_name"], verdicts(run, threshold, branch))
    table = table.reindex(columns=list(VERDICTS), fill_value=0).reindex(run.class_names)
    table.loc["All"] = table.sum()
    return table.rename_axis(index="class_name", columns=None)


def worst(
    run: Run, threshold: Mapping[str, float], count: int, branch: str | None = None
) -> dict[str, pd.DataFrame]:
    """"missed" and "false alarm": the `count` pictures farthest on the wrong side of the threshold.

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
        kind: table[said == kind].nlargest(count, "distance") for kind in ("missed", "false alarm")
    }
