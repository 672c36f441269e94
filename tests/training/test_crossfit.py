"""Cross-fitting: every training image judged without itself, and what follows from that."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ltad import load_scorer
from ltad.data.datasets import load_folder
from ltad.evaluation.record import alarm_table, evaluate_model
from ltad.inference import scoring
from ltad.inference.feature_store import build_store
from ltad.jobs.evaluate import measure_class
from ltad.models.reference import ReferenceBranch
from ltad.training.crossfit import FOLDS
from ltad.training.train import train, training_images
from ltad.types import REFERENCE, SettingError

SETTINGS = {
    "reference_size": 10_000, "reference_weight": 1.0, "good_units": True, "lam": 0.5,
    "residual": "nearest", "standardize": True, "calibration": "cross_fitted",
}


@pytest.fixture(scope="module")
def trained(tiny_encoder, tiny_encoder_folder, tiny_config, parts_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("crossfit") / "model"
    samples, features = load_folder(parts_folder), tmp_path_factory.mktemp("features")
    checkpoint = train(samples, tiny_encoder, tiny_config.replace(**SETTINGS), out,
                       str(tiny_encoder_folder), features=features)
    store = build_store(training_images(samples), tiny_encoder, features, progress=False)
    return checkpoint, load_scorer(out, cache=tmp_path_factory.mktemp("cache")), store, samples


def test_it_learns_from_every_image_and_is_calibrated_on_every_image(trained):
    checkpoint, scorer, store, _ = trained
    about = checkpoint.about
    counts = {name: len(store.indices(name)) for name in checkpoint.detector.class_names}
    assert about["training_pictures"] == about["calibration_pictures"] == counts
    assert set(about["held_out_pictures"].values()) == {0}
    assert not about["calibrated_on_training_pictures"]
    assert {name: len(own) for name, own in scorer.checkpoint.calibration.items()} == counts


def test_each_image_is_judged_by_a_branch_that_does_not_hold_its_fold(trained):
    """The first fold again, without the module: the other images fill a branch."""
    checkpoint, _, store, _ = trained
    detector, first = checkpoint.without_first
    for name in detector.class_names:
        scores = checkpoint.cross_fitted[name][REFERENCE]
        assert len(first[name]) == -(-len(scores) // min(FOLDS, len(scores)))
        fold = first[name]
        kept = checkpoint.detector.reference
        own = torch.from_numpy(store.fine_patches[store.indices(name)].astype(np.float32))
        in_order = [  # the images of the fold are those that the shown branch gives these scores
            int((detector.reference.scores(own, detector.index(name)) - scores[place])
                .abs().amax(dim=(1, 2)).argmin()) for place in fold
        ]
        branch = ReferenceBranch(1, own.shape[1], 10_000)
        others = [i for i in range(len(own)) if i not in in_order]
        branch.fit(lambda own=own, others=others: [(own[others], 0)])
        assert torch.allclose(branch.scores(own[in_order], 0), scores[fold], rtol=0.02, atol=1e-3)
        assert (kept.scores(own, detector.index(name)).mean() < scores.mean())


def test_thresholds_are_of_what_the_others_say(trained):
    _, scorer, _, _ = trained
    settings = replace(scorer.score_settings(), lam=0.0, reference_weight=1e6)
    for name in scorer.class_names:
        zero, one = scorer.detector.unit(REFERENCE, scorer.detector.index(name))
        raw = scorer.checkpoint.cross_fitted[name][REFERENCE]
        expected = scoring.image_score(scoring.pooled_map(
            (raw - zero) / (one - zero), settings.size, settings.pool
        ))
        found = scorer._calibration_readings(name)
        assert torch.allclose(found.reference.float(), (raw - zero) / (one - zero), atol=1e-3)
        limits = scorer.calibration.limits(name, settings, 0.5)
        assert limits.normal_scores == pytest.approx(sorted(expected.tolist()), rel=1e-3)


def test_a_model_from_disk_has_the_thresholds_it_was_trained_with(trained):
    checkpoint, scorer, _, _ = trained
    for name, branches in checkpoint.cross_fitted.items():
        for branch, raw in branches.items():
            assert torch.equal(scorer.checkpoint.cross_fitted[name][branch], raw)


def test_painted_damage_is_tried_on_a_fold_that_the_detector_does_not_hold(trained):
    checkpoint, scorer, _, samples = trained
    fresh = scorer.__class__(scorer.encoder, checkpoint, None)
    own = [s for s in samples if s.class_name == "leather"]
    found = measure_class(fresh, "leather", True, own, 0.2)
    assert found.is_cross_fitted and found.are_held_out
    assert found.painted.good == len(checkpoint.without_first[1]["leather"])
    assert not measure_class(scorer, "leather", True, own, 0.2).are_held_out  # from disk: no fold


def test_a_run_keeps_those_scores_and_evaluate_counts_above_their_threshold(trained, tmp_path):
    _, scorer, _, samples = trained
    settings = scorer.score_settings()
    found = evaluate_model(scorer, samples, tmp_path, tmp_path / "features", progress=False)
    for name in scorer.class_names:
        kept = found.calibration[found.calibration.class_name == name]["combined"]
        limits = scorer.calibration.limits(name, settings, 0.5)
        assert sorted(kept) == pytest.approx(limits.normal_scores, rel=1e-4)
    table = alarm_table(scorer, found.evaluation, settings, [0.5])
    threshold = scorer.calibration.limits("screw", settings, 0.5).thresholds["combined"]
    tests = [s for s in found.evaluation.samples if s.class_name == "screw"]
    above = [scorer.score(s.path, "screw").score > threshold for s in tests if not s.is_defective]
    assert table.loc["screw", "50%, good"] == f"{sum(above)} of {len(above)}"
    assert table.loc["All", "50%, good"].startswith(
        f"{sum(int(table.loc[n, '50%, good'].split()[0]) for n in scorer.class_names)} of "
    )


def test_rows_of_a_table_are_not_cross_fitted(tiny_encoder, tiny_config, parts_folder, tmp_path):
    from ltad.evaluation.ablate import Source, Study

    with pytest.raises(SettingError, match="cross_fitted"):
        Study.of(load_folder(parts_folder), tiny_encoder, tiny_config.replace(**SETTINGS), tmp_path,
                 Source(str(parts_folder), "parts", "none", "encoder", ()))
