"""The kinds of object that exist, with the words for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ltad.data.scenes import shapes


@dataclass(frozen=True)
class Shape:
    """One kind of object: its outline, names in one and many, and materials it is made of."""

    outline: Callable[..., shapes.Shaped]
    word: str
    singular: tuple[str, ...]
    plural: tuple[str, ...]
    materials: tuple[str, ...]


_ANY = ("metal", "metal", "plastic", "wood", "stone", "rubber", "ceramic")
SHAPES: tuple[Shape, ...] = (
    Shape(shapes.disc, "round", ("disc", "round plate", "coin"), ("discs", "coins", "buttons"),
        _ANY),
    Shape(shapes.ring, "round", ("ring", "washer", "hoop"), ("rings", "washers"), _ANY),
    Shape(shapes.ball, "round", ("ball", "sphere", "bead"), ("balls", "beads", "marbles"), (*_ANY,
        "glass")),
    Shape(shapes.pebble, "lumpy", ("pebble", "stone", "lump"), ("pebbles", "stones"), ("stone",
        "stone", "clay", "glass")),
    Shape(shapes.plate, "rectangular", ("plate", "rectangular plate", "bar"), ("plates", "bars"),
        _ANY),
    Shape(shapes.tile, "square", ("square plate", "block"), ("plates", "squares", "blocks"),
        _ANY),
    Shape(shapes.drilled_plate, "rectangular", ("plate with holes", "drilled plate"),
        ("drilled plates",), ("metal", "metal", "plastic", "wood")),
    Shape(shapes.polygon, "angular", ("polygon", "angular plate"), ("polygons", "chips"), _ANY),
    Shape(shapes.triangle, "triangular", ("triangle", "triangular plate"), ("triangles",), _ANY),
    Shape(shapes.hexagon, "hexagonal", ("hexagon", "hexagonal plate"), ("hexagons",), _ANY),
    Shape(shapes.nut, "hexagonal", ("nut", "fastener"), ("nuts", "fasteners"), ("metal", "metal",
        "plastic")),
    Shape(shapes.rosette, "wavy", ("rosette", "flower", "ornament"), ("rosettes",
        "flowers"), ("metal", "metal", "plastic", "wood")),
    Shape(shapes.star, "pointed", ("star", "pointed star"), ("stars",), _ANY),
    Shape(shapes.cross, "angular", ("cross", "plus sign"), ("crosses",), _ANY),
    Shape(shapes.crescent, "curved", ("crescent", "moon"), ("crescents",), _ANY),
    Shape(shapes.capsule, "oval", ("peg", "pin", "round bar"), ("pegs", "pins", "bars"),
        ("plastic", "plastic", "metal", "wood")),
    Shape(shapes.tablet, "round", ("tablet", "button", "disc"), ("tablets", "discs", "buttons"),
        ("plastic", "ceramic", "plastic")),
    Shape(shapes.rod, "cylindrical", ("rod", "stick", "tube", "cylinder"), ("rods", "sticks",
        "tubes"), (*_ANY, "glass")),
    Shape(shapes.threaded_rod, "threaded", ("threaded rod", "screw", "bolt"), ("screws", "bolts"),
        ("metal",)),
    Shape(shapes.vessel, "curved", ("bottle", "vase", "turned handle"), ("bottles", "vases",
        "pegs"), ("glass", "ceramic", "plastic", "wood", "metal")),
    Shape(shapes.cone, "conical", ("cone", "spike"), ("cones", "spikes"), _ANY),
    Shape(shapes.cube, "cubic", ("cube", "box", "block"), ("cubes", "boxes", "blocks"), _ANY),
    Shape(shapes.pyramid, "pointed", ("pyramid",), ("pyramids",), _ANY),
    Shape(shapes.letter, "angular", ("letter", "mark", "sign"), ("letters", "signs"), _ANY),
    Shape(shapes.key, "long", ("key",), ("keys",), ("metal",)),
    Shape(shapes.bracket, "angular", ("bracket", "corner bracket"), ("brackets",), ("metal",
        "plastic", "wood")),
    Shape(shapes.coil, "coiled", ("spring", "coil", "wire"), ("springs", "coils"), ("metal",)),
)  # fmt: skip
