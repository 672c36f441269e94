"""The frozen image-text encoder: the `Encoder` that all code asks for, and ALIGN as one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AlignModel, AutoTokenizer, PreTrainedTokenizerBase
from transformers.models.align.modeling_align import AlignVisionSqueezeExciteLayer

from ltad.config import FeatureSettings
from ltad.models.fused_tower import FusedTower, tower_blocks
from ltad.types import CheckpointError, PromptError, SettingError

Prompt = Sequence["str | Tensor"]
"""One prompt as its parts in order: words, or learned token vectors (m, token_width)."""
SETTINGS_FILE = "features.json"
SEMANTIC_START_FILE = "semantic_start.safetensors"
OPEN_GATE = 30.0
"""From here on a sigmoid is 1 in single precision."""
PREPROCESSING = "RGB, bilinear resize to a square, x / 127.5 - 1"


@dataclass(frozen=True)
class ImageFeatures:
    """Outputs of the frozen image encoder for a batch.

    Attributes:
        taps: the layers f_1..f_{L-1}, each (B, C_l, H_l, W_l) float32.
        latent: f_L, (B, C_L, h, w); the last tap where f_L was not asked for.
    """

    taps: tuple[Tensor, ...]
    latent: Tensor


@dataclass(frozen=True)
class Vocabulary:
    """The text encoder's tokens and their input embeddings, (n, token_width) float32."""

    tokens: tuple[str, ...]
    embeddings: Tensor

    def whole_words(self) -> Vocabulary:
        """Only the tokens that are words of their own in the letters a to z, no pieces of words."""
        keep = [i for i, token in enumerate(self.tokens)
                if token.isascii() and token.isalpha() and len(token) > 1]
        return Vocabulary(tuple(self.tokens[i] for i in keep), self.embeddings[keep])


class Encoder(Protocol):
    """A frozen image encoder E and text encoder T with a joint space of `joint_width` dimensions.

    Attributes:
        settings: image size, taps and grids.
        channels: C_l of each tap.
        joint_width: d.
        token_width: width of T's token embeddings.
        device: where it runs.
    """

    settings: FeatureSettings
    channels: tuple[int, ...]
    joint_width: int
    token_width: int
    device: torch.device

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(C_L, h, w) of f_L at the settings' image size."""
        ...

    @property
    def fingerprint(self) -> str:
        """Short hash of weights, taps, preprocessing and grids."""
        ...

    @property
    def source(self) -> str:
        """The folder or hub name that it was loaded from; empty where it was made in memory."""
        ...

    @property
    def semantic_start(self) -> dict[str, Tensor] | None:
        """Weights of Phi that speak the text encoder's language: ``maps.L.weight`` (d, C_l) and
        ``maps.L.bias`` (d,); None where the encoder was made without, or is read at other taps."""
        ...

    def pixels(self, image: Image.Image) -> Tensor:
        """(3, S, S) float32 in [-1, 1] of an RGB image."""
        ...

    def image_features(self, pixels: Tensor, with_latent: bool = False) -> ImageFeatures:
        """Taps (and f_L) of pixels (B, 3, S, S). No block past the last needed one is run."""
        ...

    def text_embeddings(self, prompts: Sequence[Prompt]) -> Tensor:
        """t = T(prompt), (n, joint_width); differentiable in learned token vectors."""
        ...

    def token_vectors(self, words: str) -> Tensor:
        """Input embeddings (n, token_width) of the words' tokens, without [CLS] and [SEP]."""
        ...

    def tokenize(self, words: str) -> list[str]:
        """The tokens that the words are cut into."""
        ...

    def unknown_words(self, words: str) -> list[str]:
        """Words that are no token of their own: cut into pieces, or unknown altogether."""
        ...

    def vocabulary(self) -> Vocabulary:
        """Every token's string and input embedding."""
        ...


def load_encoder(
    name: str | Path,
    settings: FeatureSettings | None = None,
    device: str | torch.device = "cpu",
) -> AlignEncoder:
    """Load ALIGN, frozen and in eval mode.

    Args:
        name: a hub name (``kakaobrain/align-base``) or a local folder in transformers' format.
        settings: image size, taps, grids; by default the folder's own ``features.json`` if it has
            one, else the paper's (224 pixels, blocks 3, 10, 17, 37, grid 14).
        device: "cpu", "cuda", "mps", ...

    Raises:
        CheckpointError: nothing loadable under that name.
    """
    try:
        model = AlignModel.from_pretrained(str(name), dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(str(name))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"No ALIGN model could be loaded from {str(name)!r}: {str(error).splitlines()[0]} "
            "Give a folder that holds config.json, model.safetensors and the tokenizer, or a hub "
            "name such as kakaobrain/align-base (which needs a network connection once)."
        ) from error
    file = Path(name) / SETTINGS_FILE
    own = (
        FeatureSettings(**json.loads(file.read_text(encoding="utf-8")))
        if file.is_file() else FeatureSettings()
    )
    start = Path(name) / SEMANTIC_START_FILE
    semantic_start = (load_file(start), own.taps) if start.is_file() else None
    return AlignEncoder(model, tokenizer, settings or own, device, semantic_start)


class OpenGate(nn.Module):
    """A squeeze-and-excitation layer that lets everything through, without computing its gate.

    EfficientNet-Lite has no such layers; ALIGN's tower computes it with every gate at one. The
    weights stay, under their own names, so that the model is saved as it was loaded.
    """

    def __init__(self, layer: AlignVisionSqueezeExciteLayer) -> None:
        super().__init__()
        self.reduce, self.expand = layer.reduce, layer.expand

    @staticmethod
    def fits(layer: AlignVisionSqueezeExciteLayer) -> bool:
        """Whether the layer's gate is one whatever comes in."""
        weight, bias = layer.expand.weight, layer.expand.bias
        return bool((weight == 0).all() and bias is not None and (bias >= OPEN_GATE).all())

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden


def usable_device(device: str | torch.device) -> torch.device:
    """The device, once something has been put on it. Raises SettingError if that is impossible."""
    try:
        return torch.empty(1, device=device).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise SettingError(
            f"The device is {str(device)!r}, which PyTorch cannot use here: "
            f"{str(error).splitlines()[0]}. Use cpu, or install PyTorch for that device."
        ) from error


class AlignEncoder:
    """transformers' AlignModel as an `Encoder` (see there for the attributes).

    Args:
        model: any AlignModel; its weights are frozen here, in place.
        tokenizer: the model's own.
        settings: what to read out of it.
        device: where to run it.
        semantic_start: weights of a semantic head that this encoder was made with, and the taps
            that they belong to; see `semantic_start`.

    Raises:
        SettingError: a tap index past the model's last block, or a device that is not there.
    """

    def __init__(
        self,
        model: AlignModel,
        tokenizer: PreTrainedTokenizerBase,
        settings: FeatureSettings,
        device: str | torch.device = "cpu",
        semantic_start: tuple[dict[str, Tensor], tuple[int, ...]] | None = None,
    ) -> None:
        blocks = tower_blocks(model.vision_model)
        if settings.taps[-1] >= len(blocks):
            raise SettingError(
                f"Tap {settings.taps[-1]} does not exist: the image encoder has {len(blocks)} "
                f"blocks, 0 to {len(blocks) - 1}."
            )
        self.device = usable_device(device)
        self.settings = settings
        for block in blocks:
            if OpenGate.fits(block.squeeze_excite):
                block.register_module("squeeze_excite", OpenGate(block.squeeze_excite))
        self._semantic_start = semantic_start
        self.model = model.eval().requires_grad_(False)
        # As transformers wraps `to`, it seems to be no method.
        self.model.to(self.device)  # pyright: ignore[reportArgumentType]
        self.model.vision_model.to(  # pyright: ignore[reportCallIssue]
            memory_format=torch.channels_last)
        self.tokenizer = tokenizer
        self.joint_width = model.text_projection.out_features
        self.token_width = model.text_model.config.hidden_size
        self.channels: tuple[int, ...] = tuple(
            blocks[tap].projection.project_conv.out_channels for tap in settings.taps
        )

    @cached_property
    def _fused(self) -> FusedTower | None:
        """The image tower as it runs on a processor, where that is possible."""
        tower = self.model.vision_model
        return FusedTower(tower) if FusedTower.fits(tower) else None

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(C_L, h, w) of f_L at the settings' image size."""
        return self._latent_shape

    @cached_property
    def _latent_shape(self) -> tuple[int, int, int]:
        size = self.settings.image_size
        with torch.inference_mode():
            latent = self.image_features(
                torch.zeros(1, 3, size, size, device=self.device), with_latent=True
            ).latent
        _, channels, height, width = latent.shape
        return channels, height, width

    @property
    def fingerprint(self) -> str:
        """Short hash of weights, taps, preprocessing and grids."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256(PREPROCESSING.encode())
        digest.update(repr(self.settings).encode())
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(np.ascontiguousarray(tensor.cpu().numpy()).view(np.uint8).data)
        return digest.hexdigest()[:16]

    @property
    def source(self) -> str:
        """The folder or hub name that it was loaded from; empty where it was made in memory."""
        return str(self.model.name_or_path)

    def pixels(self, image: Image.Image) -> Tensor:
        """(3, S, S) float32 in [-1, 1]: scaled without cropping, bilinear (section 6)."""
        size = self.settings.image_size
        resized = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
        array = np.asarray(resized, dtype=np.float32) / 127.5 - 1.0
        return torch.from_numpy(array).permute(2, 0, 1).contiguous()

    def image_features(self, pixels: Tensor, with_latent: bool = False) -> ImageFeatures:
        """Taps f_1..f_{L-1}, and f_L if asked; blocks past the last one needed do not run.

        Args:
            pixels: (B, 3, S, S) float32 in [-1, 1].
            with_latent: also run to the end and return the last map.
        """
        taps = self.settings.taps
        last = None if with_latent else taps[-1] + 1
        hidden, outputs = pixels.to(self.device), list[Tensor]()
        blocks = self._block_outputs(hidden)
        for index, hidden in enumerate(islice(blocks, last)):
            if index in taps:
                outputs.append(hidden)
        return ImageFeatures(tuple(outputs), hidden)

    def _block_outputs(self, pixels: Tensor) -> Iterator[Tensor]:
        """The output of each block in turn, computed as it is asked for."""
        if self._fused is not None:
            yield from self._fused.outputs(pixels)
            return
        tower = self.model.vision_model
        hidden = tower.embeddings(pixels.contiguous(memory_format=torch.channels_last))
        for block in tower_blocks(tower):
            hidden = block(hidden)
            yield hidden

    def image_embeddings(self, pixels: Tensor) -> Tensor:
        """ALIGN's own image embedding, (B, d): the mean of the last map."""
        return self.image_features(pixels, with_latent=True).latent.mean(dim=(2, 3))

    def text_embeddings(self, prompts: Sequence[Prompt]) -> Tensor:
        """t = T(prompt), (n, d) raw; [CLS], the parts, [SEP], padded to the longest.

        Raises:
            PromptError: a prompt longer than the text encoder's positions.
        """
        rows = [self._framed(prompt) for prompt in prompts]
        longest = max(len(row) for row in rows)
        limit = self.model.text_model.config.max_position_embeddings
        if longest > limit:
            raise PromptError(
                f"A prompt has {longest} tokens, but the text encoder reads at most {limit}. "
                "Use fewer words."
            )
        padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        lengths = torch.tensor([len(row) for row in rows], device=self.device)
        mask = torch.arange(longest, device=self.device)[None] < lengths[:, None]
        found = self.model.get_text_features(inputs_embeds=padded, attention_mask=mask.long())
        return found.pooler_output  # pyright: ignore[reportAttributeAccessIssue, reportReturnType]

    def token_vectors(self, words: str) -> Tensor:
        """Input embeddings (n, token_width) of the words' tokens, without [CLS] and [SEP]."""
        return self._embed(self.tokenizer(words, add_special_tokens=False)["input_ids"])

    def tokenize(self, words: str) -> list[str]:
        """The tokens that the words are cut into."""
        return self.tokenizer.tokenize(words)

    def unknown_words(self, words: str) -> list[str]:
        """Words that are no token of their own: cut into pieces, or unknown altogether."""
        unknown = self.tokenizer.unk_token
        found = []
        for word in words.split():
            pieces = self.tokenizer.tokenize(word)
            if not pieces or unknown in pieces or any(p.startswith("##") for p in pieces):
                found.append(word)
        return found

    def vocabulary(self) -> Vocabulary:
        """Every token's string and input embedding, on the CPU."""
        tokens = self.tokenizer.convert_ids_to_tokens(list(range(len(self.tokenizer))))
        return Vocabulary(tuple(tokens), self._word_embeddings.weight[: len(tokens)].cpu())

    @property
    def _word_embeddings(self) -> torch.nn.Embedding:
        return self.model.text_model.get_input_embeddings()

    def _embed(self, ids: list[int]) -> Tensor:
        return self._word_embeddings(torch.tensor(ids, dtype=torch.long, device=self.device))

    def _framed(self, prompt: Prompt) -> Tensor:
        parts = [
            self.token_vectors(part) if isinstance(part, str) else part.to(self.device)
            for part in prompt
        ]
        ends = [self.tokenizer.cls_token_id, self.tokenizer.sep_token_id]
        first, last = self._embed(cast(list[int], ends)).split(1)
        return torch.cat([first, *parts, last])

    @property
    def semantic_start(self) -> dict[str, Tensor] | None:
        """Weights of Phi that speak the text encoder's language: ``maps.L.weight`` (d, C_l) and
        ``maps.L.bias`` (d,); None where the encoder was made without, or is read at other taps."""
        if self._semantic_start is None or self._semantic_start[1] != self.settings.taps:
            return None
        return self._semantic_start[0]

    def save(self, folder: str | Path, shard_size: str = "5GB") -> None:
        """Write weights, tokenizer and settings so that `load_encoder(folder)` reads them.

        Args:
            folder: is made where it is missing.
            shard_size: of the weights' files at most, unless one tensor is larger.
        """
        folder = Path(folder)
        self.model.save_pretrained(folder, max_shard_size=shard_size)
        self.tokenizer.save_pretrained(folder)
        settings = {**self.settings.__dict__, "taps": list(self.settings.taps)}
        (folder / SETTINGS_FILE).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
