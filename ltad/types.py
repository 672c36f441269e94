"""Errors and small records that every layer shares.

The error tree: ``LTADError`` is the base; ``ImageError`` (an image that cannot be used),
``DatasetError`` (a folder that cannot be trained or evaluated on), ``CheckpointError`` (a model
folder that cannot be loaded), ``EncoderMismatchError`` (a model that belongs to another encoder),
``SettingError`` (a value out of its range), ``UnknownClassError`` (a class the model does not know)
and ``PromptError`` (words the text encoder cannot read). Each message names the value and the cure.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

REFERENCE = "reference"


@dataclass(frozen=True)
class Branch:
    """A branch of the score, or the sum of all, under each of its names.

    Attributes:
        name: in settings, tables and files.
        title: on the page.
        map, score: its attributes of a `Detection`.
        sign: the index of S in a formula; "" for the sum.
        is_optional: only some models have it; its column stands in their tables alone.
    """

    name: str
    title: str
    map: str
    score: str
    sign: str = ""
    is_optional: bool = False


BRANCH_TABLE = (
    Branch("combined", "Combined", "anomaly_map", "score"),
    Branch("reconstruction", "Reconstruction", "reconstruction_map", "reconstruction_score", "rec"),
    Branch("semantic", "Semantic", "semantic_map", "semantic_score", "sem"),
    Branch(REFERENCE, "Reference", "reference_map", "reference_score", "ref", is_optional=True),
)
"""The one list of branches; tables, titles, columns and signs come from here, in this order."""
ALL_BRANCHES = tuple(branch.name for branch in BRANCH_TABLE)
BRANCHES = tuple(branch.name for branch in BRANCH_TABLE if not branch.is_optional)
"""Those that every model has."""
METRICS = ("image", "pixel")
TASKS = {"image": "Det.", "pixel": "Seg."}
"""Metric -> the paper's word for it."""
GROUPS = ("All", "High", "Low")



class LTADError(Exception):
    """Base of all errors that are meant for the person who reads them."""


class ImageError(LTADError):
    """An image cannot be read, or is not acceptable."""


class DatasetError(LTADError):
    """A data folder is missing, empty, misnamed, or holds something unreadable."""


class CheckpointError(LTADError):
    """A model folder is incomplete, damaged, or cannot be written."""


class EncoderMismatchError(CheckpointError):
    """A detector was trained on the features of a different encoder."""


class SettingError(LTADError, ValueError):
    """A setting lies outside its range."""


class UnknownClassError(LTADError, KeyError):
    """A class name that the model does not hold."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class PromptError(LTADError):
    """A prompt that the text encoder cannot read."""


def disk_trouble(error: Exception) -> str:
    """What is wrong with the server's disk, in a sentence, or "" for other errors."""
    number = getattr(error, "errno", None)
    is_full = number in (errno.ENOSPC, errno.EDQUOT)
    if is_full or "os error 28" in str(error):  # as safetensors words it
        return "The server's disk is full."
    if number in (errno.EROFS, errno.EACCES, errno.EPERM):
        return "The server's work folder cannot be written to."
    return ""


@dataclass(frozen=True)
class Sample:
    """One image of a data set.

    Attributes:
        path: the image's file.
        class_name: its part class, e.g. ``"hex_nut"``.
        split: ``"train"`` or ``"test"``.
        defect: the defect's folder name, or None for a good part.
        mask_path: the file of the defect's pixels, or None (a good part, or no mask published).
    """

    path: Path
    class_name: str
    split: str
    defect: str | None = None
    mask_path: Path | None = None

    @property
    def is_defective(self) -> bool:
        return self.defect is not None


@dataclass(frozen=True)
class Region:
    """A connected area of an anomaly map above the pixel threshold.

    ``left``, ``top``, ``right``, ``bottom`` are pixel edges in the map's coordinates (right and
    bottom exclusive), ``area`` is in pixels, ``score`` is the largest map value inside.
    """

    left: int
    top: int
    right: int
    bottom: int
    area: int
    score: float


@dataclass(frozen=True)
class Detection:
    """What the model says of one image. Maps are float32, (H, W) of the model's input.

    Attributes:
        score: image score, S of equation (5) pooled (see ``ltad.inference.scoring.image_score``).
        reconstruction_score, semantic_score: the same pooling of S_rec and of S_sem alone.
        threshold: the score above which the image is called anomalous.
        is_anomalous: ``score > threshold``; means nothing where `is_judged` is False.
        class_name: the class used for the prompts and thresholds.
        class_probabilities: recognised class -> probability, descending; sums to 1.
        is_recognised: False when the image looks like none of the classes.
        was_class_given: True when the caller named the class.
        anomaly_map, reconstruction_map, semantic_map: S, S_rec and S_sem in [0, 1]. S_rec, with its
            score, is None where nothing was trained.
        map_scale: fixed (low, high) of each map for drawing, keyed "combined",
            "reconstruction", "semantic", and "reference" where there is that branch.
        pixel_threshold: the anomaly-map value above which a pixel belongs to a region; see
            `ltad.inference.scoring.region_limit`.
        regions: suspicious regions, highest score first.
        explanation: one sentence saying which branch raised the alarm.
        normal_prompt, abnormal_prompt, lam, tau, false_alarm_rate: the settings used.
        unknown_words: words of the prompts that the vocabulary does not hold whole.
        reference_map, reference_score, reference_weight: of the reference branch, S_ref; None, None
            and 0 in a model without one.
        is_in_units: each branch counts in units of good images, and the score is their weighted
            mean; else it is the sum of equation (5).
    """

    score: float
    reconstruction_score: float | None
    semantic_score: float
    threshold: float
    is_anomalous: bool
    class_name: str
    class_probabilities: dict[str, float]
    is_recognised: bool
    was_class_given: bool
    anomaly_map: np.ndarray
    reconstruction_map: np.ndarray | None
    semantic_map: np.ndarray
    map_scale: dict[str, tuple[float, float]]
    pixel_threshold: float
    regions: tuple[Region, ...]
    explanation: str
    normal_prompt: str
    abnormal_prompt: str
    lam: float
    tau: float
    false_alarm_rate: float
    unknown_words: tuple[str, ...] = field(default=())
    reference_map: np.ndarray | None = None
    reference_score: float | None = None
    reference_weight: float = 0.0
    is_in_units: bool = False

    @property
    def weights(self) -> dict[str, float]:
        """What each branch counts in the score, by name; shares of 1 where `is_in_units`."""
        weights = {"reconstruction": 1.0, "semantic": self.lam}
        if self.reconstruction_map is None:
            del weights["reconstruction"]
        if self.reference_map is not None:
            weights["reference"] = self.reference_weight
        whole = (sum(weights.values()) or 1.0) if self.is_in_units else 1.0
        return {name: weight / whole for name, weight in weights.items()}

    @property
    def is_judged(self) -> bool:
        """False when the image looks like none of the classes and nobody named one.

        Scores, maps and thresholds are then those of the nearest class.
        """
        return self.is_recognised or self.was_class_given

    @property
    def verdict(self) -> str:
        """``"anomalous"``, ``"normal"`` or ``"not judged"``: the model's words. A person's are
        "defective" and "good"."""
        if not self.is_judged:
            return "not judged"
        return "anomalous" if self.is_anomalous else "normal"


@dataclass(frozen=True)
class NearestToken:
    """A vocabulary token near a learned vector: cosine similarity in [-1, 1], L2 distance."""

    token: str
    cosine: float
    distance: float
