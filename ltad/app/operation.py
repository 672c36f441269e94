"""For whoever keeps the page running: is it well, and what was asked of it."""

from __future__ import annotations

import atexit
import gc
import json
import os
import re
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from threading import Thread
from typing import Any, NoReturn, TextIO

import torch
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ltad import __version__
from ltad.io.threads import hand_back_freed, usable_cores

HEALTH = "/health"
_GIVEN_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")
TRIM_SECONDS = 30.0
_SPOKEN_SEGMENTS = 3
"""Of an address; those after them name a file, or an answer that somebody waits for."""


def health_route(model: str, folder: Path) -> Route:
    """``/health``: 200 while the page can answer and keep what people decide, else 503.

    Args:
        model: the name of the one that answers.
        folder: in which decisions are kept; it may not exist yet.
    """
    def health(request: Request) -> Response:
        fault = _fault(folder)
        facts = {"status": fault or "ok", "model": model, "version": __version__}
        return JSONResponse(facts, 503 if fault else 200)

    return Route(HEALTH, health)


def _fault(folder: Path) -> str:
    """Why nothing can be written to a folder, or ""."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder) as probe:  # gone by itself, on a full disk too
            probe.write(b"\0" * 4096)
            probe.flush()
    except OSError as error:
        return f"The folder of decisions cannot be written to: {error.strerror}."
    return ""


def give_memory_back(every: float = TRIM_SECONDS) -> None:
    """Hand freed memory back to the system at intervals (seconds), in a thread behind the page.

    See `ltad.io.threads`; systems without a way to are left alone.
    """
    if not hand_back_freed():
        return

    def work() -> None:
        while True:
            time.sleep(every)
            hand_back_freed()

    Thread(target=work, name="memory", daemon=True).start()


def keep_to_own_cores() -> None:
    """Compute with no more threads than the machine lets this process keep busy.

    In a container torch counts the cores of the whole machine, and threads beyond the container's
    quota stop all of them.
    """
    torch.set_num_threads(min(torch.get_num_threads(), usable_cores()))


def set_aside_what_lasts() -> None:
    """Free the garbage of the start, and never search again through what the start has left; from
    now on search through what is new, if that was off.

    The libraries leave half a million objects. Python searches all of them for garbage only after
    a quarter as many new ones have lasted: until then, what requests leave behind in circles keeps
    hundreds of megabytes and dozens of open files, and then every request waits for the search.
    """
    gc.enable()
    gc.collect()
    gc.freeze()
    gc.collect()  # only this one tells Python how few objects are left to be searched


def leave() -> NoReturn:
    """End the process in order, though threads of it may still compute.

    At its own end Python stops such threads wherever they are; in the middle of torch that aborts
    the process.
    """
    atexit._run_exitfuncs()  # pyright: ignore[reportPrivateUsage]
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(0)


class RequestLog:
    """ASGI middleware that writes a line of JSON for each request, and gives each an id.

    ``time`` is in seconds since 1970, ``milliseconds`` until the answer had been sent. An address
    is logged without its query and without what names a file, so that neither an image, nor its
    name, nor a prompt, nor a visitor's key is in the log. The id is the caller's ``X-Request-ID``
    where it has a proper one; the answer carries it.

    Args:
        app: what answers.
        log: where the lines go.
        clock: seconds since 1970.
    """

    def __init__(
        self, app: ASGIApp, log: TextIO, clock: Callable[[], float] = time.time
    ) -> None:
        self._app, self._log, self._clock = app, log, clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, and write about it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        identity = given if _GIVEN_ID.fullmatch(given) else uuid.uuid4().hex
        began, status = self._clock(), 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message.setdefault("headers", []).append((b"x-request-id", identity.encode()))
            await send(message)

        error = ""
        try:
            await self._app(scope, receive, answer)
        except Exception as raised:
            error = type(raised).__name__
            raise
        finally:
            self._write({
                "time": round(began, 3), "id": identity, "method": scope["method"],
                "path": spoken_path(scope["path"]), "status": status or 500,
                "milliseconds": round(1e3 * (self._clock() - began), 1),
                **({"error": error} if error else {}),
            })

    def _write(self, line: dict[str, Any]) -> None:
        with suppress(OSError):  # on a full disk the page answers on, and lines are missing
            self._log.write(json.dumps(line) + "\n")
            self._log.flush()


def spoken_path(path: str) -> str:
    """An address without what names a file: ``/gradio_api/file`` of ``/gradio_api/file=/tmp/a``."""
    return "/".join(path.partition("=")[0].split("/")[: _SPOKEN_SEGMENTS + 1])
