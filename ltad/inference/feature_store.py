"""The encoder's outputs for a data set, computed once and kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from ltad.inference.batching import batch_size
from ltad.io.files import atomic_path, open_array
from ltad.io.images import READING, read_image
from ltad.models.align import Encoder
from ltad.models.features import patch_features
from ltad.types import DatasetError, ImageError, Sample

PROGRESS_FILE = "done.json"
_T = Image.Transpose
VIEWS = {
    "quarter_left": (_T.ROTATE_90,), "half": (_T.ROTATE_180,), "quarter_right": (_T.ROTATE_270,),
    "mirrored": (_T.FLIP_LEFT_RIGHT,), "mirrored_quarter": (_T.TRANSPOSE,),
    "mirrored_half": (_T.FLIP_TOP_BOTTOM,), "mirrored_quarter_right": (_T.TRANSVERSE,),
}
ROTATIONS = ("quarter_left", "half", "quarter_right")


@dataclass(frozen=True)
class FeatureStore:
    """Memory-mapped float16 features of `samples`, in their order.

    Attributes:
        samples: the n pictures.
        patches: p on the RM's grid, (n, C, grid, grid).
        fine_patches: p on the semantic grid, (n, C, G', G'); the same array when the grids agree.
        latents: f_L, (n, C_L, h, w).
    """

    samples: tuple[Sample, ...]
    patches: np.ndarray
    fine_patches: np.ndarray
    latents: np.ndarray

    def __len__(self) -> int:
        return len(self.samples)

    def indices(self, class_name: str) -> list[int]:
        """Positions of one class's pictures."""
        return [i for i, sample in enumerate(self.samples) if sample.class_name == class_name]


def build_store(
    samples: Sequence[Sample],
    encoder: Encoder,
    root: str | Path,
    pictures_a_pass: int = 32,
    progress: bool = True,
    view: str = "",
) -> FeatureStore:
    """Compute the features of `samples`, or open them where they were computed before.

    A killed computation goes on after its last finished batch.

    Args:
        samples: pictures; any split, any class.
        encoder: the frozen encoder.
        root: folder of all stores.
        pictures_a_pass: after so many it is kept how far the computation got.
        progress: show a bar.
        view: read every image turned so, one of `ltad.inference.feature_store.VIEWS`; "" as it is.

    Raises:
        DatasetError: no picture, an unreadable picture (named), or a full disk.
    """
    if not samples:
        raise DatasetError("There is no picture to read features from.")
    suffix = f"-{view}" if view else ""
    folder = Path(root) / f"{encoder.fingerprint}-{_contents(samples)}{suffix}"
    store, marker = _open(folder, tuple(samples), encoder), folder / PROGRESS_FILE
    done = json.loads(marker.read_text())["pictures"] if marker.exists() else 0
    starts = range(done, len(samples), pictures_a_pass)
    for start in tqdm(starts, desc="features", unit="batch", disable=not (progress and starts)):
        _fill(store, encoder, start, min(start + pictures_a_pass, len(samples)), view)
        for array in (store.patches, store.fine_patches, store.latents):
            array.flush()
        _mark(marker, min(start + pictures_a_pass, len(samples)))
    return store


@torch.inference_mode()
def _fill(
    store: FeatureStore, encoder: Encoder, start: int, stop: int, view: str
) -> None:
    settings, size = encoder.settings, batch_size(encoder.device)
    for first in range(start, stop, size):
        here = slice(first, min(first + size, stop))
        images = (turned(_read(sample), view) for sample in store.samples[here])
        pixels = torch.stack([encoder.pixels(image) for image in images])
        features = encoder.image_features(pixels, with_latent=True)
        store.patches[here] = patch_features(features.taps, settings.grid).half().cpu().numpy()
        if store.fine_patches is not store.patches:
            fine = patch_features(features.taps, settings.semantic_grid)
            store.fine_patches[here] = fine.half().cpu().numpy()
        store.latents[here] = features.latent.half().cpu().numpy()


def _read(sample: Sample):
    try:
        return read_image(sample.path)
    except ImageError as error:
        raise DatasetError(f"{sample.path} cannot be used: {error}") from error


def _open(folder: Path, samples: tuple[Sample, ...], encoder: Encoder) -> FeatureStore:
    settings, channels, count = encoder.settings, sum(encoder.channels), len(samples)

    def array(name: str, *shape: int) -> np.ndarray:
        return open_array(folder / f"{name}.npy", (count, *shape), np.float16)

    folder.mkdir(parents=True, exist_ok=True)
    patches = array("patches", channels, settings.grid, settings.grid)
    fine = patches
    if settings.semantic_grid != settings.grid:
        fine = array("fine_patches", channels, settings.semantic_grid, settings.semantic_grid)
    return FeatureStore(samples, patches, fine, array("latents", *encoder.latent_shape))


def _mark(marker: Path, pictures: int) -> None:
    with atomic_path(marker) as part:
        part.write_text(json.dumps({"pictures": pictures}))


def _contents(samples: Sequence[Sample]) -> str:
    digest = hashlib.sha256(f"reading {READING}\n".encode())
    for sample in samples:
        try:
            digest.update(hashlib.sha256(sample.path.read_bytes()).digest())
        except OSError as error:
            raise DatasetError(f"{sample.path} cannot be read: {error.strerror}.") from error
    return digest.hexdigest()[:16]


def turned(image: Image.Image, view: str) -> Image.Image:
    """The image in one of `VIEWS`; as it is where `view` is ""."""
    for step in VIEWS[view] if view else ():
        image = image.transpose(step)
    return image
