"""What the joint space learns from: where a word's flaw is, and that other words find nothing.

Every prompt is held against "a SUBJECT": the logit of a place is (t_a - t_n) . p^, as in equation
(3). Trained on flaws alone, any word would do what "broken" does; words come to matter because the
same place is shown words of other flaws, and words that mean no damage at all.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

NAMING_TEMPERATURE = 0.05
SUBJECT_TEMPERATURE = 0.07


@dataclass(frozen=True)
class PlaceLogits:
    """Logits of P places under K prompts for B twins.

    Attributes:
        flawed, good: (B, K, P) on the flawed and on the good twin.
        damaged, sound: (B, 1, P) float, which places of the flawed twin the flaw covers or leaves
            alone altogether; what it barely touches is neither.
    """

    flawed: Tensor
    good: Tensor
    damaged: Tensor
    sound: Tensor


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum(dim=-1) / weights.sum(dim=-1).clamp(min=1.0)


def _top(logits: Tensor) -> Tensor:
    """A smooth maximum over places, (B, K)."""
    return torch.logsumexp(2.0 * logits, dim=-1) / 2.0


def names_it(logits: PlaceLogits) -> Tensor:
    """Small where the prompt's flaw is found on its places and nowhere else, (B, K).

    Damaged and sound places count alike, however few the damaged ones are; and the flawed twin's
    highest place must lie above the good twin's.
    """
    places = _mean(functional.softplus(-logits.flawed), logits.damaged)
    places = places + _mean(functional.softplus(logits.flawed), logits.sound)
    places = places + functional.softplus(logits.good).mean(dim=-1)
    return places + 0.5 * functional.softplus(_top(logits.good) - _top(logits.flawed))


def names_another(logits: PlaceLogits) -> Tensor:
    """Small where a prompt that names another flaw finds nothing, (B, K)."""
    return (
        _mean(functional.softplus(logits.flawed), logits.damaged)
        + 0.5 * _mean(functional.softplus(logits.flawed), logits.sound)
        + 0.5 * functional.softplus(logits.good).mean(dim=-1)
    )


def means_no_damage(logits: PlaceLogits) -> Tensor:
    """Small where a prompt treats damaged and sound places alike, (B, K)."""
    gap = _mean(logits.flawed, logits.damaged) - _mean(logits.flawed, logits.sound)
    return 0.5 * gap.square()


def naming_loss(texts: Tensor, directions: Tensor, classes: Tensor) -> Tensor:
    """Cross entropy of texts (n, d) against unit class directions (1000, d); classes (n,)."""
    unit = functional.normalize(texts, dim=1)
    return functional.cross_entropy(unit @ directions.T / NAMING_TEMPERATURE, classes)


def subject_loss(embeddings: Tensor, texts: Tensor, subjects: Tensor) -> Tensor:
    """Cross entropy of image embeddings (n, d) against the batch's subjects' texts (s, d)."""
    unit, points = functional.normalize(embeddings, dim=1), functional.normalize(texts, dim=1)
    return functional.cross_entropy(unit @ points.T / SUBJECT_TEMPERATURE, subjects)
