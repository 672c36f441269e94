"""Who may read and write what: a page's own requests, a visitor's own uploads and batches."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import shutil
import socket
import stat
import threading
import time
import zipfile
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import gradio as gr
from gradio.utils import get_upload_folder
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ltad.app.components import IN_TURN, SCORES_AT_ONCE, SCORES_WAITING, page_error
from ltad.app.review_desk import Desk
from ltad.inference.registry import ModelRegistry
from ltad.review.records import DeskError
from ltad.review.worker import BatchRunner
from ltad.types import ImageError, LTADError, disk_trouble
from ltad.workspace import Workspace

_SHARED = ".gradio.live"
HEADER = "x-ltad-visitor"
SHORTEST_KEY = 32
EVERYBODY = "everybody"
"""Who asks on a page that is not public."""
NOTES = "ltad-visitors"
"""Folder of the notes, beside the uploads."""
NOTE_SECONDS = 24 * 3600.0
"""Gradio deletes uploads sooner."""
MOST_BYTES, MOST_IMAGES = 100_000_000, 500
"""Of one visitor's desk."""
MOST_VISITORS = 100
UNUSED_SECONDS, SPARED_SECONDS = 24 * 3600.0, 3600.0
"""A desk unused for so long is removed; one used within the latter never, even if all are taken."""


class OwnPagesOnly:
    """ASGI middleware that refuses requests of foreign pages and to foreign names.

    Args:
        app: what answers.
        names: by which the page may be called, beside ``localhost``, addresses and this machine's
            own name.
        is_shared: whether ``launch(share=True)`` gave it a name under gradio.live.
    """

    def __init__(self, app: ASGIApp, names: Collection[str] = (), is_shared: bool = False) -> None:
        self._app = app
        self._given = {name.lower() for name in names}
        own = socket.gethostname().lower()
        self._known = self._given | {"localhost", own, f"{own}.local", socket.getfqdn().lower()}
        self._is_shared = is_shared

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or say why not (403)."""
        if scope["type"] == "http" and (refusal := self._refusal(Headers(scope=scope))):
            await PlainTextResponse(refusal, status_code=403)(scope, receive, send)
            return

        async def send_unframed(message: Message) -> None:
            if message["type"] == "http.response.start":  # nor shown inside another site's page
                message.setdefault("headers", []).append(
                    (b"content-security-policy", b"frame-ancestors 'self'")
                )
            await send(message)

        await self._app(scope, receive, send_unframed)

    def _refusal(self, headers: Headers) -> str:
        host = headers.get("host", "")
        name = _host_name(f"//{host}")
        if not self._is_known(name):
            return (
                f"This page does not answer to the name {name[:80]!r}. Open it by its address, or "
                f"start it with --name {name[:80]}."
            )
        origin = headers.get("origin")
        if origin is None or origin.partition("://")[2].lower() == host.lower():
            return ""
        if _host_name(origin) in self._given:
            return ""
        return (
            f"This request comes from another page ({origin[:80]}) and was refused. If that is "
            "this page's own name, start it with --name NAME."
        )

    def _is_known(self, name: str) -> bool:
        if name in self._known or (self._is_shared and name.endswith(_SHARED)):
            return True
        try:
            ipaddress.ip_address(name)  # no name, so nobody else's
        except ValueError:
            return False
        return True


def _host_name(address: str) -> str:
    """The host of an address without port, lower case; "" where there is none."""
    try:
        return (urlsplit(address).hostname or "").rstrip(".")
    except ValueError:
        return ""


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
    """``gr.Blocks`` that hands no endpoint a file that the visitor did not send, and that takes
    requests for scores up by turns, in the order in which they came."""

    is_public = False

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._turns = anyio.CapacityLimiter(SCORES_AT_ONCE)

    async def process_api(
        self, block_fn: Any, *arguments: Any, **settings: Any
    ) -> dict[str, Any]:
        """As Gradio's own, for the visitor of the request. Raises gr.Error."""
        if getattr(block_fn, "concurrency_id", None) != IN_TURN:
            return await self._process(block_fn, *arguments, **settings)
        if self._turns.statistics().tasks_waiting >= SCORES_WAITING:
            raise page_error(LTADError(
                f"{SCORES_WAITING} others wait for their scores at the moment. Try again in a "
                "minute, or run the page on your own machine."
            ))
        async with self._turns:
            return await self._process(block_fn, *arguments, **settings)

    async def _process(
        self, block_fn: Any, inputs: list[Any], state: Any = None, request: Any = None,
        *arguments: Any, **settings: Any,
    ) -> dict[str, Any]:
        visitor = visitor_of(getattr(request, "headers", None) or {}, self.is_public)
        try:
            for path in _named_files(inputs):
                await anyio.to_thread.run_sync(require_own, str(path), visitor)
        except LTADError as error:
            raise page_error(error) from None
        try:
            output = await super().process_api(
                block_fn, inputs, state, request, *arguments, **settings
            )
        except OSError as error:  # of Gradio's own copies of files; handlers explain theirs
            raise page_error(error) from None
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
        is_public: whether visitors are distinguished.
    """

    def __init__(self, app: ASGIApp, is_public: bool) -> None:
        self._app = app
        self._is_public = is_public
        self._cleaned = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; one to the upload address is noted before it is answered.

        Where the disk takes no upload the answer is 507, with the reason.
        """
        if scope["type"] != "http" or not scope["path"].rstrip("/").endswith("/upload"):
            await self._app(scope, receive, send)
            return
        visitor = visitor_of(Headers(scope=scope), self._is_public)
        held: list[Message] = []
        is_sent = False

        async def note_and_send(message: Message) -> None:
            nonlocal is_sent
            held.append(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                body = b"".join(part.get("body", b"") for part in held)
                await anyio.to_thread.run_sync(self._note, body, visitor)
                is_sent = True
                for part in held:
                    await send(part)

        try:
            await self._app(scope, receive, note_and_send)
        except OSError as error:
            if is_sent or not disk_trouble(error):
                raise
            refusal = PlainTextResponse(page_error(error).message, status_code=507)
            await refusal(scope, receive, send)

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


class Desks:
    """The desk of each request.

    Args:
        registry: the models.
        workspace: on a public one the visitors' desks lie in folders of their own.
    """

    def __init__(self, registry: ModelRegistry, workspace: Workspace) -> None:
        self._registry = registry
        self._workspace = workspace
        self._everybody = None if workspace.is_public else Desk(registry, workspace)
        self._visitors: OrderedDict[str, VisitorDesk] = OrderedDict()
        self._lock = threading.Lock()
        self._turn = threading.Lock()

    @property
    def everybody(self) -> Desk | None:
        """The one desk of a page that is not public."""
        return self._everybody

    def of(self, request: gr.Request | None) -> Desk:
        """The desk that a request is for.

        Raises:
            DeskError: a public page needs the visitor's key, and there is none.
        """
        if self._everybody is not None:
            return self._everybody
        name = visitor_of(request.headers if request is not None else {}, is_public=True)
        if not name:
            raise DeskError(
                f"This page is public, so each visitor has a desk of their own. Send a header "
                f"{HEADER}: a secret of at least {SHORTEST_KEY} random characters, always the same."
            )
        with self._lock:
            desk = self._visitors.setdefault(name, self._desk(name))
            self._visitors.move_to_end(name)
            while len(self._visitors) > 2 * MOST_VISITORS:
                self._visitors.popitem(last=False)
        with suppress(FileNotFoundError):  # nothing was brought yet
            os.utime(desk.workspace.root)
        return desk

    def make_room(self) -> None:
        """Remove desks that nobody uses any more; more of them when all places are taken.

        Raises:
            DeskError: all places are taken by people who are at it.
        """
        now = time.time()
        with self._lock:
            used = {path: path.stat().st_mtime for path in self._root.glob("*/")}
            longest_unused = sorted(used, key=lambda path: used[path])
            for place, path in enumerate(longest_unused):
                unused = now - used[path]
                is_needed = len(used) - place >= MOST_VISITORS and unused > SPARED_SECONDS
                if unused > UNUSED_SECONDS or is_needed:
                    self._visitors.pop(path.name, None)
                    shutil.rmtree(path, ignore_errors=True)
            if len(list(self._root.glob("*/"))) >= MOST_VISITORS:
                raise DeskError(
                    "Too many people try the desk at the moment. Come back in an hour, or run the "
                    "page on your own machine."
                )

    @property
    def _root(self) -> Path:
        return self._workspace.root / "visitors"

    def _desk(self, name: str) -> VisitorDesk:
        own = replace(self._workspace, root=self._root / name, server_folders=())
        return VisitorDesk(self._registry, own, self)

    def runner(self, desk: VisitorDesk) -> BatchRunner:
        """Scores one visitor's batches; all visitors' take turns, so one chunk is in memory."""
        return BatchRunner(desk.open_database(), desk.images, self._registry, self._turn)


class VisitorDesk(Desk):
    """One visitor's desk on a public page: small, and begun by bringing a batch only."""

    note = (
        "This page is public: only this browser sees what you bring here, and it is removed after "
        "a day without use. To keep decisions, run the page on your own machine."
    )

    def __init__(self, registry: ModelRegistry, workspace: Workspace, desks: Desks) -> None:
        super().__init__(registry, workspace)
        self._desks = desks

    def _make_runner(self) -> BatchRunner:
        if self.is_empty:  # whoever makes up keys must not fill the disk with empty desks
            raise DeskError("There is no batch here. Bring one first, or reload the page.")
        return self._desks.runner(self)

    def admit(self, files: Sequence[str], are_images: bool = True) -> None:
        """Check that there is room for what is about to be brought.

        Args:
            files: plain files that the visitor uploaded.
            are_images: False for decisions that come back, which take room but are no images.

        Raises:
            DeskError: it is too much for one visitor, or too many visitors are here.
        """
        count, size = 0, 0
        for path in map(Path, files):
            inside = _unpacked(path)
            count, size = count + are_images * len(inside), size + sum(inside)
        stored = [path.stat().st_size for path in self.workspace.root.rglob("*") if path.is_file()]
        if not self.is_empty:
            count += sum(batch.total for batch in self.database.batches())
            count += sum(batch.total for batch in self.database.deleted_batches())
        if count > MOST_IMAGES or size + sum(stored) > MOST_BYTES:
            raise DeskError(
                f"On this public page a visitor may keep {MOST_IMAGES} images and "
                f"{MOST_BYTES // 10**6} MB in all; with these it would be {count:,} images and "
                f"{(size + sum(stored)) / 1e6:,.0f} MB. Bring fewer, or run the page on your own "
                "machine."
            )
        if self.is_empty and are_images:
            self._desks.make_room()
            self.open_database()


def _unpacked(path: Path) -> list[int]:
    """The sizes of the files in a zip, or of the file itself."""
    try:
        if path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as archive:
                return [entry.file_size for entry in archive.infolist() if not entry.is_dir()]
    except (zipfile.BadZipFile, OSError, ValueError):  # its row will say so
        pass
    return [path.stat().st_size]
