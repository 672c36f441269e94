"""One training step divided among processes: each computes some rows of the batch, with the very
draws that one process alone would make, so that the weights stay the same up to the order of
sums."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from ltad.io import processes


@dataclass(frozen=True)
class Rows:
    """The rows of a step's batch that this process computes.

    Attributes:
        own: (b,) int, at least one row.
        total: rows of the batch.
    """

    own: np.ndarray
    total: int

    @classmethod
    def of(cls, total: int) -> Rows:
        """This process's part of a batch of `total` rows; all of it without torchrun."""
        own = np.asarray(processes.share(0, total), dtype=np.int64)
        return cls(own if len(own) else np.zeros(1, np.int64), total)

    @property
    def weight(self) -> float:
        """What the mean over these rows counts for in the mean over the batch."""
        return len(processes.share(0, self.total)) / self.total

    def normal(self, shape: Sequence[int], random: torch.Generator) -> Tensor:
        """These rows of standard normal numbers drawn for the whole batch, (b, *shape)."""
        return torch.randn((self.total, *shape), generator=random)[self.own]

    def dropout(self) -> AbstractContextManager[Any]:
        """Within it dropout draws for the whole batch."""
        return DropoutOfAll(self) if processes.count() > 1 else nullcontext()


class DropoutOfAll(TorchFunctionMode):
    """Dropout draws for the whole batch and keeps this process's rows of it.

    On a CPU these are the draws of one process alone; a graphics card's fused operations draw
    otherwise, so there the result is the same for any number of processes above one.
    """

    def __init__(self, rows: Rows) -> None:
        super().__init__()
        self._rows = rows

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is functional.dropout:
            return self._dropout(*args, **kwargs)
        if func is functional.scaled_dot_product_attention:
            return self._attention(*args, **kwargs)
        return func(*args, **kwargs)

    def _dropout(
        self, values: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> Tensor:
        if not training or p == 0:
            return values
        mask = torch.empty((self._rows.total, *values.shape[1:]), dtype=values.dtype,
                           device=values.device).bernoulli_(1 - p).div_(1 - p)
        return values * mask[self._rows.own]

    def _attention(
        self, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
    ) -> Tensor:
        if not dropout_p:
            return functional.scaled_dot_product_attention(query, key, value, attn_mask)
        scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
        if attn_mask is not None:
            scores = scores.masked_fill(~attn_mask, -torch.inf)
        return self._dropout(scores.softmax(dim=-1), dropout_p) @ value


def sum_gradients(parameters: Sequence[Tensor], losses: Sequence[Tensor]) -> None:
    """Gradients and losses of all processes' rows become those of the batch, in every process."""
    gradients = [one.grad for one in parameters if one.grad is not None]
    processes.summed([*gradients, *losses])
