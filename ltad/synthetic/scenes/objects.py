"""Objects of scenes: one solid, or many in rows and heaps."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ltad.synthetic.scenes.canvas import Canvas, Light, draw_light, relief
from ltad.synthetic.scenes.fields import (
    FLOAT,
    MATERIALS,
    Material,
    axes,
    gray_name,
    log_uniform,
    lookup,
    pick,
    shade,
    soften,
    uniform,
)
from ltad.synthetic.scenes.shapes import SHAPES, Shape
from ltad.synthetic.scenes.surfaces import background

_MARGIN = 1.12
_NAMED = {shape.outline.__name__: shape for shape in SHAPES}
# Shapes that read as items set out in rows: pegs, plates, nuts, keys.
_ARRAYED = tuple(
    _NAMED[name]
    for name in ("disc", "ring", "ball", "tile", "tile", "hexagon", "nut", "rosette", "capsule",
                 "tablet", "tablet", "cube", "pyramid", "threaded_rod", "key", "letter", "star")
)  # fmt: skip


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
    red, green, blue = colour.tolist()
    solid = Solid(
        shape, material, (red, green, blue), uniform(rng, *material.gloss),
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
    """Draws a sprite with a soft shadow into an image, its upper left corner at (row, column).

    `image` (size, size, 3) and `region` (size, size) float32, the coverage, change in place.
    `shadow` in [0, 1] is how dark the shadow is. Parts outside the image are cut off.
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


@dataclass(frozen=True)
class Place:
    """Where one item lies: its upper left corner, its kind and a factor on its brightness."""

    row: int
    column: int
    kind: int
    gain: float


@dataclass(frozen=True)
class Layout:
    """Items on a backdrop, drawn in order. `pixels` is the width of every sprite."""

    backdrop: np.ndarray
    solids: tuple[Solid, ...]
    places: tuple[Place, ...]
    pixels: int
    light: Light
    shadow: float

    def compose(self) -> tuple[np.ndarray, np.ndarray]:
        """The image (size, size, 3) float32 and the items' coverage (size, size) float32."""
        sprites = [sprite(solid, self.pixels, self.light) for solid in self.solids]
        image = self.backdrop.copy()
        coverage = np.zeros(image.shape[:2], FLOAT)
        for place in self.places:
            item = sprites[place.kind]
            dimmed = Sprite(np.clip(item.rgb * FLOAT(place.gain), 0, 1), item.coverage)
            paste(image, coverage, dimmed, place.row, place.column, self.shadow)
        return image, coverage


def _changed(layout: Layout, rng: np.random.Generator) -> Layout:
    """The layout with one item missing, moved, turned, recoloured or replaced."""
    size = layout.backdrop.shape[0]
    inside = [
        number for number, place in enumerate(layout.places)
        if -layout.pixels // 4 <= place.row <= size - layout.pixels * 3 // 4
        and -layout.pixels // 4 <= place.column <= size - layout.pixels * 3 // 4
    ]  # fmt: skip
    target = pick(rng, inside or list(range(len(layout.places))))
    places, place = list(layout.places), layout.places[target]
    solid = layout.solids[place.kind]
    kind = int(rng.integers(5))
    if kind == 0:
        del places[target]
        return replace(layout, places=tuple(places))
    if kind == 1:
        reach = layout.pixels * uniform(rng, 0.2, 0.6)
        angle = uniform(rng, 0, 2 * np.pi)
        row, column = round(reach * np.sin(angle)), round(reach * np.cos(angle))
        places[target] = replace(place, row=place.row + row, column=place.column + column)
        return replace(layout, places=tuple(places))
    if kind == 2:
        changed = solid.turned(uniform(rng, 0.3, 2.8))
    elif kind == 3:
        colour = tuple(float(value) for value in rng.uniform(0.05, 0.95, 3))
        changed = replace(solid, colour=colour)
    else:
        changed = replace(solid, shape=pick(rng, SHAPES), seed=solid.seed + 1)
    places[target] = replace(place, kind=len(layout.solids))
    return replace(layout, places=tuple(places), solids=(*layout.solids, changed))


def _canvas(layout: Layout, subject: str, attributes: dict[str, str]) -> Canvas:
    image, coverage = layout.compose()

    def edit(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        other, _ = _changed(layout, rng).compose()
        return other, np.abs(other - image).max(axis=-1) > 0.02

    return Canvas(image, coverage > 0.5, subject, attributes, edit=edit)


def _lattice(rng: np.random.Generator, size: int, pixels: int) -> list[tuple[int, int]]:
    """Upper left corners of items in rows, in staggered rows or round a circle."""
    pitch = pixels * uniform(rng, 0.95, 1.35)
    style = rng.random()
    if style < 0.15:
        count = int(rng.integers(5, 11))
        radius, start = size * 0.36, uniform(rng, 0, 6.28)
        angles = start + np.arange(count) * 2 * np.pi / count
        centres = [(radius * np.sin(angle), radius * np.cos(angle)) for angle in angles]
    else:
        stagger = 0.5 if style < 0.4 else 0.0
        turn = uniform(rng, -0.25, 0.25) if rng.random() < 0.4 else 0.0
        reach = int(size / pitch / 2) + 2
        steps = range(-reach, reach + 1)
        flat = [
            (row * pitch, (column + stagger * (row % 2)) * pitch)
            for row in steps for column in steps
        ]  # fmt: skip
        cosine, sine = np.cos(turn), np.sin(turn)
        centres = [(r * cosine - c * sine, r * sine + c * cosine) for r, c in flat]
    corner = (size - pixels) / 2
    places = [(round(corner + row), round(corner + column)) for row, column in centres]
    return [(r, c) for r, c in places if -pixels * 0.7 < r < size and -pixels * 0.7 < c < size]


def array_scene(rng: np.random.Generator, size: int) -> Canvas:
    """Equal items in a regular arrangement."""
    gray = bool(rng.random() < 0.3)
    light = draw_light(rng)
    shape: Shape = pick(rng, _ARRAYED)
    solid, name = draw_solid(rng, shape, gray)
    if rng.random() < 0.7:
        solid = replace(solid, turn=float(rng.integers(4)) * np.pi / 2, squash=1.0)
    backdrop, ground = background(rng, size, light, gray)
    pixels = round(size * uniform(rng, 0.13, 0.34))
    uneven = uniform(rng, 0, 0.12)
    wander = pixels * uniform(rng, 0, 0.06)
    places = tuple(
        Place(row + round(uniform(rng, -wander, wander)),
              column + round(uniform(rng, -wander, wander)), 0, 1 + uniform(rng, -uneven, uneven))
        for row, column in _lattice(rng, size, pixels)
    )  # fmt: skip
    layout = Layout(backdrop, (solid,), places, pixels, light, uniform(rng, 0, 0.5))
    plural = pick(rng, shape.plural)
    subject = f"{pick(rng, ('set', 'group', 'array', 'grid'))} of {plural}"
    attributes = {
        "color": name, "material": solid.material.name, "shape": shape.word, "background": ground,
    }  # fmt: skip
    return _canvas(layout, subject, attributes)


def heap_scene(rng: np.random.Generator, size: int) -> Canvas:
    """Many items lying anywhere, of one kind or mixed."""
    gray = bool(rng.random() < 0.3)
    light = draw_light(rng)
    mixed = rng.random() < 0.4
    shape = pick(rng, SHAPES)
    drawn = [
        draw_solid(rng, pick(rng, SHAPES) if mixed else shape, gray)
        for _ in range(int(rng.integers(4, 7)))
    ]
    solids, name = tuple(solid for solid, _ in drawn), drawn[0][1]
    if not mixed and rng.random() < 0.6:
        solids = tuple(
            replace(solids[0], turn=solid.turn, seed=solid.seed) for solid in solids
        )
    backdrop, ground = background(rng, size, light, gray)
    pixels = round(size * uniform(rng, 0.18, 0.5))
    count = int(np.clip((size / pixels) ** 2 * uniform(rng, 0.4, 2.2), 3, 34))
    places = tuple(
        Place(int(rng.integers(-pixels // 3, size - pixels * 2 // 3)),
              int(rng.integers(-pixels // 3, size - pixels * 2 // 3)),
              int(rng.integers(len(solids))), uniform(rng, 0.85, 1.1))
        for _ in range(count)
    )  # fmt: skip
    layout = Layout(backdrop, solids, places, pixels, light, uniform(rng, 0.1, 0.6))
    subject = pick(rng, ("pile of objects", "collection of objects", "heap of parts"))
    attributes = {"color": name, "material": solids[0].material.name, "background": ground}
    if mixed:
        attributes = {"color": "colorful", "material": "mixed", "background": ground}
    else:
        subject = f"{pick(rng, ('pile', 'heap', 'group'))} of {pick(rng, shape.plural)}"
        attributes["shape"] = shape.word
    return _canvas(layout, subject, attributes)
