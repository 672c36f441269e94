"""Phase 1: pseudo class names and feature synthesis (the paper's section 5, equation 6)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from ltad.encoders.base import Encoder
from ltad.models import Detector
from ltad.models.synthesis import Synthesis
from ltad.seeds import torch_generator
from ltad.training.data import TrainingData
from ltad.training.loop import Report, batch_indices, run_phase, steps_of

PHASE = 1


def reconstruction_loss(synthesis: Synthesis, real: Tensor) -> Tensor:
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
    """The terms of equation (6) for one step. Gradients reach s_c through the frozen T."""
    training = detector.config.training
    chosen = batch_indices(len(data), step, training, PHASE)
    present, inverse = torch.unique(data.classes[chosen], return_inverse=True)
    texts = detector.texts(encoder, "", present.tolist())[inverse]
    latents = data.latents(chosen)
    noise = torch.randn(
        latents.shape, generator=torch_generator(training.seed, PHASE, 1, step)
    ).to(latents.device)
    synthesis = detector.synthesizer(latents, texts, noise)
    losses = {"synthesis": reconstruction_loss(synthesis, data.patches(chosen))}
    if detector.config.model.synthesis == "vae":
        losses["kl"] = training.kl_weight * kl_loss(synthesis)
    return losses


def train_phase1(
    detector: Detector, encoder: Encoder, data: TrainingData, state: Path, key: dict,
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
