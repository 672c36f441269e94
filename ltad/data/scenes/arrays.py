"""Scenes of many objects: regular arrays and heaps."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ltad.data.scenes.canvas import Canvas, Light, draw_light
from ltad.data.scenes.fields import FLOAT, uniform
from ltad.data.scenes.palette import pick
from ltad.data.scenes.shape_kinds import SHAPES, Shape
from ltad.data.scenes.solids import Solid, Sprite, draw_solid, paste, sprite
from ltad.data.scenes.surfaces import background

_NAMED = {shape.outline.__name__: shape for shape in SHAPES}
# Shapes that read as items set out in rows: pegs, plates, nuts, keys.
_ARRAYED = tuple(
    _NAMED[name]
    for name in ("disc", "ring", "ball", "tile", "tile", "hexagon", "nut", "rosette", "capsule",
                 "tablet", "tablet", "cube", "pyramid", "threaded_rod", "key", "letter", "star")
)  # fmt: skip


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
        """The picture (size, size, 3) float32 and the items' coverage (size, size) float32."""
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
