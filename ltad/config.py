"""Every setting of LTAD, frozen and validated once; JSON in and out; presets named after the paper.

Settings that the paper leaves open carry their default here and "open" in their comment, so that
no constant hides in the code.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from ltad.types import SettingError

PROMPT_SEPARATOR = "|"


def _require(condition: bool, name: str, value: object, rule: str) -> None:
    if not condition:
        raise SettingError(f"{name} is {value!r}, but it must be {rule}.")


def prompts_of(words: str) -> list[str]:
    """The prompts of a setting: ``"a normal | a good"`` holds two, whose texts are averaged."""
    return [" ".join(prompt.split()) for prompt in words.split(PROMPT_SEPARATOR)]


@dataclass(frozen=True)
class FeatureSettings:
    """What is read out of the frozen image encoder (the paper's sections 4 and 6).

    Attributes:
        image_size: side of the square input in pixels.
        taps: 0-based encoder block indices whose outputs are the layers 1..L-1.
        grid: side of the grid on which the reconstruction module works. A deviation: the paper
            remaps every tap to the first one's size, 112 at 224 pixels; here it is 14. At 112 the
            stored features take 64 times, and the RM's attention 4,096 times, the memory.
        semantic_grid: side of the grid of the semantic head, linear per patch; the same deviation.
    """

    image_size: int = 224
    taps: tuple[int, ...] = (3, 10, 17, 37)
    grid: int = 14
    semantic_grid: int = 14

    def __post_init__(self) -> None:
        object.__setattr__(self, "taps", tuple(self.taps))
        _require(self.image_size >= 32, "image_size", self.image_size, "at least 32 pixels")
        _require(
            len(self.taps) > 0 and list(self.taps) == sorted(set(self.taps)) and self.taps[0] >= 0,
            "taps", self.taps, "block indices in strictly rising order",
        )
        _require(2 <= self.grid <= self.image_size, "grid", self.grid, "from 2 to image_size")
        _require(
            2 <= self.semantic_grid <= self.image_size,
            "semantic_grid", self.semantic_grid, "from 2 to image_size",
        )


@dataclass(frozen=True)
class ModelSettings:
    """The detector (the paper's sections 4 and 5).

    Attributes:
        normal_prompt, abnormal_prompt: v^n and v^a (paper: "a", "a broken"). Several prompts with
            " | " between them have their text embeddings averaged (Table 7, 7.3).
        lam: lambda of equation (5).
        tau: temperature of equation (3).
        name_length: m, learned vectors per pseudo class name.
        name_init: "object", "random" or "class_name" (Table 6).
        learn_names: False keeps the names at their initial value (Table 6, 6.5).
        normalize_text: scale t to unit length (open; equation (4) writes it raw).
        text_classifier: "encoder" takes t_n and t_a from T; "learned" learns two vectors a class
            in their place, together with Phi (Table 8, 8.2).
        layer_pooling: "max", "mean", or "none" (one map of the concatenation; Table 7).
        semantic_start: what Phi starts from (open): "random"; "aligned": the linear maps that
            come nearest to the encoder's own joint space, its last map, on the training pictures;
            or "encoder": the weights that the encoder carries for it, and "aligned" where it
            carries none for these taps, or `layer_pooling` is "none".
        standardize: the RM sees each channel in units of its deviation on the training images
            (not in the paper).
        residual: what S_rec measures the residual by: "squared", equation (1); "scaled", "cosine",
            "mahalanobis" or "nearest" (not in the paper; see `ltad.models.residual`).
        reference_size: good patches that the reference branch keeps for each class; 0 for no such
            branch (not in the paper; see `ltad.models.reference`).
        reference_weight: of S_ref in the sum, as `lam` is of S_sem.
        good_units: put every branch on the scale of good images of its class, 0 for their middle
            place and 1 for the worst place of the middle one, and take the weighted mean of the
            branches for their sum (not in the paper).
        hidden_width, layers, heads, feedforward, dropout: the RM's transformer (open; UniAD).
        neighbour_mask: side of the masked neighbourhood in attention, odd; 0 masks nothing (open).
        score_pool: side in pixels of the average pooling before the maximum (open; UniAD).
        synthesis: "vae", conditioned on text, or "plain_autoencoder", which is not (Table 6,
            6.3).
        decoder_width: channels of D's first stage (open).
        decoder_expansion: expansion ratio of D's inverted residual blocks (open).
    """

    normal_prompt: str = "a"
    abnormal_prompt: str = "a broken"
    lam: float = 500.0
    tau: float = 1.0
    name_length: int = 2
    name_init: str = "object"
    learn_names: bool = True
    normalize_text: bool = False
    text_classifier: str = "encoder"
    layer_pooling: str = "max"
    semantic_start: str = "random"
    standardize: bool = False
    residual: str = "squared"
    reference_size: int = 0
    reference_weight: float = 0.0
    good_units: bool = False
    hidden_width: int = 256
    layers: int = 4
    heads: int = 8
    feedforward: int = 1024
    dropout: float = 0.1
    neighbour_mask: int = 7
    score_pool: int = 16
    synthesis: str = "vae"
    decoder_width: int = 256
    decoder_expansion: int = 4

    def __post_init__(self) -> None:
        for name in ("normal_prompt", "abnormal_prompt"):
            _require(all(prompts_of(getattr(self, name))), name, getattr(self, name),
                     "one or more prompts with ' | ' between them, none of them empty")
        _require(self.lam >= 0, "lam", self.lam, "zero or more")
        _require(self.reference_weight >= 0, "reference_weight", self.reference_weight,
                 "zero or more")
        _require(self.reference_size >= 0, "reference_size", self.reference_size, "zero or more")
        _require(self.tau > 0, "tau", self.tau, "above zero")
        for name in ("name_length", "hidden_width", "layers", "heads", "feedforward",
                     "score_pool", "decoder_width", "decoder_expansion"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        _require(self.hidden_width % self.heads == 0, "hidden_width", self.hidden_width,
                 f"a multiple of heads ({self.heads})")
        _require(0 <= self.dropout < 1, "dropout", self.dropout, "in [0, 1)")
        _require(self.neighbour_mask == 0 or self.neighbour_mask % 2 == 1, "neighbour_mask",
                 self.neighbour_mask, "0 or an odd side")
        _one_of("name_init", self.name_init, ("object", "random", "class_name"))
        _one_of("text_classifier", self.text_classifier, ("encoder", "learned"))
        _one_of("layer_pooling", self.layer_pooling, ("max", "mean", "none"))
        _one_of("semantic_start", self.semantic_start, ("random", "aligned", "encoder"))
        _one_of("residual", self.residual, ("squared", "scaled", "cosine", "mahalanobis",
                                               "nearest"))
        _one_of("synthesis", self.synthesis, ("vae", "plain_autoencoder"))


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    _require(value in choices, name, value, "one of " + ", ".join(map(repr, choices)))


@dataclass(frozen=True)
class TrainingSettings:
    """Both phases (the paper's sections 5 and 6).

    Attributes:
        phase1_epochs, phase2_epochs: passes over the training images.
        learning_rate, weight_decay, batch_size: AdamW's (batch size open; UniAD's 64).
        semantic_rate: Phi's learning rate as a share of `learning_rate` (open; 1).
        kl_weight: factor of the KL term in equation (6) (open).
        real_probability: p_c, chance that phase 2 takes f^real rather than f^syn.
        distribution_aware: DAS (Table 6, 6.4): p_c inversely related to the class's count.
        skip_phase1: leave the names and D untrained (UniAD; Table 6, 6.1 and 6.2); phase 2 must
            then take f^real only.
        noise_scale: n of the feature jitter N(0,1) * ||p_i|| / C * n (open; UniAD's 20).
        minimum_steps: a phase runs at least this many optimiser steps (open; 0), because an epoch
            of a few images is a fraction of a batch.
        views: how images are turned for the reference branch (not in the paper): "none";
            "rotations" by quarter turns; "mirrored" as well; or "auto", those turns under which a
            class's images still look like its other images (`ltad.training.reference`).
        balance_classes: draw every class equally often in phase 2, whatever its count (not in the
            paper).
        validation_fraction: share of each class's images held out for calibration (open).
        calibration: what the held-out images are held out of (open). "held_out": of the whole
            training, so that the detector never learns from them. "second_training": the detector
            learns from every image, as in the paper; the images are held out of a second run of
            phase 2 only, whose RM and Phi set the thresholds and nothing else. "cross_fitted": it
            learns from every image, and each is judged by reference branch and residual scale
            without it (`ltad.training.crossfit`), for parts of which there are few images.
        seed: of every random draw.
    """

    phase1_epochs: int = 100
    phase2_epochs: int = 500
    learning_rate: float = 1e-4
    semantic_rate: float = 1.0
    weight_decay: float = 1e-4
    batch_size: int = 64
    kl_weight: float = 1e-3
    real_probability: float = 0.5
    distribution_aware: bool = False
    skip_phase1: bool = False
    noise_scale: float = 20.0
    minimum_steps: int = 0
    balance_classes: bool = False
    views: str = "none"
    validation_fraction: float = 0.15
    calibration: str = "held_out"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("phase1_epochs", "phase2_epochs", "batch_size"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("kl_weight", "weight_decay", "noise_scale", "minimum_steps", "seed"):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "zero or more")
        _require(self.semantic_rate > 0, "semantic_rate", self.semantic_rate, "above zero")
        _require(self.learning_rate > 0, "learning_rate", self.learning_rate, "above zero")
        _require(0 <= self.real_probability <= 1, "real_probability", self.real_probability,
                 "in [0, 1]")
        _require(not (self.skip_phase1 and self.uses_synthesis), "skip_phase1", self.skip_phase1,
                 "False unless real_probability is 1 and distribution_aware False, because without "
                 "phase 1 there is nothing to synthesise features with")
        _require(0 <= self.validation_fraction < 0.9, "validation_fraction",
                 self.validation_fraction, "in [0, 0.9)")
        _one_of("views", self.views, ("none", "rotations", "mirrored", "auto"))
        _one_of("calibration", self.calibration, ("held_out", "second_training", "cross_fitted"))

    @property
    def uses_synthesis(self) -> bool:
        """Whether phase 2 ever takes f^syn."""
        return self.real_probability < 1 or self.distribution_aware


@dataclass(frozen=True)
class Config:
    """All settings of one detector: what it reads, what it is, how it was trained."""

    features: FeatureSettings = field(default_factory=FeatureSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Config:
        """Inverse of :meth:`to_dict`. Raises SettingError on an unknown name or a bad value."""
        parts = {"features": FeatureSettings, "model": ModelSettings, "training": TrainingSettings}
        unknown = set(data) - set(parts)
        _require(not unknown, "config", sorted(unknown), "made of features, model, training only")
        return cls(**{name: build(kind, data.get(name, {})) for name, kind in parts.items()})

    def replace(self, **changes: Any) -> Config:
        """A copy with single settings changed, wherever they live: ``replace(lam=400, seed=1)``.

        Raises SettingError for a name that no group of settings holds.
        """
        groups = {name: getattr(self, name) for name in ("features", "model", "training")}
        changed: dict[str, dict[str, Any]] = {name: {} for name in groups}
        for key, value in changes.items():
            owners = [
                name for name, group in groups.items()
                if key in {f.name for f in dataclasses.fields(group)}
            ]
            _require(bool(owners), key, value, "a setting of features, model or training")
            changed[owners[0]][key] = value
        # A group's changes are made at once: one alone may contradict what another replaces.
        return Config(**{
            name: dataclasses.replace(group, **changed[name]) for name, group in groups.items()
        })


def build(kind: type, data: dict[str, Any]) -> Any:
    """A settings object of `kind` from plain data. Raises SettingError on an unknown name."""
    known = {f.name for f in dataclasses.fields(kind)}
    unknown = sorted(set(data) - known)
    _require(not unknown, f"{kind.__name__} setting", unknown, "one of " + ", ".join(sorted(known)))
    return kind(**data)


def preset(name: str) -> Config:
    """The named settings.

    ``paper-mvtec``, ``paper-visa`` and ``paper-dagm`` are the paper's (section 6, training
    details); ``demo`` is what two CPU cores train in minutes on the embedded encoder.

    Raises:
        SettingError: no preset of that name; the message lists them.
    """
    _one_of("preset", name, tuple(_PRESETS))
    return _PRESETS[name]


_PAPER = Config().replace(calibration="second_training")
_PRESETS = {
    "paper-mvtec": _PAPER,
    "paper-visa": _PAPER.replace(lam=400.0),
    "paper-dagm": _PAPER.replace(lam=300.0),
    "demo": Config(
        features=FeatureSettings(image_size=320, taps=(6, 14, 19), grid=10, semantic_grid=20),
        model=ModelSettings(
            hidden_width=128, layers=2, heads=4, feedforward=256, dropout=0.0,
            score_pool=48, decoder_width=128, decoder_expansion=2, semantic_start="encoder",
            standardize=True, residual="nearest", tau=1.0,
            # Chosen on photographs; on rendered parts, the shipped model's, words say more.
            reference_size=2000, reference_weight=1.0, good_units=True, lam=0.25,
        ),
        training=TrainingSettings(
            phase1_epochs=15, phase2_epochs=50, learning_rate=1e-3, batch_size=32,
            semantic_rate=1e-4, balance_classes=True, views="auto", validation_fraction=0.2,
        ),
    ),
}
PRESETS = tuple(_PRESETS)
