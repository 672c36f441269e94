"""A pool of rendered twin pictures on disk, memory-mapped: rendered once, read in every epoch.

Half of the pairs are parts (seen classes and seen defect types only), half are generic scenes.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
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

SEEN_PART_CLASSES = tuple(name for name in PART_CLASSES if name not in UNSEEN_PART_CLASSES)
CHUNK = 64


@dataclass(frozen=True)
class Pair:
    """What one pair of twins shows: enough to write captions for it."""

    subject: str
    attributes: dict[str, str]
    defect: str | None
    is_part: bool


def seen_defects(part_class: str) -> tuple[str, ...]:
    """The defects of a class that the encoder may be trained on."""
    return tuple(d for d in applicable_defects(part_class) if d not in UNSEEN_DEFECT_TYPES)


def render_pair(index: int, size: int, seed: int) -> tuple[np.ndarray, np.ndarray, Pair]:
    """Pair `index`: pictures (2, size, size, 3) uint8 good then flawed, mask (size, size) bool."""
    rng = np.random.default_rng(np.random.SeedSequence((seed, index)))
    picture_seed = PRETRAINING_SEED + seed * 10_000_000 + index
    if index % 2:
        good = render_scene(picture_seed, size, flawed=False)
        bad = render_scene(picture_seed, size, flawed=True)
        pair = Pair(good.subject, good.attributes, None, is_part=False)
    else:
        part_class = SEEN_PART_CLASSES[(index // 2) % len(SEEN_PART_CLASSES)]
        defect = str(rng.choice(seen_defects(part_class)))
        good = render_part(part_class, picture_seed, size)
        bad = render_part(part_class, picture_seed, size, defect)
        pair = Pair(part_class, good.attributes, defect, is_part=True)
    return np.stack([good.image, bad.image]), bad.mask, pair


def _render_chunk(start: int, stop: int, size: int, seed: int) -> tuple:
    rendered = [render_pair(index, size, seed) for index in range(start, stop)]
    images, masks, pairs = zip(*rendered, strict=True)
    return np.stack(images), np.stack(masks), pairs


@dataclass(frozen=True)
class Pool:
    """Memory-mapped pictures (n, 2, S, S, 3) uint8, masks (n, S, S) bool, and their pairs."""

    images: np.ndarray
    masks: np.ndarray
    pairs: list[Pair]

    @cached_property
    def subjects(self) -> np.ndarray:
        """(n,) int64, the index of each pair's subject among all subjects in sorted order."""
        return np.unique([pair.subject for pair in self.pairs], return_inverse=True)[1]

    @cached_property
    def part_positions(self) -> np.ndarray:
        """Positions of the pairs that show parts."""
        return np.flatnonzero([pair.is_part for pair in self.pairs])

    def positions_of(self, part_classes: tuple[str, ...]) -> np.ndarray:
        """Positions of the pairs that show one of these part classes."""
        return np.flatnonzero(
            [pair.is_part and pair.subject in part_classes for pair in self.pairs]
        )

    @cached_property
    def scene_positions(self) -> np.ndarray:
        """Positions of the pairs that show generic scenes."""
        return np.flatnonzero([not pair.is_part for pair in self.pairs])


def build_pool(folder: str | Path, pairs: int, size: int, seed: int = 0) -> Pool:
    """Render `pairs` twin pairs under `folder`, or go on where an earlier call was killed.

    A finished chunk is marked in ``done.jsonl`` after its pictures are on disk; a pool of another
    size or seed in the same folder is left alone, because the folder's name carries both.
    """
    folder = Path(folder) / f"pool-{pairs}x{size}-seed{seed}"
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
            start: workers.submit(_render_chunk, start, min(start + CHUNK, pairs), size, seed)
            for start in todo
        }
        for start in tqdm(todo, desc="rendering", unit=f"{CHUNK} pairs", disable=not todo):
            chunk_images, chunk_masks, chunk_pairs = futures.pop(start).result()
            images[start : start + len(chunk_images)] = chunk_images
            masks[start : start + len(chunk_masks)] = chunk_masks
            images.flush()
            masks.flush()
            done[start] = [asdict(pair) for pair in chunk_pairs]
            out.write(json.dumps({"start": start, "pairs": done[start]}) + "\n")
            out.flush()
    listed = [Pair(**pair) for start in sorted(done) for pair in done[start]]
    return Pool(images, masks, listed)


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
