"""The encoder's training loop: reproducible, resumable, minutes to an hour on two CPU cores."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm
from transformers import AlignModel, BertTokenizer

from ltad.config import FeatureSettings
from ltad.data import captions
from ltad.encoders import AlignEncoder
from ltad.pretraining.augment import augment_pairs
from ltad.pretraining.losses import DamageAnchor, NameAnchors, contrastive_loss, dense_loss
from ltad.pretraining.model import (
    REPEATS,
    SHALLOW_REPEATS,
    deepened,
    small_align,
    stage_ends,
    word_tokenizer,
)
from ltad.pretraining.pool import Pair, Pool, build_pool
from ltad.seeds import generator, torch_generator
from ltad.training.state import (
    optimizer_tensors,
    read_tensors,
    restore_optimizer,
    write_tensors,
)
from ltad.types import SettingError

STATE_FILE = "training-state.safetensors"
BLOCKS = "model.vision_model.encoder.blocks."
_ENDS = stage_ends()
PROBED_TAPS = (_ENDS[1], _ENDS[2], _ENDS[4])
READ_TAPS = (_ENDS[2], _ENDS[3], _ENDS[4] - 1, _ENDS[4])
"""Ends of stages 3 and 4, and the last two blocks of stage 5. Earlier layers of so small a tower
know textures, not damage; in later ones regular textures make single places grow thirtyfold."""
HARD_PARTS = ("bearing", "button", "circuit_board", "connector", "screw", "wire_mesh")
"""Parts of much detail: trained on all alike, an encoder hardly learns what damages these."""


@dataclass(frozen=True)
class PretrainingSettings:
    """The recipe of the embedded encoder.

    Attributes:
        pairs: rendered twin pairs in the pool.
        image_size: side of the rendered pictures and of the encoder's input.
        small_size: side during the first `small_share` of the steps, which makes them cheap.
        steps, batch_pairs: optimiser steps, twin pairs a step.
        learning_rate, weight_decay: AdamW's; warm-up over 3% of the steps, then a cosine to zero.
        text_rate: the text tower's learning rate as a share of the image tower's; a transformer
            from scratch collapses to one sentence at the rate that suits a convolutional tower.
        dense_weight, layer_weight: of the dense loss on the last map, and on each tapped layer.
        parts_share: share of each batch that shows parts; the rest shows generic scenes.
        hard_share: share of those parts that come from `HARD_PARTS` alone.
        precision: "bfloat16" or "float32" for the image tower's arithmetic.
        seed: of every draw.
    """

    pairs: int = 14_000
    image_size: int = 192
    small_size: int = 160
    small_share: float = 0.3
    steps: int = 2_000
    batch_pairs: int = 32
    learning_rate: float = 1.2e-3
    weight_decay: float = 0.02
    text_rate: float = 0.3
    dense_weight: float = 2.0
    layer_weight: float = 0.5
    parts_share: float = 0.7
    hard_share: float = 0.45
    precision: str = "bfloat16"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in (f.name for f in fields(self) if f.name not in ("seed", "precision")):
            if getattr(self, name) <= 0:
                raise SettingError(f"{name} is {getattr(self, name)!r}, but it must be above zero.")
        if self.precision not in ("bfloat16", "float32"):
            raise SettingError(f"precision is {self.precision!r}: give bfloat16 or float32.")


class Trainee:
    """The model with everything that a step changes."""

    def __init__(
        self, settings: PretrainingSettings, tokenizer: BertTokenizer, subjects: int, device: str
    ) -> None:
        self.settings = settings
        self.tokenizer = tokenizer
        self.device = torch.device(device)
        self.model: AlignModel = small_align(
            len(tokenizer), image_size=settings.image_size, seed=settings.seed
        ).to(self.device)
        self.model.vision_model.to(memory_format=torch.channels_last)
        blocks = self.model.vision_model.encoder.blocks
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed + 1)
            self.damage = DamageAnchor(
                tuple(blocks[t].projection.project_conv.out_channels for t in PROBED_TAPS),
                self.model.config.projection_dim,
            ).to(self.device)
            self.anchors = NameAnchors(subjects, self.model.config.projection_dim).to(self.device)
        # A temperature that learns grows at first, which silences the contrastive loss for good.
        self.model.temperature.requires_grad_(False)
        text = [*self.model.text_model.parameters(), *self.model.text_projection.parameters()]
        image = [
            *self.model.vision_model.parameters(), *self.damage.parameters(),
            *self.anchors.parameters(),
        ]
        self.optimizer = torch.optim.AdamW(
            [{"params": image, "share": 1.0}, {"params": text, "share": settings.text_rate}],
            lr=settings.learning_rate, weight_decay=settings.weight_decay,
        )

    def tensors(self) -> dict[str, Tensor]:
        return {
            **{f"model.{k}": v for k, v in self.model.state_dict().items()},
            **{f"damage.{k}": v for k, v in self.damage.state_dict().items()},
            **{f"anchors.{k}": v for k, v in self.anchors.state_dict().items()},
            **optimizer_tensors(self.optimizer),
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        owners = {"model.": self.model, "damage.": self.damage, "anchors.": self.anchors}
        for prefix, module in owners.items():
            module.load_state_dict(
                {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            )
        restore_optimizer(self.optimizer, tensors)

    def image_layers(self, pixels: Tensor) -> tuple[list[Tensor], Tensor]:
        """The probed layers and the last map, float32, of pixels (B, 3, S, S)."""
        tower = self.model.vision_model
        layers = []
        with torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.settings.precision == "bfloat16"
        ):
            hidden = tower.embeddings(pixels.contiguous(memory_format=torch.channels_last))
            for index, block in enumerate(tower.encoder.blocks):
                hidden = block(hidden)
                if index in PROBED_TAPS:
                    layers.append(hidden)
        return [layer.float() for layer in layers], hidden.float()

    def texts(self, sentences: list[str]) -> Tensor:
        """Raw text embeddings (n, d)."""
        tokens = self.tokenizer(sentences, padding=True, return_tensors="pt").to(self.device)
        return self.model.get_text_features(**tokens).pooler_output


def learning_rate(step: int, settings: PretrainingSettings) -> float:
    """Warm-up, then a cosine to zero."""
    warm = max(1, settings.steps * 3 // 100)
    if step < warm:
        return settings.learning_rate * (step + 1) / warm
    share = (step - warm) / max(1, settings.steps - warm)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * share))


def write_captions(pairs: list[Pair], rng: np.random.Generator) -> tuple[list[str], list[str]]:
    """Captions of the good twins and of the flawed twins."""
    written = [captions.twin_captions(p.subject, p.attributes, p.defect, rng) for p in pairs]
    return [good for good, _ in written], [bad for _, bad in written]


def batch(
    pool: Pool, step: int, settings: PretrainingSettings
) -> tuple[Tensor, Tensor, list[str], list[str], Tensor]:
    """Views (P, 2, 3, S, S), masks (P, S, S), both captions, subjects (P,) of step `step`."""
    rng = generator(settings.seed, 2, step)
    parts = round(settings.parts_share * settings.batch_pairs)
    hard = round(settings.hard_share * parts)
    chosen = np.sort(np.concatenate([
        rng.choice(pool.positions_of(HARD_PARTS), hard, replace=False),
        rng.choice(pool.part_positions, parts - hard, replace=False),
        rng.choice(pool.scene_positions, settings.batch_pairs - parts, replace=False),
    ]))
    images = torch.from_numpy(pool.images[chosen]).permute(0, 1, 4, 2, 3).float() / 127.5 - 1.0
    masks = torch.from_numpy(pool.masks[chosen]).float()
    small = step < settings.small_share * settings.steps
    views, masks = augment_pairs(
        images, masks, settings.small_size if small else settings.image_size,
        torch_generator(settings.seed, 3, step),
    )
    good, bad = write_captions([pool.pairs[i] for i in chosen], rng)
    return views, masks, good, bad, torch.from_numpy(pool.subjects[chosen])


def train_step(trainee: Trainee, pool: Pool, step: int) -> dict[str, float]:
    """One optimiser step; returns its losses."""
    settings = trainee.settings
    for group in trainee.optimizer.param_groups:
        group["lr"] = group["share"] * learning_rate(step, settings)
    views, masks, good, bad, subjects = batch(pool, step, settings)
    views, masks = views.to(trainee.device), masks.to(trainee.device)
    count = len(good)
    pixels = torch.cat([views[:, 0], views[:, 1]])
    masks = torch.cat([torch.zeros_like(masks), masks])
    layers, last = trainee.image_layers(pixels)
    texts = functional.normalize(trainee.texts(good + bad), dim=1)
    embeddings, temperature = last.mean(dim=(2, 3)), trainee.model.temperature
    subjects = torch.cat([subjects, subjects]).to(trainee.device)
    dense, *probed = (dense_loss(x, masks) for x in trainee.damage.logits(layers, last))
    losses = {
        "naming": contrastive_loss(embeddings, texts, temperature, good + bad),
        "anchors": sum(trainee.anchors.loss(e, subjects, temperature) for e in (embeddings, texts)),
        "condition": trainee.damage.text_loss(texts[:count], texts[count:]),
        "dense": settings.dense_weight * dense,
        "layers": settings.layer_weight * sum(probed),
    }
    loss = sum(losses.values())
    trainee.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(trainee.model.parameters(), 1.0)
    trainee.optimizer.step()
    return {name: value.item() for name, value in losses.items()}


def pretrain(
    out: str | Path,
    settings: PretrainingSettings,
    work: str | Path = ".ltad/pretraining",
    device: str = "cpu",
    save_every: int = 100,
    start: str | Path | None = None,
) -> AlignEncoder:
    """Train the embedded encoder, or go on where a killed training stopped.

    Args:
        out: folder for the finished encoder (``model.safetensors``, tokenizer, settings).
        settings: the recipe.
        work: folder for the rendered pool and the resumable state.
        device: where to train.
        save_every: steps between two states on disk.
        start: a state file of an earlier pre-training whose weights to begin from.
    """
    work = Path(work)
    pool = build_pool(work, settings.pairs, settings.image_size, settings.seed)
    tokenizer = word_tokenizer(captions.all_words())
    trainee = Trainee(settings, tokenizer, pool.subjects.max() + 1, device)
    state = work / STATE_FILE
    first = _resume(trainee, state)
    if first == 0 and start is not None:
        begin_from(trainee, start)
    trainee.model.train()
    log = (work / "log.jsonl").open("a", encoding="utf-8")
    began = time.monotonic()
    with log, tqdm(range(first, settings.steps), initial=first, total=settings.steps) as bar:
        for step in bar:
            losses = train_step(trainee, pool, step)
            if step % 10 == 0:
                bar.set_postfix({k: f"{v:.3f}" for k, v in losses.items()})
                seconds = round(time.monotonic() - began, 1)
                log.write(json.dumps({"step": step, "seconds": seconds, **losses}) + "\n")
                log.flush()
            if (step + 1) % save_every == 0 or step + 1 == settings.steps:
                write_tensors(state, trainee.tensors(), step=step + 1, settings=asdict(settings))
    encoder = AlignEncoder(
        trainee.model, tokenizer,
        FeatureSettings(settings.image_size, READ_TAPS, settings.image_size // 16,
                        settings.image_size // 16),
        device,
    )
    encoder.save(out)
    (Path(out) / "pretraining.json").write_text(json.dumps(asdict(settings), indent=2) + "\n")
    return encoder


def begin_from(trainee: Trainee, start: str | Path) -> None:
    """Take over the weights of an earlier training, of as deep or a shallower image tower."""
    tensors, _ = read_tensors(start)
    kept = {k: v for k, v in tensors.items() if not k.startswith((BLOCKS, "optimizer."))}
    blocks = {k.removeprefix(BLOCKS): v for k, v in tensors.items() if k.startswith(BLOCKS)}
    count = 1 + max(int(name.split(".")[0]) for name in blocks)
    old = SHALLOW_REPEATS if count == sum(SHALLOW_REPEATS) else REPEATS
    added = {k: v for k, v in trainee.tensors().items() if k.startswith(BLOCKS)}
    moved = {BLOCKS + k: v for k, v in deepened(blocks, old, REPEATS).items()}
    trainee.restore({**kept, **added, **moved})


def _resume(trainee: Trainee, state: Path) -> int:
    if not state.exists():
        return 0
    tensors, about = read_tensors(state)
    if about["settings"] != asdict(trainee.settings):
        raise SettingError(
            f"{state} was written with other settings. Repeat those, or give another work folder."
        )
    trainee.restore(tensors)
    return about["step"]
