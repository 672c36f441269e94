"""The Review tab: batches in, decisions by keyboard, files out.

The tab's own script (``review*.js``) draws everything and calls the endpoints below, each with one
request past Gradio's queue, so that an answer takes milliseconds. The same endpoints are the API.
Images travel as data URLs inside the answers: no file of the server has an address of its own.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable
from typing import Any

import gradio as gr
from gradio.events import api

from ltad.app.components import friendly
from ltad.app.html import render
from ltad.app.review_batches import BatchEndpoints, ExchangeEndpoints
from ltad.app.review_desk import Desk, ItemEndpoints
from ltad.app.review_settings import SettingEndpoints
from ltad.app.visitors import Desks
from ltad.inference.registry import ModelRegistry
from ltad.review.images import free_images
from ltad.types import LTADError
from ltad.workspace import Workspace

_LOG = logging.getLogger(__name__)
PLAIN = {
    BatchEndpoints: (
        "batches", "items", "progress", "cancel", "restart", "delete", "restore", "erase",
    ),
    ItemEndpoints: (
        "item", "picture", "map", "thumbnails", "decide", "undo", "history", "mask", "training",
    ),
    SettingEndpoints: (
        "threshold", "threshold_history", "ignore", "ignore_history", "save_ignore",
        "restore_ignore",
    ),
}
"""Methods that need no upload, each an endpoint ``desk_NAME``."""


def build_review(registry: ModelRegistry, workspace: Workspace, tab: gr.Tab) -> None:
    """Lay out the tab inside the current ``gr.Blocks``, and go on with unfinished batches.

    Args:
        registry: the models.
        workspace: where batches, images and decisions are kept.
        tab: the tab itself; its label stays as it is.
    """
    desks = Desks(registry, workspace)
    gr.HTML(render("page.review"), apply_default_css=False)
    for kind, names in PLAIN.items():
        for name in names:
            endpoint = _of_visitor(desks, kind, name)
            api(
                friendly(endpoint), api_name=f"desk_{name}", queue=False,
                api_description=_summary(endpoint),
            )
    _build_file_endpoints(desks)
    if desks.everybody is not None and not desks.everybody.is_empty:
        _go_on(desks.everybody)


def _go_on(desk: Desk) -> None:
    """Take up what the last server left. A damaged desk closes Review alone, which says why."""
    try:
        desk.runner.resume()
        desk.database.mark_erased()  # what was deleted long ago
        free_images(desk.database, desk.images)
    except LTADError as error:
        _LOG.error("Review is closed: %s", error)


def _of_visitor(desks: Desks, kind: type, name: str) -> Callable[..., Any]:
    """A method of one of the endpoint classes, called on the desk of whoever asks."""
    method = getattr(kind, name)

    @functools.wraps(method)
    def endpoint(request: gr.Request, *arguments: Any) -> Any:
        return method(kind(desks.of(request)), *arguments)

    signature = inspect.signature(method)
    _, *own = signature.parameters.values()
    asks = inspect.Parameter(
        "request", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=gr.Request
    )
    # Gradio reads what to pass from the signature, and the kinds of the values from the hints.
    endpoint.__signature__ = (  # pyright: ignore[reportAttributeAccessIssue]
        signature.replace(parameters=[asks, *own]))
    endpoint.__annotations__ = {**method.__annotations__, "request": gr.Request}
    return endpoint


def _build_file_endpoints(desks: Desks) -> None:
    """The endpoints with files, through ``gr.File``, which takes nothing but real uploads."""
    def hidden(component: type, label: str, **settings: Any) -> Any:
        return component(label=label, visible=False, **settings)

    _endpoint(
        _of_visitor(desks, BatchEndpoints, "create_batch"), "create_batch",
        [
            hidden(gr.File, "Images and zips", file_count="multiple"),
            hidden(gr.JSON, "Names of the files"), hidden(gr.Textbox, "Server folder", value=""),
            hidden(gr.Textbox, "Name of the batch", value=""),
            hidden(gr.Textbox, "Person", value=""), hidden(gr.Textbox, "Model", value=""),
            hidden(gr.JSON, "Settings"),
        ],
        hidden(gr.JSON, "Batch"),
    )
    _endpoint(
        _of_visitor(desks, ExchangeEndpoints, "export"), "export",
        [hidden(gr.Number, "Batch", precision=0), hidden(gr.Textbox, "Kind")],
        hidden(gr.File, "Export"),
    )
    _endpoint(
        _of_visitor(desks, ExchangeEndpoints, "bring_back"), "import",
        [
            hidden(gr.File, "COCO, CSV or JSON"), hidden(gr.Number, "Batch", precision=0),
            hidden(gr.Textbox, "Person"),
        ],
        hidden(gr.JSON, "Report"),
    )


def _endpoint(
    handler: Callable[..., Any], name: str, inputs: list[Any], output: Any
) -> None:
    gr.Button(visible=False).click(
        friendly(handler), inputs, output, api_name=f"desk_{name}", queue=False,
        show_progress="hidden", api_description=_summary(handler),
    )


def _summary(endpoint: Callable[..., Any]) -> str:
    return " ".join((endpoint.__doc__ or "").split("\n\n")[0].split())
