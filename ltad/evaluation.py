"""The benchmark's numbers for a model, and for a nearest-neighbour bank on the same features."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from ltad.baselines import NearestNeighbourBank
from ltad.calibration import BRANCHES, BranchMaps
from ltad.data.feature_store import build_store
from ltad.data.layouts import read_mask
from ltad.encoders.base import Encoder
from ltad.metrics import (
    ClassResult,
    Results,
    image_auroc,
    image_average_precision,
    image_f1_max,
    resampled_auroc,
)
from ltad.metrics_pixel import PixelScores
from ltad.service import Scorer
from ltad.types import DatasetError, ImageError, Sample, SettingError

BATCH = 16
Measure = Callable[[Sequence[Sample]], BranchMaps]


@dataclass(frozen=True)
class Evaluation:
    """Results of a model on a test set.

    Attributes:
        results: AUROC per class and branch, with All / High / Low, and more of the combined branch.
        recognised: class -> share of its test pictures whose class the model ranked first.
        settings: the score settings used.
    """

    results: Results
    recognised: dict[str, float]
    settings: dict


def load_mask(sample: Sample, size: int) -> np.ndarray | None:
    """(size, size) bool; all False for a good picture, None where no mask was published.

    Raises:
        DatasetError: the mask cannot be read.
    """
    if not sample.is_defective:
        return np.zeros((size, size), dtype=bool)
    if sample.mask_path is None:
        return None
    try:
        mask = Image.fromarray(read_mask(sample.mask_path))
    except ImageError as error:
        raise DatasetError(f"{sample.mask_path} cannot be read as a mask: {error}") from error
    return np.asarray(mask.resize((size, size), Image.Resampling.NEAREST))


def evaluate_class(samples: Sequence[Sample], measure: Measure, train_count: int) -> ClassResult:
    """AUROC per image and pixel of one class's test pictures; more of the combined branch.

    The pixel figures cover the pictures with a mask and all good ones; without any mask they are
    None.
    """
    labels, scores = [], {b: [] for b in BRANCHES}
    pixels = {b: PixelScores(with_regions=b == "combined") for b in BRANCHES}
    for start in range(0, len(samples), BATCH):
        batch = samples[start : start + BATCH]
        measured = measure(batch)
        labels += [sample.is_defective for sample in batch]
        masks = [load_mask(sample, measured.maps["combined"].shape[-1]) for sample in batch]
        for branch in BRANCHES:
            scores[branch] += measured.scores[branch].tolist()
            for mask, anomaly_map in zip(masks, measured.maps[branch], strict=True):
                if mask is not None:
                    pixels[branch].add(mask, anomaly_map.float().cpu().numpy())
    name, combined = samples[0].class_name, scores["combined"]
    return ClassResult(
        name, train_count,
        {b: image_auroc(labels, scores[b]) for b in BRANCHES},
        {b: pixels[b].auroc() for b in BRANCHES},
        image_average_precision=image_average_precision(labels, combined),
        image_f1_max=image_f1_max(labels, combined),
        pixel_average_precision=pixels["combined"].average_precision(),
        pixel_f1_max=pixels["combined"].f1_max(),
        aupro=pixels["combined"].aupro(),
        resampled_image_auroc=resampled_auroc(labels, combined, name),
    )


def test_samples(samples: Iterable[Sample]) -> dict[str, list[Sample]]:
    """Test pictures by class. Raises DatasetError when there are none."""
    groups: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.split == "test":
            groups[sample.class_name].append(sample)
    if not groups:
        raise DatasetError("The data set holds no test pictures (MVTec AD: CLASS/test/TYPE/*.png).")
    return dict(sorted(groups.items()))


def evaluate(
    scorer: Scorer,
    samples: Iterable[Sample],
    normal_prompt: str | None = None,
    abnormal_prompt: str | None = None,
    lam: float | None = None,
    tau: float | None = None,
    train_counts: dict[str, int] | None = None,
    progress: bool = True,
) -> Evaluation:
    """Score every test picture with its true class, as the paper does.

    Args:
        scorer: the model.
        samples: a data set; only its test pictures are read.
        normal_prompt, abnormal_prompt, lam, tau: instead of the model's own.
        train_counts: decides High and Low; by default the model's own training pictures.
        progress: show a bar.

    Raises:
        DatasetError: no test picture, or a class that the model does not know.
    """
    groups = test_samples(samples)
    unknown = sorted(set(groups) - set(scorer.class_names))
    if unknown:
        raise DatasetError(
            f"The model was not trained on {', '.join(unknown)}. It knows: "
            + ", ".join(scorer.class_names) + "."
        )
    settings = scorer.score_settings(normal_prompt, abnormal_prompt, lam, tau)
    counts = train_counts or scorer.checkpoint.about["split_counts"]
    results, recognised = [], {}
    for name, group in tqdm(groups.items(), desc="classes", disable=not progress):
        results.append(evaluate_class(
            group,
            lambda batch, name=name: scorer.measure([s.path for s in batch], name, settings),
            counts[name],
        ))
        hits = [scorer.recognise(s.path).best == name for s in group]
        recognised[name] = float(np.mean(hits))
    return Evaluation(Results(tuple(results)), recognised, vars(settings))


def evaluate_bank(
    encoder: Encoder,
    training: Sequence[Sample],
    samples: Iterable[Sample],
    features: str | Path,
    pool: int,
    train_counts: dict[str, int],
    seed: int = 0,
) -> Results:
    """The same table for one nearest-neighbour bank a class, filled with `training`.

    Raises:
        SettingError: a test class without training pictures.
    """
    results = []
    store = build_store(training, encoder, features)
    for name, group in test_samples(samples).items():
        positions = store.indices(name)
        if not positions:
            raise SettingError(f"No training picture of {name} is there to fill a bank with.")
        bank = NearestNeighbourBank.fit(store.fine_patches[positions], seed)
        tests = build_store(group, encoder, features)
        place = {sample.path: i for i, sample in enumerate(tests.samples)}

        def measure(
            batch: Sequence[Sample], bank=bank, tests=tests, place=place
        ) -> BranchMaps:
            patches = torch.from_numpy(
                tests.fine_patches[[place[s.path] for s in batch]].astype(np.float32)
            )
            return bank.measure(patches, encoder.settings.image_size, pool)

        results.append(evaluate_class(group, measure, train_counts[name]))
    return Results(tuple(results))
