"""Electric parts: a small circuit board and a pin connector."""

from __future__ import annotations

import numpy as np

from .components import Place, arrange
from .layers import Layers, linear, start_layers
from .noise import field
from .shapes import bevel, dome, local, rectangle, ring_radius

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
CHIP = Place(-0.3, -0.14)
SMALL_PARTS = (
    Place(-0.32, 0.35),
    Place(-0.32, 0.22),
    Place(0.61, -0.45),
    Place(0.61, -0.2),
    Place(0.61, 0.05),
)
CAN = Place(0.48, 0.34)


def build_circuit_board(rng, frame, paint, change) -> Layers:
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
        _add_eye(frame, layers, (*hole, 0.0), 0.075, 0.045, True)
    for via in VIAS:
        _add_eye(frame, layers, (*via, 0.0), 0.03, 0.013, False)
    places = arrange([*SMALL_PARTS, CAN, CHIP], change, 0.16)
    for home, place in zip(SMALL_PARTS, places, strict=False):
        _add_small_part(frame, layers, home, place)
    _add_can(frame, layers, places[-2])
    _add_chip(frame, layers, places[-1])
    return layers


def _close_up(frame, layers, place, reach):
    cropped, window = frame.near(place, reach)
    return cropped, layers.window(window)


def _add_eye(frame, layers, place, outer, inner, open_through) -> None:
    frame, layers = _close_up(frame, layers, place, outer)
    distance = ring_radius(*local(frame.u, frame.v, place))
    layers.paint(frame.cover(distance - outer), GOLD, 0.5, 1.0)
    if open_through:
        layers.cover *= 1 - frame.cover(distance - inner)
    else:
        layers.paint(frame.cover(distance - inner), BODY_BLACK, 0.1, 0.0)


def _add_small_part(frame, layers, home, place) -> None:
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


def _add_can(frame, layers, place) -> None:
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


def _add_chip(frame, layers, place) -> None:
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


def build_connector(rng, frame, paint, change) -> Layers:
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
