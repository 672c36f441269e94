"""The paper's 18 long-tailed training sets by name, and any other split, with their counts.

Named by data set and split, as in Table 2 of the paper: MVTec AD with beta 100 and 200, VisA with
100, 200 and 500, DAGM 2007 with 50, 100, 200 and 500, each exp and step. The natural counts are
constants, so that the counts of a split can be told without the data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ltad.data.longtail import Split, long_tail_counts, majority, parse_split
from ltad.types import SettingError

NATURAL_COUNTS: dict[str, dict[str, int]] = {
    # Training pictures: Bergmann et al., "MVTec AD" (CVPR 2019), Table 1; 3,629 in all. The
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
    # Normal pictures of ClassK/Train: 575 less 79, 66, 66, 82, 70 and 83 defective ones in classes
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
class NamedSplit:
    """A long-tailed training set.

    Attributes:
        dataset: ``"mvtec"``, ``"visa"`` or ``"dagm"``, or a data set's folder.
        split: its distribution.
        counts: class -> training pictures, from rank 0 on: in natural order the most populated
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
            f"{named.name}: {len(named.counts)} classes, {sum(named.counts.values())} pictures, "
            f"{max(named.counts.values())} / {min(named.counts.values())} = {named.ratio:.1f}"
        )
        for group, names in named.groups.items():
            counts = ", ".join(f"{name} {named.counts[name]}" for name in names)
            blocks.append(f"  {group} ({len(names)}): {counts}")
    return "\n".join(blocks)
