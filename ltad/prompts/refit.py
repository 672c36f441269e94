"""Refitting Phi for other prompts. Its features are frozen and it is linear, so seconds suffice."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ltad.inference.scorer import Scorer
from ltad.io.files import generator
from ltad.io.tensors import torch_generator
from ltad.prompts.grid import Pair
from ltad.prompts.variants import variant
from ltad.training.phases import (
    ClassTexts,
    TrainingData,
    feature_jitter,
    normal_features,
    semantic_loss,
)
from ltad.types import CheckpointError, SettingError

MOST_STEPS = 5_000
POOL = 512
"""Training images whose patches are drawn from, at most."""
PATCHES = 512
"""Patches a step."""
_BATCH = 32
_LOSS_PATCHES = 8_192  # patches whose loss is reported, the same ones before and after
_POOL_SEED, _DRAW_SEED, _LOSS_SEED = 70, 71, 72


@dataclass(frozen=True)
class RefitSettings:
    """How Phi is refitted.

    Attributes:
        steps: optimiser steps.
        learning_rate: of AdamW; None: what the model's own Phi was trained with.
    """

    steps: int = 300
    learning_rate: float | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= MOST_STEPS:
            raise SettingError(f"steps is {self.steps}, but it must be from 1 to {MOST_STEPS}.")
        if self.learning_rate is not None and not 0 < self.learning_rate <= 1:
            raise SettingError(
                f"The learning rate is {self.learning_rate}, but it must be above 0 and at most 1."
            )


@dataclass(frozen=True)
class Refit:
    """A refitted model.

    Attributes:
        scorer: like the model, with another Phi and the pair as its own prompts.
        first_loss, last_loss: L_sem of equation (8) before and after, on the same patches.
        steps, learning_rate: that were used.
        seconds: how long it took.
    """

    scorer: Scorer
    first_loss: float
    last_loss: float
    steps: int
    learning_rate: float
    seconds: float


def own_learning_rate(scorer: Scorer) -> float:
    """What the model's Phi was trained with."""
    training = scorer.config.training
    return training.learning_rate * training.semantic_rate


def refit(
    scorer: Scorer, data: TrainingData, pair: Pair, settings: RefitSettings | None = None
) -> Refit:
    """Minimise equation (8) under the texts of `pair`, from the model's present Phi.

    Each step takes patches at random from a pool of training images, real or synthesised as in
    phase 2. All draws follow the model's seed. The model itself is not changed.

    Args:
        scorer: the model.
        data: the training images, with classes in the model's order.
        pair: the prompts.
        settings: steps and learning rate.

    Raises:
        PromptError: words that the text encoder cannot read, or a classifier that reads none.
        CheckpointError: the loss became infinite.
    """
    began, settings = time.monotonic(), settings or RefitSettings()
    rate = settings.learning_rate or own_learning_rate(scorer)
    texts = _texts(scorer, pair)
    fitted = variant(
        scorer, {"normal_prompt": pair.normal, "abnormal_prompt": pair.abnormal},
        semantic=copy.deepcopy(scorer.detector.semantic),
    )
    detector, seed = fitted.detector, scorer.config.training.seed
    with torch.inference_mode(False), torch.enable_grad():
        patches, classes = _pool(fitted, texts, data)

        def loss_of(count: int, *key: int) -> Tensor:
            random = torch_generator(seed, *key)
            chosen = torch.randint(len(patches), (count,), generator=random)
            normal = patches[chosen.to(patches.device)]
            abnormal = feature_jitter(normal, detector.config.training.noise_scale, random)
            return semantic_loss(detector, texts, classes[chosen], normal, abnormal)

        first = loss_of(_LOSS_PATCHES, _LOSS_SEED).item()
        detector.semantic.requires_grad_(True)
        optimizer = torch.optim.AdamW(
            detector.semantic.parameters(), lr=rate,
            weight_decay=detector.config.training.weight_decay,
        )
        for step in tqdm(range(settings.steps), desc="refit", unit="step"):
            optimizer.zero_grad(set_to_none=True)
            loss_of(PATCHES, _DRAW_SEED, step).backward()
            optimizer.step()
        detector.semantic.requires_grad_(False)
        last = loss_of(_LOSS_PATCHES, _LOSS_SEED).item()
    if not np.isfinite(last):
        raise CheckpointError("The refit's loss became infinite. Lower the learning rate.")
    return Refit(fitted, first, last, settings.steps, rate, time.monotonic() - began)


@torch.no_grad()
def _texts(scorer: Scorer, pair: Pair) -> ClassTexts:
    """t_c, t_n and t_a of every class."""
    every = range(len(scorer.class_names))
    with torch.inference_mode(False):
        return ClassTexts(*(
            scorer.detector.texts(scorer.encoder, words, every)
            for words in ("", pair.normal, pair.abnormal)
        ))


@torch.no_grad()
def _pool(scorer: Scorer, texts: ClassTexts, data: TrainingData) -> tuple[Tensor, Tensor]:
    """p^n of the pool's patches, (n, C, 1, 1), and their classes (n,), every class among them."""
    order = generator(scorer.config.training.seed, _POOL_SEED).permutation(len(data))
    _, firsts = np.unique(data.classes.numpy()[order], return_index=True)
    rest = np.delete(order, firsts)
    images = np.concatenate([order[firsts], rest])[:POOL]
    patches, classes = [], []
    for number, start in enumerate(tqdm(range(0, len(images), _BATCH), desc="patches")):
        chosen = np.sort(images[start : start + _BATCH])
        normal = normal_features(scorer.detector, texts, data, chosen, number)
        patches.append(normal.movedim(1, -1).flatten(0, 2))
        classes.append(data.classes[chosen].repeat_interleave(normal.shape[-1] ** 2))
    return torch.cat(patches)[:, :, None, None], torch.cat(classes)
