"""Decoding: every kind of image file, made on the fly, and every kind of broken one."""

import contextlib
import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from ltad.io import images
from ltad.io.images import check_header, content_key, read_image
from ltad.types import ImageError

RNG = np.random.default_rng(0)
COLOR = RNG.integers(0, 256, (12, 16, 3), dtype=np.uint8)
RAMP = np.linspace(1000, 5000, 12 * 16).reshape(12, 16)
PNG_16_BIT_RGB = 2


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def png(width: int, height: int, depth: int, color_type: int, rows: bytes) -> bytes:
    """A PNG file from its raw rows, for what Pillow cannot write."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(
            ">I", zlib.crc32(kind + data)
        )
    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
            + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP"])
def test_lossless_formats_keep_every_pixel(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    image = read_image(encoded(Image.fromarray(COLOR), kind, **options))
    assert image.mode == "RGB" and np.array_equal(np.asarray(image), COLOR)


def test_jpeg_and_phone_jpeg():
    flat = Image.new("RGB", (16, 12), (200, 60, 30))
    phone = encoded(flat, "MPO", save_all=True, append_images=[Image.new("RGB", (16, 12))])
    for data in (encoded(flat, "JPEG", quality=95), phone):
        assert np.allclose(np.asarray(read_image(data)), (200, 60, 30), atol=3)


def test_path_bytes_image_and_array_agree(tmp_path):
    path = tmp_path / "part.png"
    Image.fromarray(COLOR).save(path)
    sources = [path, str(path), path.read_bytes(), Image.open(path), COLOR]
    keys = {content_key(read_image(source)) for source in sources}
    assert len(keys) == 1 and len(keys.pop()) == 32


def test_content_key_depends_on_pixels_and_size():
    changed = COLOR.copy()
    changed[0, 0, 0] ^= 1
    arrays = [COLOR, changed, COLOR.reshape(16, 12, 3)]
    assert len({content_key(read_image(array)) for array in arrays}) == 3


def test_exif_rotation():
    exif = Image.Exif()
    exif[0x0112] = 6  # shown rotated by 90 degrees clockwise
    image = read_image(encoded(Image.fromarray(COLOR), "PNG", exif=exif))
    assert np.array_equal(np.asarray(image), np.rot90(COLOR, k=-1))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_is_ignored():
    data = encoded(Image.fromarray(COLOR), "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert read_image(data).size == (16, 12)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_16_bit_grey_has_the_white_of_its_bits(kind, bits):
    grey = np.arange(256).reshape(16, 16)
    values = (grey * (2**bits - 1) // 255).astype(np.uint16)
    image = np.asarray(read_image(encoded(Image.fromarray(values), kind)))
    assert np.array_equal(image[..., 0], grey)


def test_a_speck_changes_nothing_but_itself():
    surface = RNG.integers(29_930, 30_070, (20, 20)).astype(np.uint16)
    speck = surface.copy()
    speck[3, 3] = 60_000
    plain, marked = (np.asarray(read_image(encoded(Image.fromarray(v), "PNG")))[..., 0]
                     for v in (surface, speck))
    assert set(plain.ravel()) <= {116, 117}  # 30,000 / 257 = 116.7; the noise is 0.3 of a grey
    assert marked[3, 3] == 233
    assert (plain != marked).sum() == 1


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_32_bit_tiff(dtype):
    image = np.asarray(read_image(encoded(Image.fromarray(RAMP.astype(dtype)), "TIFF")))
    assert np.array_equal(image[..., 0], np.rint(RAMP.astype(dtype) / 65535 * 255))


@pytest.mark.parametrize("value", [-1.0, 65536.0])
def test_values_without_a_white_are_refused(value):
    values = RAMP.astype(np.float32)
    values[2, 2] = value
    with pytest.raises(ImageError, match=f"my array holds values from .*{value:g}.*same numbers"):
        read_image(values, "my array")


def test_16_bit_color_keeps_the_upper_byte():
    rows = b"".join(b"\0" + (COLOR[y].astype(">u2") * 257).tobytes() for y in range(12))
    image = read_image(png(16, 12, 16, PNG_16_BIT_RGB, rows))
    assert np.array_equal(np.asarray(image), COLOR)


def test_hidden_colors_of_transparent_areas_become_white():
    rgba = np.dstack([COLOR, np.zeros((12, 16), np.uint8)])
    rgba[:6, :, 3] = 255
    image = np.asarray(read_image(encoded(Image.fromarray(rgba), "PNG")))
    assert np.array_equal(image[:6], COLOR[:6]) and (image[6:] == 255).all()


def test_grey_with_alpha_is_blended():
    half = Image.new("LA", (9, 9), (0, 128))
    assert np.allclose(np.asarray(read_image(encoded(half, "PNG"))), 127, atol=1)


def test_palette_with_transparency():
    image = Image.new("P", (9, 9), 1)
    image.putpalette([10, 20, 30, 200, 100, 50])
    opaque = read_image(encoded(image, "PNG"))
    image.putpixel((0, 0), 0)
    clear = read_image(encoded(image, "PNG", transparency=1))
    assert opaque.getpixel((4, 4)) == (200, 100, 50)
    assert clear.getpixel((4, 4)) == (255,) * 3 and clear.getpixel((0, 0)) == (10, 20, 30)


def test_what_is_wholly_transparent_is_refused():
    rgba = np.dstack([COLOR, np.zeros((12, 16), np.uint8)])
    for source in (encoded(Image.fromarray(rgba), "PNG"), rgba):
        with pytest.raises(ImageError, match="part is transparent everywhere"):
            read_image(source, "part")


def test_cmyk_and_1_bit():
    cyan = read_image(encoded(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), "JPEG"))
    red, green, blue = cyan.getpixel((8, 8))
    assert red < 60 and green > 150 and blue > 150
    bits = Image.fromarray(np.eye(9, dtype=bool))
    for kind in ("PNG", "TIFF"):
        image = np.asarray(read_image(encoded(bits, kind)))
        assert np.array_equal(image[..., 0], np.eye(9) * 255)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_first_frame_of_an_animation(kind):
    frames = [Image.new("RGB", (9, 9), color) for color in ("red", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert read_image(data).getpixel((4, 4)) == (255, 0, 0)


@pytest.mark.parametrize("shape", [(12, 16), (12, 16, 1), (12, 16, 3)])
@pytest.mark.parametrize("white, dtype", [
    (4095, np.uint16), (2000, np.float16), (1, np.float32), (255, np.float64), (65535, np.int64),
])
def test_arrays_have_the_white_of_their_values(shape, white, dtype):
    values = np.linspace(0, white, int(np.prod(shape))).reshape(shape).astype(dtype)
    image = np.asarray(read_image(values))
    expected = values.reshape(12, 16, -1).astype(float) / (4095 if white == 2000 else white) * 255
    assert np.allclose(image, np.broadcast_to(expected, (12, 16, 3)), atol=0.51)


def test_8_bit_and_bool_arrays_are_not_stretched():
    grey = np.full((9, 9), 77, np.uint8)
    assert (np.asarray(read_image(grey)) == 77).all()
    assert np.array_equal(np.asarray(read_image(np.eye(9) > 0))[..., 0], np.eye(9) * 255)


@pytest.mark.parametrize("top, dtype", [(255, np.uint8), (65535, np.uint16), (1.0, np.float32)])
def test_array_with_alpha(top, dtype):
    rgba = np.zeros((10, 10, 4), dtype)
    rgba[..., 0] = np.linspace(0, top, 100).reshape(10, 10)
    rgba[5:, :, 3] = top
    image = np.asarray(read_image(rgba))
    assert (image[:5] == 255).all() and image[9, 9, 0] == 255 and image[9, 9, 1] == 0


def test_flat_and_unknown_values():
    assert (np.asarray(read_image(np.zeros((9, 9), np.float32))) == 0).all()
    values = RAMP.copy()
    values[0, :3] = np.nan, np.inf, -np.inf
    assert np.asarray(read_image(values))[0, :3, 0].tolist() == [0, 255, 0]
    with pytest.raises(ImageError, match="no finite value"):
        read_image(np.full((9, 9), np.nan))


@pytest.mark.parametrize(
    "array, message",
    [
        (np.zeros(9), "shape"),
        (np.zeros((9, 9, 2)), "shape"),
        (np.zeros((9, 9), complex), "real numbers"),
        (np.zeros((9, 7)), "at least 8"),
        (np.broadcast_to(np.uint8(0), (8000, 8000)), "50 million"),
    ],
)
def test_unusable_arrays(array, message):
    with pytest.raises(ImageError, match=message):
        read_image(array)


@pytest.mark.parametrize("reader", [read_image, check_header])
@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "empty"),
        (b"not an image at all, just text", "known format"),
        (encoded(Image.fromarray(COLOR), "PPM"), "known format"),
        (encoded(Image.fromarray(COLOR), "ICO"), "known format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "known format"),
        (encoded(Image.fromarray(COLOR), "PNG")[:200], "damaged"),
        (encoded(Image.new("RGB", (7, 90)), "PNG"), "at least 8"),
    ],
)
def test_refused_files_are_named(tmp_path, reader, data, message):
    path = tmp_path / "upload.png"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=message) as caught:
        reader(path)
    assert str(path) in str(caught.value)
    with pytest.raises(ImageError, match="my image"):
        reader(data, "my image")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"])
def test_truncated_files(kind):
    noise = Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    data = encoded(noise, kind)
    with pytest.raises(ImageError):
        read_image(data[: len(data) // 2])


def test_every_byte_of_a_header_may_be_wrong():
    """Whatever a damaged file does inside Pillow, only ImageError comes out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for kind in images.FORMATS:
            data = encoded(Image.fromarray(COLOR), kind)
            for place in range(0, min(len(data), 120)):
                damaged = bytearray(data)
                damaged[place] ^= 0xFF
                with contextlib.suppress(ImageError):
                    assert read_image(bytes(damaged)).mode == "RGB"


@pytest.mark.parametrize("side", [8000, 12000, 20000])
def test_pixel_bomb_is_refused_before_decoding(side):
    bomb = png(side, side, 8, 0, b"")  # had it been decoded, it would be "damaged"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ImageError, match="50 million"):
            read_image(bomb)


def test_missing_and_oversized_files(tmp_path, monkeypatch):
    with pytest.raises(ImageError, match="not a file"):
        read_image(tmp_path / "none.png")
    with pytest.raises(ImageError, match="not a file"):
        read_image(tmp_path)
    monkeypatch.setattr(images, "MAX_BYTES", 100)
    with pytest.raises(ImageError, match="larger than"):
        read_image(encoded(Image.fromarray(COLOR), "PNG"))


def test_images_of_other_formats_are_refused_unread():
    with pytest.raises(ImageError, match="known format"):
        read_image(Image.open(io.BytesIO(encoded(Image.fromarray(COLOR), "PPM"))))


def test_the_callers_image_is_left_alone():
    mine = Image.new("RGB", (9, 9), "red")
    read_image(mine).paste("blue", (0, 0, 9, 9))
    assert mine.getpixel((0, 0)) == (255, 0, 0)
