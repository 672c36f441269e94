"""Settings for a few pictures of a few parts, and the command that repeats a training."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from ltad.config import Config, preset

PRESET = "demo"
PHASE1_STEPS, PHASE2_STEPS = 150, 480
"""Optimiser steps of each phase for one part; an epoch of few pictures is little."""
PHASE1_STEPS_PER_PART, PHASE2_STEPS_PER_PART = 15, 40
HELD_OUT = 0.25
"""Share of the pictures that set the thresholds: of 20 pictures, five."""
RENDERED_PER_CLASS = 20
"""Pictures of each rendered part that are trained again where the old classes are kept."""


FOR_PHOTOGRAPHS = ("standardize", "residual", "reference_size", "reference_weight", "good_units",
                   "lam", "views", "balance_classes")
"""Settings that the preset has from photographs; a base model may be of drawings, or published."""


def few_pictures(base: Config, counts: dict[str, int]) -> Config:
    """The settings to teach parts with.

    Args:
        base: of the model that the page started with; its encoder, sizes and prompts are kept.
        counts: part -> pictures to learn from, old parts among them.
    """
    total = sum(counts.values())
    per_epoch = -(-total // base.training.batch_size)
    even = -(-total // per_epoch)  # else 34 pictures would be a batch of 32 and one of 2
    steps = (PHASE1_STEPS + PHASE1_STEPS_PER_PART * len(counts),
             PHASE2_STEPS + PHASE2_STEPS_PER_PART * len(counts))
    chosen = _flat(preset(PRESET))
    return base.replace(
        **{name: chosen[name] for name in FOR_PHOTOGRAPHS},
        phase1_epochs=-(-steps[0] // per_epoch), phase2_epochs=-(-steps[1] // per_epoch),
        batch_size=even, validation_fraction=HELD_OUT, calibration="cross_fitted",
        minimum_steps=0, seed=0,
    )


def training_command(
    config: Config, data: str | Path, encoder: str, out: str | Path
) -> str:
    """The command line that trains the same model from the same pictures.

    Settings that differ from the preset's are named one by one.
    """
    usual, own = _flat(preset(PRESET)), _flat(config)
    changes = [f"{name}={json.dumps(value)}" for name, value in own.items()
               if value != usual[name] and name != "seed"]
    words: Sequence[str] = (
        "python", "-m", "ltad", "train", "--data", str(data), "--encoder", encoder,
        "--preset", PRESET, "--seed", str(config.training.seed), "--out", str(out),
        *(["--set", *changes] if changes else []),
    )
    return shlex.join(words)


def _flat(config: Config) -> dict:
    return {name: value for group in config.to_dict().values() for name, value in group.items()}
