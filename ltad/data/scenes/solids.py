"""Objects: sprites of shaded solids, and scenes that show one of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ltad.data.scenes.canvas import Canvas, Light, draw_light, relief
from ltad.data.scenes.fields import FLOAT, axes, log_uniform, lookup, soften, uniform
from ltad.data.scenes.palette import MATERIALS, Material, gray_name, pick, shade
from ltad.data.scenes.shape_kinds import SHAPES, Shape
from ltad.data.scenes.surfaces import background

_MARGIN = 1.12


@dataclass(frozen=True)
class Solid:
    """One object before it is drawn; `seed` fixes the details of its shape and grain."""

    shape: Shape
    material: Material
    colour: tuple[float, float, float]
    gloss: float
    turn: float
    squash: float
    bevel: float
    thickness: float
    seed: int

    def turned(self, angle: float) -> Solid:
        """The same object turned by an angle in radians."""
        return replace(self, turn=self.turn + angle)


@dataclass(frozen=True)
class Sprite:
    """A drawn object: rgb (n, n, 3) and coverage (n, n), float32 in [0, 1]."""

    rgb: np.ndarray
    coverage: np.ndarray


def draw_solid(rng: np.random.Generator, shape: Shape, gray: bool) -> tuple[Solid, str]:
    """An object of some shape with everything else at random, and its colour's name."""
    material = MATERIALS[pick(rng, shape.materials)]
    name = pick(rng, material.colours)
    colour = shade(rng, name)
    if gray:
        colour = np.full(3, float(colour.mean()), FLOAT)
        name = gray_name(float(colour.mean()))
    solid = Solid(
        shape, material, tuple(colour.tolist()), uniform(rng, *material.gloss),
        turn=uniform(rng, 0, 2 * np.pi), squash=uniform(rng, 0.6, 1) if rng.random() < 0.4 else 1.0,
        bevel=log_uniform(rng, 0.03, 0.35), thickness=max(0.0, uniform(rng, -0.1, 0.18)),
        seed=int(rng.integers(2**31)),
    )  # fmt: skip
    return solid, name


def sprite(solid: Solid, pixels: int, light: Light) -> Sprite:
    """The object drawn `pixels` wide and high."""
    rng = np.random.default_rng(np.random.SeedSequence(solid.seed))
    x, y = axes(pixels)
    unit = pixels / 2 / _MARGIN
    cosine, sine = FLOAT(np.cos(solid.turn)), FLOAT(np.sin(solid.turn))
    scaled_x, scaled_y = x * FLOAT(2 * _MARGIN), y * FLOAT(2 * _MARGIN / solid.squash)
    own_x = scaled_x * cosine + scaled_y * sine
    own_y = scaled_y * cosine - scaled_x * sine
    distance, height = solid.shape.outline(own_x, own_y, rng)
    flat = height is None
    coverage = np.clip(FLOAT(0.5) - distance * FLOAT(unit * solid.squash), 0, 1)
    if flat:
        depth = np.clip(distance * FLOAT(-1 / solid.bevel), 0, 1)
        rounded = np.sqrt(np.maximum(1 - (1 - depth) ** 2, 0)) if solid.seed % 2 else depth
        height = rounded * FLOAT(solid.bevel * 0.6)
    table = rng.random((61, 67), dtype=FLOAT)
    along, across = (3, 25) if solid.material.name == "wood" else (30, 30)
    grain = lookup(table, own_x * along, own_y * across) - FLOAT(0.5)
    height = height * FLOAT(unit) + grain * FLOAT(solid.material.grain * 1.2)
    diffuse, highlight = relief(height, light, solid.gloss)
    tone = diffuse * (1 + grain * FLOAT(solid.material.grain * 1.6))
    rgb = tone[..., None] * np.array(solid.colour, FLOAT) + highlight[..., None]
    if flat and solid.thickness * unit >= 1:
        rgb, coverage = _extrude(rgb, coverage, round(solid.thickness * unit))
    return Sprite(np.clip(rgb, 0, 1), coverage)


def _extrude(rgb: np.ndarray, coverage: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """The top face with a darker side below it, `rows` pixels deep."""
    side = coverage.copy()
    reach = 1
    while reach <= rows:
        step = min(reach, rows)
        side[step:] = np.maximum(side[step:], side[:-step])
        reach *= 2
    inner = coverage[..., None]
    edge_tone = rgb.reshape(-1, 3)[coverage.ravel() > 0.5]
    base = edge_tone.mean(axis=0) if len(edge_tone) else np.full(3, 0.3, FLOAT)
    return rgb * inner + (base * FLOAT(0.45)) * (1 - inner), side


def paste(
    image: np.ndarray, region: np.ndarray, item: Sprite, row: int, column: int, shadow: float
) -> None:
    """Draws a sprite with a soft shadow into a picture, its upper left corner at (row, column).

    `image` (size, size, 3) and `region` (size, size) float32, the coverage, change in place.
    `shadow` in [0, 1] is how dark the shadow is. Parts outside the picture are cut off.
    """
    pixels, size = item.coverage.shape[0], image.shape[0]
    drop = max(1, round(pixels * 0.03))
    if shadow > 0:
        blurred = soften(item.coverage, max(0.6, pixels * 0.035))
        _blend(image, None, blurred * FLOAT(shadow), row + drop, column + drop, size)
    _blend(image, item.rgb, item.coverage, row, column, size)
    _blend(region, 1.0, item.coverage, row, column, size)


def _blend(
    target: np.ndarray, value: np.ndarray | float | None, coverage: np.ndarray,
    row: int, column: int, size: int,
) -> None:  # fmt: skip
    """target = target * (1 - coverage) + value * coverage where the two overlap."""
    pixels = coverage.shape[0]
    top, left = max(0, row), max(0, column)
    bottom, right = min(size, row + pixels), min(size, column + pixels)
    if top >= bottom or left >= right:
        return
    cut = (slice(top - row, bottom - row), slice(left - column, right - column))
    share = coverage[cut] if target.ndim == 2 else coverage[cut][..., None]
    window = target[top:bottom, left:right]
    window *= 1 - share
    if value is not None:
        window += share * (value[cut] if isinstance(value, np.ndarray) else FLOAT(value))


def solid_scene(rng: np.random.Generator, size: int) -> Canvas:
    """One object on a background, with its shadow."""
    gray = bool(rng.random() < 0.3)
    light = draw_light(rng)
    shape = pick(rng, SHAPES)
    solid, name = draw_solid(rng, shape, gray)
    backdrop, ground = background(rng, size, light, gray)
    pixels = round(size * uniform(rng, 0.5, 1.08))
    slack = max(0.02 * size, (size - pixels) * 0.5)
    row = round((size - pixels) / 2 + uniform(rng, -slack, slack))
    column = round((size - pixels) / 2 + uniform(rng, -slack, slack))
    image, coverage = backdrop.copy(), np.zeros((size, size), FLOAT)
    paste(image, coverage, sprite(solid, pixels, light), row, column, uniform(rng, 0, 0.6))
    noun = pick(rng, shape.singular)
    prefix = rng.random()
    subject = noun
    if prefix < 0.2:
        subject = f"{name} {noun}"
    elif prefix < 0.4 and solid.material.name != noun:
        subject = f"{solid.material.adjective} {noun}"
    attributes = {
        "color": name, "material": solid.material.name, "shape": shape.word, "background": ground,
    }  # fmt: skip
    return Canvas(image, coverage > 0.5, subject, attributes, backdrop)
