"""Scores of a test set, image by image, by a detector or a bank, and what they come to."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from ltad.config import Config
from ltad.data.datasets import read_mask, reduce_mask
from ltad.evaluation.bootstrap import ImagePixels, resampled_image_auroc
from ltad.evaluation.metrics import PixelScores, image_auroc, image_average_precision, image_f1_max
from ltad.evaluation.results import ClassResult, Results
from ltad.inference.calibration import BranchMaps, Readings, ScoreSettings, branch_maps
from ltad.inference.feature_store import FeatureStore
from ltad.inference.patch_bank import NearestNeighbourBank
from ltad.inference.recognition import ClassRecogniser
from ltad.io import processes
from ltad.models.align import Encoder
from ltad.models.detector import Detector
from ltad.types import ALL_BRANCHES, BRANCHES, METRICS, REFERENCE, DatasetError, ImageError, Sample

BATCH = 16
CERTAIN = 0.0005
"""A pixel figure that is closer than this to the exact one is right in every digit shown."""
Measure = Callable[[str, FeatureStore, Sequence[int]], BranchMaps]
"""Maps and image scores of the images at some places of a store, under one class's name."""


@dataclass(frozen=True)
class Evaluation:
    """What a detector makes of a test set.

    Attributes:
        branches: those that were measured, the one that it is judged by first.
        results: AUROC by class and measured branch; the other figures are of the first branch.
        samples: the n test images, class after class.
        scores: branch -> image scores, (n,) float64.
        recognised: (n,) the class that was ranked first, "" where none was asked for.
        known: (n,) bool, False where an image looks like none of the classes or none was asked
            for.
        embeddings: mean patch feature, (n, C) float32.
        maps: the first branch's pixel map, mean over each cell of the patch grid, (n, G, G).
        thin_masks: masks with a defect thinner than a pixel at the scoring size, where it counts
            as one pixel wide.
        uncertain: a class and a pixel figure ("screw average_precision") -> how far the bins of
            `PixelScores` may have put it from the exact one, where that is above `CERTAIN`.
    """

    branches: tuple[str, ...]
    results: Results
    samples: tuple[Sample, ...]
    scores: dict[str, np.ndarray]
    recognised: np.ndarray
    known: np.ndarray
    embeddings: np.ndarray
    maps: np.ndarray
    thin_masks: int = 0
    uncertain: dict[str, float] = field(default_factory=dict)

    def recognised_shares(self) -> dict[str, float]:
        """Class -> share of its test images whose class was ranked first."""
        names = np.array([sample.class_name for sample in self.samples], dtype=object)
        return {str(n): float((self.recognised[names == n] == n).mean()) for n in np.unique(names)}

    def known_shares(self) -> dict[str, float]:
        """Share of the "good" and of the "defective" test images that look like a class."""
        is_defective = np.array([sample.is_defective for sample in self.samples])
        kinds = {"good": ~is_defective, "defective": is_defective}
        return {kind: float(self.known[chosen].mean()) for kind, chosen in kinds.items()
                if chosen.any()}

    def results_dict(self) -> dict[str, Any]:
        """`Results.to_dict` with None for branches that were not measured."""
        found = self.results.to_dict()
        for entry in [*found["classes"], *found["summary"].values()]:
            for metric in METRICS:
                entry[metric] = {b: entry[metric].get(b) for b in self.results.branches}
        found["missing"] = {
            metric: [entry["class_name"] for entry in found["classes"]
                     if any(entry[metric][branch] is None for branch in self.branches)]
            for metric in METRICS
        }
        return found


def load_mask(sample: Sample, size: int) -> np.ndarray | None:
    """(size, size) bool; all False for a good image, None where no mask was published.

    No defect is too small to be marked, see `ltad.data.datasets.reduce_mask`.

    Raises:
        DatasetError: the mask cannot be read.
    """
    return _reduced(sample, size)[0]


def _reduced(sample: Sample, size: int) -> tuple[np.ndarray | None, bool]:
    """As `load_mask`, and whether some of the mask was thinner than a pixel."""
    if not sample.is_defective:
        return np.zeros((size, size), dtype=bool), False
    if sample.mask_path is None:
        return None, False
    try:
        mask, thin = reduce_mask(read_mask(sample.mask_path), size)
    except ImageError as error:
        raise DatasetError(f"{sample.mask_path} cannot be read as a mask: {error}") from error
    return mask, bool(thin.any())


def test_samples(samples: Iterable[Sample]) -> dict[str, list[Sample]]:
    """Test images by class. Raises DatasetError when there are none."""
    groups: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.split == "test":
            groups[sample.class_name].append(sample)
    if not groups:
        raise DatasetError("The data set holds no test images (MVTec AD: CLASS/test/TYPE/*.png).")
    return dict(sorted(groups.items()))


def ordered_tests(samples: Iterable[Sample]) -> list[Sample]:
    """The test images, class after class. Raises DatasetError when there are none."""
    return [sample for group in test_samples(samples).values() for sample in group]


def evaluate_tests(
    tests: FeatureStore,
    measure: Measure,
    train_counts: Mapping[str, int],
    branches: Sequence[str] = BRANCHES,
    recogniser: ClassRecogniser | None = None,
    progress: bool = True,
) -> Evaluation:
    """Score every test image with its true class, as the paper does.

    The pixel figures cover the images with a mask and all good ones; without any mask they are
    None. Under torchrun the processes divide the classes, and each ends with all results.

    Args:
        tests: features of the test images, class after class.
        measure: the detector.
        train_counts: class -> training images, which decides between High and Low.
        branches: of its maps that mean something, the one that it is judged by first.
        recogniser: ranks the classes, or None.
        progress: show a bar.

    Raises:
        DatasetError: a mask cannot be read.
    """
    branches = tuple(branches)
    names = list(dict.fromkeys(sample.class_name for sample in tests.samples))
    own = names[processes.rank() :: processes.count()]
    classes = [
        _measured(name, tests, measure, train_counts[name], branches, recogniser)
        for name in tqdm(own, desc="classes", disable=not (progress and processes.is_first()))
    ]
    if processes.count() > 1:
        parts = processes.gathered(_packed(classes))
        classes = sorted((one for part in parts for one in _unpacked(part)),
                         key=lambda one: names.index(one.result.class_name))
    return Evaluation(
        branches, Results(tuple(one.result for one in classes)), tests.samples,
        {b: np.concatenate([one.arrays[b] for one in classes]) for b in branches},
        **{key: np.concatenate([one.arrays[key] for one in classes]) for key in _PER_IMAGE},
        thin_masks=sum(one.thin_masks for one in classes),
        uncertain={key: error for one in classes for key, error in one.uncertain.items()},
    )


_PER_IMAGE = ("recognised", "known", "embeddings", "maps")


@dataclass(frozen=True)
class _ClassFound:
    """What `Evaluation` holds of one class; `arrays`: scores by branch, and `_PER_IMAGE`."""

    result: ClassResult
    arrays: dict[str, np.ndarray]
    thin_masks: int
    uncertain: dict[str, float]


def _measured(
    name: str, tests: FeatureStore, measure: Measure, train_count: int, branches: tuple[str, ...],
    recogniser: ClassRecogniser | None,
) -> _ClassFound:
    """Score the test images of one class."""
    collected, thin_masks, places = _Collected(branches), 0, tests.indices(name)
    pixels = {b: PixelScores(with_regions=b == branches[0]) for b in branches}
    by_image = ImagePixels()
    for start in range(0, len(places), BATCH):
        batch = places[start : start + BATCH]
        measured = measure(name, tests, batch)
        collected.add(measured, tests, batch, recogniser)
        counted = [tests.samples[i] for i in batch]
        thin_masks += _count_pixels(pixels, by_image, measured, counted)
    labels = [tests.samples[i].is_defective for i in places]
    arrays = collected.arrays()
    scores = {b: arrays[b] for b in branches}
    result = replace(
        _class_result(name, train_count, labels, scores, pixels, branches),
        resampled_image_auroc=resampled_image_auroc(labels, scores[branches[0]], name),
        resampled_pixel_auroc=by_image.resampled_auroc(name),
    )
    errors = pixels[branches[0]].errors()
    return _ClassFound(result, arrays, thin_masks, {
        f"{name} {key}": error for key, error in errors.items() if error > CERTAIN
    })


def _packed(classes: Sequence[_ClassFound]) -> bytes:
    """For another process."""
    facts = [{"result": asdict(one.result), "thin_masks": one.thin_masks,
              "uncertain": one.uncertain} for one in classes]
    arrays = {f"{place} {key}": array.astype(str) if array.dtype == object else array
              for place, one in enumerate(classes) for key, array in one.arrays.items()}
    packed = BytesIO()
    np.savez(packed, allow_pickle=False, facts=np.array(json.dumps(facts)), **arrays)
    return packed.getvalue()


def _unpacked(packed: bytes) -> list[_ClassFound]:
    """What `_packed` was given."""
    with np.load(BytesIO(packed), allow_pickle=False) as opened:
        classes = []
        for place, fact in enumerate(json.loads(str(opened["facts"]))):
            arrays = {key.removeprefix(f"{place} "): opened[key] for key in opened.files
                      if key.startswith(f"{place} ")}
            arrays["recognised"] = arrays["recognised"].astype(object)
            result: dict[str, Any] = {
                key: tuple(value) if isinstance(value, list) else value
                for key, value in fact["result"].items()
            }
            classes.append(_ClassFound(ClassResult(**result), arrays, fact["thin_masks"],
                                       fact["uncertain"]))
        return classes


class _Collected:
    """What is kept of each image: a few numbers, its embedding and its map on the grid."""

    def __init__(self, branches: tuple[str, ...]) -> None:
        self.scores: dict[str, list[float]] = {branch: [] for branch in branches}
        self.recognised: list[str] = []
        self.known: list[bool] = []
        self.embeddings: list[np.ndarray] = []
        self.maps: list[np.ndarray] = []
        self._first = branches[0]

    def arrays(self) -> dict[str, np.ndarray]:
        """A branch's scores each, and `_PER_IMAGE`."""
        return {
            **{b: np.asarray(scores, np.float64) for b, scores in self.scores.items()},
            "recognised": np.array(self.recognised, dtype=object),
            "known": np.array(self.known),
            "embeddings": np.concatenate(self.embeddings), "maps": np.concatenate(self.maps),
        }

    def add(
        self, measured: BranchMaps, tests: FeatureStore, batch: Sequence[int],
        recogniser: ClassRecogniser | None,
    ) -> None:
        for branch, scores in self.scores.items():
            scores += measured.scores[branch].tolist()
        patches = tests.patches[batch].astype(np.float32)
        self.embeddings.append(patches.mean(axis=(2, 3)))
        grid = functional.adaptive_avg_pool2d(measured.maps[self._first][:, None].float(),
                                              patches.shape[-1])
        self.maps.append(grid[:, 0].cpu().numpy())
        seen = recogniser.recognise(torch.from_numpy(patches)) if recogniser else None
        self.recognised += [found.best for found in seen] if seen else [""] * len(batch)
        self.known += [found.is_known for found in seen] if seen else [False] * len(batch)


def _count_pixels(
    pixels: Mapping[str, PixelScores], by_image: ImagePixels, measured: BranchMaps,
    samples: Sequence[Sample],
) -> int:
    """Count a batch: each branch's pixels together, those of the first branch by image too.

    Returns:
        Masks of the batch with a defect thinner than a pixel.
    """
    thin_masks = 0
    for place, sample in enumerate(samples):
        maps = [measured.maps[branch][place].float().cpu().numpy() for branch in pixels]
        mask, is_thin = _reduced(sample, maps[0].shape[-1])
        thin_masks += is_thin
        by_image.add(mask, maps[0])
        if mask is not None:
            for counted, one in zip(pixels.values(), maps, strict=True):
                counted.add(mask, one)
    return thin_masks


def _class_result(
    name: str, train_count: int, labels: Sequence[bool], scores: Mapping[str, np.ndarray],
    pixels: Mapping[str, PixelScores], branches: tuple[str, ...],
) -> ClassResult:
    first, first_pixels = scores[branches[0]], pixels[branches[0]]
    return ClassResult(
        name, train_count,
        {b: image_auroc(labels, scores[b]) for b in branches},
        {b: pixels[b].auroc() for b in branches},
        image_average_precision=image_average_precision(labels, first),
        image_f1_max=image_f1_max(labels, first),
        pixel_average_precision=first_pixels.average_precision(),
        pixel_f1_max=first_pixels.f1_max(),
        aupro=first_pixels.aupro(),
    )


def calibration_table(
    store: FeatureStore, held_out: Mapping[str, Sequence[int]], measure: Measure,
    branches: Sequence[str],
) -> pd.DataFrame:
    """Image scores of held-out good images: ``class_name`` and a column a branch of `BRANCHES`,
    NaN for those that were not measured, and of an optional branch where it was.

    Args:
        store: features of the training images.
        held_out: class -> places in the store.
        measure: the detector.
        branches: those that were measured.
    """
    rows = []
    for name, places in held_out.items():
        for start in range(0, len(places), BATCH):
            scores = measure(name, store, places[start : start + BATCH]).scores
            by_branch = [scores[branch].tolist() for branch in branches]
            rows += [
                {"class_name": name, **dict(zip(branches, values, strict=True))}
                for values in zip(*by_branch, strict=True)
            ]
    columns = [branch for branch in ALL_BRANCHES if branch in BRANCHES or branch in branches]
    return pd.DataFrame(rows, columns=["class_name", *columns])


def settings_of(config: Config) -> ScoreSettings:
    """A config's own score settings."""
    model = config.model
    return ScoreSettings(
        model.normal_prompt, model.abnormal_prompt, model.lam, model.tau, model.score_pool,
        config.features.image_size, model.reference_weight,
    )


def branches_of(detector: Detector) -> tuple[str, ...]:
    """The branches that a detector has, the sum first."""
    return BRANCHES if detector.reference is None else (*BRANCHES, REFERENCE)


@torch.inference_mode()
def detector_measure(
    detector: Detector, encoder: Encoder, settings: ScoreSettings,
    named_as: Sequence[int] | None = None, branches: Sequence[str] = BRANCHES,
) -> Measure:
    """Scores by a detector.

    Args:
        detector: in eval mode.
        encoder: the one it was trained on.
        settings: prompts, lambda, tau, pooling and size.
        named_as: for each class the index of the class whose name is used; by default its own.
        branches: those that are wanted. The parts of the detector that none of these needs do not
            run, and their maps mean nothing.
    """
    runs_reconstruction, runs_semantic, runs_reference = (
        bool({"combined", own} & set(branches))
        for own in ("reconstruction", "semantic", REFERENCE)
    )
    used = range(len(detector.class_names)) if named_as is None else named_as
    normal, abnormal = (
        detector.texts(encoder, words, used)
        for words in (settings.normal_prompt, settings.abnormal_prompt)
    )

    @torch.inference_mode()
    def measure(name: str, store: FeatureStore, places: Sequence[int]) -> BranchMaps:
        reconstruction = torch.zeros(len(places), 1, 1, device=encoder.device)
        projected = torch.zeros(len(places), normal.shape[-1], 1, 1, device=encoder.device)
        coarse = _batch(store.patches, places, encoder.device)
        index, reference = detector.index(name), None
        if runs_reconstruction:
            reconstruction = detector.reconstruction_scores(coarse, index)
        same = store.fine_patches is store.patches
        fine = coarse if same else _batch(store.fine_patches, places, encoder.device)
        if runs_semantic:
            projected = detector.semantic(fine)
        if runs_reference:
            reference = detector.reference_scores(fine, index)
        readings = Readings(reconstruction, projected, reference, detector.semantic_unit(index))
        return branch_maps(readings, normal[index], abnormal[index], settings)

    return measure


def bank_measure(
    training: FeatureStore, filled_with: Mapping[str, Sequence[int]], size: int, pool: int,
    seed: int = 0,
) -> Measure:
    """Scores by a nearest-neighbour bank for each class; every branch holds the same distance.

    Args:
        training: features of the training images.
        filled_with: class -> places in it, at least one.
        size, pool: of the maps and of the image score's pooling, in pixels.
        seed: of the coreset.
    """
    banks: dict[str, NearestNeighbourBank] = {}

    def measure(name: str, store: FeatureStore, places: Sequence[int]) -> BranchMaps:
        if name not in banks:
            banks[name] = NearestNeighbourBank.fit(
                training.fine_patches[list(filled_with[name])], seed
            )
        patches = _batch(store.fine_patches, places, torch.device("cpu"))
        return banks[name].measure(patches, size, pool)

    return measure


def _batch(array: np.ndarray, places: Sequence[int], device: torch.device) -> Tensor:
    return torch.from_numpy(array[list(places)].astype(np.float32)).to(device)
