"""Other class names in the place of the learned ones.

A replacement is written as on the command line: the words themselves; ``@nearest`` for the
vocabulary's word nearest to each learned vector; ``@class:gear`` for the learned name of gear;
``@own`` for the data set's own name as words. The class ``*`` stands for every class, and
``@shuffled`` gives each of them another's name (Table 8, 8.1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ltad.ablations import derangement
from ltad.models import PseudoClassNames
from ltad.models.names import spoken
from ltad.prompt_lab.variant import variant
from ltad.service import Scorer
from ltad.types import PromptError, SettingError

EVERY_CLASS = "*"
NEAREST, OWN, SHUFFLED, OF_CLASS = "@nearest", "@own", "@shuffled", "@class:"


def parse_replacements(arguments: Sequence[str]) -> dict[str, str]:
    """``["hex_nut=a hex nut"]`` as a dictionary.

    Raises:
        SettingError: not of the form CLASS=WORDS.
    """
    found = {}
    for argument in arguments:
        name, equals, words = argument.partition("=")
        if not (equals and name.strip() and words.strip()):
            raise SettingError(
                f"{argument!r} is not of the form CLASS=WORDS, for example hex_nut=\"hex nut\"."
            )
        found[name.strip()] = " ".join(words.split())
    return found


def replaced_classes(scorer: Scorer, replacements: Mapping[str, str]) -> tuple[str, ...]:
    """The classes whose names are replaced, in the model's order."""
    every = EVERY_CLASS in replacements
    return tuple(name for name in scorer.class_names if every or name in replacements)


def replace_names(scorer: Scorer, replacements: Mapping[str, str]) -> Scorer:
    """The model under other class names.

    Args:
        scorer: the model; it is not changed.
        replacements: class (or ``*``) -> what takes its name's place, see the module.

    Raises:
        UnknownClassError: no such class, replaced or named as the replacement.
        PromptError: no words, or words without a token.
        SettingError: an unknown ``@`` word, or ``@shuffled`` for a single class.
    """
    detector, wanted = scorer.detector, dict(replacements)
    everywhere = wanted.pop(EVERY_CLASS, None)
    rows = [detector.names.name(i) for i in range(len(scorer.class_names))]
    if everywhere == SHUFFLED:
        order = derangement(len(rows), detector.config.training.seed)
        rows = [detector.names.name(i) for i in order]
    elif everywhere is not None:
        rows = [_vectors(scorer, name, everywhere) for name in scorer.class_names]
    for name, words in wanted.items():
        rows[detector.index(name)] = _vectors(scorer, name, words)
    lengths = torch.tensor([len(row) for row in rows], device=rows[0].device)
    padded = nn.utils.rnn.pad_sequence([row.detach() for row in rows], batch_first=True)
    return variant(scorer, names=PseudoClassNames(padded.clone(), lengths))


def replacement_words(scorer: Scorer, class_name: str, replacement: str) -> str:
    """What a replacement says, for reading: words, or whose learned name it is.

    Raises:
        UnknownClassError: no such class.
    """
    if replacement == NEAREST:
        return " ".join(row[0].token for row in scorer.nearest_tokens(class_name, 1))
    if replacement == OWN:
        return spoken(class_name)
    if replacement.startswith(OF_CLASS):
        return f"the learned name of {spoken(replacement.removeprefix(OF_CLASS))}"
    return "the learned name of another class" if replacement == SHUFFLED else replacement


def _vectors(scorer: Scorer, class_name: str, replacement: str) -> Tensor:
    """The token vectors (m, token_width) that take the place of a class's learned ones."""
    detector = scorer.detector
    if replacement.startswith(OF_CLASS):
        return detector.names.name(detector.index(replacement.removeprefix(OF_CLASS)))
    if replacement.startswith("@") and replacement not in (NEAREST, OWN):
        raise SettingError(
            f"{replacement!r} is no replacement for one class. Give words, {NEAREST}, {OWN} or "
            f"{OF_CLASS}NAME; {SHUFFLED} needs the class {EVERY_CLASS}."
        )
    detector.index(class_name)
    words = replacement_words(scorer, class_name, replacement)
    vectors = scorer.encoder.token_vectors(words)
    if not len(vectors):
        raise PromptError(
            f"{words!r} has no token in the text encoder's vocabulary. Use other words."
        )
    return vectors
