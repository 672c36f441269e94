"""Surfaces of scenes: what they are made of, and how they are drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ltad.synthetic.scenes import textures
from ltad.synthetic.scenes.canvas import Canvas, Light, draw_light, relief, uneven_light
from ltad.synthetic.scenes.fields import (
    COLOURS,
    FLOAT,
    MATERIALS,
    axes,
    gray_name,
    log_uniform,
    neighbour,
    pick,
    shade,
    uniform,
    value_noise,
)


@dataclass(frozen=True)
class Surface:
    """One kind of surface: its pattern, names, materials and depth of relief in pixels."""

    pattern: Callable[..., np.ndarray]
    texture: str
    nouns: tuple[str, ...]
    materials: tuple[str, ...]
    depth: tuple[float, float]
    weight: float = 1.0


_HARD = ("metal", "plastic", "wood", "stone", "ceramic", "rubber", "paper", "concrete")
_SOFT = ("fabric", "leather", "paper")
SURFACES: tuple[Surface, ...] = (
    Surface(textures.stripes, "striped", ("striped surface", "stripes", "striped pattern"), (*_HARD,
        *_SOFT), (0, 4)),
    Surface(textures.bars, "striped", ("striped cloth", "striped fabric", "bands"), _SOFT, (0,
        0.5)),
    Surface(textures.checks, "checkered", ("checkered surface", "checkerboard",
        "checkered pattern"), (*_HARD, *_SOFT), (0, 2)),
    Surface(textures.plaid, "plaid", ("plaid fabric", "plaid cloth", "tartan"), ("fabric",), (0,
        0.5)),
    Surface(textures.dots, "dotted", ("dotted surface", "dots", "dotted pattern"), (*_HARD, *_SOFT),
        (0, 4)),
    Surface(textures.weave, "woven", ("woven fabric", "woven cloth", "woven surface", "textile"),
        ("fabric", "fabric", "plastic", "metal"), (1, 4), 2),
    Surface(textures.mesh, "meshed", ("wire mesh", "grid", "metal mesh", "net"), ("metal", "metal",
        "plastic", "fabric"), (1, 4), 1.5),
    Surface(textures.scales, "scaly", ("scaly surface", "scales", "shingles"), (*_HARD, "leather"),
        (1, 5)),
    Surface(textures.bricks, "brick", ("brick wall", "wall", "bricks", "brick floor"), ("clay",
        "stone", "concrete", "ceramic", "ceramic"), (0.5, 3), 1.2),
    Surface(textures.knit, "knitted", ("knitted fabric", "knitted cloth", "knit"), ("fabric",), (1,
        4)),
    Surface(textures.chevrons, "zigzag", ("zigzag pattern", "zigzag surface", "chevrons"), (*_HARD,
        *_SOFT), (0, 3)),
    Surface(textures.waves, "wavy", ("wavy surface", "waves", "wavy pattern"), (*_HARD, *_SOFT), (0,
        4)),
    Surface(textures.honeycomb, "hexagonal", ("honeycomb", "hexagonal cells", "hexagonal pattern"),
        ("ceramic", "metal", "plastic", "paper"), (0.5, 4)),
    Surface(textures.lathe, "turned", ("turned metal surface", "metal disc", "circular pattern"),
        ("metal",), (0.3, 2), 2),
    Surface(textures.brushed, "brushed", ("brushed metal", "brushed surface", "metal surface",
        "steel sheet"), ("metal",), (0, 0.6), 3.5),
    Surface(textures.grain, "grained", ("wooden board", "wooden surface", "wood", "plank"),
        ("wood",), (0, 0.6), 2.5),
    Surface(textures.cellular, "cellular", ("cellular surface", "cells", "bumpy surface"), (*_HARD,
        "foam"), (1, 5)),
    Surface(textures.mud, "crazed", ("stone pavement", "paved surface", "mosaic", "crazed surface"),
        ("clay", "stone", "ceramic", "leather"), (0.5, 3)),
    Surface(textures.hammered, "hammered",
        ("hammered metal", "dimpled surface", "hammered surface"),
        ("metal", "metal", "plastic"), (2, 8), 1.3),
    Surface(textures.terrazzo, "flecked", ("terrazzo", "flecked surface", "mosaic floor"), ("stone",
        "concrete", "plastic"), (0, 0.3)),
    Surface(textures.pebbled, "pebbled", ("leather", "leather surface", "rough plastic surface"),
        ("leather", "leather", "leather", "plastic"), (0.5, 2), 2.5),
    Surface(textures.granular, "granular",
        ("sand", "granular surface", "rough surface", "sandpaper"),
        ("stone", "concrete", "paper", "rubber", "foam"), (0.5, 4), 1.3),
    Surface(textures.cloudy, "smooth", ("smooth surface", "painted surface", "cloudy surface"),
        (*_HARD, "leather"), (0, 1), 1.3),
    Surface(textures.cast, "rough", ("rough surface", "cast metal", "plaster", "rough wall"),
        ("metal", "stone", "concrete", "clay", "metal"), (1, 6), 2),
    Surface(textures.plain, "smooth", ("smooth surface", "plain surface", "sheet", "panel"), _HARD,
        (0, 2), 2.5),
    Surface(textures.gradient, "smooth", ("gradient", "smooth surface"), _HARD, (0, 0.1), 0.5),
    Surface(textures.marble, "veined", ("marble slab", "marble", "veined surface"), ("stone",), (0,
        0.3), 1.3),
    Surface(textures.speckle, "speckled", ("granite", "speckled surface", "speckled stone"),
        ("stone", "stone", "ceramic", "plastic", "rubber"), (0, 1), 1.3),
    Surface(textures.fibres, "fibrous", ("fur", "felt", "hairy surface"), ("fabric",), (1,
        4), 1.3),
    Surface(textures.machined, "machined", ("machined metal", "milled surface", "metal surface"),
        ("metal",), (0.2, 1.5), 2.5),
)  # fmt: skip


_weights = np.array([surface.weight for surface in SURFACES])
_WEIGHTS = _weights / _weights.sum()


def coordinates(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Image coordinates turned, shifted, sometimes seen at a slant or bent."""
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
    """A textured surface that fills the image."""
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
