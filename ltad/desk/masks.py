"""Masks: which pixels of a picture are meant. As 1-bit PNG on disk, as bool arrays (H, W) here."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from ltad.data.masks import levels_of
from ltad.images import read_values
from ltad.types import ImageError


def encode_mask(mask: np.ndarray) -> bytes:
    """A 1-bit PNG, white where `mask` (H, W) is true."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(mask, dtype=bool)).save(buffer, "PNG")
    return buffer.getvalue()


def decode_mask(
    data: bytes, name: str = "The mask", size: tuple[int, int] | None = None
) -> np.ndarray:
    """The bool array (H, W) of a mask's picture: true where it is lighter than middle grey, or
    opaque where its ground is transparent.

    Args:
        data: a picture file of any accepted format.
        name: what messages call it.
        size: the (width, height) that it must have; None accepts any.

    Raises:
        ImageError: it is no picture, or has another size.
    """
    levels, _ = levels_of(read_values(data, name))
    height, width = levels.shape
    if size is not None and (width, height) != tuple(size):
        raise ImageError(
            f"{name} is {width} x {height} pixels, but its picture is "
            f"{size[0]} x {size[1]}. Draw the mask at the picture's own size."
        )
    top = np.iinfo(levels.dtype).max if levels.dtype.kind in "ui" else 1
    return levels > top / 2


def resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """`mask` (H, W) stretched to `size` (width, height): true where at least half is covered."""
    if mask.shape == (size[1], size[0]):
        return np.asarray(mask, dtype=bool)
    grey = Image.fromarray(np.where(mask, np.uint8(255), np.uint8(0)))
    return np.asarray(grey.resize(size, Image.Resampling.BOX)) >= 128
