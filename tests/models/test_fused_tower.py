"""The fused image tower computes what the separate layers do."""

import copy

import pytest
import torch
from transformers import AlignConfig, AlignModel

from ltad.models.align import load_encoder
from ltad.models.fused_tower import FusedBlock, FusedTower

fusable = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this PyTorch is built without oneDNN")


def largest_difference(encoder, pixels, with_latent=False) -> float:
    """Of any output, as a share of its norm."""
    fused = encoder.image_features(pixels, with_latent)
    layered = copy.copy(encoder)
    layered._fused = None
    plain = layered.image_features(pixels, with_latent)
    pairs = list(zip(fused.taps, plain.taps, strict=True))
    if with_latent:
        pairs.append((fused.latent, plain.latent))
    assert all(a.shape == b.shape for a, b in pairs)
    return max(float((a - b).norm() / b.norm()) for a, b in pairs)


@fusable
@pytest.mark.parametrize("side", [320, 256, 321])
def test_the_embedded_encoder_at_every_size(side):
    encoder = load_encoder("assets/demo/encoder")
    assert FusedTower.fits(encoder.model.vision_model)
    torch.manual_seed(0)
    pixels = torch.rand(2, 3, side, side) * 2 - 1
    assert 0 < largest_difference(encoder, pixels, with_latent=True) < 1e-5


@fusable
def test_a_tower_with_gates_and_swish(tiny_encoder):
    torch.manual_seed(0)
    assert tiny_encoder.model.config.vision_config.hidden_act == "swish"
    assert largest_difference(tiny_encoder, torch.rand(2, 3, 64, 64) * 2 - 1, True) < 1e-5


@fusable
@pytest.mark.slow
def test_full_size_align():
    torch.manual_seed(0)
    tower = AlignModel(AlignConfig()).vision_model.eval().requires_grad_(False)
    pixels = torch.rand(1, 3, 64, 64) * 2 - 1
    for module in tower.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        tower.train()(pixels.repeat(4, 1, 1, 1) * torch.rand(4, 1, 1, 1))
    hidden = tower.eval().embeddings(pixels)
    for block in tower.encoder.blocks:
        # Each from the same input: 55 blocks of random weights enlarge every rounding.
        exact = copy.deepcopy(block).double()(hidden.double())
        wanted, found = block(hidden), FusedBlock(block)(hidden)
        # How much is lost in single precision differs between processors.
        lost = float((wanted - exact).norm() / exact.norm())
        assert float((found - exact).norm() / exact.norm()) < 1e-6 + 4 * lost < 1e-3
        hidden = wanted


def test_other_activations_and_precisions_keep_their_layers(tiny_encoder):
    tower = copy.deepcopy(tiny_encoder.model.vision_model)
    assert not FusedTower.fits(copy.deepcopy(tower).bfloat16())
    tower.encoder.blocks[0].depthwise_conv.depthwise_act = torch.nn.GELU()
    assert not FusedTower.fits(tower)


def test_blocks_are_computed_as_they_are_asked_for(tiny_encoder):
    outputs = FusedTower(tiny_encoder.model.vision_model).outputs(torch.zeros(1, 3, 64, 64))
    assert next(outputs).shape[0] == 1 and next(outputs).shape[0] == 1
