"""The Results tab without a browser: reading runs, their table, and the handlers."""

from __future__ import annotations

import io
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_runs import write_small_run

from ltad.app import results_table, results_view
from ltad.app.html import number
from ltad.app.sources import open_source
from ltad.evaluation.metrics import image_auroc
from ltad.evaluation.record import NOT_HERE, ship_run
from ltad.evaluation.results import printed_results
from ltad.evaluation.run_store import RunReader
from ltad.evaluation.runs import read_run, run_names
from ltad.types import CheckpointError, SettingError
from ltad.workspace import Workspace


@pytest.fixture(scope="module")
def runs_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workspace") / "runs"
    write_small_run(folder, "first", seed=1)
    write_small_run(folder, "second", seed=2, shift=1.0)
    write_small_run(folder, "bank", seed=3, branches=("reconstruction",), held_out=0)
    return folder


@pytest.fixture(scope="module")
def reader(runs_folder: Path) -> RunReader:
    return RunReader(runs_folder)


# --- reading --------------------------------------------------------------------------------------


def test_runs_are_read_once_until_they_change(runs_folder: Path, tmp_path: Path):
    few = RunReader(runs_folder, keep=1)
    assert few.run("first") is few.run("first")
    before = few.run("first")
    few.run("second")
    assert few.run("first") is not before


def test_only_names_of_the_list_are_opened(reader: RunReader, runs_folder: Path):
    for name in ("../small", "nothing", "", str(runs_folder / "first")):
        with pytest.raises(SettingError, match="There is no run"):
            reader.run(name)
        with pytest.raises(SettingError):
            reader.delete(name)


def test_damaged_run_is_named_without_its_path(tmp_path: Path):
    folder = tmp_path / "runs"
    write_small_run(folder, "torn")
    (folder / "torn" / "images.csv").unlink()
    with pytest.raises(CheckpointError, match="torn") as raised:
        RunReader(folder).run("torn")
    assert str(tmp_path) not in str(raised.value)


# --- the table ------------------------------------------------------------------------------------


def test_table_holds_the_runs_figures_in_percent(reader: RunReader):
    run = reader.run("first")
    table = results_table.results_table([run], ["branches", "interval"])
    scores = run.images[run.images["class_name"] == "screw"]
    expected = 100 * image_auroc(scores["is_defective"], scores["semantic"])
    assert table.loc[("class", "screw"), ("first", "image semantic")] == pytest.approx(expected)
    names = [name for _, name in table.index]
    assert names == ["hex_nut", "leather", "screw", "All", "High", "Low"]
    classes = table.loc["class", ("first", "image combined")]
    assert table.loc[("mean", "All"), ("first", "image combined")] == pytest.approx(classes.mean())
    for metric in ("image", "pixel"):
        ends = [("first", f"{metric} {end}") for end in ("low", "high")]
        low, high = table.loc[("mean", "All"), ends]
        assert low < classes.mean() < high


def test_a_run_older_than_the_pixels_intervals_is_shown_without_them(reader: RunReader):
    run = reader.run("first")
    older = {**run.results, "classes": [dict(entry) for entry in run.results["classes"]]}
    del older["pixel_intervals"]
    for entry in older["classes"]:
        del entry["pixel_interval"]
    old = replace(run, results=older)
    table = results_table.results_table([old], ["interval"])
    assert ("first", "image low") in table and ("first", "pixel low") not in table
    assert results_view.table_html(table, [old]).count("95% interval") == 1
    last = printed_results(old.results, old.branches).splitlines()[-1].split()
    assert last[-4:-2] != ["n/a", "n/a"] and last[-1] == "n/a"


def test_differences_to_a_run_and_to_the_paper(reader: RunReader):
    first, second = reader.all(["first", "second"])
    table = results_table.results_table([first], [], results_table.run_baseline(second))
    mine, theirs = first.value("leather"), second.value("leather")
    difference = table.loc[("class", "leather"), ("first", "image difference")]
    assert difference == pytest.approx(100 * (mine - theirs))
    paper = results_table.paper_baseline(3, "LTAD, exp100")
    table = results_table.results_table([first], [], paper)
    assert table.loc[("mean", "All"), ("first", "image difference")] == pytest.approx(
        100 * first.value("All") - 88.86
    )
    assert np.isnan(table.loc[("class", "leather"), ("first", "image difference")])
    assert "Table 3" in results_view.table_html(table, [first], paper)


@pytest.mark.parametrize(("number", "entry", "group", "image", "pixel"), [
    (3, "UniAD, step100", "All", 83.37, 91.47),
    (6, "6.8", "Low", None, None),
    (9, "a | a broken", "All", None, None),
])
def test_every_table_of_the_paper_can_be_compared_to(number, entry, group, image, pixel):
    full = next(e for e in results_table.paper_entries(number) if e.startswith(entry))
    frame = results_table.paper_baseline(number, full).frame
    paper = results_table.published(number)
    if image is None:
        row, column = entry.split(" | ") if number == 9 else (entry, "")
        image, pixel = (
            paper.value(row, f"{column} {task}" if column else f"{task} {group}")
            for task in ("Det.", "Seg.")
        )
    assert frame.loc[("mean", group), "image combined"] == image
    assert frame.loc[("mean", group), "pixel combined"] == pixel


def test_every_entry_offered_has_a_figure():
    for table in results_table.PAPER_TABLES:
        for entry in results_table.paper_entries(table):
            frame = results_table.paper_baseline(table, entry).frame
            assert frame.notna().to_numpy().any() or "Cut & Paste" in entry or "RegAD" in entry
    with pytest.raises(SettingError, match="not in Table 6"):
        results_table.paper_baseline(6, "9.9")


def test_csv_reads_back_and_starts_no_formula(reader: RunReader):
    table = results_table.results_table(reader.all(["first", "bank"]), ["branches"])
    back = pd.read_csv(io.StringIO(results_table.table_csv(table)))
    expected = table["first", "image combined"].to_numpy()
    assert back["first: image combined"].to_numpy() == pytest.approx(expected, abs=1e-4)
    table = table.rename(index={"screw": "=1+1"})
    assert "'=1+1" in results_table.table_csv(table)


def test_html_sorts_by_exact_values_and_marks_the_best(reader: RunReader):
    runs = reader.all(["first", "second"])
    table = results_table.results_table(runs, ["interval"])
    html = results_view.table_html(table, runs)
    for run in runs:
        assert f"data-value='{100 * run.value('screw'):.6f}'" in html
    assert html.count("<b title='best of the runs'>") > 0
    bare = results_table.results_table(reader.all(["bank"]), ["branches"])
    assert "semantic" not in results_view.table_html(bare, reader.all(["bank"])).lower()


def test_unknown_column_is_refused(reader: RunReader):
    with pytest.raises(SettingError, match="sharpness"):
        results_table.results_table([reader.run("first")], ["sharpness"])


# --- handlers -------------------------------------------------------------------------------------


def test_choices_follow_the_runs(reader: RunReader):
    opening, body, focus, class_name, defect, baseline, facts = results_view.choose_runs(
        reader, ["second", "first"], "first", "no longer there", "", "run:first")
    assert (opening, body["visible"]) == ("", True)
    assert focus["value"] == "first" and focus["choices"] == ["second", "first"]
    assert class_name["value"] == "" and baseline["value"] == "run:first"
    assert ("good", "good") in defect["choices"] and "step10" in facts
    assert "Choose a run" in results_view.choose_runs(reader, [], "", "", "", "")[0]


def test_deleting_needs_a_name_and_chooses_another(tmp_path: Path):
    folder = tmp_path / "runs"
    for name in ("old", "new"):
        write_small_run(folder, name)
    reader = RunReader(folder)
    assert results_view.ask_deletion("new")[1]["value"] == "Really delete new"
    update, opening = results_view.delete_run(reader, "new", ["new"])
    assert update["choices"] == update["value"] == ["old"] and opening == ""
    update, opening = results_view.delete_run(reader, "old", ["old"])
    assert update["value"] == [] and "evaluate --data parts --run NAME" in opening
    assert list(folder.iterdir()) == []


def test_without_runs_every_handler_answers_with_nothing(tmp_path: Path):
    reader = RunReader(tmp_path / "none")
    assert results_view.list_runs(reader, [])[0]["visible"] is False
    assert results_view.show_table(reader, [], [], "", "") == ("", "")
    assert results_view.show_long_tail(reader, [], "image") is None
    assert results_view.show_operating_point(reader, [], 4, "", "", "", 0.05, "")[0] == ""
    assert results_view.show_map(reader, "class", "", "", 0.05, "") is None
    gallery = results_view.show_gallery(
        reader, list, 0, [], "", "", "", 0.05, "", "", "", "misses", "", 1)
    assert gallery == ("", 1)


def test_baseline_words_are_checked(reader: RunReader):
    assert results_view.find_baseline(reader, "", "") is None
    for wrong in ("table:2", "table:x", "first", "run:nothing"):
        with pytest.raises(SettingError):
            results_view.find_baseline(reader, wrong, "")
    assert results_view.offer_entries("table:6")["visible"]
    assert not results_view.offer_entries("run:first")["visible"]


def test_a_run_that_came_with_the_program_is_shown_and_never_changed(tmp_path):
    made = write_small_run(tmp_path / "work" / "runs", "demo")
    target = ship_run(made, tmp_path / "assets", most=30)
    for path in target.glob("*.*"):
        assert str(tmp_path).encode() not in path.read_bytes(), path.name
    shutil.rmtree(tmp_path / "work")
    shutil.rmtree(tmp_path / "data", ignore_errors=True)
    reader = RunReader(tmp_path / "work" / "runs", tmp_path / "assets")
    assert reader.names() == ["demo"]
    run = reader.run("demo")
    kinds = {(row.class_name, row.defect) for row in made.images.itertuples()}
    assert {(row.class_name, row.defect) for row in run.images.itertuples()} == kinds
    assert len(kinds) <= len(run.images) <= 30 < len(made.images)
    assert run.results == made.results and run.maps().shape[0] == len(run.images)
    for place, row in run.images.iterrows():  # each image is still its own row's
        old = made.images[made.images["path"] == row["path"]].iloc[0]
        assert row["combined"] == old["combined"]
        assert run.thumbnail(place).is_file() and run.image(place).size
    for act in (reader.delete, lambda name: reader.re_evaluate(name, tmp_path / "work")):
        with pytest.raises(SettingError, match="came with the program"):
            act("demo")
    assert target.is_dir()
    write_small_run(tmp_path / "work" / "runs", "demo", seed=1)  # one's own hides it
    assert reader.names() == ["demo"] and len(reader.run("demo").images) == len(made.images)
    reader.delete("demo")
    assert reader.names() == ["demo"] and len(reader.run("demo").images) == len(run.images)
    source = open_source(
        Workspace(tmp_path / "work", (), True, tmp_path / "assets"), "run:demo/3")
    assert source.mode == "RGB"


def test_the_shipped_run_is_small_and_names_no_machine():
    folder = Path(__file__).parents[2] / "assets" / "runs"
    names = run_names(folder)
    assert names
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 3_000_000
    run = read_run(folder / names[0])
    assert run.about["data"]["root"] == NOT_HERE and run.about["model"]["folder"] is None
    assert len(run.class_names) == 16 and run.value("All") > 0.7


def test_one_class_is_not_shown_again_as_all_high_and_low(reader):
    run = reader.run(reader.names()[0])
    name = run.class_names[0]
    alone = replace(run, results={
        **run.results, "classes": [c for c in run.results["classes"] if c["class_name"] == name]})
    table = results_table.results_table([alone], [])
    assert list(table.index) == [("class", name)]
    assert ("mean", "All") in results_table.results_table([run], []).index


def test_a_score_has_the_same_digits_wherever_it_stands():
    assert [number(value) for value in (0.9977, 0.998, 12.345, 17367.2)] == [
        "0.998", "0.998", "12.3", "17367"]
