"""This project beside others on the same images: ``python -m ltad.bench.peers --help``.

Draws some images of each class of a folder in MVTec AD's layout, lets every contestant learn from
the same good ones and judge the same others, each in processes of its own, one after another. Other
libraries need ``--peer-python``, an interpreter that has ``anomalib`` and ``anomavision``; without
it, they are left out. Their own networks come from hosts that not every machine reaches, so that
all have the same one: this project's image tower, exported, with the pixels that it wants. They
learn one model a class and are told the class of each image; this project's models learn all
classes together and recognise it, but for the bank and reference mode, which are told it as well.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ltad.bench.contestants import CONTESTANTS
from ltad.bench.photographs import draw, link
from ltad.bench.speed import machine
from ltad.config import FeatureSettings
from ltad.data.layouts import load_dataset
from ltad.evaluation.metrics import image_auroc
from ltad.models.align import AlignEncoder, load_encoder
from ltad.models.fused_tower import tower_blocks
from ltad.types import Sample

EXPORTED = (3, 6, 14)
"""Blocks of the tower that others get: of 24, 40 and 112 channels in the embedded encoder."""


class ExportedTower(nn.Module):
    """The image tower as transformers computes it, up to the last block that is asked for."""

    def __init__(self, encoder: AlignEncoder) -> None:
        super().__init__()
        self.tower, self.wanted = encoder.model.vision_model, encoder.settings.taps

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """The wanted blocks' outputs for pixels (B, 3, S, S)."""
        hidden, found = self.tower.embeddings(pixels), list[Tensor]()
        for number, block in enumerate(tower_blocks(self.tower)[: self.wanted[-1] + 1]):
            hidden = block(hidden)
            if number in self.wanted:
                found.append(hidden)
        return tuple(found)


def export_tower(encoder_folder: str, file: Path) -> dict[str, Any]:
    """Write the image tower as a program that torch alone can run.

    Returns:
        ``side`` of the pixels and ``channels`` of its three layers.
    """
    own = load_encoder(encoder_folder).settings
    encoder = load_encoder(encoder_folder, FeatureSettings(
        own.image_size, EXPORTED, own.grid, own.semantic_grid))
    pixels = torch.zeros(2, 3, own.image_size, own.image_size)
    program = torch.export.export(ExportedTower(encoder).eval(), (pixels,),
                                  dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.export.save(program, file)
    return {"side": own.image_size, "channels": list(encoder.channels)}


def lay_out(samples: Sequence[Sample], folder: Path, learn: int, tests: int, seed: int) -> None:
    """Link the drawn images: `learn` good ones, and `tests` good and as many defective, a class."""
    for name in sorted({sample.class_name for sample in samples}):
        own = [sample for sample in samples if sample.class_name == name]
        for split, count in (("train", learn), ("test", tests)):
            for is_defective in (False, True):
                chosen = draw([s.path for s in own if s.split == split
                               and s.is_defective is is_defective], count, seed)
                for path in chosen:
                    # Images of several kinds of defects may share a file name.
                    link([path], folder / name / split / path.parent.name)


def compete(
    name: str, task: dict[str, Any], out: Path, interpreter: str, threads: int
) -> dict[str, Any]:
    """Let one contestant learn and judge.

    Returns:
        What both parts found, or ``error``, the last line that it left.
    """
    folder = out / name.replace(" ", "_").replace("'", "").replace(",", "")
    (folder / "model").mkdir(parents=True)
    script = Path(__file__).with_name("contestants.py")
    root = Path(__file__).parents[2]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": (
        str(root) if interpreter == sys.executable else "")}
    found: dict[str, Any] = {}
    for part in ("fit", "judge"):
        told = task | {"contestant": name, "folder": str(folder / "model"), "asked": time.time(),
                       "work": str(folder / "work")}
        (folder / "task.json").write_text(json.dumps(told), encoding="utf-8")
        done = subprocess.run([interpreter, "-P", str(script), part, str(folder / "task.json")],
                              env=environment, capture_output=True, text=True, cwd=folder)
        if done.returncode:
            (folder / "error.txt").write_text(done.stderr, encoding="utf-8")
            return {"error": (done.stderr.strip().splitlines() or ["no reason given"])[-1]}
        found[part] = json.loads((folder / f"{part}.json").read_text(encoding="utf-8"))
    found["megabytes on disk"] = sum(
        file.stat().st_size for file in (folder / "model").rglob("*") if file.is_file()) / 1e6
    return found


def figures(found: dict[str, Any], tests: Sequence[tuple[str, str, bool]]) -> dict[str, Any]:
    """A row of the table: image AUROC of each class and their mean in percent, and what it cost."""
    judged, rows = found["judge"], dict[str, float]()
    for name in sorted({name for _, name, _ in tests}):
        own = [place for place, test in enumerate(tests) if test[1] == name]
        area = image_auroc([tests[place][2] for place in own],
                           np.array([judged["scores"][place] for place in own]))
        rows[name] = round(100 * (area if area is not None else np.nan), 1)
    return {
        **rows, "mean": round(float(np.mean(list(rows.values()))), 1),
        "ms an image": round(float(np.median(judged["ms"])), 1),
        "images a second": round(judged["images_a_second"], 1),
        "peak MB": round(judged["peak_megabytes"]),
        "s to first answer": round(judged["first_answer_s"], 1),
        "minutes to learn": round(found["fit"]["seconds"] / 60, 2),
        "MB on disk": round(found["megabytes on disk"], 1),
    }


def main(arguments: list[str] | None = None) -> int:
    """Run all contestants and print the table. Returns the exit status."""
    options = _parser().parse_args(arguments)
    options.out.mkdir(parents=True)
    layout = options.out / "images"
    lay_out(load_dataset(options.data), layout, options.images, options.tests, options.seed)
    samples = load_dataset(layout)
    classes = sorted({sample.class_name for sample in samples})
    tests = [(str(s.path), s.class_name, s.is_defective) for s in samples if s.split == "test"]
    learn = {name: [str(s.path) for s in samples if s.split == "train" and s.class_name == name]
             for name in classes}
    task = {
        "data": str(layout.resolve()), "learn": learn, "tests": [test[:2] for test in tests],
        "encoder": str(options.encoder.resolve()), "model": str(options.model.resolve()),
        "tower": str((options.out / "tower.pt2").resolve()),
    }
    if options.peer_python is not None:
        task |= export_tower(str(options.encoder), options.out / "tower.pt2")
    found: dict[str, Any] = {
        "machine": machine(), "seed": options.seed, "learn": {n: len(p) for n, p in learn.items()},
        "tests": {n: sum(test[1] == n for test in tests) for n in classes}, "contestants": {},
    }
    for name in options.only or CONTESTANTS:
        interpreter = options.peer_python if CONTESTANTS[name][0] else sys.executable
        if interpreter is None:
            print(f"{name}: left out, for want of --peer-python", flush=True)
            continue
        result = compete(name, task, options.out.resolve(), interpreter, torch.get_num_threads())
        row = result if "error" in result else figures(result, tests)
        found["contestants"][name] = row
        print(f"{name}: {row}", flush=True)
        (options.out / "peers.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    rows = {name: row for name, row in found["contestants"].items() if "error" not in row}
    print(pd.DataFrame.from_dict(rows, orient="index").to_string())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ltad.bench.peers", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder in MVTec AD's layout")
    parser.add_argument("--out", type=Path, required=True, help="a folder that does not exist yet")
    parser.add_argument("--peer-python", help="interpreter that has anomalib and anomavision")
    parser.add_argument("--model", type=Path, default=Path("assets/demo"))
    parser.add_argument("--encoder", type=Path, default=Path("assets/demo/encoder"))
    parser.add_argument("--images", type=int, default=20, help="good images of a class to learn")
    parser.add_argument("--tests", type=int, default=60,
                        help="good, and as many defective, test images of a class at most")
    parser.add_argument("--only", nargs="+", choices=list(CONTESTANTS), metavar="NAME",
                        help="these contestants: " + ", ".join(CONTESTANTS))
    parser.add_argument("--seed", type=int, default=0)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
