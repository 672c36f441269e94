"""What larger amounts cost, measured on a tiny model: the figures are of what they say."""

import pytest

from ltad import load_scorer
from ltad.bench import scale


@pytest.fixture
def scorer(tiny_model_folder, tmp_path):
    return load_scorer(tiny_model_folder, cache=tmp_path / "cache")


def test_memory_is_looked_at_after_each_part_of_the_images(scorer):
    held = scale.memory_of_many(scorer, 25, looks=4)
    assert [images for images, _ in held] == [0, 6, 12, 18, 25]
    assert all(megabytes > 50 for _, megabytes in held)


def test_memory_that_was_freed_is_not_counted():
    blocks = [b"1" * 100_000 for _ in range(3000)]
    full = scale._megabytes()
    del blocks[:-1]  # the last one keeps what lies before it from going back by itself
    assert scale._megabytes() < full - 100


def test_a_restart_reads_the_cache_and_runs_no_encoder(
    scorer, tiny_model_folder, tmp_path, monkeypatch
):
    passes = []
    encode = type(scorer.encoder).image_features
    monkeypatch.setattr(type(scorer.encoder), "image_features",
                        lambda *given, **named: passes.append(1) or encode(*given, **named))
    scorer.warm_up()
    before = len(passes)
    timing = scale.restart(tiny_model_folder, "cpu", tmp_path / "cache")
    assert 0 < timing.low <= timing.median <= timing.high
    # One each by the model before the restart, and a few of both for the thresholds.
    assert scale.RESTARTED <= len(passes) - before < 2 * scale.RESTARTED


def test_features_and_epochs_are_timed(scorer):
    rates = scale.extraction(scorer.encoder, 2 * scale.BATCH)
    assert all(rate > 0 for rate in rates.values())
