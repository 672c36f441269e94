"""Every setting of LTAD, frozen and validated once; JSON in and out; presets named after the paper.

Settings that the paper leaves open carry their default here and "open" in their comment, so that
no constant hides in the code.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeVar, dataclass_transform

from pydantic import ConfigDict, Field, Strict, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass

from ltad.types import SettingError

PROMPT_SEPARATOR = "|"
Count = Annotated[int, Field(ge=1)]
WholeNumber = Annotated[int, Field(ge=0)]
Weight = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Settings = TypeVar("Settings")
_RULES = {
    "greater_than_equal": "at least {ge:g}", "greater_than": "above {gt:g}",
    "less_than_equal": "at most {le:g}", "less_than": "below {lt:g}",
    "literal_error": "one of {expected}", "string_type": "text", "bool_type": "true or false",
    **dict.fromkeys(("int_type", "int_from_float"), "a whole number"),
    **dict.fromkeys(("float_type", "finite_number"), "a number"),
    "tuple_type": "whole numbers, such as [3, 10]",
}
"""Kinds of pydantic's errors -> the rule that was broken, for a reader."""


@dataclass_transform(frozen_default=True)
def _settings(kind: type[Settings]) -> type[Settings]:
    """A frozen dataclass whose values are checked against their types; a wrong one raises
    SettingError with its name, value and rule."""
    made: Any = checked_dataclass(
        frozen=True, config=ConfigDict(extra="forbid", allow_inf_nan=False, strict=True)
    )(kind)
    checked = made.__init__

    @functools.wraps(checked)
    def initialise(self: Settings, *values: Any, **named: Any) -> None:
        try:
            checked(self, *values, **named)
        except ValidationError as error:
            raise _explained(error, kind) from None

    made.__init__ = initialise
    return made


def _explained(error: ValidationError, kind: type) -> SettingError:
    first = error.errors()[0]
    context, (name, *_) = first.get("ctx", {}), (*first["loc"], "setting")
    if isinstance(context.get("error"), SettingError):  # of several settings together
        return context["error"]
    if first["type"] == "unexpected_keyword_argument":
        known = ", ".join(sorted(kind.__dataclass_fields__))
        return SettingError(f"{name} is no setting of {kind.__name__}. It has: {known}.")
    rule = _RULES.get(first["type"], first["msg"]).format(**context)
    return SettingError(f"{name} is {first['input']!r}, but it must be {rule}.")


def _require(condition: bool, name: str, value: object, rule: str) -> None:
    if not condition:
        raise SettingError(f"{name} is {value!r}, but it must be {rule}.")


def prompts_of(words: str) -> list[str]:
    """The prompts of a setting: ``"a normal | a good"`` holds two, whose texts are averaged."""
    return [" ".join(prompt.split()) for prompt in words.split(PROMPT_SEPARATOR)]


@_settings
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

    image_size: Annotated[int, Field(ge=32)] = 224
    taps: Annotated[tuple[Annotated[int, Strict()], ...], Strict(False)] = (3, 10, 17, 37)
    grid: int = 14
    semantic_grid: int = 14

    def __post_init__(self) -> None:
        _require(
            len(self.taps) > 0 and list(self.taps) == sorted(set(self.taps)) and self.taps[0] >= 0,
            "taps", self.taps, "block indices in strictly rising order",
        )
        _require(2 <= self.grid <= self.image_size, "grid", self.grid, "from 2 to image_size")
        _require(
            2 <= self.semantic_grid <= self.image_size,
            "semantic_grid", self.semantic_grid, "from 2 to image_size",
        )


@_settings
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
            come nearest to the encoder's own joint space, its last map, on the training images;
            or "encoder": the weights that the encoder carries for it, and "aligned" where it
            carries none for these taps, or `layer_pooling` is "none".
        standardize: the RM sees each channel in units of its deviation on the training images
            (not in the paper).
        residual: what S_rec measures the residual by: "squared", equation (1); "scaled", "cosine",
            "mahalanobis" or "nearest" (not in the paper; see `ltad.models.residual`).
        reference_size: good patches that the reference branch keeps for each class; 0 for no such
            branch (not in the paper; see `ltad.models.reference`).
        reference_weight: of S_ref in the sum, as `lam` is of S_sem.
        border_weight: what S_rec and S_ref count in the image's border, a twentieth of its side, as
            a share of what they count inside. Beyond the border the image tower reads zeros, and
            there good images differ most (not in the paper; 1).
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
    lam: Weight = 500.0
    tau: Positive = 1.0
    name_length: Count = 2
    name_init: Literal["object", "random", "class_name"] = "object"
    learn_names: bool = True
    normalize_text: bool = False
    text_classifier: Literal["encoder", "learned"] = "encoder"
    layer_pooling: Literal["max", "mean", "none"] = "max"
    semantic_start: Literal["random", "aligned", "encoder"] = "random"
    standardize: bool = False
    residual: Literal["squared", "scaled", "cosine", "mahalanobis", "nearest"] = "squared"
    reference_size: WholeNumber = 0
    reference_weight: Weight = 0.0
    border_weight: Annotated[float, Field(ge=0, le=1)] = 1.0
    good_units: bool = False
    hidden_width: Count = 256
    layers: Count = 4
    heads: Count = 8
    feedforward: Count = 1024
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    neighbour_mask: int = 7
    score_pool: Count = 16
    synthesis: Literal["vae", "plain_autoencoder"] = "vae"
    decoder_width: Count = 256
    decoder_expansion: Count = 4

    def __post_init__(self) -> None:
        for name in ("normal_prompt", "abnormal_prompt"):
            _require(all(prompts_of(getattr(self, name))), name, getattr(self, name),
                     "one or more prompts with ' | ' between them, none of them empty")
        _require(self.hidden_width % self.heads == 0, "hidden_width", self.hidden_width,
                 f"a multiple of heads ({self.heads})")
        _require(self.neighbour_mask == 0 or self.neighbour_mask % 2 == 1, "neighbour_mask",
                 self.neighbour_mask, "0 or an odd side")


@_settings
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

    phase1_epochs: Count = 100
    phase2_epochs: Count = 500
    learning_rate: Positive = 1e-4
    semantic_rate: Positive = 1.0
    weight_decay: Weight = 1e-4
    batch_size: Count = 64
    kl_weight: Weight = 1e-3
    real_probability: Annotated[float, Field(ge=0, le=1)] = 0.5
    distribution_aware: bool = False
    skip_phase1: bool = False
    noise_scale: Weight = 20.0
    minimum_steps: WholeNumber = 0
    balance_classes: bool = False
    views: Literal["none", "rotations", "mirrored", "auto"] = "none"
    validation_fraction: Annotated[float, Field(ge=0, lt=0.9)] = 0.15
    calibration: Literal["held_out", "second_training", "cross_fitted"] = "held_out"
    seed: WholeNumber = 0

    def __post_init__(self) -> None:
        _require(not (self.skip_phase1 and self.uses_synthesis), "skip_phase1", self.skip_phase1,
                 "False unless real_probability is 1 and distribution_aware False, because without "
                 "phase 1 there is nothing to synthesise features with")

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
        unknown = set(data) - {"features", "model", "training"}
        _require(not unknown, "config", sorted(unknown), "made of features, model, training only")
        return cls(
            FeatureSettings(**data.get("features", {})), ModelSettings(**data.get("model", {})),
            TrainingSettings(**data.get("training", {})),
        )

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


def preset(name: str) -> Config:
    """The named settings.

    ``paper-mvtec``, ``paper-visa`` and ``paper-dagm`` are the paper's (section 6, training
    details); ``demo`` is what two CPU cores train in minutes on the embedded encoder.

    Raises:
        SettingError: no preset of that name; the message lists them.
    """
    _require(name in _PRESETS, "preset", name, "one of " + ", ".join(map(repr, _PRESETS)))
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
            reference_size=2000, reference_weight=2.0, border_weight=0.8, good_units=True,
            lam=0.25,
        ),
        training=TrainingSettings(
            phase1_epochs=15, phase2_epochs=50, learning_rate=1e-3, batch_size=32,
            semantic_rate=1e-4, balance_classes=True, views="auto", validation_fraction=0.2,
        ),
    ),
}
PRESETS = tuple(_PRESETS)
