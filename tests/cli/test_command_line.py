"""The command line from end to end on the tiny model."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import typer
from PIL import Image

from ltad.cli.main import app, main
from ltad.cli.models import configured
from ltad.config import Config, preset
from ltad.evaluation.runs import read_run, run_names
from ltad.synthetic.render import render_part
from ltad.types import SettingError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LTAD_CACHE", str(tmp_path / "cache"))


def test_evaluate_prints_and_writes_the_table(
    tiny_model_folder, tiny_scorer, parts_folder, tmp_path, capsys
):
    report = tmp_path / "report.json"
    assert main(["evaluate", "--checkpoint", str(tiny_model_folder), "--data", str(parts_folder),
                 "--bank", "--work", str(tmp_path), "--json", str(report), "--run", "one"]) == 0
    printed = capsys.readouterr().out
    assert "hex_nut" in printed and "Nearest-neighbour bank" in printed
    data = json.loads(report.read_text())
    assert {row["class_name"] for row in data["classes"]} == {"hex_nut", "leather", "screw"}
    assert set(data["summary"]) == {"All", "High", "Low"}
    assert data["groups"]["High"] and "screw" in data["groups"]["Low"]
    assert data["bank"]["classes"] and data["settings"]["lam"] == 5.0
    good = sorted(parts_folder.glob("*/test/good/*"))
    known = [tiny_scorer.recognise(path).is_known for path in good]
    assert data["known"]["good"] == pytest.approx(np.mean(known))
    assert f"{100 * np.mean(known):.1f}% of the good" in printed
    assert set(run_names(tmp_path / "runs")) == {"one", "one-bank"}
    run = read_run(tmp_path / "runs" / "one")
    assert run.results["summary"] == data["summary"] and run.about["data"]["name"]


def test_runs_are_listed_shown_compared_repeated_reported_and_deleted(
    tiny_model_folder, parts_folder, tmp_path, capsys
):
    work = ["--work", str(tmp_path)]
    assert main(["runs", "list", *work]) == 0 and "No runs in" in capsys.readouterr().out
    evaluate = ["evaluate", "--checkpoint", str(tiny_model_folder), "--data", str(parts_folder),
                "--lam", "7", "--abnormal-prompt", "a dirty", *work, "--run"]
    assert main([*evaluate, "one"]) == 0
    assert main([*evaluate, "one"]) == 1 and main([*evaluate, "../one"]) == 1
    assert "already" in (error := capsys.readouterr().err) and "cannot be a run's name" in error
    assert main(["runs", "again", "one", *work, "--run", "two"]) == 0
    one, two = (read_run(tmp_path / "runs" / name) for name in ("one", "two"))
    assert two.about["settings"] == one.about["settings"]
    assert two.about["settings"]["lam"] == 7 and two.results == one.results
    assert main(["runs", "list", *work]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[-2:]] == ["two", "one"]
    assert main(["runs", "show", "one", *work]) == 0
    assert "a dirty" in (shown := capsys.readouterr().out) and "hex_nut" in shown
    assert main(["runs", "compare", "one", str(two.folder), *work]) == 0
    assert "+0.0" in capsys.readouterr().out
    page = tmp_path / "report.html"
    assert main(["report", "one", "two", "--out", str(page), *work]) == 0
    assert "a dirty" in page.read_text()
    (tmp_path / "runs" / "two" / "images.csv").unlink()
    assert main(["runs", "show", "two", *work]) == 1
    assert "Delete it" in capsys.readouterr().err  # which `runs delete` must then be able to
    assert main(["runs", "delete", "one", "two", *work]) == 0
    assert run_names(tmp_path / "runs") == []
    assert main(["runs", "show", "one", *work]) == 1
    assert "There is no run 'one'" in capsys.readouterr().err


def test_score_prints_json(tiny_model_folder, tmp_path, capsys):
    path = tmp_path / "part.png"
    Image.fromarray(render_part("leather", 5, 96, "scratch").image).save(path)
    assert main(["score", str(path), "--checkpoint", str(tiny_model_folder), "--json"]) == 0
    row, = json.loads(capsys.readouterr().out)
    assert row["image"] == str(path) and row["is_anomalous"] == (row["score"] > row["threshold"])
    assert row["verdict"] == ("anomalous" if row["is_anomalous"] else "normal")


def test_score_writes_parquet_and_goes_on(tiny_model_folder, parts_folder, tmp_path, capsys):
    out, good = tmp_path / "scores", parts_folder / "leather" / "test" / "good"
    score = ["score", "--out", str(out), "--checkpoint", str(tiny_model_folder)]
    assert main([*score, str(good), "--shard-size", "3"]) == 0
    images = len(list(good.glob("*.png")))
    told = capsys.readouterr().out
    assert told.startswith(f"{images} images: ") and f"{images} of them scored here" in told
    (out / "part-00000.parquet").unlink()
    assert main(score) == 0
    assert "3 of them scored here" in capsys.readouterr().out
    assert main([*score, str(good), "--lam", "7"]) == 1
    assert "was planned otherwise: the lam was" in capsys.readouterr().err
    assert main([*score, "--name", "hinge"]) == 1
    assert "do not go with --out" in capsys.readouterr().err
    assert main(["score", str(good), "--shard-size", "3"]) == 1
    assert "go with --out DIR" in capsys.readouterr().err


def test_score_does_not_judge_a_part_that_it_does_not_know(tiny_model_folder, tmp_path, capsys):
    path = tmp_path / "noise.png"
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    Image.fromarray(noise).save(path)
    score = ["score", str(path), "--checkpoint", str(tiny_model_folder)]
    assert main(score) == 0
    line = capsys.readouterr().out
    assert line.startswith("NOT JUDGED") and "none of the parts this model knows" in line
    assert main([*score, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["verdict"] == "not judged"
    assert main([*score, "--class-name", "screw"]) == 0
    assert "NOT JUDGED" not in capsys.readouterr().out


def test_tokens_lists_every_vector_and_the_baseline(tiny_model_folder, capsys):
    assert main(["tokens", "--checkpoint", str(tiny_model_folder), "--k", "3"]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 8 and lines[-2].startswith("random vectors")
    assert lines[-1].startswith("own vectors are the n-th nearest to a class's name, of 3: ")


def test_errors_are_one_line_and_exit_status_1(tmp_path, capsys):
    assert main(["evaluate", "--checkpoint", str(tmp_path), "--data", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "model folder" in error and "Traceback" not in error


@pytest.mark.parametrize(
    "command",
    ["train", "evaluate", "score", "tokens", "parts", "pretrain", "probe", "check", "splits",
     "report"],
)
def test_help_of_every_command(command, capsys):
    assert main([command, "--help"]) == 0
    assert "default" in (told := capsys.readouterr().out) and "\x1b" not in told


def test_an_option_takes_all_the_values_after_it():
    options = parsed("ablate", "table7", "--rows", "7.1", "7.2", "--data", "parts", "--set",
                     "lam=4", "tau=1", "--seeds", "3", "--device=cuda")
    assert options["row_ids"] == ["7.1", "7.2"] and options["changes"] == ["lam=4", "tau=1"]
    assert (options["table"], options["seeds"], options["device"]) == ("table7", 3, "cuda")
    again = parsed("ablate", "--set", "lam=4", "--data", "parts", "--set=tau=1", "--", "table7")
    assert again["changes"] == ["lam=4", "tau=1"] and again["table"] == "table7"
    assert not parsed("train", "--data", "a", "--out", "b", "--set")["changes"]


def test_the_beginning_of_an_option_is_enough_and_numbers_may_be_negative():
    options = parsed("score", "a.png", "--class", "screw", "b.png", "--lam", "-1", "--false=0.1")
    assert options["class_name"] == "screw" and len(options["images"]) == 2
    assert options["lam"] == -1 and options["false_alarm_rate"] == 0.1


def parsed(name, *words):
    """What a command would be called with."""
    return typer.main.get_command(app).commands[name].make_context(name, list(words)).params


@pytest.mark.parametrize(("words", "told"), [
    ([], "Missing command"), (["nonsense"], "No such command 'nonsense'"),
    (["train", "--data", "parts"], "Missing option '--out'"),
    (["train", "--out", "--data", "parts"], "'--out' requires a value"),
    (["ablate", "table7", "--data", "parts", "--rows", "--set"], "'--rows' requires a value"),
    (["train", "--data", "parts", "--out", "a", "--preset", "no"], "'paper-mvtec', 'paper-visa'"),
    (["train", "--data", "parts", "--out", "a", "--seed", "x"], "--seed"),
    (["ablate", "table5", "--data", "parts"], "'table6'"), (["runs", "show"], "RUN"),
    (["score"], "IMAGE"), (["score", "a.png", "--bogus"], "No such option: --bogus"),
    (["score", "a.png", "--re"], "'--reference' requires a value"),
    (["train", "--s"], "No such option"),
])
def test_a_call_that_is_not_understood_ends_with_2_and_says_why(words, told, capsys):
    assert main(words) == 2
    error = capsys.readouterr().err
    assert told in error and error.startswith("Usage: python -m ltad") and "Traceback" not in error


def test_an_interrupted_command_says_that_it_can_go_on(tmp_path):
    command = subprocess.Popen(
        [sys.executable, "-m", "ltad", "parts", str(tmp_path / "parts"), "--per-class", "5000"],
        stderr=subprocess.PIPE,
        # A shell starts what runs behind it with the signal ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not any(tmp_path.rglob("*.png")):
        assert command.poll() is None
        time.sleep(0.1)
    command.send_signal(signal.SIGINT)
    assert b"goes on from here" in command.stderr.read() and command.wait() == 130


def test_settings_on_the_command_line_are_validated():
    changed = configured(preset("paper-mvtec"), ["lam=300", "taps=[1,2]", "layer_pooling=mean"])
    assert changed.model.lam == 300 and changed.features.taps == (1, 2)
    assert Config.from_dict(json.loads(json.dumps(changed.to_dict()))) == changed
    with pytest.raises(SettingError, match="NAME=VALUE"):
        configured(preset("demo"), ["lam"])
    with pytest.raises(SettingError, match="lambda"):
        configured(preset("demo"), ["lambda=3"])
    with pytest.raises(SettingError, match="'max', 'mean'"):
        configured(preset("demo"), ["layer_pooling=median"])


@pytest.mark.parametrize(("change", "kind"), [
    ("lam=abc", "a number"), ("lam=true", "a number"), ("tau=NaN", "a number"),
    ("phase2_epochs=2.5", "a whole number"), ("batch_size=Infinity", "a whole number"),
    ("learn_names=yes", "true or false"), ("taps=3", "whole numbers"), ('taps=["a"]', "whole"),
])
def test_a_setting_of_the_wrong_kind_is_named_with_its_value(change, kind):
    with pytest.raises(SettingError, match=f"{change.split('=')[0]} is .*{kind}"):
        configured(preset("demo"), [change])


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there_is_named(device, tiny_model_folder, parts_folder, capsys):
    evaluate = ["evaluate", "--checkpoint", str(tiny_model_folder), "--data", str(parts_folder)]
    assert main([*evaluate, "--device", device]) == 1
    error = capsys.readouterr().err
    assert f"error: The device is '{device}'" in error and "Use cpu" in error


def test_the_rendered_parts_take_no_list(tmp_path, capsys):
    train = ["train", "--data", "parts", "--list", "list.txt", "--work", str(tmp_path)]
    assert main([*train, "--out", str(tmp_path / "model")]) == 1
    assert "--list is list.txt" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_words_on_the_command_line_stay_words():
    assert configured(preset("demo"), ["normal_prompt=1"]).model.normal_prompt == "1"
    assert configured(preset("demo"), ['normal_prompt="a"']).model.normal_prompt == "a"


def test_a_reader_that_has_seen_enough_ends_the_command_quietly():
    command = subprocess.Popen(
        [sys.executable, "-m", "ltad", "splits"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    command.stdout.close()
    assert command.stderr.read() == b"" and command.wait() == 1
