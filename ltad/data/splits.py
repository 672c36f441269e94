"""Long tails: step and exponential splits, and the paper's 18 named ones."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ltad.data.datasets import select
from ltad.types import Sample, SettingError

NATURAL_COUNTS: dict[str, dict[str, int]] = {
    # Training images: Bergmann et al., "MVTec AD" (CVPR 2019), Table 1; 3,629 in all. The
    # largest, 391, is Table 2's of the paper.
    "mvtec": {
        "bottle": 209, "cable": 224, "capsule": 219, "carpet": 280, "grid": 264, "hazelnut": 391,
        "leather": 245, "metal_nut": 220, "pill": 267, "screw": 320, "tile": 230,
        "toothbrush": 60, "transistor": 213, "wood": 247, "zipper": 240,
    },
    # Counted in split_csv/1cls.csv of the authors' repository amazon-science/spot-diff (Zou et
    # al., "SPot-the-Difference", ECCV 2022): its rows "train", "normal"; 8,659 in all. The largest,
    # 905, is Table 2's of the paper.
    "visa": {
        "candle": 900, "capsules": 542, "cashew": 450, "chewinggum": 453, "fryum": 450,
        "macaroni1": 900, "macaroni2": 900, "pcb1": 904, "pcb2": 901, "pcb3": 905, "pcb4": 904,
        "pipe_fryum": 450,
    },
    # Normal images of ClassK/Train: 575 less 79, 66, 66, 82, 70 and 83 defective ones in classes
    # 1 to 6, 1,150 less 150 in classes 7 to 10; 7,004 of 8,050. The defective ones are as the
    # public converter Levigty/DAGM2007-to-VOC, main.py, expects to find them in the archive. The
    # largest count, 1000, is Table 2's of the paper.
    "dagm": {
        "Class1": 496, "Class2": 509, "Class3": 509, "Class4": 493, "Class5": 505, "Class6": 492,
        "Class7": 1000, "Class8": 1000, "Class9": 1000, "Class10": 1000,
    },
}
IMBALANCE_FACTORS = {
    "mvtec": (100, 200), "visa": (100, 200, 500), "dagm": (50, 100, 200, 500),
}
"""beta of each data set's splits: Table 2 of the paper."""


@dataclass(frozen=True)
class Split:
    """A long-tailed split such as exp100.

    Attributes:
        name: e.g. ``"exp100"``, from which `parse_split` makes the split again.
        kind: ``"exp"``, ``"step"`` or ``"none"`` (the training set as it is).
        imbalance_factor: beta, the largest count over the smallest; 1 for ``"none"``.
        is_reversed: whether the least populated class has rank 0.
        order: the classes from rank 0 on, or empty: by natural count.
    """

    name: str
    kind: str
    imbalance_factor: int
    is_reversed: bool = False
    order: tuple[str, ...] = ()


def parse_split(name: str) -> Split:
    """The split called ``"none"``, ``"expN"`` or ``"stepN"``, N a whole number from 1.

    ``"-reversed"`` after it turns the natural order of the classes round; ``"@"`` and all class
    names with commas between them give the order.

    Raises:
        SettingError: no such split.
    """
    if name == "none":
        return Split(name, "none", 1)
    match = re.fullmatch(r"(exp|step)([1-9][0-9]{0,8})(-reversed|@.+)?", name)
    if match is None:
        raise SettingError(
            f"split is {name!r}, but it must be 'none', or 'exp' or 'step' and a whole number "
            "from 1, such as 'exp100', with '-reversed' or '@' and the classes in their order "
            "('exp100@screw,pill,bottle') after it."
        )
    kind, factor, order = match.groups(default="")
    given = tuple(one.strip() for one in order[1:].split(",")) if order[:1] == "@" else ()
    return Split(name, kind, int(factor), order == "-reversed", given)


def natural_order(counts: Mapping[str, int]) -> list[str]:
    """Class names, the most populated first, ties by name."""
    return sorted(counts, key=lambda name: (-counts[name], name))


def training_counts(samples: Iterable[Sample]) -> dict[str, int]:
    """Training images of each class that has any, in natural order."""
    counts = Counter(sample.class_name for sample in samples if sample.split == "train")
    return {name: counts[name] for name in natural_order(counts)}


def long_tail_counts(
    natural: Mapping[str, int], split: Split, order: Sequence[str] | None = None
) -> dict[str, int]:
    """Training images that each class keeps.

    Args:
        natural: class -> images it has, each at least 1.
        split: which distribution.
        order: what stands for the natural order; by default `natural_order`.

    Returns:
        class -> count, in the order of the ranks.

    Raises:
        SettingError: a class has no image, or an order is not one of these classes.
    """
    order = list(split.order or order or natural_order(natural))
    if split.is_reversed:
        order.reverse()
    if sorted(order) != sorted(natural):
        raise SettingError(
            f"order is {order}, but it must hold each of {sorted(natural)} exactly once."
        )
    empty = [name for name in order if natural[name] < 1]
    if empty:
        raise SettingError(f"class {empty[0]!r} has no images; leave it out.")
    return {
        name: min(natural[name], _wanted(rank, len(order), max(natural.values()), split))
        for rank, name in enumerate(order)
    }


def _wanted(rank: int, classes: int, largest: int, split: Split) -> int:
    """Count of a rank before the cap by what the class has."""
    if split.kind == "none" or classes == 1:
        return largest
    if split.kind == "step":
        return largest if rank < classes // 2 else max(1, largest // split.imbalance_factor)
    exact = largest * split.imbalance_factor ** (-rank / (classes - 1))
    return max(1, int(exact + 1e-9))  # a whole number must not fall short by a rounding error


def resample(
    samples: Iterable[Sample], split: Split, seed: int, order: Sequence[str] | None = None
) -> list[Sample]:
    """The training samples that the split keeps, and every test sample, in their order.

    Each class is shuffled by (`seed`, class name) alone and its first N_c images are kept: a
    choice does not depend on other classes, and of two splits under one seed the smaller choice
    lies within the larger.

    Raises:
        SettingError: as `long_tail_counts`.
    """
    samples = list(samples)
    natural = training_counts(samples)
    selected = {
        path
        for name, count in long_tail_counts(natural, split, order).items()
        for path in _draw(samples, name, count, seed)
    }
    return [sample for sample in samples if sample.split != "train" or sample.path in selected]


def resample_as_trained(
    samples: Iterable[Sample], split_name: str, seed: int, counts: Mapping[str, int],
    listed: Sequence[str] = (),
) -> list[Sample]:
    """What `resample` kept when a model was trained, from its data set as it is now.

    A data set that holds just these counts, as the rendered parts do, was resampled when it was
    made; its present counts do not tell the order of the classes.

    Args:
        samples: the data set.
        split_name, seed: of the training.
        counts: class -> training images that it had.
        listed: the training images that a list named, if one stood in the split's place.

    Raises:
        SettingError: as `parse_split` and `long_tail_counts`.
        DatasetError: a listed image is gone.
    """
    samples = list(samples)
    if listed:
        return select(samples, listed)
    natural = training_counts(samples)
    if all(natural[name] == counts.get(name) for name in natural):
        return samples
    return resample(samples, parse_split(split_name), seed)


def _draw(samples: list[Sample], class_name: str, count: int, seed: int) -> list[Path]:
    paths = sorted(s.path for s in samples if s.split == "train" and s.class_name == class_name)
    key = (seed, zlib.crc32(class_name.encode()))
    shuffled = np.random.default_rng(np.random.SeedSequence(key)).permutation(len(paths))
    return [paths[index] for index in shuffled[:count]]


def majority(counts: Mapping[str, int]) -> tuple[set[str], set[str]]:
    """The floor(C / 2) most populated classes (High) and the rest (Low); ties by name."""
    order = natural_order(counts)
    half = len(order) // 2
    return set(order[:half]), set(order[half:])


@dataclass(frozen=True)
class NamedSplit:
    """A long-tailed training set.

    Attributes:
        dataset: ``"mvtec"``, ``"visa"`` or ``"dagm"``, or a data set's folder.
        split: its distribution.
        counts: class -> training images, from rank 0 on: in natural order the most populated
            first.
    """

    dataset: str
    split: Split
    counts: dict[str, int]

    @property
    def name(self) -> str:
        """Such as ``"mvtec-exp100"``."""
        return f"{self.dataset}-{self.split.name}"

    @property
    def ratio(self) -> float:
        """Largest count over the smallest; near beta, as counts are whole and capped."""
        return max(self.counts.values()) / min(self.counts.values())

    @property
    def groups(self) -> dict[str, list[str]]:
        """Classes of "High" (the floor(C / 2) most populated) and "Low", in the counts' order."""
        high, _ = majority(self.counts)
        return {
            "High": [name for name in self.counts if name in high],
            "Low": [name for name in self.counts if name not in high],
        }


def named_splits(dataset: str | None = None) -> tuple[NamedSplit, ...]:
    """The paper's splits in the order of its Table 2, of one data set or of all three.

    Raises:
        SettingError: no such data set.
    """
    if dataset is not None and dataset not in NATURAL_COUNTS:
        raise SettingError(
            f"dataset is {dataset!r}, but it must be one of {', '.join(NATURAL_COUNTS)}."
        )
    return tuple(
        split_counts(name, NATURAL_COUNTS[name], f"{kind}{beta}")
        for name in ([dataset] if dataset else NATURAL_COUNTS)
        for kind in ("exp", "step")
        for beta in IMBALANCE_FACTORS[name]
    )


def split_counts(dataset: str, natural: Mapping[str, int], split_name: str) -> NamedSplit:
    """Any split of a data set with these natural counts; errors as `parse_split` and
    `long_tail_counts`."""
    split = parse_split(split_name)
    return NamedSplit(dataset, split, long_tail_counts(natural, split))


def splits_table(splits: Iterable[NamedSplit]) -> str:
    """Each split's total, ratio, and counts by class with High and Low apart, as plain text."""
    blocks = []
    for named in splits:
        blocks.append(
            f"{named.name}: {len(named.counts)} classes, {sum(named.counts.values())} images, "
            f"{max(named.counts.values())} / {min(named.counts.values())} = {named.ratio:.1f}"
        )
        for group, names in named.groups.items():
            counts = ", ".join(f"{name} {named.counts[name]}" for name in names)
            blocks.append(f"  {group} ({len(names)}): {counts}")
    return "\n".join(blocks)
