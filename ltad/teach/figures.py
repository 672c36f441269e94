"""What a freshly taught model is worth, on pictures that it did not learn from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ltad.images import ImageSource, read_image
from ltad.metrics import image_auroc
from ltad.service import Prepared, Scorer
from ltad.teach.damage import KINDS, paint_damage
from ltad.types import CheckpointError, Sample

FIGURES_FILE = "figures.json"
MOST_STAND_INS = 8


@dataclass(frozen=True)
class Trial:
    """Good pictures against defective ones under the model's threshold.

    Attributes:
        good, defective: pictures.
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
        training, held_out: pictures learnt from, and kept back for the threshold.
        is_pooled: the threshold comes from all classes together.
        recognised: share of the good pictures tried whose class the model ranked first.
        is_cross_fitted: each picture was held out in turn; the painted ones are a fifth of them,
            judged without that fifth.
        are_held_out: False where none was held out and pictures learnt from stand in.
        painted: held-out good pictures against themselves with damage painted on.
        test: the person's own test pictures, or None when there are none.
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


def measure_class(
    scorer: Scorer, class_name: str, is_new: bool, samples: Sequence[Sample], rate: float
) -> ClassFigures:
    """All figures of one class.

    Args:
        scorer: the new model.
        class_name: one of its classes.
        is_new: for the record.
        samples: every picture of that class, training and test.
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
        is_cross_fitted,
    )


def model_input(source: ImageSource, scorer: Any) -> Image.Image:
    """A picture at the model's input size, (S, S) RGB."""
    size = scorer.config.features.image_size
    return read_image(source).resize((size, size), Image.Resampling.BILINEAR)


def painted(good: Sequence[Image.Image]) -> list[Image.Image]:
    """Every kind of damage on every picture; the same pictures get the same damage."""
    return [paint_damage(image, kind, seed)[0]
            for seed, image in enumerate(good) for kind in KINDS]


def _trial(
    scorer: Scorer, class_name: str, threshold: float,
    good: Sequence[ImageSource], defective: Sequence[ImageSource],
) -> Trial:
    scores = [image_scores(scorer, images, class_name) for images in (good, defective)]
    alarms = [int((s > threshold).sum()) for s in scores]
    labels = np.repeat([0, 1], [len(good), len(defective)])
    auroc = image_auroc(labels, np.concatenate(scores)) if len(labels) else None
    return Trial(len(good), len(defective), *alarms, auroc)


def image_scores(
    scorer: Scorer, images: Sequence[ImageSource | Prepared], class_name: str
) -> np.ndarray:
    """(n,) combined image scores of pictures whose class is known."""
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
