"""From linear light to a stored picture: lens, sensor, JPEG."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter


@dataclass(frozen=True)
class Camera:
    """One shot's settings; ``blur`` is a share of the picture's side, ``noise`` in grey levels."""

    exposure: float
    white: np.ndarray
    vignette: float
    blur: float
    noise: float
    quality: int
    noise_seed: int


def draw_camera(rng: np.random.Generator) -> Camera:
    """A random shot with ordinary flaws."""
    return Camera(
        exposure=float(rng.uniform(0.9, 1.12)),
        white=rng.uniform(0.965, 1.035, 3).astype(np.float32),
        vignette=float(rng.uniform(0.0, 0.18)),
        blur=float(rng.uniform(0.0006, 0.0034)),
        noise=float(rng.uniform(0.8, 3.0)),
        quality=int(rng.integers(72, 98)),
        noise_seed=int(rng.integers(2**31)),
    )


def develop(light: np.ndarray, camera: Camera) -> np.ndarray:
    """Screen values before lens blur and noise, (size, size, 3) float32 in 0 to 255.

    A soft shoulder instead of a hard clip keeps highlights from turning into flat white.
    """
    size = light.shape[0]
    axis = (np.arange(size, dtype=np.float32) + 0.5) * np.float32(2 / size) - 1
    edge = 1 - camera.vignette * 0.5 * (axis[None, :] ** 2 + axis[:, None] ** 2)
    exposed = light * (edge * np.float32(camera.exposure))[..., None] * camera.white
    screen = np.sqrt(np.maximum(exposed, 0))
    over = np.maximum(screen - 0.8, 0)
    return np.float32(255) * (np.minimum(screen, 0.8) + over / (1 + over * 3.2))


def capture(screen: np.ndarray, camera: Camera) -> np.ndarray:
    """Blur, noise and a JPEG round trip; (size, size, 3) uint8."""
    size = screen.shape[0]
    picture = Image.fromarray(np.clip(screen + 0.5, 0, 255).astype(np.uint8))
    picture = picture.filter(ImageFilter.GaussianBlur(camera.blur * size))
    rng = np.random.default_rng(camera.noise_seed)
    grain = rng.standard_normal((size, size, 3), dtype=np.float32) * np.float32(camera.noise)
    noisy = np.clip(np.asarray(picture, np.float32) + grain + 0.5, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(noisy).save(file, "JPEG", quality=camera.quality)
    with Image.open(file) as stored:
        return np.array(stored.convert("RGB"))
