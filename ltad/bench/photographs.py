"""Draws the photographs of README's figures: ``python -m ltad.bench.photographs --help``.

Two folders in MVTec AD's layout come of it. ``chosen`` holds the five kinds of parts that settings
were chosen on: concrete bridges, leather, magnetic tiles, polycrystalline cells and screws.
``aside`` holds the two that none was chosen on: monocrystalline cells and circuit boards. Images
are links to their sources, which stay where they are:

- ``--elpv``: the repository zae-bayern/elpv-dataset (a cell counts as defective at probability 1,
  as good at 0);
- ``--surface``: the repository Charmve/Surface-Defect-Detection (its ``DeepPCB`` and the
  validation part of ``Bridge_Crack_Image``);
- ``--parts``: a folder in MVTec AD's layout with ``leather``, ``magnetic_tile`` and ``screw``,
  whose test images are all kept.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from ltad.data.layouts import load_dataset
from ltad.io.files import generator
from ltad.types import DatasetError

TEST_IMAGES = 80
PARTS = ("leather", "magnetic_tile", "screw")


def draw(paths: Iterable[Path], count: int, seed: int) -> list[Path]:
    """``count`` of the files, or all of them if there are fewer, drawn from their sorted names."""
    known = sorted(paths)
    return [known[i] for i in generator(seed).permutation(len(known))[:count]]


def solar_cells(root: Path, kind: str) -> tuple[list[Path], list[Path]]:
    """Good and defective cells of one kind, ``mono`` or ``poly``."""
    data = root / "src/elpv_dataset/data"
    rows = pd.read_csv(_present(data / "labels.csv"), sep=r"\s+", header=None,
                       names=["file", "probability", "kind"])
    rows = rows[rows.kind == kind]
    good, defective = ([data / f for f in rows.file[rows.probability == p]] for p in (0.0, 1.0))
    return good, defective


def bridges(root: Path) -> tuple[list[Path], list[Path]]:
    """Good and cracked patches of concrete bridges."""
    folder = _present(root / "Bridge_Crack_Image/DBCC_Training_Data_Set/val")
    return list(folder.glob("no*.jpeg")), list(folder.glob("crack*.jpeg"))


def circuit_boards(root: Path) -> tuple[list[Path], list[Path]]:
    """Templates, which have no fault, and tested boards, which have some."""
    folder = _present(root / "DeepPCB/PCBData")
    return list(folder.glob("*/*/*_temp.jpg")), list(folder.glob("*/*/*_test.jpg"))


def link(paths: Iterable[Path], folder: Path, but: str = "") -> None:
    """Links files or folders under their own names into a folder, but for one name."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in paths:
        if path.name != but:
            (folder / path.name).symlink_to(path.resolve())


def split_and_link(
    folder: Path, images: tuple[list[Path], list[Path]], count: int, seed: int
) -> None:
    """Draws ``count`` training images and 80 + 80 test images of a class, and links them."""
    good = draw(images[0], count + TEST_IMAGES, seed)
    link(good[TEST_IMAGES:], folder / "train/good")
    link(good[:TEST_IMAGES], folder / "test/good")
    link(draw(images[1], TEST_IMAGES, seed), folder / "test/defective")


def main(arguments: list[str] | None = None) -> int:
    """Draw both folders. Returns the exit status."""
    options = _parser().parse_args(arguments)
    chosen, aside = options.out / "chosen", options.out / "aside"
    for folder, images in (
        (chosen / "bridge", bridges(options.surface)),
        (chosen / "poly_cell", solar_cells(options.elpv, "poly")),
        (aside / "mono_cell", solar_cells(options.elpv, "mono")),
        (aside / "pcb", circuit_boards(options.surface)),
    ):
        split_and_link(folder, images, options.images, options.seed)
    samples = load_dataset(options.parts)
    for name in PARTS:
        own = [s.path for s in samples if s.class_name == name and s.split == "train"]
        link(draw(own, options.images, options.seed), chosen / name / "train/good")
        link(sorted(_present(options.parts / name).iterdir()), chosen / name, but="train")
    return 0


def _present(path: Path) -> Path:
    if not path.exists():
        raise DatasetError(f"{path} is missing; see --help for what the folders must hold.")
    return path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ltad.bench.photographs", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("elpv", "surface", "parts", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--images", type=int, default=20, help="training images of each class")
    parser.add_argument("--seed", type=int, default=0)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
