"""An image in, a `Detection` out: cached, stateless, safe for many users at once."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ltad.config import PROMPT_SEPARATOR
from ltad.inference import scoring
from ltad.inference.batching import Batcher, Workers, batch_size, runs_at_once
from ltad.inference.calibration import (
    BranchMaps,
    Calibration,
    ImageMaps,
    Readings,
    ScoreSettings,
    branch_maps,
    explain,
)
from ltad.inference.checkpoint import Checkpoint
from ltad.inference.recognition import ClassRecogniser, Recognition
from ltad.inference.vocabulary import TokenExplorer, VocabularyMap
from ltad.io.cache import ByteCache, Memory, TensorCache
from ltad.io.images import ImageSource, Prepared, content_key, read_image
from ltad.models.align import Encoder
from ltad.models.detector import Detector
from ltad.models.features import patch_features
from ltad.types import REFERENCE, Detection, NearestToken, PromptError, SettingError

FEATURE_MEMORY = 256 * 2**20
READING_MEMORY = 448 * 2**20
SCORE_MEMORY = 8 * 2**20
"""Of some thousand images, more than have their features in memory; others are on disk."""
SCORES_VERSION = 1
"""Of the scores on disk: one more whenever the same detector comes to score otherwise."""
TEXT_MEMORY = 16 * 2**20
RECOGNISED = 4096
"""Images whose classes are remembered."""
MAPS_REMEMBERED = 16
"""Images and prompts whose maps are kept, some 3 MB each: a new lambda only adds them up."""
WORDS_REMEMBERED = 4096
FALSE_ALARM_RATE = 0.05


class ImageReader:
    """Readings of images, each computed once; safe for many threads.

    Args:
        encoder: the frozen encoder.
        detector: on the encoder's device.
        disk: where features are kept between processes, or None.
    """

    def __init__(self, encoder: Encoder, detector: Detector, disk: ByteCache | None) -> None:
        self._encoder, self._detector = encoder, detector
        self._settings = detector.config.features
        self._features = TensorCache(FEATURE_MEMORY, disk, encoder.device)
        self._projected = TensorCache(READING_MEMORY, None, encoder.device)
        # Small, and most of the work on an image whose features are known.
        self._scores = TensorCache(SCORE_MEMORY, disk, encoder.device)
        self._batch_size = batch_size(encoder.device)
        self._encode_together = Batcher(
            self._encode, self._batch_size, runs_at_once(encoder.device))
        self.workers = Workers(runs_at_once(encoder.device))

    def with_detector(self, detector: Detector) -> ImageReader:
        """A reader for another detector on the same encoder, with the same caches: what a detector
        read is kept under its own key."""
        other = ImageReader(self._encoder, detector, None)
        other._features, other._projected, other._scores = (
            self._features, self._projected, self._scores)
        other._encode_together, other.workers = self._encode_together, self.workers
        return other

    def prepare(self, image: ImageSource | Prepared) -> Prepared:
        """See `ltad.inference.scorer.Scorer.prepare`."""
        if isinstance(image, Prepared):
            return image
        size = self._settings.image_size
        small = read_image(image).resize((size, size), Image.Resampling.BILINEAR)
        return Prepared(content_key(small), np.asarray(small))

    def encode(self, prepared: Sequence[Prepared]) -> None:
        """Run the image encoder, in batches, on the images that no cache holds."""
        distinct = {p.key: p for p in prepared}.values()
        missing = [p for p in distinct if self._features.get(self._feature_key(p)) is None]
        for start in range(0, len(missing), self._batch_size):
            batch = missing[start : start + self._batch_size]
            for p, tensors in zip(batch, self._encode_together(batch), strict=True):
                self._features.put(self._feature_key(p), tensors)

    def knows(self, prepared: Prepared) -> bool:
        """Whether the encoder need not run for this image."""
        return self._features.get(self._feature_key(prepared)) is not None

    def patches(self, prepared: Prepared) -> Tensor:
        """Patch features on the RM's grid, (1, C, G, G) float16."""
        return self._features_of(prepared)["patches"][None]

    def fine(self, prepared: Sequence[Prepared]) -> Tensor:
        """Patch features of images on the semantic grid, (n, C, G', G') float32."""
        return torch.stack([self._features_of(p)["fine"] for p in prepared]).float()

    def recognise(self, prepared: Prepared, recogniser: ClassRecogniser) -> Recognition:
        """The classes ranked for one image."""
        def compute() -> dict[str, Tensor]:
            probabilities, is_known = recogniser.measure(self.patches(prepared))
            return {"probabilities": probabilities[0], "is_known": torch.tensor(is_known)}

        seen = self._scores.get_or_compute(
            f"recognised-{recogniser.key}-{self._feature_key(prepared)}", compute)
        return Recognition.of(
            recogniser.class_names, seen["probabilities"].cpu(), bool(seen["is_known"]))

    def read(self, prepared: Prepared, class_name: str) -> Readings:
        """The readings of one image as one of the class; S_rec may depend on it, p^ does not."""
        index = self._detector.index(class_name)

        def compute_scores() -> dict[str, Tensor]:
            features = self._features_of(prepared)
            scores = {}
            if self._detector.has_reconstruction:
                patches = features["patches"][None].float()
                scores["scores"] = self._detector.reconstruction_scores(patches, index)
            reference = self._detector.reference_scores(features["fine"][None].float(), index)
            return scores if reference is None else {**scores, "reference": reference}

        def compute_projected() -> dict[str, Tensor]:
            fine = self._features_of(prepared)["fine"][None].float()
            return {"projected": self._detector.semantic(fine)}

        key = f"readings-{self.detector_key}-{prepared.key}"
        scores = self._scores.get_or_compute(f"{key}-{index}", compute_scores)
        projected = self._projected.get_or_compute(key, compute_projected)
        return Readings(
            scores.get("scores"), projected["projected"], scores.get("reference"),
            self._detector.semantic_unit(index),
        )

    def read_all(self, prepared: Sequence[Prepared], class_name: str) -> Readings:
        """The readings of several images of one class together; `projected` is float16."""
        self.encode(prepared)
        each = [self.read(p, class_name) for p in prepared]
        return Readings(
            _together([r.reconstruction for r in each]),
            torch.cat([r.projected for r in each]).half(),
            _together([r.reference for r in each]),
            each[0].semantic_unit,
        )

    @cached_property
    def detector_key(self) -> str:
        """Short hash of encoder and detector, of its settings too: what scores they lead to is
        kept on disk."""
        settings = json.dumps(dataclasses.asdict(self._detector.config.model), sort_keys=True)
        digest = hashlib.sha256(f"{SCORES_VERSION}{self._encoder.fingerprint}{settings}".encode())
        for name, tensor in sorted(self._detector.state_dict().items()):
            digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def _feature_key(self, prepared: Prepared) -> str:
        return f"features-{self._encoder.fingerprint}-{prepared.key}"

    def _features_of(self, prepared: Prepared) -> dict[str, Tensor]:
        return self._features.get_or_compute(
            self._feature_key(prepared), lambda: self._encode_together([prepared])[0]
        )

    @torch.inference_mode()
    def _encode(self, batch: Sequence[Prepared]) -> list[dict[str, Tensor]]:
        pixels = torch.stack([self._encoder.pixels(Image.fromarray(p.pixels)) for p in batch])
        taps = self._encoder.image_features(pixels).taps
        grids = (self._settings.grid, self._settings.semantic_grid)
        coarse, fine = (patch_features(taps, grid).half() for grid in grids)
        return [{"patches": c, "fine": f} for c, f in zip(coarse, fine, strict=True)]


def _together(each: list[Tensor | None]) -> Tensor | None:
    """The tensors as one; None where the detector has no such branch."""
    present = [tensor for tensor in each if tensor is not None]
    return torch.cat(present) if present else None


class Scorer:
    """Scores images with one model. Keeps no current image: every call says which.

    Args:
        encoder: the frozen encoder.
        checkpoint: the model trained on it.
        disk: where features are kept between processes, or None.
        name: shown to users.
    """

    def __init__(
        self, encoder: Encoder, checkpoint: Checkpoint, disk: ByteCache | None, name: str = "model"
    ) -> None:
        self.encoder = encoder
        self.checkpoint = checkpoint
        self.detector = checkpoint.detector
        self.config = self.detector.config
        self.class_names = self.detector.class_names
        self.name = name
        self.tokens = TokenExplorer(encoder, self.detector)
        self._reader = ImageReader(encoder, self.detector, disk)
        self._texts = TensorCache(TEXT_MEMORY, None, encoder.device)
        self._recognised: Memory[Recognition] = Memory(RECOGNISED)
        self._maps: Memory[ImageMaps] = Memory(MAPS_REMEMBERED)
        self._unknown: Memory[list[str]] = Memory(WORDS_REMEMBERED)

    def with_detector(self, detector: Detector) -> Scorer:
        """A scorer with another detector on the same encoder; the images' features are shared.

        Args:
            detector: with the same classes in the same order, on the encoder's device.
        """
        return self.with_checkpoint(self.checkpoint.with_detector(detector), self.name)

    def with_checkpoint(self, checkpoint: Checkpoint, name: str) -> Scorer:
        """A scorer of that name for another model on the same encoder. It shares this one's caches
        and their limits, so that many models together hold no more images than one.

        Args:
            checkpoint: on this scorer's encoder.
        """
        other = Scorer(self.encoder, checkpoint, None, name)
        other._reader = self._reader.with_detector(checkpoint.detector)
        other._maps, other._unknown = self._maps, self._unknown
        return other

    @property
    def detector_key(self) -> str:
        """Short hash of encoder and detector."""
        return self._reader.detector_key

    @cached_property
    def card(self) -> dict[str, Any]:
        """Facts for the page: encoder, classes and their training images, settings."""
        folder = Path(self.encoder.source)
        recipe = folder / "pretraining.json"
        return {
            "name": self.name,
            "encoder": Path(self.checkpoint.encoder_name).name
            if recipe.is_file() else self.checkpoint.encoder_name,
            "is_embedded_encoder": recipe.is_file(),
            "encoder_recipe": json.loads(recipe.read_text()) if recipe.is_file() else None,
            "fingerprint": self.encoder.fingerprint,
            "image_size": self.config.features.image_size,
            "classes": len(self.class_names),
            **self.checkpoint.about,
        }

    def prepare(self, image: ImageSource | Prepared) -> Prepared:
        """Decode an image and bring it to the model's input size.

        Args:
            image: PIL image, path, bytes, or array (H, W[, 3 or 4]).

        Raises:
            ImageError: it is no usable image.
        """
        return self._reader.prepare(image)

    def score(
        self,
        image: ImageSource | Prepared,
        class_name: str | None = None,
        normal_prompt: str | None = None,
        abnormal_prompt: str | None = None,
        lam: float | None = None,
        tau: float | None = None,
        false_alarm_rate: float = FALSE_ALARM_RATE,
        reference_weight: float | None = None,
    ) -> Detection:
        """Score one image. What is left out takes the model's own value.

        Args:
            image: see `prepare`.
            class_name: one of `class_names`; None lets the model recognise it.
            normal_prompt, abnormal_prompt: v^n and v^a.
            lam, tau: of equations (5) and (3).
            false_alarm_rate: share of good images that may raise an alarm, in (0, 1).
            reference_weight: of the reference branch; 0 leaves LTAD's own two branches.

        Raises:
            ImageError, UnknownClassError, PromptError, SettingError: what was wrong with each.
        """
        return self.score_batch(
            [image], class_name, normal_prompt, abnormal_prompt, lam, tau, false_alarm_rate,
            reference_weight,
        )[0]

    @torch.inference_mode()
    def score_batch(
        self,
        images: Sequence[ImageSource | Prepared],
        class_name: str | None = None,
        normal_prompt: str | None = None,
        abnormal_prompt: str | None = None,
        lam: float | None = None,
        tau: float | None = None,
        false_alarm_rate: float = FALSE_ALARM_RATE,
        reference_weight: float | None = None,
    ) -> list[Detection]:
        """Score several images, in order; arguments and errors as in `score`."""
        settings = self.score_settings(normal_prompt, abnormal_prompt, lam, tau, reference_weight)
        if not 0 < false_alarm_rate < 1:
            raise SettingError(
                f"The false-alarm rate is {false_alarm_rate}, but it must be between 0 and 1."
            )
        if class_name is not None:
            self.detector.index(class_name)
        workers = self._reader.workers
        prepared = workers.run((partial(self.prepare, image), True) for image in images)
        detect = partial(
            self._detect_all, class_name=class_name, settings=settings, rate=false_alarm_rate)
        if len(prepared) > 1 and self.encoder.device.type != "cpu":
            return detect(prepared)
        found = workers.run((partial(detect, [p]), self._reader.knows(p)) for p in prepared)
        return [detection for each in found for detection in each]

    @torch.inference_mode()
    def _detect_all(
        self, prepared: Sequence[Prepared], class_name: str | None, settings: ScoreSettings,
        rate: float,
    ) -> list[Detection]:
        self._reader.encode(prepared)
        return [self._detect(p, class_name, settings, rate) for p in prepared]

    @torch.inference_mode()
    def measure(
        self, images: Sequence[ImageSource | Prepared], class_name: str, settings: ScoreSettings
    ) -> BranchMaps:
        """Maps (n, S, S) and image scores (n,) of every branch, without verdicts or thresholds."""
        readings = self._reader.read_all(
            [self.prepare(image) for image in images], class_name
        )
        normal = self.texts([class_name], settings.normal_prompt)
        abnormal = self.texts([class_name], settings.abnormal_prompt)
        return branch_maps(readings, normal, abnormal, settings)

    def semantic_map(
        self, image: ImageSource | Prepared, class_name: str, normal_prompt: str,
        abnormal_prompt: str, tau: float,
    ) -> np.ndarray:
        """S_sem of one image alone, (S, S) float32 in [0, 1], without a verdict: no good image of
        the class has to be scored for it. Arguments and errors as in `score`."""
        settings = self.score_settings(normal_prompt, abnormal_prompt, tau=tau)
        read = partial(self._maps_of, self.prepare(image), class_name, settings)
        [found] = self._reader.workers.run([(read, True)])
        return found.maps["semantic"][0].float().cpu().numpy().copy()

    @torch.inference_mode()
    def recognise(self, image: ImageSource | Prepared) -> Recognition:
        """The classes ranked for one image."""
        prepared = self.prepare(image)
        found = self._recognised.get(prepared.key)
        if found is None:
            found = self._recognised.put(
                prepared.key, self._reader.recognise(prepared, self.checkpoint.recogniser))
        return found

    @torch.inference_mode()
    def explained(self, images: Sequence[ImageSource | Prepared]) -> float | None:
        """Share of the images' patch features that the reconstruction module rebuilds; see
        `ReconstructionModule.explained`. None without that branch."""
        if not self.detector.has_reconstruction:
            return None
        patches = [self._reader.patches(self.prepare(image)) for image in images]
        return self.detector.reconstruction.explained(torch.cat(patches).float())

    def score_settings(
        self, normal_prompt: str | None = None, abnormal_prompt: str | None = None,
        lam: float | None = None, tau: float | None = None,
        reference_weight: float | None = None,
    ) -> ScoreSettings:
        """The model's settings with the given ones in their place, validated."""
        model = self.config.model
        prompts = {"normal_prompt": normal_prompt, "abnormal_prompt": abnormal_prompt}
        given = {**prompts, "lam": lam, "tau": tau, "reference_weight": reference_weight}
        for label, prompt in prompts.items():
            if prompt is not None and not prompt.strip():
                raise PromptError(
                    f"The {label.replace('_', ' ')} is empty. Give at least one word, for example "
                    f"{getattr(model, label)!r}."
                )
        model = replace(model, **{k: v for k, v in given.items() if v is not None})
        return ScoreSettings(
            " ".join(model.normal_prompt.split()), " ".join(model.abnormal_prompt.split()),
            float(model.lam), float(model.tau), model.score_pool, self.config.features.image_size,
            float(model.reference_weight),
        )

    def unknown_words(self, words: str) -> list[str]:
        """Words that the vocabulary does not hold whole."""
        known = self._unknown.get(words)
        if known is None:
            known = self._unknown.put(
                words, self.encoder.unknown_words(words.replace(PROMPT_SEPARATOR, " ")))
        return list(known)

    def nearest_tokens(self, class_name: str, k: int = 10) -> list[list[NearestToken]]:
        """For each of the class's m learned vectors, the k nearest vocabulary words."""
        return self.tokens.nearest_of_class(class_name, k)

    def nearest_tokens_of_words(self, words: str, k: int = 10) -> dict[str, list[NearestToken]]:
        """For each token of the words, its k nearest vocabulary words."""
        return self.tokens.nearest_of_words(words, k)

    def name_drift(self, class_name: str) -> list[tuple[float, float]]:
        """(cosine, distance) of each learned vector to its start, the embedding of "object"."""
        return self.tokens.drift(class_name)

    def own_name_ranks(self) -> dict[str, int]:
        """Class name -> how near its own vectors are to its words, of all; 1 is nearest."""
        return self.tokens.own_name_ranks()

    def random_baseline(self, k: int = 10) -> list[float]:
        """Mean cosine of the 1st to k-th nearest word of random vectors."""
        return self.tokens.random_baseline(k)

    def vocabulary_map(self) -> VocabularyMap:
        """Vocabulary and learned names in two dimensions."""
        return self.tokens.vocabulary_map

    def text_similarity(self) -> np.ndarray:
        """(classes, classes) cosine similarity of T(s_c)."""
        return self.tokens.text_similarity()

    def texts(self, class_names: Sequence[str], words: str) -> Tensor:
        """T([words; s_c]) of each class, (n, d); each is computed once."""
        keys = {name: f"{name}\n{words}" for name in class_names}
        known = {n: found["text"] for n, key in keys.items() if (found := self._texts.get(key))}
        missing = [name for name in keys if name not in known]
        if missing:
            made = self.detector.texts(
                self.encoder, words, [self.detector.index(name) for name in missing]
            )
            for name, text in zip(missing, made, strict=True):
                known[name] = self._texts.put(keys[name], {"text": text})["text"]
        return torch.stack([known[name] for name in class_names])

    @cached_property
    def calibrator(self) -> Scorer:
        """Who scores the calibration images: this model, or where it has learned from them, its
        second training, which has not."""
        if self.checkpoint.second is None:
            return self
        checkpoint = replace(self.checkpoint, detector=self.checkpoint.second, second=None)
        return self.with_checkpoint(checkpoint, self.name)

    @cached_property
    def calibration(self) -> Calibration:
        """Limits from the held-out normal images that the model folder carries."""
        if self.calibrator is not self:
            return self.calibrator.calibration
        images = self.checkpoint.calibration
        return Calibration(
            {name: len(own) for name, own in images.items()},
            self._calibration_readings,
            lambda names, words: self.texts(names, words),
        )

    def _calibration_readings(self, name: str) -> Readings:
        """Of a class's calibration images, by branches that do not hold them."""
        images = self.checkpoint.calibration[name]
        readings = self._reader.read_all([self.prepare(image) for image in images], name)
        index = self.detector.index(name)
        return replace(readings, **{
            branch: self.detector.in_units(branch, raw.to(self.encoder.device), index)
            for branch, raw in self.checkpoint.cross_fitted.get(name, {}).items()
        })

    @torch.inference_mode()
    def calibration_scores(self, class_name: str, settings: ScoreSettings) -> dict[str, Tensor]:
        """Image scores (n,) by branch of a class's calibration images."""
        if self.calibrator is not self:
            return self.calibrator.calibration_scores(class_name, settings)
        normal, abnormal = (self.texts([class_name], words) for words in (
            settings.normal_prompt, settings.abnormal_prompt))
        readings = self._calibration_readings(class_name)
        return branch_maps(readings, normal, abnormal, settings).scores

    def warm_up(self) -> None:
        """Do once, before the first visitor, what the first answer of each class would wait for."""
        for name in self.class_names:
            self.calibration.limits(name, self.score_settings(), FALSE_ALARM_RATE)

    @torch.inference_mode()
    def _maps_of(self, prepared: Prepared, name: str, settings: ScoreSettings) -> ImageMaps:
        """An image's maps under the settings' prompts; a new lambda finds them there."""
        key = (self.detector_key, prepared.key, name,
               replace(settings, lam=0.0, reference_weight=0.0))
        found = self._maps.get(key)
        if found is None:
            normal, abnormal = (self.texts([name], words) for words in (
                settings.normal_prompt, settings.abnormal_prompt))
            found = self._maps.put(key, ImageMaps.of(
                self._reader.read(prepared, name), normal, abnormal, settings))
        return found

    def _detect(
        self, prepared: Prepared, class_name: str | None, settings: ScoreSettings, rate: float
    ) -> Detection:
        seen = self.recognise(prepared)
        name = class_name or seen.best
        measured = self._maps_of(prepared, name, settings).weighted(settings)
        limits = self.calibration.limits(name, settings, rate)
        scores = {b: float(v[0]) for b, v in measured.scores.items()}
        score, threshold = scores["combined"], limits.thresholds["combined"]
        pixel_threshold = scoring.region_limit(score, threshold, limits.pixel_threshold)
        # Copies: what a caller does with a map must not change the one that is remembered.
        maps = {b: v[0].float().cpu().numpy().copy() for b, v in measured.maps.items()}
        unknown = [w for p in (settings.normal_prompt, settings.abnormal_prompt)
                   for w in self.unknown_words(p)]
        return Detection(
            score, scores.get("reconstruction"), scores["semantic"], threshold,
            is_anomalous=score > threshold,
            class_name=name, class_probabilities=seen.probabilities, is_recognised=seen.is_known,
            was_class_given=class_name is not None,
            anomaly_map=maps["combined"], reconstruction_map=maps.get("reconstruction"),
            semantic_map=maps["semantic"], map_scale=limits.scale,
            pixel_threshold=pixel_threshold,
            regions=tuple(scoring.regions(maps["combined"], pixel_threshold)),
            explanation=explain(scores, limits),
            normal_prompt=settings.normal_prompt, abnormal_prompt=settings.abnormal_prompt,
            lam=settings.lam, tau=settings.tau, false_alarm_rate=rate,
            unknown_words=tuple(dict.fromkeys(unknown)),
            reference_map=maps.get(REFERENCE), reference_score=scores.get(REFERENCE),
            reference_weight=settings.reference_weight if REFERENCE in maps else 0.0,
            is_in_units=self.config.model.good_units,
        )
