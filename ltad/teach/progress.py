"""How far a training is: one line of JSON a step, read by whoever looks."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

BEGUN = "begun"
STAGES = {
    "waiting": "Waiting for another training to end", "begun": "Loading the encoder",
    "rendering": "Rendering the old parts", "pictures": "Reading the pictures",
    "phase 1": "Phase 1: class names and synthesis",
    "phase 2": "Phase 2: reconstruction and semantics", "figures": "Measuring the new model",
}
LONGEST_PAUSE = 120.0
"""Seconds between two lines beyond which the training was not running."""


@dataclass(frozen=True)
class Progress:
    """What a log says.

    Attributes:
        stage: one of `STAGES`, or "" before the first line.
        step, steps: of the stage; 0 where it has no steps.
        seconds: that the training ran, pauses not counted.
        seconds_left: estimate for the stage, or None.
        losses: loss -> (step, value) pairs in order.
    """

    stage: str = ""
    step: int = 0
    steps: int = 0
    seconds: float = 0.0
    seconds_left: float | None = None
    losses: dict[str, list[tuple[int, float]]] = field(default_factory=dict)


class ProgressLog:
    """Appends to a file of JSON lines."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(
        self, stage: str, step: int = 0, steps: int = 0, losses: Mapping[str, float] | None = None
    ) -> None:
        """Note a step, or the beginning of a stage without steps."""
        line = {"time": round(time.time(), 2), "stage": stage, "step": step, "steps": steps,
                "losses": {name: float(f"{value:.5g}") for name, value in (losses or {}).items()}}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def begin(self) -> None:
        """Note that a process took the training up; a torn last line is closed first."""
        if self._path.is_file() and not self._path.read_bytes().endswith(b"\n"):
            with self._path.open("a", encoding="utf-8") as file:
                file.write("\n")
        self.write(BEGUN)

    def read(self) -> Progress:
        """Everything so far. Steps that a resumed training repeated count once."""
        lines = _lines(self._path)
        if not lines:
            return Progress()
        losses: dict[str, dict[int, float]] = {}
        for line in lines:
            for name, value in line["losses"].items():
                losses.setdefault(f"{line['stage']}: {name}", {})[line["step"]] = value
        last, ran = lines[-1], _pauseless(lines)
        return Progress(
            last["stage"], last["step"], last["steps"], ran, _seconds_left(lines),
            {name: sorted(points.items()) for name, points in losses.items()},
        )


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:  # torn by a kill
            continue
    return lines


def _pauseless(lines: list[dict[str, Any]]) -> float:
    """Seconds from line to line, without those before each new beginning."""
    return sum(
        min(max(later["time"] - earlier["time"], 0.0), LONGEST_PAUSE)
        for earlier, later in pairwise(lines)
        if later["stage"] != BEGUN and earlier["stage"] != "waiting"
    )


def _seconds_left(lines: list[dict[str, Any]]) -> float | None:
    """From the pace of the last steps of the running stage."""
    last = lines[-1]
    since_begun = max(i for i, line in enumerate(lines) if line["stage"] == BEGUN or i == 0)
    recent = [line for line in lines[since_begun:]
              if line["stage"] == last["stage"] and line["steps"]][-50:]
    if len(recent) < 3:
        return None
    pace = (recent[-1]["time"] - recent[0]["time"]) / (len(recent) - 1)
    return pace * (last["steps"] - last["step"])
