"""The joint space: trained maps on frozen outputs, and their losses."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm
from transformers import AlignModel, PreTrainedTokenizerBase

from ltad.io.files import atomic_path, open_array
from ltad.models.align import SEMANTIC_START_FILE
from ltad.models.features import patch_features
from ltad.models.fused_tower import tower_blocks
from ltad.pretraining.twins import Pool

JOINT_SCALE = 0.15
"""Length of the joint space's axes at the start, so that first logits lie near zero."""
NAMING_TEMPERATURE = 0.05
SUBJECT_TEMPERATURE = 0.07
BATCH = 4
TEXT_BATCH = 256
TEXTS_SAVED_EVERY = 20


class JointHeads(nn.Module):
    """Linear maps of standardised frozen features into the joint space.

    Args:
        channels: C_l of each tap.
        text_width: of the text tower's states.
        classifier: the ImageNet classifier's weights, (1000, 1280). The joint space starts as the
            plane of its strongest directions.
        joint_width: d.
        patch_mean, patch_scale: (C,) of patch features.
        head_mean, head_scale: (1280,) and () of the classifier's channels.
    """

    directions: Tensor
    patch_mean: Tensor
    patch_scale: Tensor
    head_mean: Tensor
    head_scale: Tensor

    def __init__(
        self, channels: Sequence[int], text_width: int, classifier: Tensor, joint_width: int,
        patch_mean: Tensor, patch_scale: Tensor, head_mean: Tensor, head_scale: Tensor,
    ) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.text = nn.Linear(text_width, joint_width)
        self.layers = nn.ModuleList(nn.Linear(width, joint_width) for width in channels)
        self.last = nn.Linear(classifier.shape[1], joint_width)
        directions = classifier - classifier.mean(dim=0)
        axes = torch.linalg.svd(directions, full_matrices=False)[2][:joint_width]
        with torch.no_grad():
            self.last.weight.copy_(axes * JOINT_SCALE)
            self.last.bias.zero_()
            for layer in self.layers:
                nn.init.normal_(layer.get_parameter("weight"), std=0.02)
                nn.init.zeros_(layer.get_parameter("bias"))
        for name, tensor in (
            ("directions", directions), ("patch_mean", patch_mean), ("patch_scale", patch_scale),
            ("head_mean", head_mean), ("head_scale", head_scale),
        ):
            self.register_buffer(name, tensor)

    def patches(self, features: Tensor) -> Tensor:
        """p^ of equation (2), (..., d), of patch features (..., C)."""
        standard = (features.float() - self.patch_mean) / self.patch_scale
        parts = standard.split(self.channels, dim=-1)
        return torch.stack([m(p) for m, p in zip(self.layers, parts, strict=True)]).amax(dim=0)

    def last_map(self, features: Tensor) -> Tensor:
        """The last map's places, (..., d), of the classifier's channels (..., 1280)."""
        return self.last((features.float() - self.head_mean) / self.head_scale)

    def class_directions(self) -> Tensor:
        """Unit directions of the classifier's classes in the joint space, (1000, d)."""
        return functional.normalize(self.directions @ self.last.weight.T, dim=1)

    @torch.no_grad()
    def fold_into(self, model: AlignModel) -> None:
        """Write text projection and last projection into the model, which then computes both."""
        model.text_projection.weight.copy_(self.text.weight)
        model.text_projection.bias.copy_(self.text.bias)
        projection = tower_blocks(model.vision_model)[-1].projection
        weight = self.last.weight / self.head_scale
        projection.project_conv.weight.copy_(weight[:, :, None, None])
        norm = projection.project_bn
        norm.get_buffer("running_mean").zero_()
        norm.get_buffer("running_var").fill_(1.0)
        norm.weight.fill_((1.0 + norm.eps) ** 0.5)
        norm.bias.copy_(self.last.bias - weight @ self.head_mean)

    @torch.no_grad()
    def save_semantic_start(self, folder: str | Path) -> None:
        """Phi's starting weights for raw patch features, as the encoder's folder carries them."""
        tensors = {}
        scales = self.patch_scale.split(self.channels)
        means = self.patch_mean.split(self.channels)
        for index, (layer, mean, scale) in enumerate(zip(self.layers, means, scales, strict=True)):
            weight = layer.get_parameter("weight") / scale
            tensors[f"maps.{index}.weight"] = weight.contiguous()
            tensors[f"maps.{index}.bias"] = (
                layer.get_parameter("bias") - weight @ mean).contiguous()
        save_file(tensors, Path(folder) / SEMANTIC_START_FILE)


@dataclass(frozen=True)
class PlaceLogits:
    """Logits of P places under K prompts for B twins.

    Attributes:
        flawed, good: (B, K, P) on the flawed and on the good twin.
        damaged, sound: (B, 1, P) float, which places of the flawed twin the flaw covers or leaves
            alone altogether; what it barely touches is neither.
    """

    flawed: Tensor
    good: Tensor
    damaged: Tensor
    sound: Tensor


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum(dim=-1) / weights.sum(dim=-1).clamp(min=1.0)


def _top(logits: Tensor) -> Tensor:
    """A smooth maximum over places, (B, K)."""
    return torch.logsumexp(2.0 * logits, dim=-1) / 2.0


def names_it(logits: PlaceLogits) -> Tensor:
    """Small where the prompt's flaw is found on its places and nowhere else, (B, K).

    Damaged and sound places count alike, however few the damaged ones are; and the flawed twin's
    highest place must lie above the good twin's.
    """
    places = _mean(functional.softplus(-logits.flawed), logits.damaged)
    places = places + _mean(functional.softplus(logits.flawed), logits.sound)
    places = places + functional.softplus(logits.good).mean(dim=-1)
    return places + 0.5 * functional.softplus(_top(logits.good) - _top(logits.flawed))


def names_another(logits: PlaceLogits) -> Tensor:
    """Small where a prompt that names another flaw finds nothing, (B, K)."""
    return (
        _mean(functional.softplus(logits.flawed), logits.damaged)
        + 0.5 * _mean(functional.softplus(logits.flawed), logits.sound)
        + 0.5 * functional.softplus(logits.good).mean(dim=-1)
    )


def means_no_damage(logits: PlaceLogits) -> Tensor:
    """Small where a prompt treats damaged and sound places alike, (B, K)."""
    gap = _mean(logits.flawed, logits.damaged) - _mean(logits.flawed, logits.sound)
    return 0.5 * gap.square()


def naming_loss(texts: Tensor, directions: Tensor, classes: Tensor) -> Tensor:
    """Cross entropy of texts (n, d) against unit class directions (1000, d); classes (n,)."""
    unit = functional.normalize(texts, dim=1)
    return functional.cross_entropy(unit @ directions.T / NAMING_TEMPERATURE, classes)


def subject_loss(embeddings: Tensor, texts: Tensor, subjects: Tensor) -> Tensor:
    """Cross entropy of image embeddings (n, d) against the batch's subjects' texts (s, d)."""
    unit, points = functional.normalize(embeddings, dim=1), functional.normalize(texts, dim=1)
    return functional.cross_entropy(unit @ points.T / SUBJECT_TEMPERATURE, subjects)


def tower_features(
    model: AlignModel, pixels: Tensor, taps: Sequence[int], grid: int
) -> tuple[Tensor, Tensor]:
    """Patch features, and the classifier's channels before the joint space.

    Args:
        model: with exact towers (`ltad.pretraining.towers`).
        pixels: (B, 3, S, S) float32 in [-1, 1].
        taps: block indices.
        grid: side of the patch features.

    Returns:
        (B, C, grid, grid) and (B, 1280, S / 32, S / 32), float32.
    """
    tower = model.vision_model
    *blocks, last = tower_blocks(tower)
    hidden = tower.embeddings(pixels.contiguous(memory_format=torch.channels_last))
    tapped = []
    for index, block in enumerate(blocks):
        hidden = block(hidden)
        if index in taps:
            tapped.append(hidden)
    return patch_features(tapped, grid), last.depthwise_conv(last.expansion(hidden))


@dataclass(frozen=True)
class PoolFeatures:
    """Frozen features of a pool's 2n images: good twin 2i, flawed twin 2i + 1.

    Attributes:
        patches: (2n, grid * grid, C) float16.
        heads: the classifier's channels, (2n, h * h, 1280) float16.
        damage: share of each patch that the flaw covers, (n, grid * grid) float32.
        head_damage: the same on the head's grid, (n, h * h) float32.
    """

    patches: np.ndarray
    heads: np.ndarray
    damage: Tensor
    head_damage: Tensor


@torch.inference_mode()
def pool_features(
    pool: Pool, model: AlignModel, taps: Sequence[int], grid: int, folder: Path
) -> PoolFeatures:
    """The features of `pool`, computed or read from `folder`; goes on where it was killed."""
    pairs, side = len(pool), pool.images.shape[2]
    blocks = tower_blocks(model.vision_model)
    channels = sum(blocks[t].projection.project_conv.out_channels for t in taps)
    head_channels, head_side = blocks[-1].projection.project_conv.in_channels, side // 32
    name = f"taps{'-'.join(map(str, taps))}-grid{grid}"
    patches = open_array(folder / f"patches-{name}.npy", (2 * pairs, grid * grid, channels),
                         np.float16)
    heads = open_array(folder / f"heads-{name}.npy", (2 * pairs, head_side**2, head_channels),
                       np.float16)
    marker = folder / f"{name}.json"
    done = json.loads(marker.read_text())["pairs"] if marker.exists() else 0
    for start in tqdm(range(done, pairs, BATCH), desc="features", unit=f"{BATCH} pairs"):
        stop = min(start + BATCH, pairs)
        images = torch.from_numpy(pool.images[start:stop].copy()).flatten(0, 1)
        pixels = images.permute(0, 3, 1, 2).float() / 127.5 - 1.0
        found = tower_features(model, pixels, taps, grid)
        for array, values in zip((patches, heads), found, strict=True):
            array[2 * start : 2 * stop] = values.flatten(2).transpose(1, 2).half().numpy()
        if stop == pairs or (start // BATCH) % 50 == 49:
            patches.flush()
            heads.flush()
            marker.write_text(json.dumps({"pairs": stop}))
    return PoolFeatures(patches, heads, _shares(pool, grid), _shares(pool, head_side))


def _shares(pool: Pool, grid: int) -> Tensor:
    return torch.cat([
        functional.adaptive_avg_pool2d(
            torch.from_numpy(pool.masks[i : i + 256].astype(np.float32))[:, None], grid
        ).flatten(1)
        for i in range(0, len(pool), 256)
    ])


class TextStates:
    """[CLS] states of the frozen text tower, (384,) each, by text; kept in one file.

    Args:
        model: with exact towers.
        tokenizer: its own.
        file: where the states are kept between runs.
    """

    def __init__(
        self, model: AlignModel, tokenizer: PreTrainedTokenizerBase, file: Path
    ) -> None:
        self._model, self._tokenizer, self._file = model, tokenizer, file
        self._index: dict[str, int] = {}
        self._states = torch.empty(0, model.text_model.config.hidden_size)
        if file.exists():
            self._states = load_file(file)["states"]
            texts = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
            # Killed between the two files, the list is the longer one.
            self._index = {text: i for i, text in enumerate(texts[: len(self._states)])}

    def prepare(self, texts: Iterable[str]) -> None:
        """Compute the states that are missing; shorter texts first, so that little is padded."""
        missing = sorted({t for t in texts if t not in self._index}, key=lambda t: (len(t), t))
        batches = range(0, len(missing), TEXT_BATCH)
        for number, start in enumerate(tqdm(batches, desc="texts", disable=not missing)):
            chunk = missing[start : start + TEXT_BATCH]
            states = text_states(self._model, self._tokenizer, chunk)
            self._index |= {t: len(self._index) + i for i, t in enumerate(chunk)}
            self._states = torch.cat([self._states, states])
            if number % TEXTS_SAVED_EVERY == TEXTS_SAVED_EVERY - 1 or start == batches[-1]:
                self._save()

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """(n, 384) float32 of texts that were prepared."""
        return self._states[[self._index[text] for text in texts]]

    def _save(self) -> None:
        self._file.with_suffix(".json").write_text(json.dumps(list(self._index)), encoding="utf-8")
        with atomic_path(self._file) as part:
            save_file({"states": self._states.contiguous()}, part)


@torch.inference_mode()
def text_states(
    model: AlignModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]
) -> Tensor:
    """The text tower's last state of [CLS], (n, 384)."""
    tokens = tokenizer(list(texts), padding=True, truncation=True, max_length=64,
                       return_tensors="pt")
    return model.text_model(
        input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
    ).last_hidden_state[:, 0]
