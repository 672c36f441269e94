"""Masks: one bit a pixel as PNG, resized without losing what is small, and COCO's run lengths."""

from __future__ import annotations

import io
from typing import Any, cast

import numpy as np
from PIL import Image
from scipy import ndimage

from ltad.io.images import MAX_PIXELS, read_values
from ltad.types import ImageError


def levels_of(values: np.ndarray) -> tuple[np.ndarray, bool]:
    """How bright each pixel of a mask is, (H, W), 0 for background; and whether transparent, black
    and coloured pixels stand side by side.

    Args:
        values: as `ltad.io.images.read_values` gives them.
    """
    if values.ndim == 2:
        return values, False
    color, alpha = values[..., :3].max(axis=-1), values[..., 3]
    is_clear = alpha == 0
    if not is_clear.any() or is_clear.all():  # transparency says nothing
        return color, False
    if not color[~is_clear].any():  # black strokes on a transparent ground
        return alpha, False
    levels = np.where(is_clear, 0, color)
    return levels, bool((color[~is_clear] == 0).any())


def connected_areas(
    mask: np.ndarray, neighbours: np.ndarray | None = None
) -> tuple[np.ndarray, int]:
    """The number of each pixel's connected area, from 1, 0 outside the mask; and how many.

    Args:
        mask: (H, W), what is not 0 belongs to it.
        neighbours: (3, 3), which pixels touch the middle one; by default the four nearest.
    """
    return cast(tuple[np.ndarray, int], ndimage.label(mask, neighbours))


def encode_mask(mask: np.ndarray) -> bytes:
    """A 1-bit PNG, white where `mask` (H, W) is true."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(mask, dtype=bool)).save(buffer, "PNG")
    return buffer.getvalue()


def decode_mask(
    data: bytes, name: str = "The mask", size: tuple[int, int] | None = None
) -> np.ndarray:
    """The bool array (H, W) of a mask's image: true where it is lighter than middle grey, or
    opaque where its ground is transparent.

    Args:
        data: an image file of any accepted format.
        name: what messages call it.
        size: the (width, height) that it must have; None accepts any.

    Raises:
        ImageError: it is no image, or has another size.
    """
    levels, _ = levels_of(read_values(data, name))
    height, width = levels.shape
    if size is not None and (width, height) != tuple(size):
        raise ImageError(
            f"{name} is {width} x {height} pixels, but its image is "
            f"{size[0]} x {size[1]}. Draw the mask at the image's own size."
        )
    top = np.iinfo(levels.dtype).max if levels.dtype.kind in "ui" else 1
    return levels > top / 2


def resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """`mask` (H, W) stretched to `size` (width, height): true where at least half is covered."""
    if mask.shape == (size[1], size[0]):
        return np.asarray(mask, dtype=bool)
    grey = Image.fromarray(np.where(mask, np.uint8(255), np.uint8(0)))
    return np.asarray(grey.resize(size, Image.Resampling.BOX)) >= 128


def encode(
    inside: np.ndarray, left: int, top: int, image_size: tuple[int, int]
) -> dict[str, object]:
    """A part of an image as ``{"size": [height, width], "counts": text}``.

    Args:
        inside: bool (h, w), the pixels of a box that belong to it.
        left, top: where the box begins.
        image_size: (width, height).
    """
    width, height = image_size
    columns, rows = np.nonzero(inside.T)
    places = (columns.astype(np.int64) + left) * height + rows + top
    is_start = np.diff(places, prepend=-2) > 1
    starts, ends = places[is_start], places[np.roll(is_start, -1)] + 1
    edges = np.concatenate([[0], np.stack([starts, ends], axis=1).ravel(), [width * height]])
    counts = np.diff(edges).tolist()
    if len(counts) > 1 and counts[-1] == 0:
        counts.pop()
    return {"size": [height, width], "counts": _to_text(counts)}


def decode(runs: dict[str, Any], name: str = "The mask") -> np.ndarray:
    """The bool mask (height, width) of an encoding, whose counts may be text or numbers.

    Raises:
        ImageError: it is damaged, or larger than any image that is accepted.
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
