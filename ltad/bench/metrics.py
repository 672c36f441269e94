"""What the figures cost: ``python -m ltad.bench.metrics`` evaluates as much as MVTec AD has.

Images, masks and maps are made up, and no encoder runs: 15 classes, 467 good and 1,258 defective
images of 224 x 224, three branches, every figure of `ltad.evaluation.results` and its intervals.
"""

from __future__ import annotations

import json
import os
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ltad.data.splits import NATURAL_COUNTS
from ltad.evaluation.evaluate import evaluate_tests
from ltad.inference.calibration import BranchMaps
from ltad.inference.feature_store import FeatureStore
from ltad.types import BRANCHES, METRICS, Sample

SIDE, GOOD, DEFECTIVE = 224, 467, 1258
GRID = 14
_REGIONS = 3


def made_up_samples(folder: Path) -> list[Sample]:
    """The test images, class after class, with masks on disk of up to three rectangles."""
    rng, classes = np.random.default_rng(0), sorted(NATURAL_COUNTS["mvtec"])
    samples = []
    for number in range(GOOD + DEFECTIVE):
        name, path = classes[number % len(classes)], folder / f"{number:04d}.png"
        if number < GOOD:
            samples.append(Sample(path, name, "test"))
            continue
        mask = np.zeros((SIDE, SIDE), np.uint8)
        for _ in range(_REGIONS):
            top, left = rng.integers(0, SIDE - 40, 2)
            mask[top : top + rng.integers(4, 40), left : left + rng.integers(4, 40)] = 255
        Image.fromarray(mask).save(path)
        samples.append(Sample(path, name, "test", "cut", path))
    return sorted(samples, key=lambda sample: sample.class_name)


def made_up_maps(class_name: str, tests: FeatureStore, places: Sequence[int]) -> BranchMaps:
    """Noise of every branch, somewhat higher in the upper half of the defective images."""
    raised = torch.tensor([tests.samples[place].is_defective for place in places]).float()
    slope = torch.linspace(1, 0, SIDE)[:, None]
    maps = {
        branch: torch.empty(len(places), SIDE, SIDE).exponential_() + raised[:, None, None] * slope
        for branch in BRANCHES
    }
    return BranchMaps(maps, {branch: one.amax((1, 2)) for branch, one in maps.items()})


def peak_megabytes() -> float:
    """The most memory that this process has had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure() -> dict[str, object]:
    """Evaluate, and report seconds and memory."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        samples = made_up_samples(Path(folder))
        patches = np.zeros((len(samples), 8, GRID, GRID), np.float16)
        tests = FeatureStore(tuple(samples), patches, patches, patches)
        before, began = peak_megabytes(), time.perf_counter()
        found = evaluate_tests(tests, made_up_maps, NATURAL_COUNTS["mvtec"], progress=False)
        seconds = time.perf_counter() - began
    return {
        "pictures": len(samples), "side": SIDE, "branches": len(BRANCHES),
        "seconds": round(seconds, 1), "peak_megabytes": round(peak_megabytes()),
        "peak_megabytes_before": round(before), "threads": torch.get_num_threads(),
        "load": os.getloadavg(), "all": found.results.summary()["All"],
        "figures": found.results.figures()["All"],
        "intervals": {metric: found.results.intervals(metric) for metric in METRICS},
    }


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
