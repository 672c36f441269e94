"""What an answer costs, measured on a tiny model: the figures are of what they say."""

import pytest
import torch

from ltad import load_scorer
from ltad.bench import speed


@pytest.fixture
def scorer(tiny_model_folder, tmp_path):
    return load_scorer(tiny_model_folder, cache=tmp_path / "cache")


def test_answers_and_towers_are_timed_on_one_core_which_is_given_back(scorer, monkeypatch):
    cores, seen = torch.get_num_threads(), []
    encode = type(scorer.encoder).image_features
    monkeypatch.setattr(
        type(scorer.encoder), "image_features",
        lambda *given, **named: seen.append(torch.get_num_threads()) or encode(*given, **named))
    scorer.warm_up()
    seen.clear()
    found = speed.measure_answers(scorer, repeats=1)
    assert set(seen) == {1} and torch.get_num_threads() == cores
    assert all(0 < timing.low <= timing.median <= timing.high for timing in found.values())
    assert found["new image to its maps"].median > found["prompt seen before"].median
