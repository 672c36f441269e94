"""Rendered objects: electric, molded and turned parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ltad.synthetic.geometry import (
    Frame,
    along,
    bevel,
    circle_points,
    dome,
    field,
    fractal,
    hexagon,
    local,
    rectangle,
    ring_radius,
    smoothstep,
    stadium,
)
from ltad.synthetic.photo import Layers, Paint, linear, start_layers

SOLDER = linear(205, 207, 208)
GOLD = linear(232, 198, 112)
BODY_BLACK = linear(40, 40, 43)
CERAMIC = linear(176, 138, 98)

TRACES = (
    ((-0.62, -0.3), (-0.75, -0.3), (-0.75, 0.35), (-0.5, 0.35)),
    ((-0.62, -0.14), (-0.69, -0.14), (-0.69, 0.22), (-0.5, 0.22)),
    ((0.02, -0.3), (0.15, -0.3), (0.3, -0.45), (0.5, -0.45)),
    ((0.02, -0.14), (0.2, -0.14), (0.32, -0.2), (0.5, -0.2)),
    ((0.02, 0.02), (0.2, 0.02), (0.27, 0.05), (0.5, 0.05)),
    ((-0.14, 0.35), (0.1, 0.35), (0.16, 0.4), (0.3, 0.4)),
    ((-0.14, 0.22), (0.12, 0.22), (0.2, 0.28), (0.3, 0.28)),
    ((0.72, -0.45), (0.82, -0.45), (0.82, 0.4), (0.66, 0.4)),
    ((0.72, -0.2), (0.77, -0.2), (0.77, 0.05), (0.72, 0.05)),
    ((-0.3, -0.36), (-0.3, -0.52), (0.2, -0.52), (0.27, -0.58), (0.6, -0.58)),
)
VIAS = (
    (-0.75, 0.0),
    (0.15, -0.3),
    (0.2, 0.02),
    (0.82, 0.0),
    (-0.3, -0.52),
    (0.6, -0.58),
    (0.1, 0.35),
)
HOLES = ((-0.84, -0.54), (0.84, -0.54), (-0.84, 0.54), (0.84, 0.54))
CRIMPS = 21
CREAM = linear(232, 226, 206)
DARK_OIL = linear(36, 34, 32)


class Place(NamedTuple):
    """Position of a piece in part units and its turn in radians."""

    u: float
    v: float
    turn: float = 0.0


@dataclass(frozen=True)
class Change:
    """One wrong piece: gone, or moved by (along, across) of its own size and turned."""

    missing: bool
    pick: float
    along: float = 0.0
    across: float = 0.0
    turn: float = 0.0

    def index(self, count: int) -> int:
        """Which of ``count`` pieces is wrong."""
        return min(int(self.pick * count), count - 1)


def arrange(places: list[Place], change: Change | None, reach: float) -> list[Place | None]:
    """The places after the change; ``None`` stands for the missing piece."""
    arranged: list[Place | None] = list(places)
    if change is not None and places:
        index = change.index(len(places))
        place = places[index]
        arranged[index] = (
            None
            if change.missing
            else Place(
                place.u + change.along * reach,
                place.v + change.across * reach,
                place.turn + change.turn,
            )
        )
    return arranged


CHIP = Place(-0.3, -0.14)
SMALL_PARTS = (
    Place(-0.32, 0.35),
    Place(-0.32, 0.22),
    Place(0.61, -0.45),
    Place(0.61, -0.2),
    Place(0.61, 0.05),
)
CAN = Place(0.48, 0.34)


def build_circuit_board(
    rng: np.random.Generator, frame: Frame, paint: Paint, change: Change | None
) -> Layers:
    """A lacquered board with traces, one chip, five ceramic parts and a capacitor can."""
    outline = rectangle(frame.u, frame.v, 0.94, 0.64, 0.04)
    cover = frame.cover(outline)
    height = np.full_like(cover, 0.08) - 0.02 * (1 - bevel(outline, 0.02))
    layers = start_layers(cover, height * frame.scale, paint.albedo, paint.gloss, 0.0)
    layers.albedo *= (1 + 0.03 * field(rng, frame.size, 12))[..., None]
    copper = frame.ink_part(TRACES, 0.026)
    layers.paint(copper, paint.albedo * 1.7 + 0.02)
    layers.lift(copper, 0.004 * frame.scale)
    for hole in HOLES:
        _add_eye(frame, layers, Place(*hole), 0.075, 0.045, True)
    for via in VIAS:
        _add_eye(frame, layers, Place(*via), 0.03, 0.013, False)
    places = arrange([*SMALL_PARTS, CAN, CHIP], change, 0.16)
    for home, place in zip(SMALL_PARTS, places, strict=False):
        _add_small_part(frame, layers, home, place)
    _add_can(frame, layers, places[-2])
    _add_chip(frame, layers, places[-1])
    return layers


def _close_up(frame: Frame, layers: Layers, place: Place, reach: float) -> tuple[Frame, Layers]:
    cropped, window = frame.near(place, reach)
    return cropped, layers.window(window)


def _add_eye(
    frame: Frame, layers: Layers, place: Place, outer: float, inner: float, open_through: bool
) -> None:
    frame, layers = _close_up(frame, layers, place, outer)
    distance = ring_radius(*local(frame.u, frame.v, place))
    layers.paint(frame.cover(distance - outer), GOLD, 0.5, 1.0)
    if open_through:
        layers.cover *= 1 - frame.cover(distance - inner)
    else:
        layers.paint(frame.cover(distance - inner), BODY_BLACK, 0.1, 0.0)


def _add_small_part(frame: Frame, layers: Layers, home: Place, place: Place | None) -> None:
    frame, layers = _close_up(frame, layers, home, 0.4)
    u, v = local(frame.u, frame.v, home)
    pads = rectangle(np.abs(u) - 0.115, v, 0.05, 0.055, 0.01)
    layers.paint(frame.cover(pads), SOLDER, 0.5, 1.0)
    layers.lift(bevel(pads, 0.05), 0.02 * frame.scale)
    if place is None:
        return
    u, v = local(frame.u, frame.v, place)
    body = rectangle(u, v, 0.115, 0.05, 0.006)
    weight = frame.cover(body)
    layers.paint(weight, CERAMIC, 0.3, 0.0)
    layers.paint(weight * frame.cover(0.075 - np.abs(u)), SOLDER, 0.5, 1.0)
    layers.lift(weight * (0.6 + 0.4 * bevel(body, 0.02)), 0.06 * frame.scale)


def _add_can(frame: Frame, layers: Layers, place: Place | None) -> None:
    frame, layers = _close_up(frame, layers, CAN, 0.4)
    radius = ring_radius(*local(frame.u, frame.v, CAN))
    layers.paint(frame.cover(np.abs(radius - 0.175) - 0.008), linear(226, 226, 220))
    u, v = local(frame.u, frame.v, CAN)
    layers.paint(frame.cover(ring_radius(np.abs(u) - 0.07, v) - 0.035), SOLDER, 0.5, 1.0)
    if place is None:
        return
    u, v = local(frame.u, frame.v, place)
    body = ring_radius(u, v) - 0.15
    weight = frame.cover(body)
    layers.paint(weight, linear(200, 202, 206), 0.5, 0.9)
    layers.paint(weight * frame.cover(u + 0.06), BODY_BLACK, 0.3, 0.0)
    layers.lift(weight * (0.7 + 0.3 * dome(body, 0.03)), 0.2 * frame.scale)


def _add_chip(frame: Frame, layers: Layers, place: Place | None) -> None:
    frame, layers = _close_up(frame, layers, CHIP, 0.62)
    u, v = local(frame.u, frame.v, CHIP)
    row = np.abs((v + 0.16) % np.float32(0.16) - 0.08) - np.float32(0.08)
    pads = np.maximum(np.abs(np.abs(u) - 0.29) - 0.05, np.maximum(-row - 0.035, np.abs(v) - 0.21))
    layers.paint(frame.cover(pads), SOLDER, 0.5, 1.0)
    if place is None:
        return
    u, v = local(frame.u, frame.v, place)
    row = np.abs((v + 0.16) % np.float32(0.16) - 0.08) - np.float32(0.08)
    legs = np.maximum(np.abs(u) - 0.31, np.maximum(-row - 0.024, np.abs(v) - 0.2))
    weight = frame.cover(legs)
    layers.paint(weight, SOLDER, 0.6, 1.0)
    layers.lift(weight, 0.035 * frame.scale)
    body = rectangle(u, v, 0.23, 0.23, 0.01)
    weight = frame.cover(body)
    layers.paint(weight, BODY_BLACK, 0.28, 0.0)
    layers.lift(weight * (0.6 + 0.4 * bevel(body, 0.03)), 0.09 * frame.scale)
    dot = ring_radius(u + 0.15, v + 0.15) - 0.03
    mark = rectangle(np.abs(u - 0.03), v - 0.06, 0.12, 0.016)
    layers.paint(frame.cover(np.minimum(dot, mark)) * 0.75, linear(196, 196, 190))


PIN_COLUMNS = 6


def build_connector(
    rng: np.random.Generator, frame: Frame, paint: Paint, change: Change | None
) -> Layers:
    """A molded housing with two rows of six gold pins in a recess."""
    u, v = frame.u, frame.v
    shell = rectangle(u, v, 0.9, 0.46, 0.05)
    latch = rectangle(u, v + 0.48, 0.2, 0.09, 0.02)
    outline = np.minimum(shell, latch)
    recess = rectangle(u, v, 0.78, 0.33, 0.03)
    key = rectangle(u, v - 0.36, 0.12, 0.06)
    recess = np.minimum(recess, key)
    height = 0.26 + 0.03 * bevel(outline, 0.03) - 0.2 * bevel(recess, 0.015)
    layers = start_layers(
        frame.cover(outline), height * frame.scale, paint.albedo, paint.gloss, 0.0
    )
    inside = frame.cover(recess)
    layers.paint(0.55 * inside, paint.albedo * 0.35)
    layers.albedo *= (1 + 0.04 * field(rng, frame.size, 90))[..., None]
    layers.height += 0.0006 * field(rng, frame.size, 60)
    places = [
        Place(-0.6 + 0.24 * column, side * 0.155)
        for column in range(PIN_COLUMNS)
        for side in (-1, 1)
    ]
    for home in places:
        near, part = _close_up(frame, layers, home, 0.12)
        socket = rectangle(*local(near.u, near.v, home), 0.07, 0.07, 0.01)
        part.paint(near.cover(socket), paint.albedo * 0.12)
    for place in arrange(places, change, 0.1):
        if place is not None:
            near, part = _close_up(frame, layers, place, 0.1)
            pin = rectangle(*local(near.u, near.v, place), 0.045, 0.045, 0.008)
            weight = near.cover(pin)
            part.paint(weight, GOLD, 0.6, 1.0)
            part.lift(weight * (0.3 + 0.7 * bevel(pin, 0.035)), 0.13 * frame.scale)
    return layers


def build_bottle_cap(
    rng: np.random.Generator, frame: Frame, paint: Paint, change: Change | None
) -> Layers:
    """A crown cap from above: crimped skirt, lacquered top, a printed star in a ring."""
    radius = ring_radius(frame.u, frame.v)
    angle = np.arctan2(frame.v, frame.u)
    wave = np.cos(angle * np.float32(CRIMPS))
    skirt = np.clip((radius - 0.68) / np.float32(0.2), 0, 1)
    outline = (radius - (0.86 + 0.035 * wave)) * 0.9
    height = 0.3 - 0.2 * skirt * skirt + 0.035 * wave * skirt - 0.015 * (radius / 0.68) ** 4
    layers = start_layers(
        frame.cover(outline), height * frame.scale, paint.albedo, paint.gloss, paint.metal
    )
    ring = np.abs(radius - 0.58) - 0.016
    layers.paint(frame.cover(ring), CREAM)
    place = arrange([Place(0.0, 0.0)], change, 0.3)[0]
    if place is not None:
        layers.paint(_star(frame, place), CREAM)
    layers.albedo *= (1 + 0.03 * field(rng, frame.size, 8))[..., None]
    layers.height += 0.0012 * field(rng, frame.size, 9)
    return layers


def _star(frame: Frame, place: Place) -> np.ndarray:
    points = circle_points(1.0, 10, place.turn - np.pi / 2)
    points[::2] *= 0.4
    points[1::2] *= 0.18
    return frame.ink_part(polygons=[points + np.array([place.u, place.v])])


PRINT_STROKES = (
    ((-0.42, -0.1), (-0.42, 0.1), (-0.3, 0.1)),
    ((-0.08, 0.1), (-0.08, -0.1), (-0.2, 0.04), (-0.05, 0.04)),
    ((0.05, -0.1), (0.18, -0.1), (0.09, 0.1)),
    ((0.28, -0.06), (0.33, -0.1), (0.38, -0.1), (0.41, -0.04), (0.28, 0.1), (0.42, 0.1)),
)


def build_capsule(
    rng: np.random.Generator, frame: Frame, paint: Paint, change: Change | None
) -> Layers:
    """A two-part medicine capsule with a printed code."""
    u, v = frame.u, frame.v
    joint = frame.cover(u - 0.08)
    radius = 0.315 + 0.012 * joint
    distance = stadium(u, v, 0.56, 0.315) - 0.012 * joint
    inside = np.clip(-distance / radius, 0, 1)
    rise = np.sqrt(np.clip(1 - (1 - inside) ** 2, 0, 1)) * radius
    layers = start_layers(
        frame.cover(distance), (rise + 0.02) * frame.scale, CREAM, paint.gloss, paint.metal
    )
    layers.paint(joint, paint.albedo)
    seam = frame.cover(np.abs(u - 0.085) - 0.008)
    layers.paint(0.4 * seam, paint.albedo * 0.3)
    place = arrange([Place(0.0, 0.0)], change, 0.2)[0]
    if place is not None:
        _print_code(frame, layers, place)
    layers.albedo *= (1 + 0.02 * field(rng, frame.size, 8))[..., None]
    layers.height += 0.0008 * field(rng, frame.size, 10) * frame.scale
    return layers


def _print_code(frame: Frame, layers: Layers, place: Place) -> None:
    cos, sin = np.cos(place.turn), np.sin(place.turn)
    turn = np.array([[cos, sin], [-sin, cos]])
    shift = np.array([place.u, place.v])
    lines = [np.array(stroke) @ turn + shift for stroke in PRINT_STROKES]
    layers.paint(0.9 * frame.ink_part(lines, 0.034), linear(40, 40, 48))


def build_button(
    rng: np.random.Generator, frame: Frame, paint: Paint, change: Change | None
) -> Layers:
    """A four-hole coat button with a raised rim and faint marbling."""
    radius = ring_radius(frame.u, frame.v)
    outline = radius - 0.82
    dish = np.clip((0.66 - radius) / np.float32(0.08), 0, 1)
    height = 0.12 + 0.1 * dome(outline, 0.14) - 0.075 * dish * dish * (3 - 2 * dish)
    layers = start_layers(
        frame.cover(outline), height * frame.scale, paint.albedo, paint.gloss, paint.metal
    )
    veins = fractal(rng, frame.size, 4, 3)
    layers.albedo *= (1 + 0.1 * np.sin(veins * 2.5) + 0.03 * veins)[..., None]
    places = [Place(float(u), float(v)) for u, v in circle_points(0.25, 4, np.pi / 4)]
    for place in arrange(places, change, 0.1):
        if place is not None:
            hole = ring_radius(*local(frame.u, frame.v, place)) - 0.085
            layers.cover *= 1 - frame.cover(hole)
            layers.height -= 0.03 * frame.scale * np.clip(1 - hole / np.float32(0.04), 0, 1)
    return layers


def _soften_metal(rng: np.random.Generator, frame: Frame, layers: Layers) -> None:
    """Handling marks and uneven polish that every good metal part has."""
    cloud = field(rng, frame.size, 7)
    grain = field(rng, frame.size, 100)
    layers.albedo *= (1 + 0.05 * cloud + 0.035 * grain)[..., None]
    layers.gloss += 0.05 * field(rng, frame.size, 5)
    np.clip(layers.gloss, 0.05, 1, out=layers.gloss)


def build_hex_nut(
    rng: np.random.Generator, frame: Frame, paint: Paint, change: Change | None
) -> Layers:
    """Hexagon with turned chamfer and a threaded bore."""
    radius = ring_radius(frame.u, frame.v)
    outline = hexagon(frame.u, frame.v, 0.78)
    bore = 0.44 - radius
    cover = frame.cover(np.maximum(outline, 0.36 - radius))
    top = 0.34 - 0.42 * np.maximum(radius - 0.74, 0) - 0.05 * (1 - bevel(outline, 0.05))
    countersink = 0.55 * np.clip(0.53 - radius, 0, 0.09)
    inside = frame.cover(-bore)
    turn = np.arctan2(frame.v, frame.u) / np.float32(2 * np.pi)
    thread = 0.022 * np.sin((radius / 0.027 + turn) * np.float32(2 * np.pi))
    wall = 0.2 - 1.2 * np.clip(0.44 - radius, 0, 0.08) + thread
    height = inside * wall + (1 - inside) * (top - countersink)
    layers = start_layers(cover, height * frame.scale, paint.albedo, paint.gloss, paint.metal)
    layers.paint(inside * 0.55, DARK_OIL)
    facing = 0.05 * along(rng, radius * 1.6 - 1, 120) * (1 - inside)
    layers.albedo *= (1 + facing)[..., None]
    _soften_metal(rng, frame, layers)
    return layers


def build_screw(
    rng: np.random.Generator, frame: Frame, paint: Paint, change: Change | None
) -> Layers:
    """A countersunk wood screw lying on its side, head to the left."""
    u, v = frame.u, frame.v
    tip = np.clip((0.95 - u) / np.float32(0.34), 0, 1)
    core = 0.112 * np.sqrt(tip)
    threaded = smoothstep(u, -0.28, -0.2) * (u < 0.93)
    phase = (u / np.float32(0.092) + v * np.float32(1.6)) * np.float32(2 * np.pi)
    tooth = (0.5 + 0.5 * np.cos(phase)) ** 2
    shaft = core + 0.052 * threaded * tooth * np.sqrt(tip)
    head = 0.125 + 0.235 * np.clip((-0.66 - u) / np.float32(0.22), 0, 1)
    radius = np.where(u < -0.62, head, shaft) * (u > -0.95)
    inside = np.abs(v) - radius
    cover = frame.cover(np.maximum(np.maximum(inside, -0.95 - u), u - 0.95) * 0.9)
    half = np.maximum(radius, 0.01)
    rise = np.sqrt(np.clip(1 - (v / half) ** 2, 0.0, 1)) * half
    rim = 1 - 0.4 * smoothstep(-u, 0.9, 0.95)
    layers = start_layers(
        cover, (rise * rim + 0.2) * frame.scale, paint.albedo, paint.gloss, paint.metal
    )
    valley = threaded * (1 - tooth)
    layers.paint(0.35 * valley, paint.albedo * 0.25)
    _soften_metal(rng, frame, layers)
    return layers


def build_washer(
    rng: np.random.Generator, frame: Frame, paint: Paint, change: Change | None
) -> Layers:
    """A flat ring with turning marks and a stamped rounded edge."""
    radius = ring_radius(frame.u, frame.v)
    outline = np.maximum(radius - 0.82, 0.4 - radius)
    edge = dome(outline, 0.06)
    height = 0.09 + 0.045 * edge
    layers = start_layers(
        frame.cover(outline), height * frame.scale, paint.albedo, paint.gloss, paint.metal
    )
    marks = along(rng, radius * 2.0 - 1, 90) + 0.5 * along(rng, radius * 2.0 - 1, 220)
    layers.albedo *= (1 + 0.045 * marks)[..., None]
    layers.height += 0.0006 * marks * frame.scale
    _soften_metal(rng, frame, layers)
    return layers


GEAR_TEETH = 18


def build_gear(
    rng: np.random.Generator, frame: Frame, paint: Paint, change: Change | None
) -> Layers:
    """A spur gear with hub, keyway and six lightening holes."""
    radius = ring_radius(frame.u, frame.v)
    turn = (np.arctan2(frame.v, frame.u) / np.float32(2 * np.pi)) % 1 * np.float32(GEAR_TEETH)
    number = np.minimum(turn.astype(np.int32), GEAR_TEETH - 1)
    present = np.ones(GEAR_TEETH, np.float32)
    if change is not None:
        present[change.index(GEAR_TEETH)] = 0
    flank = np.abs(turn - number - 0.5)
    share = np.clip((0.36 - flank) / np.float32(0.16), 0, 1) * present[number]
    outline = (radius - (0.74 + 0.18 * share)) * 0.8
    keyway = rectangle(frame.u - 0.17, frame.v, 0.06, 0.05)
    bore = np.minimum(radius - 0.165, keyway)
    cover = frame.cover(np.maximum(outline, -bore))
    web = np.maximum(radius - 0.6, 0.32 - radius)
    height = 0.22 + 0.03 * bevel(outline, 0.035) - 0.07 * bevel(web, 0.03)
    height = height - 0.03 * (1 - bevel(-bore, 0.03))
    for u, v in circle_points(0.46, 6, 0.3):
        near, window = frame.near((u, v), 0.12)
        hole = ring_radius(near.u - np.float32(u), near.v - np.float32(v)) - 0.085
        cover[window] *= 1 - near.cover(hole)
        height[window] -= 0.02 * (1 - bevel(-hole, 0.02))
    layers = start_layers(cover, height * frame.scale, paint.albedo, paint.gloss, paint.metal)
    facing = 0.045 * along(rng, radius * 1.8 - 1, 110)
    layers.albedo *= (1 + facing - 0.12 * bevel(web, 0.02))[..., None]
    _soften_metal(rng, frame, layers)
    return layers


BALLS = 9


def build_bearing(
    rng: np.random.Generator, frame: Frame, paint: Paint, change: Change | None
) -> Layers:
    """An open ball bearing: two races, a brass cage and nine balls."""
    radius = ring_radius(frame.u, frame.v)
    outer = np.maximum(radius - 0.9, 0.68 - radius)
    inner = np.maximum(radius - 0.46, 0.27 - radius)
    races = np.minimum(outer, inner)
    cover = frame.cover(np.maximum(radius - 0.9, 0.27 - radius))
    solid = frame.cover(races)
    height = 0.08 + solid * (0.16 + 0.04 * dome(races, 0.045))
    layers = start_layers(cover, height * frame.scale, paint.albedo, paint.gloss, paint.metal)
    layers.paint(1 - solid, DARK_OIL, 0.2, 0.0)
    cage = np.abs(radius - 0.57) - 0.045
    in_cage = frame.cover(cage)
    layers.paint(in_cage, linear(206, 168, 96), 0.4, 0.9)
    layers.lift(in_cage * dome(cage, 0.045), 0.05 * frame.scale)
    places = [Place(float(u), float(v)) for u, v in circle_points(0.57, BALLS, 0.2)]
    for place, home in zip(arrange(places, change, 0.13), places, strict=True):
        near, window = frame.near(home, 0.14)
        pocket = ring_radius(*local(near.u, near.v, home)) - 0.115
        layers.window(window).paint(near.cover(pocket), DARK_OIL * 0.7, 0.1, 0.0)
        if place is not None:
            _add_ball(frame, layers, place, paint)
    marks = along(rng, radius * 1.8 - 1, 130)
    layers.albedo *= (1 + 0.04 * marks * solid)[..., None]
    _soften_metal(rng, frame, layers)
    return layers


def _add_ball(frame: Frame, layers: Layers, place: Place, paint: Paint) -> None:
    frame, window = frame.near(place, 0.13)
    layers = layers.window(window)
    distance = ring_radius(*local(frame.u, frame.v, place)) - 0.1
    weight = frame.cover(distance)
    layers.paint(weight, paint.albedo, 0.85, 1.0)
    ball = (0.1 + 0.1 * dome(distance, 0.1)) * frame.scale
    layers.height += weight * (ball - layers.height)
