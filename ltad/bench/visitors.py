"""Many visitors of a public page: ``python -m ltad.bench.visitors --visitors 1 4 32``.

Starts ``app.py --public`` as a process of its own on an empty cache. Each visitor sends an image
that nobody sent before, has it scored, then scored under three further prompts, and begins again.
Prints answers a second, the waiting for a new image and for an edited prompt, failures, the page's
start and its memory. Afterwards every answer is compared with the scorer's own, so that nobody had
another's image. Visitors and page share the machine.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from ltad.app.visitors import HEADER
from ltad.bench.speed import made_up_images
from ltad.inference.registry import load_scorer
from ltad.inference.scorer import FALSE_ALARM_RATE, Scorer

APP = Path(__file__).parents[2] / "app.py"
PROMPTS = ("a broken", "a dirty", "a scratched", "a bent")
START_SECONDS, ANSWER_SECONDS = 120.0, 120.0
CLOSE_ENOUGH = 1e-3
"""Scores of one image in another batch differ in the last digits."""


@dataclass
class Seen:
    """What the visitors of one measurement met; shared by their threads.

    Attributes:
        images, prompts: seconds until the answer to a new image, to an edited prompt.
        answers: (number of the image, abnormal prompt, score).
        failures: what was answered instead.
    """

    images: list[float] = field(default_factory=list)
    prompts: list[float] = field(default_factory=list)
    answers: list[tuple[int, str, float]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def image_file(number: int) -> bytes:
    """One of endlessly many different images, as a JPEG, and as smooth as a photograph."""
    buffer, noise = io.BytesIO(), Image.fromarray(next(made_up_images(number)))
    noise.reduce(8).resize(noise.size).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


class Visitor:
    """A browser's part of the conversation, without the browser."""

    def __init__(self, url: str, settings: list[Any]) -> None:
        self._api, self._settings = f"{url}/gradio_api", settings
        self._session = secrets.token_hex(8)
        self._http = httpx.Client(headers={HEADER: secrets.token_hex(20)}, timeout=ANSWER_SECONDS)

    def upload(self, content: bytes) -> dict[str, Any]:
        """Send an image; what names it from then on."""
        files = {"files": ("part.jpg", content, "image/jpeg")}
        path = self._http.post(f"{self._api}/upload", files=files).raise_for_status().json()[0]
        return {"path": path, "meta": {"_type": "gradio.FileData"}}

    def score(self, image: dict[str, Any], prompt: str) -> float:
        """The combined score of an image that was sent. Raises RuntimeError for a refusal."""
        data = [image, "", "a", prompt, *self._settings]
        body = {"data": data, "session_hash": self._session}
        call = self._http.post(f"{self._api}/call/score", json=body).raise_for_status()
        answer = self._http.get(f"{self._api}/call/score/{call.json()['event_id']}").text
        kind, _, rest = answer.rpartition("event: ")[2].partition("\n")
        if kind != "complete":
            raise RuntimeError(f"{kind}: {rest.strip()[:200]}")
        return json.loads(rest.strip().removeprefix("data: "))[0]["score"]

    def visit(self, number: int, content: bytes, seen: Seen) -> None:
        """A new image and three edited prompts."""
        began = time.perf_counter()
        image = self.upload(content)
        for asked, prompt in enumerate(PROMPTS):
            seen.answers.append((number, prompt, self.score(image, prompt)))
            now = time.perf_counter()
            (seen.prompts if asked else seen.images).append(now - began)
            began = now


def measure(
    url: str, settings: list[Any], visitors: int, seconds: float, numbers: Iterator[int]
) -> Seen:
    """So many visitors at once for so long; `numbers` gives each image once."""
    seen, lock, end = Seen(), threading.Lock(), time.perf_counter() + seconds

    def come_and_go() -> None:
        visitor = Visitor(url, settings)
        while time.perf_counter() < end:
            with lock:
                number = next(numbers)
            try:
                visitor.visit(number, image_file(number), seen)
            except (httpx.HTTPError, RuntimeError, ValueError) as error:
                seen.failures.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=come_and_go) for _ in range(visitors)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seen


def strangers(scorer: Scorer, answers: list[tuple[int, str, float]], most: int = 200) -> int:
    """How many of the answers, at most so many of them, are not the score of their image."""
    picked = np.random.default_rng(0).permutation(len(answers))[:most]
    wrong = 0
    for number, prompt, score in (answers[i] for i in picked):
        image = Image.open(io.BytesIO(image_file(number)))
        own = scorer.score(image, normal_prompt="a", abnormal_prompt=prompt).score
        wrong += abs(own - score) > CLOSE_ENOUGH * max(1.0, abs(own))
    return wrong


@contextmanager
def served(model: str, work: Path) -> Generator[tuple[str, subprocess.Popen[Any], float]]:
    """A public page of its own: its address, its process, and the seconds until it answered."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url, began = f"http://127.0.0.1:{port}", time.perf_counter()
    command = [sys.executable, str(APP), "--public", "--model", str(Path(model).resolve()),
               "--work", str(work / "work"), "--port", str(port)]
    with (work / "log").open("wb") as log:
        page = subprocess.Popen(command, env={**os.environ, "LTAD_CACHE": str(work / "cache")},
                                stdout=log, stderr=log, cwd=APP.parent)
    try:
        while not _answers(url):
            if page.poll() is not None or time.perf_counter() - began > START_SECONDS:
                raise RuntimeError((work / "log").read_text(errors="replace")[-2000:])
            time.sleep(0.05)
        yield url, page, time.perf_counter() - began
    finally:
        page.terminate()
        page.wait(30)


def wait_for_idle(page: subprocess.Popen[Any], most: float = START_SECONDS) -> float:
    """Seconds until the page does nothing for itself any more: it warms up behind its start."""
    began, before = time.perf_counter(), -1.0
    while (used := processor_seconds(page)) - before > 0.1 and time.perf_counter() - began < most:
        before = used
        time.sleep(1.0)
    return time.perf_counter() - began


def processor_seconds(page: subprocess.Popen[Any]) -> float:
    """What a process of this machine has used of the processor so far."""
    used = Path(f"/proc/{page.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return sum(map(int, used)) / os.sysconf("SC_CLK_TCK")


def megabytes(page: subprocess.Popen[Any], what: str = "VmRSS") -> float:
    """Memory of a process of this machine, now or (``VmHWM``) at its highest."""
    for line in Path(f"/proc/{page.pid}/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) / 1024
    raise ValueError(f"{what} is not told")


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).is_success
    except httpx.HTTPError:
        return False


def _row(visitors: int, seconds: float, seen: Seen, used: float) -> str:
    waits = [f"{1e3 * q:9.0f}" for kind in (seen.images, seen.prompts)
             for q in (np.quantile(kind, (0.5, 0.95)) if kind else (np.nan, np.nan))]
    return (f"{visitors:8} {len(seen.answers) / seconds:17.1f} " + " ".join(waits)
            + f" {1e3 * used / max(len(seen.answers), 1):12.1f} {len(seen.failures):9}")


def main(arguments: list[str] | None = None) -> int:
    """Run the measurement and print it. Returns 1 if anything failed or got a stranger's answer."""
    parser = argparse.ArgumentParser(prog="python -m ltad.bench.visitors", description=__doc__)
    parser.add_argument("--visitors", type=int, nargs="+", default=[1, 4, 32], help="at once")
    parser.add_argument("--seconds", type=float, default=20.0, help="for each number of visitors")
    parser.add_argument("--model", default="assets/demo", help="folder of a trained model")
    options = parser.parse_args(arguments)
    numbers, answers, failures = itertools.count(), [], []
    with tempfile.TemporaryDirectory() as folder:
        scorer = load_scorer(options.model, cache=Path(folder) / "own")
        model = scorer.config.model
        settings = [model.lam, model.tau, FALSE_ALARM_RATE, model.reference_weight, False, ""]
        with served(options.model, Path(folder)) as (url, page, start):
            warm = wait_for_idle(page)
            print(f"page served after {start:.1f} s, at rest {warm:.1f} s later with "
                  f"{megabytes(page):.0f} MB")
            print(f"{'visitors':>8} {'answers a second':>17} {'new image: p50, p95 ms':>19} "
                  f"{'prompt: p50, p95 ms':>19} {'CPU ms each':>12} {'failures':>9}")
            for visitors in options.visitors:
                began, used = time.perf_counter(), processor_seconds(page)
                seen = measure(url, settings, visitors, options.seconds, numbers)
                print(_row(visitors, time.perf_counter() - began, seen,
                           processor_seconds(page) - used), flush=True)
                answers, failures = answers + seen.answers, failures + seen.failures
            print(f"memory {megabytes(page):.0f} MB, at most {megabytes(page, 'VmHWM'):.0f} MB")
        wrong = strangers(scorer, answers)
    for failure in sorted(set(failures))[:5]:
        print(failure)
    print(f"{wrong} of {min(len(answers), 200)} answers that were compared are another image's")
    return int(bool(failures) or wrong > 0)


if __name__ == "__main__":
    raise SystemExit(main())
