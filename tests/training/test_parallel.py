"""Training and evaluation by two processes of torchrun: what one process alone would have found."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from ltad.cli.main import main
from ltad.data.datasets import load_folder
from ltad.inference import feature_store
from ltad.inference.checkpoint import load_checkpoint
from ltad.inference.feature_store import build_store
from ltad.io import processes
from ltad.models.reconstruction import MaskedAttention, neighbour_mask
from ltad.training.parallel import DropoutOfAll, Rows

SETTINGS = (
    "image_size=64", "taps=[0,1,2,4]", "grid=7", "semantic_grid=8", "hidden_width=32", "layers=1",
    "feedforward=64", "dropout=0.1", "neighbour_mask=3", "score_pool=8", "decoder_width=32",
    "phase1_epochs=2", "phase2_epochs=2", "batch_size=15", "reference_size=40",
    "minimum_steps=1", "semantic_start=aligned", "calibration=second_training",
)


def torchrun(work, *arguments: str, processes: int = 2) -> str:
    """Run a command by several processes; returns what they print."""
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone",
         f"--nproc-per-node={processes}", "-m", "--", "ltad", *arguments, "--work", str(work)],
        capture_output=True, text=True, timeout=240, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_two_processes_find_what_one_finds(
    parts_folder, tiny_encoder_folder, tiny_encoder, tmp_path, capsys
):
    common = ("--data", str(parts_folder), "--unchecked")
    training = ("train", *common, "--encoder", str(tiny_encoder_folder), "--set", *SETTINGS)
    assert main([*training, "--out", str(tmp_path / "one"), "--work", str(tmp_path / "w1")]) == 0
    told = torchrun(tmp_path / "w2", *training, "--out", str(tmp_path / "two"))
    assert told.count("Trained on 52 images") == 1  # by the first process alone
    one, two = (load_checkpoint(tmp_path / name, tiny_encoder) for name in ("one", "two"))
    found = two.detector.state_dict()
    for name, expected in one.detector.state_dict().items():
        # A key's bias changes no attention: its gradient is rounding alone, which Adam enlarges.
        # Which residuals the bank keeps may hang on the last digit too.
        if not name.endswith(("key.bias", "score.bank")):
            torch.testing.assert_close(found[name], expected, rtol=1e-2, atol=5e-3, msg=name)
            assert (found[name].float() - expected.float()).abs().mean() < 1e-3, name
    assert not list((tmp_path / "two").glob("*.state.safetensors"))

    evaluation = ("evaluate", "--data", str(parts_folder), "--checkpoint")
    alone, together = tmp_path / "one.json", tmp_path / "two.json"
    assert main([*evaluation, str(tmp_path / "one"), "--json", str(alone),
                 "--work", str(tmp_path / "w3")]) == 0
    # Of the same model: what training in parts changes was compared above.
    torchrun(tmp_path / "w4", *evaluation, str(tmp_path / "one"), "--bank", "--run", "both",
             "--json", str(together))
    expected, found = (json.loads(path.read_text()) for path in (alone, together))
    assert expected["model"] == found["model"]
    assert found.pop("bank")["classes"] and (tmp_path / "w4/runs/both-bank/run.json").exists()
    same(expected, found)
    assert not list((tmp_path / "w4" / "features").glob("*/*-done.json"))


def same(expected, found) -> None:
    """Plain data, its numbers to float order."""
    if isinstance(expected, dict):
        assert expected.keys() == found.keys()
        for key, value in expected.items():
            same(value, found[key])
    elif isinstance(expected, list):
        assert len(expected) == len(found)
        for pair in zip(expected, found, strict=True):
            same(*pair)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-4)
    else:
        assert found == expected


def test_a_command_for_one_process_says_so(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["ablate", "table6", "--data", "parts"]) == 1
    assert "torchrun started 2 processes of 'ablate', which runs as one" in capsys.readouterr().err


def test_dropout_of_a_part_is_the_part_of_a_dropout(monkeypatch):
    """The draws are those of the whole batch, in every process."""
    torch.manual_seed(0)
    attention, drop = MaskedAttention(16, 4, 0.3), nn.Dropout(0.3)
    tokens, mask = torch.randn(5, 9, 16), neighbour_mask(3, 1)

    def run(rows):
        torch.manual_seed(7)
        return drop(functional.relu(attention(*3 * (tokens[rows],), mask)))

    whole = run(slice(None))
    monkeypatch.setattr(processes, "count", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr(processes, "rank", lambda rank=rank: rank)
        rows = Rows.of(5)
        with rows.dropout() as mode:
            assert isinstance(mode, DropoutOfAll)
            torch.testing.assert_close(run(rows.own), whole[rows.own])
    assert not torch.equal(run(slice(0, 2)), whole[:2])  # draws of its own, without the mode


def test_a_batch_smaller_than_the_processes_leaves_the_last_ones_without_weight(monkeypatch):
    monkeypatch.setattr(processes, "count", lambda: 3)
    weights = []
    for rank in range(3):
        monkeypatch.setattr(processes, "rank", lambda rank=rank: rank)
        rows = Rows.of(2)
        assert len(rows.own) == 1
        weights.append(rows.weight)
    assert sorted(weights) == [0, 0.5, 0.5]


def test_a_killed_process_goes_on_with_its_part(tiny_encoder, parts_folder, tmp_path, monkeypatch):
    samples = load_folder(parts_folder)[:12]
    whole = build_store(samples, tiny_encoder, tmp_path / "alone", progress=False)
    monkeypatch.setattr(processes, "count", lambda: 2)
    monkeypatch.setattr(processes, "wait", lambda: None)
    read, left = feature_store._read, iter(range(8))

    def dies(sample):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return read(sample)

    monkeypatch.setattr(processes, "rank", lambda: 1)
    monkeypatch.setattr(feature_store, "_read", dies)
    monkeypatch.setattr(feature_store, "DECODERS", 1)
    monkeypatch.setattr(feature_store, "AHEAD", 0)
    with pytest.raises(KeyboardInterrupt):
        for _ in range(2):  # the part of six images, then four more
            build_store(samples, tiny_encoder, tmp_path / "two", 2, progress=False)
    monkeypatch.setattr(feature_store, "_read", read)
    monkeypatch.setattr(processes, "rank", lambda: 0)
    store = build_store(samples, tiny_encoder, tmp_path / "two", progress=False)
    np.testing.assert_allclose(store.patches, whole.patches, rtol=2e-3, atol=1e-3)
