"""Parts of the page that tabs share: uploads, friendly errors, listening."""

from __future__ import annotations

import base64
import binascii
import functools
import html
import logging
from abc import ABCMeta
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

import gradio as gr
from gradio.components import Component
from gradio.data_classes import ImageData
from gradio.events import Dependency
from gradio.utils import get_upload_folder
from gradio_client.utils import is_http_url_like
from PIL import Image

from ltad.io.images import read_image
from ltad.types import ImageError, LTADError, disk_trouble

_LOG = logging.getLogger(__name__)
UNEXPECTED = "Something went wrong on the server. It has been logged; please try again."
Update = dict[str, Any]
"""What tells Gradio to change a component, or to leave it as it is."""


class Listening(TypedDict, total=False):
    """How an event is listened to: arguments of Gradio's listeners."""

    api_visibility: Literal["public", "private", "undocumented"]
    concurrency_limit: int
    concurrency_id: str


class InTurn(TypedDict):
    """How what is scored past Gradio's queue is listened to."""

    queue: bool
    concurrency_limit: int
    concurrency_id: str


class Private(TypedDict):
    """How an event is listened to that shows no progress and that the API does not name."""

    show_progress: Literal["hidden"]
    show_progress_on: list[Component]
    api_visibility: Literal["private"]


class Quiet(Private):
    """The same, where the newest values are answered last."""

    trigger_mode: Literal["always_last"]


ONE_AT_A_TIME = "prompt-lab"
"""The queue of what keeps the server busy."""
BUSY: Listening = {
    "concurrency_limit": 1, "concurrency_id": ONE_AT_A_TIME, "api_visibility": "private",
}
SCORES_AT_ONCE = 32
"""Requests for scores that are taken up together. New images wait for the encoder, which reads a
few at a time; a prompt on an image that is known does not wait behind them."""
SCORES_WAITING = 64
"""More than wait for their turn are refused, before their images are read."""
IN_TURN = "scores"
SCORED: InTurn = {
    "queue": False, "concurrency_limit": SCORES_AT_ONCE, "concurrency_id": IN_TURN,
}
"""Past Gradio's queue, which costs as much processor as a third of a score;
`ltad.app.visitors.Page` lets those of this id in by turns. Of what comes past the queue Gradio's
page shows no error: a listener of its own has to answer with what went wrong."""
PRIVATE: Private = {
    "show_progress": "hidden", "show_progress_on": [], "api_visibility": "private",
}
"""With progress on no component, the browser does not copy every output, with whatever large HTML
it holds, at each stage of each answer."""
QUIET: Quiet = {**PRIVATE, "trigger_mode": "always_last"}


def page_error(error: Exception) -> gr.Error:
    """The message of `error` for the page, which shows messages as HTML, hence the escaping."""
    if isinstance(error, OSError) and (trouble := disk_trouble(error)):
        error = LTADError(f"{trouble} Nothing was saved. Tell whoever runs this server.")
    if isinstance(error, LTADError):
        message = html.escape(str(error), quote=False)
        return gr.Error(message, title="Not possible", print_exception=False)
    _LOG.error("unexpected error in a page handler", exc_info=error)
    return gr.Error(UNEXPECTED, print_exception=False)


def friendly(handler: Callable[..., Any]) -> Callable[..., Any]:
    """`handler` with every failure turned into a :func:`page_error`, never a traceback or path."""

    @functools.wraps(handler)
    def guarded(*arguments: Any, **settings: Any) -> Any:
        try:
            return handler(*arguments, **settings)
        except gr.Error:
            raise
        except Exception as error:
            raise page_error(error) from None

    return guarded


def answer_last(
    events: Sequence[Any], answer: Callable[..., Any], inputs: Any, outputs: Any, name: str
) -> Dependency:
    """``gr.on`` whose answer is repeated with the newest values if it was asked meanwhile.

    Gradio repeats all listeners of the event, and where two listen, each repetition asks the other
    again, without an end. So the events press a hidden button, to which this one alone listens.

    Args:
        name: of the button on the page, unlike all others.
    """
    button = gr.Button(visible="hidden", elem_id=f"lt-ask-{name}")
    gr.on(events, None, js=f"() => document.getElementById('lt-ask-{name}')?.click()")
    return button.click(answer, inputs, outputs, **QUIET)


def photo_upload(**settings: Any) -> gr.Image:
    """A ``gr.Image`` that hands its handlers an RGB image, from trusted places only."""
    return _PhotoUpload(type="pil", **settings)


def read_upload(payload: ImageData | None) -> Image.Image | None:
    """The image of a request, decoded. Raises gr.Error with a message for the visitor."""
    if payload is None:
        return None
    try:
        return decode_upload(payload)
    except Exception as error:
        raise page_error(error) from None


def decode_upload(payload: ImageData) -> Image.Image:
    """The image of a request. Raises ImageError."""
    return read_image(_source(payload), _name(payload))


def _source(payload: ImageData) -> Path | bytes:
    """Where to read the image: an uploaded file, or the bytes of a ``data:`` URL."""
    if payload.url and payload.url.startswith("data:"):
        return _inline_bytes(payload.url)
    path = Path(payload.path or "").resolve()
    folder = Path(get_upload_folder()).resolve()
    if not payload.path or not path.is_relative_to(folder) or not path.is_file():
        raise ImageError("That image was not uploaded here. Upload it first.")
    return path


def _inline_bytes(url: str) -> bytes:
    header, _, content = url.partition(",")
    if not header.endswith(";base64"):
        raise ImageError("An inline image must be base64 text. Upload the file instead.")
    try:
        return base64.b64decode(content, validate=True)
    except binascii.Error:
        raise ImageError("The inline image is damaged. Upload the file instead.") from None


def _name(payload: ImageData) -> str:
    """What messages call the image: the visitor's own file name, never a path on the server."""
    return Path(payload.orig_name or "").name[:80] or "The image"


async def _fetch_local(self: gr.Image, url_or_file_path: str | Path | None) -> str | None:
    if url_or_file_path is not None and is_http_url_like(str(url_or_file_path)):
        raise page_error(ImageError("Send the image itself, not its address."))
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
