"""Class recognition on plain Gaussians, where the right answer is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ltad.inference.recognition import ClassRecogniser, descriptor


def patches(mean: float, count: int, seed: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    shift = mean * torch.tensor([1.0, -1.0, 0.5, 0.0]).view(1, 4, 1, 1)
    return shift + 0.2 * torch.randn(count, 4, 1, 1, generator=random) + torch.randn(
        count, 4, 6, 6, generator=random
    )


@pytest.fixture(scope="module")
def recogniser() -> ClassRecogniser:
    train = [patches(0, 40, 0), patches(3, 40, 1), patches(-3, 1, 2)]
    classes = np.repeat([0, 1, 2], [40, 40, 1])
    held = [patches(0, 20, 10), patches(3, 20, 11)]
    return ClassRecogniser.fit(
        ("plain", "high", "rare"), descriptor(torch.cat(train)), classes,
        descriptor(torch.cat(held)), np.repeat([0, 1], 20),
    )


def test_descriptor_is_mean_and_deviation():
    values = torch.tensor([[1.0, 3.0], [5.0, 7.0]]).view(1, 1, 2, 2)
    torch.testing.assert_close(descriptor(values, 0.0), torch.tensor([[4.0, 5.0**0.5]]))


def test_descriptor_leaves_out_the_patches_least_like_the_rest():
    values = torch.tensor([1.0, 3.0, 5.0, 7.0, 500.0]).view(1, 1, 1, 5)
    torch.testing.assert_close(descriptor(values, 0.2), torch.tensor([[4.0, 5.0**0.5]]))
    both = values.repeat(2, 3, 1, 1)
    torch.testing.assert_close(descriptor(both, 0.2)[1], torch.tensor([4.0] * 3 + [5.0**0.5] * 3))


def test_damage_does_not_hide_the_class(recogniser):
    damaged = patches(0, 20, 40)
    damaged[:, :, :2, :3] += 15.0  # 6 of 36 patches
    whole = replace(recogniser, trimmed=0.0)
    assert all(f.is_known and f.best == "plain" for f in recogniser.recognise(damaged))
    assert not any(f.is_known for f in whole.recognise(damaged))


def test_a_model_from_before_the_trimming_uses_every_patch(recogniser):
    older = recogniser.tensors() | {"numbers": torch.tensor([1.0, 2.0])}
    assert ClassRecogniser.from_tensors(recogniser.class_names, older, {}).trimmed == 0.0


def test_every_class_is_recognised_even_the_one_with_a_single_picture(recogniser):
    for mean, name in ((0, "plain"), (3, "high"), (-3, "rare")):
        found = recogniser.recognise(patches(mean, 20, 50 + mean))
        assert np.mean([f.best == name for f in found]) >= 0.95
        assert np.mean([f.is_known for f in found]) >= 0.9
        assert sum(found[0].probabilities.values()) == pytest.approx(1, abs=1e-5)


def test_a_stranger_looks_like_none_of_them(recogniser):
    assert not any(f.is_known for f in recogniser.recognise(patches(20, 5, 90)))


def test_a_class_with_one_picture_reaches_farther(recogniser):
    far = replace(recogniser, whitening=torch.eye(2), limit=1.0, means=torch.tensor(
        [[0.0, 0.0], [10.0, 0.0], [20.0, 0.0]]
    ))
    def known(mean: float) -> bool:  # of an image whose values are all alike
        return far.recognise(torch.full((1, 1, 4, 4), mean))[0].is_known

    assert known(1.0) and not known(1.1)  # 40 images: up to the square root of 1 + 1/40
    assert known(21.4) and not known(21.5)  # one image: up to the square root of 2
    assert not known(18.5) and not known(4.0)


def test_tensors_round_trip(recogniser):
    counts = {"plain": 40, "high": 40, "rare": 1}
    again = ClassRecogniser.from_tensors(recogniser.class_names, recogniser.tensors(), counts)
    assert again.counts == recogniser.counts == (40, 40, 1)
    pictures = patches(1, 4, 70)
    assert again.recognise(pictures) == recogniser.recognise(pictures)
