"""What an encoder knows before any detector is trained on it: names, and what words find.

Two readings of an image are held against prompts: the last map, whose mean is the image's
embedding, and the tapped layers through the start of the semantic head, as LTAD begins with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from ltad.data.datasets import load_folder
from ltad.evaluation.evaluate import load_mask
from ltad.evaluation.metrics import PixelScores, image_auroc
from ltad.inference.scoring import upsample
from ltad.io.images import read_image
from ltad.models.align import AlignEncoder
from ltad.models.class_names import spoken
from ltad.models.features import patch_features
from ltad.models.semantic import SemanticHead
from ltad.pretraining.twins import SEEN_PART_CLASSES
from ltad.pretraining.words import HELD_OUT_DAMAGED, HELD_OUT_HARMLESS, phrase
from ltad.synthetic.classes import PART_CLASSES, UNSEEN_DEFECT_TYPES, applicable_defects
from ltad.synthetic.dataset import test_seed
from ltad.synthetic.render import render_part

TABLE_9 = tuple(product(("", "normal", "good", "flawless"),
                        ("broken", "damaged", "abnormal", "defective")))
OTHER_PAIRS = (("", "cracked"), ("", "scratched"), ("", "stained"), ("", "with a hole"),
               ("", "red"), ("", "large"), ("", "purple"), ("", "wooden"))
WORD_TABLE = ("broken", "cracked", "scratched", "stained", "dirty", "chipped", "with a hole",
              "red")
TOP_PLACES = 3
DEFECTIVE_OFFSET = 2_000_000
MOVED = 0.05
BATCH = 8


@dataclass(frozen=True)
class Views:
    """Images of one class and one condition, as each reading sees them.

    Attributes:
        readings: "last map" and "tapped layers" (where the encoder has a semantic start) ->
            (n, d, h, w) float16.
        masks: (n, S, S) bool; None where some defect has no mask.
    """

    readings: Mapping[str, Tensor]
    masks: np.ndarray | None

    def __len__(self) -> int:
        return len(next(iter(self.readings.values())))


class Reader:
    """Both readings of images by one encoder."""

    def __init__(self, encoder: AlignEncoder) -> None:
        self.encoder, self.head = encoder, None
        if encoder.semantic_start is not None:
            self.head = SemanticHead(encoder.channels, encoder.joint_width, "max")
            self.head.load_state_dict(encoder.semantic_start)

    @torch.inference_mode()
    def views(self, images: Sequence[Image.Image], masks: np.ndarray | None) -> Views:
        """Readings of images of any size."""
        found: dict[str, list[Tensor]] = {}
        for start in range(0, len(images), BATCH):
            pixels = torch.stack([self.encoder.pixels(i) for i in images[start : start + BATCH]])
            features = self.encoder.image_features(pixels, with_latent=True)
            maps = {"last map": features.latent}
            if self.head is not None:
                patches = patch_features(features.taps, self.encoder.settings.semantic_grid)
                maps["tapped layers"] = self.head(patches)
            for name, values in maps.items():
                found.setdefault(name, []).append(values.half())
        return Views({name: torch.cat(parts) for name, parts in found.items()}, masks)

    @torch.inference_mode()
    def direction(self, normal: str, abnormal: str, subject: str) -> Tensor:
        """t_a - t_n, (d,), of words about a subject."""
        texts = self.encoder.text_embeddings([[phrase(w, subject)] for w in (abnormal, normal)])
        return texts[0] - texts[1]


def logits(views: Views, reading: str, direction: Tensor) -> Tensor:
    """(n, h, w) float32."""
    return torch.einsum("ndhw,d->nhw", views.readings[reading].float(), direction)


def image_scores(place_logits: Tensor) -> np.ndarray:
    """(n,) mean of the highest places."""
    return place_logits.flatten(1).topk(TOP_PLACES, dim=1).values.mean(dim=1).numpy()


def compare(good: Views, bad: Sequence[Views], reading: str, direction: Tensor, size: int,
            with_pixels: bool) -> dict[str, float]:
    """Image and pixel AUROC in [0, 1] of defective views against good ones; NaN without masks."""
    maps = [logits(v, reading, direction) for v in (good, *bad)]
    scores = np.concatenate([image_scores(m) for m in maps])
    labels = np.repeat([0, 1], [len(good), len(scores) - len(good)])
    figures = {"image": image_auroc(labels, scores), "pixel": None}
    masks = [view.masks for view in (good, *bad) if view.masks is not None]
    if with_pixels and len(masks) == len(maps):
        pixels = PixelScores()
        for own, grid in zip(masks, maps, strict=True):
            for mask, anomaly_map in zip(own, upsample(grid, size).numpy(), strict=True):
                pixels.add(mask, anomaly_map)
        figures["pixel"] = pixels.auroc()
    return {name: float("nan") if value is None else value for name, value in figures.items()}


def rendered_views(reader: Reader, per_defect: int, good: int) -> dict[str, dict[str, Views]]:
    """Class -> "good" or defect -> views of freshly rendered parts of test seeds."""
    size = reader.encoder.settings.image_size
    views: dict[str, dict[str, Views]] = {}
    for part in tqdm(PART_CLASSES, desc="rendered parts"):
        views[part] = {}
        for defect in (None, *applicable_defects(part)):
            offset, count = (0, good) if defect is None else (DEFECTIVE_OFFSET, per_defect)
            drawn = [render_part(part, test_seed(offset + i), size, defect) for i in range(count)]
            views[part][defect or "good"] = reader.views(
                [Image.fromarray(d.image) for d in drawn], np.stack([d.mask for d in drawn])
            )
    return views


def folder_views(reader: Reader, folder: str | Path) -> dict[str, dict[str, Views]]:
    """The same of a data folder's test images."""
    size = reader.encoder.settings.image_size
    views: dict[str, dict[str, Views]] = {}
    tests = [s for s in load_folder(folder) if s.split == "test"]
    for name, defect in sorted({(s.class_name, s.defect or "good") for s in tests}):
        own = [s for s in tests if (s.class_name, s.defect or "good") == (name, defect)]
        masks = None
        if defect == "good":
            masks = np.zeros((len(own), size, size), bool)
        else:
            drawn = [mask for s in own if (mask := load_mask(s, size)) is not None]
            masks = np.stack(drawn) if len(drawn) == len(own) else None
        images = [read_image(s.path) for s in own]
        views.setdefault(name, {})[defect] = reader.views(images, masks)
    return views


def state_prompts(reader: Reader, views: dict[str, dict[str, Views]]) -> pd.DataFrame:
    """"a X" against "a broken X": a row for each class, group and reading."""
    rows, size = [], reader.encoder.settings.image_size
    for name, own in views.items():
        direction = reader.direction("", "broken", spoken(name))
        for group, defects in groups_of(name, own).items():
            for reading in own["good"].readings:
                found = compare(own["good"], [own[d] for d in defects], reading, direction, size,
                                with_pixels=True)
                rows.append({"class": name, "group": group, "reading": reading, **found})
    return pd.DataFrame(rows)


def groups_of(name: str, own: Mapping[str, Views]) -> dict[str, list[str]]:
    """Defects by what the encoder was trained on; all of a photographed class are "photographs"."""
    defects = [d for d in own if d != "good"]
    if name not in PART_CLASSES or not set(defects) <= set(applicable_defects(name)):
        return {"photographs": defects}
    seen_class = name in SEEN_PART_CLASSES
    found: dict[str, list[str]] = {}
    for defect in defects:
        unseen = defect in UNSEEN_DEFECT_TYPES
        group = (("unseen defect" if unseen else "seen") if seen_class
                 else ("unseen both" if unseen else "unseen class"))
        found.setdefault(group, []).append(defect)
    return found


def pairs_of_prompts(
    reader: Reader, views: dict[str, dict[str, Views]], reading: str,
    pairs: Sequence[tuple[str, str]],
) -> pd.DataFrame:
    """Image AUROC of pairs of prompts, mean over classes, and what each moves.

    "moved" is the share of all places whose S_sem differs by more than `MOVED` from that under
    "a" and "a broken".
    """
    rows = []
    for normal, abnormal in tqdm(pairs, desc="pairs of prompts"):
        aurocs, moved = [], []
        for name, own in views.items():
            usual = reader.direction("", "broken", spoken(name))
            direction = reader.direction(normal, abnormal, spoken(name))
            bad = [own[d] for d in own if d != "good"]
            aurocs.append(compare(own["good"], bad, reading, direction, 0, False)["image"])
            moved += [
                ((torch.sigmoid(logits(v, reading, direction))
                  - torch.sigmoid(logits(v, reading, usual))).abs() > MOVED).float().mean().item()
                for v in own.values()
            ]
        rows.append({"normal": phrase(normal, "X"), "abnormal": phrase(abnormal, "X"),
                     "image": float(np.mean(aurocs)), "moved": float(np.mean(moved))})
    return pd.DataFrame(rows)


def words_by_defect(
    reader: Reader, views: dict[str, dict[str, Views]], reading: str, words: Sequence[str]
) -> pd.DataFrame:
    """Image AUROC of each word (rows) on each defect type (columns), mean over classes."""
    rows: dict[str, dict[str, list[float]]] = {word: {} for word in words}
    for name, own in views.items():
        for word in words:
            direction = reader.direction("", word, spoken(name))
            for defect in (d for d in own if d != "good"):
                found = compare(own["good"], [own[defect]], reading, direction, 0, False)
                rows[word].setdefault(defect, []).append(found["image"])
    return pd.DataFrame(
        {word: {d: float(np.mean(v)) for d, v in own.items()} for word, own in rows.items()}
    ).T


def naming(
    reader: Reader, views: dict[str, dict[str, Views]], candidates: Sequence[str]
) -> dict[str, float]:
    """Class -> share of its good images whose own name is the nearest of the candidates'."""
    with torch.inference_mode():
        texts = functional.normalize(reader.encoder.text_embeddings(
            [[phrase("", spoken(c))] for c in candidates]), dim=1)
    shares = {}
    for name in candidates:
        maps = views[name]["good"].readings["last map"].float()
        embeddings = functional.normalize(maps.mean(dim=(2, 3)), dim=1)
        best = (embeddings @ texts.T).argmax(dim=1)
        shares[name] = float((best == list(candidates).index(name)).float().mean())
    return shares


def held_out_pairs() -> list[tuple[str, str]]:
    """Words that no step of the training saw, against nothing said."""
    return [("", word) for word in (*HELD_OUT_DAMAGED, *HELD_OUT_HARMLESS)]
