"""Both phases: what moves and what does not, resuming after a kill, and clear refusals."""

import copy
import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from ltad.cli.main import main
from ltad.config import preset
from ltad.data.datasets import load_folder
from ltad.evaluation.record import evaluate_model
from ltad.inference.checkpoint import load_checkpoint
from ltad.inference.feature_store import FeatureStore, build_store
from ltad.inference.scorer import Scorer
from ltad.io.tensors import read_tensors
from ltad.models.detector import Detector
from ltad.models.semantic import SemanticHead
from ltad.models.synthesis import Synthesis
from ltad.prompts.variants import variant
from ltad.training import loop
from ltad.training.phases import (
    ClassTexts,
    TrainingData,
    align,
    feature_jitter,
    kl_loss,
    normal_features,
    phase1_losses,
    phase2_losses,
    real_probability,
    semantic_loss,
)
from ltad.training.train import train
from ltad.types import DatasetError, SettingError


@pytest.fixture(scope="module")
def training(tiny_encoder, tiny_config, parts_folder, tmp_path_factory):
    samples = [s for s in load_folder(parts_folder) if s.split == "train"]
    store = build_store(samples, tiny_encoder, tmp_path_factory.mktemp("features"))
    names = sorted({s.class_name for s in samples})
    detector = Detector(names, tiny_encoder, tiny_config)
    data = TrainingData.of(store, range(len(store)), names, tiny_encoder.device)
    return detector, data


def frozen_copy(module: torch.nn.Module) -> dict:
    return {k: v.clone() for k, v in module.state_dict().items()}


def moved(module: torch.nn.Module, before: dict) -> set[str]:
    return {k for k, v in module.state_dict().items() if not torch.equal(v, before[k])}


def step(losses: dict, parameters) -> None:
    optimizer = torch.optim.AdamW(parameters, lr=1e-3)
    sum(losses.values()).backward()
    optimizer.step()


def test_a_phase_1_step_moves_names_and_synthesis_only(training, tiny_encoder):
    detector, data = training
    encoder_before, before = frozen_copy(tiny_encoder.model), frozen_copy(detector)
    step(phase1_losses(detector, tiny_encoder, data, 0), detector.parameters())
    changed = moved(detector, before)
    assert "names.vectors" in changed
    assert {name.split(".")[0] for name in changed} == {"names", "synthesizer"}
    assert not moved(tiny_encoder.model, encoder_before)


def test_a_phase_2_step_moves_rm_and_phi_only(training, tiny_encoder):
    detector, data = training
    detector.zero_grad()
    encoder_before, before = frozen_copy(tiny_encoder.model), frozen_copy(detector)
    texts = ClassTexts.of(detector, tiny_encoder)
    step(phase2_losses(detector, texts, data, 0), detector.parameters())
    changed = moved(detector, before)
    assert {name.split(".")[0] for name in changed} == {"reconstruction", "semantic"}
    assert not moved(tiny_encoder.model, encoder_before)


def test_kl_is_zero_for_a_standard_normal_and_matches_the_formula():
    zeros = torch.zeros(1, 4, 2, 2)
    assert kl_loss(Synthesis(zeros, zeros, zeros)).item() == 0
    mean, variance = torch.full_like(zeros, 0.5), torch.full_like(zeros, 2.0)
    expected = 4 * 0.5 * (0.25 + 2.0 - 1.0 - torch.log(torch.tensor(2.0)))
    assert kl_loss(Synthesis(zeros, mean, variance.log())).item() == pytest.approx(expected.item())


def test_feature_jitter_has_the_stated_size():
    patches = torch.randn(4, 100, 14, 14)
    noise = feature_jitter(patches, 20.0, torch.Generator().manual_seed(0)) - patches
    expected = patches.norm(dim=1) / 100 * 20
    torch.testing.assert_close(noise.std(dim=1).mean(), expected.mean(), rtol=0.02, atol=0)


@pytest.mark.parametrize(("p_real", "share_real"), [(1.0, 1.0), (0.0, 0.0)])
def test_p_c_is_the_chance_of_real_features(
    tiny_encoder, tiny_config, training, p_real, share_real
):
    data = training[1]
    config = tiny_config.replace(real_probability=p_real)
    detector = Detector(training[0].class_names, tiny_encoder, config)
    chosen = np.arange(len(data))
    texts = ClassTexts.of(detector, tiny_encoder)
    found = normal_features(detector, texts, data, chosen, step=0)
    is_real = (found == data.patches(chosen)).flatten(1).all(dim=1)
    assert is_real.float().mean() == share_real


def test_the_semantic_loss_is_the_cross_entropy_of_both_kinds(training, tiny_encoder):
    """Equation (8), written out: p^n is normal, p^a is not."""
    detector, data = training
    chosen = np.arange(4)
    classes, normal = data.classes[chosen], data.patches(chosen)
    abnormal = normal + torch.randn(normal.shape, generator=torch.Generator().manual_seed(0))
    texts, tau = ClassTexts.of(detector, tiny_encoder), detector.config.model.tau
    expected = 0.0
    with torch.no_grad():
        for features, index in ((normal, 0), (abnormal, 1)):
            projected = detector.semantic(features)
            logits = torch.stack([
                torch.einsum("bdhw,bd->bhw", projected, t[classes]) / tau
                for t in (texts.normal, texts.abnormal)
            ], dim=1)
            expected -= 0.5 * logits.log_softmax(dim=1)[:, index].mean()
        found = semantic_loss(detector, texts, classes, normal, abnormal)
    torch.testing.assert_close(found, expected)


def test_aligned_start_finds_a_linear_joint_space():
    rng = np.random.default_rng(0)
    patches = rng.normal(size=(6, 5, 7, 7)).astype(np.float16)
    weight = rng.normal(size=(4, 5))
    latents = np.einsum("dc,nchw->ndhw", weight, patches.astype(np.float32)).astype(np.float32)
    store = FeatureStore((), patches, patches, latents)
    data = TrainingData(store, np.arange(6), torch.zeros(6).long(), (6,), torch.device("cpu"))
    head = SemanticHead((2, 3), 4, "none")
    align(head, data)
    found = head.maps[0].weight.detach().numpy()
    np.testing.assert_allclose(found, weight, atol=0.1)  # the ridge shrinks a little
    with pytest.raises(ValueError, match="joint space 9"):
        align(SemanticHead((5,), 9, "max"), data)


def test_distribution_aware_sampling_follows_the_counts():
    assert real_probability((100, 1), 0.5, False).tolist() == [0.5, 0.5]
    torch.testing.assert_close(real_probability((100, 1), 0.5, True), torch.tensor([0.5, 0.005]))


@pytest.fixture(scope="module")
def trained_on_all(tiny_encoder, tiny_config, parts_folder, tmp_path_factory):
    """Settings without phase 1, so that phase 2 alone decides the weights; and three trainings:
    with images held out, with none, and with a second training for the thresholds."""
    base = tiny_config.replace(skip_phase1=True, real_probability=1.0, phase2_epochs=2)
    samples, features = load_folder(parts_folder), tmp_path_factory.mktemp("features")
    changes = {"held out": {}, "none held out": {"validation_fraction": 0.0},
               "second": {"calibration": "second_training"}}
    return {
        name: (folder := tmp_path_factory.mktemp("model"),
               train(samples, tiny_encoder, base.replace(**change), folder, "e", features))
        for name, change in changes.items()
    }


def weights(detector: Detector) -> dict:
    return {**detector.reconstruction.state_dict(), **detector.semantic.state_dict()}


def equal(a: dict, b: dict) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a | b)


def test_with_a_second_training_the_detector_learns_from_every_picture(trained_on_all):
    folder, model = trained_on_all["second"]
    held_out, everything = (trained_on_all[name][1] for name in ("held out", "none held out"))
    assert model.about["training_pictures"] == {"hex_nut": 24, "leather": 24, "screw": 4}
    assert held_out.about["training_pictures"] == {"hex_nut": 21, "leather": 21, "screw": 4}
    assert equal(weights(model.detector), weights(everything.detector))
    assert equal(weights(model.second), weights(held_out.detector))
    assert not equal(weights(model.detector), weights(model.second))
    assert model.second.names is model.detector.names
    assert model.about["held_out_pictures"] == {"hex_nut": 0, "leather": 0, "screw": 0}
    assert model.about["calibration_pictures"] == {"hex_nut": 3, "leather": 3, "screw": 0}
    assert not list(folder.glob("*.state.safetensors"))


def test_thresholds_come_from_the_second_training(trained_on_all, tiny_encoder):
    folder, model = trained_on_all["second"]
    scorer = Scorer(tiny_encoder, load_checkpoint(folder, tiny_encoder), None)
    held_out = Scorer(tiny_encoder, trained_on_all["held out"][1], None)
    settings = scorer.score_settings()
    found = scorer.calibration.limits("leather", settings, 0.25)
    assert found == held_out.calibration.limits("leather", settings, 0.25)
    unseen, seen = (one.measure(model.calibration["leather"], "leather", settings)
                    .scores["combined"].max().item() for one in (held_out, scorer))
    assert found.thresholds["combined"] == pytest.approx(unseen, rel=1e-6)
    assert unseen != pytest.approx(seen, rel=1e-6)


def test_an_evaluation_keeps_the_second_training_scores(
    trained_on_all, tiny_encoder, parts_folder, tmp_path
):
    found, expected = (
        evaluate_model(Scorer(tiny_encoder, trained_on_all[name][1], None),
                       load_folder(parts_folder), parts_folder, tmp_path, progress=False)
        for name in ("second", "held out")
    )
    assert found.calibration.equals(expected.calibration) and len(found.calibration) == 6
    pairs = zip(found.evaluation.scores["combined"], expected.evaluation.scores["combined"],
                strict=True)
    assert all(ours != theirs for ours, theirs in pairs)


def test_a_variant_keeps_the_second_training_apart(trained_on_all, tiny_encoder):
    scorer = Scorer(tiny_encoder, trained_on_all["second"][1], None)
    own = scorer.checkpoint.second
    renamed = variant(scorer, names=copy.deepcopy(scorer.detector.names)).checkpoint.second
    assert renamed.names is not own.names
    assert renamed.semantic is own.semantic and renamed.reconstruction is own.reconstruction
    phi = copy.deepcopy(scorer.detector.semantic)
    refitted = variant(scorer, semantic=phi).checkpoint.second
    assert refitted.semantic is phi and refitted.reconstruction is own.reconstruction


def test_recognition_learns_from_all_and_takes_its_limit_from_unseen_pictures(trained_on_all):
    both, held_out, everything = (
        trained_on_all[name][1].recogniser for name in ("second", "held out", "none held out")
    )
    assert both.counts == everything.counts == (24, 24, 4)
    assert torch.equal(both.means, everything.means)
    assert (both.limit, both.temperature) == (held_out.limit, held_out.temperature)


def test_the_encoder_runs_once_per_picture(tiny_encoder, parts_folder, tmp_path, monkeypatch):
    samples = [s for s in load_folder(parts_folder) if s.class_name == "screw"]
    first = build_store(samples, tiny_encoder, tmp_path)

    def refuse(*_args, **_kwargs):
        raise AssertionError("the encoder ran again")

    monkeypatch.setattr(tiny_encoder, "image_features", refuse)
    again = build_store(samples, tiny_encoder, tmp_path)
    assert (first.patches[:] == again.patches[:]).all() and first.patches.dtype == "float16"


SCRIPT = """
import sys, torch
torch.set_num_threads(1)
from ltad.training import loop
loop.SECONDS_BETWEEN_STATES = 0.0
from ltad.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def arguments(parts_folder: Path, encoder: Path, out: Path, work: Path) -> list[str]:
    settings = ["image_size=64", "taps=[0,1,2,4]", "grid=7", "semantic_grid=8", "hidden_width=32",
                "layers=1", "heads=4", "decoder_width=32", "batch_size=16", "phase1_epochs=4",
                "phase2_epochs=12", "dropout=0.1"]
    return ["train", "--data", str(parts_folder), "--encoder", str(encoder), "--out", str(out),
            "--work", str(work), "--set", *settings]


def test_a_killed_training_ends_with_the_same_weights(
    parts_folder, tiny_encoder_folder, tmp_path
):
    whole, killed, work = tmp_path / "whole", tmp_path / "killed", tmp_path / "work"
    command = [sys.executable, "-c", SCRIPT]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    assert main(arguments(parts_folder, tiny_encoder_folder, whole, work)) == 0
    kills = 0
    for number in (1, 2):
        process = subprocess.Popen(
            [*command, *arguments(parts_folder, tiny_encoder_folder, killed, work)],
            env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        state = killed / f"phase{number}.state.safetensors"
        while process.poll() is None and not state.exists():
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    assert kills == 2
    assert main(arguments(parts_folder, tiny_encoder_folder, killed, work)) == 0
    expected, _ = read_tensors(whole / "detector.safetensors")
    found, _ = read_tensors(killed / "detector.safetensors")
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert not list(killed.glob("*.state.safetensors"))


def test_other_settings_refuse_a_half_finished_training(
    tiny_encoder, tiny_config, parts_folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(loop, "SECONDS_BETWEEN_STATES", 0.0)
    samples = load_folder(parts_folder)
    calls = []

    def stop_later(*_):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    folders = (tmp_path / "out", "encoder", tmp_path / "features")
    with pytest.raises(KeyboardInterrupt):
        train(samples, tiny_encoder, tiny_config, *folders, report=stop_later)
    with pytest.raises(SettingError, match="other settings"):
        train(samples, tiny_encoder, tiny_config.replace(learning_rate=1e-5), *folders)


def test_an_unreadable_picture_is_named(tiny_encoder, tiny_config, parts_folder, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(parts_folder, data)
    broken = data / "screw" / "train" / "good" / "002.png"
    broken.write_bytes(broken.read_bytes()[:200])
    with pytest.raises(DatasetError, match=r"002\.png"):
        train(load_folder(data), tiny_encoder, tiny_config, tmp_path / "out", "e", tmp_path / "f")


def test_a_full_disk_is_explained(tiny_encoder, parts_folder, tmp_path, monkeypatch):
    def full(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DatasetError, match="disk is full"):
        build_store(load_folder(parts_folder), tiny_encoder, tmp_path)


def test_presets_carry_the_papers_numbers():
    mvtec = preset("paper-mvtec")
    assert (mvtec.features.image_size, mvtec.features.taps) == (224, (3, 10, 17, 37))
    assert (mvtec.model.normal_prompt, mvtec.model.abnormal_prompt) == ("a", "a broken")
    assert (mvtec.model.lam, mvtec.model.tau, mvtec.model.name_length) == (500, 1, 2)
    training = mvtec.training
    assert (training.phase1_epochs, training.phase2_epochs) == (100, 500)
    assert (training.learning_rate, training.real_probability) == (1e-4, 0.5)
    assert (preset("paper-visa").model.lam, preset("paper-dagm").model.lam) == (400, 300)
    assert all(preset(f"paper-{data}").training.calibration == "second_training"
               for data in ("mvtec", "visa", "dagm"))
    assert preset("demo").training.calibration == "held_out"
    with pytest.raises(SettingError, match="paper-mvtec"):
        preset("papre")
