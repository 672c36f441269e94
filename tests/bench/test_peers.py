"""Contestants beside each other: what they learn from, what they judge, and their row."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from ltad.bench.peers import compete, figures, lay_out, main
from ltad.data.layouts import load_dataset
from ltad.evaluation.metrics import image_auroc
from ltad.types import Sample

BANK = "nearest-neighbour bank"


def test_the_bank_learns_and_judges_in_processes_of_its_own(
    parts_folder, tiny_encoder_folder, tmp_path, capsys
):
    out = tmp_path / "out"
    assert main(["--data", str(parts_folder), "--out", str(out), "--only", BANK,
                 "AnomaVision PaDiM", "--encoder", str(tiny_encoder_folder), "--images", "5",
                 "--tests", "3"]) == 0
    assert "AnomaVision PaDiM: left out" in capsys.readouterr().out
    samples = load_dataset(out / "images")
    row = json.loads((out / "peers.json").read_text())["contestants"][BANK]
    judged = json.loads((out / BANK.replace(" ", "_") / "judge.json").read_text())
    tests = [sample for sample in samples if sample.split == "test"]
    assert len(judged["scores"]) == len(tests) and min(judged["scores"]) > 0
    scores = dict(zip(tests, judged["scores"], strict=True))
    means = []
    for name in sorted({sample.class_name for sample in tests}):
        own = [sample for sample in tests if sample.class_name == name]
        area = image_auroc([s.is_defective for s in own], np.array([scores[s] for s in own]))
        assert row[name] == round(100 * area, 1)
        means.append(row[name])
    assert row["mean"] == round(float(np.mean(means)), 1)
    assert row["peak MB"] > 50 and row["MB on disk"] > 0 and row["s to first answer"] > 0.5


def test_a_contestant_that_cannot_run_says_why(tmp_path):
    task = {"learn": {"ring": []}, "tests": [], "tower": "", "side": 64, "channels": [1, 2, 3]}
    found = compete("AnomaVision PaDiM", task, tmp_path, sys.executable, 1)
    assert "anomavision" in found["error"]


def test_images_of_two_kinds_of_defects_may_share_a_name(tmp_path):
    samples = []
    for split, kind in (("train", "good"), ("test", "good"), ("test", "cut"), ("test", "hole")):
        for number in range(3):
            path = tmp_path / "ring" / split / kind / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (number, 0, 0)).save(path)
            samples.append(Sample(path, "ring", split, None if kind == "good" else kind))
    lay_out(samples, tmp_path / "drawn", learn=2, tests=6, seed=0)
    drawn = load_dataset(tmp_path / "drawn")
    assert sum(s.split == "train" for s in drawn) == 2
    assert sum(s.is_defective for s in drawn) == 6
    assert sum(s.split == "test" and not s.is_defective for s in drawn) == 3


def test_a_row_is_in_percent_and_names_what_it_cost():
    tests = [("a", "ring", False), ("b", "ring", True), ("c", "ring", False), ("d", "ring", True)]
    found = {
        "fit": {"seconds": 90.0}, "megabytes on disk": 1.25,
        "judge": {"scores": [0.1, 0.9, 0.5, 0.3], "ms": [10.0, 30.0, 20.0], "images_a_second": 7.0,
                  "first_answer_s": 2.0, "peak_megabytes": 300.4},
    }
    row = figures(found, tests)
    assert row["ring"] == row["mean"] == pytest.approx(75.0)  # of four pairs three are in order
    assert (row["ms an image"], row["peak MB"], row["minutes to learn"]) == (20.0, 300, 1.5)
