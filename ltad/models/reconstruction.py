"""The reconstruction module RM: a transformer over the grid's patches (the paper's equation 1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ltad.models.residual import ResidualScore


def neighbour_mask(grid: int, side: int) -> Tensor | None:
    """(N, N) bool, N = grid * grid: True where attention is allowed.

    A token may not attend to the side x side neighbourhood around itself, so that it cannot be
    copied from there. None when `side` is 0. On a grid so small that a token would be left with
    nothing to attend to, the side is the largest odd one that leaves every token something.
    """
    while side > 0:
        row, column = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")
        row, column = row.flatten(), column.flatten()
        reach = side // 2
        near = ((row[:, None] - row).abs() <= reach) & ((column[:, None] - column).abs() <= reach)
        if not near.all(dim=1).any():
            return ~near
        side -= 2
    return None


class MaskedAttention(nn.Module):
    """Multi-head attention of a query (B, N, D) over keys and values (B, N, D)."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.query(query), self.key(key), self.value(value))
        )
        mixed = functional.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, dropout_p=self.dropout if self.training else 0.0
        )
        return self.output(mixed.transpose(1, 2).flatten(-2))


class FeedForward(nn.Sequential):
    """Two linear layers with a ReLU between."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__(
            nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, width)
        )


class EncoderLayer(nn.Module):
    """Self-attention, then feed-forward; each added, then normalised."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.attention = MaskedAttention(width, heads, dropout)
        self.feedforward = FeedForward(width, hidden, dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.drop = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, position: Tensor, mask: Tensor | None) -> Tensor:
        placed = tokens + position
        tokens = self.norms[0](tokens + self.drop(self.attention(placed, placed, tokens, mask)))
        return self.norms[1](tokens + self.drop(self.feedforward(tokens)))


class DecoderLayer(nn.Module):
    """A learned query reads the encoder's memory, then the previous decoder layer's output."""

    def __init__(self, tokens: int, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(tokens, width))
        self.memory_attention = MaskedAttention(width, heads, dropout)
        self.previous_attention = MaskedAttention(width, heads, dropout)
        self.feedforward = FeedForward(width, hidden, dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.drop = nn.Dropout(dropout)

    def forward(
        self, previous: Tensor, memory: Tensor, position: Tensor, mask: Tensor | None
    ) -> Tensor:
        query = self.query.expand_as(memory)
        read = self.memory_attention(query + position, memory + position, memory, mask)
        query = self.norms[0](query + self.drop(read))
        read = self.previous_attention(query + position, previous + position, previous, mask)
        query = self.norms[1](query + self.drop(read))
        return self.norms[2](query + self.drop(self.feedforward(query)))


class ReconstructionModule(nn.Module):
    """Pi(.): patch features (B, C, G, G) -> their reconstruction on the manifold of normal ones.

    Args:
        channels: C.
        grid: G.
        width, layers, heads, hidden, dropout: of the transformer; `layers` each way.
        masked_side: side of the neighbourhood hidden from attention, 0 for none.
        standardize: see the channels in units of their deviation on good images
            (`input_mean`, `input_scale`, set by `fit_input`).
        score: what the residual is measured by; equation (1) by default.
    """

    input_mean: Tensor
    input_scale: Tensor
    mask: Tensor | None

    def __init__(
        self, channels: int, grid: int, width: int, layers: int, heads: int, hidden: int,
        dropout: float, masked_side: int, standardize: bool = False,
        score: ResidualScore | None = None,
    ) -> None:
        super().__init__()
        self.grid = grid
        self.is_standardized = standardize
        if standardize:
            self.register_buffer("input_mean", torch.zeros(channels, 1, 1))
            self.register_buffer("input_scale", torch.ones(channels, 1, 1))
        tokens = grid * grid
        self.project_in = nn.Linear(channels, width)
        self.position = nn.Parameter(torch.randn(tokens, width) * 0.02)
        self.encoder = nn.ModuleList(
            EncoderLayer(width, heads, hidden, dropout) for _ in range(layers)
        )
        self.decoder = nn.ModuleList(
            DecoderLayer(tokens, width, heads, hidden, dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.project_out = nn.Linear(width, channels)
        self.register_buffer("mask", neighbour_mask(grid, masked_side), persistent=False)
        self.score = score or ResidualScore("squared", 1, channels)

    def fit_input(self, mean: Tensor, scale: Tensor) -> None:
        """Set the channels' mean and deviation, (C,) each; deviations above zero."""
        self.input_mean.copy_(mean[:, None, None])
        self.input_scale.copy_(scale[:, None, None])

    def standard(self, patches: Tensor) -> Tensor:
        """Patch features in the units that the module works in, (B, C, G, G)."""
        if not self.is_standardized:
            return patches
        return (patches - self.input_mean) / self.input_scale

    def explained(self, patches: Tensor) -> float:
        """Share of the variance of patch features (B, C, G, G) about their mean that the module
        rebuilds, at most 1; below 0 it is worse than that mean."""
        known = self.standard(patches)
        left = (self(known) - known).square().sum()
        return float(1 - left / (known - known.mean(dim=(0, 2, 3), keepdim=True)).square().sum())

    def scores(self, patches: Tensor, class_index: int) -> Tensor:
        """S_rec on the grid, (B, G, G) >= 0, of images of one class."""
        known = self.standard(patches)
        return self.score(self(known), known, class_index)

    def forward(self, patches: Tensor) -> Tensor:
        """Reconstruction of features that are in the module's units (`standard`)."""
        memory = self.project_in(patches.flatten(2).transpose(1, 2))  # (B, N, width)
        for layer in self.encoder:
            memory = layer(memory, self.position, self.mask)
        decoded = memory
        for layer in self.decoder:
            decoded = layer(decoded, memory, self.position, self.mask)
        rebuilt = self.project_out(self.norm(decoded))  # (B, N, C)
        return rebuilt.transpose(1, 2).unflatten(2, (self.grid, self.grid))
