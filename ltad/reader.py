"""What the encoder and the detector read from a picture before any prompt comes in, cached.

The image encoder's features depend on the picture and the encoder alone, so that detectors on one
encoder share them; the readings depend on the detector too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ltad.cache import ByteCache, TensorCache
from ltad.calibration import Readings
from ltad.encoders import Encoder
from ltad.features import patch_features
from ltad.images import ImageSource, Prepared, content_key, read_image
from ltad.models import Detector

FEATURE_MEMORY = 256 * 2**20
READING_MEMORY = 512 * 2**20
BATCH = 16


class PictureReader:
    """Readings of pictures, each computed once; safe for many threads.

    Args:
        encoder: the frozen encoder.
        detector: on the encoder's device.
        disk: where features are kept between processes, or None.
    """

    def __init__(self, encoder: Encoder, detector: Detector, disk: ByteCache | None) -> None:
        self._encoder, self._detector = encoder, detector
        self._settings = detector.config.features
        self._features = TensorCache(FEATURE_MEMORY, disk, encoder.device)
        self._readings = TensorCache(READING_MEMORY, None, encoder.device)

    def with_detector(self, detector: Detector) -> PictureReader:
        """A reader for another detector on the same encoder; the features are shared."""
        other = PictureReader(self._encoder, detector, None)
        other._features = self._features
        return other

    def prepare(self, image: ImageSource | Prepared) -> Prepared:
        """See `ltad.service.Scorer.prepare`."""
        if isinstance(image, Prepared):
            return image
        size = self._settings.image_size
        small = read_image(image).resize((size, size), Image.Resampling.BILINEAR)
        return Prepared(content_key(small), np.asarray(small))

    def encode(self, prepared: Sequence[Prepared]) -> None:
        """Run the image encoder, in batches, on the pictures that no cache holds."""
        distinct = {p.key: p for p in prepared}.values()
        missing = [p for p in distinct if self._features.get(self._feature_key(p)) is None]
        for start in range(0, len(missing), BATCH):
            batch = missing[start : start + BATCH]
            for p, tensors in zip(batch, self._encode(batch), strict=True):
                self._features.put(self._feature_key(p), tensors)

    def patches(self, prepared: Prepared) -> Tensor:
        """Patch features on the RM's grid, (1, C, G, G) float16."""
        return self._features_of(prepared)["patches"][None]

    def fine(self, prepared: Sequence[Prepared]) -> Tensor:
        """Patch features of images on the semantic grid, (n, C, G', G') float32."""
        return torch.stack([self._features_of(p)["fine"] for p in prepared]).float()

    def read(self, prepared: Prepared, class_name: str) -> Readings:
        """The readings of one image as one of the class; S_rec may depend on it, p^ does not."""
        index = self._detector.index(class_name)

        def compute_reconstruction() -> dict[str, Tensor]:
            features = self._features_of(prepared)
            scores = {}
            if self._detector.reconstruction is not None:
                patches = features["patches"][None].float()
                scores["scores"] = self._detector.reconstruction_scores(patches, index)
            reference = self._detector.reference_scores(features["fine"][None].float(), index)
            return scores if reference is None else {**scores, "reference": reference}

        def compute_projected() -> dict[str, Tensor]:
            fine = self._features_of(prepared)["fine"][None].float()
            return {"projected": self._detector.semantic(fine)}

        key = f"{self.detector_key}-{prepared.key}"
        scores = self._readings.get_or_compute(f"{key}-{index}", compute_reconstruction)
        projected = self._readings.get_or_compute(key, compute_projected)
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
        """Short hash of encoder and detector."""
        digest = hashlib.sha256(self._encoder.fingerprint.encode())
        for name, tensor in sorted(self._detector.state_dict().items()):
            digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def _feature_key(self, prepared: Prepared) -> str:
        return f"features-{self._encoder.fingerprint}-{prepared.key}"

    def _features_of(self, prepared: Prepared) -> dict[str, Tensor]:
        return self._features.get_or_compute(
            self._feature_key(prepared), lambda: self._encode([prepared])[0]
        )

    def _encode(self, batch: Sequence[Prepared]) -> list[dict[str, Tensor]]:
        pixels = torch.stack([self._encoder.pixels(Image.fromarray(p.pixels)) for p in batch])
        taps = self._encoder.image_features(pixels).taps
        grids = (self._settings.grid, self._settings.semantic_grid)
        coarse, fine = (patch_features(taps, grid).half() for grid in grids)
        return [{"patches": c, "fine": f} for c, f in zip(coarse, fine, strict=True)]


def _together(each: list[Tensor | None]) -> Tensor | None:
    """The tensors as one; None where the detector has no such branch."""
    return None if each[0] is None else torch.cat(each)
