"""What an answer costs beside the bare encoders: ``python -m ltad bench --json FILE``.

Every ratio is of medians taken in turn within one run, because absolute times differ between
machines. Images are made up, each different, so that no cache knows one before its time.
"""

from __future__ import annotations

import itertools
import json
import os
import platform
import resource
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AlignConfig, AlignModel, PreTrainedTokenizerBase

from ltad.config import FeatureSettings
from ltad.inference.scorer import Scorer
from ltad.models.align import AlignEncoder
from ltad.models.fused_tower import tower_blocks

CALLERS = (1, 2, 4, 16, 32)
REPEATS = 15
SECONDS = 6.0
"""For each number of callers."""
SIDE = 480
"""Of the made-up images, in pixels."""


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one thing done many times: quartiles."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Timing:
        """Of measured seconds."""
        return cls(*(round(1e3 * float(q), 3) for q in np.quantile(seconds, (0.25, 0.5, 0.75))))


def in_turn(things: dict[str, Callable[[], Any]], repeats: int) -> dict[str, Timing]:
    """Do all things in turn, `repeats` times after two rounds that do not count."""
    taken: dict[str, list[float]] = {name: [] for name in things}
    for number in range(repeats + 2):
        for name, thing in things.items():
            began = time.perf_counter()
            thing()
            if number >= 2:
                taken[name].append(time.perf_counter() - began)
    return {name: Timing.of(seconds) for name, seconds in taken.items()}


def made_up_images(first: int = 0) -> Iterator[np.ndarray]:
    """Different images without end, (SIDE, SIDE, 3) uint8, from that number on."""
    base = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    return (_shifted(base, number) for number in itertools.count(first))


def _shifted(base: np.ndarray, number: int) -> np.ndarray:
    return np.roll(base, number % SIDE, axis=0) ^ np.uint8(number // SIDE % 256)


@contextmanager
def one_core() -> Generator[None]:
    """What runs here has one core, as each of the page's workers has."""
    cores = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(cores)


def measure_answers(scorer: Scorer, repeats: int = REPEATS) -> dict[str, Timing]:
    """One caller: the bare towers, and what the scorer makes of them, each on one core."""
    images, encoder = made_up_images(), scorer.encoder
    untouched = AlignModel.from_pretrained(encoder.source).eval()
    pixels = torch.rand(1, 3, *[encoder.settings.image_size] * 2) * 2 - 1
    known, name = scorer.prepare(next(images)), scorer.class_names[0]
    words, lams = map(str, itertools.count()), itertools.count(1)

    def edited() -> None:
        scorer.score(known, name, abnormal_prompt=f"a broken {next(words)}")

    def bare_text() -> None:
        model = scorer.config.model
        scorer.detector.texts(encoder, model.normal_prompt, [0])
        scorer.detector.texts(encoder, model.abnormal_prompt, [0])

    def transformers_tower() -> None:
        hidden = untouched.vision_model.embeddings(pixels)
        for block in tower_blocks(untouched.vision_model)[: encoder.settings.taps[-1] + 1]:
            hidden = block(hidden)

    with torch.inference_mode(), one_core():
        return in_turn({
            "transformers' tower, to the last tap": transformers_tower,
            "image tower, whole": lambda: encoder.image_features(pixels, with_latent=True),
            "image tower, to the last tap": lambda: encoder.image_features(pixels),
            "decoding and resizing": lambda: scorer.prepare(next(images)),
            "new image to its maps": lambda: scorer.score(next(images)),
            "text tower, two prompts": bare_text,
            "edited prompt": edited,
            "prompt seen before": lambda: scorer.score(known, name),
            "lambda changed": lambda: scorer.score(known, name, lam=next(lams) * 1e-3),
        }, repeats)


def measure_callers(
    scorer: Scorer, callers: Sequence[int] = CALLERS, seconds: float = SECONDS
) -> dict[int, dict[str, float]]:
    """New images a second with so many callers at once, and the quantiles of their waiting."""
    found, images, lock = {}, made_up_images(1_000), threading.Lock()
    for count in callers:
        waits: list[float] = []
        end = time.perf_counter() + seconds

        def call(waits: list[float] = waits, end: float = end) -> None:
            while time.perf_counter() < end:
                with lock:
                    image = next(images)
                began = time.perf_counter()
                scorer.score(image)
                waits.append(time.perf_counter() - began)

        began = time.perf_counter()
        threads = [threading.Thread(target=call) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        p50, p95 = np.quantile(waits, (0.5, 0.95))
        found[count] = {"images a second": round(len(waits) / (time.perf_counter() - began), 2),
                        "p50 ms": round(1e3 * p50, 1), "p95 ms": round(1e3 * p95, 1)}
    return found


def full_size_align(tokenizer: PreTrainedTokenizerBase) -> AlignEncoder:
    """ALIGN's own architecture with random weights: what its size costs."""
    torch.manual_seed(0)
    return AlignEncoder(AlignModel(AlignConfig()), tokenizer, FeatureSettings())


def measure_tower(encoder: AlignEncoder, repeats: int = REPEATS) -> dict[str, Timing]:
    """The image tower of an encoder alone."""
    pixels = torch.rand(1, 3, *[encoder.settings.image_size] * 2) * 2 - 1
    with torch.inference_mode():
        return in_turn({
            "image tower, whole": lambda: encoder.image_features(pixels, with_latent=True),
            "image tower, to the last tap": lambda: encoder.image_features(pixels),
        }, repeats)


def machine() -> dict[str, Any]:
    """Where the figures come from."""
    return {
        "processor": platform.processor() or platform.machine(), "cores": os.cpu_count(),
        "threads": torch.get_num_threads(), "load": os.getloadavg()[0],
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "torch": torch.__version__,
    }


def measure(scorer: Scorer, with_align: bool = False) -> dict[str, Any]:
    """Everything, as plain data."""
    scorer.warm_up()
    assert isinstance(scorer.encoder, AlignEncoder)
    towers = measure_tower(scorer.encoder)
    answers = measure_answers(scorer)
    found: dict[str, Any] = {
        "machine": machine(),
        "milliseconds": {
            **{f"{name}, all cores": vars(timing) for name, timing in towers.items()},
            **{name: vars(timing) for name, timing in answers.items()},
        },
        "ratios": {
            "new image / transformers' tower, to the last tap": _ratio(
                answers, "new image to its maps", "transformers' tower, to the last tap"),
            "new image / image tower, to the last tap": _ratio(
                answers, "new image to its maps", "image tower, to the last tap"),
            "new image / image tower, whole": _ratio(
                answers, "new image to its maps", "image tower, whole"),
            "edited prompt / text tower": _ratio(
                answers, "edited prompt", "text tower, two prompts"),
        },
        "callers": measure_callers(scorer),
    }
    if with_align:
        found["full-size ALIGN, milliseconds"] = {
            name: vars(timing) for name, timing in measure_tower(
                full_size_align(scorer.encoder.tokenizer), 5).items()}
    found["peak megabytes"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return found


def _ratio(timings: dict[str, Timing], above: str, below: str) -> float:
    return round(timings[above].median / timings[below].median, 2)


def report(found: dict[str, Any]) -> str:
    """The figures as text."""
    lines = [f"{found['machine']}", "", f"{'milliseconds':36} {'median':>9} {'quartiles':>19}"]
    lines += [f"{name:36} {t['median']:9.2f} {t['low']:9.2f}–{t['high']:.2f}"
              for name, t in found["milliseconds"].items()]
    lines += ["", *(f"{name}: {ratio}" for name, ratio in found["ratios"].items()), "",
              f"{'callers':>7} {'images a second':>16} {'p50 ms':>9} {'p95 ms':>9}"]
    lines += [f"{count:7} {c['images a second']:16.1f} {c['p50 ms']:9.1f} {c['p95 ms']:9.1f}"
              for count, c in found["callers"].items()]
    if "full-size ALIGN, milliseconds" in found:
        lines += ["", "full-size ALIGN, random weights", *(
            f"{name:36} {t['median']:9.2f}"
            for name, t in found["full-size ALIGN, milliseconds"].items())]
    lines += ["", *(f"{name}: {value}" for name, value in found.get("scale", {}).items())]
    return "\n".join([*lines, "", f"peak memory {found['peak megabytes']} MB"])


def write(found: dict[str, Any], file: Path) -> None:
    """Keep the figures as JSON."""
    file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
