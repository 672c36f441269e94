"""Phase 1's feature synthesis: a VAE on frozen features, conditioned on text (equation 6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ltad.models.features import to_grid


@dataclass(frozen=True)
class Synthesis:
    """f^syn (B, C, G, G), and the latent's mean and log variance (B, C_L, h, w)."""

    features: Tensor
    mean: Tensor
    log_variance: Tensor


class InvertedResidual(nn.Module):
    """Expand, depthwise 3 x 3, project, as the image encoder's blocks; with batch-free norms."""

    def __init__(self, inputs: int, outputs: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.body = nn.Sequential(
            nn.Conv2d(inputs, hidden, 1), nn.GroupNorm(1, hidden), nn.SiLU(),
            nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden), nn.SiLU(),
            nn.Conv2d(hidden, outputs, 1),
        )
        self.skip = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(x) + self.body(x)


class FeatureSynthesizer(nn.Module):
    """F_mu, F_sigma and the decoder D: f^syn = D([z^; t_c]).

    D mirrors the encoder from its end to its beginning, a stage for each tap: inverted-residual
    blocks on a map that is upsampled towards that tap's side, and a linear output of the tap's
    channels. No stage grows past `grid`, where equation (6) compares.

    Args:
        latent_shape: (C_L, h, w) of f_L.
        channels: C_l of each tap, first to last.
        joint_width: d of the text embedding t_c.
        grid: side of the synthesised features.
        width: channels of D's first stage; each later stage has three quarters of the last.
        expansion: of the inverted-residual blocks.
        variational: False gives the plain autoencoder of Table 6 (6.3): D(F_mu(z)), without t_c.
    """

    def __init__(
        self, latent_shape: tuple[int, int, int], channels: Sequence[int], joint_width: int,
        grid: int, width: int, expansion: int, variational: bool,
    ) -> None:
        super().__init__()
        latent_channels, self.latent_side, _ = latent_shape
        self.grid = grid
        self.variational = variational
        self.mean = nn.Conv2d(latent_channels, latent_channels, 1)
        self.log_variance = nn.Conv2d(latent_channels, latent_channels, 1)
        self.enter = nn.Conv2d(latent_channels + (joint_width if variational else 0), width, 1)
        widths = [max(32, int(width * 0.75**stage)) for stage in range(len(channels))]
        inputs = [width, *widths[:-1]]
        self.stages = nn.ModuleList(
            InvertedResidual(a, b, expansion) for a, b in zip(inputs, widths, strict=True)
        )
        self.outputs = nn.ModuleList(
            nn.Conv2d(a, b, 1) for a, b in zip(widths, reversed(channels), strict=True)
        )

    def decode(self, latent: Tensor, text: Tensor) -> Tensor:
        """D([z^; t_c]): f^syn (B, C, G, G) of z^ (B, C_L, h, w) and t_c (B, d), which an
        autoencoder leaves out."""
        if self.variational:
            spread = text[:, :, None, None].expand(-1, -1, *latent.shape[-2:])
            latent = torch.cat([latent, spread], dim=1)
        hidden = self.enter(latent)
        layers = []
        for depth, (stage, output) in enumerate(zip(self.stages, self.outputs, strict=True)):
            hidden = stage(to_grid(hidden, min(self.grid, self.latent_side * 2 ** (depth + 1))))
            layers.append(to_grid(output(hidden), self.grid))
        return torch.cat(layers[::-1], dim=1)

    def forward(self, latent: Tensor, text: Tensor, noise: Tensor) -> Synthesis:
        """f^syn of f_L (B, C_L, h, w).

        Args:
            latent: z = f_L.
            text: t_c of each image's class, (B, d).
            noise: standard normal, of z's shape (reparameterisation); unused by an autoencoder.
        """
        mean = self.mean(latent)
        log_variance = self.log_variance(latent).clamp(-20.0, 10.0)
        sampled = mean + torch.exp(0.5 * log_variance) * noise if self.variational else mean
        return Synthesis(self.decode(sampled, text), mean, log_variance)
