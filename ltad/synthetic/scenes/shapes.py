"""Outlines of objects in scenes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ltad.synthetic.scenes.fields import FLOAT, fraction, uniform

Array = np.ndarray
Shaped = tuple[Array, Array | None]
TAU = 2 * np.pi


def _box(x: Array, y: Array, wide: float, high: float, corner: float = 0.0) -> Array:
    across = np.abs(x) - FLOAT(wide - corner)
    down = np.abs(y) - FLOAT(high - corner)
    outside = np.hypot(np.maximum(across, 0), np.maximum(down, 0))
    return outside + np.minimum(np.maximum(across, down), 0) - FLOAT(corner)


def _polygon(x: Array, y: Array, sides: int, radius: float) -> Array:
    half = np.pi / sides
    angle = np.arctan2(y, x)
    wedge = (fraction(angle * FLOAT(0.5 / half)) - FLOAT(0.5)) * FLOAT(2 * half)
    return np.hypot(x, y) * np.cos(wedge) - FLOAT(radius * np.cos(half))


def disc(x: Array, y: Array, rng: np.random.Generator) -> Shaped:
    return np.hypot(x, y) - FLOAT(0.95), None


def ring(x: Array, y: Array, rng: np.random.Generator) -> Shaped:
    radius, inner = np.hypot(x, y), uniform(rng, 0.3, 0.8)
    flat = np.maximum(radius - FLOAT(0.95), FLOAT(inner) - radius)
    if rng.random() < 0.5:
        return flat, None
    return flat, np.sqrt(np.maximum((0.95 - radius) * (radius - FLOAT(inner)), 0))


def ball(x: Array, y: Array, rng: np.random.Generator) -> Shaped:
    squared = x * x + y * y
    return np.sqrt(squared) - FLOAT(0.95), np.sqrt(np.maximum(FLOAT(0.9) - squared, 0))


def pebble(x: Array, y: Array, rng: np.random.Generator) -> Shaped:
    angle, radius = np.arctan2(y, x), np.hypot(x, y)
    edge = np.full(x.shape, uniform(rng, 0.68, 0.78), FLOAT)
    for harmonic in (2, 3, 4):
        edge += FLOAT(uniform(rng, 0, 0.16) / (harmonic - 1)) * np.cos(
            angle * FLOAT(harmonic) + FLOAT(uniform(rng, 0, TAU))
        )
    inside = np.maximum(1 - (radius / edge) ** 2, 0)
    return radius - edge, np.sqrt(inside) * FLOAT(uniform(rng, 0.2, 0.7))


def plate(x: Array, y: Array, rng: np.random.Generator) -> Shaped:
    high = uniform(rng, 0.35, 0.9)
    return _box(x, y, 0.92, high, uniform(rng, 0, high * 0.6)), None


def tile(x: Array, y: Array, rng: np.random.Generator) -> Shaped:
    return _box(x, y, 0.92, 0.92, uniform(rng, 0, 0.25)), None


def drilled_plate(x: Array, y: Array, rng: np.random.Generator) -> Shaped:
    high, hole = uniform(rng, 0.45, 0.9), uniform(rng, 0.08, 0.2)
    distance = _box(x, y, 0.92, high, uniform(rng, 0, 0.3))
    holes = np.hypot(np.abs(x) - FLOAT(0.62), np.abs(y) - FLOAT(high - 0.27)) - FLOAT(hole)
    if rng.random() < 0.5:
        holes = np.minimum(holes, np.hypot(x, y) - FLOAT(uniform(rng, 0.1, 0.3)))
    return np.maximum(distance, -holes), None


def polygon(x: Array, y: Array, rng: np.random.Generator) -> Shaped:
    return _polygon(x, y, int(rng.integers(3, 9)), 0.95), None


def triangle(x: Array, y: Array, rng: np.random.Generator) -> Shaped:
    return _polygon(x, y, 3, 0.95), None


def hexagon(x: Array, y: Array, rng: np.random.Generator) -> Shaped:
    return _polygon(x, y, 6, 0.95), None


def nut(x: Array, y: Array, rng: np.random.Generator) -> Shaped:
    hole = FLOAT(uniform(rng, 0.35, 0.6)) - np.hypot(x, y)
    return np.maximum(_polygon(x, y, int(rng.choice([4, 6, 6, 8])), 0.95), hole), None


def rosette(x: Array, y: Array, rng: np.random.Generator) -> Shaped:
    teeth, depth = int(rng.integers(6, 24)), uniform(rng, 0.06, 0.2)
    radius = np.hypot(x, y)
    wave = np.sin(np.arctan2(y, x) * FLOAT(teeth)) * FLOAT(uniform(rng, 1, 5))
    distance = radius - FLOAT(0.95 - depth / 2) - np.clip(wave, -1, 1) * FLOAT(depth / 2)
    return np.maximum(distance, FLOAT(uniform(rng, 0.1, 0.45)) - radius), None


def star(x: Array, y: Array, rng: np.random.Generator) -> Shaped:
    points, depth = int(rng.integers(4, 9)), uniform(rng, 0.3, 0.6)
    wave = np.abs(fraction(np.arctan2(y, x) * FLOAT(points / TAU)) - FLOAT(0.5)) * 2
    return (np.hypot(x, y) - (FLOAT(0.95) - FLOAT(depth) * (1 - wave))) * FLOAT(0.8), None


def cross(x: Array, y: Array, rng: np.random.Generator) -> Shaped:
    arm = uniform(rng, 0.15, 0.4)
    return np.minimum(_box(x, y, 0.92, arm, 0.05), _box(x, y, arm, 0.92, 0.05)), None


def crescent(x: Array, y: Array, rng: np.random.Generator) -> Shaped:
    away = uniform(rng, 0.3, 0.7)
    return np.maximum(np.hypot(x, y) - FLOAT(0.95), 0.8 - np.hypot(x - FLOAT(away), y)), None


def capsule(x: Array, y: Array, rng: np.random.Generator) -> Shaped:
    radius = uniform(rng, 0.2, 0.4)
    along = np.maximum(np.abs(x) - FLOAT(0.93 - radius), 0)
    away = along * along + y * y
    return np.sqrt(away) - FLOAT(radius), np.sqrt(np.maximum(FLOAT(radius * radius) - away, 0))


def tablet(x: Array, y: Array, rng: np.random.Generator) -> Shaped:
    radius = np.hypot(x, y)
    dome = np.sqrt(np.maximum(FLOAT(1.0) - radius, 0)) * FLOAT(0.45)
    if rng.random() < 0.5:
        dome = dome * np.clip(np.abs(x) * 12, 0.5, 1)
    return radius - FLOAT(0.95), dome


def _turned(x: Array, y: Array, half_width: Array) -> Shaped:
    inside = np.maximum(half_width * half_width - y * y, 0)
    ends = np.abs(x) - FLOAT(0.95)
    return np.maximum((np.abs(y) - half_width) * FLOAT(0.9), ends), np.sqrt(inside)


def rod(x: Array, y: Array, rng: np.random.Generator) -> Shaped:
    return _turned(x, y, np.full(x.shape, uniform(rng, 0.06, 0.3), FLOAT))


def threaded_rod(x: Array, y: Array, rng: np.random.Generator) -> Shaped:
    width, pitch = uniform(rng, 0.12, 0.3), uniform(rng, 5, 13)
    teeth = np.abs(fraction(x * FLOAT(pitch) + y * FLOAT(uniform(rng, 0, 1.5))) - FLOAT(0.5))
    body = FLOAT(width) - teeth * FLOAT(uniform(rng, 0.06, 0.12))
    if rng.random() < 0.7:
        head = uniform(rng, 0.15, 0.35)
        body = np.where(x < FLOAT(head - 0.95), FLOAT(width * uniform(rng, 1.4, 2.2)), body)
    if rng.random() < 0.5:
        body = np.where(x > FLOAT(0.6), np.minimum(body, (0.97 - x) * FLOAT(width * 2.6)), body)
    return _turned(x, y, body)


def vessel(x: Array, y: Array, rng: np.random.Generator) -> Shaped:
    knots = np.linspace(-0.95, 0.95, 6)
    widths = np.clip(rng.uniform(0.2, 0.55, 6), 0.12, 0.6)
    widths[0] = widths[1] * uniform(rng, 0.5, 1.0)
    blend = np.interp(np.linspace(-1.1, 1.1, 128), knots, widths)
    smooth = np.convolve(np.pad(blend, 8, mode="edge"), np.ones(17) / 17, mode="valid")
    place = np.clip((x + FLOAT(1.1)) * FLOAT(127 / 2.2), 0, 127).astype(np.int32)
    return _turned(x, y, smooth.astype(FLOAT)[place])


def cone(x: Array, y: Array, rng: np.random.Generator) -> Shaped:
    slope = uniform(rng, 0.2, 0.42)
    return _turned(x, y, np.maximum((x + FLOAT(0.96)) * FLOAT(slope), FLOAT(0.001)))


def cube(x: Array, y: Array, rng: np.random.Generator) -> Shaped:
    distance = _polygon(x, y, 6, 0.95)
    turn = uniform(rng, 0.9, 1.3)
    faces = [
        x * FLOAT(np.cos(angle)) + y * FLOAT(np.sin(angle))
        for angle in (0.0, 2 * np.pi / 3, 4 * np.pi / 3)
    ]
    return distance, np.maximum(1 - np.maximum(np.maximum(*faces[:2]), faces[2]) * FLOAT(turn), 0)


def pyramid(x: Array, y: Array, rng: np.random.Generator) -> Shaped:
    distance = _polygon(x, y, int(rng.choice([3, 4, 4, 5])), 0.95)
    return distance, np.maximum(-distance, 0) * FLOAT(uniform(rng, 0.6, 1.4))


def letter(x: Array, y: Array, rng: np.random.Generator) -> Shaped:
    stroke = uniform(rng, 0.1, 0.2)
    distance = np.full(x.shape, 9, FLOAT)
    places = np.array([-0.75, 0.0, 0.75])
    for _ in range(int(rng.integers(2, 5))):
        place = float(rng.choice(places))
        if rng.random() < 0.5:
            part = _box(x - FLOAT(place), y, stroke, 0.75 + stroke, 0.03)
        else:
            part = _box(x, y - FLOAT(place), 0.75 + stroke, stroke, 0.03)
        distance = np.minimum(distance, part)
    return distance, None


def key(x: Array, y: Array, rng: np.random.Generator) -> Shaped:
    radius = uniform(rng, 0.25, 0.4)
    bow = np.abs(np.hypot(x + FLOAT(0.55), y) - FLOAT(radius * 0.75)) - FLOAT(radius * 0.28)
    shaft = _box(x - FLOAT(0.3), y, 0.62, 0.08)
    for _ in range(int(rng.integers(2, 5))):
        place, length = uniform(rng, 0.35, 0.85), uniform(rng, 0.08, 0.2)
        shaft = np.minimum(shaft, _box(x - FLOAT(place), y - FLOAT(length), 0.06, length))
    return np.minimum(bow, shaft), None


def bracket(x: Array, y: Array, rng: np.random.Generator) -> Shaped:
    arm = uniform(rng, 0.15, 0.3)
    distance = np.minimum(
        _box(x, y - FLOAT(0.92 - arm), 0.92, arm, 0.08),
        _box(x + FLOAT(0.92 - arm), y, arm, 0.92, 0.08),
    )
    holes = np.hypot(x - FLOAT(0.6), y - FLOAT(0.92 - arm)) - FLOAT(arm * 0.45)
    return np.maximum(distance, -holes), None


def coil(x: Array, y: Array, rng: np.random.Generator) -> Shaped:
    turns, wire, high = uniform(rng, 3, 7), uniform(rng, 0.06, 0.1), uniform(rng, 0.25, 0.45)
    centre = np.sin(x * FLOAT(np.pi * turns)) * FLOAT(high)
    lean = FLOAT(np.pi * turns * high) * np.cos(x * FLOAT(np.pi * turns))
    away = np.abs(y - centre) / np.sqrt(1 + lean * lean)
    distance = np.maximum(away - FLOAT(wire), np.abs(x) - FLOAT(0.95))
    return distance, np.sqrt(np.maximum(FLOAT(wire * wire) - away * away, 0))


@dataclass(frozen=True)
class Shape:
    """One kind of object: its outline, names in one and many, and materials it is made of."""

    outline: Callable[..., Shaped]
    word: str
    singular: tuple[str, ...]
    plural: tuple[str, ...]
    materials: tuple[str, ...]


_ANY = ("metal", "metal", "plastic", "wood", "stone", "rubber", "ceramic")
SHAPES: tuple[Shape, ...] = (
    Shape(disc, "round", ("disc", "round plate", "coin"), ("discs", "coins", "buttons"),
        _ANY),
    Shape(ring, "round", ("ring", "washer", "hoop"), ("rings", "washers"), _ANY),
    Shape(ball, "round", ("ball", "sphere", "bead"), ("balls", "beads", "marbles"), (*_ANY,
        "glass")),
    Shape(pebble, "lumpy", ("pebble", "stone", "lump"), ("pebbles", "stones"), ("stone",
        "stone", "clay", "glass")),
    Shape(plate, "rectangular", ("plate", "rectangular plate", "bar"), ("plates", "bars"),
        _ANY),
    Shape(tile, "square", ("square plate", "block"), ("plates", "squares", "blocks"),
        _ANY),
    Shape(drilled_plate, "rectangular", ("plate with holes", "drilled plate"),
        ("drilled plates",), ("metal", "metal", "plastic", "wood")),
    Shape(polygon, "angular", ("polygon", "angular plate"), ("polygons", "chips"), _ANY),
    Shape(triangle, "triangular", ("triangle", "triangular plate"), ("triangles",), _ANY),
    Shape(hexagon, "hexagonal", ("hexagon", "hexagonal plate"), ("hexagons",), _ANY),
    Shape(nut, "hexagonal", ("nut", "fastener"), ("nuts", "fasteners"), ("metal", "metal",
        "plastic")),
    Shape(rosette, "wavy", ("rosette", "flower", "ornament"), ("rosettes",
        "flowers"), ("metal", "metal", "plastic", "wood")),
    Shape(star, "pointed", ("star", "pointed star"), ("stars",), _ANY),
    Shape(cross, "angular", ("cross", "plus sign"), ("crosses",), _ANY),
    Shape(crescent, "curved", ("crescent", "moon"), ("crescents",), _ANY),
    Shape(capsule, "oval", ("peg", "pin", "round bar"), ("pegs", "pins", "bars"),
        ("plastic", "plastic", "metal", "wood")),
    Shape(tablet, "round", ("tablet", "button", "disc"), ("tablets", "discs", "buttons"),
        ("plastic", "ceramic", "plastic")),
    Shape(rod, "cylindrical", ("rod", "stick", "tube", "cylinder"), ("rods", "sticks",
        "tubes"), (*_ANY, "glass")),
    Shape(threaded_rod, "threaded", ("threaded rod", "screw", "bolt"), ("screws", "bolts"),
        ("metal",)),
    Shape(vessel, "curved", ("bottle", "vase", "turned handle"), ("bottles", "vases",
        "pegs"), ("glass", "ceramic", "plastic", "wood", "metal")),
    Shape(cone, "conical", ("cone", "spike"), ("cones", "spikes"), _ANY),
    Shape(cube, "cubic", ("cube", "box", "block"), ("cubes", "boxes", "blocks"), _ANY),
    Shape(pyramid, "pointed", ("pyramid",), ("pyramids",), _ANY),
    Shape(letter, "angular", ("letter", "mark", "sign"), ("letters", "signs"), _ANY),
    Shape(key, "long", ("key",), ("keys",), ("metal",)),
    Shape(bracket, "angular", ("bracket", "corner bracket"), ("brackets",), ("metal",
        "plastic", "wood")),
    Shape(coil, "coiled", ("spring", "coil", "wire"), ("springs", "coils"), ("metal",)),
)  # fmt: skip
