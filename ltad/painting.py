"""How painted defects look: strokes on a good picture in, the damaged picture and its mask out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from ltad.drawing import Stroke

_SUPERSAMPLING = 4
_PAINTED = 0.4  # a pixel counts as painted from this share of it on
_STEP = 0.012  # length of a crack's straight pieces, as a share of the shorter side


def draw_strokes(
    picture: Image.Image, strokes: Sequence[Stroke]
) -> tuple[Image.Image, np.ndarray]:
    """Paint the strokes on a picture, in order.

    Returns:
        The painted RGB picture, and the mask of what stayed painted, (H, W) bool.
    """
    good = np.asarray(picture.convert("RGB"), np.float32)
    painted, mask = good.copy(), np.zeros(good.shape[:2], bool)
    for stroke in strokes:
        _PAINTERS[stroke.kind](stroke, _Sheet(good, painted, mask))
    return Image.fromarray(np.rint(painted).clip(0, 255).astype(np.uint8)), mask


@dataclass(frozen=True)
class _Sheet:
    """What the painters write on: the good picture, the painted one and the mask."""

    good: np.ndarray
    painted: np.ndarray
    mask: np.ndarray

    @property
    def unit(self) -> int:
        """The shorter side in pixels, to which widths are relative."""
        return min(self.mask.shape)

    def places(self, points: Sequence[tuple[float, float]]) -> np.ndarray:
        """(n, 2) x and y in units of the shorter side."""
        return np.array(points, np.float64) * self.mask.shape[::-1] / self.unit

    def lay(self, cover: np.ndarray, colour: np.ndarray, box: tuple[slice, slice]) -> None:
        """Blend `colour` over the box by `cover` (h, w) in [0, 1]."""
        self.painted[box] += cover[..., None] * (colour - self.painted[box])


def _paint_scratch(stroke: Stroke, sheet: _Sheet) -> None:
    random = np.random.default_rng(stroke.seed)
    path = _divided(sheet.places(stroke.points))
    uneven = 0.8 + 0.2 * _smooth(random, len(path))
    cover, box = _ink(sheet, path, stroke.width * uneven * _tapered(len(path)))
    pressure = 0.8 + 0.2 * _field(random, cover.shape, 8)
    shadow = ndimage.shift(cover, max(1.0, 0.4 * stroke.width * sheet.unit), order=1)
    sheet.lay(0.3 * stroke.strength * shadow * (1 - cover), np.float32(0), box)
    sheet.lay(stroke.strength * cover * pressure, stroke.rgb, box)
    sheet.mask[box] |= cover >= _PAINTED


def _paint_stain(stroke: Stroke, sheet: _Sheet) -> None:
    random = np.random.default_rng(stroke.seed)
    path = _divided(sheet.places(stroke.points))
    ink, box = _ink(sheet, path, np.full(len(path), stroke.width), margin=stroke.width)
    radius = stroke.width * sheet.unit / 2
    inside = ndimage.gaussian_filter(ink, max(0.3 * radius, 0.5))
    ragged = inside + 0.7 * (_field(random, ink.shape, 7) - 0.5)
    cover = np.clip((ragged - 0.35) / 0.25, 0, 1) * np.clip(10 * inside, 0, 1)
    mottled = 0.75 + 0.25 * _field(random, ink.shape, 9)
    # A liquid darkens what lies under it more than it hides it.
    soaked = sheet.painted[box] * stroke.rgb / 255
    sheet.lay(stroke.strength * cover * mottled, 0.6 * soaked + 0.4 * stroke.rgb, box)
    sheet.mask[box] |= cover >= _PAINTED


def _paint_hole(stroke: Stroke, sheet: _Sheet) -> None:
    path = _divided(sheet.places(stroke.points))
    wide, box = _ink(sheet, path, np.full(len(path), stroke.width))
    inner, _ = _ink(sheet, path, np.full(len(path), 0.8 * stroke.width), box=box)
    rim = np.clip(wide - inner, 0, 1)
    slope = ndimage.sobel(ndimage.gaussian_filter(wide, 1.5), 0)
    light = 0.8 - 0.5 * slope / max(float(np.abs(slope).max()), 1e-9)
    edge = sheet.painted[box] * light[..., None]
    sheet.lay(stroke.strength * rim, edge.clip(0, 255), box)
    sheet.lay(stroke.strength * inner, stroke.rgb, box)
    sheet.mask[box] |= wide >= _PAINTED


def _paint_crack(stroke: Stroke, sheet: _Sheet) -> None:
    random = np.random.default_rng(stroke.seed)
    path = _divided(sheet.places(stroke.points))
    path = path + random.normal(0, 0.35 * _STEP, path.shape)
    twigs = [_twig(random, path, start) for start in range(4, len(path) - 4, 9)]
    pieces = [(path, 0.45 * _tapered(len(path)))]
    pieces += [(twig, 0.25 * np.linspace(1, 0.2, len(twig))) for twig in twigs]
    for line, widths in pieces:
        cover, box = _ink(sheet, line, stroke.width * widths)
        sheet.lay(stroke.strength * cover, stroke.rgb, box)
        sheet.mask[box] |= cover >= _PAINTED


def _twig(random: np.random.Generator, path: np.ndarray, start: int) -> np.ndarray:
    """A short side branch that leaves the path at a slant."""
    ahead = path[start + 2] - path[start - 2]
    slant = random.choice((-1, 1)) * random.uniform(0.5, 1.1)
    turn = np.array([[np.cos(slant), -np.sin(slant)], [np.sin(slant), np.cos(slant)]])
    step = turn @ ahead / max(np.hypot(*ahead), 1e-9) * _STEP
    walk = np.outer(np.arange(random.integers(3, 8)), step)
    return path[start] + walk + random.normal(0, 0.2 * _STEP, walk.shape)


def _erase(stroke: Stroke, sheet: _Sheet) -> None:
    path = _divided(sheet.places(stroke.points))
    cover, box = _ink(sheet, path, np.full(len(path), stroke.width))
    sheet.lay(stroke.strength * cover, sheet.good[box], box)
    sheet.mask[box] &= stroke.strength * cover < _PAINTED


_PAINTERS: dict[str, Callable[[Stroke, _Sheet], None]] = {
    "scratch": _paint_scratch, "stain": _paint_stain, "hole": _paint_hole, "crack": _paint_crack,
    "erase": _erase,
}


def _divided(places: np.ndarray) -> np.ndarray:
    """The same line with a place every `_STEP`; (n, 2) in units of the shorter side."""
    lengths = np.hypot(*np.diff(places, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(lengths)])
    wanted = np.linspace(0, along[-1], max(2, round(along[-1] / _STEP) + 1))
    return np.stack([np.interp(wanted, along, places[:, axis]) for axis in (0, 1)], axis=1)


def _tapered(count: int) -> np.ndarray:
    """Widths that begin and end thin, (count,) in [0.3, 1]."""
    middle = np.sin(np.pi * (np.arange(count) + 0.5) / count)
    return 0.3 + 0.7 * np.minimum(1, 2 * middle)


def _smooth(random: np.random.Generator, count: int) -> np.ndarray:
    return ndimage.gaussian_filter1d(random.uniform(-1, 1, count), 2, mode="nearest")


def _field(random: np.random.Generator, shape: tuple[int, ...], cells: int) -> np.ndarray:
    """Soft noise in [0, 1] that looks alike at every size of the picture, (H, W)."""
    coarse = Image.fromarray(random.uniform(0, 1, (cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize(shape[::-1], Image.Resampling.BICUBIC)).clip(0, 1)


def _ink(
    sheet: _Sheet, line: np.ndarray, widths: np.ndarray, margin: float = 0.0,
    box: tuple[slice, slice] | None = None,
) -> tuple[np.ndarray, tuple[slice, slice]]:
    """Share of each pixel that a line covers, (h, w) in [0, 1], and the box that it lies in."""
    pixels = line * sheet.unit
    thick = np.maximum(widths * sheet.unit, 1.5)  # a thinner one could miss every pixel's middle
    if box is None:
        box = _box_around(pixels, thick.max() / 2 + margin * sheet.unit + 3, sheet.mask.shape)
    rows, columns = box
    shape = (rows.stop - rows.start, columns.stop - columns.start)
    fine = Image.new("L", (shape[1] * _SUPERSAMPLING, shape[0] * _SUPERSAMPLING))
    brush = ImageDraw.Draw(fine)
    places = (pixels - (columns.start, rows.start)) * _SUPERSAMPLING
    radii = thick * _SUPERSAMPLING / 2
    for (x, y), radius in zip(places, radii, strict=True):
        brush.ellipse((x - radius, y - radius, x + radius, y + radius), 255)
    between = zip(places[:-1], places[1:], np.minimum(radii[:-1], radii[1:]), strict=True)
    for start, end, radius in between:
        brush.line((*start, *end), 255, width=max(1, round(2 * radius)))
    shrunk = fine.resize(shape[::-1], Image.Resampling.BOX)
    return np.asarray(shrunk, np.float32) / 255, box


def _box_around(
    pixels: np.ndarray, reach: float, shape: tuple[int, ...]
) -> tuple[slice, slice]:
    """The part of the picture within `reach` of a line, at least one pixel."""
    def span(values: np.ndarray, limit: int) -> slice:
        first = min(max(int(values.min() - reach), 0), limit - 1)
        return slice(first, max(first + 1, min(int(values.max() + reach) + 1, limit)))

    return span(pixels[:, 1], shape[0]), span(pixels[:, 0], shape[1])
