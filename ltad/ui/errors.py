"""What a visitor reads when something fails: the package's own message, or a general one."""

from __future__ import annotations

import functools
import html
import logging
from collections.abc import Callable
from typing import Any

import gradio as gr

from ltad.types import LTADError, disk_trouble

_LOG = logging.getLogger(__name__)
UNEXPECTED = "Something went wrong on the server. It has been logged; please try again."


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
