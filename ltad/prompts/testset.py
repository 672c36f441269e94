"""A test set read once, so that other words cost seconds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ltad.data import dagm, visa
from ltad.data.datasets import holds_classes, load_folder
from ltad.data.layouts import load_dataset
from ltad.data.splits import resample_as_trained
from ltad.evaluation.evaluate import load_mask
from ltad.evaluation.metrics import PixelScores, image_auroc
from ltad.evaluation.results import ClassResult, Results
from ltad.inference import scoring
from ltad.inference.calibration import ScoreSettings, combined_of
from ltad.inference.feature_store import FeatureStore, build_store
from ltad.inference.scorer import Scorer
from ltad.prompts.grid import Pair
from ltad.synthetic.dataset import write_parts
from ltad.training.phases import TrainingData
from ltad.training.train import learned_and_held_out, training_images
from ltad.types import BRANCHES, REFERENCE, DatasetError, Sample, SettingError

PARTS = "parts"
_PARTS_SPLIT = ("step100", 0)
BATCH = 64
MAP_SCALE = 4
"""Side of the pixel maps in sides of the semantic grid."""
PIXEL_BINS = 2**16


def read_samples(scorer: Scorer, data: str | Path, work: str | Path) -> list[Sample]:
    """Every image of a data set.

    Args:
        scorer: the model, whose split the rendered parts take if it was trained on them.
        data: a folder in a known layout, or "parts" for the rendered benchmark.
        work: folder in which the parts are rendered, if they are not there yet.

    Raises:
        DatasetError: as `load_dataset` and `write_parts`.
    """
    if str(data) != PARTS:
        return load_dataset(data)
    about = scorer.checkpoint.about
    is_own = about.get("data") == PARTS
    split, seed = (about["split"], about["split_seed"]) if is_own else _PARTS_SPLIT
    return load_folder(write_parts(Path(work) / f"parts-{split}-{seed}", split, seed))


def training_data(
    scorer: Scorer, samples: Sequence[Sample], features: str | Path
) -> TrainingData:
    """The good images that the model learns from, under its own split and without those that it
    holds out; their features are computed, or found under `features`.

    Raises:
        DatasetError: no training image of any class that the model knows.
        SettingError: the model was trained on a list of images that it does not carry.
    """
    known = [s for s in samples if s.class_name in scorer.class_names]
    if not any(s.split == "train" for s in known):
        raise DatasetError(
            "The data set holds no training image of the model's classes, so there is nothing to "
            "refit on (MVTec AD: CLASS/train/good/*.png). Choose another data set."
        )
    about = scorer.checkpoint.about
    try:
        used = resample_as_trained(
            known, about["split"], about["split_seed"], about["split_counts"],
            about.get("split_list", ()),
        )
    except SettingError as error:
        raise SettingError(
            f"The model was trained on the list {about['split']!r}, which it does not carry, so it "
            "cannot be refitted on the same images. Choose a model that was trained on a split."
        ) from error
    store = build_store(training_images(used), scorer.encoder, features)
    learned, _ = learned_and_held_out(store, scorer.class_names, scorer.config)
    return TrainingData.of(store, learned, scorer.class_names, scorer.encoder.device)


def is_data_set(folder: Path) -> bool:
    """Whether a folder has one of the known layouts, at a glance."""
    try:
        if not folder.is_dir():
            return False
        return holds_classes(folder) or visa.is_visa(folder) or dagm.is_dagm(folder)
    except (OSError, DatasetError):
        return False


@dataclass(frozen=True)
class Bench:
    """Frozen features of a test set with all that no prompt changes.

    Attributes:
        store: features of the n test images.
        positions: class -> its images' places in the store.
        labels: (n,) bool, True for a defective image.
        masks: (n, s, s) bool, the defects' pixels.
        has_mask: (n,) bool, False for a defective image without a published mask.
        reconstruction: S_rec, (n, G, G) float32.
        left_out: classes of the test set that the model does not know.
        seconds: how long it took to read.
    """

    store: FeatureStore
    positions: dict[str, list[int]]
    labels: np.ndarray
    masks: np.ndarray
    has_mask: np.ndarray
    reconstruction: Tensor
    reference: Tensor | None
    left_out: tuple[str, ...]
    seconds: float

    @property
    def pixel_size(self) -> int:
        """s, the side of the maps whose pixels are counted."""
        return self.masks.shape[-1]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class PairGrid:
    """AUROC of prompt pairs on one test set.

    Attributes:
        pairs: in the order asked for.
        results: of each pair, per class and branch; the reconstruction branch is always the same.
        images: how many were scored.
        pixel_size: side of the maps whose pixels were counted.
        seconds: of the measurement, without reading the test set.
    """

    pairs: tuple[Pair, ...]
    results: tuple[Results, ...]
    images: int
    pixel_size: int
    seconds: float


def read_bench(
    scorer: Scorer, samples: Sequence[Sample], features: str | Path, pixel_size: int | None = None
) -> Bench:
    """Read the test images of a data set, or find their features under `features`.

    Args:
        scorer: the model.
        samples: a data set; only test images of classes that the model knows are read.
        features: folder of the feature stores.
        pixel_size: side of the maps whose pixels are counted, by default `MAP_SCALE` grids, and
            never above the model's input size.

    Raises:
        DatasetError: no test image of any class that the model knows, or an unreadable one.
        SettingError: `pixel_size` is below 2.
    """
    began, sizes = time.monotonic(), scorer.config.features
    size = min(pixel_size or MAP_SCALE * sizes.semantic_grid, sizes.image_size)
    if size < 2:
        raise SettingError(f"pixel_size is {pixel_size}, but it must be at least 2.")
    tests = sorted((s for s in samples if s.split == "test"), key=lambda s: s.class_name)
    names = dict.fromkeys(sample.class_name for sample in tests)
    if not names:
        raise DatasetError("The data set holds no test images (MVTec AD: CLASS/test/TYPE/*.png).")
    known = [name for name in names if name in scorer.class_names]
    if not known:
        raise DatasetError(
            f"The test set holds {', '.join(names)}; the model knows none of them. It knows: "
            + ", ".join(scorer.class_names) + "."
        )
    chosen = [sample for sample in tests if sample.class_name in known]
    store = build_store(chosen, scorer.encoder, features)
    masks = [load_mask(sample, size) for sample in tqdm(chosen, desc="masks")]
    blank = np.zeros((size, size), bool)
    return Bench(
        store, {name: store.indices(name) for name in known},
        np.array([sample.is_defective for sample in chosen]),
        np.stack([blank if mask is None else mask for mask in masks]),
        np.array([mask is not None for mask in masks]),
        *_prompt_free(scorer, store, chosen),
        tuple(name for name in names if name not in known), time.monotonic() - began,
    )


@torch.inference_mode()
def _prompt_free(
    scorer: Scorer, store: FeatureStore, samples: Sequence[Sample]
) -> tuple[Tensor, Tensor | None]:
    """S_rec and S_ref of each image under its own class; `samples` come class after class."""
    sizes = scorer.config.features
    found = torch.empty(len(store), sizes.grid, sizes.grid)
    reference = None
    if scorer.detector.reference is not None:
        reference = torch.empty(len(store), sizes.semantic_grid, sizes.semantic_grid)
    for name, places in groupby(range(len(store)), key=lambda i: samples[i].class_name):
        own = list(places)
        for start in range(0, len(own), BATCH):
            chosen = own[start : start + BATCH]
            patches = _load(scorer, store.patches[chosen])
            index = scorer.detector.index(name)
            found[chosen] = scorer.detector.reconstruction_scores(patches, index).cpu()
            if reference is not None:
                fine = _load(scorer, store.fine_patches[chosen])
                scores = scorer.detector.reference_scores(fine, index)
                assert scores is not None
                reference[chosen] = scores.cpu()
    return found, reference


def _load(scorer: Scorer, features: np.ndarray) -> Tensor:
    return torch.from_numpy(features.astype(np.float32)).to(scorer.encoder.device)


@torch.inference_mode()
def measure_pairs(
    scorer: Scorer, bench: Bench, pairs: Sequence[Pair], lam: float | None = None,
    tau: float | None = None,
) -> PairGrid:
    """AUROC of each pair on a test set, every image under its true class.

    Args:
        scorer: the model, or one with other names or another Phi: S_rec is the bench's.
        bench: the test set.
        pairs: the prompts.
        lam, tau: instead of the model's own.

    Raises:
        PromptError, SettingError: words or values that cannot be used.
    """
    began = time.monotonic()
    settings = [scorer.score_settings(pair.normal, pair.abnormal, lam, tau) for pair in pairs]
    differences = _text_differences(scorer, list(bench.positions), pairs)
    counts = scorer.checkpoint.about["split_counts"]
    by_class = []
    for number, (name, positions) in enumerate(tqdm(bench.positions.items(), desc="AUROC")):
        unit = scorer.detector.semantic_unit(scorer.detector.index(name))
        tally = _Tally(bench, len(pairs), settings[-1], unit)
        for start in range(0, len(positions), BATCH):
            chosen = positions[start : start + BATCH]
            projected = scorer.detector.semantic(_load(scorer, bench.store.fine_patches[chosen]))
            # (t_a - t_n) . p^ of every pair at once
            tally.add(chosen, torch.einsum("pd,bdhw->pbhw", differences[number], projected))
        by_class.append(tally.results(name, counts[name], bench.labels[positions]))
    return PairGrid(
        tuple(pairs), tuple(Results(classes) for classes in zip(*by_class, strict=True)),
        len(bench), bench.pixel_size, time.monotonic() - began,
    )


def _text_differences(scorer: Scorer, class_names: list[str], pairs: Sequence[Pair]) -> Tensor:
    """t_a - t_n, (classes, pairs, d); each prompt is read once for each class."""
    words = dict.fromkeys(w for pair in pairs for w in (pair.normal, pair.abnormal))
    texts = {one: scorer.texts(class_names, one) for one in words}
    return torch.stack([texts[p.abnormal] - texts[p.normal] for p in pairs], dim=1)


class _Tally:
    """The scores of one class under every pair, batch after batch."""

    def __init__(
        self, bench: Bench, pairs: int, settings: ScoreSettings,
        semantic_unit: tuple[float, float] | None,
    ) -> None:
        self._bench, self._settings, self._unit = bench, settings, semantic_unit
        self._free = {"reconstruction": bench.reconstruction} | (
            {} if bench.reference is None else {REFERENCE: bench.reference}
        )
        self._branches = (*BRANCHES, *(b for b in self._free if b not in BRANCHES))
        self._scores = [{b: [] for b in self._branches} for _ in range(pairs)]
        shared = {b: PixelScores(bins=PIXEL_BINS) for b in self._free}
        self._pixels = [
            {b: shared.get(b) or PixelScores(bins=PIXEL_BINS) for b in self._branches}
            for _ in range(pairs)
        ]

    def add(self, chosen: list[int], logits: Tensor) -> None:
        """Score the images at `chosen`; `logits` is (pairs, b, G', G')."""
        views = {b: self._views(grid[chosen].to(logits.device)) for b, grid in self._free.items()}
        masked = self._bench.has_mask[chosen]
        masks = self._bench.masks[chosen][masked]
        if masked.any():
            for branch, (_, drawn) in views.items():
                _count(self._pixels[0][branch], masks, drawn, masked)
        for number, semantic_grid in enumerate(torch.sigmoid(logits / self._settings.tau)):
            semantic_pooled, semantic = self._views(semantic_grid)
            scores, pixels = self._scores[number], self._pixels[number]
            pooled = {b: view for b, (view, _) in views.items()} | {"semantic": semantic_pooled}
            for branch, view in {**pooled, "combined": self._combined(pooled)}.items():
                scores[branch] += scoring.image_score(view).tolist()
            if masked.any():
                _count(pixels["semantic"], masks, semantic, masked)
                drawn = {b: view for b, (_, view) in views.items()} | {"semantic": semantic}
                _count(pixels["combined"], masks, self._combined(drawn), masked)

    def _combined(self, parts: dict[str, Tensor]) -> Tensor:
        return combined_of(parts, self._unit, self._settings)

    def _views(self, grid: Tensor) -> tuple[Tensor, Tensor]:
        """Grid scores pooled for the image score, and upsampled for the pixels."""
        return (scoring.pooled_map(grid, self._settings.size, self._settings.pool),
                scoring.upsample(grid, self._bench.pixel_size))

    def results(self, name: str, train_count: int, labels: np.ndarray) -> list[ClassResult]:
        """The class's AUROC under each pair."""
        return [
            ClassResult(
                name, train_count, {b: image_auroc(labels, scores[b]) for b in self._branches},
                {b: pixels[b].auroc() for b in self._branches},
            )
            for scores, pixels in zip(self._scores, self._pixels, strict=True)
        ]


def _count(pixels: PixelScores, masks: np.ndarray, maps: Tensor, masked: np.ndarray) -> None:
    """Count a batch of maps (b, s, s) as one tall map; `masks` holds only those with a mask."""
    values = maps.cpu().numpy()[masked]
    pixels.add(masks.reshape(-1, masks.shape[-1]), values.reshape(-1, values.shape[-1]))
