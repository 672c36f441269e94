"""The encoder's recipe on a very small scale: twins, losses, resuming, and what is kept out."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ltad.data.benchmark import test_seed as seed_of_test
from ltad.data.captions import all_words
from ltad.data.parts import (
    PART_CLASSES,
    UNSEEN_DEFECT_TYPES,
    UNSEEN_PART_CLASSES,
    render_part,
)
from ltad.encoders import load_encoder
from ltad.pretraining import train as recipe
from ltad.pretraining.augment import augment_pairs
from ltad.pretraining.losses import contrastive_loss, dense_loss
from ltad.pretraining.model import (
    REPEATS,
    SHALLOW_REPEATS,
    deepened,
    small_align,
    word_tokenizer,
)
from ltad.pretraining.pool import SEEN_PART_CLASSES, build_pool, render_pair, seen_defects
from ltad.pretraining.probe import named, probe, unit_texts
from ltad.pretraining.train import (
    STATE_FILE,
    PretrainingSettings,
    Trainee,
    begin_from,
    pretrain,
)
from ltad.training.state import read_tensors

DEMO_ENCODER = Path(__file__).parents[1] / "assets" / "demo" / "encoder"
SETTINGS = PretrainingSettings(
    pairs=24, image_size=64, small_size=48, steps=4, batch_pairs=6, precision="float32"
)


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    return build_pool(tmp_path_factory.mktemp("work"), 24, 64)


def test_unseen_classes_and_defects_are_kept_out(pool):
    assert len(UNSEEN_PART_CLASSES) * 4 >= len(PART_CLASSES)
    for index in range(0, 400, 2):
        *_, pair = render_pair(index, 32, 0)
        assert pair.subject not in UNSEEN_PART_CLASSES
        assert pair.defect not in UNSEEN_DEFECT_TYPES
    assert all(len(seen_defects(name)) >= 3 for name in SEEN_PART_CLASSES)


def test_a_pool_is_rendered_once_and_holds_twins(pool, tmp_path):
    assert pool.images.shape == (24, 2, 64, 64, 3) and len(pool.pairs) == 24
    images, mask, pair = render_pair(3, 64, 0)
    np.testing.assert_array_equal(pool.images[3], images)
    np.testing.assert_array_equal(pool.masks[3], mask)
    assert pool.pairs[3] == pair


def test_augmentation_moves_twins_and_mask_alike():
    images = torch.zeros(2, 2, 3, 32, 32)
    images[:, :, :, 8:16, 20:28] = 1.0
    masks = (images[:, 1, 0] > 0).float()
    views, moved = augment_pairs(images, masks, 32, torch.Generator().manual_seed(4))
    torch.testing.assert_close(views[:, 0], views[:, 1])
    for view, mask in zip(views, moved, strict=True):
        inside = view[0, 0][mask > 0.99].mean()
        outside = view[0, 0][mask < 0.01].mean()
        assert inside > outside + 0.2


def test_losses_prefer_the_right_answer():
    eye = torch.eye(4)
    right = contrastive_loss(eye, eye, torch.tensor(0.1), list("abcd"))
    wrong = contrastive_loss(eye, eye.roll(1, 0), torch.tensor(0.1), list("abcd"))
    assert right < 0.01 < wrong
    twice = eye[:1].repeat(2, 1)
    shared = contrastive_loss(twice, twice, torch.tensor(0.1), ["a", "a"])
    assert shared.item() == pytest.approx(np.log(2), abs=1e-5)
    masks = torch.zeros(2, 16, 16)
    masks[1, 4:8, 4:8] = 1
    logits = torch.full((2, 4, 4), -6.0)
    logits[1, 1, 1] = 6.0
    assert dense_loss(logits, masks) < 0.1 * dense_loss(-logits, masks)


def test_a_stopped_pretraining_ends_with_the_same_weights(tmp_path, monkeypatch):
    whole = pretrain(tmp_path / "whole", SETTINGS, tmp_path / "work_a", save_every=1)
    original = recipe.train_step

    def stop_at_two(trainee, pool, step):
        if step == 2:
            raise KeyboardInterrupt
        return original(trainee, pool, step)

    monkeypatch.setattr(recipe, "train_step", stop_at_two)
    with pytest.raises(KeyboardInterrupt):
        pretrain(tmp_path / "parts", SETTINGS, tmp_path / "work_b", save_every=1)
    monkeypatch.setattr(recipe, "train_step", original)
    resumed = pretrain(tmp_path / "parts", SETTINGS, tmp_path / "work_b", save_every=1)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name
    assert load_encoder(tmp_path / "parts").fingerprint == resumed.fingerprint
    assert json.loads((tmp_path / "parts" / "pretraining.json").read_text())["steps"] == 4
    assert resumed.unknown_words(" ".join(all_words())) == []


def test_a_deepened_tower_computes_the_same():
    words, side = 40, 64
    shallow = small_align(words, repeats=SHALLOW_REPEATS, image_size=side, seed=3).eval()
    for module in shallow.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    deep = small_align(words, repeats=REPEATS, image_size=side, seed=4).eval()
    prefix = "vision_model.encoder.blocks."
    weights = shallow.state_dict()
    blocks = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
    others = {k: v for k, v in weights.items() if not k.startswith(prefix)}
    moved = {prefix + k: v for k, v in deepened(blocks, SHALLOW_REPEATS, REPEATS).items()}
    missing = deep.load_state_dict({**others, **moved}, strict=False)
    assert missing.missing_keys and not missing.unexpected_keys
    pixels = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        torch.testing.assert_close(
            deep.vision_model(pixels).last_hidden_state,
            shallow.vision_model(pixels).last_hidden_state,
        )


def test_a_later_pretraining_begins_with_the_weights_of_an_earlier_one(tmp_path):
    pretrain(tmp_path / "first", SETTINGS, tmp_path / "work_a")
    state = tmp_path / "work_a" / STATE_FILE
    tokenizer = word_tokenizer(all_words())
    subjects = len({pair.subject for pair in build_pool(tmp_path / "work_a", 24, 64).pairs})
    trainee = Trainee(SETTINGS, tokenizer, subjects, "cpu")
    begin_from(trainee, state)
    for name, value in read_tensors(state)[0].items():
        if not name.startswith("optimizer."):
            assert torch.equal(value, trainee.tensors()[name]), name
    assert not trainee.optimizer.state


def test_probe_reports_seen_and_unseen_apart():
    encoder = load_encoder(DEMO_ENCODER)  # a tiny one names nothing right
    found = probe(encoder, per_defect=1, good=2)
    assert set(found.image) == {"seen", "unseen defect", "unseen class", "unseen both"}
    assert len(found.image_by_prompts) == 4
    names = unit_texts(encoder, [named("a", name) for name in SEEN_PART_CLASSES])
    won, size = [], encoder.settings.image_size
    for index, name in enumerate(SEEN_PART_CLASSES):
        drawn = [render_part(name, seed_of_test(i), size).image for i in range(2)]
        pixels = torch.stack([encoder.pixels(Image.fromarray(image)) for image in drawn])
        latent = encoder.image_features(pixels, with_latent=True).latent
        won += [bool(w) for w in (latent.mean(dim=(2, 3)) @ names.T).argmax(dim=1) == index]
    assert found.naming == sum(won) / len(won) > 0


def test_articles_follow_the_next_word():
    assert named("a", "hex_nut") == "a hex nut"
    assert named("a broken", "hex_nut") == "a broken hex nut"
