"""What an encoder knows before any detector is trained on it: names, and good against broken."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from ltad.data.benchmark import test_seed
from ltad.data.captions import article
from ltad.data.parts import PART_CLASSES, UNSEEN_DEFECT_TYPES, applicable_defects, render_part
from ltad.encoders import AlignEncoder
from ltad.metrics import PixelScores, image_auroc
from ltad.models.names import spoken
from ltad.pretraining.pool import SEEN_PART_CLASSES
from ltad.scoring import upsample

PAIRS = (("a", "a broken"), ("a normal", "a damaged"), ("a good", "an abnormal"),
         ("a flawless", "a defective"))
TOP_PLACES = 3
DEFECTIVE_OFFSET = 2_000_000


@dataclass(frozen=True)
class ProbeResult:
    """Figures on rendered parts of test seeds; AUROC per class, then averaged; in [0, 1].

    Attributes:
        naming: share of good pictures of seen classes whose name wins among the seen classes.
        image, pixel: AUROC of "a PART" against "a broken PART" by group: "seen" (seen class, seen
            defect), "unseen defect" (seen class), "unseen class" (seen defect), "unseen both".
        image_by_prompts: "seen" image AUROC for each pair of prompts.
    """

    naming: float
    image: dict[str, float]
    pixel: dict[str, float]
    image_by_prompts: dict[str, float]


def unit_texts(encoder: AlignEncoder, prompts: list[str]) -> Tensor:
    """(n, d) unit-length text embeddings of plain prompts."""
    return functional.normalize(encoder.text_embeddings([[p] for p in prompts]), dim=1)


def named(words: str, part_class: str) -> str:
    """``("a broken", "hex_nut")`` -> "a broken hex nut"; the article follows the next word."""
    name = spoken(part_class)
    return f"{article(name)} {name}" if words == "a" else f"{words} {name}"


@torch.inference_mode()
def probe(encoder: AlignEncoder, per_defect: int = 8, good: int = 32) -> ProbeResult:
    """Measure an encoder on freshly rendered parts.

    Args:
        encoder: any; it is compared by plain prompts, no detector involved.
        per_defect: defective pictures for each class and defect.
        good: good pictures for each class.
    """
    names = unit_texts(encoder, [named("a", c) for c in SEEN_PART_CLASSES])
    hits, rows = [], []
    by_prompts: dict[str, list[float]] = {}
    for part_class in tqdm(PART_CLASSES, desc="probe"):
        normal_maps, embeddings = _last_maps(encoder, part_class, good, None)
        if part_class in SEEN_PART_CLASSES:
            best = (functional.normalize(embeddings, dim=1) @ names.T).argmax(dim=1)
            hits += (best == SEEN_PART_CLASSES.index(part_class)).tolist()
        flawed = {
            d: _last_maps(encoder, part_class, per_defect, d)[0]
            for d in applicable_defects(part_class)
        }
        for prompts in PAIRS:
            found = _compare(encoder, part_class, prompts, normal_maps, flawed, per_defect)
            if prompts == PAIRS[0]:
                rows += found
            by_prompts.setdefault(" / ".join(prompts), []).extend(
                image for group, image, _ in found if group == "seen"
            )
    return ProbeResult(
        float(np.mean(hits)),
        {g: float(np.mean([i for group, i, _ in rows if group == g])) for g in _groups(rows)},
        {g: float(np.mean([p for group, _, p in rows if group == g])) for g in _groups(rows)},
        {pair: float(np.mean(values)) for pair, values in by_prompts.items()},
    )


def _groups(rows: list[tuple[str, float, float]]) -> list[str]:
    return sorted({group for group, _, _ in rows})


def _last_maps(
    encoder: AlignEncoder, part_class: str, count: int, defect: str | None
) -> tuple[Tensor, Tensor]:
    """Last maps (n, d, h, w) and image embeddings (n, d) of rendered pictures."""
    pixels = torch.stack([
        encoder.pixels(Image.fromarray(_picture(part_class, i, encoder, defect).image))
        for i in range(count)
    ])
    maps = encoder.image_features(pixels, with_latent=True).latent
    return maps, maps.mean(dim=(2, 3))


def _picture(part_class: str, index: int, encoder: AlignEncoder, defect: str | None):
    seed = test_seed(index if defect is None else DEFECTIVE_OFFSET + index)
    return render_part(part_class, seed, encoder.settings.image_size, defect)


def _compare(
    encoder: AlignEncoder, part_class: str, prompts: tuple[str, str], normal_maps: Tensor,
    flawed: dict[str, Tensor], per_defect: int,
) -> list[tuple[str, float, float]]:
    """(group, image AUROC, pixel AUROC) for the seen and the unseen defects of one class."""
    normal, abnormal = unit_texts(encoder, [named(words, part_class) for words in prompts])
    direction = abnormal - normal
    size = encoder.settings.image_size

    def logits(maps: Tensor) -> Tensor:
        return torch.einsum("bdhw,d->bhw", maps, direction)

    def scores(maps: Tensor) -> list[float]:
        return logits(maps).flatten(1).topk(TOP_PLACES, dim=1).values.mean(dim=1).tolist()

    rows, good = [], scores(normal_maps)
    for is_unseen in (False, True):
        defects = [d for d in flawed if (d in UNSEEN_DEFECT_TYPES) == is_unseen]
        if not defects:
            continue
        bad = [score for d in defects for score in scores(flawed[d])]
        pixels = PixelScores()
        for anomaly_map in upsample(logits(normal_maps), size):
            pixels.add(np.zeros((size, size), bool), anomaly_map.numpy())
        for defect in defects:
            for index, anomaly_map in enumerate(upsample(logits(flawed[defect]), size)):
                mask = _picture(part_class, index, encoder, defect).mask
                pixels.add(mask, anomaly_map.numpy())
        labels = [0] * len(good) + [1] * len(bad)
        rows.append((
            _group(part_class in SEEN_PART_CLASSES, is_unseen),
            image_auroc(labels, good + bad), pixels.auroc(),
        ))
    return rows


def _group(seen_class: bool, unseen_defect: bool) -> str:
    if seen_class:
        return "unseen defect" if unseen_defect else "seen"
    return "unseen both" if unseen_defect else "unseen class"
