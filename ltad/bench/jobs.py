"""Measures teaching on a data set: ``python -m ltad.bench.jobs --data DIR --per-class 20``.

The same code as the page's trains a model on a few images of each class; AUROC per image on the
whole test sets, by the model that the page starts with and by the new one. Both recognise the class
by themselves; under "told" the new model is given the true class, and "known" is the share of test
images whose class it recognised.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from ltad.data.layouts import load_dataset
from ltad.evaluation.metrics import image_auroc
from ltad.inference.registry import load_scorer
from ltad.inference.scorer import Scorer
from ltad.io.files import generator
from ltad.jobs import worker
from ltad.jobs.dataset import Incoming, add_images
from ltad.jobs.evaluate import image_scores, read_figures
from ltad.jobs.job import CANCELLED, FAILED, FINISHED, Job, new_job
from ltad.types import LTADError, Sample
from ltad.workspace import Workspace

NAME = "measured"
BATCH = 16


def main(arguments: list[str] | None = None) -> int:
    """Run the measurement and print it. Returns the exit status."""
    options = _parser().parse_args(arguments)
    samples = load_dataset(options.data)
    first = load_scorer(options.model)
    with tempfile.TemporaryDirectory() as temporary:
        workspace = Workspace(Path(options.work or temporary))
        began = time.monotonic()
        job = new_job(workspace, NAME, first)
        bring(job, samples, options.per_class, options.seed, first)
        print(f"images: {json.dumps({p: n['learn'] for p, n in job.counts().items()})}; "
              f"{len(job.warnings())} warnings", flush=True)
        worker.start(workspace, NAME, keep_old=options.keep_old)
        if not wait(job):
            print(f"error: {job.record()['message']}", file=sys.stderr)
            return 1
        print(f"minutes, from the first image to the finished model: "
              f"{(time.monotonic() - began) / 60:.1f} (processor time of the training "
              f"{job.record()['processor_seconds'] / 60:.1f})", flush=True)
        taught = load_scorer(job.model_folder)
        print(f"{(read_figures(job.model_folder) or {}).get('command', '')}\n")
        print(table(first, taught, samples, options.most_test))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ltad.bench.jobs", description=__doc__)
    parser.add_argument("--data", required=True, help="folder in the layout of MVTec AD")
    parser.add_argument("--per-class", type=int, default=20, help="images to learn from")
    parser.add_argument("--model", default="assets/demo", help="the model before")
    parser.add_argument("--keep-old", action="store_true", help="keep the rendered classes too")
    parser.add_argument("--most-test", type=int, default=None, help="test images of a kind")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of images")
    parser.add_argument("--work", default=None, help="keep everything here")
    return parser


def bring(job: Job, samples: list[Sample], count: int, seed: int, first: Scorer) -> None:
    """Up to `count` training images of each class into the job, chosen by the seed."""
    classes = sorted({sample.class_name for sample in samples})
    for number, name in enumerate(classes):
        own = [s.path for s in samples if s.class_name == name and s.split == "train"]
        chosen = np.sort(generator(seed, number).permutation(len(own))[:count])
        files = [Incoming(own[i].name, own[i].read_bytes()) for i in chosen]
        add_images(job.folder, name, "learn", files, first.encoder)


def wait(job: Job) -> bool:
    """Until the training ends; whether it ended well."""
    while (state := job.state) not in (FINISHED, FAILED, CANCELLED):
        if not job.is_running and job.state == state:
            return False
        time.sleep(1.0)
    return state == FINISHED


def table(first: Scorer, taught: Scorer, samples: list[Sample], most: int | None) -> str:
    """Image AUROC per class in percent."""
    heads = "".join(f"{head:>8}" for head in ("before", "after", "told", "known"))
    lines = [f"{'class':16} {'good':>5} {'bad':>5}{heads}"]
    for name in taught.checkpoint.about["new_classes"]:
        tests = [s for s in samples if s.class_name == name and s.split == "test"]
        tests = [s for kind in (False, True)
                 for s in [t for t in tests if t.is_defective is kind][:most]]
        labels, paths = [s.is_defective for s in tests], [s.path for s in tests]
        before, _ = _recognised_scores(first, paths)
        after, classes = _recognised_scores(taught, paths)
        class_given = np.concatenate([
            image_scores(taught, paths[i : i + BATCH], name) for i in range(0, len(paths), BATCH)
        ])
        figures = [100 * (image_auroc(labels, s) or 0.0) for s in (before, after, class_given)]
        known = 100 * np.mean([c == name for c in classes])
        lines.append(f"{name:16} {labels.count(False):5} {labels.count(True):5}"
                     + "".join(f"{figure:8.1f}" for figure in (*figures, known)))
    return "\n".join(lines)


def _recognised_scores(scorer: Scorer, paths: list[Path]) -> tuple[list[float], list[str]]:
    found = [d for i in range(0, len(paths), BATCH)
             for d in scorer.score_batch(paths[i : i + BATCH])]
    return [d.score for d in found], [d.class_name for d in found]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LTADError as error:
        sys.exit(f"error: {error}")
