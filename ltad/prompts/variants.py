"""Detectors that differ from another in their class names or their Phi."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ltad.evaluation.ablations import derangement
from ltad.inference.checkpoint import save_checkpoint
from ltad.inference.scorer import Scorer
from ltad.models.class_names import PseudoClassNames, spoken
from ltad.types import PromptError, SettingError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
EVERY_CLASS = "*"
NEAREST, OWN, SHUFFLED, OF_CLASS = "@nearest", "@own", "@shuffled", "@class:"


def variant(
    base: Scorer, config_changes: Mapping[str, Any] | None = None, **parts: nn.Module
) -> Scorer:
    """A scorer like another one with some of the detector's parts exchanged.

    All other parts are shared, and so are the cached features. Nothing of the other scorer is
    changed.

    Args:
        base: the model.
        config_changes: settings that differ, as `Config.replace` takes them.
        parts: attributes of `Detector` and what takes their place: ``names``, ``semantic``.
    """
    twin = base.detector.with_parts(**parts)
    twin.config = base.detector.config.replace(**(config_changes or {}))
    for part in parts.values():
        part.eval().requires_grad_(False).to(base.encoder.device)
    return base.with_detector(twin)


def save_variant(
    scorer: Scorer, name: str, models: str | Path, about: Mapping[str, Any] | None = None
) -> Path:
    """Write a refitted model as a new folder under `models`; an existing one is never touched.

    Args:
        scorer: the model; under its own class names.
        name: of the folder: letters, digits, ``.``, ``_`` and ``-``.
        models: the folder of all models.
        about: facts to keep with it beside the model's own.

    Raises:
        SettingError: the name cannot be used, is taken.
        CheckpointError: the folder cannot be written.
    """
    if not _NAME.fullmatch(name):
        raise SettingError(
            f"A model cannot be called {name!r}. Use up to 64 letters, digits, '.', '_' and '-', "
            "a letter or a digit first."
        )
    folder = Path(models) / name
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise SettingError(
            f"There is a model {name!r} already. Choose another name."
        ) from None
    encoder = Path(scorer.encoder.source)
    checkpoint = replace(
        scorer.checkpoint, about={**scorer.checkpoint.about, **(about or {})},
        encoder_name=os.path.relpath(encoder, folder) if encoder.is_dir()
        else scorer.checkpoint.encoder_name,
    )
    try:
        save_checkpoint(folder, checkpoint)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


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
