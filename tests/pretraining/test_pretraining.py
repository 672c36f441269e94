"""The encoder's recipe on a very small scale: twins, words, losses, resuming, what is kept out."""

from __future__ import annotations

import hashlib
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from small_align import small_align, word_tokenizer

from ltad.config import FeatureSettings
from ltad.models.align import AlignEncoder, load_encoder
from ltad.models.features import patch_features
from ltad.models.semantic import SemanticHead
from ltad.pretraining import towers, train, words
from ltad.pretraining.captions import all_words
from ltad.pretraining.heads import (
    JointHeads,
    PlaceLogits,
    TextStates,
    means_no_damage,
    names_another,
    names_it,
    pool_features,
    text_states,
    tower_features,
)
from ltad.pretraining.probe import (
    Reader,
    Views,
    compare,
    groups_of,
    naming,
    words_by_defect,
)
from ltad.pretraining.train import (
    PretrainingSettings,
    TrainingInputs,
    draw_prompts,
    every_prompt,
    train_joint_space,
)
from ltad.pretraining.twins import (
    SEEN_PART_CLASSES,
    Pair,
    build_pool,
    make_pair,
    seen_defects,
)
from ltad.pretraining.words import phrase
from ltad.synthetic.classes import PART_CLASSES, UNSEEN_DEFECT_TYPES, UNSEEN_PART_CLASSES
from ltad.types import SettingError

TAPS = (1, 3)
SETTINGS = PretrainingSettings(
    pairs=12, image_size=64, grid=4, rm_grid=4, joint_width=16, naming_steps=2, naming_batch=4,
    steps=4, batch_pairs=4, places=8,
)
NAMES = [["screw", "bolt"], ["hex nut"], ["tile"]]


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A work folder in which the photographs' package is unpacked already: plain noise here."""
    folder = tmp_path_factory.mktemp("work")
    images = folder / "sources" / "scikit-image-0.26.0" / "skimage" / "data"
    images.mkdir(parents=True)
    rng = np.random.default_rng(0)
    from ltad.pretraining.twins import SUBJECTS

    for file in SUBJECTS.values():
        pixels = rng.integers(60, 200, (12, 12, 3)).astype(np.uint8)
        Image.fromarray(pixels).resize((96, 96), Image.Resampling.BICUBIC).save(images / file)
    return folder


@pytest.fixture(scope="module")
def pool(work):
    return build_pool(work, 12, 64)


@pytest.fixture(scope="module")
def model():
    """An AlignModel of the towers' shape: a last block that expands without a filter."""
    tokenizer = word_tokenizer(all_words())
    made = small_align(len(tokenizer), channels=(8, 16, 16, 24, 16), repeats=(1,) * 5,
                       expansion=(1, 2, 2, 2, 4), strides=(2, 2, 2, 2, 1), text_width=32,
                       image_size=64, seed=1)
    for name, parameter in made.vision_model.named_parameters():
        if ".squeeze_excite." in name:
            torch.nn.init.constant_(parameter, 100.0 if name.endswith("expand.bias") else 0.0)
    # Random weights make the signal vanish block by block, unless batch norms know it.
    for module in made.vision_model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
            torch.nn.init.ones_(module.weight)
    made.train()(**_any_inputs())
    return made.eval().requires_grad_(False), tokenizer


def _any_inputs() -> dict[str, torch.Tensor]:
    noise = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(3)) * 2 - 1
    return {"pixel_values": noise, "input_ids": torch.zeros(8, 3, dtype=torch.long)}


@pytest.fixture
def inputs(pool, model, tmp_path, monkeypatch):
    align, tokenizer = model
    features = pool_features(pool, align, TAPS, 4, tmp_path)
    texts = TextStates(align, tokenizer, tmp_path / "texts.safetensors")
    texts.prepare([*every_prompt(pool.pairs),
                   *words.phrased(NAMES, words.PHRASINGS, words.MOST_NAMES)[0]])
    monkeypatch.setattr(train, "TAPS", TAPS)
    return TrainingInputs(pool, features, texts, NAMES)


def new_heads(model, inputs) -> JointHeads:
    align, _ = model
    classifier = torch.randn(40, inputs.features.heads.shape[2],
                             generator=torch.Generator().manual_seed(5))
    return train.new_heads(align, classifier, inputs.features, SETTINGS)


def test_unseen_classes_and_defects_are_kept_out(work):
    assert len(UNSEEN_PART_CLASSES) * 4 >= len(PART_CLASSES)
    for index in range(0, 300, 3):
        *_, pair = make_pair(index, 32, 0, work)
        assert pair.origin == "part"
        assert pair.subject.replace(" ", "_") in SEEN_PART_CLASSES
        assert pair.flaw not in UNSEEN_DEFECT_TYPES
    assert all(len(seen_defects(name)) >= 3 for name in SEEN_PART_CLASSES)
    every = " ".join(words.every_word())
    for word in ("hole", "dent", "deform", "warp", "bent", "punctur", "pierc"):
        assert word not in every
    assert not set(words.HELD_OUT_DAMAGED + words.HELD_OUT_HARMLESS) & set(words.every_word())


def test_a_pool_is_made_once_and_holds_twins_of_three_origins(pool, work):
    assert pool.images.shape == (12, 2, 64, 64, 3)
    assert [pair.origin for pair in pool.pairs[:3]] == ["part", "scene", "photograph"]
    for index in range(6):
        images, mask, pair = make_pair(index, 64, 0, work)
        np.testing.assert_array_equal(pool.images[index], images)
        np.testing.assert_array_equal(pool.masks[index], mask)
        assert pool.pairs[index] == pair and mask.any()
        if pair.origin == "photograph":
            np.testing.assert_array_equal(images[0][~mask], images[1][~mask])
            assert np.abs(images[0].astype(int) - images[1])[mask].mean() > 10


def test_prompts_of_a_step_name_the_flaw_others_and_none():
    rng = np.random.default_rng(0)
    pair = Pair("leather", "crack", "part")
    for _ in range(50):
        prompts = draw_prompts(pair, rng)
        assert len(prompts) == len(train.ROLES)
        assert any(w in prompts[2] for w in words.FLAW_WORDS["crack"])
        for prompt in prompts[3:5]:
            assert not any(w in prompt for w in words.FLAW_WORDS["crack"])
            assert not any(w in prompt for near in words.NEAR["crack"]
                           for w in words.FLAW_WORDS[near])
        assert any(w in prompts[5] for w in words.HARMLESS)
    assert words.phrase("with a crack", "hex nut") == "a hex nut with a crack"
    assert words.phrase("", "object") == "an object"


def test_losses_prefer_the_right_answer():
    damaged = torch.tensor([[[1.0, 0.0, 0.0]]])
    right, flat = torch.tensor([[[4.0, -4.0, -4.0]]]), torch.zeros(1, 1, 3)
    good = torch.full((1, 1, 3), -4.0)
    seen = PlaceLogits(right, good, damaged, 1 - damaged)
    # softplus(-4) = 0.01815: three terms of places, and the tops 4 and -3.45 apart
    assert names_it(seen).item() == pytest.approx(3 * 0.01815 + 0.5 * 0.00058, abs=2e-4)
    unseen = PlaceLogits(-right, good, damaged, 1 - damaged)
    assert names_it(unseen) > 50 * names_it(seen)
    assert names_another(seen) > 10 * names_another(PlaceLogits(good, good, damaged, 1 - damaged))
    assert means_no_damage(PlaceLogits(flat, good, damaged, 1 - damaged)).item() == 0
    assert means_no_damage(seen).item() == pytest.approx(32.0)


def test_a_stopped_training_ends_with_the_same_weights(model, inputs, tmp_path, monkeypatch):
    whole = new_heads(model, inputs)
    train_joint_space(whole, inputs, SETTINGS, _made(tmp_path / "a"), save_every=1)
    original = train.step_losses

    def stop_at_two(heads, inputs, settings, step):
        if step == 2:
            raise KeyboardInterrupt
        return original(heads, inputs, settings, step)

    monkeypatch.setattr(train, "step_losses", stop_at_two)
    with pytest.raises(KeyboardInterrupt):
        train_joint_space(new_heads(model, inputs), inputs, SETTINGS, _made(tmp_path / "b"), 1)
    monkeypatch.setattr(train, "step_losses", original)
    resumed = new_heads(model, inputs)
    train_joint_space(resumed, inputs, SETTINGS, tmp_path / "b", save_every=1)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    other = PretrainingSettings(**{**vars(SETTINGS), "seed": 9})
    with pytest.raises(SettingError, match="other settings"):
        train_joint_space(resumed, inputs, other, tmp_path / "b")


def _made(folder):
    folder.mkdir()
    return folder


@torch.inference_mode()
def test_heads_fold_into_the_encoder(model, inputs, pool, tmp_path):
    align, tokenizer = model
    heads = new_heads(model, inputs)
    for parameter in heads.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    heads.fold_into(align)
    encoder = AlignEncoder(align, tokenizer, FeatureSettings(64, TAPS, 4, 4))
    encoder.save(tmp_path / "encoder")
    heads.save_semantic_start(tmp_path / "encoder")
    read = load_encoder(tmp_path / "encoder")
    pixels = torch.from_numpy(pool.images[:3, 1].copy()).permute(0, 3, 1, 2).float() / 127.5 - 1
    features = read.image_features(pixels, with_latent=True)
    patches, head = tower_features(align, pixels, TAPS, 4)
    wanted = heads.last_map(head.movedim(1, -1)).movedim(-1, 1)
    torch.testing.assert_close(features.latent, wanted, rtol=1e-3, atol=1e-3)
    phi = SemanticHead(read.channels, read.joint_width, "max")
    phi.load_state_dict(read.semantic_start)
    torch.testing.assert_close(
        phi(patch_features(features.taps, 4)),
        heads.patches(patches.movedim(1, -1)).movedim(-1, 1), rtol=1e-3, atol=1e-3,
    )
    states = text_states(align, tokenizer, ["a broken screw"])
    torch.testing.assert_close(read.text_embeddings([["a broken screw"]]), heads.text(states),
                               rtol=1e-4, atol=1e-4)
    assert load_encoder(tmp_path / "encoder", FeatureSettings(64, (0, 2), 4, 4)).semantic_start \
        is None


def test_text_states_are_kept_and_never_mixed_up(model, tmp_path):
    align, tokenizer = model
    file = tmp_path / "texts.safetensors"
    first = TextStates(align, tokenizer, file)
    first.prepare(["a screw", "a broken screw with a crack", "tile"])
    again = TextStates(align, tokenizer, file)
    again.prepare(["a nut"])
    for text in ("tile", "a screw", "a nut"):
        torch.testing.assert_close(again([text]), text_states(align, tokenizer, [text]),
                                   rtol=1e-4, atol=1e-5)


def test_a_changed_package_is_refused(tmp_path, monkeypatch):
    wheel = tmp_path / "sources" / "wheels" / "thing-1.0" / "thing.whl"
    wheel.parent.mkdir(parents=True)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("thing/data/a.txt", "one")
        archive.writestr("thing/code.py", "print('never unpacked')")
    right = hashlib.sha256(wheel.read_bytes()).hexdigest()
    wrong = towers.Source("thing==1.0", "0" * 64, "MIT", "nothing", ("thing/data/",))
    kept = wheel.read_bytes()
    with pytest.raises(SettingError, match="cannot be trusted"):
        towers.fetch(wrong, tmp_path)
    wheel.write_bytes(kept)
    folder = towers.fetch(towers.Source("thing==1.0", right, "MIT", "", ("thing/data/",)),
                           tmp_path)
    assert (folder / "thing/data/a.txt").read_text() == "one"
    assert not (folder / "thing/code.py").exists()


def test_probe_measures_what_a_direction_finds(tiny_encoder):
    axis = torch.zeros(4)
    axis[0] = 1.0
    good, bad = torch.zeros(3, 4, 4, 4), torch.zeros(2, 4, 4, 4)
    bad[:, 0, 1, 1:3] = 5.0
    masks = np.zeros((2, 64, 64), bool)
    masks[:, 16:32, 16:48] = True
    views = [Views({"last map": good.half()}, np.zeros((3, 64, 64), bool)),
             Views({"last map": bad.half()}, masks)]
    found = compare(views[0], [views[1]], "last map", axis, 64, with_pixels=True)
    assert found["image"] == 1.0 and found["pixel"] > 0.97
    assert compare(views[0], [views[1]], "last map", -axis, 64, False)["image"] == 0.5
    assert groups_of("gear", {"good": good, "crack": bad}) == {"unseen class": ["crack"]}
    assert groups_of("screw", {"good": 0, "deformation": 0, "stain": 0}) == {
        "unseen defect": ["deformation"], "seen": ["stain"]}
    assert groups_of("screw", {"good": 0, "defective": 0}) == {"photographs": ["defective"]}
    reader = Reader(tiny_encoder)
    size = tiny_encoder.settings.image_size
    images = [Image.new("RGB", (size, size), (v, v, v)) for v in (10, 90)]
    own = {"thing": {"good": reader.views(images, None), "crack": reader.views(images, None)}}
    table = words_by_defect(reader, own, "last map", ["broken", "red"])
    assert list(table.index) == ["broken", "red"] and list(table.columns) == ["crack"]
    assert table.loc["red", "crack"] == 0.5  # the same images on both sides


def test_naming_is_the_share_of_good_images_nearest_to_their_own_name(tiny_encoder):
    texts = tiny_encoder.text_embeddings([[phrase("", name)] for name in ("screw", "hex nut")])
    screw, nut = (text[:, None, None].expand(-1, 2, 2) for text in texts)
    views = {
        name: {"good": Views({"last map": torch.stack(maps).half()}, None)}
        for name, maps in {"screw": [screw, 3 * screw, nut], "hex_nut": [nut, nut]}.items()
    }
    found = naming(Reader(tiny_encoder), views, ["screw", "hex_nut"])
    assert found == {"screw": pytest.approx(2 / 3), "hex_nut": 1.0}
