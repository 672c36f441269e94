"""Measures reference mode: ``python -m ltad.bench.references --data DIR --images 1 4 8``.

For each class of the folder, some of its good training images and its name as words are all that
the scorer knows; every test image is then judged. Image AUROC in percent, of the sum and of each
branch; the seconds from the last reference to the first map, no feature being known yet; and what
the threshold for 5% false alarms did. ``--single`` prints instead how far new good images lie from
a single one: the figures of `ltad.inference.reference_mode.NEW_IMAGES`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from tempfile import TemporaryDirectory

import numpy as np

from ltad.data.layouts import load_dataset
from ltad.evaluation.metrics import image_auroc
from ltad.inference.reference_mode import NEW_IMAGES, ReferenceScorer
from ltad.inference.registry import load_scorer
from ltad.inference.scorer import Scorer
from ltad.io.files import generator
from ltad.models.class_names import spoken
from ltad.types import Sample

RATE = 0.05
TWENTIETHS = np.arange(1, 20) / 20


@dataclass(frozen=True)
class Measured:
    """One class under one choice of references; AUROC and shares in percent."""

    combined: float
    reference: float
    semantic: float
    seconds: float
    false_alarms: float
    found: float


def measure(
    base: Scorer, fresh: Scorer, references: Sequence[Sample], tests: Sequence[Sample], name: str
) -> Measured:
    """Judge the test images beside the references.

    Args:
        base: whose encoder is used.
        fresh: the same with an empty cache, for the seconds.
        references: good images of one class.
        tests: good and defective images of it.
        name: in words.
    """
    began = time.perf_counter()
    part = ReferenceScorer(fresh, [s.path for s in references], name)
    part.score(tests[0].path, part.class_names[0], false_alarm_rate=RATE)
    seconds = time.perf_counter() - began
    scorer = ReferenceScorer(base, [s.path for s in references], name)
    part = scorer.class_names[0]
    found = scorer.score_batch([s.path for s in tests], part, false_alarm_rate=RATE)
    labels = np.array([s.is_defective for s in tests])
    alarms = np.array([d.is_anomalous for d in found])

    def auroc(scores: Sequence[float | None]) -> float:
        return 100 * (image_auroc(labels, np.array(scores, float)) or np.nan)

    return Measured(
        auroc([d.score for d in found]), auroc([d.reference_score for d in found]),
        auroc([d.semantic_score for d in found]), seconds,
        100 * alarms[~labels].mean(), 100 * alarms[labels].mean(),
    )


def farther(scorer: Scorer, reference: Sample, tests: Sequence[Sample], name: str) -> np.ndarray:
    """Image scores (n,) of new images beside a single one, as multiples of the score that the
    single one gets from its own other places."""
    part = ReferenceScorer(scorer, [reference.path], name)
    (spoken_name,) = part.class_names
    zero, one = part.detector.unit("reference", 0)
    limits = part.calibration.limits(spoken_name, part.score_settings(lam=0.0), RATE)
    own = (zero + (one - zero) * limits.normal_scores[0]) / NEW_IMAGES[0]
    found = part.score_batch([s.path for s in tests], spoken_name)
    return (zero + (one - zero) * np.array([d.reference_score for d in found])) / own


def print_farther(scorer: Scorer, samples: Sequence[Sample], seeds: int) -> None:
    """The twentieths of `farther` for each class, and with every class counting alike."""
    known = {}
    for number, name in enumerate(sorted({s.class_name for s in samples})):
        train, tests = _parts(samples, name)
        good = [s for s in tests if not s.is_defective]
        known[name] = np.concatenate([
            farther(scorer, reference, good, spoken(name))
            for reference in _drawn(train, seeds, 0, number)
        ])
        print(f"{name:16}", *(f"{v:.2f}" for v in np.quantile(known[name], TWENTIETHS)), flush=True)
    weights = np.concatenate([np.full(len(v), 1 / len(v)) for v in known.values()])
    together = np.quantile(np.concatenate(list(known.values())), TWENTIETHS, weights=weights,
                           method="inverted_cdf")
    print(f"{'all':16}", *(f"{v:.2f}" for v in together))


def main(arguments: list[str] | None = None) -> int:
    """Run the measurement and print it. Returns the exit status."""
    options = _parser().parse_args(arguments)
    samples = load_dataset(options.data)
    base = load_scorer(options.model)
    if options.single:
        print_farther(base, samples, options.seeds)
        return 0
    print(f"{'class':16} {'images':>6}  " + "  ".join(f"{c:>12}" for c in (
        "combined", "reference", "semantic", "seconds", "false alarms", "found")))
    for number, name in enumerate(sorted({s.class_name for s in samples})):
        train, tests = _parts(samples, name)
        for count in options.images:
            rows = []
            for seed in range(options.seeds):
                with TemporaryDirectory() as empty:
                    fresh = load_scorer(options.model, cache=empty)
                    rows.append(astuple(measure(
                        base, fresh, _drawn(train, count, seed, number), tests, spoken(name)
                    )))
            cells = [f"{mean:6.1f} ± {spread:<3.1f}" if options.seeds > 1 else f"{mean:12.1f}"
                     for mean, spread in zip(np.mean(rows, 0), np.std(rows, 0), strict=True)]
            print(f"{name:16} {min(count, len(train)):6}  " + "  ".join(cells), flush=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ltad.bench.references", description=__doc__)
    parser.add_argument("--data", required=True, help="folder in the layout of MVTec AD")
    parser.add_argument("--model", default="assets/demo", help="whose encoder is used")
    parser.add_argument("--images", type=int, nargs="+", default=[1, 4, 8], help="references")
    parser.add_argument("--seeds", type=int, default=1, help="choices of references, averaged")
    parser.add_argument("--single", action="store_true",
                        help="how far new good images lie from one; --seeds images a class")
    return parser


def _parts(samples: Sequence[Sample], name: str) -> tuple[list[Sample], list[Sample]]:
    """Training and test images of a class."""
    own = [s for s in samples if s.class_name == name]
    return ([s for s in own if s.split == "train"], [s for s in own if s.split == "test"])


def _drawn(train: list[Sample], count: int, seed: int, number: int) -> list[Sample]:
    return [train[i] for i in generator(seed, number).permutation(len(train))[:count]]


if __name__ == "__main__":
    raise SystemExit(main())
