"""Which photographs README's figures are made of."""

from pathlib import Path

import pytest
from PIL import Image

from ltad.bench import photographs
from ltad.data.layouts import load_dataset
from ltad.types import DatasetError


def save(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4)).save(path)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sources")
    cells = root / "elpv/src/elpv_dataset/data"
    rows = [f"images/cell{kind}{p}{i}.png  {p}  {kind}" for kind in ("mono", "poly")
            for p in (0.0, 0.3333333333333333, 1.0) for i in range(90)]
    for row in rows:
        save(cells / row.split()[0])
    (cells / "labels.csv").write_text("\n".join(rows))
    for i in range(90):
        save(root / f"surface/DeepPCB/PCBData/group1/1/{i:03}_temp.jpg")
        save(root / f"surface/DeepPCB/PCBData/group1/1/{i:03}_test.jpg")
        for name in ("no", "crack"):
            save(root / f"surface/Bridge_Crack_Image/DBCC_Training_Data_Set/val/{name}{i}.jpeg")
    for part in photographs.PARTS:
        for i in range(6):
            save(root / f"parts/{part}/train/good/{i}.png")
            save(root / f"parts/{part}/test/good/{i}.png")
            save(root / f"parts/{part}/test/cut/{i}.png")
            save(root / f"parts/{part}/ground_truth/cut/{i}_mask.png")
    return root


def drawn(sources: Path, out: Path, seed: int = 0) -> Path:
    photographs.main([*(v for n in ("elpv", "surface", "parts")
                        for v in (f"--{n}", str(sources / n))),
                      "--out", str(out), "--images", "4", "--seed", str(seed)])
    return out


def test_the_kinds_set_aside_are_not_among_those_chosen_on(sources: Path, tmp_path: Path) -> None:
    out = drawn(sources, tmp_path)
    classes = [{s.class_name for s in load_dataset(out / k)} for k in ("chosen", "aside")]
    assert classes == [{"bridge", "leather", "magnetic_tile", "poly_cell", "screw"},
                       {"mono_cell", "pcb"}]


def test_counts_and_labels(sources: Path, tmp_path: Path) -> None:
    out = drawn(sources, tmp_path)
    for folder, tests in (("chosen", {"bridge": 80, "leather": 6}), ("aside", {"pcb": 80})):
        samples = load_dataset(out / folder)
        for name, count in tests.items():
            own = [s for s in samples if s.class_name == name]
            assert sum(s.split == "train" for s in own) == 4
            assert sum(s.split == "test" and s.is_defective for s in own) == count
            assert sum(s.split == "test" and not s.is_defective for s in own) == count
    leather = [s for s in load_dataset(out / "chosen") if s.class_name == "leather"]
    assert all(s.mask_path for s in leather if s.is_defective)


def test_a_cell_of_doubt_is_left_out(sources: Path, tmp_path: Path) -> None:
    out = drawn(sources, tmp_path)
    for split, probability in (("train/good", "0.0"), ("test/good", "0.0"),
                               ("test/defective", "1.0")):
        names = {p.name.removeprefix("cellpoly") for p in (out / "chosen/poly_cell" / split)
                 .iterdir()}
        assert {n[:3] for n in names} == {probability}


def test_no_image_is_learned_from_and_tested_on(sources: Path, tmp_path: Path) -> None:
    out = drawn(sources, tmp_path)
    for folder in ("chosen/bridge", "aside/mono_cell"):
        train, test = ({p.name for p in (out / folder / s / "good").iterdir()}
                       for s in ("train", "test"))
        assert not train & test


def test_a_seed_draws_the_same_images_and_another_one_others(
    sources: Path, tmp_path: Path
) -> None:
    once, again, other = (
        sorted(p.name for p in (drawn(sources, tmp_path / n, seed) / "aside/pcb/test/good")
               .iterdir())
        for n, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert once == again != other


def test_a_missing_source_is_named(sources: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"labels\.csv is missing"):
        photographs.solar_cells(tmp_path, "mono")
