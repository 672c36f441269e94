"""Training a detector: both phases, calibration and recognition, every stage kept and resumable."""

from __future__ import annotations

import copy
import hashlib
import json
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from ltad.config import Config
from ltad.inference.checkpoint import Checkpoint, save_checkpoint
from ltad.inference.feature_store import FeatureStore, build_store
from ltad.inference.recognition import ClassRecogniser, descriptor
from ltad.io import processes
from ltad.io.files import generator
from ltad.io.images import read_image
from ltad.io.tensors import read_tensors, write_tensors
from ltad.models.align import Encoder
from ltad.models.detector import Detector
from ltad.training.crossfit import CrossFit, cross_fit
from ltad.training.loop import Report
from ltad.training.phases import ClassTexts, TrainingData, train_phase1, train_phase2
from ltad.training.reference import fit_reference, fit_units
from ltad.types import DatasetError, Sample

MOST_CALIBRATION_IMAGES = 32
"""Per class; more would make the model folder heavy and sharpen the threshold little."""
_OPTIMISER = ("learning_rate", "weight_decay", "batch_size", "minimum_steps", "seed")
_PHASE_2 = ("phase2_epochs", "real_probability", "distribution_aware", "noise_scale", *_OPTIMISER)
# The first weights are drawn part after part, so the sizes of one shift the draws of the next.
_DECODER = ("decoder_width", "decoder_expansion")
_TRANSFORMER = ("hidden_width", "layers", "heads", "feedforward", "dropout", "neighbour_mask",
                "standardize", "residual", "balance_classes")
STAGE_SETTINGS = {
    "phase1": ("name_length", "name_init", "learn_names", "normalize_text", "synthesis", *_DECODER,
               "phase1_epochs", "kl_weight", "skip_phase1", *_OPTIMISER),
    "reconstruction": (*_DECODER, *_TRANSFORMER, *_PHASE_2),
    "semantic": (*_DECODER, *_TRANSFORMER, "semantic_start", "semantic_rate", "normal_prompt",
                 "abnormal_prompt", "tau", "normalize_text", "layer_pooling", "text_classifier",
                 *_PHASE_2),
}
"""The settings of model and training that each stage depends on."""


def train(
    samples: Sequence[Sample],
    encoder: Encoder,
    config: Config,
    out: str | Path,
    encoder_name: str,
    features: str | Path = ".ltad/features",
    report: Report | None = None,
    about: dict[str, Any] | None = None,
) -> Checkpoint:
    """Train LTAD on the normal training images of `samples` and write a model folder.

    Killed at any moment, the same call goes on where it stopped and ends with the same weights.
    Processes that torchrun started and that have met (`ltad.io.processes.joined`) divide features
    and steps among themselves.

    Args:
        samples: training images (test images among them are ignored), every one normal.
        encoder: frozen; its settings must be the config's.
        config: all settings.
        out: the model folder.
        encoder_name: how the model folder names the encoder (see Checkpoint).
        features: folder of the feature stores.
        report: called after every step.
        about: facts to keep with the model, e.g. the split.

    Raises:
        DatasetError: no training image, an unreadable one, a full disk.
        SettingError: `out` holds a half-finished training of something else.
    """
    began = time.monotonic()
    out = Path(out)
    training = training_images(samples)
    class_names = tuple(sorted({sample.class_name for sample in training}))
    store = build_store(training, encoder, features)
    remaining, held_out = hold_out(store, class_names, config)
    learned, _ = learned_and_held_out(store, class_names, config)
    data = TrainingData.of(store, learned, class_names, encoder.device)
    detector = Detector(class_names, encoder, config).to(encoder.device)
    key = {
        "config": config.to_dict(), "encoder": encoder.fingerprint,
        "pictures": _identity(store, learned),
    }
    states = [out / f"{name}.state.safetensors" for name in ("phase1", "phase2", "second")]
    if not config.training.skip_phase1:
        train_phase1(detector, encoder, data, states[0], _plain(key), report)
    is_cross_fitted = config.training.calibration == "cross_fitted"
    second = None
    if len(learned) > len(remaining) and not is_cross_fitted:
        second = _untrained_copy(detector)
    train_phase2(detector, encoder, data, states[1], _plain(key), report)
    if second is not None:
        without = TrainingData.of(store, remaining, class_names, encoder.device)
        second_key = _plain({**key, "pictures": _identity(store, remaining)})
        train_phase2(second, encoder, without, states[2], second_key, report,
                     title="phase 2 for the thresholds")
        second.eval()
    detector.eval()
    views = _fill_reference(detector, second, encoder, store, learned, remaining, features)
    apart = None
    judged = calibration_positions(store, remaining, held_out)
    if is_cross_fitted:
        apart = cross_fit(detector, encoder, store, views, features, MOST_CALIBRATION_IMAGES)
        judged = apart.positions if any(apart.positions.values()) else judged
    _fit_units(detector, second, encoder, store, judged, apart)
    facts = {
        "split": "none", "split_seed": 0,
        **(about or {}),
        "split_counts": {name: len(store.indices(name)) for name in class_names},
        "training_pictures": dict(zip(class_names, data.class_counts, strict=True)),
        "held_out_pictures": {
            n: 0 if second or apart else len(held_out[n]) for n in class_names
        },
        "calibration_pictures": {
            n: len(apart.positions[n] if apart else held_out[n]) for n in class_names
        },
        "calibrated_on_training_pictures": not any(
            (apart.positions if apart else held_out).values()
        ),
        **({"views": views} if views else {}),
        "seconds": round(time.monotonic() - began, 1),
        "torch": torch.__version__, "python": platform.python_version(),
    }
    checkpoint = Checkpoint(
        detector, _recogniser(store, class_names, learned, remaining, held_out),
        calibration_images(store, judged, config.features.image_size),
        encoder_name, encoder.fingerprint, facts, second,
        apart.scores if apart else {},
        (apart.without_first, apart.first) if apart else None,
    )
    if processes.is_first():
        save_checkpoint(out, checkpoint)
        for state in states:
            state.unlink(missing_ok=True)
    processes.wait()
    return checkpoint


def _fill_reference(
    detector: Detector, second: Detector | None, encoder: Encoder, store: FeatureStore,
    learned: list[int], remaining: list[int], features: str | Path,
) -> dict[str, list[str]]:
    """The reference branch, where the configuration has one; the turns by class."""
    views: dict[str, list[str]] = {}
    for one, positions in ((detector, learned), (second, remaining)):
        if one is not None and one.reference is not None:
            views = fit_reference(one, encoder, store, positions, features)
    return views


def _fit_units(
    detector: Detector, second: Detector | None, encoder: Encoder, store: FeatureStore,
    judged: dict[str, list[int]], apart: CrossFit | None,
) -> None:
    """The units of every branch, where the configuration has them."""
    if not detector.config.model.good_units:
        return
    texts, judge = ClassTexts.of(detector, encoder), second or detector
    fit_units(judge, store, judged, (texts.normal, texts.abnormal),
              apart.scores if apart else None)
    detector.units.copy_(judge.units)


def training_images(samples: Sequence[Sample]) -> list[Sample]:
    """The training images of a data set in a fixed order.

    Raises:
        DatasetError: a defective image is among them.
    """
    training = sorted(
        (s for s in samples if s.split == "train"), key=lambda s: (s.class_name, str(s.path))
    )
    if any(sample.is_defective for sample in training):
        raise DatasetError("A defective image is among the training images.")
    return training


def hold_out(
    store: FeatureStore, class_names: Sequence[str], config: Config
) -> tuple[list[int], dict[str, list[int]]]:
    """Positions outside the calibration, and per class the positions kept for it.

    A class gives its share only while that leaves it ten images to learn from for each one held
    out or more; the smallest give none, and are calibrated with all others' pooled. Where all are
    that small, each gives a quarter if there is a reference branch: images that it holds itself
    cannot say how far a new one lies.
    """
    sizes = [len(store.indices(name)) for name in class_names]
    gives_quarter = config.model.reference_size > 0 and max(sizes) < 10
    remaining: list[int] = []
    held: dict[str, list[int]] = {}
    for number, name in enumerate(class_names):
        positions = np.asarray(store.indices(name))
        count = int(len(positions) * config.training.validation_fraction)
        count = min(count, MOST_CALIBRATION_IMAGES) if len(positions) >= 10 else 0
        if gives_quarter and len(positions) > 1:
            count = max(1, len(positions) // 4)
        order = generator(config.training.seed, 80, number).permutation(len(positions))
        held[name] = sorted(positions[order[:count]].tolist())
        remaining += sorted(positions[order[count:]].tolist())
    return remaining, held


def learned_and_held_out(
    store: FeatureStore, class_names: Sequence[str], config: Config
) -> tuple[list[int], dict[str, list[int]]]:
    """Positions the detector learns from, and per class those it has never seen.

    Unless the calibration is "held_out" it learns from all, so none is left unseen.
    """
    if config.training.calibration != "held_out":
        return list(range(len(store))), {name: [] for name in class_names}
    return hold_out(store, class_names, config)


def _untrained_copy(detector: Detector) -> Detector:
    """A detector that shares phase 1 with another one, with an RM and a Phi of its own."""
    return detector.with_parts(
        reconstruction=copy.deepcopy(detector.reconstruction),
        semantic=copy.deepcopy(detector.semantic),
        **({"reference": copy.deepcopy(detector.reference)} if detector.reference else {}),
    )


def calibration_positions(
    store: FeatureStore, remaining: list[int], held_out: dict[str, list[int]]
) -> dict[str, list[int]]:
    """The held-out positions; where no class could hold any out, the training images instead.

    Scores on training images are too low, so thresholds from them are too: the model says so.
    """
    if any(held_out.values()):
        return held_out
    return {
        name: [p for p in remaining
               if store.samples[p].class_name == name][:MOST_CALIBRATION_IMAGES]
        for name in held_out
    }


def calibration_images(
    store: FeatureStore, held_out: dict[str, list[int]], size: int
) -> dict[str, list[Image.Image]]:
    """The held-out images at the model's input size; smaller squares as they are, since they are
    brought to that size whenever they are read."""
    return {
        name: [_at_most(read_image(store.samples[p].path), size) for p in positions]
        for name, positions in held_out.items()
    }


def _at_most(image: Image.Image, size: int) -> Image.Image:
    if image.width == image.height <= size:
        return image.convert("RGB")
    return image.resize((size, size), Image.Resampling.BILINEAR)


def _recogniser(
    store: FeatureStore, class_names: tuple[str, ...], learned: list[int], remaining: list[int],
    held_out: dict[str, list[int]],
) -> ClassRecogniser:
    """Fitted on the images learned from; temperature and limit from held-out ones under a fit
    without them."""
    index = {name: i for i, name in enumerate(class_names)}
    descriptors = torch.cat([
        descriptor(torch.from_numpy(store.patches[i : i + 256].astype(np.float32)))
        for i in range(0, len(store), 256)
    ])
    classes = np.array([index[sample.class_name] for sample in store.samples])
    held = [p for positions in held_out.values() for p in positions]
    checked = ClassRecogniser.fit(
        class_names, descriptors[remaining], classes[remaining], descriptors[held], classes[held]
    )
    if len(learned) == len(remaining):
        return checked
    whole = ClassRecogniser.fit(
        class_names, descriptors[learned], classes[learned], descriptors[held], classes[held]
    )
    return replace(whole, temperature=checked.temperature, limit=checked.limit)


def _identity(store: FeatureStore, positions: list[int]) -> str:
    names = "\n".join(
        f"{store.samples[p].class_name}/{store.samples[p].path.name}" for p in positions
    )
    return hashlib.sha256(names.encode()).hexdigest()[:16]


def _plain(key: dict[str, Any]) -> dict[str, Any]:
    """The key as JSON would give it back: tuples become lists."""
    return json.loads(json.dumps(key))


def images_hash(store: FeatureStore, positions: Iterable[int]) -> str:
    """Of the classes and the contents of images, as the encoder saw them."""
    digest = hashlib.sha256()
    for position in positions:
        digest.update(store.samples[position].class_name.encode() + b"\n")
        digest.update(store.latents[position].tobytes())
    return digest.hexdigest()[:16]


def key_hash(key: Mapping[str, Any]) -> str:
    """Of plain data."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]


def training_identity(
    class_names: Sequence[str], encoder: Encoder, data: TrainingData
) -> dict[str, Any]:
    """What every stage depends on beside the settings, as plain data."""
    return {
        "encoder": encoder.fingerprint, "class_names": list(class_names),
        "pictures": images_hash(data.store, data.positions),
    }


def stage_key(stage: str, config: Config, identity: Mapping[str, Any]) -> dict[str, Any]:
    """All that a stage's result depends on, as plain data.

    Phi depends on phase 1 by the names; the RM does only where it sees synthesised features.
    """
    values = {**vars(config.model), **vars(config.training)}
    key = {"stage": stage, **identity, **{name: values[name] for name in STAGE_SETTINGS[stage]}}
    if stage == "semantic" or (stage == "reconstruction" and config.training.uses_synthesis):
        key["phase1"] = key_hash(stage_key("phase1", config, identity))
    return key


def stage_file(
    folder: str | Path, stage: str, config: Config, identity: Mapping[str, Any]
) -> Path:
    """Where `train_stages` keeps what a stage learned."""
    return Path(folder) / f"{stage}-{key_hash(stage_key(stage, config, identity))}.safetensors"


def train_stages(
    detector: Detector, encoder: Encoder, data: TrainingData, stages: Sequence[str],
    folder: str | Path, identity: Mapping[str, Any],
) -> dict[str, str]:
    """Bring a new detector through `stages`, with what `folder` keeps of earlier trainings.

    Args:
        detector: as built; changed in place.
        encoder: frozen.
        data: the images to learn from.
        stages: keys of `STAGE_SETTINGS` in order, phase 1 among them unless it is skipped.
        folder: of all stages' files.
        identity: of this encoder and this data, from `training_identity`.

    Returns:
        stage -> "trained" or "reused".

    Raises:
        CheckpointError: a stage's file is damaged or cannot be written.
    """
    done = {}
    for stage in stages:
        key, learned = stage_key(stage, detector.config, identity), _learned(detector, stage)
        path = stage_file(folder, stage, detector.config, identity)
        done[stage] = "reused" if path.exists() else "trained"
        if path.exists():
            learned.load_state_dict(read_tensors(path)[0])
            continue
        state = path.with_suffix(".state.safetensors")
        if stage == "phase1":
            train_phase1(detector, encoder, data, state, key)
        else:
            train_phase2(detector, encoder, data, state, key, parts=(stage,))
        write_tensors(path, learned.state_dict(), key=key)
        state.unlink(missing_ok=True)
    return done


def _learned(detector: Detector, stage: str) -> nn.Module:
    if stage == "phase1":
        return nn.ModuleDict({"names": detector.names, "synthesizer": detector.synthesizer})
    return getattr(detector, stage)
