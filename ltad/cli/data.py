"""Data sets on the command line: choosing one, telling what is in it, and what is wrong with it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from tqdm import tqdm

from ltad.cli.options import SPLITS, Device
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
    data: str, split: str, seed: int, listed: Path | None, work: Path
) -> tuple[list[Sample], Path, dict[str, Any]]:
    """The data set under a split or its list, its folder, and the facts to keep with the model."""
    about: dict[str, Any] = {"data": Path(data).name, "split": split, "split_seed": seed}
    if data == "parts":
        if listed is not None:
            raise SettingError(
                f"--list is {listed}, but the rendered parts are drawn by --split. Write "
                "them with `python -m ltad parts DIR --split none` and give DIR as --data."
            )
        root = parts_folder(work, split, seed)
        return load_folder(root), root, about
    samples, root = load_dataset(data), Path(data)
    tell_plain_classes(root)
    if listed is not None:
        about["split"] = listed.name
        about["split_list"] = read_list(listed, data)
        return select(samples, about["split_list"]), root, about
    return resample(samples, parse_split(split), seed), root, about


def tell_counts(samples: Sequence[Sample], about: dict[str, Any]) -> None:
    """Print a training set's counts, High and Low."""
    split = Split(about["split"], "none", 1)  # it has been drawn
    print(splits_table([NamedSplit(about["data"], split, training_counts(samples))]))


def tell_plain_classes(root: Path) -> None:
    """Print which test images were drawn by this program, if any were."""
    if names := plain_classes(root):
        print(f"Without train and test folders: {', '.join(names)}. Of their good images, "
              f"{TEST_SHARE:.0%} are kept for testing, drawn by name (seed {TEST_SEED}).")


def tell_faults(samples: Sequence[Sample]) -> None:
    """Print every fault of the files; it is for the person to judge which of them matter."""
    faults = check_dataset(tqdm(samples, desc="checking", unit="images"))
    for fault in faults:
        print(f"fault: {fault}")
    if faults:
        print(f"Faults found: {len(faults)}. What can be read is used.")


def parts_folder(work: Path, split: str, seed: int) -> Path:
    """The rendered benchmark under a split, written if it is not there."""
    return write_parts(work / f"parts-{split}-{seed}", split, seed)


def parts(
    folder: Annotated[Path, typer.Argument(metavar="DIR")],
    split: Annotated[str, typer.Option(help=SPLITS)] = "step100",
    seed: int = 0,
    per_class: Annotated[int, typer.Option(help="training images at most")] = 100,
    device: Device = "cpu",
) -> None:
    """Write the rendered benchmark in MVTec AD's layout.

    Deterministic by seed; train and test images never share one.
    """
    began = time.monotonic()
    write_parts(folder, split, seed, per_class)
    samples = load_folder(folder)
    kinds = [sum(s.split == split for s in samples) for split in ("train", "test")]
    print(f"{kinds[0]} training and {kinds[1]} test images in {folder} "
          f"({time.monotonic() - began:.0f} s)")


def check(
    folder: Annotated[Path, typer.Argument(metavar="DIR")], device: Device = "cpu"
) -> None:
    """Count a data set's images and report every fault of its files.

    Layouts: MVTec AD, VisA, DAGM 2007. The exit status is 1 if there are faults.
    """
    samples = load_dataset(folder)
    print(count_table(samples))
    tell_plain_classes(folder)
    faults = check_dataset(tqdm(samples, desc="images"))
    for fault in faults:
        print(f"fault: {fault}")
    if faults:
        raise DatasetError(f"Faults found in {folder}: {len(faults)}. Repair the files.")
    print(f"No faults in {len(samples)} images.")


def splits(
    dataset: Annotated[  # pyright: ignore[reportUnknownParameterType]
        Literal[*NATURAL_COUNTS] | None,  # pyright: ignore[reportInvalidTypeForm]
        typer.Option(help="one data set; by default all three"),
    ] = None,
    data: Annotated[Path | None, typer.Option(
        metavar="DIR", help="a data set's folder instead, whose images are counted")] = None,
    split: Annotated[str | None, typer.Option(
        help=f"one split instead of the paper's; {SPLITS}")] = None,
    plot: Annotated[Path | None, typer.Option(
        metavar="FILE", help="also draw the counts into an HTML file")] = None,
    device: Device = "cpu",
) -> None:
    """Print the paper's long-tailed training sets with their counts.

    Largest / smallest count, and the classes of High and Low.
    """
    found = _chosen_splits(dataset, data, split)
    print(splits_table(found))
    if plot:
        splits_figure(found).write_html(plot, include_plotlyjs=True)
        print(f"Plotted in {plot}.")


def _chosen_splits(
    dataset: str | None, data: Path | None, split: str | None
) -> tuple[NamedSplit, ...]:
    if data is None and split is None:
        return named_splits(dataset)
    if data is None:
        natural = {dataset: NATURAL_COUNTS[dataset]} if dataset else NATURAL_COUNTS
    else:
        natural = {data.name: training_counts(load_dataset(data))}
    return tuple(split_counts(name, counts, split or "none") for name, counts in natural.items())
