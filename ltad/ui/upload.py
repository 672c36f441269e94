"""The one door for uploaded pictures.

``gr.Image`` opens whatever path a request names when the request leaves out the ``meta`` field,
downloads addresses, and decodes anything Pillow knows. The component made here checks the folder
itself, refuses addresses, and decodes only with :func:`ltad.images.read_image`.
"""

from __future__ import annotations

import base64
import binascii
from abc import ABCMeta
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import ImageData
from gradio.utils import get_upload_folder
from gradio_client.utils import is_http_url_like
from PIL import Image

from ltad.images import read_image
from ltad.types import ImageError
from ltad.ui.errors import page_error


def photo_upload(**settings: Any) -> gr.Image:
    """A ``gr.Image`` that hands its handlers an RGB picture, from trusted places only."""
    return _PhotoUpload(type="pil", **settings)


def read_upload(payload: ImageData | None) -> Image.Image | None:
    """The picture of a request, decoded. Raises gr.Error with a message for the visitor."""
    if payload is None:
        return None
    try:
        return decode_upload(payload)
    except Exception as error:
        raise page_error(error) from None


def decode_upload(payload: ImageData) -> Image.Image:
    """The picture of a request. Raises ImageError."""
    return read_image(_source(payload), _name(payload))


def _source(payload: ImageData) -> Path | bytes:
    """Where to read the picture: an uploaded file, or the bytes of a ``data:`` URL."""
    if payload.url and payload.url.startswith("data:"):
        return _inline_bytes(payload.url)
    path = Path(payload.path or "").resolve()
    folder = Path(get_upload_folder()).resolve()
    if not payload.path or not path.is_relative_to(folder) or not path.is_file():
        raise ImageError("That picture was not uploaded here. Upload it first.")
    return path


def _inline_bytes(url: str) -> bytes:
    header, _, content = url.partition(",")
    if not header.endswith(";base64"):
        raise ImageError("An inline picture must be base64 text. Upload the file instead.")
    try:
        return base64.b64decode(content, validate=True)
    except binascii.Error:
        raise ImageError("The inline picture is damaged. Upload the file instead.") from None


def _name(payload: ImageData) -> str:
    """What messages call the picture: the visitor's own file name, never a path on the server."""
    return Path(payload.orig_name or "").name[:80] or "The picture"


async def _fetch_local(self: gr.Image, url_or_file_path: str | Path | None) -> str | None:
    if url_or_file_path is not None and is_http_url_like(str(url_or_file_path)):
        raise page_error(ImageError("Send the picture itself, not its address."))
    return await gr.Image.async_move_resource_to_block_cache(self, url_or_file_path)


# A class, because Gradio makes a new component of the same class whenever a listener updates one,
# as a click on an example does. Made past Gradio's metaclass, which would write a stub file beside
# this source.
_PhotoUpload = ABCMeta.__new__(type(gr.Image), "Image", (gr.Image,), {
    "__module__": __name__,
    "preprocess": lambda self, payload: read_upload(payload),
    "async_move_resource_to_block_cache": _fetch_local,
    "example_payload": lambda self: {"path": "part.jpg", "meta": {"_type": "gradio.FileData"}},
})
