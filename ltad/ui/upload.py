"""The one door for uploaded pictures.

``gr.Image`` opens whatever path a request names when the request leaves out the ``meta`` field,
downloads addresses, and decodes anything Pillow knows. This component checks the folder itself,
refuses addresses, and decodes only with :func:`ltad.images.read_image`.
"""

from __future__ import annotations

import base64
import binascii
import io
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

MAXIMUM_BYTES = 20 * 2**20


class PhotoUpload(gr.Image):
    """``gr.Image`` that hands an RGB picture to its handlers, from trusted places only."""

    def preprocess(self, payload: ImageData | None) -> Image.Image | None:
        """The decoded picture. Raises gr.Error with a message for the visitor."""
        if payload is None:
            return None
        try:
            return read_image(_source(payload), name=payload.orig_name or "the picture")
        except Exception as error:
            raise page_error(error) from None

    async def async_move_resource_to_block_cache(
        self, url_or_file_path: str | Path | None
    ) -> str | None:
        """Gradio's own, without downloads: this page contacts no other host."""
        if url_or_file_path is not None and is_http_url_like(str(url_or_file_path)):
            raise page_error(ImageError("Send the picture itself, not its address."))
        return await super().async_move_resource_to_block_cache(url_or_file_path)

    def get_block_name(self) -> str:
        """The browser draws it as an ordinary image component."""
        return "image"

    def example_payload(self) -> Any:
        """What the API page shows as an argument."""
        return {"path": "part.jpg", "meta": {"_type": "gradio.FileData"}}


def _source(payload: ImageData) -> Path | io.BytesIO:
    """Where to read the picture: an uploaded file, or the bytes of a ``data:`` URL."""
    if payload.url and payload.url.startswith("data:"):
        return io.BytesIO(_inline_bytes(payload.url))
    path = Path(payload.path or "").resolve()
    folder = Path(get_upload_folder()).resolve()
    if not payload.path or not path.is_relative_to(folder) or not path.is_file():
        raise ImageError("That picture was not uploaded here. Upload it first.")
    if path.stat().st_size > MAXIMUM_BYTES:
        raise _too_large()
    return path


def _inline_bytes(url: str) -> bytes:
    header, _, content = url.partition(",")
    if not header.endswith(";base64"):
        raise ImageError("An inline picture must be base64 text. Upload the file instead.")
    if len(content) > MAXIMUM_BYTES * 4 // 3 + 4:
        raise _too_large()
    try:
        return base64.b64decode(content, validate=True)
    except binascii.Error:
        raise ImageError("The inline picture is damaged. Upload the file instead.") from None


def _too_large() -> ImageError:
    return ImageError(f"The picture is larger than {MAXIMUM_BYTES // 2**20} MB. Save it smaller.")
