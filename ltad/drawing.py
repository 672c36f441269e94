"""Strokes of a painted defect, as plain data that a page, a file or a script holds.

Places are relative to the picture and every random choice comes from a stroke's own seed, so the
same strokes on the same picture give the same bytes (`ltad.painting`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

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


@dataclass(frozen=True)
class Stroke:
    """One pull of the brush.

    Attributes:
        kind: one of `KINDS`; "erase" brings the good picture back.
        points: (x, y) in [0, 1] of the picture's width and height, at least one.
        width: of the brush, as a share of the picture's shorter side, within `WIDTHS`.
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
        numbers = {k: kind(record[k]) for k, kind in
                   (("width", float), ("strength", float), ("seed", int)) if k in record}
        return Stroke(str(record["kind"]), points, **numbers, colour=str(record.get("colour", "")))
    except (TypeError, ValueError, OverflowError) as error:
        raise SettingError(f"Stroke {number}: {error}") from None
