"""The detector: every learned part of LTAD, assembled in one place."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ltad.config import Config, prompts_of
from ltad.models.align import Encoder
from ltad.models.class_names import PseudoClassNames
from ltad.models.features import border_weights
from ltad.models.reconstruction import ReconstructionModule
from ltad.models.reference import ReferenceBranch
from ltad.models.residual import ResidualScore
from ltad.models.semantic import SemanticHead
from ltad.models.synthesis import FeatureSynthesizer
from ltad.types import PromptError, UnknownClassError

UNIT_BRANCHES = ("reconstruction", "semantic", "reference")


class Detector(nn.Module):
    """s_c, the synthesis VAE, RM, Phi and, beside the paper, the reference branch for a list of
    classes. The encoder stands outside.

    Args:
        class_names: the classes in the order of their indices.
        encoder: gives the shapes and the names' starting vectors; it is not kept.
        config: all settings.
    """

    units: Tensor

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
                model.standardize,
                ResidualScore(model.residual, len(self.class_names), sum(encoder.channels)),
            )
            self.semantic = SemanticHead(
                encoder.channels, encoder.joint_width, model.layer_pooling,
                len(self.class_names) if model.text_classifier == "learned" else 0,
            )
        self.reference = ReferenceBranch(
            len(self.class_names), sum(encoder.channels), model.reference_size
        ) if model.reference_size else None
        if model.good_units:
            self.register_buffer("units", torch.tensor([0.0, 1.0]).repeat(
                len(self.class_names), len(UNIT_BRANCHES), 1))

    @property
    def has_reconstruction(self) -> bool:
        """Whether S_rec can be asked for; a detector by references alone has none."""
        return self._modules["reconstruction"] is not None

    def with_parts(self, **parts: nn.Module | None) -> Detector:
        """A detector that shares everything with this one but `parts`, by attribute name."""
        other = copy.copy(self)
        # A copied module shares the dictionary of its parts with the original.
        other._modules = {**self._modules, **parts}
        return other

    def index(self, class_name: str) -> int:
        """The index of a class. Raises UnknownClassError, listing the classes."""
        if class_name not in self.class_names:
            raise UnknownClassError(
                f"This model knows no class {class_name!r}. It knows: "
                + ", ".join(self.class_names) + "."
            )
        return self.class_names.index(class_name)

    def unit(self, branch: str, index: int) -> tuple[float, float]:
        """(zero, one) of a branch on one class's good images, in the branch's own units: the
        middle place, and the middle image score. (0, 1), so nothing, where none is kept."""
        if not self.config.model.good_units:
            return 0.0, 1.0
        zero, one = self.units[index, UNIT_BRANCHES.index(branch)].tolist()
        return zero, one

    def semantic_unit(self, index: int) -> tuple[float, float] | None:
        """`unit` of S_sem, or None where the branches are summed as the paper does."""
        return self.unit("semantic", index) if self.config.model.good_units else None

    def reconstruction_scores(self, patches: Tensor, index: int) -> Tensor:
        """S_rec (B, G, G) of (B, C, G, G), in `unit`."""
        return self.in_units("reconstruction", self.raw_reconstruction(patches, index), index)

    def reference_scores(self, fine: Tensor, index: int) -> Tensor | None:
        """S_ref (B, G', G') of (B, C, G', G') in `unit`, or None without a reference branch."""
        raw = self.raw_reference(fine, index)
        return None if raw is None else self.in_units("reference", raw, index)

    def raw_reconstruction(self, patches: Tensor, index: int) -> Tensor:
        """S_rec (B, G, G) of (B, C, G, G) as it is measured, its border weighed."""
        return self.weigh_border(self.reconstruction.scores(patches, index))

    def raw_reference(self, fine: Tensor, index: int) -> Tensor | None:
        """S_ref (B, G', G') of (B, C, G', G') as it is measured, its border weighed, or None
        without a reference branch."""
        if self.reference is None:
            return None
        return self.weigh_border(self.reference.scores(fine, index))

    def weigh_border(self, distances: Tensor) -> Tensor:
        """Distances (B, G, G), those in the image's border times the setting `border_weight`."""
        weights = border_weights(distances.shape[-1], self.config.model.border_weight)
        return distances * weights.to(distances.device)

    def in_units(self, branch: str, scores: Tensor, index: int) -> Tensor:
        """Raw scores of a branch, in `unit`."""
        if not self.config.model.good_units:
            return scores
        zero, one = self.unit(branch, index)
        return (scores - zero) / (one - zero)

    def texts(self, encoder: Encoder, words: str, indices: Sequence[int]) -> Tensor:
        """T([words; s_c]) for each class index, (n, d); raw or unit length as configured.

        Several prompts in `words`, with " | " between them, give the mean of their texts. A model
        with a learned classifier gives its learned t_n or t_a, and T for the name alone.

        Raises:
            PromptError: other words than the model's own, and the classifier is learned.
        """
        learned = self.semantic.class_texts
        if words and learned is not None:
            return learned[list(indices), self._which_prompt(words)]
        each = [self._text(encoder, prompt, indices) for prompt in prompts_of(words)]
        return torch.stack(each).mean(dim=0) if len(each) > 1 else each[0]

    def _text(self, encoder: Encoder, prompt: str, indices: Sequence[int]) -> Tensor:
        texts = encoder.text_embeddings(self.names.prompts(prompt, indices))
        return functional.normalize(texts, dim=1) if self.config.model.normalize_text else texts

    def _which_prompt(self, words: str) -> int:
        """0 for the normal prompt, 1 for the abnormal one. Raises PromptError for others."""
        model = self.config.model
        known = [prompts_of(model.normal_prompt), prompts_of(model.abnormal_prompt)]
        if prompts_of(words) not in known:
            raise PromptError(
                f"This model's classifier is learned and reads no words, so {words!r} means "
                f"nothing to it. Leave the prompts at {model.normal_prompt!r} and "
                f"{model.abnormal_prompt!r}."
            )
        return known.index(prompts_of(words))
