"""What larger amounts cost: ``python -m ltad bench --scale 10000``.

Many images through the cache, an image after a restart, features of a data set, and epochs from
stored features beside epochs with the encoder in them. Images are made up, as those of
`ltad.bench.speed`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image

from ltad.bench.speed import Timing, full_size_align, made_up_images
from ltad.config import preset
from ltad.inference.feature_store import FeatureStore, build_store
from ltad.inference.registry import load_scorer
from ltad.inference.scorer import Scorer
from ltad.io.threads import hand_back_freed
from ltad.models.align import AlignEncoder, Encoder
from ltad.models.detector import Detector
from ltad.training.phases import TrainingData, train_phase1, train_phase2
from ltad.types import Sample

BATCH = 32
EPOCHS, LEARNED = 4, 64
"""Of the timed training, and images that it learns from."""
EXTRACTED = 256
RESTARTED = 20


def measure(
    scorer: Scorer, model: str | Path, cache: Path, images: int, with_align: bool
) -> dict[str, Any]:
    """Everything of this module, as plain data.

    Args:
        scorer: of the model, on that cache.
        model: its folder.
        cache: in use by the scorer.
        images: that go through the cache.
        with_align: features and epochs of full-size ALIGN's architecture too.
    """
    found: dict[str, Any] = {
        "same image after a restart, ms": vars(restart(model, str(scorer.encoder.device), cache)),
        "extraction": extraction(scorer.encoder),
        "megabytes after images": memory_of_many(scorer, images),
    }
    if with_align:
        assert isinstance(scorer.encoder, AlignEncoder)
        full_size = full_size_align(scorer.encoder.tokenizer)
        found["full-size ALIGN, extraction"] = extraction(full_size, 2 * BATCH)
        found["full-size ALIGN, epochs"] = epochs(full_size)
    return found


def memory_of_many(scorer: Scorer, images: int, looks: int = 10) -> list[tuple[int, int]]:
    """Score different images; (images so far, MB held) at regular intervals, the first at none.

    As the page does at intervals, freed memory is handed back before each look.
    """
    held, made = [(0, _megabytes())], made_up_images(100_000)
    for count in range(1, looks + 1):
        wanted = images * count // looks - held[-1][0]
        for image in islice(made, wanted):
            scorer.score(image)
        held.append((held[-1][0] + wanted, _megabytes()))
    return held


def _megabytes() -> int:
    hand_back_freed()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)


def restart(model: str | Path, device: str, cache: Path) -> Timing:
    """The first score of an image by a model loaded anew, on the cache that knew the image."""
    images = list(islice(made_up_images(50_000), RESTARTED))
    before, after = load_scorer(model, device, cache), load_scorer(model, device, cache)
    after.warm_up()
    taken = list[float]()
    for image in images:
        before.score(image)
    for image in images:
        began = time.perf_counter()
        after.score(image)
        taken.append(time.perf_counter() - began)
    return Timing.of(taken)


def extraction(encoder: Encoder, images: int = EXTRACTED) -> dict[str, float]:
    """Features of image files a second, and of pixels that need no decoding, in turn."""
    with TemporaryDirectory() as folder:
        files = list[Path]()
        for number, image in enumerate(islice(made_up_images(70_000), images)):
            files.append(Path(folder) / f"{number}.jpg")
            Image.fromarray(image).save(files[-1])
        samples = [Sample(file, "part", "train") for file in files]
        pixels = torch.rand(BATCH, 3, *[encoder.settings.image_size] * 2) * 2 - 1
        stored, bare = list[float](), list[float]()
        for turn in range(3):
            began = time.perf_counter()
            build_store(samples, encoder, Path(folder) / str(turn), progress=False)
            stored.append(images / (time.perf_counter() - began))
            began = time.perf_counter()
            with torch.inference_mode():
                for _ in range(images // BATCH):
                    encoder.image_features(pixels, with_latent=True)
            bare.append(images // BATCH * BATCH / (time.perf_counter() - began))
    return {"files a second": round(float(np.median(stored)), 2),
            "bare tower, images a second": round(float(np.median(bare)), 2)}


def epochs(encoder: AlignEncoder, images: int = LEARNED) -> dict[str, float]:
    """Milliseconds an image of both phases from stored features, and of the tower that it saves.

    The paper's settings for MVTec AD, on features that are made up.
    """
    config = preset("paper-mvtec").replace(
        phase1_epochs=EPOCHS, phase2_epochs=EPOCHS, batch_size=BATCH)
    names = tuple(f"class {number}" for number in range(4))
    samples = tuple(Sample(Path(f"{number}.png"), names[number % 4], "train")
                    for number in range(images))
    patches, latents = (
        np.random.default_rng(0).standard_normal((images, *shape), dtype=np.float32).astype(
            np.float16)
        for shape in ((sum(encoder.channels), *[config.features.grid] * 2), encoder.latent_shape)
    )
    data = TrainingData.of(FeatureStore(samples, patches, patches, latents), range(images), names,
                           encoder.device)
    detector = Detector(names, encoder, config).to(encoder.device)
    tower = _tower(encoder)
    found = {"tower alone, ms an image": round(tower, 2)}
    for phase, train in (("phase 1", train_phase1), ("phase 2", train_phase2)):
        stored = _step(partial(train, detector, encoder, data)) / BATCH
        found[f"{phase} from stored features, ms an image"] = round(stored, 2)
        found[f"{phase}, epochs faster"] = round((stored + tower) / stored, 2)
    return found


def _step(train: Callable[..., None]) -> float:
    """Milliseconds of a training's middle step."""
    ends = list[float]()

    def note(phase: str, step: int, steps: int, losses: Mapping[str, float]) -> None:
        ends.append(time.perf_counter())

    with TemporaryDirectory() as folder:
        train(Path(folder) / "state.safetensors", {}, note)
    return 1e3 * float(np.median(np.diff(ends)))


def _tower(encoder: Encoder) -> float:
    """Milliseconds of the image tower for one of a batch of images."""
    pixels = torch.rand(BATCH, 3, *[encoder.settings.image_size] * 2) * 2 - 1
    taken = list[float]()
    with torch.inference_mode():
        for _ in range(4):
            began = time.perf_counter()
            encoder.image_features(pixels, with_latent=True)
            taken.append(time.perf_counter() - began)
    return 1e3 * float(np.median(taken[1:])) / BATCH
