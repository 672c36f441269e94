"""Data folders: layout, masks by name, list files, every error, and the written parts."""

import json
import shutil
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from ltad.cli.main import main
from ltad.data.datasets import (
    check_readable,
    load_folder,
    plain_classes,
    read_list,
    select,
    stray_masks,
)
from ltad.data.layouts import load_dataset
from ltad.data.splits import parse_split, resample
from ltad.evaluation.record import layout_of
from ltad.synthetic.classes import PART_CLASSES, applicable_defects
from ltad.synthetic.dataset import FIRST_DEFECTIVE, write_parts
from ltad.synthetic.dataset import test_seed as seed_of_test
from ltad.synthetic.dataset import train_seed as seed_of_train
from ltad.synthetic.render import render_part
from ltad.types import DatasetError, SettingError


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9)).save(root / name)


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "set"
    touch(
        root,
        "nut/train/good/001.png", "nut/train/good/000.PNG",
        "nut/test/good/000.png",
        "nut/test/crack/000.png", "nut/test/crack/001.jpg", "nut/test/crack/010.png",
        "nut/ground_truth/crack/010_mask.png", "nut/ground_truth/crack/001_mask.bmp",
        "nut/ground_truth/crack/999_mask.png", "nut/ground_truth/good/000_mask.png",
        "my cable/train/good/a.tif",
    )
    (root / "parts.json").write_text("{}")
    (root / "nut" / "train" / "good" / "notes.txt").write_text("")
    (root / ".hidden" / "train" / "good").mkdir(parents=True)
    return root


def test_layout_is_read_in_order(root):
    found = [
        (s.class_name, s.split, s.defect, s.path.name, s.mask_path and s.mask_path.name)
        for s in load_folder(root)
    ]
    assert found == [
        ("my cable", "train", None, "a.tif", None),
        ("nut", "train", None, "000.PNG", None),
        ("nut", "train", None, "001.png", None),
        ("nut", "test", "crack", "000.png", None),
        ("nut", "test", "crack", "001.jpg", "001_mask.bmp"),
        ("nut", "test", "crack", "010.png", "010_mask.png"),
        ("nut", "test", None, "000.png", None),
    ]


def test_mask_of_the_same_stem(root):
    touch(root, "nut/ground_truth/crack/000.png", "nut/ground_truth/crack/010.png")
    masks = {s.path.stem: s.mask_path.name for s in load_folder(root) if s.is_defective}
    assert masks == {"000": "000.png", "001": "001_mask.bmp", "010": "010_mask.png"}


def test_a_class_folder_is_a_data_set(root, monkeypatch):
    assert {s.class_name for s in load_folder(root / "nut")} == {"nut"}
    monkeypatch.chdir(root / "nut")
    assert {s.class_name for s in load_folder(".")} == {"nut"}


@pytest.mark.parametrize("name", ["good", "Good", "OK", "ok", "normal"])
def test_good_parts_by_their_usual_names(tmp_path, name):
    touch(tmp_path, f"nut/train/{name}/0.png", f"nut/test/{name}/1.png", "nut/test/Goodish/2.png")
    found = [(s.split, s.defect, s.path.name) for s in load_folder(tmp_path)]
    assert sorted(found, key=str) == [
        ("test", "Goodish", "2.png"), ("test", None, "1.png"), ("train", None, "0.png")
    ]


def plain(tmp_path, good: int):
    touch(tmp_path, *(f"nut/good/{i:02d}.png" for i in range(good)), "nut/bad/a.png",
          "nut/Bad spots/b.png", "nut/ground_truth/bad/a_mask.png")
    return tmp_path


def test_plain_folders_of_good_and_bad(tmp_path):
    root = plain(tmp_path, 12)
    samples = load_dataset(root)
    assert samples == load_dataset(root) and plain_classes(root) == ["nut"]
    assert [(s.defect, s.mask_path and s.mask_path.name) for s in samples if s.is_defective] == [
        ("Bad spots", None), ("bad", "a_mask.png")]
    assert layout_of(root) == "plain folders"
    train, tested = ({s.path.name for s in samples if s.split == split and not s.is_defective}
                     for split in ("train", "test"))
    assert (len(train), len(tested)) == (10, 2)  # 20% of 12 is 2.4
    assert train | tested == {f"{i:02d}.png" for i in range(12)} and tested != {"00.png", "01.png"}
    alone = load_dataset(root / "nut")
    assert [(s.path, s.split) for s in alone] == [(s.path, s.split) for s in samples]


def test_only_good_parts_are_a_data_set_but_a_test_folder_is_none(tmp_path):
    touch(tmp_path, *(f"nut/good/{i}.png" for i in range(5)), "other/test/good/0.png")
    found = load_dataset(tmp_path / "nut")
    assert Counter(s.split for s in found) == {"train": 4, "test": 1}
    with pytest.raises(DatasetError, match=r"plain folders \(CLASS/good"):
        load_dataset(tmp_path / "other" / "test")
    touch(tmp_path, "nut/OK/7.png")
    with pytest.raises(DatasetError, match="nut has good images in OK and good"):
        load_dataset(tmp_path / "nut")


def test_drawn_test_pictures_are_told(tmp_path, capsys):
    root = plain(tmp_path, 5)
    main(["check", str(root)])
    assert ("Without train and test folders: nut. Of their good images, 20% are kept for testing, "
            "drawn by name (seed 0).") in capsys.readouterr().out


def test_masks_of_no_picture(root):
    touch(root, "nut/ground_truth/crack/001_GT.png", "nut/ground_truth/hole/000_mask.png")
    found = {path.relative_to(root / "nut" / "ground_truth").as_posix()
             for path in stray_masks(load_folder(root))}
    assert found == {"crack/001_GT.png", "crack/999_mask.png", "hole/000_mask.png"}


def test_wrong_folders(root, tmp_path):
    with pytest.raises(DatasetError, match="nowhere"):
        load_folder(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="not a folder"):
        load_folder(root / "parts.json")
    with pytest.raises(DatasetError, match=r"CLASS/train/good.*found set/"):
        load_folder(tmp_path)
    (root / "empty").mkdir()
    with pytest.raises(DatasetError, match="found nothing"):
        load_folder(root / "empty")
    shutil.rmtree(root / "my cable" / "train")
    (root / "my cable" / "test").mkdir()
    with pytest.raises(DatasetError, match="my cable"):
        load_folder(root)


def test_unreadable_files_are_named_and_counted(root):
    check_readable(load_folder(root))
    (root / "nut" / "test" / "good" / "000.png").write_text("text")
    (root / "nut" / "ground_truth" / "crack" / "010_mask.png").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"010_mask\.png is empty.*in all: 2"):
        check_readable(load_folder(root))


def test_lists(root, tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("nut/train/good/001.png\n\nmy cable\\train\\good\\a.tif\n" * 2)
    listed = read_list(path, root)
    assert listed == ["nut/train/good/001.png", "my cable/train/good/a.tif"]
    entries = [
        {"filename": "nut/train/good/001.png", "label": 0, "clsname": "nut"},
        {"filename": "train/good/a.tif", "clsname": "my cable"},
    ]
    path.write_text("\n".join(map(json.dumps, entries)))
    assert read_list(path, root) == listed
    samples = load_folder(root)
    chosen = select(samples, listed)
    assert chosen == [s for s in samples if s.path.name != "000.PNG"]


@pytest.mark.parametrize(
    "line, message",
    [
        ("nut/train/good/777.png", "Line 2 .*no such file"),
        ("../set/nut/train/good/001.png", "Line 2 .*relative"),
        ("/etc/hostname", "Line 2 .*relative"),
        ('{"file": "a"}', "Line 2 .*JSON"),
        ('{"filename": ', "Line 2 .*JSON"),
        ('{"filename": 3}', "Line 2 .*not text"),
    ],
)
def test_wrong_lines(root, tmp_path, line, message):
    path = tmp_path / "list.txt"
    path.write_text(f"nut/train/good/001.png\n{line}\n")
    with pytest.raises(DatasetError, match=message):
        read_list(path, root)


def test_wrong_lists(root, tmp_path):
    path = tmp_path / "list.txt"
    with pytest.raises(DatasetError, match=r"list\.txt cannot be read"):
        read_list(path, root)
    path.write_text("\n")
    with pytest.raises(DatasetError, match="names no image"):
        read_list(path, root)
    samples = load_folder(root)
    for listed, message in (
        (["nut/test/good/000.png"], "test image"),
        (["nut/train/good/001.png", "other/train/good/1.png"], "other/train/good/1.png"),
        (["nut/train/good/001.png"], "my cable"),
    ):
        with pytest.raises(DatasetError, match=message):
            select(samples, listed)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    arguments = (folder, "exp4", 3, 4, 1, 2, 32)
    return write_parts(*arguments, progress=False, workers=1), arguments


def test_written_parts(parts):
    folder, _ = parts
    samples = load_folder(folder)
    check_readable(samples)
    recipe = json.loads((folder / "parts.json").read_text())
    # int(4 * 4^(-r/15)): r = 0 gives 4; 3 up to r = 3 (4^0.8 = 3.03), 2 up to r = 7, then 1
    assert list(recipe["counts"].values()) == [4] + [3] * 3 + [2] * 4 + [1] * 8
    assert list(recipe["counts"]) == list(PART_CLASSES)
    for name in PART_CLASSES:
        own = [s for s in samples if s.class_name == name]
        assert sum(s.split == "train" for s in own) == recipe["counts"][name]
        assert {s.defect for s in own if s.defect} == set(applicable_defects(name)[:2])
        assert all(s.mask_path for s in own if s.defect)


def test_written_pictures_are_the_renderers(parts):
    folder, _ = parts
    nut, defect = folder / "hex_nut", applicable_defects("hex_nut")[1]
    expected = {
        "train/good/003.png": render_part("hex_nut", seed_of_train(3, 3), 32).image,
        "test/good/000.png": render_part("hex_nut", seed_of_test(0), 32).image,
    }
    part = render_part("hex_nut", seed_of_test(FIRST_DEFECTIVE + 1), 32, defect)
    expected[f"test/{defect}/000.png"] = part.image
    expected[f"ground_truth/{defect}/000_mask.png"] = part.mask * 255
    for name, pixels in expected.items():
        assert np.array_equal(np.asarray(Image.open(nut / name)), pixels)


def test_writing_goes_on_where_it_stopped(parts):
    folder, arguments = parts
    lost, kept = (folder / "screw" / "test" / "good" / "000.png",
                  folder / "gear" / "test" / "good" / "000.png")
    before = lost.read_bytes(), kept.stat().st_mtime_ns
    lost.unlink()
    write_parts(*arguments, progress=False)
    assert (lost.read_bytes(), kept.stat().st_mtime_ns) == before


def test_another_recipe_or_other_files_are_refused(parts, root):
    folder, arguments = parts
    with pytest.raises(DatasetError, match="another recipe"):
        write_parts(folder, "exp2", *arguments[2:], progress=False)
    with pytest.raises(DatasetError, match="other files"):
        write_parts(root / "nut", "none")
    for wrong in ({"seed": 100}, {"size": 8}, {"train_per_class": 0}, {"split_name": "x"}):
        with pytest.raises(SettingError, match="must be"):
            write_parts(**{"folder": root / "new", "split_name": "none", **wrong})


def test_written_parts_resample(parts):
    samples = load_folder(parts[0])
    assert resample(samples, parse_split("none"), 0) == samples
