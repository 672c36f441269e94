"""Flaws that add something to a surface: lines, blobs, specks, dents and foreign matter.

Every flaw takes a canvas and a generator and returns the changed picture, (size, size, 3)
float32, with its share of every pixel, (size, size) float32 in [0, 1], 0 outside the flaw.
"""

from __future__ import annotations

import numpy as np

from ltad.data.scenes.canvas import Canvas, draw_light
from ltad.data.scenes.fields import (
    FLOAT,
    draw_strokes,
    log_uniform,
    outline,
    smoothstep,
    soften,
    uniform,
    value_noise,
)  # fmt: skip
from ltad.data.scenes.palette import pick
from ltad.data.scenes.shape_kinds import SHAPES
from ltad.data.scenes.solids import draw_solid, paste, sprite
from ltad.data.scenes.surfaces import draw_surface, paint

Array = np.ndarray


def spot(canvas: Canvas, rng: np.random.Generator) -> tuple[float, float]:
    """A (row, column) on the subject, in pixels."""
    inside = np.flatnonzero(canvas.region)
    if not len(inside):
        inside = np.arange(canvas.region.size)
    row, column = divmod(int(inside[int(rng.integers(len(inside)))]), canvas.region.shape[1])
    return float(row), float(column)


def reach(canvas: Canvas, rng: np.random.Generator, low: float = 0.003, high: float = 0.1) -> float:
    """Radius in pixels of a disc that covers a share of the subject, low to high of its area."""
    area = max(float(canvas.region.sum()), 0.2 * canvas.region.size)
    return max(1.6, float(np.sqrt(area * log_uniform(rng, low, high) / np.pi)))


def patch(canvas: Canvas, rng: np.random.Generator, low: float = 0.003, high: float = 0.1) -> Array:
    """An irregular area of the subject, (size, size) float32 coverage."""
    radius = reach(canvas, rng, low, high)
    return outline(rng, canvas.region.shape[0], spot(canvas, rng), radius, uniform(rng, 0, 1))


def blend(image: Array, other: Array, share: Array) -> Array:
    """image where the share is 0, other where it is 1."""
    return image + (other - image) * share[..., None]


def _tone(rng: np.random.Generator, image: Array, share: Array) -> Array:
    """A colour that stands out from what it covers, (3,) float32."""
    covered = image[share > 0.3]
    mean = covered.mean(axis=0) if len(covered) else image.mean(axis=(0, 1))
    style = rng.random()
    gray = float(np.abs(image[::8, ::8, 0] - image[::8, ::8, 2]).max()) < 0.01
    if style < 0.3 and not gray:
        return rng.uniform(0.02, 0.98, 3).astype(FLOAT)
    factor = log_uniform(rng, 0.1, 0.8) if rng.random() < 0.55 else log_uniform(rng, 1.2, 2.5)
    return np.clip(mean * FLOAT(factor) + FLOAT(0.05 * (factor > 1)), 0, 1).astype(FLOAT)


def path(
    rng: np.random.Generator, start: tuple[float, float], length: float, bend: float
) -> Array:
    """A wandering line, (n, 2) float as (x, y) pixels; `bend` is radians a step of 2 pixels."""
    count = max(4, int(length / 2))
    turns = np.cumsum(rng.normal(0, bend, count)) + uniform(rng, 0, 6.28)
    steps = np.stack([np.cos(turns), np.sin(turns)], axis=1) * (length / count)
    points = np.cumsum(steps, axis=0)
    return points - points[count // 2] + np.array([start[1], start[0]])


def scratch(canvas: Canvas, rng: np.random.Generator) -> tuple[Array, Array]:
    """One to five thin lines, lighter or darker, sometimes with a raised edge."""
    size = canvas.region.shape[0]
    where, bend = spot(canvas, rng), log_uniform(rng, 0.005, 0.2)
    strokes = []
    for _ in range(int(rng.integers(1, 4)) if rng.random() < 0.4 else 1):
        points = path(rng, where, size * log_uniform(rng, 0.08, 0.8), bend)
        width = log_uniform(rng, 0.6, 3.0) * size / 160
        strokes.append((points, width * (0.4 + 0.6 * np.sin(np.linspace(0.2, 2.9, len(points))))))
    share = draw_strokes(size, strokes) * canvas.region
    tone, strength = _tone(rng, canvas.image, share), FLOAT(uniform(rng, 0.5, 1))
    image = blend(canvas.image, tone, share * strength)
    if rng.random() < 0.4:
        edge = np.roll(share, (1, 1), axis=(0, 1)) * (1 - share) * canvas.region
        image = image + (edge * FLOAT(uniform(rng, -0.3, 0.3)))[..., None]
        share = np.maximum(share, edge)
    return image, share


def crack(canvas: Canvas, rng: np.random.Generator) -> tuple[Array, Array]:
    """A jagged dark line that branches."""
    size = canvas.region.shape[0]
    trunk = path(rng, spot(canvas, rng), size * log_uniform(rng, 0.15, 0.9), uniform(rng, 0.2, 0.5))
    width = log_uniform(rng, 0.7, 3.2) * size / 160
    strokes = [(trunk, width * np.linspace(1, 0.3, len(trunk)))]
    for _ in range(int(rng.integers(0, 5))):
        fork = trunk[int(rng.integers(len(trunk)))]
        twig = path(rng, (fork[1], fork[0]), size * uniform(rng, 0.05, 0.3), 0.35)
        twig = twig - twig[0] + fork
        strokes.append((twig, width * np.linspace(0.7, 0.2, len(twig))))
    share = draw_strokes(size, strokes) * canvas.region
    return canvas.image * (1 - share * FLOAT(uniform(rng, 0.5, 0.95)))[..., None], share


def stain(canvas: Canvas, rng: np.random.Generator) -> tuple[Array, Array]:
    """A darker, lighter or coloured blob with a sharp or soft edge, even or mottled."""
    share = patch(canvas, rng)
    size = share.shape[0]
    if rng.random() < 0.6:
        share = soften(share, log_uniform(rng, 0.6, 6) * size / 160)
    if rng.random() < 0.25:
        rim = np.clip(share - soften(share, 0.02 * size), 0, 1)
        share = np.clip(share * FLOAT(0.35) + rim * 2, 0, 1)
    if rng.random() < 0.4:
        share = share * smoothstep(0.1, 0.8, value_noise(rng, size, int(rng.integers(8, 40))))
    share = share * canvas.region
    tone = _tone(rng, canvas.image, share)
    strength = FLOAT(uniform(rng, 0.25, 1.0))
    if rng.random() < 0.5:
        # Multiplying keeps the texture visible below the stain, as a thin liquid does.
        return blend(canvas.image, canvas.image * tone * FLOAT(1.3), share * strength), share
    return blend(canvas.image, tone, share * strength), share


def discoloured(canvas: Canvas, rng: np.random.Generator) -> tuple[Array, Array]:
    """A large soft area with another tint or brightness."""
    share = patch(canvas, rng, 0.02, 0.12)
    share = soften(share, uniform(rng, 1, 8) * share.shape[0] / 160) * canvas.region
    gains = rng.uniform(0.6, 1.35, 3).astype(FLOAT)
    if rng.random() < 0.4:
        gains[:] = pick(rng, (0.6, 0.75, 1.3, 1.5))
    return canvas.image * (1 + (gains - 1) * share[..., None]), share


def specks(canvas: Canvas, rng: np.random.Generator) -> tuple[Array, Array]:
    """Several small spots in one neighbourhood."""
    size = canvas.region.shape[0]
    row, column = spot(canvas, rng)
    spread = size * log_uniform(rng, 0.02, 0.2)
    share = np.zeros((size, size), FLOAT)
    for _ in range(int(rng.integers(1, 10))):
        where = (row + spread * rng.normal(), column + spread * rng.normal())
        dot = outline(rng, size, where, size * log_uniform(rng, 0.006, 0.02), 0.4)
        share = np.maximum(share, dot)
    share = share * canvas.region
    return blend(canvas.image, _tone(rng, canvas.image, share), share * FLOAT(0.9)), share


def scuff(canvas: Canvas, rng: np.random.Generator) -> tuple[Array, Array]:
    """A worn area: many fine parallel scratches, or a roughened finish."""
    area = soften(patch(canvas, rng, 0.01, 0.12), 1.5) * canvas.region
    size = area.shape[0]
    if rng.random() < 0.5:
        rows, columns = np.nonzero(area > 0.5)
        angle, strokes = uniform(rng, 0, 3.14), []
        for _ in range(int(rng.integers(8, 30))):
            index = int(rng.integers(max(1, len(rows)))) if len(rows) else 0
            centre = np.array([columns[index], rows[index]]) if len(rows) else np.zeros(2)
            lean = angle + rng.normal(0, 0.1)
            half = np.array([np.cos(lean), np.sin(lean)]) * size * uniform(rng, 0.02, 0.1)
            strokes.append((np.stack([centre - half, centre + half]), np.full(2, size / 160)))
        share = draw_strokes(size, strokes) * (area > 0.05)
        return blend(canvas.image, _tone(rng, canvas.image, share), share * FLOAT(0.8)), share
    rough = value_noise(rng, size, size // 2) - FLOAT(0.5)
    change = rough * FLOAT(uniform(rng, 0.15, 0.6)) + FLOAT(uniform(rng, -0.1, 0.15))
    return canvas.image + (change * area)[..., None], area


def thread(canvas: Canvas, rng: np.random.Generator) -> tuple[Array, Array]:
    """A hair or a thread lying on the subject, with its shadow."""
    size = canvas.region.shape[0]
    length = size * log_uniform(rng, 0.15, 0.8)
    points = path(rng, spot(canvas, rng), length, uniform(rng, 0.1, 0.4))
    width = np.full(len(points), log_uniform(rng, 0.7, 4.0) * size / 160)
    line = draw_strokes(size, [(points, width)])
    shadow = soften(np.roll(line, (1, 1), axis=(0, 1)), 1.0) * FLOAT(0.35)
    share = np.maximum(line, shadow * (shadow > 0.08)) * canvas.region
    shaded = canvas.image * (1 - shadow * canvas.region)[..., None]
    return blend(shaded, _tone(rng, canvas.image, line), line * canvas.region), share


def foreign(canvas: Canvas, rng: np.random.Generator) -> tuple[Array, Array]:
    """A small object of another kind lying on the subject."""
    size = canvas.region.shape[0]
    solid, _ = draw_solid(rng, pick(rng, SHAPES), bool(rng.random() < 0.4))
    pixels = max(8, round(reach(canvas, rng, 0.006, 0.1) * 2.4))
    row, column = spot(canvas, rng)
    image, share = canvas.image.copy(), np.zeros((size, size), FLOAT)
    corner = (round(row - pixels / 2), round(column - pixels / 2))
    paste(image, share, sprite(solid, pixels, draw_light(rng)), *corner, uniform(rng, 0, 0.5))
    shadow = np.abs(image - canvas.image).max(axis=-1) > 0.02
    return image, np.maximum(share, shadow.astype(FLOAT) * FLOAT(0.5))


def other_texture(canvas: Canvas, rng: np.random.Generator) -> tuple[Array, Array]:
    """A patch that has another surface's texture in nearly the same colour."""
    share = patch(canvas, rng, 0.005, 0.1) * canvas.region
    size = share.shape[0]
    mean = canvas.image[canvas.region].mean(axis=0).astype(FLOAT)
    contrast = log_uniform(rng, 0.1, 0.9)
    other = paint(rng, draw_surface(rng), size, mean, draw_light(rng), contrast, 0.2)
    return blend(canvas.image, np.clip(other, 0, 1), share), share
