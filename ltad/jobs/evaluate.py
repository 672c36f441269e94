"""Figures of a taught model, and two models side by side."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from ltad.evaluation.metrics import image_auroc
from ltad.inference.scorer import Scorer
from ltad.io.images import ImageSource, Prepared, read_image
from ltad.jobs.dataset import LONGEST_SIDE, ROLES
from ltad.jobs.job import FOLDER
from ltad.synthetic.painting import DAMAGE, paint_damage
from ltad.types import CheckpointError, Detection, Sample, SettingError
from ltad.workspace import Workspace

T = TypeVar("T")
FIGURES_FILE = "figures.json"
MOST_STAND_INS = 8
MOST_PER_KIND = 12
MOST_IMAGES = 100


@dataclass(frozen=True)
class Trial:
    """Good images against defective ones under the model's threshold.

    Attributes:
        good, defective: images.
        false_alarms: good ones above the threshold.
        found: defective ones above it.
        auroc: of the image scores, in [0, 1]; None without both kinds.
    """

    good: int
    defective: int
    false_alarms: int
    found: int
    auroc: float | None


@dataclass(frozen=True)
class ClassFigures:
    """One class of a taught model.

    Attributes:
        class_name: as the model calls it.
        is_new: brought by a person, rather than kept from before.
        training, held_out: images learnt from, and kept back for the threshold.
        is_pooled: the threshold comes from all classes together.
        recognised: share of the good images tried whose class the model ranked first.
        is_cross_fitted: each image was held out in turn; the painted ones are a fifth of them,
            judged without that fifth.
        are_held_out: False where none was held out and images learnt from stand in.
        painted: held-out good images against themselves with damage painted on.
        test: the person's own test images, or None when there are none.
        explained: share of the good images' features that the reconstruction module rebuilds.
    """

    class_name: str
    is_new: bool
    training: int
    held_out: int
    is_pooled: bool
    recognised: float
    are_held_out: bool
    painted: Trial
    test: Trial | None
    is_cross_fitted: bool = False
    explained: float | None = None


def measure_class(
    scorer: Scorer, class_name: str, is_new: bool, samples: Sequence[Sample], rate: float
) -> ClassFigures:
    """All figures of one class.

    Args:
        scorer: the new model.
        class_name: one of its classes.
        is_new: for the record.
        samples: every image of that class, training and test.
        rate: false-alarm rate of the threshold, in (0, 1).
    """
    counts = scorer.checkpoint.about
    good, judge = scorer.checkpoint.calibration[class_name], scorer
    are_held_out = bool(counts["held_out_pictures"][class_name])
    is_cross_fitted = bool(scorer.checkpoint.cross_fitted.get(class_name))
    if is_cross_fitted and scorer.checkpoint.without_first:
        detector, first = scorer.checkpoint.without_first
        good, judge, are_held_out = [good[i] for i in first[class_name]], (
            scorer.with_detector(detector)), True
    if not good:
        learnt = [s.path for s in samples if s.split == "train"][:MOST_STAND_INS]
        good = [model_input(path, scorer) for path in learnt]
    limits = scorer.calibration.limits(class_name, scorer.score_settings(), rate)
    threshold = limits.thresholds["combined"]
    tests = [s for s in samples if s.split == "test"]
    return ClassFigures(
        class_name, is_new, counts["training_pictures"][class_name],
        counts["calibration_pictures"][class_name], limits.is_pooled,
        float(np.mean([scorer.recognise(image).best == class_name for image in good])),
        are_held_out,
        _trial(judge, class_name, threshold, good, painted(good)),
        _trial(
            scorer, class_name, threshold, [s.path for s in tests if not s.is_defective],
            [s.path for s in tests if s.is_defective],
        ) if tests else None,
        is_cross_fitted, scorer.explained(good),
    )


def model_input(source: ImageSource, scorer: Scorer) -> Image.Image:
    """An image at the model's input size, (S, S) RGB."""
    size = scorer.config.features.image_size
    return read_image(source).resize((size, size), Image.Resampling.BILINEAR)


def painted(good: Sequence[Image.Image]) -> list[Image.Image]:
    """Every kind of damage on every image; the same images get the same damage."""
    return [paint_damage(image, kind, seed)[0]
            for seed, image in enumerate(good) for kind in DAMAGE]


def _trial(
    scorer: Scorer, class_name: str, threshold: float,
    good: Sequence[ImageSource], defective: Sequence[ImageSource],
) -> Trial:
    scores = [image_scores(scorer, images, class_name) for images in (good, defective)]
    false_alarms, found = (int((s > threshold).sum()) for s in scores)
    labels = np.repeat([0, 1], [len(good), len(defective)])
    auroc = image_auroc(labels, np.concatenate(scores)) if len(labels) else None
    return Trial(len(good), len(defective), false_alarms, found, auroc)


def image_scores(
    scorer: Scorer, images: Sequence[ImageSource | Prepared], class_name: str
) -> np.ndarray:
    """(n,) combined image scores of images whose class is known."""
    if not len(images):
        return np.zeros(0)
    settings = scorer.score_settings()
    return scorer.measure(images, class_name, settings).scores["combined"].cpu().numpy()


def write_figures(
    folder: Path, figures: Sequence[ClassFigures], rate: float, **about: Any
) -> None:
    """Keep the figures with the model."""
    data = {"false_alarm_rate": rate, **about, "classes": [asdict(f) for f in figures]}
    (folder / FIGURES_FILE).write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def read_figures(folder: Path) -> dict[str, Any] | None:
    """What `write_figures` wrote, or None where there is nothing.

    Raises:
        CheckpointError: the file is damaged.
    """
    path = folder / FIGURES_FILE
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(
            f"The figures of the model {folder.name!r} are damaged. Teach it again."
        ) from error


@dataclass(frozen=True)
class Example:
    """An image to compare models on.

    Attributes:
        title: what it is called.
        part: its part, or "" when nobody said.
        is_defective: True, False, or None when nobody said.
        image: RGB.
    """

    title: str
    part: str
    is_defective: bool | None
    image: Image.Image


@dataclass(frozen=True)
class Pair:
    """What both models say of one image."""

    example: Example
    first: Detection
    second: Detection


@dataclass(frozen=True)
class Row:
    """Both models on one part's images of known kind; each figure is (first, second).

    Attributes:
        part: which.
        good, defective: images.
        auroc: of the scores, in [0, 1], or None without both kinds.
        false_alarms: good images called anomalous.
        found: defective ones called anomalous.
        not_judged: images of both kinds that look like none of the model's classes.
    """

    part: str
    good: int
    defective: int
    auroc: tuple[float | None, float | None]
    false_alarms: tuple[int, int]
    found: tuple[int, int]
    not_judged: tuple[int, int]


def uploaded(images: Sequence[tuple[str, Image.Image]]) -> list[Example]:
    """Examples of (name, image) pairs of which nobody said what they show."""
    if len(images) > MOST_IMAGES:
        raise SettingError(f"{len(images)} images; at most {MOST_IMAGES} are compared at once.")
    return [Example(name, "", None, image) for name, image in images]


def own_examples(workspace: Workspace, scorer: Scorer) -> list[Example]:
    """What a taught model can be tried on without an upload.

    The test images that came with its job; for parts without any, its held-out good images,
    plain and with damage painted on; where none was held out, images that it learnt from.
    """
    classes = scorer.checkpoint.about.get("new_classes") or scorer.class_names
    examples = []
    for part in classes:
        data = workspace.models / FOLDER / scorer.name / "data" / part
        examples += _tests(part, data) or _painted(part, data, scorer)
    return examples


def _tests(part: str, data: Path) -> list[Example]:
    found = []
    for role, is_defective in (("test good", False), ("test defective", True)):
        paths = sorted((data / ROLES[role]).glob("*.png"))
        chosen = paths[:: -(-len(paths) // MOST_PER_KIND) or 1]
        found += [Example(path.stem, part, is_defective, read_image(path)) for path in chosen]
    return found


def _painted(part: str, data: Path, scorer: Scorer) -> list[Example]:
    is_held_out = scorer.checkpoint.about.get("held_out_pictures", {}).get(part, True)
    good = scorer.checkpoint.calibration[part][:MOST_PER_KIND]
    if not good:
        learnt = sorted((data / ROLES["learn"]).glob("*.png"))[:MOST_PER_KIND]
        good = [model_input(path, scorer) for path in learnt]
    origin = "held-out" if is_held_out else "learnt from"
    kinds = [list(DAMAGE)[n % len(DAMAGE)] for n in range(len(good))]
    plain = [Example(f"{origin} {n}", part, False, image) for n, image in enumerate(good, 1)]
    return plain + [
        Example(f"{origin} {n}, painted {kind}", part, True, paint_damage(image, kind, n)[0])
        for n, (image, kind) in enumerate(zip(good, kinds, strict=True), 1)
    ]


def compare(
    first: Scorer, second: Scorer, examples: Sequence[Example], false_alarm_rate: float = 0.05
) -> list[Pair]:
    """Both models on every example, with their own prompts, lambda and tau.

    Raises:
        SettingError: nothing to compare on.
    """
    if not examples:
        raise SettingError("There are no images to compare on. Upload some.")
    found = []
    for model in (first, second):
        images = [example.image for example in examples]
        found.append(model.score_batch(images, false_alarm_rate=false_alarm_rate))
    return [Pair(*three) for three in zip(examples, *found, strict=True)]


def rows_of(pairs: Sequence[Pair]) -> list[Row]:
    """One row a part, of the images of which it is known what they show."""
    rows = []
    for part in dict.fromkeys(p.example.part for p in pairs):
        own = [p for p in pairs if p.example.part == part and p.example.is_defective is not None]
        if not own:
            continue
        labels = np.array([p.example.is_defective for p in own])
        sides = [[p.first for p in own], [p.second for p in own]]
        alarms = [np.array([d.verdict == "anomalous" for d in side]) for side in sides]
        rows.append(Row(
            part, int((~labels).sum()), int(labels.sum()),
            _pair(image_auroc(labels, [d.score for d in side]) for side in sides),
            _pair(int(a[~labels].sum()) for a in alarms),
            _pair(int(a[labels].sum()) for a in alarms),
            _pair(sum(not d.is_judged for d in side) for side in sides),
        ))
    return rows


def _pair(values: Iterable[T]) -> tuple[T, T]:
    first, second = values
    return first, second


def reduced(image: Image.Image) -> Image.Image:
    """An image at most as large as jobs keep them."""
    small = image.copy()
    small.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    return small
