"""Molded and pressed parts: bottle cap, capsule, button."""

from __future__ import annotations

import numpy as np

from .components import Place, arrange
from .layers import Layers, linear, start_layers
from .noise import field, fractal
from .shapes import circle_points, dome, local, ring_radius, stadium

CRIMPS = 21
CREAM = linear(232, 226, 206)


def build_bottle_cap(rng, frame, paint, change) -> Layers:
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


def _star(frame, place):
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


def build_capsule(rng, frame, paint, change) -> Layers:
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


def _print_code(frame, layers, place) -> None:
    cos, sin = np.cos(place.turn), np.sin(place.turn)
    turn = np.array([[cos, sin], [-sin, cos]])
    shift = np.array([place.u, place.v])
    lines = [np.array(stroke) @ turn + shift for stroke in PRINT_STROKES]
    layers.paint(0.9 * frame.ink_part(lines, 0.034), linear(40, 40, 48))


def build_button(rng, frame, paint, change) -> Layers:
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
