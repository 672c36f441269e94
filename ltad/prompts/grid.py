"""Pairs of prompts, and how one image answers to them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ltad.inference.scorer import FALSE_ALARM_RATE, Scorer
from ltad.io.images import ImageSource, Prepared
from ltad.types import PromptError

MOST_PROMPTS = 8
"""Of each kind; 8 x 8 pairs still fit on a page."""


@dataclass(frozen=True)
class Pair:
    """v^n and v^a."""

    normal: str
    abnormal: str

    def __str__(self) -> str:
        return f"{self.normal} / {self.abnormal}"


def prompt_list(prompts: str | Iterable[str], kind: str) -> tuple[str, ...]:
    """Prompts in their order, each once and with single spaces.

    Args:
        prompts: one a line, or a list.
        kind: "normal" or "abnormal", for the messages.

    Raises:
        PromptError: no prompt, or more than `MOST_PROMPTS`.
    """
    lines = prompts.splitlines() if isinstance(prompts, str) else [str(one) for one in prompts]
    clean = tuple(dict.fromkeys(" ".join(line.split()) for line in lines if line.strip()))
    if not clean:
        raise PromptError(f"There is no {kind} prompt. Give at least one, each on a line.")
    if len(clean) > MOST_PROMPTS:
        raise PromptError(
            f"There are {len(clean)} {kind} prompts, but a grid takes at most {MOST_PROMPTS}. "
            "Leave some out."
        )
    return clean


def all_pairs(normal_prompts: Sequence[str], abnormal_prompts: Sequence[str]) -> tuple[Pair, ...]:
    """Every v^n with every v^a, row by row of v^n."""
    return tuple(Pair(n, a) for n in normal_prompts for a in abnormal_prompts)


@dataclass(frozen=True)
class ImageReading:
    """What one pair says of one image.

    Attributes:
        pair: the prompts.
        maps: branch -> (S, S) float32.
        scores: image scores by branch.
        thresholds: by branch, from the held-out good images under the same pair.
        scale: branch -> (low, high) for drawing, from the same images.
    """

    pair: Pair
    maps: dict[str, np.ndarray]
    scores: dict[str, float]
    thresholds: dict[str, float]
    scale: dict[str, tuple[float, float]]


def measure_image(
    scorer: Scorer, image: ImageSource | Prepared, class_name: str, pairs: Sequence[Pair],
    lam: float | None = None, tau: float | None = None, rate: float = FALSE_ALARM_RATE,
) -> tuple[ImageReading, ...]:
    """Maps, scores and thresholds of one image under each pair.

    Args:
        scorer: the model.
        image: the image.
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
        readings.append(ImageReading(
            pair, {b: v[0].float().cpu().numpy() for b, v in measured.maps.items()},
            {b: float(v[0]) for b, v in measured.scores.items()}, limits.thresholds, limits.scale,
        ))
    return tuple(readings)


def common_scale(readings: Sequence[ImageReading], branch: str) -> tuple[float, float]:
    """One (low, high) for the maps of all pairs: the widest that any pair's good images need."""
    lows, highs = zip(*(reading.scale[branch] for reading in readings), strict=True)
    return min(lows), max(highs)


def readings_frame(
    readings: Sequence[ImageReading], class_name: str, after: Sequence[ImageReading] = ()
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
