"""From the name of a model to a scorer."""

from __future__ import annotations

import os
from pathlib import Path

from huggingface_hub import snapshot_download

from ltad.cache import ByteCache
from ltad.checkpoint import load_checkpoint, read_model_file
from ltad.config import Config
from ltad.encoders import load_encoder
from ltad.service import Scorer
from ltad.types import CheckpointError


def load_scorer(
    name: str | Path, device: str = "cpu", cache: str | Path | None = None
) -> Scorer:
    """A scorer for a trained model.

    Args:
        name: a model folder, or the name of one on the Hugging Face hub.
        device: "cpu", "cuda", "mps", ...
        cache: folder of the disk cache; by default ``$LTAD_CACHE`` or ``~/.cache/ltad``.

    Raises:
        CheckpointError: no such model, or a damaged one.
        EncoderMismatchError: its encoder is not the one it was trained on.
    """
    folder = Path(name)
    if not folder.is_dir():
        folder = _download(str(name))
    data = read_model_file(folder)
    beside = folder / data["encoder"]
    encoder = load_encoder(
        beside if beside.is_dir() else data["encoder"],
        Config.from_dict(data["config"]).features, device,
    )
    checkpoint = load_checkpoint(folder, encoder)
    cache = Path(cache or os.environ.get("LTAD_CACHE") or Path.home() / ".cache" / "ltad")
    return Scorer(encoder, checkpoint, ByteCache(cache), name=folder.name)


def _download(name: str) -> Path:
    try:
        return Path(snapshot_download(name))
    except Exception as error:
        raise CheckpointError(
            f"{name!r} is no folder here, and it could not be fetched from the hub: "
            f"{str(error).splitlines()[0] if str(error) else type(error).__name__}. Give a model "
            "folder such as assets/demo."
        ) from error
