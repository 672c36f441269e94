"""Pairs of prompts: the lists that a person typed, made clean."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ltad.types import PromptError

MOST_PROMPTS = 8
"""Of each kind; 8 x 8 pairs still fit on a page."""


@dataclass(frozen=True)
class Pair:
    """v^n and v^a."""

    normal: str
    abnormal: str

    def __str__(self) -> str:
        return f"{self.normal} / {self.abnormal}"


def prompt_list(prompts: str | Iterable[str], kind: str) -> tuple[str, ...]:
    """Prompts in their order, each once and with single spaces.

    Args:
        prompts: one a line, or a list.
        kind: "normal" or "abnormal", for the messages.

    Raises:
        PromptError: no prompt, or more than `MOST_PROMPTS`.
    """
    lines = prompts.splitlines() if isinstance(prompts, str) else [str(one) for one in prompts]
    clean = tuple(dict.fromkeys(" ".join(line.split()) for line in lines if line.strip()))
    if not clean:
        raise PromptError(f"There is no {kind} prompt. Give at least one, each on a line.")
    if len(clean) > MOST_PROMPTS:
        raise PromptError(
            f"There are {len(clean)} {kind} prompts, but a grid takes at most {MOST_PROMPTS}. "
            "Leave some out."
        )
    return clean


def all_pairs(normal_prompts: Sequence[str], abnormal_prompts: Sequence[str]) -> tuple[Pair, ...]:
    """Every v^n with every v^a, row by row of v^n."""
    return tuple(Pair(n, a) for n in normal_prompts for a in abnormal_prompts)
