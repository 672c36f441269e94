"""What the rest of the project needs of an image-text encoder, and nothing more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from PIL import Image
from torch import Tensor

from ltad.config import FeatureSettings

Prompt = Sequence["str | Tensor"]
"""One prompt as its parts in order: words, or learned token vectors (m, token_width)."""


@dataclass(frozen=True)
class ImageFeatures:
    """Outputs of the frozen image encoder for a batch.

    Attributes:
        taps: the layers f_1..f_{L-1}, each (B, C_l, H_l, W_l) float32.
        latent: f_L, (B, C_L, h, w), or None when it was not asked for.
    """

    taps: tuple[Tensor, ...]
    latent: Tensor | None = None


@dataclass(frozen=True)
class Vocabulary:
    """The text encoder's tokens and their input embeddings, (n, token_width) float32."""

    tokens: tuple[str, ...]
    embeddings: Tensor

    def whole_words(self) -> Vocabulary:
        """Only the tokens that are words of their own in the letters a to z, no pieces of words."""
        keep = [i for i, token in enumerate(self.tokens)
                if token.isascii() and token.isalpha() and len(token) > 1]
        return Vocabulary(tuple(self.tokens[i] for i in keep), self.embeddings[keep])


class Encoder(Protocol):
    """A frozen image encoder E and text encoder T with a joint space of `joint_width` dimensions.

    Attributes:
        settings: image size, taps and grids.
        channels: C_l of each tap.
        latent_shape: (C_L, h, w) of f_L at the settings' image size.
        joint_width: d.
        token_width: width of T's token embeddings.
        device: where it runs.
        fingerprint: short hash of weights, taps, preprocessing and grids.
    """

    settings: FeatureSettings
    channels: tuple[int, ...]
    latent_shape: tuple[int, int, int]
    joint_width: int
    token_width: int
    device: torch.device
    fingerprint: str

    def pixels(self, image: Image.Image) -> Tensor:
        """(3, S, S) float32 in [-1, 1] of an RGB picture."""

    def image_features(self, pixels: Tensor, with_latent: bool = False) -> ImageFeatures:
        """Taps (and f_L) of pixels (B, 3, S, S). No block past the last needed one is run."""

    def text_embeddings(self, prompts: Sequence[Prompt]) -> Tensor:
        """t = T(prompt), (n, joint_width); differentiable in learned token vectors."""

    def token_vectors(self, words: str) -> Tensor:
        """Input embeddings (n, token_width) of the words' tokens, without [CLS] and [SEP]."""

    def tokenize(self, words: str) -> list[str]:
        """The tokens that the words are cut into."""

    def unknown_words(self, words: str) -> list[str]:
        """Words that are no token of their own: cut into pieces, or unknown altogether."""

    def vocabulary(self) -> Vocabulary:
        """Every token's string and input embedding."""
