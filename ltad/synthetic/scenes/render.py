"""Scenes with captions' facts: the entry point of the package."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ltad.synthetic.scenes.canvas import Camera, Canvas, draw_camera, expose, optics
from ltad.synthetic.scenes.fields import FLOAT
from ltad.synthetic.scenes.flaws import FALLBACK, draw_flaw, fallback
from ltad.synthetic.scenes.objects import array_scene, heap_scene, solid_scene
from ltad.synthetic.scenes.surfaces import surface_scene

_FAMILIES = ((surface_scene, 0.46), (solid_scene, 0.3), (array_scene, 0.14), (heap_scene, 0.1))
# Aimed above the promised 6 grey levels, because noise and JPEG take some of it away.
_VISIBLE = 10.0 / 255
_SMALLEST_MASK = 20 / 160**2


@dataclass(frozen=True)
class RenderedScene:
    """A rendered image of anything.

    Attributes:
        image: (size, size, 3) uint8.
        mask: (size, size) bool, the pixels of the flaw; all False without one.
        subject: what it shows in ordinary words, e.g. "striped surface".
        flawed: whether it has a flaw.
        flaw_kind: one of `ltad.synthetic.scenes.flaws.FLAW_KINDS`; "" without a flaw.
        attributes: single ordinary words; always "color" and "material", and at least one of
            "texture", "shape" and "background".
    """

    image: np.ndarray
    mask: np.ndarray
    subject: str
    flawed: bool
    attributes: dict[str, str]
    flaw_kind: str = ""


def render_scene(seed: int, size: int = 160, flawed: bool = False) -> RenderedScene:
    """Renders scene number `seed`, the same on every machine.

    With `flawed` it is the twin of the image without: scene, light and camera are the same and
    the flaw is added. The mask then holds at least 20 pixels at size 160, in proportion at
    others, and the twins differ in it by about 6 grey levels or more on average.

    Raises ValueError for a negative seed or a size below 32.
    """
    if seed < 0 or size < 32:
        raise ValueError(f"seed must be at least 0 and size at least 32, got {seed} and {size}")
    scene_rng, camera_rng, flaw_rng = (
        np.random.default_rng(child) for child in np.random.SeedSequence([7351, seed]).spawn(3)
    )
    canvas = _draw_scene(scene_rng, size)
    sample = canvas.image[::5, ::5]
    gray = float(np.abs(sample[..., 0] - sample[..., 2]).max()) < 0.004
    camera = draw_camera(camera_rng, gray)
    sensed = optics(canvas.image, camera)
    mask, kind = np.zeros((size, size), bool), ""
    if flawed:
        sensed, mask, kind = _visible_flaw(canvas, flaw_rng, camera, sensed, gray)
    photograph = expose(sensed, camera, gray)
    return RenderedScene(photograph, mask, canvas.subject, flawed, dict(canvas.attributes), kind)


def _draw_scene(rng: np.random.Generator, size: int) -> Canvas:
    choice, total = rng.random(), 0.0
    for family, share in _FAMILIES:
        total += share
        if choice < total:
            return family(rng, size)
    return surface_scene(rng, size)


def _visible_flaw(
    canvas: Canvas, rng: np.random.Generator, camera: Camera, sensed: np.ndarray, gray: bool
) -> tuple[np.ndarray, np.ndarray, str]:
    """The flawed image on the sensor, made stronger where it is hard to see; mask and kind."""
    least = _SMALLEST_MASK * canvas.region.size
    image, mask, kind = canvas.image, np.zeros(canvas.region.shape, bool), FALLBACK
    for attempt in range(4):
        image, mask, kind = (
            draw_flaw(canvas, rng) if attempt < 3 else (*fallback(canvas, rng), FALLBACK)
        )
        if gray:
            # A monochrome camera shows a coloured flaw in grey; colour would give it away.
            tone = image.mean(axis=-1, keepdims=True)
            image = np.where(mask[..., None], tone, canvas.image).astype(FLOAT)
        covered = int(mask.sum())
        if covered < least or covered > 0.2 * mask.size:
            continue
        result = optics(image, camera)
        strength = _difference(result, sensed, mask)
        if strength >= _VISIBLE:
            return result, mask, kind
        if strength < _VISIBLE / 8:
            # A change this faint is mostly rounding; making it stronger would only show noise.
            continue
        factor = FLOAT(min(8.0, 1.15 * _VISIBLE / strength))
        stronger = np.clip(canvas.image + (image - canvas.image) * factor, 0, 1)
        result = optics(stronger, camera)
        if _difference(result, sensed, mask) >= _VISIBLE:
            return result, mask, kind
    # The fallback blob contrasts with what it covers, so it is kept whatever its strength.
    return optics(image, camera), mask, kind


def _difference(first: np.ndarray, second: np.ndarray, mask: np.ndarray) -> float:
    """Mean absolute difference of two images in the mask, as the sensor clips them."""
    inside = np.minimum(first[mask], 1) - np.minimum(second[mask], 1)
    return float(np.abs(inside).mean())
