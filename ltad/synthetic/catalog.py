"""How each class of rendered part is drawn: one row of a table a class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ltad.synthetic.geometry import Frame
from ltad.synthetic.objects import (
    Change,
    build_bearing,
    build_bottle_cap,
    build_button,
    build_capsule,
    build_circuit_board,
    build_connector,
    build_gear,
    build_hex_nut,
    build_screw,
    build_washer,
)
from ltad.synthetic.photo import Layers, Paint
from ltad.synthetic.textures import (
    build_brushed_metal,
    build_carpet,
    build_leather,
    build_tile,
    build_wire_mesh,
    build_wood,
)

NO_BACKGROUND = "none"


STEEL = Paint("silver", "steel", (206, 208, 212), 0.55, 1.0)
BRASS = Paint("golden", "brass", (232, 194, 104), 0.6, 1.0)
COPPER = Paint("orange", "copper", (222, 146, 108), 0.55, 1.0)
IRON = Paint("black", "iron", (92, 92, 98), 0.5, 0.8)


@dataclass(frozen=True)
class Kind:
    """One product: the first paint and background are the usual ones.

    ``turn`` is the largest turn either way in radians (pi: lies any way round), ``quarter``
    whether quarter turns also occur, ``shift`` the largest move off-centre, ``scale`` the range
    of sizes, ``bends`` whether deformation bends the outline instead of denting the surface.
    """

    build: Callable[[np.random.Generator, Frame, Paint, Change | None], Layers]
    paints: tuple[Paint, ...]
    backgrounds: tuple[str, ...] = (NO_BACKGROUND,)
    turn: float = 0.05
    quarter: bool = False
    shift: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    bends: bool = False

    @property
    def fills_image(self) -> bool:
        """Whether the part is a surface without an outline in the image."""
        return self.backgrounds == (NO_BACKGROUND,)


ANY_WAY = 3.14159

KINDS: dict[str, Kind] = {
    "hex_nut": Kind(
        build_hex_nut, (STEEL, BRASS), ("black", "concrete"), ANY_WAY, False, 0.08, (0.82, 0.94)
    ),
    "screw": Kind(
        build_screw,
        (STEEL, BRASS),
        ("white", "wooden"),
        ANY_WAY,
        False,
        0.07,
        (0.84, 0.94),
        bends=True,
    ),
    "gear": Kind(build_gear, (STEEL, BRASS), ("grey", "blue"), ANY_WAY, False, 0.05, (0.84, 0.95)),
    "washer": Kind(
        build_washer,
        (STEEL, COPPER),
        ("blue", "wooden"),
        ANY_WAY,
        False,
        0.09,
        (0.82, 0.96),
        bends=True,
    ),
    "bearing": Kind(
        build_bearing, (STEEL,), ("fabric", "green"), ANY_WAY, False, 0.04, (0.88, 0.98)
    ),
    "bottle_cap": Kind(
        build_bottle_cap,
        (
            Paint("red", "tin", (176, 40, 42), 0.62, 0.12),
            Paint("green", "tin", (36, 112, 70), 0.62, 0.12),
        ),
        ("wooden", "grey"),
        0.5,
        False,
        0.06,
        (0.84, 0.95),
    ),
    "capsule": Kind(
        build_capsule,
        (
            Paint("red", "gelatin", (190, 58, 48), 0.72, 0.0),
            Paint("blue", "gelatin", (52, 96, 176), 0.72, 0.0),
        ),
        ("grey", "metallic"),
        0.35,
        False,
        0.06,
        (0.92, 1.04),
    ),
    "button": Kind(
        build_button,
        (
            Paint("brown", "plastic", (126, 84, 56), 0.5, 0.0),
            Paint("blue", "plastic", (66, 86, 132), 0.5, 0.0),
        ),
        ("white", "fabric"),
        ANY_WAY,
        False,
        0.05,
        (0.86, 0.98),
    ),
    "circuit_board": Kind(
        build_circuit_board,
        (
            Paint("green", "fiberglass", (30, 98, 62), 0.42, 0.0),
            Paint("blue", "fiberglass", (34, 66, 128), 0.42, 0.0),
        ),
        ("white", "metallic"),
        0.06,
        False,
        0.03,
        (0.94, 1.0),
    ),
    "connector": Kind(
        build_connector,
        (
            Paint("black", "plastic", (66, 66, 70), 0.35, 0.0),
            Paint("white", "plastic", (206, 204, 196), 0.35, 0.0),
        ),
        ("metallic", "blue"),
        0.08,
        False,
        0.04,
        (0.9, 1.0),
    ),
    "leather": Kind(
        build_leather,
        (
            Paint("brown", "leather", (146, 92, 58), 0.34, 0.0),
            Paint("black", "leather", (62, 58, 58), 0.4, 0.0),
        ),
        turn=ANY_WAY,
        scale=(0.95, 1.15),
    ),
    "carpet": Kind(
        build_carpet,
        (
            Paint("grey", "wool", (146, 146, 150), 0.05, 0.0),
            Paint("blue", "wool", (88, 106, 148), 0.05, 0.0),
        ),
        scale=(0.95, 1.1),
    ),
    "wood": Kind(
        build_wood,
        (
            Paint("yellow", "pine", (214, 172, 116), 0.2, 0.0),
            Paint("brown", "walnut", (132, 92, 64), 0.25, 0.0),
        ),
        quarter=True,
        scale=(0.9, 1.1),
    ),
    "tile": Kind(
        build_tile,
        (
            Paint("white", "ceramic", (222, 220, 212), 0.6, 0.0),
            Paint("green", "ceramic", (110, 152, 140), 0.6, 0.0),
        ),
        shift=0.1,
        scale=(0.95, 1.08),
    ),
    "brushed_metal": Kind(
        build_brushed_metal,
        (
            Paint("silver", "aluminum", (214, 216, 219), 0.42, 1.0),
            Paint("golden", "brass", (226, 190, 112), 0.42, 1.0),
        ),
        quarter=True,
    ),
    "wire_mesh": Kind(
        build_wire_mesh,
        (STEEL, IRON),
        ("black", "white"),
        0.1,
        False,
        0.04,
        (0.95, 1.08),
        bends=True,
    ),
}
