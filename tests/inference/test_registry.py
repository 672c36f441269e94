"""The models of one page: found in the workspace, loaded once, replaced when trained again."""

import os
import shutil

import pytest

from ltad.inference.checkpoint import MODEL_FILE, WEIGHTS_FILE
from ltad.inference.registry import ModelRegistry, load_scorer
from ltad.io.tensors import read_tensors, write_tensors
from ltad.synthetic.render import render_part
from ltad.types import EncoderMismatchError, SettingError
from ltad.workspace import Workspace


@pytest.fixture
def registry(tiny_scorer, tiny_model_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("LTAD_CACHE", str(tmp_path / "cache"))
    workspace = Workspace(tmp_path / "work")
    for name in ("washers", "gaskets", "seals"):
        shutil.copytree(tiny_model_folder, workspace.models / name)
    (workspace.models / "half finished").mkdir()
    return ModelRegistry(tiny_scorer, workspace.models, keep=2)


def test_the_first_model_stands_first_and_half_finished_ones_are_left_out(registry, tiny_scorer):
    assert registry.names() == [tiny_scorer.name, "gaskets", "seals", "washers"]
    assert registry.scorer() is registry.scorer("") is tiny_scorer
    assert registry.scorer(tiny_scorer.name) is tiny_scorer
    assert ModelRegistry(tiny_scorer).names() == [tiny_scorer.name]


def test_a_model_is_loaded_once_and_again_after_a_new_training(registry):
    washers = registry.scorer("washers")
    assert washers.name == "washers" and registry.scorer("washers") is washers
    file = registry._folder / "washers" / MODEL_FILE
    os.utime(file, ns=(1, 1))
    assert registry.scorer("washers") is not washers


def test_only_the_last_few_stay_in_memory(registry):
    washers = registry.scorer("washers")
    registry.scorer("gaskets")
    registry.scorer("seals")
    assert registry.scorer("washers") is not washers


def test_models_on_one_encoder_share_it_and_one_limit_of_memory(registry, tiny_scorer):
    washers, gaskets = registry.scorer("washers"), registry.scorer("gaskets")
    assert washers.encoder is gaskets.encoder is tiny_scorer.encoder
    images = [render_part("hex_nut", seed, 64).image for seed in (901, 902)]
    for model in (tiny_scorer, washers, gaskets):
        model.score_batch(images)
    assert washers._reader._features is tiny_scorer._reader._features
    readers = [one._reader for one in (washers, gaskets, tiny_scorer)]
    assert len({id(reader._projected) for reader in readers}) == 1
    assert len({id(reader._scores) for reader in readers}) == 1


def test_models_that_share_a_memory_keep_their_own_scores(registry):
    image = render_part("hex_nut", 903, 64).image
    folder = registry._folder / "gaskets"
    tensors, _ = read_tensors(folder / WEIGHTS_FILE)
    other = {k: v * 1.5 if k.startswith("detector.semantic.") else v for k, v in tensors.items()}
    write_tensors(folder / WEIGHTS_FILE, other)
    alone = load_scorer(folder).score(image)
    first, second = (registry.scorer(name).score(image) for name in ("washers", "gaskets"))
    assert first.semantic_score != second.semantic_score
    assert second.score == pytest.approx(alone.score, rel=1e-6)


def test_a_model_on_another_encoder_brings_its_own(registry, tiny_scorer):
    file = registry._folder / "seals" / MODEL_FILE
    file.write_text(file.read_text().replace(tiny_scorer.encoder.fingerprint, "0" * 16))
    with pytest.raises(EncoderMismatchError, match="0000000000000000"):
        registry.scorer("seals")


def test_the_classes_of_models_are_told_without_loading_them(registry, tiny_scorer):
    for name in registry.names():
        assert registry.class_names(name) == tiny_scorer.class_names
    assert not registry._loaded
    with pytest.raises(SettingError, match="There is no model 'nuts'"):
        registry.class_names("nuts")


def test_an_unknown_model_is_refused_with_the_known_ones(registry):
    with pytest.raises(SettingError, match=r"'nuts'.*gaskets, seals, washers"):
        registry.scorer("nuts")
    with pytest.raises(SettingError):
        registry.scorer("../models/washers")
