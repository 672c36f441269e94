"""The encoder's outputs for a data set, computed once and kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from ltad.inference.batching import batch_size
from ltad.io import processes
from ltad.io.files import atomic_path, open_array
from ltad.io.images import READING, read_image
from ltad.io.threads import in_order
from ltad.models.align import Encoder
from ltad.models.features import patch_features
from ltad.types import DatasetError, ImageError, Sample

PROGRESS_FILE = "done.json"
DECODERS, AHEAD = 4, 64
"""Threads that decode, and how many images they are ahead of the encoder at most."""
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
        samples: the n images.
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
        """Positions of one class's images."""
        return [i for i, sample in enumerate(self.samples) if sample.class_name == class_name]


def build_store(
    samples: Sequence[Sample],
    encoder: Encoder,
    root: str | Path,
    images_per_pass: int = 32,
    progress: bool = True,
    view: str = "",
) -> FeatureStore:
    """Compute the features of `samples`, or open them where they were computed before.

    A killed computation goes on after its last finished batch. Under torchrun each process computes
    a part, and goes on with it only among as many processes.

    Args:
        samples: images; any split, any class.
        encoder: the frozen encoder.
        root: folder of all stores.
        images_per_pass: after so many it is saved how far the computation got.
        progress: show a bar.
        view: read every image turned so, one of `ltad.inference.feature_store.VIEWS`; "" as it is.

    Raises:
        DatasetError: no image, an unreadable image (named), or a full disk.
    """
    if not samples:
        raise DatasetError("There is no image to read features from.")
    suffix = f"-{view}" if view else ""
    folder = Path(root) / f"{encoder.fingerprint}-{_contents(samples)}{suffix}"
    with processes.first_goes_ahead():
        store = _open(folder, tuple(samples), encoder)
    marker = folder / PROGRESS_FILE
    own = processes.share(_done(marker, 0), len(samples))
    if processes.count() == 1:
        _fill_all(store, encoder, own, marker, view, images_per_pass, progress)
        return store
    part = folder / f"{own.start}-{own.stop}-{PROGRESS_FILE}"
    left = range(_done(part, own.start), own.stop)
    _fill_all(store, encoder, left, part, view, images_per_pass,
              progress and processes.is_first())
    processes.wait()
    part.unlink(missing_ok=True)
    if processes.is_first():
        _mark(marker, len(samples))
    processes.wait()
    return store


def _fill_all(
    store: FeatureStore, encoder: Encoder, places: range, marker: Path, view: str,
    images_per_pass: int, progress: bool,
) -> None:
    """Fill some following places of the store; images are decoded while others are encoded."""

    def pixels(place: int) -> Tensor:
        return encoder.pixels(turned(_read(store.samples[place]), view))

    starts = places[::images_per_pass]
    with ThreadPoolExecutor(DECODERS) as pool:
        decoded = in_order(pool, pixels, places, AHEAD)
        for start in tqdm(starts, desc="features", unit="batch", disable=not (progress and starts)):
            stop = min(start + images_per_pass, places.stop)
            _fill(store, encoder, start, stop, decoded)
            for array in (store.patches, store.fine_patches, store.latents):
                if isinstance(array, np.memmap):
                    array.flush()
            _mark(marker, stop)


@torch.inference_mode()
def _fill(
    store: FeatureStore, encoder: Encoder, start: int, stop: int, decoded: Iterator[Tensor]
) -> None:
    settings, size = encoder.settings, batch_size(encoder.device)
    for first in range(start, stop, size):
        here = slice(first, min(first + size, stop))
        pixels = torch.stack(list(islice(decoded, here.stop - here.start)))
        features = encoder.image_features(pixels, with_latent=True)
        store.patches[here] = patch_features(features.taps, settings.grid).half().cpu().numpy()
        if store.fine_patches is not store.patches:
            fine = patch_features(features.taps, settings.semantic_grid)
            store.fine_patches[here] = fine.half().cpu().numpy()
        store.latents[here] = features.latent.half().cpu().numpy()


def _read(sample: Sample) -> Image.Image:
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


def _done(marker: Path, otherwise: int) -> int:
    return json.loads(marker.read_text())["pictures"] if marker.exists() else otherwise


def _mark(marker: Path, count: int) -> None:
    with atomic_path(marker) as part:
        part.write_text(json.dumps({"pictures": count}))


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
