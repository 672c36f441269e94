"""Twins: a good image and the same with a flaw."""

from __future__ import annotations

import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import sklearn.datasets
from PIL import Image
from tqdm import tqdm

from ltad.io.files import open_array
from ltad.models.class_names import spoken
from ltad.pretraining.towers import PHOTOGRAPHS, fetch
from ltad.pretraining.words import KIND_OF_SCENE_FLAW
from ltad.synthetic.classes import (
    PART_CLASSES,
    UNSEEN_DEFECT_TYPES,
    UNSEEN_PART_CLASSES,
    applicable_defects,
)
from ltad.synthetic.dataset import PRETRAINING_SEED
from ltad.synthetic.render import render_part
from ltad.synthetic.scenes.canvas import Canvas
from ltad.synthetic.scenes.fields import FLOAT
from ltad.synthetic.scenes.flaws import draw_flaw
from ltad.synthetic.scenes.render import render_scene

SUBJECTS = {
    "brick wall": "brick.png", "grass": "grass.png", "gravel": "gravel.png",
    "camera": "camera.png", "coins": "coins.png", "cup of coffee": "coffee.png",
    "cat": "chelsea.png", "clock": "clock_motion.png", "astronaut": "astronaut.png",
    "motorcycle": "motorcycle_left.png", "machine": "motorcycle_right.png", "moon": "moon.png",
    "page": "page.png", "rocket": "rocket.jpg", "retina": "retina.jpg", "tissue": "ihc.png",
    "text": "text.png", "stars": "hubble_deep_field.jpg",
    "temple": "china.jpg", "flower": "flower.jpg",
}
SMALLEST_CROP = 0.35
LEAST_CHANGE = 14.0 / 255
SMALLEST_FLAW, LARGEST_FLAW = 6e-4, 0.15
ATTEMPTS = 50
SEEN_PART_CLASSES = tuple(name for name in PART_CLASSES if name not in UNSEEN_PART_CLASSES)
ORIGINS = ("part", "scene", "photograph")
CHUNK = 64


def photograph_twins(
    work: str | Path, index: int, size: int, seed: int
) -> tuple[np.ndarray, np.ndarray, str, str]:
    """Twin pair `index`: images (2, size, size, 3) uint8, mask (size, size) bool, subject, flaw.

    Args:
        work: where the packages are kept.
        index: decides the photograph; with `seed` everything else.
        size: side in pixels.
        seed: of the pool.

    Returns:
        Good image and flawed image; where they differ; what they show, in words; one of
        `ltad.synthetic.scenes.flaws.FLAW_KINDS`.
    """
    subject = tuple(SUBJECTS)[index % len(SUBJECTS)]
    photograph = _photograph(str(work), subject)
    for attempt in range(ATTEMPTS):
        rng = np.random.default_rng(np.random.SeedSequence((seed, 5, index, attempt)))
        good = _view(photograph, size, rng)
        is_gray = float(np.abs(good[..., 0] - good[..., 2]).max()) < 0.01
        canvas = Canvas(good, np.ones((size, size), bool), subject)
        flawed, mask, kind = draw_flaw(canvas, rng)
        if is_gray:
            flawed = np.where(mask[..., None], flawed.mean(axis=-1, keepdims=True), good)
        if (SMALLEST_FLAW <= mask.mean() <= LARGEST_FLAW
                and np.abs(flawed - good)[mask].mean() >= LEAST_CHANGE):
            twins = (np.stack([good, flawed]) * 255).round().astype(np.uint8)
            return twins, mask, subject, kind
    raise RuntimeError(f"No visible flaw was drawn on twin {index} in {ATTEMPTS} attempts.")


@lru_cache(maxsize=len(SUBJECTS))
def _photograph(work: str, subject: str) -> Image.Image:
    file = SUBJECTS[subject]
    own = Path(sklearn.datasets.__file__).parent / "images" / file
    path = own if own.is_file() else fetch(PHOTOGRAPHS, work) / PHOTOGRAPHS.members[0] / file
    with Image.open(path) as opened:
        return opened.convert("RGB")


def _view(photograph: Image.Image, size: int, rng: np.random.Generator) -> np.ndarray:
    """A random square of it, turned, mirrored, greyed and relit; (size, size, 3) float32."""
    shorter = min(photograph.size)
    side = int(shorter * np.exp(rng.uniform(np.log(SMALLEST_CROP), 0.0)))
    left, top = (int(rng.integers(0, length - side + 1)) for length in photograph.size)
    crop = photograph.crop((left, top, left + side, top + side))
    crop = crop.resize((size, size), Image.Resampling.BICUBIC).rotate(90 * int(rng.integers(4)))
    view = np.asarray(crop, FLOAT) / 255
    if rng.random() < 0.5:
        view = view[:, ::-1]
    if rng.random() < 0.4:
        view = np.repeat(view.mean(axis=-1, keepdims=True), 3, axis=-1)
    gamma, gain = np.exp(rng.uniform(-0.4, 0.4)), rng.uniform(0.7, 1.1)
    return np.ascontiguousarray(np.clip(view ** FLOAT(gamma) * FLOAT(gain), 0, 1))


@dataclass(frozen=True)
class Pair:
    """What one pair of twins shows.

    Attributes:
        subject: in words, without an article.
        flaw: a key of `ltad.pretraining.words.FLAW_WORDS`, or "unnamed".
        origin: one of `ORIGINS`.
    """

    subject: str
    flaw: str
    origin: str


def seen_defects(part_class: str) -> tuple[str, ...]:
    """The defects of a class that the encoder may be trained on."""
    return tuple(d for d in applicable_defects(part_class) if d not in UNSEEN_DEFECT_TYPES)


def make_pair(
    index: int, size: int, seed: int, work: str | Path
) -> tuple[np.ndarray, np.ndarray, Pair]:
    """Pair `index`: images (2, size, size, 3) uint8 good then flawed, mask (size, size) bool."""
    rng = np.random.default_rng(np.random.SeedSequence((seed, index)))
    image_seed = PRETRAINING_SEED + seed * 10_000_000 + index
    origin, number = ORIGINS[index % len(ORIGINS)], index // len(ORIGINS)
    if origin == "photograph":
        twins, mask, subject, kind = photograph_twins(work, number, size, seed)
        return twins, mask, Pair(subject, KIND_OF_SCENE_FLAW[kind], origin)
    if origin == "scene":
        good = render_scene(image_seed, size, flawed=False)
        bad = render_scene(image_seed, size, flawed=True)
        pair = Pair(good.subject, KIND_OF_SCENE_FLAW[bad.flaw_kind], origin)
    else:
        part_class = SEEN_PART_CLASSES[number % len(SEEN_PART_CLASSES)]
        defect = str(rng.choice(seen_defects(part_class)))
        good = render_part(part_class, image_seed, size)
        bad = render_part(part_class, image_seed, size, defect)
        pair = Pair(spoken(part_class), defect, origin)
    return np.stack([good.image, bad.image]), bad.mask, pair


def _make_chunk(
    start: int, stop: int, size: int, seed: int, work: str
) -> tuple[np.ndarray, np.ndarray, tuple[Pair, ...]]:
    made = [make_pair(index, size, seed, work) for index in range(start, stop)]
    images, masks, pairs = zip(*made, strict=True)
    return np.stack(images), np.stack(masks), pairs


@dataclass(frozen=True)
class Pool:
    """Memory-mapped images (n, 2, S, S, 3) uint8, masks (n, S, S) bool, and their pairs."""

    images: np.ndarray
    masks: np.ndarray
    pairs: list[Pair]

    def __len__(self) -> int:
        return len(self.pairs)


def pool_folder(work: str | Path, pairs: int, size: int, seed: int) -> Path:
    """Where a pool of that size and seed lies."""
    return Path(work) / f"pool-{pairs}x{size}-seed{seed}"


def build_pool(work: str | Path, pairs: int, size: int, seed: int = 0) -> Pool:
    """Make `pairs` twin pairs under `work`, or go on where an earlier call was killed.

    A finished chunk is marked in ``done.jsonl`` after its images are on disk; a pool of another
    size or seed in the same folder is left alone, because the folder's name carries both.
    """
    fetch(PHOTOGRAPHS, work)
    folder = pool_folder(work, pairs, size, seed)
    folder.mkdir(parents=True, exist_ok=True)
    images = open_array(folder / "images.npy", (pairs, 2, size, size, 3), np.uint8)
    masks = open_array(folder / "masks.npy", (pairs, size, size), np.bool_)
    log = folder / "done.jsonl"
    done = _read_log(log)
    todo = [start for start in range(0, pairs, CHUNK) if start not in done]
    # Spawned, because a fork of a process with running threads can hang.
    workers = ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn"))
    with workers, log.open("a", encoding="utf-8") as out:
        futures = {
            start: workers.submit(
                _make_chunk, start, min(start + CHUNK, pairs), size, seed, str(work)
            )
            for start in todo
        }
        for start in tqdm(todo, desc="twins", unit=f"{CHUNK} pairs", disable=not todo):
            chunk_images, chunk_masks, chunk_pairs = futures.pop(start).result()
            images[start : start + len(chunk_images)] = chunk_images
            masks[start : start + len(chunk_masks)] = chunk_masks
            images.flush()
            masks.flush()
            done[start] = [asdict(pair) for pair in chunk_pairs]
            out.write(json.dumps({"start": start, "pairs": done[start]}) + "\n")
            out.flush()
    return Pool(images, masks, [Pair(**p) for start in sorted(done) for p in done[start]])


def _read_log(path: Path) -> dict[int, list[dict[str, Any]]]:
    done: dict[int, list[dict[str, Any]]] = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue
            done[entry["start"]] = entry["pairs"]
    return done
