"""The camera that takes both twins: lens, white balance, sensor and JPEG."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ltad.data.scenes.fields import FLOAT, axes, blur_image, uniform


@dataclass(frozen=True)
class Camera:
    """One camera's settings; `noise_seed` fixes the sensor noise."""

    vignette: float
    gains: tuple[float, float, float]
    blur: float
    noise: float
    quality: int
    noise_seed: int


def draw_camera(rng: np.random.Generator, gray: bool) -> Camera:
    """Settings of a camera; `gray` keeps the three channels equal."""
    exposure = uniform(rng, 0.85, 1.1)
    tint = np.zeros(3) if gray else rng.normal(0, 0.035, 3)
    return Camera(
        vignette=uniform(rng, 0, 0.5) if rng.random() < 0.5 else 0.0,
        gains=tuple(float(exposure * (1 + shift)) for shift in tint),
        blur=uniform(rng, 0.3, 1.1) if rng.random() < 0.6 else 0.0,
        noise=uniform(rng, 0, 0.025) if rng.random() < 0.75 else 0.0,
        quality=int(rng.integers(70, 98)),
        noise_seed=int(rng.integers(2**31)),
    )


def optics(image: np.ndarray, camera: Camera) -> np.ndarray:
    """The picture on the sensor, (size, size, 3) float32, not clipped above."""
    result = image * np.array(camera.gains, FLOAT)
    if camera.vignette:
        x, y = axes(image.shape[0])
        result *= (1 - FLOAT(camera.vignette) * (x * x + y * y))[..., None]
    return blur_image(result, camera.blur) if camera.blur else result


def expose(image: np.ndarray, camera: Camera, gray: bool) -> np.ndarray:
    """The photograph, (size, size, 3) uint8, after sensor noise and JPEG."""
    if camera.noise:
        rng = np.random.default_rng(np.random.SeedSequence(camera.noise_seed))
        shape = (*image.shape[:2], 1 if gray else 3)
        # The sum of two even draws is near enough to a bell curve and far quicker to make.
        spread = rng.random(shape, dtype=FLOAT) + rng.random(shape, dtype=FLOAT) - 1
        image = image + spread * FLOAT(camera.noise * 2.45)
    pixels = (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=camera.quality)
    return np.array(Image.open(stream).convert("RGB"))
