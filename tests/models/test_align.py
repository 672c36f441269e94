"""ALIGN behind the seam: the full-size architecture with random weights, and a tiny one."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AlignConfig, AlignModel

from ltad.config import FeatureSettings, preset
from ltad.inference import scoring
from ltad.inference.calibration import Readings, ScoreSettings, branch_maps, semantic_grid
from ltad.models.align import AlignEncoder, load_encoder
from ltad.models.detector import Detector
from ltad.models.features import patch_features, split_layers
from ltad.types import CheckpointError, PromptError, SettingError


@pytest.fixture(scope="module")
def full_size(tiny_encoder) -> AlignEncoder:
    """transformers' default ALIGN (EfficientNet-B7 and BERT-base), random weights, seed 0.

    A batch norm that never saw data lets activations explode over 55 blocks, so each is given the
    statistics of one random batch, as training would.
    """
    torch.manual_seed(0)
    model = AlignModel(AlignConfig())
    for module in model.vision_model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    model.train()
    with torch.no_grad():
        model.vision_model(torch.rand(2, 3, 224, 224) * 2 - 1)
    return AlignEncoder(model, tiny_encoder.tokenizer, FeatureSettings())


@pytest.mark.slow
def test_full_size_taps_are_the_hidden_states_4_11_18_38(full_size, monkeypatch):
    monkeypatch.setattr(full_size, "_fused", None)
    pixels = torch.rand(1, 3, 224, 224) * 2 - 1
    with torch.inference_mode():
        taps = full_size.image_features(pixels).taps
        states = full_size.model.vision_model(
            pixels.contiguous(memory_format=torch.channels_last), output_hidden_states=True
        ).hidden_states
    for tap, index in zip(taps, (4, 11, 18, 38), strict=True):
        assert torch.equal(tap, states[index])
    assert [tuple(tap.shape[1:]) for tap in taps] == [
        (32, 112, 112), (48, 56, 56), (80, 28, 28), (224, 14, 14)
    ]
    assert patch_features(taps, 14).shape == (1, 384, 14, 14)
    assert sum(full_size.channels) == 384
    assert full_size.joint_width == 640 and full_size.latent_shape == (640, 7, 7)


@pytest.mark.slow
def test_full_size_learned_token_path_equals_get_text_features(full_size):
    words = ["a broken hex nut", "a", "a flawless silver steel screw on a wooden table"]
    tokens = full_size.tokenizer(words, padding=True, return_tensors="pt")
    with torch.inference_mode():
        expected = full_size.model.get_text_features(**tokens).pooler_output
        split = [["a broken", full_size.token_vectors("hex nut")], ["a"],
                 [full_size.token_vectors(words[2])]]
        found = full_size.text_embeddings(split)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.slow
def test_full_size_scores_equal_a_numpy_transcription(full_size):
    config = preset("paper-mvtec")
    detector = Detector(["bottle", "cable"], full_size, config).eval()
    pixels = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(2)) * 2 - 1
    with torch.inference_mode():
        patches = patch_features(full_size.image_features(pixels).taps, 14)
        rebuilt = detector.reconstruction(patches)
        readings = Readings(
            scoring.reconstruction_score(rebuilt, patches), detector.semantic(patches)
        )
        normal, abnormal = (detector.texts(full_size, words, [1]) for words in ("a", "a broken"))
        settings = ScoreSettings("a", "a broken", 500.0, 1.0, 16, 224)
        found = branch_maps(readings, normal, abnormal, settings)
    p, pi = patches[0].double().numpy(), rebuilt[0].double().numpy()
    s_rec = ((pi - p) ** 2).sum(axis=0)                                              # (1)
    layers = np.split(p, np.cumsum(full_size.channels)[:-1])
    p_hat = np.max([                                                                 # (2)
        np.einsum("dc,chw->dhw", phi.weight.detach().double().numpy(), layer)
        + phi.bias.detach().double().numpy()[:, None, None]
        for phi, layer in zip(detector.semantic.maps, layers, strict=True)
    ], axis=0)
    logits = [np.einsum("d,dhw->hw", t[0].double().numpy(), p_hat) for t in (normal, abnormal)]
    top = np.maximum(*logits)
    powers = [np.exp(logit - top) for logit in logits]
    s_sem = powers[1] / (powers[0] + powers[1])                                      # (3), (4)
    np.testing.assert_allclose(readings.reconstruction[0], s_rec, rtol=1e-4)
    np.testing.assert_allclose(semantic_grid(readings, normal, abnormal, settings)[0], s_sem,
                               atol=1e-4)
    s_map = scoring.upsample(torch.from_numpy(s_rec + 500.0 * s_sem)[None], 224)[0]  # (5)
    np.testing.assert_allclose(found.maps["combined"][0], s_map, rtol=1e-4)


def test_no_block_past_the_last_tap_runs(tiny_encoder, monkeypatch):
    monkeypatch.setattr(tiny_encoder, "_fused", None)
    blocks = tiny_encoder.model.vision_model.encoder.blocks
    ran = []
    handles = [b.register_forward_hook(lambda *_, i=i: ran.append(i)) for i, b in enumerate(blocks)]
    tiny_encoder.image_features(torch.zeros(1, 3, 64, 64))
    for handle in handles:
        handle.remove()
    assert ran == list(range(tiny_encoder.settings.taps[-1] + 1))


def test_pixels_are_resized_without_cropping_to_minus_one_to_one(tiny_encoder):
    image = Image.new("RGB", (40, 90), (255, 0, 51))
    pixels = tiny_encoder.pixels(image)
    assert pixels.shape == (3, 64, 64) and pixels.dtype == torch.float32
    expected = torch.tensor([1.0, -1.0, 51 / 127.5 - 1])
    torch.testing.assert_close(pixels[:, 5, 7], expected)


def test_gradients_reach_learned_vectors_and_no_weight(tiny_encoder):
    vectors = tiny_encoder.token_vectors("object").clone().requires_grad_()
    tiny_encoder.text_embeddings([["a broken", vectors]]).sum().backward()
    assert vectors.grad.abs().sum() > 0
    assert all(p.grad is None for p in tiny_encoder.model.parameters())


def test_patch_features_resize_and_concatenate():
    taps = [torch.arange(4.0).view(1, 1, 2, 2), torch.ones(1, 2, 4, 4)]
    patches = patch_features(taps, 4)
    assert patches.shape == (1, 3, 4, 4)
    first, second = split_layers(patches, (1, 2))
    np.testing.assert_allclose(first[0, 0, 0], [0, 0.25, 0.75, 1])
    assert torch.equal(second, taps[1])


def test_unknown_words_and_tokens(tiny_encoder):
    assert tiny_encoder.unknown_words("a broken flurbglex screw") == ["flurbglex"]
    assert tiny_encoder.tokenize("a broken screw") == ["a", "broken", "screw"]
    words = tiny_encoder.vocabulary().whole_words()
    assert "broken" in words.tokens and not any(t.startswith(("##", "[")) for t in words.tokens)


def test_fingerprint_follows_weights_and_settings(tiny_encoder_folder, tiny_encoder):
    assert load_encoder(tiny_encoder_folder).fingerprint == tiny_encoder.fingerprint
    other = load_encoder(tiny_encoder_folder, FeatureSettings(64, (0, 1, 2, 4), 7, 7))
    assert other.fingerprint != tiny_encoder.fingerprint
    with torch.no_grad():
        other.model.text_projection.bias[0] += 1
    changed = AlignEncoder(other.model, other.tokenizer, tiny_encoder.settings)
    assert changed.fingerprint != tiny_encoder.fingerprint


def test_errors_say_what_to_do(tiny_encoder_folder, tiny_encoder, tmp_path):
    with pytest.raises(CheckpointError, match="kakaobrain/align-base"):
        load_encoder(tmp_path)
    with pytest.raises(SettingError, match="Tap 9 does not exist"):
        load_encoder(tiny_encoder_folder, FeatureSettings(64, (0, 9), 7, 7))
    with pytest.raises(PromptError, match="at most 64"):
        tiny_encoder.text_embeddings([["a " * 70]])
