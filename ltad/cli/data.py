"""Data sets on the command line: choosing one, telling what is in it, and what is wrong with it."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from ltad.data.check import check_dataset, count_table
from ltad.data.datasets import TEST_SEED, TEST_SHARE, load_folder, plain_classes, read_list, select
from ltad.data.layouts import load_dataset
from ltad.data.splits import (
    NATURAL_COUNTS,
    NamedSplit,
    Split,
    named_splits,
    parse_split,
    resample,
    split_counts,
    splits_table,
    training_counts,
)
from ltad.evaluation.figures import splits_figure
from ltad.synthetic.dataset import write_parts
from ltad.types import DatasetError, Sample, SettingError


def training_samples(
    options: Namespace, split: str, seed: int
) -> tuple[list[Sample], Path, dict]:
    """The data set under a split or its list, its folder, and the facts to keep with the model."""
    about = {"data": Path(options.data).name, "split": split, "split_seed": seed}
    if options.data == "parts":
        if options.list is not None:
            raise SettingError(
                f"--list is {options.list}, but the rendered parts are drawn by --split. Write "
                "them with `python -m ltad parts DIR --split none` and give DIR as --data."
            )
        root = parts_folder(options.work, split, seed)
        return load_folder(root), root, about
    samples, root = load_dataset(options.data), Path(options.data)
    tell_plain_classes(root)
    if options.list is not None:
        about["split"] = options.list.name
        about["split_list"] = read_list(options.list, options.data)
        return select(samples, about["split_list"]), root, about
    return resample(samples, parse_split(split), seed), root, about


def tell_counts(samples: Sequence[Sample], about: dict) -> None:
    """Print a training set's counts, High and Low."""
    split = Split(about["split"], "none", 1)  # it has been drawn
    print(splits_table([NamedSplit(about["data"], split, training_counts(samples))]))


def tell_plain_classes(root: Path) -> None:
    """Print which test pictures were drawn by this program, if any were."""
    if names := plain_classes(root):
        print(f"Without train and test folders: {', '.join(names)}. Of their good images, "
              f"{TEST_SHARE:.0%} are kept for testing, drawn by name (seed {TEST_SEED}).")


def tell_faults(options: Namespace, samples: Sequence[Sample]) -> None:
    """Print every fault of the files, unless that is not wanted; it is for the person to judge
    which of them matter."""
    if options.data == "parts" or options.unchecked:  # what this program renders is whole
        return
    faults = check_dataset(tqdm(samples, desc="checking", unit="pictures"))
    for fault in faults:
        print(f"fault: {fault}")
    if faults:
        print(f"Faults found: {len(faults)}. What can be read is used.")


def parts_folder(work: Path, split: str, seed: int) -> Path:
    """The rendered benchmark under a split, written if it is not there."""
    return write_parts(work / f"parts-{split}-{seed}", split, seed)


def parts(options: Namespace) -> None:
    """``python -m ltad parts``"""
    began = time.monotonic()
    write_parts(options.folder, options.split, options.seed, options.per_class)
    samples = load_folder(options.folder)
    kinds = [sum(s.split == split for s in samples) for split in ("train", "test")]
    print(f"{kinds[0]} training and {kinds[1]} test pictures in {options.folder} "
          f"({time.monotonic() - began:.0f} s)")


def check(options: Namespace) -> None:
    """``python -m ltad check``

    Raises:
        DatasetError: there are faults, which have been printed.
    """
    samples = load_dataset(options.folder)
    print(count_table(samples))
    tell_plain_classes(Path(options.folder))
    faults = check_dataset(tqdm(samples, desc="pictures"))
    for fault in faults:
        print(f"fault: {fault}")
    if faults:
        raise DatasetError(f"Faults found in {options.folder}: {len(faults)}. Repair the files.")
    print(f"No faults in {len(samples)} pictures.")


def splits(options: Namespace) -> None:
    """``python -m ltad splits``"""
    found = _wished_splits(options)
    print(splits_table(found))
    if options.plot:
        splits_figure(found).write_html(options.plot, include_plotlyjs=True)
        print(f"Plotted in {options.plot}.")


def _wished_splits(options: Namespace) -> tuple[NamedSplit, ...]:
    if options.data is None and options.split is None:
        return named_splits(options.dataset)
    if options.data is None:
        natural = {name: NATURAL_COUNTS[name] for name in
                   ([options.dataset] if options.dataset else NATURAL_COUNTS)}
    else:
        natural = {options.data.name: training_counts(load_dataset(options.data))}
    return tuple(split_counts(name, counts, options.split or "none")
                 for name, counts in natural.items())
