"""Training by stages whose results are kept, so that trainings share whatever they have in common.

A stage is phase 1, the RM or Phi. What it learned is kept in a file named after a hash of all that
it depends on: settings, pictures, encoder, and the stages before it. A killed stage goes on from
its state file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from ltad.config import Config
from ltad.data.feature_store import FeatureStore
from ltad.encoders.base import Encoder
from ltad.models import Detector
from ltad.training.data import TrainingData
from ltad.training.phase1 import train_phase1
from ltad.training.phase2 import train_phase2
from ltad.training.state import read_tensors, write_tensors

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


def pictures_hash(store: FeatureStore, positions: Iterable[int]) -> str:
    """Of the classes and the contents of pictures, as the encoder saw them."""
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
        "pictures": pictures_hash(data.store, data.positions),
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
        data: the pictures to learn from.
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
