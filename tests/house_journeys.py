"""How far five requests travel through the code: ``python tests/house_journeys.py``.

For each: the modules of the package in which a function ran, and how often the running code changed
from one module to another, on whatever thread. Everything was imported and warm before.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from ltad import load_scorer
from ltad.app.inspect import score
from ltad.app.review_batches import BatchEndpoints, ExchangeEndpoints
from ltad.app.review_desk import Desk, ItemEndpoints
from ltad.data.datasets import load_folder
from ltad.inference.batching import Workers
from ltad.inference.registry import ModelRegistry
from ltad.synthetic.render import render_part
from ltad.training.train import train
from ltad.workspace import Workspace

MODEL = Path(__file__).parents[1] / "assets" / "demo"
PACKAGE = str(MODEL.parents[1] / "ltad") + os.sep


class Journey:
    """The modules that a call passes."""

    def __init__(self) -> None:
        self.modules: set[str] = set()
        self.changes = 0
        self._last: dict[int, str] = {}

    def _pass(self, frame: FrameType, event: str, _: Any) -> None:
        file = frame.f_code.co_filename
        if event != "call" or not file.startswith(PACKAGE):
            return
        thread = threading.get_ident()
        self.changes += self._last.get(thread, file) != file
        self._last[thread] = file
        self.modules.add(file)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Note what runs meanwhile."""
        threading.setprofile(self._pass)
        sys.setprofile(self._pass)
        try:
            yield
        finally:
            sys.setprofile(None)
            threading.setprofile(None)


def journey(name: str, call: Callable[[], Any]) -> Any:
    """Print how far a call goes, and return its answer."""
    found = Journey()
    with found.taken():
        answer = call()
    print(f"{name:>10} {len(found.modules):4} modules {found.changes:6} changes")
    return answer


def main() -> None:
    """Print the five journeys."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        out = Path(folder)
        scorer = load_scorer(MODEL, cache=out / "cache")
        scorer.warm_up()
        images = [Image.fromarray(render_part("hex_nut", seed, 96).image) for seed in range(4)]
        files = [out / "parts" / "hex_nut" / "train" / "good" / f"{n}.png" for n in range(4)]
        files[0].parent.mkdir(parents=True)
        for file, image in zip(files, images, strict=True):
            image.save(file)

        workspace = Workspace(out / "work")
        registry = ModelRegistry(scorer, workspace.models)
        answer = partial(score, registry, lam=1.0, tau=0.01, false_alarm_rate=0.05,
                         reference_weight=1.0, include_maps=False, class_name="hex_nut")
        answer(images[0], normal_prompt="a", abnormal_prompt="a broken")
        for name, words in (("image", "a broken"), ("prompt", "a chipped")):
            # Only threads that begin within a journey are followed.
            scorer._reader.workers = Workers(1)
            journey(name, partial(answer, images[1], normal_prompt="a", abnormal_prompt=words))

        desk = Desk(registry, workspace)
        batches, items = BatchEndpoints(desk), ItemEndpoints(desk)
        batch = batches.create_batch([str(file) for file in files], person="Ann")["batch"]["id"]
        desk.runner.wait(batch, 60)
        first, second = (item["id"] for item in batches.items(batch)["items"][:2])
        items.decide(first, "good", "Ann")
        journey("decision", lambda: items.decide(second, "defective", "Ann"))
        journey("COCO", lambda: ExchangeEndpoints(desk).export(batch, "coco"))

        config = replace(scorer.config, training=replace(
            scorer.config.training, phase1_epochs=1, phase2_epochs=1))
        journey("training", lambda: train(
            load_folder(out / "parts"), scorer.encoder, config, out / "model", "demo",
            features=out / "features"))


if __name__ == "__main__":
    main()
