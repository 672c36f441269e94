"""A part that nobody trained, judged at once beside one to eight good images of it.

The reference branch compares with those images; the semantic branch speaks of the part by a name in
words; there is no reconstruction branch. Thresholds and units come from the images themselves, each
held against the others; those of a single image from its own other places.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ltad.config import Config
from ltad.inference import scoring
from ltad.inference.calibration import Calibration, Readings, ScoreSettings
from ltad.inference.checkpoint import Checkpoint
from ltad.inference.feature_store import ROTATIONS, turned
from ltad.inference.recognition import descriptor
from ltad.inference.scorer import ImageReader, Scorer
from ltad.io.cache import Memory
from ltad.io.images import ImageSource, Prepared
from ltad.models.detector import UNIT_BRANCHES, Detector
from ltad.models.reference import ReferenceBranch, allowed_turns
from ltad.types import Detection, SettingError

MOST_IMAGES = 8
LONGEST_NAME = 60
LAM, REFERENCE_WEIGHT, BORDER_WEIGHT = 0.25, 1.0, 0.8
"""Chosen on photographs, as in the preset "demo", which adds a third branch."""
COMPARED = 4
"""Images that decide on the allowed turns."""
ITSELF = ("This is one of the photographs that it is compared with, so it lies nearer than a new "
          "one.")
REMEMBERED = 8
FARTHER_THAN = 3
"""Rows or columns of the grid between a place of a single image and those it is held against."""
NEW_IMAGES = (1.38, 1.43, 1.48, 1.52, 1.55, 1.57, 1.60, 1.62, 1.66, 1.72, 1.77, 1.81, 1.87, 1.93,
              2.01, 2.09, 2.23, 2.43, 2.82)
"""How many times as far as the worst place of a single image lies from its own other places, the
worst place of a new good image lies from that image: the twentieths of their distribution on
photographs of five kinds of parts (``python -m ltad.bench.references --data DIR --single
--seeds 8``; of three draws of the photographs, the middle one: the last twentieth was 2.59, 2.82
and 2.84)."""


class ReferenceScorer(Scorer):
    """A scorer of one part whose only knowledge of it are a few good images and a name.

    Args:
        base: whose encoder, prompts and feature cache it shares.
        images: one to eight different good images of the part.
        name: what the part is, in words, for example "door hinge".

    Raises:
        ImageError: an image cannot be used.
        PromptError: the name has no word that the text encoder knows.
        SettingError: no image, too many, twice the same one, no name, a name too long, or a model
            whose classifier reads no words.
    """

    def __init__(self, base: Scorer, images: Sequence[ImageSource | Prepared], name: str) -> None:
        name = checked_name(name)
        prepared = checked_images([base.prepare(image) for image in images])
        detector = _detector(base, name)
        reader = base._reader.with_detector(detector)
        with torch.inference_mode():
            views, self.turns = _views(reader, prepared)
            apart = _each_from_the_others(detector, views)
            assert detector.reference is not None  # by `_config`
            detector.reference.fit(lambda: [(fine, 0) for fine in views])
            projected = detector.semantic(views[0])
            _set_units(detector, base, projected, apart)
            zero, one = detector.unit("reference", 0)
            self.is_single = len(prepared) == 1
            self._good = Readings(
                None, projected.half().repeat(len(apart) // len(prepared), 1, 1, 1),
                (apart - zero) / (one - zero), detector.semantic_unit(0),
            )
            patches = torch.cat([reader.patches(p) for p in prepared])
        recogniser = base.checkpoint.recogniser.for_part(name, descriptor(patches))
        checkpoint = Checkpoint(
            detector, recogniser, {}, base.checkpoint.encoder_name, base.encoder.fingerprint,
            {"split": "none", "split_counts": {name: len(prepared)},
             "training_pictures": {name: 0}, "views": {name: self.turns}},
        )
        super().__init__(base.encoder, checkpoint, None, base.name)
        self._reader, self._maps, self._unknown = reader, base._maps, base._unknown
        self._compared_with = frozenset(p.key for p in prepared)

    def _detect(
        self, prepared: Prepared, class_name: str | None, settings: ScoreSettings, rate: float
    ) -> Detection:
        found = super()._detect(prepared, class_name, settings, rate)
        if prepared.key not in self._compared_with:
            return found
        return replace(found, explanation=f"{ITSELF} {found.explanation}")

    @cached_property
    def calibration(self) -> Calibration:
        """Limits from the images themselves, each measured by the others; of a single one from
        how new good images of other parts lay from one of theirs."""
        return Calibration({self.class_names[0]: len(self._good)}, lambda _: self._good,
                           self.texts, is_borrowed=self.is_single)


def checked_name(name: str) -> str:
    """The name of a part as it is used. Raises SettingError."""
    words = " ".join(name.replace("_", " ").split())
    if not words:
        raise SettingError(
            "The part has no name. Say in one or a few words what it is, for example 'door hinge'."
        )
    if len(words) > LONGEST_NAME:
        raise SettingError(
            f"The part's name has {len(words)} letters, but it may have at most {LONGEST_NAME}."
        )
    return words


def checked_images(prepared: list[Prepared]) -> list[Prepared]:
    """One to eight images, all different. Raises SettingError."""
    if not 1 <= len(prepared) <= MOST_IMAGES:
        raise SettingError(
            f"There are {len(prepared)} reference images, but one to {MOST_IMAGES} are needed. "
            "With more, teach the model the part instead."
        )
    different = {p.key for p in prepared}
    if len(different) < len(prepared):
        raise SettingError(
            f"Of the {len(prepared)} reference images only {len(different)} are different. Give "
            "each once: a copy shows nothing of how much good parts differ."
        )
    return prepared


class ReferenceRegistry:
    """Reference scorers by what they are made of; the last few used stay in memory."""

    def __init__(self, keep: int = REMEMBERED) -> None:
        self._made: Memory[ReferenceScorer] = Memory(keep)

    def scorer(self, base: Scorer, images: Sequence[Prepared], name: str) -> ReferenceScorer:
        """The scorer for these images, which `base` prepared. Errors as of `ReferenceScorer`."""
        parts = [base.detector_key, name, *(image.key for image in images)]
        key = hashlib.sha256("\n".join(parts).encode()).hexdigest()
        return self._made.get_or_make(key, lambda: ReferenceScorer(base, images, name))


def _config(base: Config) -> Config:
    grid = base.features.semantic_grid
    return base.replace(
        name_init="class_name", learn_names=False, text_classifier="encoder", good_units=True,
        lam=LAM, reference_weight=REFERENCE_WEIGHT, border_weight=BORDER_WEIGHT, views="auto",
        reference_size=MOST_IMAGES * (1 + len(ROTATIONS)) * grid * grid,  # every patch
    )


def _detector(base: Scorer, name: str) -> Detector:
    """A detector of one class without reconstruction. Phi is what the encoder carries for it, or
    the base model's where it carries none."""
    known = base.detector.semantic
    config = _config(base.config)
    detector = Detector((name,), base.encoder, config)
    carried = base.encoder.semantic_start
    if carried and config.model.layer_pooling != "none":
        detector.semantic.load_state_dict(carried, strict=False)
    elif known.class_texts is None:
        detector = detector.with_parts(semantic=known)
    else:
        raise SettingError(
            "This model's classifier is learned and reads no words, so it cannot speak of a part "
            "that it was not trained on. Choose another model."
        )
    detector = detector.with_parts(reconstruction=None, synthesizer=None)
    return detector.eval().requires_grad_(False).to(base.encoder.device)


def _views(reader: ImageReader, prepared: list[Prepared]) -> tuple[list[Tensor], list[str]]:
    """Features (n, C, G', G') of the images as they are and in each allowed turn; those turns."""
    in_turns = {turn: [_turned(p, turn) for p in prepared] for turn in ROTATIONS}
    reader.encode([p for own in ([prepared, *in_turns.values()]) for p in own])
    images = reader.fine(prepared)
    features = {turn: reader.fine(own) for turn, own in in_turns.items()}
    turns: list[str] = list(ROTATIONS) if len(prepared) == 1 else allowed_turns(
        images[:COMPARED], {turn: own[:COMPARED] for turn, own in features.items()}
    )
    return [images, *(features[turn] for turn in turns)], turns


def _turned(prepared: Prepared, turn: str) -> Prepared:
    pixels = np.asarray(turned(Image.fromarray(prepared.pixels), turn))
    return Prepared(f"{prepared.key}-{turn}", pixels)


def _each_from_the_others(detector: Detector, views: list[Tensor]) -> Tensor:
    """S_ref (n, G', G') of each image under a branch that holds the others in all their views; of a
    single image, what new good images of other parts would make expect, (len(NEW_IMAGES), ...)."""
    if len(views[0]) == 1:
        factors = torch.tensor(NEW_IMAGES, device=views[0].device)
        return factors[:, None, None] * from_its_own_places(detector, views)
    rows = [[view[i : i + 1] for view in views] for i in range(len(views[0]))]
    branch = _branch(detector, views[0])
    found = []
    for place, own in enumerate(rows):
        others = [fine for at, row in enumerate(rows) if at != place for fine in row]
        branch.fit(lambda others=others: [(fine, 0) for fine in others])
        found.append(branch.scores(own[0], 0))
    return detector.weigh_border(torch.cat(found))


def from_its_own_places(detector: Detector, views: list[Tensor]) -> Tensor:
    """S_ref (1, G', G') of a single image's places beside its own places farther away.

    Held against its turned views it would look like a copy of itself, and every new image strange.
    """
    branch = _branch(detector, views[0])
    branch.fit(lambda: [(fine, 0) for fine in views])
    return detector.weigh_border(
        branch.within(views[0], min(FARTHER_THAN, views[0].shape[-1] // 2 - 1)))


def _branch(detector: Detector, fine: Tensor) -> ReferenceBranch:
    return ReferenceBranch(1, fine.shape[1], detector.config.model.reference_size).to(fine.device)


def _set_units(detector: Detector, base: Scorer, projected: Tensor, apart: Tensor) -> None:
    """Units of the semantic and the reference branch from the good images."""
    model, size = detector.config.model, detector.config.features.image_size
    normal, abnormal = (detector.texts(base.encoder, words, [0]).expand(len(projected), -1)
                        for words in (model.normal_prompt, model.abnormal_prompt))
    semantic = scoring.semantic_score(projected, normal, abnormal, model.tau)
    for branch, raw, least in (("semantic", semantic, scoring.LEAST_SEMANTIC_UNIT),
                               ("reference", apart, 1e-6)):
        unit = scoring.good_unit(raw, size, model.score_pool, least)
        detector.units[0, UNIT_BRANCHES.index(branch)] = torch.tensor(unit)
