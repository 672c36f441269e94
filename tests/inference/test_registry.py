"""The models of one page: found in the workspace, loaded once, replaced when trained again."""

import os
import shutil

import pytest

from ltad.inference.checkpoint import MODEL_FILE
from ltad.inference.registry import ModelRegistry
from ltad.types import SettingError
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


def test_an_unknown_model_is_refused_with_the_known_ones(registry):
    with pytest.raises(SettingError, match=r"'nuts'.*gaskets, seals, washers"):
        registry.scorer("nuts")
    with pytest.raises(SettingError):
        registry.scorer("../models/washers")
