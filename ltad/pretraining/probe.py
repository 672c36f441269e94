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


@dataclass(frozen=True)
class _Pictures:
    """Last maps (n, d, h, w) of rendered pictures, and their masks (n, S, S)."""

    maps: Tensor
    masks: np.ndarray


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
        normal = _render(encoder, part_class, good, None)
        if part_class in SEEN_PART_CLASSES:
            embeddings = functional.normalize(normal.maps.mean(dim=(2, 3)), dim=1)
            best = (embeddings @ names.T).argmax(dim=1)
            hits += (best == SEEN_PART_CLASSES.index(part_class)).tolist()
        flawed = {
            d: _render(encoder, part_class, per_defect, d) for d in applicable_defects(part_class)
        }
        for prompts in PAIRS:
            found = _compare(encoder, part_class, prompts, normal, flawed)
            if prompts == PAIRS[0]:
                rows += found
            by_prompts.setdefault(" / ".join(prompts), []).extend(
                image for group, image, _ in found if group == "seen"
            )
    groups = sorted({group for group, _, _ in rows})
    return ProbeResult(
        float(np.mean(hits)),
        {g: float(np.mean([i for group, i, _ in rows if group == g])) for g in groups},
        {g: float(np.mean([p for group, _, p in rows if group == g])) for g in groups},
        {pair: float(np.mean(values)) for pair, values in by_prompts.items()},
    )


def _render(encoder: AlignEncoder, part_class: str, count: int, defect: str | None) -> _Pictures:
    size, offset = encoder.settings.image_size, 0 if defect is None else DEFECTIVE_OFFSET
    drawn = [render_part(part_class, test_seed(offset + i), size, defect) for i in range(count)]
    pixels = torch.stack([encoder.pixels(Image.fromarray(d.image)) for d in drawn])
    latent = encoder.image_features(pixels, with_latent=True).latent
    return _Pictures(latent, np.stack([d.mask for d in drawn]))


def _compare(
    encoder: AlignEncoder, part_class: str, prompts: tuple[str, str], normal: _Pictures,
    flawed: dict[str, _Pictures],
) -> list[tuple[str, float, float]]:
    """(group, image AUROC, pixel AUROC) for the seen and the unseen defects of one class."""
    good_text, bad_text = unit_texts(encoder, [named(words, part_class) for words in prompts])
    logits = {
        d: torch.einsum("bdhw,d->bhw", pictures.maps, bad_text - good_text)
        for d, pictures in {None: normal, **flawed}.items()
    }
    scores = {
        d: v.flatten(1).topk(TOP_PLACES, dim=1).values.mean(dim=1).tolist()
        for d, v in logits.items()
    }
    rows = []
    for is_unseen in (False, True):
        defects = [d for d in flawed if (d in UNSEEN_DEFECT_TYPES) == is_unseen]
        if not defects:
            continue
        pixels = PixelScores()
        for defect in (None, *defects):
            masks = normal.masks if defect is None else flawed[defect].masks
            maps = upsample(logits[defect], encoder.settings.image_size).numpy()
            for mask, anomaly_map in zip(masks, maps, strict=True):
                pixels.add(mask, anomaly_map)
        bad = [score for d in defects for score in scores[d]]
        labels = [0] * len(scores[None]) + [1] * len(bad)
        group = _group(part_class in SEEN_PART_CLASSES, is_unseen)
        rows.append((group, image_auroc(labels, scores[None] + bad), pixels.auroc()))
    return rows


def _group(seen_class: bool, unseen_defect: bool) -> str:
    if seen_class:
        return "unseen defect" if unseen_defect else "seen"
    return "unseen both" if unseen_defect else "unseen class"
