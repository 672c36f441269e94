"""What the frozen towers make of the pool and of the texts: computed once, read in every step."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm
from transformers import AlignModel, PreTrainedTokenizerBase

from ltad.data.arrays import open_array
from ltad.features import patch_features
from ltad.pretraining.pool import Pool

BATCH = 4
TEXT_BATCH = 256
TEXTS_SAVED_EVERY = 20


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
    *blocks, last = tower.encoder.blocks
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
    blocks = model.vision_model.encoder.blocks
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
        self._states = torch.empty(0, model.config.text_config.hidden_size)
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
        partial = self._file.with_suffix(".part")
        save_file({"states": self._states.contiguous()}, partial)
        partial.replace(self._file)


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
