"""Pseudo class names s_c: m learned token vectors per class (the paper's equation 4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ltad.io.tensors import torch_generator
from ltad.models.align import Encoder, Prompt
from ltad.types import PromptError

INITIAL_WORD = "object"


def spoken(class_name: str) -> str:
    """The class name as words: ``hex_nut`` becomes ``hex nut``."""
    return class_name.replace("_", " ").strip()


class PseudoClassNames(nn.Module):
    """`vectors` (classes, m, token_width), one learned name a row; `lengths` (classes,).

    With ``initial="class_name"`` a row holds the tokens of the data set's own name, as many as it
    has; otherwise every row has `name_length` vectors.
    """

    lengths: Tensor

    def __init__(self, vectors: Tensor, lengths: Tensor) -> None:
        super().__init__()
        self.vectors = nn.Parameter(vectors)
        self.register_buffer("lengths", lengths)

    @classmethod
    def initial(
        cls, class_names: Sequence[str], encoder: Encoder, name_length: int, start: str, seed: int
    ) -> PseudoClassNames:
        """Names at their starting point.

        Args:
            class_names: in the model's order.
            encoder: whose token embeddings are the starting points.
            name_length: m.
            start: "object", "class_name", or "random" (normal, with the vocabulary's mean and
                standard deviation per dimension).
            seed: of "random".
        """
        if start == "class_name":
            rows = [_tokens(encoder, spoken(name)) for name in class_names]
        elif start == "random":
            table = encoder.vocabulary().embeddings
            noise = torch.randn(
                len(class_names), name_length, table.shape[1], generator=torch_generator(seed, 10)
            )
            rows = list(table.mean(dim=0) + table.std(dim=0) * noise)
        else:
            word = _tokens(encoder, INITIAL_WORD)
            rows = [word.repeat(name_length, 1)[:name_length] for _ in class_names]
        lengths = torch.tensor([len(row) for row in rows])
        return cls(nn.utils.rnn.pad_sequence(rows, batch_first=True).clone(), lengths)

    def name(self, index: int) -> Tensor:
        """s_c of one class, (m, token_width)."""
        return self.vectors[index, : int(self.lengths[index])]

    def prompts(self, words: str, indices: Sequence[int]) -> list[Prompt]:
        """[words; s_c] for each class index; the name alone when `words` is empty."""
        return [([words] if words else []) + [self.name(index)] for index in indices]


def _tokens(encoder: Encoder, words: str) -> Tensor:
    vectors = encoder.token_vectors(words).detach().cpu()
    if not len(vectors):
        raise PromptError(f"{words!r} has no token in the text encoder's vocabulary.")
    return vectors
