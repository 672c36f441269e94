"""The ablations: valid rows, shared stages, resuming, and the settings that only they use."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from ltad.cli.main import main
from ltad.config import Config, preset, prompts_of
from ltad.data.datasets import load_folder
from ltad.data.splits import NATURAL_COUNTS
from ltad.evaluation import ablate
from ltad.evaluation.ablate import (
    Source,
    Study,
    measured_branches,
    report_table,
    row_measure,
    run_table,
    trained_detector,
)
from ltad.evaluation.ablations import TABLES, derangement, paper_name, reference, rows_of
from ltad.evaluation.evaluate import detector_measure, settings_of
from ltad.evaluation.results import summarise
from ltad.evaluation.runs import read_run, run_names
from ltad.inference.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ltad.inference.patch_bank import BANK
from ltad.io.tensors import read_tensors, write_tensors
from ltad.models.detector import Detector
from ltad.training import loop
from ltad.training import train as stages
from ltad.training.phases import PARTS, ClassTexts, phase2_losses
from ltad.training.train import train
from ltad.types import GROUPS, TASKS, CheckpointError, DatasetError, PromptError, SettingError

EVERY_ROW = [row for rows in TABLES.values() for row in rows]


@pytest.fixture(scope="module")
def quick_config(tiny_config) -> Config:
    return tiny_config.replace(phase1_epochs=1, phase2_epochs=2)


@pytest.fixture(scope="module")
def study(tiny_encoder, parts_folder, quick_config, tmp_path_factory) -> Study:
    return Study.of(
        load_folder(parts_folder), tiny_encoder, quick_config, tmp_path_factory.mktemp("work"),
        source(parts_folder),
    )


def source(folder) -> Source:
    return Source(folder, "parts", "none", "tiny")


@pytest.fixture
def calls(monkeypatch) -> list[str]:
    """The stages that were trained, in order."""
    made = []

    def counted(name, original):
        def wrapper(*args, **options):
            made.append(options["parts"][0] if "parts" in options else name)
            return original(*args, **options)
        monkeypatch.setattr(stages, name, wrapper)

    for name in ("train_phase1", "train_phase2"):
        counted(name, getattr(stages, name))
    return made


def row(row_id: str):
    return next(r for r in EVERY_ROW if r.id == row_id)


@pytest.mark.parametrize("one", EVERY_ROW, ids=lambda one: one.id)
def test_every_row_is_a_valid_configuration(one):
    for name in ("demo", "paper-mvtec"):
        config = one.config(preset(name))
        assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    for task in TASKS.values():
        for group in GROUPS:
            figure = one.paper(task, group)
            assert figure is None or 50 < figure < 100


def test_the_tables_hold_the_papers_rows():
    assert {name: len(rows) for name, rows in TABLES.items()} == {
        "main": 6, "table6": 8, "table7": 4, "table8": 3, "table9": 16, "figure6": 5,
        "figure8": 48, "changes": 16,
    }
    assert len({r.id for r in EVERY_ROW}) == len(EVERY_ROW)
    assert row("6.4").paper("Det.", "High") == 97.77 and row("8.1").paper("Seg.", "All") == 63.74
    assert row("9.13").paper("Det.", "All") == 65.63 and row("9.13").paper("Det.", "Low") is None
    assert row("main.3").paper("Det.", "All") == 87.36


def test_each_change_alone_is_one_step_from_the_published_method():
    rows, base = rows_of("changes"), preset("demo")
    published = preset("paper-mvtec").model
    first = rows[0].config(base)
    assert (first.model.standardize, first.model.residual, first.model.reference_size,
            first.model.good_units) == (published.standardize, published.residual,
                                        published.reference_size, published.good_units)
    assert rows[8].config(base).model.lam == published.lam
    for row, setting in zip(rows[1:7], ("standardize", "balance_classes", *["residual"] * 4),
                            strict=True):
        assert row.config(base).replace(**{setting: rows[0].changes[setting]}) == first
    assert rows[13].config(base) == base
    assert rows[15].config(base) == base.replace(border_weight=1.0)


@pytest.mark.parametrize("row_id, data, split, figures", [
    ("main.1", "mvtec", "step100", (85.01, 92.91)),  # row 6.2: UniAD on ALIGN's features
    ("main.1", "mvtec", "exp100", (None, None)),  # Table 3 prints it on EfficientNet's
    ("main.3", "mvtec", "exp200", (86.05, 94.18)),
    ("main.2", "visa", "exp100", (79.27, 95.07)),
    ("main.3", "visa", "exp200", (80.21, 95.36)),
    ("main.3", "mvtec", "exp50", (None, None)),
    ("6.8", "mvtec", "exp100", (None, None)),  # an ablation on step100 only
    ("figure8.step100.3", "dagm", "none", (93.97, 97.07)),
    ("figure8.step100.1", "dagm", "none", (None, None)),
    ("figure8.step100-reversed.3", "dagm", "none", (None, None)),
])
def test_brackets_show_the_figures_of_their_data_set_and_split(row_id, data, split, figures):
    found = tuple(row(row_id).paper(task, "All", data, split) for task in ("Det.", "Seg."))
    assert found == figures


def test_published_figures_are_chosen_by_the_classes():
    assert reference(NATURAL_COUNTS["visa"], "exp200") == ("visa", "exp200")
    assert reference(["Class1", "bottle"], "exp200") == ("mvtec", "step100")
    assert paper_name("dagm", "exp50") == "the paper, DAGM 2007 exp50"


def test_the_plain_autoencoder_is_not_told_the_text(tiny_encoder, quick_config):
    noise, made = torch.randn(2, *tiny_encoder.latent_shape), {}
    for kind in ("vae", "plain_autoencoder"):
        detector = Detector(("a", "b"), tiny_encoder, quick_config.replace(synthesis=kind))
        texts = torch.eye(2, tiny_encoder.joint_width)
        same = noise[:1].expand(2, -1, -1, -1)
        made[kind] = detector.synthesizer(same, texts, torch.zeros_like(same)).features
    assert not torch.equal(*made["vae"]) and torch.equal(*made["plain_autoencoder"])


def test_row_ids():
    assert [r.id for r in rows_of("table7", ["7.4", "7.1"])] == ["7.4", "7.1"]
    with pytest.raises(SettingError, match="table9"):
        rows_of("table5")
    with pytest.raises(SettingError, match=r"7\.3"):
        rows_of("table7", ["7.5"])


def test_bad_settings_are_refused(tiny_config):
    with pytest.raises(SettingError, match="real_probability is 1"):
        tiny_config.replace(skip_phase1=True)
    for changes in ({"skip_phase1": True, "real_probability": 1.0},
                    {"real_probability": 1.0, "skip_phase1": True}):
        assert not tiny_config.replace(**changes).training.uses_synthesis
    with pytest.raises(SettingError, match="none of them empty"):
        tiny_config.replace(normal_prompt="a | ")
    with pytest.raises(SettingError, match="'encoder' or 'learned'"):
        tiny_config.replace(text_classifier="svm")
    assert prompts_of("a  normal |a good") == ["a normal", "a good"] and prompts_of("") == [""]


def ablation(table: str, rows: list[str], parts_folder, encoder_folder, work, *more: str):
    """A command line that runs rows on tiny settings."""
    return ["ablate", table, "--data", str(parts_folder), "--encoder", str(encoder_folder),
            "--work", str(work), *more, "--rows", *rows, "--set", "image_size=64",
            "taps=[0,1,2,4]", "grid=7", "semantic_grid=8", "hidden_width=32", "layers=1",
            "heads=4", "decoder_width=32", "phase1_epochs=1", "phase2_epochs=1"]


def test_figure_8_trains_on_each_rows_own_training_set(
    parts_folder, tiny_encoder_folder, tmp_path, capsys
):
    rows = ["figure8.step50.1", "figure8.step50-reversed.1", "figure8.step50-reversed.3"]
    assert main(ablation("figure8", rows, parts_folder, tiny_encoder_folder, tmp_path)) == 0
    runs = [read_run(tmp_path / "runs" / name) for name in sorted(run_names(tmp_path / "runs"))]
    backward, again, forward = (run.about["split"] for run in runs)
    # natural counts 24, 24 and 4; one class of three leads, and 24 // 50 is raised to 1
    assert forward == {"name": "step50", "counts": {"hex_nut": 24, "leather": 1, "screw": 1}}
    assert backward == {
        "name": "step50-reversed", "counts": {"hex_nut": 1, "leather": 1, "screw": 4},
    }
    assert again == backward and "step50-reversed: LTAD" in capsys.readouterr().out


def test_a_table_runs_prints_both_figures_and_resumes(
    parts_folder, tiny_encoder_folder, tmp_path, calls, capsys
):
    command = ablation("table7", ["7.2", "7.4"], parts_folder, tiny_encoder_folder, tmp_path,
                       "--split", "none", "--seeds", "2")
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert calls == ["train_phase1", "semantic", "semantic"] * 2
    made = [read_run(tmp_path / "runs" / name) for name in run_names(tmp_path / "runs")]
    assert len(made) == 4 and {run.about["seed"] for run in made} == {0, 1}
    assert {run.about["group"] for run in made} == {"table7 seed 0", "table7 seed 1"}
    table = summarise([run for run in made if run.about["row"] == "7.4"])
    mean, deviation = (100 * table.loc[0, name] for name in ("Det. Low", "Det. Low ±"))
    assert f"{mean:.2f} ± {deviation:.2f} (72.84)" in printed and "over 2 seeds" in printed
    assert "(81.25)" in printed and "(84.12)" in printed
    second = next(run for run in made if (run.about["row"], run.about["seed"]) == ("7.4", 1))
    assert second.about["stages"] == {"phase1": "reused", "semantic": "trained"}
    assert second.about["config"]["training"]["seed"] == 1 and second.branches == ("semantic",)
    assert second.about["paper"]["Det. All"] == 84.12 and second.images["combined"].isna().all()
    assert second.about["split"]["counts"] == {"hex_nut": 24, "leather": 24, "screw": 4}
    before = calls.copy()
    assert main(command) == 0
    assert calls == before and capsys.readouterr().out.count("finished before") == 4
    assert main([*command, "lam=7"]) == 0  # another run, the same stages
    assert calls == before and len(run_names(tmp_path / "runs")) == 8
    assert main(["ablate", "table7", "--data", "parts", "--seeds", "0"]) == 1
    assert "at least 1" in capsys.readouterr().err


def test_faults_of_the_data_are_told_before_a_table_runs(
    parts_folder, tiny_encoder_folder, tmp_path, capsys
):
    data = shutil.copytree(parts_folder, tmp_path / "data")
    lost = min((data / "screw" / "ground_truth").glob("*/*.png"))
    lost.unlink()
    command = ablation("main", ["main.4"], data, tiny_encoder_folder, tmp_path, "--seeds", "2")
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert printed.count("fault: ") == 1 and "has no mask" in printed
    assert printed.index("fault: ") < printed.index("data-step100: 3 classes") < printed.index(
        "[1/1] main.4"
    )
    assert printed.count("3 classes") == 1  # the counts of every seed are the same
    assert main([*command[:2], "--unchecked", *command[2:]]) == 0
    assert "fault: " not in capsys.readouterr().out


def test_a_stage_is_trained_once_for_all_rows(study, quick_config, calls):
    done = {
        one.id: trained_detector(study, one, one.config(quick_config))[1]
        for one in map(row, ("6.2", "6.4", "6.8", "7.2", "8.1", "8.3", "9.1", "9.2", "main.1",
                             "main.2", "main.3"))
    }
    assert calls.count("train_phase1") == 1
    assert calls.count("reconstruction") == 3  # UniAD, DAS, LTAD
    assert calls.count("semantic") == 3  # mean pooling, LTAD, "a damaged"
    assert set(done["6.2"]) == {"reconstruction"} and set(done["9.2"]) == {"phase1", "semantic"}
    assert set(done["main.3"].values()) == {"reused"}


def test_a_finished_row_is_not_run_again(study, quick_config, tmp_path, monkeypatch):
    rows = [row(row_id) for row_id in ("8.1", "8.3", "9.1", "main.4")]
    runs = run_table(study, rows, quick_config, tmp_path, "mixed")
    assert [run.about["row"] for run in runs] == [r.id for r in rows]
    shuffled, own, same, bank = (run.results["summary"] for run in runs)
    assert own == same != shuffled and bank["All"]["image"]["combined"] is not None
    assert runs[3].about["stages"] == {} and runs[3].about["kind"] == BANK
    assert (runs[3].calibration["combined"] > 0).all()
    monkeypatch.setattr(ablate, "run_row", lambda *_: pytest.fail("a finished row ran again"))
    again = run_table(study, rows, quick_config, tmp_path, "mixed")
    assert [run.results for run in again] == [run.results for run in runs]
    (runs[0].folder / "images.csv").write_text("{")
    with pytest.raises(CheckpointError, match=r"8\.1-seed0"):
        run_table(study, rows, quick_config, tmp_path, "mixed")


def test_rows_are_evaluated_again_without_training(
    parts_folder, tiny_encoder_folder, tmp_path, calls, capsys
):
    rows = ["main.1", "main.3", "main.4"]
    assert main(ablation("main", rows, parts_folder, tiny_encoder_folder, tmp_path)) == 0
    assert main(ablation("table8", ["8.1"], parts_folder, tiny_encoder_folder, tmp_path)) == 0
    before, folder = calls.copy(), tmp_path / "runs"
    for number, run in enumerate(map(read_run, [folder / name for name in run_names(folder)])):
        work = ["--work", str(tmp_path)]
        assert main(["runs", "again", run.name, "--run", f"again {number}", *work]) == 0
        made = read_run(folder / f"again {number}")
        assert made.results == run.results and made.images.equals(run.images)
        assert made.calibration.equals(run.calibration)
        for fact in ("row", "group", "config", "split", "key", "paper"):
            assert made.about[fact] == run.about[fact]
    assert number == 3 and calls == before
    shutil.rmtree(tmp_path / "stages")
    capsys.readouterr()
    found = {read_run(folder / name).about["row"]: name for name in run_names(folder)}
    for row_id, status in (("main.4", 0), ("8.1", 1)):  # a bank learns nothing
        command = ["runs", "again", found[row_id], "--run", f"last {status}"]
        assert main([*command, "--work", str(tmp_path)]) == status
    assert "is no longer in" in capsys.readouterr().err and calls == before


def test_a_row_trained_on_a_list_is_evaluated_again_from_anywhere(
    parts_folder, tiny_encoder_folder, tmp_path, monkeypatch
):
    """Neither the list nor the folder that the command ran in is needed any more."""
    listed = [path.relative_to(parts_folder).as_posix()
              for name in ("hex_nut", "leather", "screw")
              for path in sorted((parts_folder / name / "train" / "good").iterdir())[1:4]]
    path = tmp_path / "own.txt"
    path.write_text("\n".join(listed))
    monkeypatch.chdir(tiny_encoder_folder.parent)
    rows = ["main.3", "main.4"]
    command = ablation("main", rows, parts_folder, tiny_encoder_folder.name, tmp_path / "work")
    assert main([*command, "--list", str(path)]) == 0
    path.unlink()
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "work" / "runs"
    for run in map(read_run, [folder / name for name in run_names(folder)]):
        assert run.about["split"] == {
            "name": "own.txt", "counts": {"hex_nut": 3, "leather": 3, "screw": 3},
            "listed": listed,
        }
        assert main(["runs", "again", run.name, "--work", str(tmp_path / "work")]) == 0
        made = read_run(folder / f"{run.name}-again")
        assert made.results == run.results and made.about["split"] == run.about["split"]


def test_a_row_killed_while_it_is_written_leaves_no_run(
    study, quick_config, tmp_path, monkeypatch
):
    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(np, "save", stop)
        with pytest.raises(KeyboardInterrupt):
            run_table(study, [row("7.4")], quick_config, tmp_path, "table7")
    assert run_names(tmp_path) == []
    run, = run_table(study, [row("7.4")], quick_config, tmp_path, "table7")
    assert run_names(tmp_path) == [run.name] and run.about["stages"]["semantic"] == "reused"


@pytest.mark.parametrize("row_id", ["main.2", "7.4", "main.3"])
def test_only_the_branches_that_are_asked_for_run(study, quick_config, row_id):
    one = row(row_id)
    measure, _ = row_measure(study, one, one.config(quick_config))
    detector, _ = trained_detector(study, one, one.config(quick_config))
    whole = detector_measure(detector, study.encoder, settings_of(detector.config))
    found, expected = (m("leather", study.tests, [9, 10]) for m in (measure, whole))
    for branch in measured_branches(one, one.config(quick_config)):
        assert torch.equal(found.maps[branch], expected.maps[branch])
        assert torch.equal(found.scores[branch], expected.scores[branch])
    assert len(measured_branches(one, one.config(quick_config))) == (3 if row_id == "main.3" else 1)


def test_a_killed_stage_goes_on_where_it_stopped(study, quick_config, tmp_path, monkeypatch):
    config = quick_config.replace(phase2_epochs=3, noise_scale=10.0)
    whole, _ = trained_detector(replace(study, work=tmp_path / "whole"), row("7.4"), config)
    killed = replace(study, work=tmp_path / "killed")
    monkeypatch.setattr(loop, "SECONDS_BETWEEN_STATES", 0.0)

    def stop_at_the_second_step(path, tensors, **about):
        write_tensors(path, tensors, **about)
        if path.name.startswith("semantic") and about["step"] == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(loop, "write_tensors", stop_at_the_second_step)
        with pytest.raises(KeyboardInterrupt):
            trained_detector(killed, row("7.4"), config)
    state, = (tmp_path / "killed" / "stages").glob("semantic-*.state.safetensors")
    again, done = trained_detector(killed, row("7.4"), config)
    assert done == {"phase1": "reused", "semantic": "trained"} and not state.exists()
    expected, found = whole.state_dict(), again.state_dict()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_a_row_that_wants_another_encoder_says_so():
    printed = report_table(rows_of("table6", ["6.1"]), [])
    assert "- (82.63)" in printed and "6.1 was not run" in printed and "--encoder" in printed


def test_rm_and_phi_apart_have_the_weights_of_both_together(
    study, quick_config, tiny_encoder, parts_folder, tmp_path
):
    detector, _ = trained_detector(study, row("main.3"), quick_config)
    train(load_folder(parts_folder), tiny_encoder, quick_config, tmp_path / "model", "encoder",
          features=tmp_path / "features")
    together, _ = read_tensors(tmp_path / "model" / "detector.safetensors")
    apart = detector.state_dict()
    assert len(PARTS) == 2 and any(name.startswith("semantic") for name in apart)
    assert all(torch.equal(together[f"detector.{name}"], apart[name]) for name in apart)


def test_uniad_skips_phase_1(study, quick_config, tiny_encoder, parts_folder, tmp_path):
    config = row("main.1").config(quick_config)
    fresh = Detector(study.class_names, tiny_encoder, config).state_dict()
    checkpoint = train(
        load_folder(parts_folder), tiny_encoder, config, tmp_path / "model", "encoder",
        features=tmp_path / "features",
    )
    moved = {
        name.split(".")[0] for name, value in checkpoint.detector.state_dict().items()
        if not torch.equal(value, fresh[name])
    }
    assert moved == {"reconstruction", "semantic"}


def test_shuffled_names_score_by_another_classs_name(study, quick_config):
    order = derangement(len(study.class_names), quick_config.training.seed)
    assert sorted(order) == [0, 1, 2] and all(i != j for i, j in enumerate(order))
    assert order == derangement(3, 0) and derangement(2, 5) == [1, 0]
    with pytest.raises(SettingError, match="only one"):
        derangement(1, 0)
    detector, _ = trained_detector(study, row("main.3"), quick_config)
    settings = settings_of(quick_config)
    plain, shuffled = (
        detector_measure(detector, study.encoder, settings, used)("hex_nut", study.tests, [0, 1])
        for used in (None, order)
    )
    other = study.class_names[order[study.class_names.index("hex_nut")]]
    named = detector_measure(detector, study.encoder, settings)(other, study.tests, [0, 1])
    assert not torch.equal(plain.maps["semantic"], shuffled.maps["semantic"])
    torch.testing.assert_close(shuffled.maps["semantic"], named.maps["semantic"])
    assert torch.equal(plain.maps["reconstruction"], shuffled.maps["reconstruction"])


def test_several_prompts_give_the_mean_of_their_texts(tiny_encoder, tiny_config):
    detector = Detector(("screw", "leather"), tiny_encoder, tiny_config)
    with torch.no_grad():
        single = [detector.texts(tiny_encoder, words, [0, 1]) for words in ("a normal", "a good")]
        several = detector.texts(tiny_encoder, "a normal | a good", [0, 1])
    torch.testing.assert_close(several, (single[0] + single[1]) / 2)
    assert not torch.allclose(single[0], single[1])


def test_the_page_sees_no_unknown_word_in_the_separator(tiny_scorer):
    assert tiny_scorer.unknown_words("a normal | a good") == []


def test_a_learned_classifier_trains_without_the_text_encoder(
    study, quick_config, tiny_encoder, tmp_path, monkeypatch
):
    config = quick_config.replace(text_classifier="learned", skip_phase1=True, real_probability=1.0)
    detector = Detector(study.class_names, tiny_encoder, config)
    before = {k: v.clone() for k, v in detector.semantic.state_dict().items()}
    texts = ClassTexts.of(detector, tiny_encoder)

    def refuse(*_args, **_options):
        raise AssertionError("the text encoder ran")

    with monkeypatch.context() as patched:
        patched.setattr(tiny_encoder, "text_embeddings", refuse)
        optimizer = torch.optim.AdamW(detector.semantic.parameters(), lr=1e-2)
        losses = []
        for _ in range(20):
            loss = phase2_losses(detector, texts, study.data, 0, ("semantic",))["semantic"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        detector.requires_grad_(False)
        measure = detector_measure(detector, study.encoder, settings_of(detector.config))
        maps = measure("hex_nut", study.tests, [0, 1]).maps["semantic"]
    after = detector.semantic.state_dict()
    assert losses[-1] < losses[0] and torch.isfinite(maps).all()
    assert not torch.equal(before["class_texts"], after["class_texts"])
    t_n, t_a = (detector.texts(tiny_encoder, words, [1]) for words in ("a", "a broken"))
    assert torch.equal(torch.cat([t_n, t_a]), after["class_texts"][1])
    with pytest.raises(PromptError, match="reads no words"):
        detector.texts(tiny_encoder, "a good", [0])


def test_a_learned_classifier_survives_its_model_folder(
    tiny_model_folder, tiny_encoder, quick_config, tmp_path
):
    old = load_checkpoint(tiny_model_folder, tiny_encoder)
    config = quick_config.replace(text_classifier="learned")
    detector = Detector(old.detector.class_names, tiny_encoder, config)
    save_checkpoint(tmp_path, Checkpoint(
        detector, old.recogniser, {}, "encoder", tiny_encoder.fingerprint, {}
    ))
    found = load_checkpoint(tmp_path, tiny_encoder).detector.semantic.class_texts
    assert torch.equal(found, detector.semantic.class_texts)


def test_a_model_folder_without_the_new_settings_loads(tiny_model_folder, tiny_encoder, tmp_path):
    data = json.loads((tiny_model_folder / "model.json").read_text())
    del data["config"]["model"]["text_classifier"], data["config"]["training"]["skip_phase1"]
    (tmp_path / "model.json").write_text(json.dumps(data))
    weights = "detector.safetensors"
    (tmp_path / weights).write_bytes((tiny_model_folder / weights).read_bytes())
    assert load_checkpoint(tmp_path, tiny_encoder).detector.semantic.class_texts is None


def test_a_class_without_training_pictures_is_named(
    tiny_encoder, parts_folder, quick_config, tmp_path
):
    samples = [
        s for s in load_folder(parts_folder) if s.split == "test" or s.class_name != "screw"
    ]
    with pytest.raises(DatasetError, match="screw"):
        Study.of(samples, tiny_encoder, quick_config, tmp_path, source(parts_folder))


def test_help(capsys):
    assert main(["ablate", "--help"]) == 0
    assert "figure6" in capsys.readouterr().out
