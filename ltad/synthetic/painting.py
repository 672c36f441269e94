"""Defects painted on an image: strokes that a person draws, and damage that a program draws."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from ltad.io.files import generator
from ltad.synthetic.scenes import flaws
from ltad.synthetic.scenes.canvas import Canvas
from ltad.synthetic.scenes.fields import FLOAT
from ltad.synthetic.scenes.flaws import fallback
from ltad.types import SettingError

COLOURS = {
    "scratch": "#e9e7e2", "stain": "#4a2f14", "hole": "#0d0c0c", "crack": "#17130f",
    "erase": "#ffffff",
}
KINDS = tuple(COLOURS)
MOST_STROKES = 200
MOST_POINTS = 2000
WIDTHS = (0.002, 0.5)
STRENGTHS = (0.05, 1.0)
_SUPERSAMPLING = 4
_PAINTED = 0.4  # a pixel counts as painted from this share of it on
_STEP = 0.012  # length of a crack's straight pieces, as a share of the shorter side
DAMAGE = {"scratch": flaws.scratch, "crack": flaws.crack, "stain": flaws.stain}
LEAST_CHANGE = 12.0 / 255
LEAST_SHARE, LARGEST_SHARE = 0.002, 0.15
ATTEMPTS = 12
CENTRE = 0.36
"""Radius, as a share of the side, of the disc in which damage lies: most parts fill it."""


@dataclass(frozen=True)
class Stroke:
    """One pull of the brush.

    Attributes:
        kind: one of `KINDS`; "erase" brings the good image back.
        points: (x, y) in [0, 1] of the image's width and height, at least one.
        width: of the brush, as a share of the image's shorter side, within `WIDTHS`.
        strength: opacity, within `STRENGTHS`.
        seed: of the stroke's roughness, 0 or more.
        colour: "#rrggbb"; "" is the kind's own in `COLOURS`.
    """

    kind: str
    points: tuple[tuple[float, float], ...]
    width: float = 0.03
    strength: float = 1.0
    seed: int = 0
    colour: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise SettingError(f"kind is {self.kind!r}, but it must be one of {', '.join(KINDS)}.")
        if not 1 <= len(self.points) <= MOST_POINTS:
            raise SettingError(f"{len(self.points)} points, but there must be 1 to {MOST_POINTS}.")
        for place in (place for point in self.points for place in point):
            if not 0 <= place <= 1:
                raise SettingError(f"A point lies at {place}, but points lie between 0 and 1.")
        for name, (low, high) in (("width", WIDTHS), ("strength", STRENGTHS)):
            if not low <= getattr(self, name) <= high:
                raise SettingError(
                    f"{name} is {getattr(self, name)}, but it must lie between {low} and {high}."
                )
        if not 0 <= self.seed < 2**32:
            raise SettingError(f"seed is {self.seed}, but it must be between 0 and 2^32 - 1.")
        if self.colour and not re.fullmatch("#[0-9a-fA-F]{6}", self.colour):
            raise SettingError(f"colour is {self.colour!r}, but it must look like #4a2f14.")

    @property
    def rgb(self) -> np.ndarray:
        """(3,) float32 in [0, 255]."""
        text = self.colour or COLOURS[self.kind]
        return np.array([int(text[i : i + 2], 16) for i in (1, 3, 5)], np.float32)

    def record(self) -> dict[str, Any]:
        """The stroke as plain data, as `read_strokes` takes it."""
        return asdict(self)


def read_strokes(records: Any) -> tuple[Stroke, ...]:
    """Strokes from plain data: a list of objects with the fields of :class:`Stroke`.

    Raises:
        SettingError: which stroke is wrong, and how.
    """
    if not isinstance(records, Sequence) or isinstance(records, str | bytes):
        raise SettingError("The strokes must be a list of objects, each with kind and points.")
    if len(records) > MOST_STROKES:
        raise SettingError(f"{len(records)} strokes, but at most {MOST_STROKES} can be drawn.")
    return tuple(_read_stroke(number, record) for number, record in enumerate(records, 1))


def _read_stroke(number: int, record: Any) -> Stroke:
    try:
        if not isinstance(record, Mapping) or not {"kind", "points"} <= set(record):
            raise SettingError('it must be an object with at least "kind" and "points".')
        unknown = set(record) - {field.name for field in fields(Stroke)}
        if unknown:
            raise SettingError(f"{', '.join(sorted(map(str, unknown)))} is no field of a stroke.")
        points = tuple((float(x), float(y)) for x, y in record["points"])
        numbers: dict[str, Any] = {k: kind(record[k]) for k, kind in (
            ("width", float), ("strength", float), ("seed", int)) if k in record}
        return Stroke(str(record["kind"]), points, **numbers, colour=str(record.get("colour", "")))
    except (TypeError, ValueError, OverflowError) as error:
        raise SettingError(f"Stroke {number}: {error}") from None


def draw_strokes(
    image: Image.Image, strokes: Sequence[Stroke]
) -> tuple[Image.Image, np.ndarray]:
    """Paint the strokes on an image, in order.

    Returns:
        The painted RGB image, and the mask of what stayed painted, (H, W) bool.
    """
    good = np.asarray(image.convert("RGB"), np.float32)
    painted, mask = good.copy(), np.zeros(good.shape[:2], bool)
    for stroke in strokes:
        _PAINTERS[stroke.kind](stroke, _Sheet(good, painted, mask))
    return Image.fromarray(np.rint(painted).clip(0, 255).astype(np.uint8)), mask


@dataclass(frozen=True)
class _Sheet:
    """What the painters write on: the good image, the painted one and the mask."""

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

    def lay(
        self, cover: np.ndarray, colour: np.ndarray | np.float32, box: tuple[slice, slice]
    ) -> None:
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
    """Soft noise in [0, 1] that looks alike at every size of the image, (H, W)."""
    height, width = shape
    coarse = Image.fromarray(random.uniform(0, 1, (cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).clip(0, 1)


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
    """The part of the image within `reach` of a line, at least one pixel."""
    def span(values: np.ndarray, limit: int) -> slice:
        first = min(max(int(values.min() - reach), 0), limit - 1)
        return slice(first, max(first + 1, min(int(values.max() + reach) + 1, limit)))

    return span(pixels[:, 1], shape[0]), span(pixels[:, 0], shape[1])


def paint_damage(image: Image.Image, kind: str, seed: int) -> tuple[Image.Image, np.ndarray]:
    """A square image with one visible flaw, and where it is.

    Args:
        image: (S, S) RGB of a good part.
        kind: one of `DAMAGE`.
        seed: the same seed paints the same flaw.

    Returns:
        The damaged image and its mask, (S, S) bool, of pixels that changed visibly.
    """
    pixels = np.asarray(image.convert("RGB"), dtype=FLOAT) / 255
    canvas = Canvas(pixels, _disc(len(pixels)), "part")
    random = generator(seed, list(DAMAGE).index(kind))
    for _ in range(ATTEMPTS):
        changed, share = DAMAGE[kind](canvas, random)
        painted, mask = _visible(pixels, changed, share > 0.1)
        if mask is not None:
            return painted, mask
    changed, mask = fallback(canvas, random)
    return Image.fromarray((changed * 255).round().astype(np.uint8)), mask


def _disc(size: int) -> np.ndarray:
    rows, columns = np.ogrid[:size, :size]
    middle = (size - 1) / 2
    return (rows - middle) ** 2 + (columns - middle) ** 2 <= (CENTRE * size) ** 2


def _visible(
    pixels: np.ndarray, changed: np.ndarray, area: np.ndarray
) -> tuple[Image.Image, np.ndarray | None]:
    """The flawed image; no mask where the flaw would be overlooked, or covers too much."""
    changed = np.where(area[..., None], np.clip(changed, 0, 1), pixels)
    difference = np.abs(changed - pixels).max(axis=-1)
    mask = difference > LEAST_CHANGE / 2
    fits = LEAST_SHARE <= mask.mean() <= LARGEST_SHARE
    painted = Image.fromarray((changed * 255).round().astype(np.uint8))
    return painted, mask if fits and difference[mask].mean() >= LEAST_CHANGE else None
