"""Whose file an upload is: nothing is read but what the same visitor sent here.

A request names files by their place in Gradio's upload folder, which all visitors share, and
Gradio accepts any place in it, folders too. So every upload is noted with its visitor's name, and
:class:`Page` looks at the files of every request, whatever endpoint or component they are for,
before any of them is opened.
"""

from __future__ import annotations

import hashlib
import json
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import anyio
import gradio as gr
from gradio.utils import get_upload_folder
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ltad.types import ImageError, LTADError
from ltad.ui.errors import page_error

HEADER = "x-ltad-visitor"
SHORTEST_KEY = 32
EVERYBODY = "everybody"
"""Who asks on a page that is not public."""
NOTES = "ltad-visitors"
"""Folder of the notes, beside the uploads."""
NOTE_SECONDS = 24 * 3600.0
"""Gradio deletes uploads sooner."""


def visitor_of(headers: Mapping[str, str], is_public: bool) -> str:
    """A name for whoever asks that gives nothing away, or "" for a stranger without a key."""
    if not is_public:
        return EVERYBODY
    key = str(headers.get(HEADER) or "")
    return hashlib.sha256(key.encode()).hexdigest() if len(key) >= SHORTEST_KEY else ""


def note_upload(path: str | Path, visitor: str) -> None:
    """Note that a file of the upload folder was sent by a visitor, or made for them."""
    note = _note(Path(path), visitor)
    note.parent.mkdir(parents=True, exist_ok=True)
    note.touch()


def require_own(path: str, visitor: str) -> None:
    """Check that a request may use a file.

    Raises:
        ImageError: `path` is not a plain file in the upload folder that `visitor` sent.
    """
    if not visitor:
        raise ImageError(
            f"On a public page a file belongs to the visitor who sent it. Send a header {HEADER} "
            f"with the upload and with this request: a secret of at least {SHORTEST_KEY} random "
            "characters, always the same."
        )
    if not _is_plain_file(path) or not _note(Path(path), visitor).is_file():
        raise ImageError("That file was not uploaded here by you. Upload it first.")


def forget_old_notes() -> None:
    """Remove the notes of uploads that Gradio has long deleted."""
    folder = Path(get_upload_folder()) / NOTES
    for note in folder.glob("*"):
        try:
            if time.time() - note.stat().st_mtime > NOTE_SECONDS:
                note.unlink()
        except OSError:  # another process was faster
            continue


def _note(path: Path, visitor: str) -> Path:
    folder = Path(get_upload_folder())
    name = hashlib.sha256(f"{visitor}\0{path.resolve()}".encode()).hexdigest()
    return folder / NOTES / name


def _is_plain_file(path: str) -> bool:
    """Whether `path` leads to a plain file inside the upload folder without a detour or a link."""
    try:
        folder, given = Path(get_upload_folder()), Path(path)
        inside = given.relative_to(folder)
        return (
            ".." not in inside.parts and given.resolve() == folder.resolve() / inside
            and stat.S_ISREG(given.lstat().st_mode)
        )
    except (OSError, ValueError):  # nothing there, or a name that no file can have
        return False


def _named_files(request_data: Any) -> Iterator[Any]:
    """The places of all files that a request names, at any depth and in any component."""
    rest = [request_data]
    while rest:
        value = rest.pop()
        if isinstance(value, dict):
            if value.get("path"):
                yield value["path"]
            rest += value.values()
        elif isinstance(value, list | tuple):
            rest += [inner for inner in value if isinstance(inner, dict | list | tuple)]


class Page(gr.Blocks):
    """``gr.Blocks`` that hands no endpoint a file that the visitor did not send."""

    is_public = False

    async def process_api(
        self, block_fn: Any, inputs: list[Any], state: Any = None, request: Any = None,
        *arguments: Any, **settings: Any,
    ) -> dict[str, Any]:
        """As Gradio's own, for the visitor of `request`. Raises gr.Error."""
        visitor = visitor_of(getattr(request, "headers", None) or {}, self.is_public)
        try:
            for path in _named_files(inputs):
                await anyio.to_thread.run_sync(require_own, str(path), visitor)
        except LTADError as error:
            raise page_error(error) from None
        output = await super().process_api(
            block_fn, inputs, state, request, *arguments, **settings
        )
        if visitor:
            for path in _named_files(_given_files(block_fn, output)):
                if _is_plain_file(str(path)):
                    note_upload(path, visitor)
        return output


def _given_files(block_fn: Any, output: dict[str, Any]) -> list[Any]:
    """What an answer's file components hold: the browser sends it back as its own."""
    outputs = getattr(block_fn, "outputs", [])
    return [
        value for component, value in zip(outputs, output.get("data", []), strict=False)
        if isinstance(component, gr.Image | gr.File)
    ]


class NoteUploads:
    """ASGI middleware that notes whose the files of an upload are.

    Args:
        app: what answers.
        is_public: whether visitors are told apart.
    """

    def __init__(self, app: ASGIApp, is_public: bool) -> None:
        self._app = app
        self._is_public = is_public
        self._cleaned = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; one to the upload address is noted before it is answered."""
        if scope["type"] != "http" or not scope["path"].rstrip("/").endswith("/upload"):
            await self._app(scope, receive, send)
            return
        visitor = visitor_of(Headers(scope=scope), self._is_public)
        body = b""

        async def note_and_send(message: Message) -> None:
            nonlocal body
            if message["type"] == "http.response.body":
                body += message.get("body", b"")
                if not message.get("more_body"):
                    await anyio.to_thread.run_sync(self._note, body, visitor)
            await send(message)

        await self._app(scope, receive, note_and_send)

    def _note(self, body: bytes, visitor: str) -> None:
        try:
            paths = json.loads(body)
        except ValueError:  # the upload was refused
            return
        for path in paths if visitor and isinstance(paths, list) else []:
            note_upload(path, visitor)
        if time.monotonic() - self._cleaned > NOTE_SECONDS / 24:
            self._cleaned = time.monotonic()
            forget_old_notes()
