"""The models of one page: found in the workspace, loaded once, replaced when trained again."""

import os
import shutil

import pytest

from ltad.inference.checkpoint import MODEL_FILE
from ltad.inference.registry import ModelShelf
from ltad.types import SettingError
from ltad.workspace import Workspace


@pytest.fixture
def shelf(tiny_scorer, tiny_model_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("LTAD_CACHE", str(tmp_path / "cache"))
    workspace = Workspace(tmp_path / "work")
    for name in ("washers", "gaskets", "seals"):
        shutil.copytree(tiny_model_folder, workspace.models / name)
    (workspace.models / "half finished").mkdir()
    return ModelShelf(tiny_scorer, workspace.models, keep=2)


def test_the_first_model_stands_first_and_half_finished_ones_are_left_out(shelf, tiny_scorer):
    assert shelf.names() == [tiny_scorer.name, "gaskets", "seals", "washers"]
    assert shelf.scorer() is shelf.scorer("") is shelf.scorer(tiny_scorer.name) is tiny_scorer
    assert ModelShelf(tiny_scorer).names() == [tiny_scorer.name]


def test_a_model_is_loaded_once_and_again_after_a_new_training(shelf):
    washers = shelf.scorer("washers")
    assert washers.name == "washers" and shelf.scorer("washers") is washers
    file = shelf._folder / "washers" / MODEL_FILE
    os.utime(file, ns=(1, 1))
    assert shelf.scorer("washers") is not washers


def test_only_the_last_few_stay_in_memory(shelf):
    washers = shelf.scorer("washers")
    shelf.scorer("gaskets")
    shelf.scorer("seals")
    assert shelf.scorer("washers") is not washers


def test_an_unknown_model_is_refused_with_the_known_ones(shelf):
    with pytest.raises(SettingError, match=r"'nuts'.*gaskets, seals, washers"):
        shelf.scorer("nuts")
    with pytest.raises(SettingError):
        shelf.scorer("../models/washers")
