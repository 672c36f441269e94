"""Many visitors of a public page: ``python -m ltad.bench.visitors --visitors 1 4 32``.

Starts ``app.py --public`` as a process of its own on an empty cache. Each visitor sends an image
that nobody sent before, has it scored, then scored under three further prompts, and begins again.
Prints answers a second, the waiting for a new image and for an edited prompt, failures, the page's
start and its memory. Afterwards every answer is compared with the scorer's own, so that nobody had
another's image. Visitors and page share the machine.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from ltad.bench.served import (
    Conversation,
    Refused,
    image_file,
    megabytes,
    model_settings,
    processor_seconds,
    served,
    strangers,
    wait_for_idle,
)
from ltad.inference.registry import load_scorer
from ltad.inference.scorer import FALSE_ALARM_RATE

PROMPTS = ("a broken", "a dirty", "a scratched", "a bent")


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


def visit(talk: Conversation, settings: list[Any], number: int, seen: Seen) -> None:
    """A new image and three edited prompts."""
    content, began = image_file(number), time.perf_counter()
    image = talk.upload(content)
    for asked, prompt in enumerate(PROMPTS):
        seen.answers.append((number, prompt, talk.score(image, prompt, settings)))
        now = time.perf_counter()
        (seen.prompts if asked else seen.images).append(now - began)
        began = now


def measure(
    url: str, settings: list[Any], visitors: int, seconds: float, numbers: Iterator[int]
) -> Seen:
    """So many visitors at once for so long; `numbers` gives each image once."""
    seen, lock, end = Seen(), threading.Lock(), time.perf_counter() + seconds

    def come_and_go() -> None:
        talk = Conversation(url)
        with suppress(Refused, httpx.HTTPError):  # if it goes on like that, `visit` says so
            talk.arrive()
        while time.perf_counter() < end:
            with lock:
                number = next(numbers)
            try:
                visit(talk, settings, number, seen)
            except (httpx.HTTPError, RuntimeError, ValueError) as error:
                seen.failures.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=come_and_go) for _ in range(visitors)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seen


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
        settings = model_settings(scorer, FALSE_ALARM_RATE)
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
