"""``app.py`` as processes, and conversations with them over HTTP; shared by measurements of load.

Nothing here asks the app for favours: it is started as an operator starts it and asked as a browser
asks it.
"""

from __future__ import annotations

import io
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from ltad.app.visitors import HEADER, visitor_of
from ltad.bench.speed import made_up_images
from ltad.inference.scorer import Scorer
from ltad.workspace import Workspace

APP = Path(__file__).parents[2] / "app.py"
START_SECONDS, ANSWER_SECONDS, END_SECONDS = 300.0, 120.0, 30.0
IDLE_SECONDS = 120.0
CLOSE_ENOUGH = 1e-3
"""Scores of one image in another batch differ in the last digits."""


def image_file(number: int) -> bytes:
    """One of endlessly many different images, as a JPEG, and as smooth as a photograph."""
    buffer, noise = io.BytesIO(), Image.fromarray(next(made_up_images(number)))
    noise.reduce(8).resize(noise.size).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def strangers(scorer: Scorer, answers: list[tuple[int, str, float]], most: int = 200) -> int:
    """How many of the answers, at most so many of them, are not the score of their image.

    Args:
        scorer: the model that was served.
        answers: (number of the image, abnormal prompt, score) under the model's own settings.
        most: as many are drawn and compared.
    """
    picked = np.random.default_rng(0).permutation(len(answers))[:most]
    wrong = 0
    for number, prompt, score in (answers[i] for i in picked):
        image = Image.open(io.BytesIO(image_file(number)))
        own = scorer.score(image, normal_prompt="a", abnormal_prompt=prompt).score
        wrong += abs(own - score) > CLOSE_ENOUGH * max(1.0, abs(own))
    return wrong


def free_port() -> int:
    """A port of this machine that nobody listens on now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@dataclass
class App:
    """One process of ``app.py``, which can be killed and started again at the same address.

    Attributes:
        model: folder of the model that it serves.
        folder: of its log, and by default of its work, its cache and its temporary files.
        is_public: strangers visit it.
        work, cache, temporary: to share one of these with another process.
        options: more words of the command line.
        process: None until `start`.
    """

    model: str | Path
    folder: Path
    is_public: bool = False
    work: Path = Path()
    cache: Path = Path()
    temporary: Path = Path()
    options: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        for name in ("work", "cache", "temporary"):
            if getattr(self, name) == Path():
                setattr(self, name, self.folder / name)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def running(self) -> subprocess.Popen[bytes]:
        """The process. Raises RuntimeError before `start`."""
        if self.process is None:
            raise RuntimeError(f"The app of {self.folder} was not started.")
        return self.process

    def database(self, key: str) -> Path:
        """Where the decisions of whoever has this key are kept."""
        if not self.is_public:
            return Workspace(self.work).database
        return Workspace(self.work / "visitors" / visitor_of({HEADER: key}, True)).database

    def start(self) -> float:
        """Start it; returns the seconds until it answered. Raises RuntimeError if it does not."""
        for folder in (self.folder, self.temporary):
            folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, str(APP), "--public" if self.is_public else "--no-public",
                   "--model", str(Path(self.model).resolve()), "--work", str(self.work),
                   "--port", str(self.port), *self.options]
        own = {"LTAD_CACHE": self.cache, "GRADIO_TEMP_DIR": self.temporary / "uploads",
               "TMPDIR": self.temporary}
        began = time.perf_counter()
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=APP.parent,
                env={**os.environ, **{name: str(value) for name, value in own.items()}},
            )
        while not _answers(self.url):
            if self.process.poll() is not None or time.perf_counter() - began > START_SECONDS:
                raise RuntimeError((self.folder / "log").read_text(errors="replace")[-2000:])
            time.sleep(0.05)
        return time.perf_counter() - began

    def kill(self) -> None:
        """End it at once, whatever it is doing (SIGKILL)."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(END_SECONDS)

    def stop(self) -> None:
        """End it in order (SIGTERM), or at last by force; nothing where it does not run."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()


@contextmanager
def served(model: str, folder: Path) -> Generator[tuple[str, subprocess.Popen[bytes], float]]:
    """A public page of its own: its address, its process, and the seconds until it answered."""
    app = App(model, folder, is_public=True)
    try:
        seconds = app.start()
        yield app.url, app.running, seconds
    finally:
        app.stop()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).is_success
    except httpx.HTTPError:
        return False


class Refused(RuntimeError):
    """The app said no; the message is what it said, `status` that of HTTP."""

    def __init__(self, said: str, status: int = 200) -> None:
        super().__init__(said)
        self.status = status


@dataclass(frozen=True)
class Call:
    """One request as its sender saw it.

    Attributes:
        began: seconds since 1970.
        name: of the endpoint.
        seconds: until the answer, or until there was none.
        status: of HTTP; 0 where no answer came.
        error: "" where the answer was the one that was asked for.
    """

    began: float
    name: str
    seconds: float
    status: int
    error: str = ""


class Conversation:
    """A browser's part of the conversation, without the browser.

    Every method raises Refused where the app says no, and httpx.HTTPError where it says nothing.

    Args:
        url: of the page.
        note: called after every request.
    """

    def __init__(self, url: str, note: Callable[[Call], None] = lambda call: None) -> None:
        self.key = secrets.token_hex(20)
        self._api, self._note = f"{url}/gradio_api", note
        self._session = secrets.token_hex(8)
        # The server ends an idle connection after 5 s; one that is sent to just then breaks.
        limits = httpx.Limits(keepalive_expiry=3.0)
        self._url, self.http = url, httpx.Client(headers={HEADER: self.key}, limits=limits,
                                                 timeout=ANSWER_SECONDS)

    def arrive(self) -> None:
        """Ask for the page's description, as browsers do; a proxy may hand out a cookie with it."""
        self._noted("config", lambda: self._checked(self.http.get(f"{self._url}/config")))

    def upload(self, content: bytes, name: str = "part.jpg") -> dict[str, Any]:
        """Send an image; what names it from then on."""
        files = {"files": (name, content, "image/jpeg")}
        path = self._noted("upload", lambda: self._post("upload", files=files).json()[0])
        return {"path": path, "meta": {"_type": "gradio.FileData"}}

    def ask(self, name: str, *data: Any) -> Any:
        """The answer of an endpoint that has one request to itself."""
        body = {"data": data, "session_hash": self._session}
        return self._noted(name, lambda: self._post(f"run/{name}", json=body).json()["data"][0])

    def ask_in_turn(self, name: str, *data: Any) -> Any:
        """The answer of an endpoint that is reached through the queue."""
        return self._noted(name, lambda: self._queued(name, data))

    def score(self, image: dict[str, Any], prompt: str, settings: list[Any]) -> float:
        """The combined score of an image that was sent.

        Args:
            image: as `upload` returned it.
            prompt: the abnormal one.
            settings: what the endpoint takes after the prompts; see `model_settings`.
        """
        return self.ask("score", image, "", "a", prompt, *settings)["score"]

    def download(self, file: dict[str, Any]) -> bytes:
        """The content of a file that an endpoint answered with."""
        return self._noted("download", lambda: self._checked(
            self.http.get(f"{self._api}/file={file['path']}")).content)

    def _queued(self, name: str, data: tuple[Any, ...]) -> Any:
        body = {"data": data, "session_hash": self._session}
        event = self._post(f"call/{name}", json=body).json()["event_id"]
        answer = self._checked(self.http.get(f"{self._api}/call/{name}/{event}")).text
        kind, _, rest = answer.rpartition("event: ")[2].partition("\n")
        said = rest.strip().removeprefix("data: ")
        if kind != "complete":
            raise Refused(_said(said))
        return json.loads(said)[0]

    def _post(self, path: str, **content: Any) -> httpx.Response:
        return self._checked(self.http.post(f"{self._api}/{path}", **content))

    def _checked(self, answer: httpx.Response) -> httpx.Response:
        if not answer.is_success:
            raise Refused(_said(answer.text), answer.status_code)
        return answer

    def _noted(self, name: str, ask: Callable[[], Any]) -> Any:
        began, start, status, error = time.time(), time.perf_counter(), 200, ""
        try:
            return ask()
        except Refused as refusal:
            status, error = refusal.status, str(refusal)
            raise
        except httpx.HTTPError as failure:
            status, error = 0, type(failure).__name__
            raise
        finally:
            self._note(Call(began, name, time.perf_counter() - start, status, error))


def _said(text: str) -> str:
    """The words of a refusal."""
    with suppress(ValueError, AttributeError):  # no record, so the words themselves
        text = str(json.loads(text).get("error") or "")
    return text.strip()[:300] or "(nothing was said)"


def model_settings(scorer: Scorer, rate: float) -> list[Any]:
    """What ``score`` takes after the prompts: the model's own settings at a false-alarm rate."""
    model = scorer.config.model
    return [model.lam, model.tau, rate, model.reference_weight, False, ""]


def wait_for_idle(page: subprocess.Popen[bytes], most: float = IDLE_SECONDS) -> float:
    """Seconds until the page does nothing for itself any more: it warms up behind its start."""
    began, before = time.perf_counter(), -1.0
    while (used := processor_seconds(page)) - before > 0.1 and time.perf_counter() - began < most:
        before = used
        time.sleep(1.0)
    return time.perf_counter() - began


def processor_seconds(page: subprocess.Popen[bytes]) -> float:
    """What a process of this machine has used of the processor so far."""
    used = Path(f"/proc/{page.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return sum(map(int, used)) / os.sysconf("SC_CLK_TCK")


def megabytes(page: subprocess.Popen[bytes], what: str = "VmRSS") -> float:
    """Memory of a process of this machine, now or (``VmHWM``) at its highest."""
    for line in Path(f"/proc/{page.pid}/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) / 1024
    raise ValueError(f"{what} is not told")


def open_handles(page: subprocess.Popen[bytes]) -> int:
    """How many file handles a process of this machine has open."""
    return sum(1 for _ in Path(f"/proc/{page.pid}/fd").iterdir())
