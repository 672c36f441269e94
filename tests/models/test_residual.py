"""How a residual is scored and phase 2 conditioned; all of it off in the paper's presets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ltad.config import TrainingSettings, preset
from ltad.inference.feature_store import FeatureStore
from ltad.models.align import AlignEncoder
from ltad.models.detector import Detector
from ltad.models.residual import BANK_SIZE, ResidualScore
from ltad.training.loop import balanced_indices
from ltad.training.phases import (
    PARTS,
    ClassTexts,
    TrainingData,
    begin_semantic,
    channel_statistics,
    good_residuals,
    phase2_losses,
)
from ltad.types import Sample


def noise(images: int, scale: torch.Tensor, seed: int) -> torch.Tensor:
    """(images, C, 6, 6) normal with a deviation per channel."""
    random = torch.Generator().manual_seed(seed)
    return torch.randn(images, len(scale), 6, 6, generator=random) * scale[:, None, None]


def test_squared_is_equation_1_and_cosine_ignores_energy():
    rebuilt, patches = torch.tensor([3.0, 4.0]), torch.tensor([0.0, 0.0])
    grid = [t.view(1, 2, 1, 1) for t in (rebuilt, patches)]
    assert ResidualScore("squared", 1, 2)(*grid, 0).item() == 25.0
    cosine = ResidualScore("cosine", 1, 2)
    one, other = torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1.0])
    for factor in (1.0, 100.0):
        found = cosine((factor * one).view(1, 2, 1, 1), (factor * other).view(1, 2, 1, 1), 0)
        assert found.item() == pytest.approx(1 - 2**-0.5, abs=1e-6)


@pytest.mark.parametrize("kind", ["scaled", "mahalanobis"])
def test_good_residuals_lie_around_1_whatever_their_energy(kind):
    score = ResidualScore(kind, 2, 4)
    scales = torch.tensor([1.0, 2.0, 0.5, 3.0]), torch.tensor([20.0, 10.0, 10.0, 40.0])
    score.fit(lambda: [(noise(60, scales[0], 1), 0), (noise(60, scales[1], 2), 1)])
    for index, scale in enumerate(scales):
        fresh = noise(40, scale, 5)
        found = score(fresh, torch.zeros_like(fresh), index)
        assert found.mean().item() == pytest.approx(1.0, abs=0.15)
        broken = fresh.clone()
        broken[:, 2] += 8 * scale[2]
        assert (score(broken, torch.zeros_like(fresh), index) > found).float().mean() > 0.9


def test_mahalanobis_sees_what_breaks_a_correlation():
    random = torch.Generator().manual_seed(0)
    shared = torch.randn(50, 1, 6, 6, generator=random)
    good = torch.cat([shared, shared], dim=1) + 0.1 * torch.randn(50, 2, 6, 6, generator=random)
    score = ResidualScore("mahalanobis", 1, 2)
    score.fit(lambda: [(good, 0)])
    usual, odd = (torch.tensor(v).view(1, 2, 1, 1) for v in ([1.0, 1.0], [1.0, -1.0]))
    zero = torch.zeros_like(usual)
    assert score(odd, zero, 0) > 3 * score(usual, zero, 0)


def test_nearest_forgives_a_second_kind_of_good():
    random = torch.Generator().manual_seed(1)
    sides = torch.where(torch.rand(80, 1, 6, 6, generator=random) < 0.5, -5.0, 5.0)
    good = torch.cat([sides, 0 * sides], 1) + 0.1 * torch.randn(80, 2, 6, 6, generator=random)
    score = ResidualScore("nearest", 1, 2)
    score.fit(lambda: [(good[:40], 0), (good[40:], 0)])
    zero = torch.zeros(1, 2, 1, 1)
    usual, between = (torch.tensor(v).view(1, 2, 1, 1) for v in ([5.0, 0.0], [0.0, 0.0]))
    # The mean of both kinds is nobody's residual, though no covariance says so.
    assert score(usual, zero, 0) < 0.1 and score(between, zero, 0) > 0.5
    # 5 away in a direction whose deviation is 5 (and the ridge): 1 / sqrt(2) for two channels
    assert score(between, zero, 0).item() == pytest.approx(2**-0.5, abs=0.06)


def test_a_bank_is_small_and_comes_back_as_it_was():
    score = ResidualScore("nearest", 2, 3)
    many, few = noise(40, torch.ones(3), 1), noise(1, torch.ones(3), 2)
    score.fit(lambda: [(few, 1), (many, 0)])
    assert score.ends.tolist() == [BANK_SIZE, BANK_SIZE + 36]
    read = ResidualScore("nearest", 2, 3)
    read.load_state_dict(score.state_dict())
    for index in (0, 1):
        patches = noise(2, torch.ones(3), 7)
        assert torch.equal(read(patches, 0 * patches, index), score(patches, 0 * patches, index))


def test_a_class_of_one_image_borrows_from_the_others():
    score = ResidualScore("scaled", 2, 2)
    one = torch.tensor([3.0, 1.0]), torch.tensor([0.1, 0.1])
    score.fit(lambda: [(noise(999, one[0], 1), 0), (noise(1, one[1], 2), 1)])
    # Shapes (1.8, 0.2) and (1, 1) have the mean (1.4, 0.6); half of that, half of (1, 1), at the
    # class's own level of 0.01.
    expected = torch.tensor([0.01 * 1.2, 0.01 * 0.8]).sqrt()
    torch.testing.assert_close(score.scale[1], expected, rtol=0.15, atol=0)
    torch.testing.assert_close(score.scale[0], one[0], rtol=0.02, atol=0)


def test_classes_are_drawn_alike():
    classes = torch.tensor([0] * 95 + [1] * 5)
    settings = TrainingSettings(batch_size=20)
    drawn = np.concatenate([balanced_indices(classes, s, settings, 2) for s in range(200)])
    assert np.mean(drawn >= 95) == pytest.approx(0.5, abs=0.04)
    again = balanced_indices(classes, 7, settings, 2)
    np.testing.assert_array_equal(again, balanced_indices(classes, 7, settings, 2))
    assert len(again) == 20


@pytest.mark.parametrize("name", ["paper-mvtec", "paper-visa", "paper-dagm"])
def test_the_papers_presets_are_not_conditioned(name, tiny_encoder, tiny_config):
    config = preset(name)
    assert not config.model.standardize and not config.training.balance_classes
    assert config.model.residual == "squared" and config.model.semantic_start == "random"
    plain = Detector(["a", "b"], tiny_encoder, tiny_config)
    assert not [k for k in plain.state_dict() if "input_" in k or ".score." in k]


@pytest.fixture
def data(tiny_encoder):
    """Features of two classes, drawn at random with channels of very different size."""
    channels, grid = sum(tiny_encoder.channels), tiny_encoder.settings.grid
    random = torch.Generator().manual_seed(4)
    scale = torch.logspace(-1, 1, channels)[:, None, None]
    patches = torch.randn(40, channels, grid, grid, generator=random) * scale + scale
    patches[30:] *= torch.linspace(0.5, 1.5, channels)[:, None, None]
    samples = tuple(Sample(Path(f"{i}.png"), "ab"[i >= 30], "train") for i in range(40))
    latents = torch.randn(40, *tiny_encoder.latent_shape, generator=random).numpy()
    store = FeatureStore(samples, patches.half().numpy(), patches.half().numpy(), latents)
    return TrainingData.of(store, range(40), ["a", "b"], torch.device("cpu")), ["a", "b"]


def test_a_conditioned_training_works_in_units_of_the_channels(data, tiny_encoder, tiny_config):
    data, names = data
    config = tiny_config.replace(standardize=True, residual="mahalanobis", balance_classes=True,
                                 real_probability=1.0, noise_scale=0.0, dropout=0.0)
    detector = Detector(names, tiny_encoder, config)
    module = detector.reconstruction
    module.fit_input(*channel_statistics(data))
    weights = 1.0 / torch.bincount(data.classes).float()[data.classes] / len(names)
    known = module.standard(data.patches(np.arange(len(data)))).flatten(2)
    torch.testing.assert_close((weights[:, None] * known.mean(2)).sum(0),
                               torch.zeros(known.shape[1]), atol=1e-3, rtol=0)
    torch.testing.assert_close((weights[:, None] * known.square().mean(2)).sum(0),
                               torch.ones(known.shape[1]), atol=1e-2, rtol=0)
    texts = ClassTexts.of(detector, tiny_encoder)
    chosen = balanced_indices(data.classes, 0, config.training, 2)
    known = module.standard(data.patches(chosen))
    wanted = (module(known) - known).square().sum(dim=1).mean()
    found = phase2_losses(detector, texts, data, 0, PARTS)["reconstruction"]
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)
    module.score.fit(lambda: good_residuals(detector, data))
    own = data.patches(np.flatnonzero(data.classes.numpy() == 0))
    assert module.scores(own, 0).mean().item() == pytest.approx(1.0, abs=0.2)
    assert module.scores(own, 1).mean() > module.scores(own, 0).mean()


def test_phi_begins_with_what_the_encoder_carries_and_else_aligned(
    data, tiny_encoder, tiny_config
):
    data, names = data
    found = {}
    for start in ("aligned", "encoder"):
        detector = Detector(names, tiny_encoder, tiny_config.replace(semantic_start=start))
        begin_semantic(detector, tiny_encoder, data)
        found[start] = detector.semantic.state_dict()
    assert found["encoder"].keys() == found["aligned"].keys()
    assert all(torch.equal(v, found["aligned"][k]) for k, v in found["encoder"].items())
    carried = {k: torch.full_like(v, 0.5) for k, v in found["aligned"].items()}
    carrying = AlignEncoder(
        tiny_encoder.model, tiny_encoder.tokenizer, tiny_encoder.settings,
        semantic_start=(carried, tiny_encoder.settings.taps),
    )
    begin_semantic(detector, carrying, data)
    assert all((v == 0.5).all() for v in detector.semantic.state_dict().values())


def test_mahalanobis_is_measured_from_what_good_images_leave_over():
    """A residual that every good image has is no sign of anything."""
    good = torch.randn(4, 2, 6, 6, generator=torch.Generator().manual_seed(0)) + 50.0
    score = ResidualScore("mahalanobis", 1, 2, pooled_weight=0.0)
    score.fit(lambda: [(good, 0)])
    nothing = torch.zeros(1, 2, 1, 1)
    usual, none = (score(torch.full((1, 2, 1, 1), value), nothing, 0) for value in (50.0, 0.0))
    assert usual.item() < 0.5 < 10 < none.item()


def test_the_explained_share_is_one_less_what_is_left_of_the_variance(tiny_scorer, parts_folder):
    files = sorted((parts_folder / "leather" / "test" / "good").glob("*.png"))
    module = tiny_scorer.detector.reconstruction
    with torch.inference_mode():
        features = [tiny_scorer._reader.patches(tiny_scorer.prepare(file)) for file in files]
        real = module.standard(torch.cat(features).float())
        rebuilt = module(real).double().numpy()
    real = real.double().numpy()
    about = real - real.mean(axis=(0, 2, 3), keepdims=True)
    expected = 1 - ((rebuilt - real) ** 2).sum() / (about**2).sum()
    assert tiny_scorer.explained(files) == pytest.approx(expected, rel=1e-5)
