"""One experiment: pairs of prompts on a test set, before and after what is tried on the model.

An experiment knows the command that repeats it; its outcome is a table for people and a data frame
for files.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ltad.evaluation.results import Results, text_table
from ltad.inference.scorer import Scorer
from ltad.prompts.grid import Pair, all_pairs
from ltad.prompts.refit import Refit, RefitSettings, refit
from ltad.prompts.testset import Bench, PairGrid, measure_pairs
from ltad.prompts.variants import replace_names
from ltad.training.phases import TrainingData
from ltad.types import GROUPS, METRICS


@dataclass(frozen=True)
class Experiment:
    """What is tried.

    Attributes:
        normal_prompts, abnormal_prompts: every v^n is paired with every v^a.
        replacements: class -> what takes its name's place (`ltad.prompts.variants`).
        refit: how Phi is refitted, for each pair alone; None: it is not.
        lam, tau: instead of the model's own.
        pixel_size: side of the maps whose pixels are counted; None: `bench.MAP_SCALE` grids.
    """

    normal_prompts: tuple[str, ...]
    abnormal_prompts: tuple[str, ...]
    replacements: Mapping[str, str] = field(default_factory=dict)
    refit: RefitSettings | None = None
    lam: float | None = None
    tau: float | None = None
    pixel_size: int | None = None

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """Row by row of v^n."""
        return all_pairs(self.normal_prompts, self.abnormal_prompts)

    @property
    def changes_model(self) -> bool:
        """Whether there is something to compare the model's own figures with."""
        return bool(self.replacements) or self.refit is not None

    def command(self, checkpoint: str, data: str | None = None, image: str | None = None,
                class_name: str | None = None) -> str:
        """The command line that repeats it on a data set or on one image."""
        words = ["python", "-m", "ltad", "prompts", "--checkpoint", checkpoint]
        words += ["--data", data] if data else []
        words += ["--image", image] if image else []
        words += ["--class-name", class_name] if class_name else []
        words += ["--normal", *self.normal_prompts, "--abnormal", *self.abnormal_prompts]
        words += ["--replace"] if self.replacements else []
        words += [f"{name}={text}" for name, text in self.replacements.items()]
        words += ["--refit", "--steps", str(self.refit.steps)] if self.refit else []
        rate = self.refit and self.refit.learning_rate
        numbers = (("--learning-rate", rate), ("--lam", self.lam), ("--tau", self.tau))
        for flag, value in numbers:
            words += [] if value is None else [flag, np.format_float_positional(value, trim="-")]
        words += [] if self.pixel_size is None else ["--pixel-size", str(self.pixel_size)]
        return shlex.join(words)


@dataclass(frozen=True)
class Outcome:
    """What an experiment found.

    Attributes:
        experiment: what was tried.
        before: AUROC of the model as it is.
        after: with what was tried on it, or None if nothing was.
        scorer: the model under other names, if there were any, else as it is.
        refits: the refitted model of each pair, if Phi was refitted.
        seconds: of all of it, without reading the data.
    """

    experiment: Experiment
    before: PairGrid
    after: PairGrid | None
    scorer: Scorer
    refits: tuple[Refit, ...]
    seconds: float

    def frame(self) -> pd.DataFrame:
        """One row for each pair, state of the model ("before", "after") and class or group.

        Columns: state, normal_prompt, abnormal_prompt, name (a class, or All, High, Low),
        train_pictures, and AUROC in percent as image_semantic, pixel_combined and so on; empty
        where the figure does not exist.
        """
        states = {"before": self.before} | ({"after": self.after} if self.after else {})
        return pd.DataFrame([
            {"state": state, "normal_prompt": pair.normal, "abnormal_prompt": pair.abnormal, **row}
            for state, grid in states.items()
            for pair, results in zip(grid.pairs, grid.results, strict=True)
            for row in _rows(results)
        ])


def _rows(results: Results) -> list[dict[str, Any]]:
    """The classes, then the groups, with AUROC in percent."""
    found = [
        {"name": r.class_name, "train_pictures": r.train_count,
         **_percents({"image": r.image, "pixel": r.pixel})}
        for r in results.classes
    ]
    return found + [
        {"name": group, "train_pictures": None, **_percents(results.summary()[group])}
        for group in GROUPS
    ]


def _percents(figures: Mapping[str, Mapping[str, float | None]]) -> dict[str, float | None]:
    return {
        f"{metric}_{branch}": None if value is None else round(100 * value, 3)
        for metric in METRICS for branch, value in figures[metric].items()
    }


def run_experiment(
    scorer: Scorer, bench: Bench, experiment: Experiment,
    training: Callable[[], TrainingData] | None = None,
) -> Outcome:
    """Measure the pairs before and after.

    Args:
        scorer: the model; it is not changed.
        bench: its test set.
        experiment: what is tried.
        training: gives the training images; called for a refit only, which needs it.

    Raises:
        ValueError: a refit without `training`.
        LTADError: words, classes or values that cannot be used.
    """
    pairs, lam, tau = experiment.pairs, experiment.lam, experiment.tau
    changed = scorer
    if experiment.replacements:  # first, so that a wrong word costs no time
        changed = replace_names(scorer, experiment.replacements)
    before = measure_pairs(scorer, bench, pairs, lam, tau)
    refits, after, seconds = (), None, before.seconds
    if experiment.refit is not None:
        if training is None:
            raise ValueError("A refit needs the training images, but `training` is None.")
        data = training()
        refits = tuple(refit(changed, data, pair, experiment.refit) for pair in pairs)
        each = [
            measure_pairs(one.scorer, bench, [pair], lam, tau)
            for one, pair in zip(refits, pairs, strict=True)
        ]
        after = PairGrid(
            pairs, tuple(grid.results[0] for grid in each), len(bench), bench.pixel_size,
            sum(grid.seconds for grid in each),
        )
        seconds += sum(one.seconds for one in refits)
    elif experiment.replacements:
        after = measure_pairs(changed, bench, pairs, lam, tau)
    return Outcome(
        experiment, before, after, changed, refits, seconds + (after.seconds if after else 0)
    )


def outcome_table(outcome: Outcome, names: tuple[str, ...] = ()) -> str:
    """AUROC in percent of All, High, Low and of the classes `names`, a row for each pair.

    Where something was tried, a second row says what it came to, with the difference in brackets.
    """
    frame = outcome.frame().set_index(["state", "normal_prompt", "abnormal_prompt", "name"])
    cells = [(m, b, n) for m in METRICS for b in ("semantic", "combined")
             for n in (*GROUPS, *names)]
    lines = [["v^n / v^a", "", *(f"{m} {b} {n}" for m, b, n in cells)]]
    for pair in outcome.before.pairs:
        place = (pair.normal, pair.abnormal)
        first = [frame.loc[("before", *place, n), f"{m}_{b}"] for m, b, n in cells]
        lines.append([str(pair), "before" if outcome.after else "", *map(figure_text, first)])
        if outcome.after:
            last = [frame.loc[("after", *place, n), f"{m}_{b}"] for m, b, n in cells]
            lines.append(["", "after", *(
                f"{figure_text(new)} ({new - old:+.2f})" for new, old in zip(last, first,
                                                                              strict=True)
            )])
    return text_table(lines)


def figure_text(percent: float | None) -> str:
    """An AUROC in percent for reading; "n/a" where it does not exist."""
    return "n/a" if percent is None or np.isnan(percent) else f"{percent:.2f}"
