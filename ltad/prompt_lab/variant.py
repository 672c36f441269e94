"""A model with some parts exchanged, and how such a model becomes a folder."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from ltad.checkpoint import save_checkpoint
from ltad.service import Scorer
from ltad.types import SettingError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


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
    encoder = Path(str(getattr(scorer.encoder.model, "name_or_path", "")))
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
