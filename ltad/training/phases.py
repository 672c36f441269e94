"""Losses and steps of both phases, what Phi starts from, and what training reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ltad.inference.feature_store import FeatureStore
from ltad.inference.scoring import semantic_logit
from ltad.io.tensors import torch_generator
from ltad.models.align import Encoder
from ltad.models.detector import Detector
from ltad.models.features import split_layers, to_grid
from ltad.models.semantic import SemanticHead
from ltad.models.synthesis import Synthesis
from ltad.training.loop import Report, balanced_indices, batch_indices, run_phase, steps_of
from ltad.training.parallel import Rows

RIDGE = 10.0
MOST_IMAGES = 2_000
SYNTHESIS_PHASE = 1
DETECTOR_PHASE = 2
MOST_AT_ONCE = 64
SMALLEST_DEVIATION = 0.01
"""Of a channel, as a share of the channels' mean deviation."""
PARTS = ("reconstruction", "semantic")
"""The detector's parts that phase 2 trains. They share no parameter and no random draw, so that
each one alone ends with the same weights as both together."""


@torch.no_grad()
def align(head: SemanticHead, data: TrainingData) -> None:
    """Set each Phi_l to the ridge regression of the encoder's last map on the layer p_l.

    ALIGN's image embedding is the mean of its last map, so the positions of that map lie in the
    joint space where t_n and t_a were trained to tell good from broken. Phi is there to bring
    patches into that space; from this start, S_sem carries the encoder's own idea of damage before
    the first step. Only the normal training images are used.

    Raises:
        ValueError: the last map has another number of channels than the joint space.
    """
    chosen = np.unique(np.linspace(0, len(data) - 1, min(len(data), MOST_IMAGES)).astype(int))
    patches = data.patches(chosen)
    target = _rows(to_grid(data.latents(chosen), patches.shape[-1]))
    joint_width = head.maps[0].out_features
    if target.shape[1] != joint_width:
        raise ValueError(
            f"The last map has {target.shape[1]} channels, but the joint space {joint_width}."
        )
    for phi, layer in zip(head.maps, split_layers(patches, head.channels), strict=True):
        weight, bias = _ridge(_rows(layer), target)
        phi.get_parameter("weight").copy_(weight.T)
        phi.get_parameter("bias").copy_(bias)


def _rows(maps: Tensor) -> Tensor:
    """(B * G * G, C) float64 of maps (B, C, G, G)."""
    return maps.movedim(1, -1).flatten(0, 2).double()


def _ridge(inputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Weight (C, d) and bias (d,) of the ridge regression of `target` on `inputs`."""
    input_mean, target_mean = inputs.mean(dim=0), target.mean(dim=0)
    centred = inputs - input_mean
    gram = centred.T @ centred + RIDGE * torch.eye(inputs.shape[1], dtype=inputs.dtype)
    weight = torch.linalg.solve(gram, centred.T @ (target - target_mean))
    return weight, target_mean - input_mean @ weight


@dataclass(frozen=True)
class TrainingData:
    """The images one training learns from: positions in a store, and their classes.

    Attributes:
        store: frozen features of all images.
        positions: (n,) int, the training images' places in the store.
        classes: (n,) int64 tensor, their class indices.
        class_counts: training images per class index.
        device: where batches go.
    """

    store: FeatureStore
    positions: np.ndarray
    classes: Tensor
    class_counts: tuple[int, ...]
    device: torch.device

    @classmethod
    def of(
        cls, store: FeatureStore, positions: Sequence[int], class_names: Sequence[str],
        device: torch.device,
    ) -> TrainingData:
        """Training data at `positions` of `store`."""
        index = {name: i for i, name in enumerate(class_names)}
        classes = torch.tensor([index[store.samples[p].class_name] for p in positions])
        counts = torch.bincount(classes, minlength=len(class_names))
        return cls(store, np.asarray(positions), classes, tuple(counts.tolist()), device)

    def __len__(self) -> int:
        return len(self.positions)

    def patches(self, chosen: np.ndarray) -> Tensor:
        """f^real on the grid, (B, C, G, G) float32."""
        return self._load(self.store.patches, chosen)

    def latents(self, chosen: np.ndarray) -> Tensor:
        """f_L, (B, C_L, h, w) float32."""
        return self._load(self.store.latents, chosen)

    def _load(self, array: np.ndarray, chosen: np.ndarray) -> Tensor:
        return torch.from_numpy(array[self.positions[chosen]]).to(self.device).float()


def synthesis_loss(synthesis: Synthesis, real: Tensor) -> Tensor:
    """First term of equation (6): squared L2 distance summed over layers, mean over patches."""
    return (synthesis.features - real).square().sum(dim=1).mean()


def kl_loss(synthesis: Synthesis) -> Tensor:
    """KL(N(mu, sigma) || N(0, I)), summed over the latent's channels, mean over its places."""
    mean, log_variance = synthesis.mean, synthesis.log_variance
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance)
    return divergence.sum(dim=1).mean()


def phase1_losses(
    detector: Detector, encoder: Encoder, data: TrainingData, step: int
) -> dict[str, Tensor]:
    """The terms of equation (6) for one step, of this process's rows. Gradients reach s_c through
    the frozen T."""
    training = detector.config.training
    chosen = batch_indices(len(data), step, training, SYNTHESIS_PHASE)
    rows = Rows.of(len(chosen))
    chosen = chosen[rows.own]
    present, inverse = torch.unique(data.classes[chosen], return_inverse=True)
    texts = detector.texts(encoder, "", present.tolist())[inverse]
    latents = data.latents(chosen)
    random = torch_generator(training.seed, SYNTHESIS_PHASE, 1, step)
    noise = rows.normal(latents.shape[1:], random).to(latents.device)
    synthesis = detector.synthesizer(latents, texts, noise)
    losses = {"synthesis": rows.weight * synthesis_loss(synthesis, data.patches(chosen))}
    if detector.config.model.synthesis == "vae":
        losses["kl"] = rows.weight * training.kl_weight * kl_loss(synthesis)
    return losses


def train_phase1(
    detector: Detector, encoder: Encoder, data: TrainingData, state: Path, key: dict[str, Any],
    report: Report | None = None,
) -> None:
    """Learn s_c, F_mu, F_sigma and D; everything else stays as it is."""
    training = detector.config.training
    detector.names.vectors.requires_grad_(detector.config.model.learn_names)
    learned = nn.ModuleList([detector.names, detector.synthesizer])
    run_phase(
        "phase 1", learned, lambda step: phase1_losses(detector, encoder, data, step),
        steps_of(len(data), training.phase1_epochs, training), training, state, key, report,
    )


@dataclass(frozen=True)
class ClassTexts:
    """t_c, t_n and t_a of every class, (classes, d): constant in phase 2, so computed once."""

    name: Tensor
    normal: Tensor
    abnormal: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, detector: Detector, encoder: Encoder) -> ClassTexts:
        """The texts of the detector's own prompts."""
        model, every = detector.config.model, range(len(detector.class_names))
        return cls(*(
            detector.texts(encoder, words, every)
            for words in ("", model.normal_prompt, model.abnormal_prompt)
        ))


def feature_jitter(
    patches: Tensor, scale: float, random: torch.Generator, rows: Rows | None = None
) -> Tensor:
    """p^a = p^n + N(0, 1) * ||p_i||_2 / C * scale for every patch of (B, C, G, G), which are
    `rows` of a batch, by default all of it."""
    rows = rows or Rows.of(len(patches))
    noise = rows.normal(patches.shape[1:], random).to(patches.device)
    size = patches.norm(dim=1, keepdim=True) / patches.shape[1] * scale
    return patches + noise * size


def real_probability(counts: tuple[int, ...], p_real: float, distribution_aware: bool) -> Tensor:
    """p_c of each class: `p_real`, or under DAS in proportion to the class's count."""
    shares = torch.tensor(counts, dtype=torch.float32) / max(counts)
    return p_real * shares if distribution_aware else torch.full_like(shares, p_real)


def normal_features(
    detector: Detector, texts: ClassTexts, data: TrainingData, chosen: np.ndarray, step: int
) -> Tensor:
    """p^n of one step, (b, C, G, G): f^real or f^syn of each image, of this process's rows of
    the batch `chosen`."""
    training, rows = detector.config.training, Rows.of(len(chosen))
    random = torch_generator(training.seed, DETECTOR_PHASE, 1, step)
    classes = data.classes[chosen]
    chance = real_probability(
        data.class_counts, training.real_probability, training.distribution_aware
    )
    synthetic = torch.rand(len(chosen), generator=random) >= chance[classes]
    features = data.patches(chosen[rows.own])
    own = synthetic[rows.own]
    if own.any():
        latents = data.latents(chosen[rows.own][own.numpy()])
        noise = torch.randn((int(synthetic.sum()), *latents.shape[1:]), generator=random)
        noise = noise[(synthetic.cumsum(0) - 1)[rows.own][own]].to(latents.device)
        with torch.no_grad():
            made = detector.synthesizer(latents, texts.name[classes[rows.own][own]], noise)
        features[own.to(features.device)] = made.features
    return features


def reconstruction_loss(detector: Detector, normal: Tensor, abnormal: Tensor) -> Tensor:
    """L_rec of equation (7): squared L2 distance to p^n, mean over patches."""
    module = detector.reconstruction
    rebuilt = module(module.standard(abnormal))
    return (rebuilt - module.standard(normal)).square().sum(dim=1).mean()


def semantic_loss(
    detector: Detector, texts: ClassTexts, classes: Tensor, normal: Tensor, abnormal: Tensor
) -> Tensor:
    """L_sem of equation (8): binary cross entropy, mean over patches."""
    learned, tau = detector.semantic.class_texts, detector.config.model.tau
    pair = (texts.normal[classes], texts.abnormal[classes])
    if learned is not None:
        pair = learned[classes].unbind(dim=1)
    logits = [semantic_logit(detector.semantic(p), *pair) / tau for p in (normal, abnormal)]
    return 0.5 * (functional.softplus(logits[0]) + functional.softplus(-logits[1])).mean()


def phase2_losses(
    detector: Detector, texts: ClassTexts, data: TrainingData, step: int,
    parts: Sequence[str] = PARTS,
) -> dict[str, Tensor]:
    """The losses of `parts` for one step, by part, of this process's rows."""
    training = detector.config.training
    chosen = (
        balanced_indices(data.classes, step, training, DETECTOR_PHASE) if training.balance_classes
        else batch_indices(len(data), step, training, DETECTOR_PHASE)
    )
    rows = Rows.of(len(chosen))
    normal = normal_features(detector, texts, data, chosen, step)
    random = torch_generator(training.seed, DETECTOR_PHASE, 2, step)
    module = detector.reconstruction
    abnormal = feature_jitter(module.standard(normal), training.noise_scale, random, rows)
    if module.is_standardized:
        abnormal = abnormal * module.input_scale + module.input_mean
    losses = {}
    if "reconstruction" in parts:
        with rows.dropout():
            losses["reconstruction"] = reconstruction_loss(detector, normal, abnormal)
    if "semantic" in parts:
        classes = data.classes[chosen[rows.own]]
        losses["semantic"] = semantic_loss(detector, texts, classes, normal, abnormal)
    return {part: rows.weight * loss for part, loss in losses.items()}


def begin_semantic(detector: Detector, encoder: Encoder, data: TrainingData) -> None:
    """Set Phi to what the configuration says that it starts from."""
    start, carried = detector.config.model.semantic_start, encoder.semantic_start
    if start == "encoder" and carried and detector.config.model.layer_pooling != "none":
        detector.semantic.load_state_dict(carried, strict=False)
    elif start in ("encoder", "aligned"):
        align(detector.semantic, data)


@torch.no_grad()
def channel_statistics(data: TrainingData) -> tuple[Tensor, Tensor]:
    """Mean and deviation (C,) of each channel over all patches; classes count alike."""
    weights = (1.0 / torch.bincount(data.classes).double())[data.classes]
    weights = weights / weights.sum()
    first = second = torch.zeros((), dtype=torch.float64)
    for start in range(0, len(data), MOST_AT_ONCE):
        chosen = np.arange(start, min(start + MOST_AT_ONCE, len(data)))
        patches = data.patches(chosen).flatten(2).double()
        share = weights[chosen].to(patches.device)
        first = first + (share[:, None] * patches.mean(dim=2)).sum(dim=0)
        second = second + (share[:, None] * patches.square().mean(dim=2)).sum(dim=0)
    deviation = (second - first.square()).clamp(min=0).sqrt()
    # A channel that hardly moves on training images must not outweigh all others where it does.
    least = max(SMALLEST_DEVIATION * float(deviation.mean()), 1e-4)
    return first.float(), deviation.clamp(min=least).float()


@torch.no_grad()
def good_residuals(detector: Detector, data: TrainingData) -> Iterator[tuple[Tensor, int]]:
    """The residuals of the training images, some of one class at a time."""
    module, classes = detector.reconstruction, data.classes.numpy()
    for index in np.unique(classes):
        own = np.flatnonzero(classes == index)
        for start in range(0, len(own), MOST_AT_ONCE):
            patches = module.standard(data.patches(own[start : start + MOST_AT_ONCE]))
            yield module(patches) - patches, int(index)


def train_phase2(
    detector: Detector, encoder: Encoder, data: TrainingData, state: Path, key: dict[str, Any],
    report: Report | None = None, parts: Sequence[str] = PARTS, title: str = "",
) -> None:
    """Learn RM and Phi, or one of them; the names, D and both encoders stay as they are."""
    training = detector.config.training
    texts = ClassTexts.of(detector, encoder)
    if "semantic" in parts:
        begin_semantic(detector, encoder, data)
    if "reconstruction" in parts and detector.reconstruction.is_standardized:
        detector.reconstruction.fit_input(*channel_statistics(data))
    chosen = [part for part in PARTS if part in parts]
    learned = nn.ModuleList(getattr(detector, part) for part in chosen)
    rates = [training.semantic_rate if part == "semantic" else 1.0 for part in chosen]
    learned.train()
    run_phase(
        title or ("phase 2" if set(parts) == set(PARTS) else f"phase 2, {' and '.join(parts)}"),
        learned, lambda step: phase2_losses(detector, texts, data, step, parts),
        steps_of(len(data), training.phase2_epochs, training), training, state, key, report,
        rates,
    )
    learned.eval()
    if "reconstruction" in parts:
        detector.reconstruction.score.fit(lambda: good_residuals(detector, data))
