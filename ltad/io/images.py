"""The one place where images from outside are decoded, and the only one that trusts Pillow.

An image is refused before it is decoded when its file or its pixels are too many or its format is
not listed; what passes comes out as plain 8-bit RGB, whatever it was.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ltad.types import ImageError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
"""Pillow's names of the accepted formats (a phone's MPO is a JPEG that Pillow renames)."""
MAX_BYTES = 60_000_000
MAX_PIXELS = 50_000_000
MIN_SIDE = 8
LARGEST_VALUES = (255, 2**12 - 1, 2**16 - 1)
"""White at 8, 12 and 16 bits; an image that is not uint8 has the first that no value exceeds."""
READING = 2
"""Raised whenever `read_image` begins to make other pixels of some file."""

FileSource = str | Path | bytes
"""A file's path, or its bytes."""
ImageSource = FileSource | Image.Image | np.ndarray


@dataclass(frozen=True)
class Prepared:
    """An image at the model's input size: small enough to keep with a page.

    Attributes:
        key: hash of its content.
        pixels: (S, S, 3) uint8 RGB.
    """

    key: str
    pixels: np.ndarray


def read_image(source: ImageSource, name: str | None = None) -> Image.Image:
    """Decode an image to RGB, upright, as a new image.

    Images of more than 8 bits (one channel; Pillow itself cuts 16-bit colour files to 8 bits),
    and arrays that are not uint8 or bool, are divided by a fixed white and never stretched, so that
    the same surface has the same grey in every image of a camera: by 65535, by 4095 if no value
    is larger (12 bits), by 255 if none is larger, and floats by 1 if none is larger. Transparent
    areas are laid on white, and an animation gives its first frame.

    Args:
        source: a file's path, a file's bytes, an image, or an array (H, W), (H, W, 1), (H, W, 3)
            or (H, W, 4) of numbers. The fourth channel is alpha: up to the type's largest value
            for integers, up to 1 for floats.
        name: what messages call the image; by default its path, or "The image".

    Returns:
        An RGB image with both sides at least 8 pixels and at most 50 million pixels.

    Raises:
        ImageError: missing, empty, too large, too small, broken, wholly transparent, of another
            format, or with values below 0 or above 65535.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, name or "The array")
    image = _open(source, name)
    name = _name_of(source, name)
    try:
        image.load()
        return _to_rgb(_upright(image), name)
    except ImageError:
        raise
    except Exception as error:  # Pillow's decoders fail on broken data in many ways
        raise _broken(name, error) from error


def read_values(source: FileSource, name: str | None = None) -> np.ndarray:
    """The numbers of an image that holds labels rather than light, upright and as stored.

    Returns:
        (H, W) of one channel, uint8, uint16, int32 or float32; or (H, W, 4) uint8 RGBA of any
        other image, a palette's colours included.

    Raises:
        ImageError: as `read_image`.
    """
    image = _open(source, name)
    name = _name_of(source, name)
    try:
        image.load()
        image = _upright(image)
    except Exception as error:  # as in read_image
        raise _broken(name, error) from error
    if image.mode == "1":
        image = image.convert("L")
    has_one_channel = image.mode in ("L", "I", "F") or image.mode.startswith("I;16")
    if has_one_channel and not image.has_transparency_data:
        return np.nan_to_num(np.asarray(image))
    return np.asarray(image.convert("RGBA"))


def check_header(source: FileSource, name: str | None = None) -> tuple[int, int]:
    """Width and height of an image that has an accepted header, without decoding its pixels.

    A PNG's check sums are verified too; a JPEG that is cut off in its pixels passes.

    Raises:
        ImageError: as `read_image`.
    """
    image = _open(source, name)
    try:
        image.verify()
    except Exception as error:  # as in read_image
        raise _broken(_name_of(source, name), error) from error
    return image.size


def content_key(image: Image.Image) -> str:
    """32 hexadecimal digits that depend on the image's size and RGB pixels only."""
    image = image.convert("RGB")
    digest = hashlib.sha256(f"{image.width}x{image.height}:".encode())
    digest.update(image.tobytes())
    return digest.hexdigest()[:32]


def _name_of(source: ImageSource, name: str | None) -> str:
    return name or (str(source) if isinstance(source, str | Path) else "The image")


def _open(source: FileSource | Image.Image, name: str | None) -> Image.Image:
    """The image with its header read and checked, its pixels not yet decoded."""
    name = _name_of(source, name)
    if isinstance(source, Image.Image):
        if source.format not in (None, "MPO", *FORMATS):
            raise _wrong_format(name)
        image = source
    else:
        image = _open_bytes(_read_bytes(source, name), name)
    _check_size(*image.size, name)
    return image


def _read_bytes(source: FileSource, name: str) -> bytes:
    if isinstance(source, bytes):
        data = source
    else:
        path = Path(source)
        if not path.is_file():
            raise ImageError(f"{name} is not a file. Check the path.")
        try:
            with path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise ImageError(f"{name} cannot be opened: {error.strerror}.") from error
    if not data:
        raise ImageError(f"{name} is empty (0 bytes). Export or upload it again.")
    if len(data) > MAX_BYTES:
        raise ImageError(
            f"{name} is larger than {MAX_BYTES // 1_000_000} MB. Save it smaller or as JPEG."
        )
    return data


def _open_bytes(data: bytes, name: str) -> Image.Image:
    try:
        return Image.open(BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many_pixels(name) from error
    except Image.UnidentifiedImageError as error:
        raise _wrong_format(name) from error
    except Exception as error:  # as in read_image
        raise _broken(name, error) from error


def _check_size(width: int, height: int, name: str) -> None:
    if width * height > MAX_PIXELS:
        raise _too_many_pixels(name, f" ({width} x {height})")
    if min(width, height) < MIN_SIDE:
        raise ImageError(
            f"{name} is {width} x {height} pixels, but both sides must be at least {MIN_SIDE}."
        )


def _too_many_pixels(name: str, size: str = "") -> ImageError:
    return ImageError(
        f"{name} has more than {MAX_PIXELS // 1_000_000} million pixels{size}. Scale it down first."
    )


def _wrong_format(name: str) -> ImageError:
    return ImageError(
        f"{name} is not an image in a known format. Save it as one of: {', '.join(FORMATS)}."
    )


def _broken(name: str, error: Exception) -> ImageError:
    return ImageError(
        f"{name} is damaged or cut off and cannot be decoded ({error}). Export or upload it again."
    )


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a damaged EXIF block says nothing about the pixels
        return image


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return Image.fromarray(_to_8_bits(np.asarray(image), name)).convert("RGB")
    if image.has_transparency_data:
        return _on_white(image.convert("RGBA"), name)
    return image.convert("RGB")


def _on_white(image: Image.Image, name: str) -> Image.Image:
    if image.getchannel("A").getextrema() == (0, 0):
        raise ImageError(
            f"{name} is transparent everywhere, so there is nothing to see. Save it without "
            "transparency."
        )
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


def _from_array(array: np.ndarray, name: str) -> Image.Image:
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or channels not in (1, 3, 4):
        raise ImageError(
            f"{name} has shape {array.shape}, but it must be (H, W) or (H, W, 1, 3 or 4)."
        )
    if array.dtype.kind not in "buif":
        raise ImageError(f"{name} holds {array.dtype}, but it must hold real numbers.")
    _check_size(array.shape[1], array.shape[0], name)
    if channels == 4:
        color, alpha = _to_8_bits(array[..., :3], name), _alpha(array[..., 3])
        return _on_white(Image.fromarray(np.dstack([color, alpha])), name)
    if array.ndim == 3 and channels == 1:
        array = array[..., 0]
    return Image.fromarray(_to_8_bits(array, name)).convert("RGB")


def _alpha(values: np.ndarray) -> np.ndarray:
    top = np.iinfo(values.dtype).max if values.dtype.kind in "ui" else 1
    opaque = np.nan_to_num(values.astype(np.float32) / top)
    return np.rint(255 * np.clip(opaque, 0, 1)).astype(np.uint8)


def _to_8_bits(values: np.ndarray, name: str) -> np.ndarray:
    """8-bit values of an array of numbers; uint8 and bool keep their meaning."""
    if values.dtype == np.uint8:
        return np.ascontiguousarray(values)
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    is_float = values.dtype.kind == "f"
    values = values.astype(np.result_type(values.dtype, np.float32))
    known = values[np.isfinite(values)]
    if known.size == 0:
        raise ImageError(f"{name} holds no finite value. Export it again.")
    low, high = float(known.min()), float(known.max())
    if low < 0 or high > LARGEST_VALUES[-1]:
        raise ImageError(
            f"{name} holds values from {low:g} to {high:g}, but they must lie between 0 and "
            f"{LARGEST_VALUES[-1]}. Scale all images of the camera by the same numbers."
        )
    white = next(v for v in ((1,) if is_float else ()) + LARGEST_VALUES if high <= v)
    values = np.nan_to_num(values, nan=0, posinf=white, neginf=0)
    return np.rint(values / white * 255).astype(np.uint8)
