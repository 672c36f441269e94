"""A pool of twin images on disk, memory-mapped: made once, read in every step.

A third of the twins are rendered parts (seen classes and seen defect types only), a third generic
scenes, a third crops of photographs with a flaw painted on.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ltad.data.arrays import open_array
from ltad.data.benchmark import PRETRAINING_SEED
from ltad.data.parts import (
    PART_CLASSES,
    UNSEEN_DEFECT_TYPES,
    UNSEEN_PART_CLASSES,
    applicable_defects,
    render_part,
)
from ltad.data.scenes import render_scene
from ltad.models.names import spoken
from ltad.pretraining.photographs import photograph_twins
from ltad.pretraining.sources import PHOTOGRAPHS, fetch
from ltad.pretraining.words import KIND_OF_SCENE_FLAW

SEEN_PART_CLASSES = tuple(name for name in PART_CLASSES if name not in UNSEEN_PART_CLASSES)
ORIGINS = ("part", "scene", "photograph")
CHUNK = 64


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


def _make_chunk(start: int, stop: int, size: int, seed: int, work: str) -> tuple:
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


def _read_log(path: Path) -> dict[int, list[dict]]:
    done = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue
            done[entry["start"]] = entry["pairs"]
    return done
