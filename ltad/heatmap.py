"""The fixed colour scale on which every map is drawn. Pure functions of arrays."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

# Calm to alarming. Lightness rises all the way, so the order survives without colour vision.
_ANCHORS = np.array(
    [(27, 16, 65), (104, 31, 122), (190, 52, 96), (240, 116, 62), (253, 226, 108)], np.float64
)
_LEVELS = 256
_OPAQUE_FROM = 0.55  # below this share of the scale the photograph shines through
_STRENGTH = 0.75  # of the colour where it is laid into a photograph for good


def colour_table() -> np.ndarray:
    """The fixed scale, (256, 4) uint8 RGBA: the lowest level is invisible, the upper half solid."""
    level = np.linspace(0, 1, _LEVELS)
    stops = np.linspace(0, 1, len(_ANCHORS))
    channels = [np.interp(level, stops, _ANCHORS[:, channel]) for channel in range(3)]
    alpha = 255 * np.clip(level / _OPAQUE_FROM, 0, 1)
    return np.stack([*channels, alpha], axis=1).round().astype(np.uint8)


def colour_levels(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Scale levels 0..255 of a map, (H, W) uint8; values beyond the scale take its ends."""
    span = max(high - low, 1e-12)
    share = np.clip((np.nan_to_num(values) - low) / span, 0, 1)
    return (share * (_LEVELS - 1)).round().astype(np.uint8)


def heat_png(values: np.ndarray, low: float, high: float) -> bytes:
    """A map drawn on the fixed scale: a PNG with transparency, of the map's size."""
    table = colour_table()
    picture = Image.fromarray(colour_levels(values, low, high))
    picture.putpalette(table[:, :3].tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", transparency=table[:, 3].tobytes(), compress_level=4)
    return buffer.getvalue()


def heat_over(
    photograph: Image.Image, values: np.ndarray, low: float, high: float
) -> Image.Image:
    """The photograph with a map (H, W) laid over it on the fixed scale, RGB, of its own size."""
    table = colour_table()
    table[:, 3] = (table[:, 3] * _STRENGTH).round()
    heat = Image.fromarray(table[colour_levels(values, low, high)], "RGBA")
    heat = heat.resize(photograph.size, Image.Resampling.BILINEAR)
    return Image.alpha_composite(photograph.convert("RGBA"), heat).convert("RGB")
