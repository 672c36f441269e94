"""The three published layouts: counts, labels, masks by name, and every damage named."""

import csv
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ltad.cli.data import tell_counts, tell_faults, training_samples
from ltad.cli.main import main
from ltad.data.check import check_dataset, count_table
from ltad.data.datasets import mask_doubts, read_mask, reduce_mask
from ltad.data.layouts import load_dataset
from ltad.evaluation.evaluate import load_mask
from ltad.evaluation.metrics import PixelScores
from ltad.types import DatasetError, Sample

SIZE = (24, 16)  # width, height
DEFECT = (slice(4, 9), slice(10, 20))


def picture(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (SIZE[1], SIZE[0], 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def mask(path: Path, value: int) -> Path:
    """A rectangle of `value`; of another label, 1, in its last row if `value` is a label."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros(SIZE[::-1], np.uint8)
    pixels[DEFECT] = value
    if value < 255:
        pixels[DEFECT[0].stop - 1, DEFECT[1]] = 1
    Image.fromarray(pixels).save(path)
    return path


def make_mvtec(root: Path) -> Path:
    for number, name in enumerate(("bottle", "cable")):
        for index in range(3):
            picture(root / name / "train" / "good" / f"{index:03d}.png", 100 * number + index)
        picture(root / name / "test" / "good" / "000.png", 100 * number + 50)
        for index in range(2):
            picture(root / name / "test" / "cut" / f"{index:03d}.png", 100 * number + 60 + index)
            mask(root / name / "ground_truth" / "cut" / f"{index:03d}_mask.png", 255)
    return root


def make_visa(root: Path) -> Path:
    rows = []
    for number, name in enumerate(("candle", "pcb1")):
        data = root / name / "Data"
        for index, split in enumerate(("test", "train", "train", "train")):
            path = picture(data / "Images" / "Normal" / f"{index:04d}.JPG", 100 * number + index)
            rows.append((name, split, "normal", path, None))
        for index in (1, 0):  # the list's order is not the files' order
            image = data / "Images" / "Anomaly" / f"{index:03d}.JPG"
            path = picture(image, 100 * number + 60 + index)
            found = mask(data / "Masks" / "Anomaly" / f"{index:03d}.png", 1 + index)
            rows.append((name, "test", "anomaly", path, found))
    write_list(root, [
        (*row[:3], *(path.relative_to(root).as_posix() if path else "" for path in row[3:]))
        for row in rows
    ])
    return root


def write_list(root: Path, rows: list) -> None:
    (root / "split_csv").mkdir(exist_ok=True)
    with (root / "split_csv" / "1cls.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("object", "split", "label", "image", "mask"), *rows])


def make_dagm(root: Path) -> Path:
    for number in (2, 10):
        for split, first in (("Train", 1), ("Test", 101)):
            folder = root / f"Class{number}" / split
            for index in range(first, first + 4):
                picture(folder / f"{index:04d}.PNG", 1000 * number + index)
            mask(folder / "Label" / f"{first + 2:04d}_label.PNG", 255)
            (folder / "Label" / "Labels.txt").write_text(
                f"1\n1\t0\t{first:04d}.PNG\t0\t0\n"
                f"3\t1\t{first + 2:04d}.PNG\t0\t{first + 2:04d}_label.PNG\n"
            )
    return root


MAKERS = {"mvtec": make_mvtec, "visa": make_visa, "dagm": make_dagm}
COUNTS = {
    "mvtec": {(c, s, d): n for c in ("bottle", "cable")
              for s, d, n in (("train", None, 3), ("test", None, 1), ("test", "cut", 2))},
    "visa": {(c, s, d): n for c in ("candle", "pcb1")
             for s, d, n in (("train", None, 3), ("test", None, 1), ("test", "anomaly", 2))},
    "dagm": {(c, s, d): n for c in ("Class2", "Class10")
             for s, d, n in (("train", None, 3), ("test", None, 3), ("test", "defect", 1))},
}


@pytest.fixture(params=MAKERS)
def layout(request, tmp_path) -> tuple[str, Path]:
    return request.param, MAKERS[request.param](tmp_path / "data")


def test_counts_classes_labels_and_masks(layout, tell):
    name, root = layout
    samples = load_dataset(root)
    assert Counter((s.class_name, s.split, s.defect) for s in samples) == COUNTS[name]
    order = list(dict.fromkeys(s.class_name for s in samples))
    assert order == list(dict.fromkeys(c for c, _, _ in COUNTS[name]))
    for sample in samples:
        assert sample.path.is_file() and sample.class_name in sample.path.parts
        assert (sample.mask_path is not None) == sample.is_defective
        if sample.is_defective:
            stem = sample.mask_path.stem.removesuffix("_mask").removesuffix("_label")
            assert stem == sample.path.stem and sample.class_name in sample.mask_path.parts
    assert check_dataset(iter(samples)) == []
    masks = sum(sample.mask_path is not None for sample in samples)
    tell(f"{name}: {len(samples)} images, {masks} masks found by name\n{count_table(samples)}")


def test_masks_are_where_they_are_not_black(layout):
    expected = np.zeros(SIZE[::-1], bool)
    expected[DEFECT] = True
    defective = [s for s in load_dataset(layout[1]) if s.is_defective]
    for sample in defective:
        found = read_mask(sample.mask_path)
        assert found.dtype == bool and np.array_equal(found, expected)
        resized = load_mask(sample, 48)
        assert resized.shape == (48, 48) and resized.mean() == pytest.approx(expected.mean())


def test_every_layout_trains_under_a_split(layout):
    kept, _, about = training_samples(str(layout[1]), "step3", 0, None, layout[1])
    assert about["split"] == "step3"
    assert sorted(Counter(s.class_name for s in kept if s.split == "train").values()) == [1, 3]


def test_counts_and_faults_are_told_before_training(tmp_path, capsys):
    root = make_mvtec(tmp_path / "data")
    lost = sample_of(root, "cut").mask_path
    lost.unlink()
    samples, _, about = training_samples(str(root), "step3", 0, None, tmp_path)
    tell_counts(samples, about)
    tell_faults(samples)
    printed = capsys.readouterr().out
    assert "data-step3: 2 classes, 4 images, 3 / 1 = 3.0" in printed
    assert "  High (1): bottle 3\n  Low (1): cable 1\n" in printed
    assert printed.count("fault: ") == 1 and "has no mask of its name" in printed


def test_dagm_in_the_order_of_the_numbers_and_of_one_class(tmp_path, monkeypatch):
    root = make_dagm(tmp_path)
    assert [s.path.name for s in load_dataset(root)][:7] == [
        "0001.PNG", "0002.PNG", "0004.PNG", "0101.PNG", "0102.PNG", "0103.PNG", "0104.PNG"
    ]
    monkeypatch.chdir(root / "Class10")
    assert {s.class_name for s in load_dataset(".")} == {"Class10"}


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_what_a_mask_marks(tmp_path, suffix):
    pixels = np.zeros((16, 16), np.uint8)
    path = tmp_path / f"mask{suffix}"
    Image.fromarray(pixels).save(path)
    assert not read_mask(path).any()
    pixels[:, :8], pixels[:, 8:] = 1, 9
    Image.fromarray(pixels).save(path, quality=100)
    # labels 1 and 9 are both defects; in a JPEG, 1 may be noise
    assert read_mask(path).mean() == (1.0 if suffix == ".png" else 0.5)
    pixels[:, :8], pixels[:, 8:] = 60, 200  # so are the grey levels 60 and 200, but not in a JPEG
    Image.fromarray(pixels).save(path, quality=100)
    assert read_mask(path).mean() == (1.0 if suffix == ".png" else 0.5)


SQUARE = np.kron([[0, 0, 0, 0], [0, 1, 2, 0], [0, 3, 4, 0], [0, 0, 0, 0]], np.ones((4, 4), int))
"""Four labels around the middle of 16 x 16 pixels, 64 of them defective."""
VOC_PALETTE = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128]


def painted(colors: list) -> Image.Image:
    """`SQUARE` in five colours, the background's first."""
    return Image.fromarray(np.array(colors, np.uint8)[SQUARE])


def with_palette(colors: list) -> Image.Image:
    image = Image.fromarray(SQUARE.astype(np.uint8), "P")
    image.putpalette(colors)
    return image


def background_last() -> Image.Image:
    image = Image.fromarray(np.where(SQUARE > 0, 0, 1).astype(np.uint8), "P")
    image.putpalette([255, 255, 255, 0, 0, 0])
    return image


RED, CLEAR, BLACK = (255, 0, 0, 255), (0, 0, 0, 0), (0, 0, 0, 255)
MASK_FILES = {
    "red on transparent": painted([CLEAR, *[RED] * 4]),
    "white on transparent white": painted([(255, 255, 255, 0), *[(255, 255, 255, 255)] * 4]),
    "black on transparent": painted([CLEAR, *[BLACK] * 4]),
    "opaque": painted([BLACK, *[RED] * 4]),
    "colours": painted([(0, 0, 0), (128, 0, 0), (0, 128, 0), (0, 0, 20), (255, 255, 255)]),
    "grey levels": painted([0, 40, 80, 160, 255]),
    "16 bit labels": Image.fromarray(SQUARE.astype(np.uint16)),
    "palette": with_palette(VOC_PALETTE),
    "palette, its background last": background_last(),
    "1 bit": Image.fromarray(SQUARE > 0),
}


@pytest.mark.parametrize("kind", MASK_FILES)
def test_every_label_but_the_background_is_a_defect(tmp_path, kind):
    path = tmp_path / "mask.png"
    MASK_FILES[kind].save(path)
    assert np.array_equal(read_mask(path), SQUARE > 0)
    assert mask_doubts(path) == []
    sample = Sample(path, "ring", "test", "hole", path)
    pixels = PixelScores()
    # Right in 60 of the 64 defective pixels, wrong in 4 that score lowest of all.
    scores = np.where(SQUARE > 0, np.float32(1), np.float32(0.5))
    scores[4, 4:8] = 0
    pixels.add(load_mask(sample, 16), scores)
    assert pixels.auroc() == pytest.approx(60 / 64)


@pytest.mark.parametrize("place, kept", [
    ((slice(500, 503), slice(500, 503)), 1),  # 3 x 3 pixels in one of 1,024 / 224 = 4.6 x 4.6
    ((700, slice(100, 500)), 89),  # a scratch one pixel thin: from 100 / 4.57 to 499 / 4.57
])
def test_small_defects_do_not_vanish_at_the_scoring_size(place, kept):
    large = np.zeros((1024, 1024), bool)
    large[place] = True
    small, thin = reduce_mask(large, 224)
    assert small.sum() == thin.sum() == kept


def test_large_defects_do_not_grow_at_the_scoring_size():
    large = np.zeros((1024, 1024), bool)
    large[300:707, 300:707] = True  # 407 / 4.57 = 89.03 pixels wide, 65.6 to 154.7
    large[310, 707:900] = True  # its tail, to 196.9
    small, thin = reduce_mask(large, 224)
    assert small[100].sum() == 89 and small[:, 100].sum() == 89
    assert thin.sum() == 41 and small[67, 156:197].all()  # pixel 155 is beside the large one


def test_shades_are_cut_at_half_and_told(tmp_path):
    path = tmp_path / "mask.png"
    rows = np.linspace(0, 255, 64).astype(np.uint8)[:, None]  # 64 levels, half of them above 127.5
    Image.fromarray(np.repeat(rows, 8, axis=1)).save(path)
    assert read_mask(path).mean() == 0.5
    (doubt,) = mask_doubts(path)
    assert "mask.png has 192 pixels of darker grey" in doubt and "256 brighter" in doubt


def test_doubtful_masks_are_told(tmp_path):
    path = tmp_path / "mask.png"
    Image.fromarray(SQUARE == 0).save(path)
    (doubt,) = mask_doubts(path)
    assert "marks 75% of the image with its whole border" in doubt
    painted([CLEAR, BLACK, RED, RED, RED]).save(path)
    (doubt,) = mask_doubts(path)
    assert "transparent, black and coloured" in doubt
    Image.fromarray(np.where(SQUARE == 4, 255, 60 * (SQUARE > 0)).astype(np.uint8)).save(
        path.with_suffix(".jpg"), quality=100)
    (doubt,) = mask_doubts(path.with_suffix(".jpg"))
    assert "48 pixels of darker grey" in doubt and "16 brighter" in doubt


def swapped_mask(root: Path) -> str:
    path = sample_of(root, "cut").mask_path
    Image.fromarray(~np.asarray(Image.open(path))).save(path)
    return f"{path} marks 87%"


def test_no_layout(tmp_path):
    with pytest.raises(DatasetError, match="nowhere is not a folder"):
        load_dataset(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match=r"train/good.*1cls\.csv.*_label\.PNG"):
        load_dataset(tmp_path)


def sample_of(root: Path, name: str) -> Sample:
    """The first sample of that kind, to be damaged."""
    return next(s for s in load_dataset(root) if (s.defect or s.split) == name)


def cut_off(root: Path) -> str:
    path = sample_of(root, "train").path
    path.write_bytes(path.read_bytes()[:-40])
    return path.name


def no_picture(root: Path) -> str:
    path = sample_of(root, "train").path
    path.write_text("text")
    return path.name


def lost_picture(root: Path) -> str:
    path = sample_of(root, "anomaly").path
    path.unlink()
    return path.name


def lost_mask(root: Path) -> str:
    sample = sample_of(root, "cut")
    sample.mask_path.unlink()
    return str(sample.path)


def lost_listed_mask(root: Path) -> str:
    sample = sample_of(root, "anomaly")
    sample.mask_path.unlink()
    return str(sample.mask_path)


def lost_label(root: Path) -> str:
    sample = sample_of(root, "defect")
    sample.mask_path.unlink()
    return str(sample.path)


def small_mask(root: Path) -> str:
    path = sample_of(root, "cut").mask_path
    Image.open(path).resize((12, 16)).save(path)
    return f"{path} is 12 x 16"


def empty_mask(root: Path) -> str:
    path = sample_of(root, "cut").mask_path
    Image.new("L", SIZE).save(path)
    return f"{path} marks no pixel"


def broken_mask(root: Path) -> str:
    path = sample_of(root, "defect").mask_path
    path.write_bytes(b"")
    return f"{path} is empty"


def other_ending(root: Path) -> str:
    mask(root / "cable" / "ground_truth" / "cut" / "001_GT.png", 255)
    return "001_GT.png is the mask of no image: a mask of NAME.png in test/cut must be called NAME_"


def no_test_pictures(root: Path) -> str:
    for name in ("test", "ground_truth"):
        shutil.rmtree(root / "cable" / name)
    return f"{root / 'cable' / 'train' / 'good'} belongs to class cable, which has no test"


def trained_on_a_test_picture(root: Path) -> str:
    path, copy = sample_of(root, "cut").path, root / "cable" / "train" / "good" / "900.png"
    shutil.copy(path, copy)
    return str(copy)


@pytest.mark.parametrize(
    "name, damage",
    [
        ("mvtec", cut_off), ("dagm", cut_off), ("visa", cut_off), ("mvtec", no_picture),
        ("visa", lost_picture), ("mvtec", lost_mask), ("visa", lost_listed_mask),
        ("dagm", lost_label), ("mvtec", small_mask), ("mvtec", empty_mask),
        ("mvtec", swapped_mask), ("mvtec", other_ending), ("dagm", broken_mask),
        ("mvtec", no_test_pictures), ("mvtec", trained_on_a_test_picture),
    ],
)
def test_damage_is_a_fault_that_names_the_file(tmp_path, capsys, tell, name, damage):
    root = MAKERS[name](tmp_path / "data")
    named = damage(root)
    faults = check_dataset(load_dataset(root))
    assert len(faults) == 1 and named in faults[0]
    assert main(["check", str(root)]) == 1
    printed = capsys.readouterr()
    assert f"fault: {faults[0]}" in printed.out and f"{root}: 1." in printed.err
    tell(f"{name}, {damage.__name__.replace('_', ' ')}: {faults[0].replace(str(root), 'DIR')}")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"split": "val"}, "split 'val'"),
        ({"label": "bad"}, "label 'bad'"),
        ({"image": ""}, "no image"),
        ({"image": "../other.JPG"}, "must stay inside"),
        ({"image": "/etc/hostname"}, "must stay inside"),
        ({"split": "train"}, "000.JPG for training"),
        ({"mask": "candle/Data/Masks/Anomaly/001.png"}, r"000\.JPG the mask .*001\.png"),
        ({"mask": "pcb1/Data/Masks/Anomaly/000.png"}, r"000\.JPG the mask pcb1"),
    ],
)
def test_wrong_rows_of_visa(tmp_path, tell, change, message):
    root = make_visa(tmp_path)
    with (root / "split_csv" / "1cls.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    row = next(r for r in rows if r["image"] == "candle/Data/Images/Anomaly/000.JPG")
    line = rows.index(row) + 2
    row |= change
    write_list(root, [tuple(row.values()) for row in rows])
    with pytest.raises(DatasetError, match=rf"Line {line} of .*1cls\.csv .*{message}") as raised:
        load_dataset(root)
    tell(f"visa, wrong row: {str(raised.value).replace(str(root), 'DIR')}")


def test_wrong_lists_of_visa(tmp_path):
    root = make_visa(tmp_path)
    path = root / "split_csv" / "1cls.csv"
    for content, message in (
        (b"object,split,image,mask\n", "no column 'label'"),
        (b"object,split,label,image,mask\n", "lists no image"),
        (b"object,split,label,image,mask\npcb1,train\n", "has no label"),
        (b"\xff\xfe", "cannot be read"),
    ):
        path.write_bytes(content)
        with pytest.raises(DatasetError, match=rf"1cls\.csv .*{message}"):
            load_dataset(root)
    path.unlink()
    with pytest.raises(DatasetError, match=r"1cls\.csv cannot be read"):
        load_dataset(root)


def test_a_defective_row_without_a_mask(tmp_path):
    root = make_visa(tmp_path)
    text = (root / "split_csv" / "1cls.csv").read_text()
    (root / "split_csv" / "1cls.csv").write_text(
        text.replace("pcb1/Data/Masks/Anomaly/000.png", "")
    )
    assert [s.mask_path for s in load_dataset(root) if s.is_defective].count(None) == 1
    (fault,) = check_dataset(load_dataset(root))
    assert "000.JPG is defective but has no mask" in fault


def test_wrong_folders_of_dagm(tmp_path):
    root = make_dagm(tmp_path)
    stray = mask(root / "Class2" / "Train" / "Label" / "0777_label.PNG", 255)
    with pytest.raises(DatasetError, match=r"0777_label\.PNG is named after no image"):
        load_dataset(root)
    stray.rename(stray.with_name("0001.PNG"))
    with pytest.raises(DatasetError, match=r"0001\.PNG is named after no image"):
        load_dataset(root)
    (root / "Class2" / "Train" / "Label" / "0001.PNG").unlink()
    (root / "Class10" / "Train" / "Label" / "Labels.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(DatasetError, match=r"Labels\.txt cannot be read"):
        load_dataset(root)
    shutil.rmtree(root / "Class10" / "Train")
    with pytest.raises(DatasetError, match="Class10/Train holds no normal images"):
        load_dataset(root)


def test_a_class_without_training_pictures(tmp_path):
    samples = [s for s in load_dataset(make_mvtec(tmp_path)) if s.split == "test"]
    faults = check_dataset(samples)
    assert len(faults) == 2
    assert "bottle" in faults[0] and all("has no training images" in f for f in faults)


def test_check_prints_counts(layout, capsys):
    name, root = layout
    assert main(["check", str(root)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(count_table(load_dataset(root)))
    for (class_name, split, defect), count in COUNTS[name].items():
        assert [class_name, split, str(count), defect or "good"] in [
            line.split() for line in printed.splitlines()
        ]
    assert f"No faults in {sum(COUNTS[name].values())} images." in printed
    assert main(["check", str(root / "nowhere")]) == 1


def test_a_pixel_is_marked_from_half_covered_on():
    mask = np.zeros((8, 8), dtype=bool)
    mask[2:6, 2:5] = True  # of 2 x 2 pixels each: whole, whole, and half covered columns
    small, thin = reduce_mask(mask, 4)
    assert small[1:3, 1:3].all() and small.sum() == 4 and not thin.any()
