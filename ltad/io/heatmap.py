"""What the page shows of images and maps: colour tables, heatmaps, JPEG and PNG as data URLs."""

from __future__ import annotations

import base64
import io
import zlib

import numpy as np
from PIL import Image

# Calm to alarming. Lightness rises all the way, so the order survives without colour vision.
_ANCHORS = np.array(
    [(27, 16, 65), (104, 31, 122), (190, 52, 96), (240, 116, 62), (253, 226, 108)], np.float64
)
_LEVELS = 256
_OPAQUE_FROM = 0.55  # below this share of the scale the photograph shines through
_STRENGTH = 0.75  # of the colour where it is laid into a photograph for good
PHOTO_SIDE = 448


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
    image = Image.fromarray(colour_levels(values, low, high))
    image.putpalette(table[:, :3].tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", transparency=table[:, 3].tobytes(), compress_level=4)
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


def scale_gradient() -> str:
    """The colour scale as a CSS gradient from left to right."""
    stops = colour_table()[np.linspace(0, 255, 12).round().astype(int)]
    return "linear-gradient(90deg, " + ", ".join(
        f"rgb({red} {green} {blue} / {alpha / 255:.2f})" for red, green, blue, alpha in stops
    ) + ")"


def photo_jpeg(image: Image.Image, side: int = PHOTO_SIDE) -> bytes:
    """The photograph in its own proportions, its longer side at most `side` pixels."""
    small = image.convert("RGB")
    small.thumbnail((side, side))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def data_url(content: bytes, kind: str) -> str:
    """Bytes as a data URL, e.g. ``data_url(png, "image/png")``."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def pack_maps(maps: list[np.ndarray]) -> tuple[str, list[tuple[float, float]]]:
    """The values of equally large maps for the pointer, and the (low, high) of each.

    Each map becomes 16-bit levels between its own lowest and highest value. Neighbouring levels
    of an upsampled map differ by little, so the differences along x and y (modulo 65,536, hence
    exact) are stored, low bytes before high bytes, which deflate shrinks about fourfold.
    """
    ranges = [(float(values.min()), float(values.max())) for values in maps]
    planes = []
    for values, (low, high) in zip(maps, ranges, strict=True):
        share = (values.astype(np.float64) - low) / max(high - low, 1e-12)
        level = (share * 65535).round().astype(np.uint16)
        level = np.diff(level, axis=1, prepend=np.uint16(0))
        planes.append(np.diff(level, axis=0, prepend=np.uint16(0)))
    stacked = np.stack(planes)
    halves = np.stack([stacked & 255, stacked >> 8]).astype(np.uint8)
    return base64.b64encode(zlib.compress(halves.tobytes(), 3)).decode(), ranges


def unpack_maps(
    packed: str, ranges: list[tuple[float, float]], shape: tuple[int, int]
) -> list[np.ndarray]:
    """Inverse of :func:`pack_maps`, as the page's script does it; `shape` is (H, W)."""
    halves = np.frombuffer(zlib.decompress(base64.b64decode(packed)), np.uint8)
    low_bytes, high_bytes = halves.reshape(2, len(ranges), *shape).astype(np.uint16)
    levels = low_bytes | high_bytes << 8
    levels = np.cumsum(levels, axis=1, dtype=np.uint16)
    levels = np.cumsum(levels, axis=2, dtype=np.uint16)
    return [
        low + level / 65535 * (high - low)
        for level, (low, high) in zip(levels, ranges, strict=True)
    ]
