"""One picture under several pairs of prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ltad.images import ImageSource
from ltad.prompt_lab.pairs import Pair
from ltad.service import FALSE_ALARM_RATE, Prepared, Scorer


@dataclass(frozen=True)
class PictureReading:
    """What one pair says of one picture.

    Attributes:
        pair: the prompts.
        maps: branch -> (S, S) float32.
        scores: image scores by branch.
        thresholds: by branch, from the held-out good pictures under the same pair.
        scale: branch -> (low, high) for drawing, from the same pictures.
    """

    pair: Pair
    maps: dict[str, np.ndarray]
    scores: dict[str, float]
    thresholds: dict[str, float]
    scale: dict[str, tuple[float, float]]


def read_picture(
    scorer: Scorer, image: ImageSource | Prepared, class_name: str, pairs: Sequence[Pair],
    lam: float | None = None, tau: float | None = None, rate: float = FALSE_ALARM_RATE,
) -> tuple[PictureReading, ...]:
    """Maps, scores and thresholds of one picture under each pair.

    Args:
        scorer: the model.
        image: the picture.
        class_name: its class.
        pairs: the prompts.
        lam, tau: instead of the model's own.
        rate: false-alarm rate of the thresholds, in (0, 1).

    Raises:
        ImageError, UnknownClassError, PromptError, SettingError: what was wrong with each.
    """
    readings, prepared = [], scorer.prepare(image)
    scorer.detector.index(class_name)
    for pair in pairs:
        settings = scorer.score_settings(pair.normal, pair.abnormal, lam, tau)
        measured = scorer.measure([prepared], class_name, settings)
        limits = scorer.calibration.limits(class_name, settings, rate)
        readings.append(PictureReading(
            pair, {b: v[0].float().cpu().numpy() for b, v in measured.maps.items()},
            {b: float(v[0]) for b, v in measured.scores.items()}, limits.thresholds, limits.scale,
        ))
    return tuple(readings)


def common_scale(readings: Sequence[PictureReading], branch: str) -> tuple[float, float]:
    """One (low, high) for the maps of all pairs: the widest that any pair's good pictures need."""
    lows, highs = zip(*(reading.scale[branch] for reading in readings), strict=True)
    return min(lows), max(highs)


def readings_frame(
    readings: Sequence[PictureReading], class_name: str, after: Sequence[PictureReading] = ()
) -> pd.DataFrame:
    """One row a pair: its prompts, the class, and score and threshold of every branch.

    With readings `after` something was tried on the model, they follow the others, and the first
    column, "state", says "before" or "after".
    """
    states = {"before": readings, "after": after} if after else {"": readings}
    return pd.DataFrame([
        {**({"state": state} if state else {}),
         "normal_prompt": r.pair.normal, "abnormal_prompt": r.pair.abnormal,
         "class_name": class_name,
         **{f"{b}_{kind}": values[b] for b in r.scores
            for kind, values in (("score", r.scores), ("threshold", r.thresholds))}}
        for state, found in states.items() for r in found
    ])
