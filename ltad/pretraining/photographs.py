"""Twins from real photographs: a crop, and the same crop with a flaw painted on it.

What photographs look like - their noise, blur and clutter - a renderer does not teach. Twenty that
come with scikit-image and scikit-learn are cropped, turned and relit at random.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import sklearn.datasets
from PIL import Image

from ltad.data.scenes.canvas import Canvas
from ltad.data.scenes.distortions import draw_flaw
from ltad.data.scenes.fields import FLOAT
from ltad.pretraining.sources import PHOTOGRAPHS, fetch

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
        `ltad.data.scenes.distortions.FLAW_KINDS`.
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
