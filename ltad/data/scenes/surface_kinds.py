"""The kinds of surface that exist, with the words for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ltad.data.scenes import cells, textures


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
    Surface(cells.cellular, "cellular", ("cellular surface", "cells", "bumpy surface"), (*_HARD,
        "foam"), (1, 5)),
    Surface(cells.mud, "crazed", ("stone pavement", "paved surface", "mosaic", "crazed surface"),
        ("clay", "stone", "ceramic", "leather"), (0.5, 3)),
    Surface(cells.hammered, "hammered", ("hammered metal", "dimpled surface", "hammered surface"),
        ("metal", "metal", "plastic"), (2, 8), 1.3),
    Surface(cells.terrazzo, "flecked", ("terrazzo", "flecked surface", "mosaic floor"), ("stone",
        "concrete", "plastic"), (0, 0.3)),
    Surface(cells.pebbled, "pebbled", ("leather", "leather surface", "rough plastic surface"),
        ("leather", "leather", "leather", "plastic"), (0.5, 2), 2.5),
    Surface(cells.granular, "granular", ("sand", "granular surface", "rough surface", "sandpaper"),
        ("stone", "concrete", "paper", "rubber", "foam"), (0.5, 4), 1.3),
    Surface(cells.cloudy, "smooth", ("smooth surface", "painted surface", "cloudy surface"),
        (*_HARD, "leather"), (0, 1), 1.3),
    Surface(cells.cast, "rough", ("rough surface", "cast metal", "plaster", "rough wall"), ("metal",
        "stone", "concrete", "clay", "metal"), (1, 6), 2),
    Surface(cells.plain, "smooth", ("smooth surface", "plain surface", "sheet", "panel"), _HARD, (0,
        2), 2.5),
    Surface(cells.gradient, "smooth", ("gradient", "smooth surface"), _HARD, (0, 0.1), 0.5),
    Surface(cells.marble, "veined", ("marble slab", "marble", "veined surface"), ("stone",), (0,
        0.3), 1.3),
    Surface(cells.speckle, "speckled", ("granite", "speckled surface", "speckled stone"), ("stone",
        "stone", "ceramic", "plastic", "rubber"), (0, 1), 1.3),
    Surface(cells.fibres, "fibrous", ("fur", "felt", "hairy surface"), ("fabric",), (1,
        4), 1.3),
    Surface(cells.machined, "machined", ("machined metal", "milled surface", "metal surface"),
        ("metal",), (0.2, 1.5), 2.5),
)  # fmt: skip
