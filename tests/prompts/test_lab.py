"""The prompt laboratory: grids against the slow way, other names, refits, and the command line."""

from __future__ import annotations

import copy
import shlex
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from ltad.cli.main import main
from ltad.data.layouts import load_dataset
from ltad.evaluation.evaluate import load_mask
from ltad.inference.calibration import Readings, branch_maps
from ltad.inference.registry import ModelRegistry, load_scorer
from ltad.inference.scoring import upsample
from ltad.prompts.experiment import Experiment, outcome_table, run_experiment
from ltad.prompts.grid import (
    Pair,
    all_pairs,
    common_scale,
    measure_image,
    prompt_list,
    readings_frame,
)
from ltad.prompts.lab import REFIT_PREFIX, PromptLab
from ltad.prompts.refit import RefitSettings, own_learning_rate, refit
from ltad.prompts.testset import is_data_set, measure_pairs, read_bench, training_data
from ltad.prompts.variants import (
    parse_replacements,
    replace_names,
    replaced_classes,
    save_variant,
    variant,
)
from ltad.types import DatasetError, PromptError, SettingError, UnknownClassError
from ltad.workspace import Workspace

PAIRS = all_pairs(("a", "a flawless"), ("a broken", "a damaged"))


@pytest.fixture(scope="module")
def samples(parts_folder):
    return load_dataset(parts_folder)


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    return tmp_path_factory.mktemp("features")


@pytest.fixture(scope="module")
def bench(tiny_scorer, samples, features):
    return read_bench(tiny_scorer, samples, features, tiny_scorer.config.features.image_size)


@pytest.fixture(scope="module")
def data(tiny_scorer, samples, features):
    return training_data(tiny_scorer, samples, features)


def weights(scorer) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in scorer.detector.state_dict().items()}


@pytest.fixture(scope="module")
def opinionated(tiny_scorer):
    """The tiny model's t_a and t_n are all but equal and so is S_sem everywhere: rounding would
    decide its ranks. A large Phi spreads it."""
    head = copy.deepcopy(tiny_scorer.detector.semantic)
    with torch.no_grad():
        for phi in head.maps:
            torch.nn.init.normal_(phi.weight, std=1e6, generator=torch.Generator().manual_seed(0))
    return variant(tiny_scorer, semantic=head)


def test_grid_equals_the_maps_of_every_pair(opinionated, bench):
    """Against full maps from the same features, ranked by scikit-learn."""
    grid = measure_pairs(opinionated, bench, PAIRS)
    assert grid.images == 21 and grid.pixel_size == 64 and grid.seconds > 0
    for pair, results in zip(grid.pairs, grid.results, strict=True):
        settings = opinionated.score_settings(pair.normal, pair.abnormal)
        for result in results.classes:
            name, places = result.class_name, bench.store.indices(result.class_name)
            fine = torch.from_numpy(bench.store.fine_patches[places].astype(np.float32))
            slow = branch_maps(
                Readings(bench.reconstruction[places], opinionated.detector.semantic(fine)),
                opinionated.texts([name], pair.normal), opinionated.texts([name], pair.abnormal),
                settings,
            )
            chosen = [bench.store.samples[place] for place in places]
            labels = [s.is_defective for s in chosen]
            masks = np.stack([load_mask(s, 64) for s in chosen]).ravel()
            for branch in ("combined", "reconstruction", "semantic"):
                image = roc_auc_score(labels, slow.scores[branch].numpy())
                pixel = roc_auc_score(masks, slow.maps[branch].numpy().ravel())
                assert branch != "semantic" or np.ptp(slow.maps[branch].numpy()) > 0.01
                assert result.image[branch] == pytest.approx(image, abs=1e-9)
                assert result.pixel[branch] == pytest.approx(pixel, abs=1e-3)


def test_bench_reads_what_the_scorer_reads(tiny_scorer, bench):
    sample = bench.store.samples[0]
    slow = tiny_scorer.measure([sample.path], sample.class_name, tiny_scorer.score_settings())
    drawn = upsample(bench.reconstruction[:1], 64)
    torch.testing.assert_close(drawn, slow.maps["reconstruction"], rtol=0.02, atol=0.02)


def test_pixel_size_is_four_grids_and_never_above_the_input(tiny_scorer, samples, features):
    assert read_bench(tiny_scorer, samples, features).pixel_size == 32
    assert read_bench(tiny_scorer, samples, features, 500).pixel_size == 64
    with pytest.raises(SettingError, match="pixel_size"):
        read_bench(tiny_scorer, samples, features, 1)


def test_lambda_zero_leaves_the_reconstruction(tiny_scorer, bench):
    for result in measure_pairs(tiny_scorer, bench, PAIRS[:1], lam=0).results[0].classes:
        assert result.image["combined"] == result.image["reconstruction"]


def test_unknown_classes_are_left_out_and_named(tiny_scorer, samples, features):
    alien = [replace(s, class_name="alien") for s in samples if s.class_name == "screw"]
    known = [s for s in samples if s.class_name != "screw"]
    assert read_bench(tiny_scorer, known + alien, features).left_out == ("alien",)
    with pytest.raises(DatasetError, match="knows none of them"):
        read_bench(tiny_scorer, alien, features)
    with pytest.raises(DatasetError, match="no training image"):
        training_data(tiny_scorer, [s for s in samples if s.split == "test"], features)


def test_prompt_lists_are_cleaned_and_bounded():
    assert prompt_list(" a \n\na  normal\na", "normal") == ("a", "a normal")
    with pytest.raises(PromptError, match="no abnormal prompt"):
        prompt_list(["  "], "abnormal")
    with pytest.raises(PromptError, match="at most 8"):
        prompt_list([f"a {n}" for n in range(9)], "normal")


@pytest.fixture
def fresh_scorer(tiny_model_folder, tmp_path):
    """Texts computed in other batches differ in the last digits, which decides ties of so tiny a
    model; so here no other test has filled the cache."""
    return load_scorer(tiny_model_folder, cache=tmp_path / "fresh")


def test_replaced_names_change_that_class_alone(fresh_scorer, bench):
    tiny_scorer = fresh_scorer
    before = weights(tiny_scorer)
    renamed = replace_names(tiny_scorer, {"hex_nut": "hex nut"})
    own, other = (s.texts(tiny_scorer.class_names, "a") for s in (tiny_scorer, renamed))
    plain = tiny_scorer.encoder.text_embeddings([["a", "hex nut"]])[0]
    torch.testing.assert_close(other[0], plain)
    torch.testing.assert_close(other[1:], own[1:])
    assert not torch.allclose(own[0], other[0])
    assert renamed.detector.reconstruction is tiny_scorer.detector.reconstruction
    for name, tensor in weights(tiny_scorer).items():
        assert torch.equal(tensor, before[name])
    same = measure_pairs(renamed, bench, PAIRS[:1]).results[0].classes[1]
    unchanged = measure_pairs(tiny_scorer, bench, PAIRS[:1]).results[0].classes[1]
    assert same.image == pytest.approx(unchanged.image, abs=0.05)


@pytest.mark.parametrize("replacement", ["@nearest", "@own", "@class:screw", "a long hex nut"])
def test_every_kind_of_replacement_puts_its_vectors_in_place(tiny_scorer, replacement, bench):
    names, encoder = tiny_scorer.detector.names, tiny_scorer.encoder
    learned = names.name(tiny_scorer.detector.index("hex_nut"))
    # The nearest whole word of a vector has the largest cosine with it.
    known = encoder.vocabulary().whole_words()
    unit = torch.nn.functional.normalize
    nearest = (unit(learned, dim=1) @ unit(known.embeddings, dim=1).T).argmax(dim=1).tolist()
    expected = {
        "@nearest": known.embeddings[nearest], "@own": encoder.token_vectors("hex nut"),
        "@class:screw": names.name(tiny_scorer.detector.index("screw")),
        "a long hex nut": encoder.token_vectors("a long hex nut"),
    }[replacement]
    renamed = replace_names(tiny_scorer, {"hex_nut": replacement})
    found = renamed.detector.names.name(renamed.detector.index("hex_nut"))
    assert torch.equal(found, expected) and not torch.equal(found, learned)
    scored = measure_pairs(renamed, bench, PAIRS[:1]).results[0].classes[0]
    assert scored.image["semantic"] is not None


def test_shuffled_names_leave_no_class_its_own(tiny_scorer):
    renamed = replace_names(tiny_scorer, {"*": "@shuffled"})
    own, other = (s.texts(tiny_scorer.class_names, "a") for s in (tiny_scorer, renamed))
    nearest = torch.cdist(other, own).argmin(dim=1).tolist()
    assert sorted(nearest) == [0, 1, 2] and all(n != i for i, n in enumerate(nearest))
    assert replaced_classes(renamed, {"*": "@shuffled"}) == tiny_scorer.class_names


def test_wrong_replacements_are_explained(tiny_scorer):
    for wrong, error in (({"gear": "a gear"}, UnknownClassError),
                         ({"screw": "@class:gear"}, UnknownClassError),
                         ({"screw": "@shuffled"}, SettingError),
                         ({"screw": "@other"}, SettingError)):
        with pytest.raises(error):
            replace_names(tiny_scorer, wrong)
    with pytest.raises(SettingError, match="CLASS=WORDS"):
        parse_replacements(["hex_nut"])


def test_refit_lowers_the_loss_and_leaves_the_model_alone(tiny_scorer, data):
    before, pair = weights(tiny_scorer), Pair("a flawless", "a damaged")
    settings = RefitSettings(60, 1e-2)
    first, second = (refit(tiny_scorer, data, pair, settings) for _ in range(2))
    assert first.last_loss < first.first_loss
    assert first.last_loss == second.last_loss  # seeded
    assert weights(tiny_scorer).keys() == before.keys()
    for name, tensor in weights(tiny_scorer).items():
        assert torch.equal(tensor, before[name])
    moved = [name for name, tensor in weights(first.scorer).items()
             if not torch.equal(tensor, before[name])]
    assert moved and all(name.startswith("semantic.") for name in moved)
    assert first.scorer.config.model.abnormal_prompt == "a damaged"
    assert tiny_scorer.config.model.abnormal_prompt == "a broken"
    assert refit(tiny_scorer, data, pair, RefitSettings(1)).learning_rate == pytest.approx(
        own_learning_rate(tiny_scorer)
    )


def test_refit_settings_are_bounded():
    for wrong in ((0, None), (10**6, None), (10, 0.0), (10, 2.0)):
        with pytest.raises(SettingError):
            RefitSettings(*wrong)


def test_saved_refit_is_a_model_like_any_other(tiny_scorer, data, tmp_path, parts_folder):
    made = refit(tiny_scorer, data, PAIRS[1], RefitSettings(3, 1e-2)).scorer
    folder = save_variant(made, "mine", tmp_path, {"refit_steps": 3})
    loaded = load_scorer(folder, cache=tmp_path / "cache")
    picture = next(parts_folder.glob("screw/test/good/*.png"))
    assert loaded.score(picture, "screw").semantic_score == pytest.approx(
        made.score(picture, "screw").semantic_score, abs=1e-4
    )
    assert loaded.card["refit_steps"] == 3
    with pytest.raises(SettingError, match="already"):
        save_variant(made, "mine", tmp_path)
    for wrong in ("", "../mine", "refit:1", "a b"):
        with pytest.raises(SettingError, match="cannot be called"):
            save_variant(made, wrong, tmp_path)


def test_picture_under_pairs_agrees_with_the_scorer(tiny_scorer, parts_folder):
    picture = next(parts_folder.glob("leather/test/good/*.png"))
    readings = measure_image(tiny_scorer, picture, "leather", PAIRS)
    for reading in readings:
        whole = tiny_scorer.score(
            picture, "leather", reading.pair.normal, reading.pair.abnormal
        )
        assert reading.scores["combined"] == pytest.approx(whole.score, rel=1e-5)
        assert reading.thresholds["combined"] == pytest.approx(whole.threshold, rel=1e-5)
        np.testing.assert_allclose(reading.maps["semantic"], whole.semantic_map, atol=1e-5)
    low, high = common_scale(readings, "semantic")
    assert all(low <= r.scale["semantic"][0] < r.scale["semantic"][1] <= high for r in readings)
    assert len(readings_frame(readings, "leather")) == 4
    both = readings_frame(readings[:1], "leather", readings[1:2])
    assert both["state"].tolist() == ["before", "after"]
    assert both["abnormal_prompt"].tolist() == ["a broken", "a damaged"]


@pytest.fixture(scope="module")
def lab(tiny_scorer, parts_folder, tmp_path_factory):
    workspace = Workspace(tmp_path_factory.mktemp("work"), (parts_folder,))
    return PromptLab(ModelRegistry(tiny_scorer, workspace.models), workspace)


def test_lab_keeps_drops_and_saves_a_refit(lab, parts_folder):
    name = parts_folder.name
    assert [d.name for d in lab.data_sets("")] == ["rendered parts", name]
    experiment = Experiment(("a",), ("a broken",), refit=RefitSettings(2, 1e-3))
    outcome = lab.run("", name, experiment)
    key = lab.keep("", name, outcome)
    assert key.startswith(REFIT_PREFIX) and lab.scorer(key) is outcome.refits[0].scorer
    again = lab.run(key, name, Experiment(("a",), ("a broken",)))
    after = outcome.after.results[0].classes[0]
    assert again.before.results[0].classes[0].image == after.image
    made, measured = lab.command(key, Experiment(("a",), ("a torn",)), name).split(" && ")
    assert "--refit --steps 2 --learning-rate 0.001" in made
    assert made.split()[-1] == measured.split()[measured.split().index("--checkpoint") + 1]
    assert lab.save(key, "kept").name == "kept" and "kept" in lab.registry.names()
    with pytest.raises(SettingError, match="already"):
        lab.save(key, "kept")
    lab.drop(key)
    with pytest.raises(SettingError, match="no longer in memory"):
        lab.scorer(key)
    with pytest.raises(SettingError, match="no data set"):
        lab.run("", "/etc", experiment)


def test_folders_that_are_no_data_set_are_not_offered(parts_folder, tmp_path):
    assert is_data_set(parts_folder) and is_data_set(parts_folder / "screw")
    assert not is_data_set(tmp_path) and not is_data_set(tmp_path / "missing")


def test_table_and_frame_hold_the_same_figures(tiny_scorer, bench):
    experiment = Experiment(("a",), ("a broken",), {"screw": "screw"})
    outcome = run_experiment(tiny_scorer, bench, experiment)
    frame = outcome.frame().set_index(["state", "name"])
    both = [outcome.before.results[0], outcome.after.results[0]]
    for state, results in zip(("before", "after"), both, strict=True):
        all_classes = 100 * results.summary()["All"]["image"]["semantic"]
        assert frame.loc[(state, "All"), "image_semantic"] == pytest.approx(all_classes, abs=1e-3)
        assert f"{all_classes:.2f}" in outcome_table(outcome, ("screw",))


def test_command_of_a_refit_at_the_models_own_rate_names_none():
    command = Experiment(("a",), ("a broken",), refit=RefitSettings(5)).command("m", "parts")
    assert command.endswith("--refit --steps 5")


def test_command_says_numbers_to_the_last_digit():
    command = Experiment(("a",), ("a broken",), lam=1234567.5, tau=0.1 + 0.2).command("m", "parts")
    assert command.endswith("--lam 1234567.5 --tau 0.30000000000000004")


def test_command_repeats_the_experiment(
    tiny_model_folder, fresh_scorer, bench, data, parts_folder, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("LTAD_CACHE", str(tmp_path / "cache"))
    experiment = Experiment(("a",), ("a broken",), {"screw": "a $(screw)"},
                            RefitSettings(3, 1e-3), lam=4.0, pixel_size=64)
    command = shlex.split(experiment.command(str(tiny_model_folder), str(parts_folder)))
    assert command[:4] == ["python", "-m", "ltad", "prompts"]
    csv = tmp_path / "out.csv"
    assert main([*command[3:], "--csv", str(csv), "--work", str(tmp_path)]) == 0
    expected = run_experiment(fresh_scorer, bench, experiment, lambda: data).frame()
    found, ties = pd.read_csv(csv), ["image_semantic"]
    pd.testing.assert_frame_equal(
        found.drop(columns=ties), expected.drop(columns=ties), check_dtype=False, atol=0.02
    )
    pd.testing.assert_frame_equal(found[ties], expected[ties], check_dtype=False, atol=10.0)
    printed = capsys.readouterr().out
    assert "1 pairs on 21 images" in printed and "Refit for a / a broken" in printed
    picture = next(parts_folder.glob("screw/test/good/*.png"))
    assert main(["prompts", "--checkpoint", str(tiny_model_folder), "--image", str(picture),
                 "--normal", "a", "--abnormal", "a frobbed"]) == 0
    assert "frobbed" in capsys.readouterr().out
    assert main([
        "prompts", "--checkpoint", str(tiny_model_folder), "--image", str(picture), "--normal",
        "a", "--abnormal", "a broken", "--class-name", "screw", "--replace", "screw=a nail",
        "--csv", str(csv),
    ]) == 0
    rows = pd.read_csv(csv)
    assert rows["state"].tolist() == ["before", "after"]
    own = fresh_scorer.score(picture, "screw", "a", "a broken")
    assert rows["semantic_score"][0] == pytest.approx(own.semantic_score, rel=1e-4)
    assert main(["prompts"]) == 1 and "--data" in capsys.readouterr().err
