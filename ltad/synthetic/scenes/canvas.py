"""What a scene is drawn on, and the camera that takes it."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from ltad.synthetic.scenes.fields import FLOAT, axes, blur_image, slopes, uniform, value_noise


@dataclass
class Canvas:
    """A scene before its flaw and before the camera.

    Attributes:
        image: (size, size, 3) float32 in [0, 1].
        region: (size, size) bool, where the subject is and a flaw may lie.
        subject: what it shows, in ordinary words.
        attributes: single ordinary words by name.
        backdrop: (size, size, 3) float32, the scene without its subject, where there is one.
        edit: draws the scene again with one item missing, moved or changed and returns
            (image, changed pixels as bool), for scenes made of items.
    """

    image: np.ndarray
    region: np.ndarray
    subject: str
    attributes: dict[str, str] = field(default_factory=dict)
    backdrop: np.ndarray | None = None
    edit: Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray]] | None = None


@dataclass(frozen=True)
class Light:
    """A lamp: its unit direction (x, y, z), z towards the camera, and its strengths."""

    direction: tuple[float, float, float]
    ambient: float
    shine: float


def draw_light(rng: np.random.Generator) -> Light:
    """A lamp from any side, from raking to overhead."""
    turn, height = uniform(rng, 0, 2 * np.pi), uniform(rng, 0.35, 1.25)
    level = float(np.cos(height))
    direction = (level * float(np.cos(turn)), level * float(np.sin(turn)), float(np.sin(height)))
    return Light(direction, uniform(rng, 0.25, 0.6), uniform(rng, 4, 40))


def relief(height: np.ndarray, light: Light, gloss: float) -> tuple[np.ndarray, np.ndarray]:
    """Light on a height field in pixels: (diffuse factor, highlight), each its shape, float32.

    A flat place has the factor 1, so that an unlit pattern keeps its tones.
    """
    along_x, along_y = slopes(height)
    light_x, light_y, light_z = light.direction
    norm = 1 / np.sqrt(along_x * along_x + along_y * along_y + 1)
    facing = (FLOAT(light_z) - along_x * FLOAT(light_x) - along_y * FLOAT(light_y)) * norm
    lit = np.maximum(facing, 0) * FLOAT((1 - light.ambient) / max(light_z, 0.3))
    diffuse = FLOAT(light.ambient) + lit
    if gloss < 0.05:
        return diffuse, np.zeros_like(diffuse)
    # The half vector between lamp and camera, because the camera looks straight down.
    half = np.array([light_x, light_y, light_z + 1.0])
    half_x, half_y, half_z = (half / np.linalg.norm(half)).tolist()
    mirror = (FLOAT(half_z) - along_x * FLOAT(half_x) - along_y * FLOAT(half_y)) * norm
    highlight = FLOAT(0.7 * gloss) * np.maximum(mirror, 0) ** FLOAT(light.shine)
    resting = FLOAT(0.7 * gloss * half_z**light.shine)
    return diffuse, highlight - resting * FLOAT(0.6)


def uneven_light(rng: np.random.Generator, size: int) -> np.ndarray:
    """Brightness over the image: a ramp, soft clouds or a pool; (size, size) float32 near 1."""
    x, y = axes(size)
    strength, turn = uniform(rng, 0, 0.6), uniform(rng, 0, 2 * np.pi)
    brightness = 1 + FLOAT(strength) * (x * FLOAT(np.cos(turn)) + y * FLOAT(np.sin(turn)))
    if rng.random() < 0.4:
        clouds = value_noise(rng, size, int(rng.integers(2, 5)))
        brightness = brightness * (FLOAT(0.85) + FLOAT(0.3) * clouds)
    if rng.random() < 0.3:
        across, down = FLOAT(uniform(rng, -0.4, 0.4)), FLOAT(uniform(rng, -0.4, 0.4))
        away = ((x - across) ** 2 + (y - down) ** 2) * FLOAT(uniform(rng, 4, 20))
        brightness = brightness + FLOAT(uniform(rng, 0.1, 0.35)) * np.exp(-away)
    return brightness


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
    red, green, blue = (exposure * (1 + tint)).tolist()
    return Camera(
        vignette=uniform(rng, 0, 0.5) if rng.random() < 0.5 else 0.0,
        gains=(red, green, blue),
        blur=uniform(rng, 0.3, 1.1) if rng.random() < 0.6 else 0.0,
        noise=uniform(rng, 0, 0.025) if rng.random() < 0.75 else 0.0,
        quality=int(rng.integers(70, 98)),
        noise_seed=int(rng.integers(2**31)),
    )


def optics(image: np.ndarray, camera: Camera) -> np.ndarray:
    """The image on the sensor, (size, size, 3) float32, not clipped above."""
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
