"""A model folder: ``detector.safetensors``, ``model.json``, and the calibration images.

Calibration keeps images rather than scores, because the threshold must follow every change of
the prompts, of lambda and of tau. They are stored at the model's input size, lossless. Where the
detector learned from them too, ``second.safetensors`` holds the RM and the Phi that did not, or
``cross_fitted.safetensors`` what the branches without words say of each image without itself.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor, nn

from ltad.config import Config
from ltad.inference.recognition import ClassRecogniser
from ltad.io.files import atomic_path
from ltad.io.tensors import read_tensors, write_tensors
from ltad.models.align import Encoder
from ltad.models.detector import Detector
from ltad.types import CheckpointError, EncoderMismatchError

WEIGHTS_FILE = "detector.safetensors"
SECOND_FILE = "second.safetensors"
CROSS_FITTED_FILE = "cross_fitted.safetensors"
MODEL_FILE = "model.json"
CALIBRATION_FOLDER = "calibration"
FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """A trained detector with all it needs beside the encoder.

    Attributes:
        detector: in eval mode.
        recogniser: ranks the classes of an uploaded image.
        calibration: class name -> held-out normal images at the model's input size.
        encoder_name: hub name, absolute folder, or a folder relative to the model folder.
        encoder_fingerprint: of the encoder it was trained on.
        about: free facts (class counts, split, seconds, versions).
        second: a detector with an RM and a Phi that have not seen the calibration images, all
            else shared; None where `detector` itself has not seen them.
        cross_fitted: class -> branch -> raw scores on the grid, (n, G, G), of the calibration
            images by a detector that does not hold them; empty where `detector` itself has not
            seen them.
        without_first: right after a cross-fitted training, the detector without the first fold, and
            by class which calibration images that fold is; it is not kept on disk.
    """

    detector: Detector
    recogniser: ClassRecogniser
    calibration: dict[str, list[Image.Image]]
    encoder_name: str
    encoder_fingerprint: str
    about: dict[str, Any] = field(default_factory=dict)
    second: Detector | None = None
    cross_fitted: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    without_first: tuple[Detector, dict[str, list[int]]] | None = None

    def with_detector(self, detector: Detector) -> Checkpoint:
        """The same model with another detector of the same classes.

        The second RM stays, and so does the second Phi unless `detector` brings a Phi of its own.
        """
        second = self.second
        if second is not None:
            has_own_phi = detector.semantic is not self.detector.semantic
            second = detector.with_parts(
                reconstruction=second.reconstruction,
                semantic=detector.semantic if has_own_phi else second.semantic,
                **({"reference": second.reference} if second.reference is not None else {}),
            )
        return replace(self, detector=detector, second=second)


def read_model_file(folder: str | Path) -> dict[str, Any]:
    """The contents of ``model.json``. Raises CheckpointError when it is missing or damaged."""
    path = Path(folder) / MODEL_FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise CheckpointError(
            f"{folder} is not a model folder: {MODEL_FILE} {error}. Give the folder that "
            "`python -m ltad train --out` wrote."
        ) from error
    if data.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} has format {data.get('format')!r}, but this version reads {FORMAT}. "
            "Train the model again, or use the version that wrote it."
        )
    return data


def save_checkpoint(folder: str | Path, checkpoint: Checkpoint) -> None:
    """Write a model folder; ``model.json`` last, so that a torn folder is never taken for a model.

    Raises:
        CheckpointError: the folder cannot be written.
    """
    folder = Path(folder)
    detector = checkpoint.detector
    tensors = {f"detector.{k}": v for k, v in detector.state_dict().items()}
    tensors |= {f"recogniser.{k}": v for k, v in checkpoint.recogniser.tensors().items()}
    write_tensors(folder / WEIGHTS_FILE, tensors)
    (folder / SECOND_FILE).unlink(missing_ok=True)  # of a model that was here before
    if checkpoint.second is not None:
        write_tensors(folder / SECOND_FILE, _learned_in_phase_2(checkpoint.second).state_dict())
    (folder / CROSS_FITTED_FILE).unlink(missing_ok=True)
    if checkpoint.cross_fitted:
        write_tensors(folder / CROSS_FITTED_FILE, {
            f"{detector.index(name)}.{branch}": raw.contiguous()
            for name, own in checkpoint.cross_fitted.items() for branch, raw in own.items()
        })
    for class_name, images in checkpoint.calibration.items():
        target = folder / CALIBRATION_FOLDER / class_name
        target.mkdir(parents=True, exist_ok=True)
        for index, image in enumerate(images):
            image.save(target / f"{index:03d}.webp", lossless=True, quality=90)
    data = {
        "format": FORMAT,
        "class_names": list(detector.class_names),
        "config": detector.config.to_dict(),
        "encoder": checkpoint.encoder_name,
        "encoder_fingerprint": checkpoint.encoder_fingerprint,
        "about": checkpoint.about,
    }
    with atomic_path(folder / MODEL_FILE) as part:
        part.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def load_checkpoint(folder: str | Path, encoder: Encoder) -> Checkpoint:
    """Read a model folder.

    Args:
        folder: written by `save_checkpoint`.
        encoder: the encoder to run it on; its fingerprint must be the one trained on.

    Raises:
        CheckpointError: a file is missing, damaged, or does not fit the configuration.
        EncoderMismatchError: another encoder; the message gives both fingerprints.
    """
    folder = Path(folder)
    data = read_model_file(folder)
    if data["encoder_fingerprint"] != encoder.fingerprint:
        raise EncoderMismatchError(
            f"{folder} was trained on encoder {data['encoder']!r} with fingerprint "
            f"{data['encoder_fingerprint']}, but the encoder given has {encoder.fingerprint}. "
            "Its features would mean something else; load the encoder it was trained on."
        )
    tensors, _ = read_tensors(folder / WEIGHTS_FILE)
    detector = Detector(data["class_names"], encoder, Config.from_dict(data["config"]))
    try:
        detector.load_state_dict(_under("detector.", tensors))
        recogniser = ClassRecogniser.from_tensors(
            detector.class_names, _under("recogniser.", tensors),
            data["about"].get("training_pictures", {}),
        )
    except (RuntimeError, KeyError) as error:
        raise CheckpointError(
            f"{folder / WEIGHTS_FILE} does not fit {MODEL_FILE}: {str(error).splitlines()[0]}"
        ) from error
    detector.eval().requires_grad_(False).to(encoder.device)
    return Checkpoint(
        detector, recogniser, _read_calibration(folder, detector.class_names), data["encoder"],
        data["encoder_fingerprint"], data["about"], _read_second(folder, detector),
        _read_cross_fitted(folder, detector),
    )


def _learned_in_phase_2(detector: Detector) -> nn.ModuleDict:
    parts = {"reconstruction": detector.reconstruction, "semantic": detector.semantic,
             "reference": detector.reference}
    return nn.ModuleDict({name: part for name, part in parts.items() if part is not None})


def _read_second(folder: Path, detector: Detector) -> Detector | None:
    if detector.config.training.calibration != "second_training":
        return None
    path = folder / SECOND_FILE
    if not path.exists():  # no class was large enough to hold an image out
        return None
    parts = copy.deepcopy(_learned_in_phase_2(detector))
    try:
        parts.load_state_dict(read_tensors(path)[0])
    except RuntimeError as error:
        raise CheckpointError(
            f"{path} does not fit {MODEL_FILE}: {str(error).splitlines()[0]}"
        ) from error
    return detector.with_parts(**dict(parts.named_children()))


def _read_cross_fitted(folder: Path, detector: Detector) -> dict[str, dict[str, Tensor]]:
    path, found = folder / CROSS_FITTED_FILE, {}
    if detector.config.training.calibration != "cross_fitted" or not path.exists():
        return found  # no class had a second image
    for key, raw in read_tensors(path)[0].items():
        index, _, branch = key.partition(".")
        found.setdefault(detector.class_names[int(index)], {})[branch] = raw
    return found


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _read_calibration(
    folder: Path, class_names: tuple[str, ...]
) -> dict[str, list[Image.Image]]:
    images = {}
    for name in class_names:
        images[name] = []
        for path in sorted((folder / CALIBRATION_FOLDER / name).glob("*.webp")):
            with Image.open(path, formats=["WEBP"]) as opened:
                images[name].append(opened.convert("RGB"))
    return images
