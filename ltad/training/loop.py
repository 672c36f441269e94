"""One resumable optimisation loop, shared by both phases."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from ltad.config import TrainingSettings
from ltad.io import processes
from ltad.io.files import generator
from ltad.io.tensors import optimizer_tensors, read_tensors, restore_optimizer, write_tensors
from ltad.training.parallel import sum_gradients
from ltad.types import CheckpointError, SettingError

SECONDS_BETWEEN_STATES = 20.0
Report = Callable[[str, int, int, Mapping[str, float]], None]
"""Called after each step with the phase's name, step, number of steps, and the losses."""


def steps_of(count: int, epochs: int, settings: TrainingSettings) -> int:
    """Optimiser steps of a phase: epochs of ceil(n / batch) steps, at least `minimum_steps`."""
    per_epoch = -(-count // settings.batch_size)
    return max(epochs * per_epoch, settings.minimum_steps)


def batch_indices(count: int, step: int, settings: TrainingSettings, phase: int) -> np.ndarray:
    """The images of one step: a new permutation every epoch, cut into batches."""
    per_epoch = -(-count // settings.batch_size)
    epoch, part = divmod(step, per_epoch)
    order = generator(settings.seed, phase, 0, epoch).permutation(count)
    return np.sort(order[part * settings.batch_size : (part + 1) * settings.batch_size])


def balanced_indices(classes: Tensor, step: int, settings: TrainingSettings, phase: int
                     ) -> np.ndarray:
    """The images of one step, every class as likely as every other.

    Args:
        classes: (n,) class index of each image.
        step, settings, phase: as in `batch_indices`; a batch is never larger than there.
    """
    counts = torch.bincount(classes)[classes].double()
    chances = (1.0 / counts / (1.0 / counts).sum()).numpy()
    size = min(settings.batch_size, len(classes))
    return np.sort(generator(settings.seed, phase, 3, step).choice(len(classes), size, p=chances))


def run_phase(
    title: str,
    learned: nn.ModuleList,
    step_losses: Callable[[int], dict[str, Tensor]],
    steps: int,
    settings: TrainingSettings,
    state: Path,
    key: Mapping[str, Any],
    report: Report | None = None,
    rates: Sequence[float] | None = None,
) -> None:
    """Optimise `learned` for `steps` steps, or go on where a killed run stopped.

    Args:
        title: shown in the progress bar.
        learned: the modules whose parameters change.
        step_losses: losses of step k, whose sum is minimised; must depend on k only. Under torchrun
            each process gives its part of them, see `ltad.training.parallel`.
        steps: in total.
        settings: learning rate, weight decay, seed.
        state: file of the resumable state.
        key: what the state belongs to; a state with another key is refused.
        report: called after every step.
        rates: share of the learning rate for each of `learned`; 1 by default.

    Raises:
        SettingError: the state on disk belongs to other settings or data.
        CheckpointError: the state cannot be written, or the loss is not a number.
    """
    groups = [
        {"params": list(part.parameters()), "lr": settings.learning_rate * rate}
        for part, rate in zip(learned, rates or [1.0] * len(learned), strict=True)
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
    first = _resume(learned, optimizer, state, key)
    processes.wait()  # until all have read the state that the first one is going to overwrite
    saved, tells = time.monotonic(), processes.is_first()
    with (
        torch.random.fork_rng(),
        tqdm(range(first, steps), initial=first, total=steps, desc=title, unit="step",
             disable=not tells) as bar,
    ):
        for step in bar:
            torch.manual_seed(int(generator(settings.seed, 90, step).integers(2**62)))
            optimizer.zero_grad(set_to_none=True)
            losses = step_losses(step)
            sum(losses.values(), torch.zeros(())).backward()
            found = {name: loss.detach().clone() for name, loss in losses.items()}
            sum_gradients(list(learned.parameters()), list(found.values()))
            values = {name: loss.item() for name, loss in found.items()}
            if not math.isfinite(sum(values.values())):
                raise CheckpointError(
                    f"{title}: the loss became {sum(values.values())} at step {step}. "
                    "Lower the learning rate, or look for broken images."
                )
            optimizer.step()
            if not tells:
                continue
            bar.set_postfix({name: f"{value:.4g}" for name, value in values.items()}, refresh=False)
            if report:
                report(title, step + 1, steps, values)
            if step + 1 == steps or time.monotonic() - saved > SECONDS_BETWEEN_STATES:
                tensors = {f"learned.{k}": v for k, v in learned.state_dict().items()}
                write_tensors(
                    state, {**tensors, **optimizer_tensors(optimizer)}, step=step + 1, key=key
                )
                saved = time.monotonic()


def _resume(
    learned: nn.Module, optimizer: torch.optim.Optimizer, state: Path, key: Mapping[str, Any]
) -> int:
    if not state.exists():
        return 0
    tensors, about = read_tensors(state)
    if about["key"] != dict(key):
        raise SettingError(
            f"{state} belongs to a training with other settings or other images. Delete it to "
            "begin anew, or choose another output folder."
        )
    learned.load_state_dict(
        {k.removeprefix("learned."): v for k, v in tensors.items() if k.startswith("learned.")}
    )
    restore_optimizer(optimizer, tensors)
    return about["step"]
