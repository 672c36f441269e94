"""Runs: written whole, read back, compared, deleted; every number recomputed from the parts."""

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score

from ltad.cli.models import _print_evaluation
from ltad.data.datasets import load_folder
from ltad.evaluation import evaluate
from ltad.evaluation.evaluate import bank_measure
from ltad.evaluation.figures import roc_and_precision_recall
from ltad.evaluation.operating_point import VERDICTS, confusion, verdicts, worst
from ltad.evaluation.record import evaluate_bank, evaluate_model
from ltad.evaluation.results import (
    class_table,
    compare_runs,
    description,
    differing_tests,
    printed_comparison,
    printed_results,
    summarise,
)
from ltad.evaluation.run_store import RunReader, re_evaluate
from ltad.evaluation.runs import Run, delete_run, new_run_folder, read_run, run_names, write_run
from ltad.inference import scoring
from ltad.inference.calibration import BranchMaps
from ltad.inference.feature_store import build_store
from ltad.inference.patch_bank import BANK
from ltad.types import GROUPS, REFERENCE, CheckpointError, DatasetError, LTADError, SettingError


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def samples(parts_folder):
    return load_folder(parts_folder)


@pytest.fixture(scope="module")
def run(tiny_scorer, tiny_model_folder, samples, parts_folder, work) -> Run:
    found = evaluate_model(
        tiny_scorer, samples, parts_folder, work / "features", folder=tiny_model_folder,
        data="parts",
    )
    return found.write(work / "runs" / "first")


@pytest.fixture(scope="module")
def bank(tiny_scorer, samples, parts_folder, work) -> Run:
    return evaluate_bank(tiny_scorer, samples, parts_folder, work / "features").write(
        work / "runs" / "first-bank"
    )


@pytest.fixture
def copy(run, tmp_path) -> Run:
    """The run in a place of its own, to be damaged."""
    return read_run(shutil.copytree(run.folder, tmp_path / "copy"))


def test_a_run_holds_a_row_a_test_picture(run, samples, parts_folder):
    tests = evaluate.ordered_tests(samples)
    assert len(run.images) == len(tests) == len(run.embeddings()) == len(run.maps()) > 12
    for row, sample in zip(run.images.itertuples(), tests, strict=True):
        assert parts_folder / row.path == sample.path and row.class_name == sample.class_name
        assert row.defect == (sample.defect or "") and row.is_defective == sample.is_defective
        assert (parts_folder / row.mask_path == sample.mask_path) or not sample.is_defective
        with Image.open(run.thumbnail(row.index)) as thumbnail:
            assert max(thumbnail.size) <= 160 and thumbnail.format == "JPEG"
        outline = run.outline(row.index)
        assert (outline is not None) == sample.is_defective
        if outline:
            with Image.open(outline) as mask:
                assert mask.mode == "1" and mask.size == thumbnail.size
                assert np.asarray(mask).any()
    assert run.image(3).size == (96, 96)
    assert run.about["kind"] == "LTAD" and run.about["data"]["layout"] == "MVTec AD"
    assert run.about["split"]["counts"] == {"hex_nut": 24, "leather": 24, "screw": 4}
    assert "hex_nut" in description(run)["split"] or "3 classes" in description(run)["split"]


def test_pictures_that_are_links_belong_to_their_data_set(
    tiny_scorer, samples, parts_folder, work, tmp_path
):
    for class_folder in parts_folder.iterdir():
        (tmp_path / "linked" / class_folder.name).mkdir(parents=True)
        for folder in class_folder.iterdir():
            (tmp_path / "linked" / class_folder.name / folder.name).symlink_to(folder)
    linked = load_folder(tmp_path / "linked")
    found = evaluate_model(
        tiny_scorer, linked, tmp_path / "linked", work / "features", data="linked",
    ).write(tmp_path / "run")
    assert [tmp_path / "linked" / p for p in found.images.path] == [
        s.path for s in evaluate.ordered_tests(linked)]
    assert found.image(0).size[0] > 0


def test_scores_and_figures_are_those_of_the_scorer(run, tiny_scorer, samples):
    settings = tiny_scorer.score_settings()
    tests = evaluate.ordered_tests(samples)
    for place in (0, 7, len(tests) - 1):
        sample, row = tests[place], run.row(place)
        measured = tiny_scorer.measure([sample.path], sample.class_name, settings)
        for branch in run.branches:
            assert row[branch] == pytest.approx(float(measured.scores[branch][0]), rel=1e-4)
        assert row["recognised"] == tiny_scorer.recognise(sample.path).best
        grid = run.maps()[place].astype(float)
        expected = measured.maps["combined"][0].numpy()
        assert grid.mean() == pytest.approx(expected.mean(), rel=0.02)
    for name, rows in run.images.groupby("class_name"):
        area = roc_auc_score(rows["is_defective"], rows["semantic"])
        assert run.value(name, "image", "semantic") == pytest.approx(area)
    means = np.mean([run.value(name) for name in run.class_names])
    assert run.value("All") == pytest.approx(means)
    assert run.value("no such class") is None


def test_thresholds_are_conformal_and_pooled_for_small_classes(run, tiny_scorer):
    # hex_nut and leather hold out 3 of 24 images each, screw none
    assert run.calibration["class_name"].value_counts().to_dict() == {"hex_nut": 3, "leather": 3}
    found = run.thresholds(0.3)
    for name in ("hex_nut", "leather"):
        own = run.calibration[run.calibration["class_name"] == name]["combined"].to_numpy()
        assert found[name] == scoring.conformal_threshold(own, 0.3)
        limits = tiny_scorer.calibration.limits(name, tiny_scorer.score_settings(), 0.3)
        assert found[name] == pytest.approx(limits.thresholds["combined"], rel=1e-4)
    together = run.calibration["combined"].to_numpy()
    assert found["screw"] == scoring.conformal_threshold(together, 0.3)
    assert set(run.thresholds(0.05).values()) == {together.max()}
    with pytest.raises(SettingError, match="between 0 and 1"):
        run.thresholds(1.0)


def test_errors_are_counted_and_ordered(run):
    thresholds = run.thresholds(0.3)
    said = verdicts(run, thresholds)
    above = run.images["combined"] > run.images["class_name"].map(thresholds)
    assert (said == "missed").sum() == ((run.images["is_defective"] == 1) & ~above).sum()
    table = confusion(run, thresholds)
    assert list(table.columns) == list(VERDICTS)
    assert table.loc["All"].sum() == len(run.images)
    assert (table.loc[run.class_names].sum() == table.loc["All"]).all()
    high = worst(run, dict.fromkeys(run.class_names, run.images["combined"].max() + 1), 4)
    assert len(high["missed"]) == 4 and high["false alarm"].empty
    assert high["missed"]["distance"].is_monotonic_decreasing
    assert set(verdicts(run, -1.0)) == {"false alarm", "found"}


def test_the_bank_is_filled_without_the_held_out_pictures(bank, run, tiny_scorer, samples, work):
    assert bank.about["kind"] == BANK and bank.branches == ("combined",)
    assert bank.images["semantic"].isna().all() and bank.results["missing"]["image"] == []
    assert bank.value("All", branch="semantic") is None
    assert bank.about["training_pictures"] == run.about["training_pictures"]
    assert (bank.calibration["combined"] > 0).all() and len(bank.calibration) == 6
    assert np.array_equal(bank.embeddings(), run.embeddings())
    with pytest.raises(SettingError, match="semantic branch"):
        bank.thresholds(0.1, "semantic")
    training = [s for s in samples if s.split == "train" and s.class_name == "screw"]
    store = build_store(training, tiny_scorer.encoder, work / "features", progress=False)
    measure = bank_measure(store, {"screw": range(4)}, 64, 8)
    assert measure("screw", store, [0, 1]).scores["combined"].max() < 1e-2


def test_no_picture_is_encoded_or_scored_twice(
    tiny_scorer, samples, parts_folder, work, run, monkeypatch
):
    passes = []
    real = type(tiny_scorer.encoder).image_features
    monkeypatch.setattr(type(tiny_scorer.encoder), "image_features",
                        lambda self, pixels, **o: passes.append(len(pixels)) or
                        real(self, pixels, **o))
    rebuilt = []
    hook = tiny_scorer.detector.reconstruction.register_forward_hook(
        lambda module, given, found: rebuilt.append(len(given[0]))
    )
    tests = build_store(evaluate.ordered_tests(samples), tiny_scorer.encoder, work / "features")
    evaluate_model(tiny_scorer, samples, parts_folder, work / "features", progress=False)
    hook.remove()
    assert passes == [] and sum(rebuilt) == len(tests)  # the features lie in the store


def test_runs_are_compared(run, bank):
    table = compare_runs(run, bank).set_index("name")
    assert list(table.index) == [*run.class_names, *GROUPS]
    row = table.loc["Low"]
    assert row["image_difference"] == pytest.approx(bank.value("Low") - run.value("Low"))
    assert compare_runs(run, run)["pixel_difference"].abs().max() == 0
    text = printed_comparison(run, bank)
    assert f"{100 * run.value('High'):.1f}" in text and "first-bank" in text
    everything = class_table(run.results, run.branches)
    assert everything["image semantic"].iloc[-3] == pytest.approx(run.value("All", "image",
                                                                            "semantic"))
    assert "AUPRO" in printed_results(bank.results, bank.branches)


def test_runs_of_other_test_pictures_are_not_compared_silently(run, copy):
    assert differing_tests([run, copy]) == "" == differing_tests([run])
    assert "Not the same" not in printed_comparison(run, copy)
    other = replace(copy, images=copy.images.iloc[:-1])
    said = differing_tests([run, copy, other])
    count, data = len(run.images), run.about["data"]["name"]
    assert said.endswith(f": first, copy on {count} images of {data}; copy on {count - 1} "
                         f"images of {data}.")
    assert said.split(":")[0] in printed_comparison(run, other)


def test_only_seeds_of_the_same_data_and_settings_are_averaged(run, copy):
    def made(**changes):
        return replace(copy, about={**copy.about, "row": "6.8", **changes})
    config = copy.about["config"]
    seeded = {**config, "training": {**config["training"], "seed": 5}}
    longer = {**config, "training": {**config["training"], "phase2_epochs": 500}}
    table = summarise([
        made(), made(config=seeded), made(config=longer),
        made(data={**copy.about["data"], "name": "another"}),
        made(split={**copy.about["split"], "name": "exp7"}),
    ])
    assert table["runs"].tolist() == [2, 1, 1, 1]


def test_seeds_are_summarised(run, copy):
    moved = json.loads(json.dumps(copy.results))
    moved["summary"]["All"]["image"]["combined"] -= 0.1
    pair = [replace(r, about={**r.about, "row": "6.8"}) for r in (run, copy)]
    table = summarise([pair[0], replace(pair[1], results=moved)])
    values = [run.value("All"), run.value("All") - 0.1]
    assert table.loc[0, ["row", "runs"]].tolist() == ["6.8", 2]
    assert table.loc[0, "Det. All"] == pytest.approx(np.mean(values))
    assert table.loc[0, "Det. All ±"] == pytest.approx(np.std(values, ddof=1))
    assert table.loc[0, "Seg. All ±"] == 0 and np.isnan(summarise([run]).loc[0, "Det. All ±"])


def test_a_run_is_evaluated_again(run, work):
    again = re_evaluate(run, work).write(work / "again")
    assert again.about["settings"] == run.about["settings"]
    assert np.allclose(again.images["combined"], run.images["combined"])
    assert compare_runs(run, again)["image_difference"].abs().max() == 0


def test_a_bank_is_evaluated_again(bank, tiny_model_folder, work):
    about = {**bank.about, "model": {"name": BANK, "folder": str(tiny_model_folder)}}
    again = re_evaluate(replace(bank, about=about), work).write(work / "again-bank")
    assert again.about["model"] == about["model"] and again.branches == ("combined",)
    assert np.array_equal(again.images["combined"], bank.images["combined"])


def test_the_page_evaluates_again_beside_the_others_and_names_no_folder(run, work):
    reader = RunReader(work / "runs")
    made = [reader.re_evaluate(run.name, work) for _ in range(2)]
    assert made == ["first-again", "first-again 2"] and set(made) <= set(reader.names())
    assert compare_runs(run, reader.run(made[1]))["pixel_difference"].abs().max() == 0
    file = work / "runs" / made[0] / "run.json"
    about = json.loads(file.read_text())
    for change in ({"model": {"name": "x", "folder": str(work / "lost")}},
                   {"data": {**about["data"], "root": str(work / "lost")}}):
        file.write_text(json.dumps({**about, **change}))
        with pytest.raises(LTADError, match="lost") as raised:
            reader.re_evaluate(made[0], work)
        assert str(work) not in str(raised.value)
    for name in made:
        delete_run(work / "runs" / name)


def test_what_cannot_be_evaluated_again_says_why(bank, run, work, tmp_path, parts_folder, samples,
                                                 tiny_scorer):
    with pytest.raises(CheckpointError, match="not kept in a folder"):
        re_evaluate(bank, work)
    gone = replace(run, about={**run.about, "model": {"name": "x", "folder": str(tmp_path)}})
    with pytest.raises(CheckpointError, match="no longer in"):
        re_evaluate(gone, work)
    foreign = [replace(sample, class_name="bolt") for sample in samples]
    with pytest.raises(DatasetError, match="not trained on bolt"):
        evaluate_model(tiny_scorer, foreign, parts_folder, work / "features")


def test_a_run_without_its_data_shows_the_thumbnail(run):
    moved = {**run.about, "data": {**run.about["data"], "root": "/nowhere"}}
    assert replace(run, about=moved).image(0).size == run.image(0).size  # 96 < 160
    outside = run.images.copy()
    outside.loc[0, "path"] = "../../../etc/passwd"
    assert replace(run, images=outside).image(0).size == (96, 96)
    with pytest.raises(SettingError, match="no image 999"):
        run.image(999)


@pytest.mark.parametrize("file", ["run.json", "images.csv", "calibration.csv", "results.json"])
@pytest.mark.parametrize("content", [None, "", "{", "[1, 2]", "a,b\n1,2\n"])
def test_a_torn_run_is_refused_by_name(copy, file, content):
    path = copy.folder / file
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(CheckpointError, match="copy"):
        read_run(copy.folder)


def test_torn_arrays_and_old_formats_are_refused(copy):
    for file, read in (("maps.npy", copy.maps), ("embeddings.npy", copy.embeddings)):
        (copy.folder / file).write_bytes(b"\x93NUMPY")
        with pytest.raises(CheckpointError, match=file):
            read()
    (copy.folder / "run.json").write_text('{"format": 99}')
    with pytest.raises(CheckpointError, match="format 99"):
        read_run(copy.folder)


def test_runs_are_written_whole_or_not_at_all(run, tmp_path, monkeypatch):
    parts = (run.about, run.images, run.calibration, run.results, run.embeddings())
    monkeypatch.setattr(np, "save", lambda *_, **__: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(CheckpointError, match="disk full"):
        write_run(tmp_path / "new", *parts, run.maps(), run.folder)
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == [] and run_names(tmp_path) == []
    made = write_run(tmp_path / "new", *parts, 1e9 * run.maps().astype(np.float32), run.folder)
    assert np.isfinite(made.maps()).all() and made.name == "new" == made.about["name"]
    pd.testing.assert_frame_equal(made.images, run.images)
    with pytest.raises(SettingError, match="already"):
        write_run(tmp_path / "new", *parts, run.maps(), run.folder)
    for name in ("../out", "a/b", "..", ".hidden", "", "a" * 200, "a\nb"):
        with pytest.raises(SettingError, match="cannot be a run's name"):
            new_run_folder(tmp_path, name)
    assert run_names(tmp_path) == ["new"]
    delete_run(made.folder)
    assert run_names(tmp_path) == [] and not made.folder.exists() and run.thumbnail(0).exists()
    with pytest.raises(CheckpointError, match="not a run"):
        delete_run(tmp_path)


def test_the_scores_of_a_reference_branch_are_written_and_drawn(run, tmp_path):
    scores = np.linspace(0.0, 1.0, len(run.images))
    about = {**run.about, "branches": [*run.branches, REFERENCE]}
    made = write_run(tmp_path / "new", about, run.images.assign(**{REFERENCE: scores}),
                     run.calibration, run.results, run.embeddings(), run.maps(), run.folder)
    np.testing.assert_allclose(made.images[REFERENCE], scores)
    names = [column for column in made.images.columns if column != REFERENCE]
    pd.testing.assert_frame_equal(made.images[names], run.images)
    assert roc_and_precision_recall([made], branch=REFERENCE).data


def test_names_come_newest_first(run, tmp_path):
    for age, name in enumerate(("new", "middle", "old")):
        folder = shutil.copytree(run.folder, tmp_path / name)
        os.utime(folder / "run.json", (1e9 - age, 1e9 - age))
    (tmp_path / "no run").mkdir()
    assert run_names(tmp_path) == ["new", "middle", "old"] and run_names(tmp_path / "x") == []


def test_a_picture_without_a_published_mask_has_no_outline(tiny_scorer, samples, work, tmp_path):
    bare = [replace(s, mask_path=None) for s in samples if s.class_name == "screw"]
    found = evaluate_model(tiny_scorer, bare, samples[0].path.parents[3], work / "features",
                           progress=False).write(tmp_path / "bare")
    assert all(found.outline(i) is None for i in range(len(found.images)))
    assert found.value("screw", "pixel") is None and found.value("screw") is not None


def test_masks_thinner_than_a_pixel_are_counted(tiny_scorer, samples, work, tmp_path, capsys):
    speck = np.zeros((96, 96), np.uint8)
    speck[40, 40] = 255  # of 1.5 x 1.5 pixels it covers 0.44
    Image.fromarray(speck).save(tmp_path / "speck.png")
    first = next(s for s in samples if s.is_defective)
    changed = [replace(s, mask_path=tmp_path / "speck.png") if s == first else s for s in samples]
    found = evaluate_model(tiny_scorer, changed, samples[0].path.parents[3], work / "features",
                           progress=False)
    assert found.evaluation.thin_masks == 1
    assert found.evaluation.uncertain == {}
    changed = replace(found.evaluation, uncertain={"screw auroc": 0.0123})
    _print_evaluation(replace(found, evaluation=changed))
    printed = capsys.readouterr().out
    assert "Uncertain: pixel screw auroc of the combined branch, by up to 1.23 perc" in printed
    assert "thinner than a pixel at the model's size: 1." in printed


def test_the_class_of_a_measure_is_the_true_one(tiny_scorer, samples, work):
    store = build_store(evaluate.ordered_tests(samples), tiny_scorer.encoder, work / "features")
    asked = []

    def measure(name, tests, places):
        asked.extend((name, tests.samples[i].class_name) for i in places)
        ones = torch.ones(len(places), 64, 64)
        return BranchMaps({"semantic": ones}, {"semantic": ones[:, 0, 0]})

    counts = {"hex_nut": 1, "leather": 1, "screw": 1}
    found = evaluate.evaluate_tests(store, measure, counts, ("semantic",), progress=False)
    assert len(asked) == len(store) and all(given == true for given, true in asked)
    assert found.results.classes[0].image == {"semantic": 0.5}  # ties count half
    assert found.thin_masks == 0
    # All scores share a bin, so that the order of the pixels in it, and AUROC, are unknown.
    assert found.uncertain["screw auroc"] == 0.5
    assert found.results_dict()["summary"]["All"]["image"]["combined"] is None
