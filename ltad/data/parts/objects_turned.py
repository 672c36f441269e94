"""Turned and milled metal parts: nut, screw, washer, gear, bearing."""

from __future__ import annotations

import numpy as np

from .components import Place, arrange
from .frame import Frame
from .layers import Layers, linear, start_layers
from .noise import along, field, smoothstep
from .shapes import bevel, circle_points, dome, hexagon, local, rectangle, ring_radius

DARK_OIL = linear(36, 34, 32)


def _soften_metal(rng, frame: Frame, layers: Layers) -> None:
    """Handling marks and uneven polish that every good metal part has."""
    cloud = field(rng, frame.size, 7)
    grain = field(rng, frame.size, 100)
    layers.albedo *= (1 + 0.05 * cloud + 0.035 * grain)[..., None]
    layers.gloss += 0.05 * field(rng, frame.size, 5)
    np.clip(layers.gloss, 0.05, 1, out=layers.gloss)


def build_hex_nut(rng, frame, paint, change) -> Layers:
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


def build_screw(rng, frame, paint, change) -> Layers:
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


def build_washer(rng, frame, paint, change) -> Layers:
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


def build_gear(rng, frame, paint, change) -> Layers:
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


def build_bearing(rng, frame, paint, change) -> Layers:
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


def _add_ball(frame, layers, place, paint) -> None:
    frame, window = frame.near(place, 0.13)
    layers = layers.window(window)
    distance = ring_radius(*local(frame.u, frame.v, place)) - 0.1
    weight = frame.cover(distance)
    layers.paint(weight, paint.albedo, 0.85, 1.0)
    ball = (0.1 + 0.1 * dome(distance, 0.1)) * frame.scale
    layers.height += weight * (ball - layers.height)
