"""The detector: every learned part of LTAD, assembled in one place."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ltad.config import Config
from ltad.encoders.base import Encoder
from ltad.models.names import PseudoClassNames
from ltad.models.reconstruction import ReconstructionModule
from ltad.models.semantic import SemanticHead
from ltad.models.synthesis import FeatureSynthesizer
from ltad.types import UnknownClassError


class Detector(nn.Module):
    """s_c, the synthesis VAE, RM and Phi for a list of classes. The encoder stands outside.

    Args:
        class_names: the classes in the order of their indices.
        encoder: gives the shapes and the names' starting vectors; it is not kept.
        config: all settings.
    """

    def __init__(self, class_names: Sequence[str], encoder: Encoder, config: Config) -> None:
        super().__init__()
        model, seed = config.model, config.training.seed
        self.class_names = tuple(class_names)
        self.config = config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.names = PseudoClassNames.initial(
                class_names, encoder, model.name_length, model.name_init, seed
            )
            self.synthesizer = FeatureSynthesizer(
                encoder.latent_shape, encoder.channels, encoder.joint_width, config.features.grid,
                model.decoder_width, model.decoder_expansion, model.synthesis == "vae",
            )
            self.reconstruction = ReconstructionModule(
                sum(encoder.channels), config.features.grid, model.hidden_width, model.layers,
                model.heads, model.feedforward, model.dropout, model.neighbour_mask,
            )
            self.semantic = SemanticHead(
                encoder.channels, encoder.joint_width, model.layer_pooling
            )

    def index(self, class_name: str) -> int:
        """The index of a class. Raises UnknownClassError, listing the classes."""
        if class_name not in self.class_names:
            raise UnknownClassError(
                f"This model knows no class {class_name!r}. It knows: "
                + ", ".join(self.class_names) + "."
            )
        return self.class_names.index(class_name)

    def texts(self, encoder: Encoder, words: str, indices: Sequence[int]) -> Tensor:
        """T([words; s_c]) for each class index, (n, d); raw or unit length as configured."""
        texts = encoder.text_embeddings(self.names.prompts(words, indices))
        return functional.normalize(texts, dim=1) if self.config.model.normalize_text else texts
