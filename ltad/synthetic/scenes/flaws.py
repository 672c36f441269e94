"""Generic flaws of scenes: marks on a surface, distortions of its shape."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ltad.synthetic.scenes.canvas import Canvas, draw_light
from ltad.synthetic.scenes.fields import (
    FLOAT,
    blur_image,
    draw_strokes,
    log_uniform,
    outline,
    pick,
    smoothstep,
    soften,
    uniform,
    value_noise,
)
from ltad.synthetic.scenes.objects import draw_solid, paste, sprite
from ltad.synthetic.scenes.shapes import SHAPES
from ltad.synthetic.scenes.surfaces import draw_surface, paint

Array = np.ndarray
Flaw = Callable[[Canvas, np.random.Generator], tuple[Array, Array]]


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


def moved_patch(canvas: Canvas, rng: np.random.Generator) -> tuple[Array, Array]:
    """A piece of the same image from elsewhere, shifted, turned or mirrored."""
    share = patch(canvas, rng, 0.004, 0.1) * canvas.region
    size = share.shape[0]
    other = canvas.image
    if rng.random() < 0.6:
        other = np.rot90(other, int(rng.integers(1, 4)))
    if rng.random() < 0.3:
        other = other[:, ::-1]
    shift = rng.integers(size // 16 + 1, size - size // 16, 2)
    other = np.roll(other, (int(shift[0]), int(shift[1])), axis=(0, 1))
    return blend(canvas.image, other * FLOAT(uniform(rng, 0.85, 1.15)), share), share


def smeared(canvas: Canvas, rng: np.random.Generator) -> tuple[Array, Array]:
    """A place out of focus or wiped in one direction."""
    share = patch(canvas, rng, 0.01, 0.12) * canvas.region
    if rng.random() < 0.5:
        other = blur_image(canvas.image, uniform(rng, 1.5, 4.0))
    else:
        steps = int(rng.integers(5, 14))
        lean = int(rng.integers(-1, 2))
        slope = (lean, 1) if rng.random() < 0.5 else (1, lean)
        other = np.zeros_like(canvas.image)
        for step in range(steps):
            other += np.roll(canvas.image, (slope[0] * step, slope[1] * step), axis=(0, 1))
        other /= FLOAT(steps)
    return blend(canvas.image, other * FLOAT(uniform(rng, 0.85, 1.2)), share), share


def bitten(canvas: Canvas, rng: np.random.Generator) -> tuple[Array, Array]:
    """A piece broken out of the subject's edge, so that the backdrop shows.

    On a canvas without a backdrop or an edge it is a stain instead.
    """
    edge = canvas.region.copy()
    edge[1:-1, 1:-1] &= ~(
        canvas.region[:-2, 1:-1] & canvas.region[2:, 1:-1]
        & canvas.region[1:-1, :-2] & canvas.region[1:-1, 2:]
    )  # fmt: skip
    places = np.flatnonzero(edge)
    if canvas.backdrop is None or not len(places):
        return stain(canvas, rng)
    size = edge.shape[0]
    row, column = divmod(int(places[int(rng.integers(len(places)))]), size)
    radius = max(4.0, reach(canvas, rng, 0.01, 0.12) * 1.3)
    share = outline(rng, size, (row, column), radius, uniform(rng, 0.2, 1)) * canvas.region
    beneath = canvas.backdrop * FLOAT(uniform(rng, 0.6, 1.0))
    rim = np.clip(share - np.roll(share, (1, 1), axis=(0, 1)), 0, 1) * FLOAT(0.5)
    return blend(blend(canvas.image, beneath, share), canvas.image * FLOAT(0.4), rim), share


# No holes, dents or warps: `hole` and `deformation` are the defect types that the encoder must
# never have been trained on.
FLAWS: tuple[tuple[Flaw, float], ...] = (
    (scratch, 2.2), (crack, 1.2), (stain, 2.6), (discoloured, 1.0),
    (specks, 1.2), (scuff, 1.2),
    (thread, 1.0), (foreign, 1.2), (other_texture, 1.2),
    (moved_patch, 1.6), (smeared, 1.0),
)  # fmt: skip
_TOTAL = np.cumsum([weight for _, weight in FLAWS])
REARRANGED = "rearranged"
FALLBACK = "blob"
FLAW_KINDS = (*(flaw.__name__ for flaw, _ in FLAWS), bitten.__name__, REARRANGED, FALLBACK)


def draw_flaw(canvas: Canvas, rng: np.random.Generator) -> tuple[Array, Array, str]:
    """A flaw of any kind that suits the canvas: (image, bool mask, kind).

    The image is (size, size, 3) float32 in [0, 1] and equals the canvas outside the mask. The kind
    is one of `FLAW_KINDS`.
    """
    choice = rng.random()
    if canvas.edit is not None and choice < 0.45:
        return *_confined(canvas, *canvas.edit(rng)), REARRANGED
    if canvas.backdrop is not None and choice < 0.2:
        flaw = bitten
    else:
        flaw = FLAWS[int(np.searchsorted(_TOTAL, rng.random() * _TOTAL[-1] * 0.999999))][0]
    image, share = flaw(canvas, rng)
    return *_confined(canvas, image, share > 0.1), flaw.__name__


def _confined(canvas: Canvas, image: Array, mask: Array) -> tuple[Array, Array]:
    """The image clipped, and reset to the canvas outside the mask so that the mask is exact."""
    return np.where(mask[..., None], np.clip(image, 0, 1), canvas.image).astype(FLOAT), mask


def fallback(canvas: Canvas, rng: np.random.Generator) -> tuple[Array, Array]:
    """A plain blob that is always large enough to see."""
    size = canvas.region.shape[0]
    share = outline(rng, size, spot(canvas, rng), max(3.0, 0.03 * size), 0.3)
    level = 0.12 if canvas.image[share > 0.1].mean() > 0.45 else 0.85
    return _confined(canvas, blend(canvas.image, np.full(3, level, FLOAT), share), share > 0.1)
