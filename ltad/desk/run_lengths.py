"""COCO's run-length encoding of masks, as its own tools write and read it.

The lengths of the runs of 0 and 1 in turn, column by column, starting with 0; in a file they stand
as text, five bits a character, each from the fourth on as its difference to the one two before.
"""

from __future__ import annotations

import numpy as np

from ltad.images import MAX_PIXELS
from ltad.types import ImageError


def encode(
    inside: np.ndarray, left: int, top: int, picture_size: tuple[int, int]
) -> dict[str, object]:
    """A part of a picture as ``{"size": [height, width], "counts": text}``.

    Args:
        inside: bool (h, w), the pixels of a box that belong to it.
        left, top: where the box begins.
        picture_size: (width, height).
    """
    width, height = picture_size
    columns, rows = np.nonzero(inside.T)
    places = (columns.astype(np.int64) + left) * height + rows + top
    is_start = np.diff(places, prepend=-2) > 1
    starts, ends = places[is_start], places[np.roll(is_start, -1)] + 1
    edges = np.concatenate([[0], np.stack([starts, ends], axis=1).ravel(), [width * height]])
    counts = np.diff(edges).tolist()
    if len(counts) > 1 and counts[-1] == 0:
        counts.pop()
    return {"size": [height, width], "counts": _to_text(counts)}


def decode(runs: dict, name: str = "The mask") -> np.ndarray:
    """The bool mask (height, width) of an encoding, whose counts may be text or numbers.

    Raises:
        ImageError: it is damaged, or larger than any picture that is accepted.
    """
    try:
        height, width = (int(side) for side in runs["size"])
        if not 0 < height * width <= MAX_PIXELS or min(height, width) < 1:
            raise ValueError(f"its size is {height} x {width}")
        counts = runs["counts"]
        counts = np.array(_of_text(counts) if isinstance(counts, str) else counts, dtype=np.int64)
        if counts.ndim != 1 or (counts < 0).any() or counts.sum() != height * width:
            raise ValueError("its runs do not add up to its size")
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        raise ImageError(f"{name} is damaged ({error}). Export it again.") from error
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(width, height).T


def _to_text(counts: list[int]) -> str:
    letters = []
    for index, count in enumerate(counts):
        value = count - counts[index - 2] if index > 2 else count
        while True:
            bits, value = value & 31, value >> 5
            # Done when what is left is only the sign that the last five bits show already.
            is_done = value == (-1 if bits & 16 else 0)
            letters.append(chr(48 + bits + (0 if is_done else 32)))
            if is_done:
                break
    return "".join(letters)


def _of_text(text: str) -> list[int]:
    counts, value, shift = [], 0, 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError("its runs cannot be read")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value, shift = 0, 0
    return counts
