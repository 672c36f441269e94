"""Scenes that one textured surface fills, and the surfaces behind objects."""

from __future__ import annotations

import numpy as np

from ltad.data.scenes.canvas import Canvas, Light, draw_light, relief, uneven_light
from ltad.data.scenes.fields import FLOAT, axes, log_uniform, uniform, value_noise
from ltad.data.scenes.palette import COLOURS, MATERIALS, gray_name, neighbour, pick, shade
from ltad.data.scenes.surface_kinds import SURFACES, Surface

_WEIGHTS = np.array([surface.weight for surface in SURFACES])
_WEIGHTS /= _WEIGHTS.sum()


def coordinates(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Picture coordinates turned, shifted, sometimes seen at a slant or bent."""
    x, y = axes(size)
    if rng.random() < 0.3:
        depth = 1 + FLOAT(uniform(rng, -0.6, 0.6)) * y + FLOAT(uniform(rng, -0.4, 0.4)) * x
        x, y = x / depth, y / depth
    # Most photographs of products are squared up with their pattern, hence the two modes.
    turn = uniform(rng, 0, 2 * np.pi) if rng.random() < 0.6 else float(rng.integers(4)) * np.pi / 2
    cosine, sine = FLOAT(np.cos(turn)), FLOAT(np.sin(turn))
    turned_x = x * cosine - y * sine + FLOAT(uniform(rng, -0.2, 0.2))
    turned_y = x * sine + y * cosine + FLOAT(uniform(rng, -0.2, 0.2))
    if rng.random() < 0.35:
        bend = FLOAT(log_uniform(rng, 0.01, 0.12))
        turned_x = turned_x + bend * value_noise(rng, size, int(rng.integers(2, 7)))
        turned_y = turned_y + bend * value_noise(rng, size, int(rng.integers(2, 7)))
    return turned_x, turned_y


def paint(
    rng: np.random.Generator, surface: Surface, size: int, colour: np.ndarray, light: Light,
    contrast: float, gloss: float,
) -> np.ndarray:  # fmt: skip
    """One surface in one light, (size, size, 3) float32, not clipped.

    `colour` is its main tone, (3,) in [0, 1], and `contrast` in [0, 1] scales the second tone.
    """
    x, y = coordinates(rng, size)
    pattern = surface.pattern(x, y, rng, size).astype(FLOAT, copy=False)
    second = neighbour(rng, colour, contrast).astype(FLOAT)
    image = second + pattern[..., None] * (colour - second)
    depth = uniform(rng, *surface.depth)
    grit = log_uniform(rng, 0.02, 0.6) if rng.random() < 0.5 else 0.0
    if depth > 0.05 or grit:
        height = pattern * FLOAT(depth)
        if grit:
            height = height + FLOAT(grit) * rng.random((size, size), dtype=FLOAT)
        diffuse, highlight = relief(height, light, gloss)
        image = image * diffuse[..., None] + highlight[..., None]
    return image


def draw_surface(rng: np.random.Generator) -> Surface:
    """One kind of surface by weight."""
    return SURFACES[int(np.searchsorted(np.cumsum(_WEIGHTS), rng.random() * 0.999999))]


def surface_scene(rng: np.random.Generator, size: int) -> Canvas:
    """A textured surface that fills the picture."""
    surface = draw_surface(rng)
    material = MATERIALS[pick(rng, surface.materials)]
    name = pick(rng, material.colours)
    colour = shade(rng, name)
    if rng.random() < 0.35:
        colour = np.full(3, uniform(rng, 0.15, 0.95), FLOAT)
        name = gray_name(float(colour[0]))
    light = draw_light(rng)
    contrast = log_uniform(rng, 0.06, 0.9)
    image = paint(rng, surface, size, colour, light, contrast, uniform(rng, *material.gloss))
    image = np.clip(image * uneven_light(rng, size)[..., None], 0, 1)
    attributes = {"color": name, "material": material.name, "texture": surface.texture}
    return Canvas(image, np.ones((size, size), bool), pick(rng, surface.nouns), attributes)


def background(
    rng: np.random.Generator, size: int, light: Light, gray: bool
) -> tuple[np.ndarray, str]:
    """What objects lie on: (size, size, 3) float32 in [0, 1], and one word for it."""
    style = rng.random()
    if style < 0.5 or gray:
        level = float(pick(rng, (0.95, 0.92, 0.85, 0.75, 0.6, 0.45, 0.3, 0.15, 0.05)))
        colour = np.full(3, level * uniform(rng, 0.9, 1.05), FLOAT)
        colour = colour * (1 + (not gray) * rng.normal(0, 0.02, 3).astype(FLOAT))
        word = gray_name(level)
    else:
        word = pick(rng, tuple(COLOURS))
        colour = shade(rng, word)
    if style < 0.45:
        image = np.empty((size, size, 3), FLOAT)
        image[:] = colour
        if rng.random() < 0.5:
            rough = value_noise(rng, size, int(log_uniform(rng, 4, size / 2))) - FLOAT(0.5)
            image += (rough * FLOAT(uniform(rng, 0.01, 0.12)))[..., None]
    else:
        surface = draw_surface(rng)
        image = paint(rng, surface, size, colour, light, log_uniform(rng, 0.04, 0.5), 0.0)
    return np.clip(image * uneven_light(rng, size)[..., None], 0, 1), word
