"""Models by name or folder, loaded once."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from pathlib import Path

from huggingface_hub import snapshot_download

from ltad.config import Config
from ltad.inference.checkpoint import MODEL_FILE, load_checkpoint, read_model_file
from ltad.inference.scorer import Scorer
from ltad.io.cache import ByteCache
from ltad.models.align import load_encoder
from ltad.types import CheckpointError, SettingError


def load_scorer(
    name: str | Path, device: str = "cpu", cache: str | Path | None = None, keep: bool = True,
    beside: Scorer | None = None,
) -> Scorer:
    """A scorer for a trained model.

    Args:
        name: a model folder, or the name of one on the Hugging Face hub.
        device: "cpu", "cuda", "mps", ...
        cache: folder of the disk cache; by default ``$LTAD_CACHE`` or ``~/.cache/ltad``.
        keep: False where no image will be seen again: there is no disk cache then.
        beside: a scorer that stays in memory. A model on the same encoder shares its encoder, its
            device and its caches; the other arguments are not asked then.

    Raises:
        CheckpointError: no such model, or a damaged one.
        EncoderMismatchError: its encoder is not the one it was trained on.
    """
    folder = Path(name)
    if not folder.is_dir():
        folder = _download(str(name))
    data = read_model_file(folder)
    if beside is not None and data["encoder_fingerprint"] == beside.encoder.fingerprint:
        return beside.with_checkpoint(load_checkpoint(folder, beside.encoder), folder.name)
    own = folder / data["encoder"]
    encoder = load_encoder(
        own if own.is_dir() else data["encoder"],
        Config.from_dict(data["config"]).features, device,
    )
    checkpoint = load_checkpoint(folder, encoder)
    cache = Path(cache or os.environ.get("LTAD_CACHE") or Path.home() / ".cache" / "ltad")
    return Scorer(encoder, checkpoint, ByteCache(cache) if keep else None, name=folder.name)


def _download(name: str) -> Path:
    try:
        return Path(snapshot_download(name))
    except Exception as error:
        raise CheckpointError(
            f"{name!r} is no folder here, and it could not be fetched from the hub: "
            f"{str(error).splitlines()[0] if str(error) else type(error).__name__}. Give a model "
            "folder such as assets/demo."
        ) from error


class ModelRegistry:
    """Scorers by name. The first one always stays in memory, of the others the last few used.

    Args:
        first: the model that the page was started with.
        folder: its sub-folders that hold a finished model are offered too; None: only `first`.
        keep: how many of those stay in memory.
    """

    def __init__(self, first: Scorer, folder: Path | None = None, keep: int = 2) -> None:
        self.first = first
        self._folder = folder
        self._keep = keep
        self._loaded: OrderedDict[tuple[str, int], Scorer] = OrderedDict()
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        """All models there are now, the first one first."""
        return [self.first.name, *sorted(set(self._folders()) - {self.first.name})]

    def scorer(self, name: str | None = None) -> Scorer:
        """The model of that name; None or "" means the first one.

        Raises:
            SettingError: no such model.
            CheckpointError: it cannot be loaded.
        """
        if not name or name == self.first.name:
            return self.first
        folder = self._folder_of(name)
        # A model trained again under its old name is another model.
        key = (name, (folder / MODEL_FILE).stat().st_mtime_ns)
        with self._lock:
            if key not in self._loaded:
                self._loaded[key] = load_scorer(
                    folder, device=str(self.first.encoder.device), beside=self.first)
            self._loaded.move_to_end(key)
            while len(self._loaded) > self._keep:
                self._loaded.popitem(last=False)
            return self._loaded[key]

    def class_names(self, name: str) -> tuple[str, ...]:
        """The classes of a model, which is not loaded for that. Raises as `scorer` does."""
        if name == self.first.name:
            return self.first.class_names
        return tuple(read_model_file(self._folder_of(name))["class_names"])

    def _folder_of(self, name: str) -> Path:
        folder = self._folders().get(name)
        if folder is None:
            raise SettingError(f"There is no model {name!r}. There are: {', '.join(self.names())}.")
        return folder

    def _folders(self) -> dict[str, Path]:
        if self._folder is None or not self._folder.is_dir():
            return {}
        return {p.parent.name: p.parent for p in self._folder.glob(f"*/{MODEL_FILE}")}
