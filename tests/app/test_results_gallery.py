"""Operating points on runs, and the gallery of their images, without a browser."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import f1_score, precision_score, recall_score
from small_runs import BAD, GOOD, RUDE, write_small_run

from ltad.app import results_cards, results_gallery, results_table, results_view
from ltad.evaluation import figures
from ltad.evaluation.operating_point import (
    OperatingPoint,
    confusions,
    count_verdicts,
    judge,
    other_verdicts,
    rate_at,
)
from ltad.evaluation.run_store import RunReader
from ltad.types import BRANCHES, SettingError


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


# --- operating points -----------------------------------------------------------------------------


def test_confusion_agrees_with_sklearn(reader: RunReader):
    run = reader.run("first")
    judged = judge(run, OperatingPoint(0.1))
    limits = run.thresholds(0.1)
    called = [s > limits[c] for s, c in zip(judged["combined"], judged["class_name"], strict=True)]
    truth, total = judged["is_defective"], count_verdicts(judged)
    assert total.precision == pytest.approx(precision_score(truth, called))
    assert total.recall == pytest.approx(recall_score(truth, called))
    assert total.f1 == pytest.approx(f1_score(truth, called))
    classes = confusions(judged).values()
    assert sum(one.false_negatives for one in classes) == total.false_negatives
    assert total.true_positives + total.false_negatives == 3 * BAD
    assert total.true_negatives + total.false_positives == 3 * GOOD


def test_more_false_alarms_accepted_find_no_less(reader: RunReader):
    totals = [count_verdicts(judge(reader.run("first"), OperatingPoint(rate)))
              for rate in (0.06, 0.2, 0.5)]
    assert totals[0].true_positives <= totals[1].true_positives <= totals[2].true_positives
    assert totals[0].false_positives < totals[2].false_positives


def test_one_score_for_all_and_other_branches(reader: RunReader):
    run = reader.run("first")
    judged = judge(run, OperatingPoint(0.05, 6.0, "semantic"))
    alarms = judged["verdict"].isin(["found", "false alarm"])
    assert (alarms == (run.images["semantic"] > 6.0)).all()
    with pytest.raises(SettingError, match="semantic"):
        judge(reader.run("bank"), OperatingPoint(branch="semantic"))


def test_run_without_held_out_pictures_gets_its_best_f1_and_says_so(reader: RunReader):
    run, point = reader.run("bank"), OperatingPoint(0.05)
    screws = run.images[run.images["class_name"] == "screw"]
    limit = point.thresholds(run)["screw"]
    reached = f1_score(screws["is_defective"], screws["reconstruction"] > limit)
    others = [f1_score(screws["is_defective"], screws["reconstruction"] > s, zero_division=0)
              for s in screws["reconstruction"]]
    assert reached >= max(others)
    text, *_ = results_view.show_operating_point(reader, ["bank"], 4, "bank", "", "", 0.05, "")
    assert "best F1" in text
    assert not OperatingPoint(score=1.0).is_hindsight(run)


def test_score_typed_as_words_is_refused():
    assert results_view.read_point(0.05, " 7.5 ").score == 7.5
    with pytest.raises(SettingError, match="seven"):
        results_view.read_point(0.05, "seven")


def test_a_line_dragged_among_all_classes_sets_the_rate(reader: RunReader):
    run = reader.run("first")
    for rate in (0.05, 0.1, 0.3):
        line = run.thresholds(rate)["screw"]
        found = results_view.rate_of_line(reader, json.dumps(["screw", line + 1e-9]), "first", "")
        assert run.thresholds(found)["screw"] == line
    assert rate_at(run, "screw", 1e9) == 0.01
    assert rate_at(run, "screw", -1e9) == 0.48  # of 20 held out, ceil(0.52 * 21) = ceil(0.5 * 21)
    with pytest.raises(SettingError, match="bolt"):
        rate_at(run, "bolt", 1.0)
    lines = results_cards.histogram(run, "", OperatingPoint(0.1)).layout.shapes
    assert {line.name for line in lines} == set(run.class_names)
    # thresholds that no rate moves have no name, and so nothing to take hold of
    hindsight = results_cards.histogram(reader.run("bank"), "", OperatingPoint(0.1)).layout.shapes
    assert len(hindsight) == 3 and not any(line.name for line in hindsight)


def test_figures_follow_class_and_point(reader: RunReader):
    runs = reader.all(["first", "bank"])
    single = results_cards.histogram(runs[0], "screw", OperatingPoint(0.1))
    assert single.layout.shapes[0].x0 == runs[0].thresholds(0.1)["screw"]
    assert len(results_cards.histogram(runs[0], "", OperatingPoint(0.1)).layout.shapes) == 3
    figure = results_cards.curves(runs, runs[0], "screw", OperatingPoint(0.1))
    dot = next(t for t in figure.data if t.mode == "markers" and t.legendgroup == "first")
    one = confusions(judge(runs[0], OperatingPoint(0.1)))["screw"]
    assert (dot.x[0], dot.y[0]) == (100 * one.false_alarm_rate, 100 * one.recall)
    assert {t.legendgroup for t in results_cards.curves(
        runs, runs[0], "screw", OperatingPoint(branch="semantic")).data} == {None, "first"}
    # a score of the run in view says nothing about another run, which keeps its rate
    both = reader.all(["first", "second"])
    figure = results_cards.curves(both, both[0], "screw", OperatingPoint(0.1, score=1e9))
    dots = {t.legendgroup: t.y[0] for t in figure.data if t.mode == "markers" and t.xaxis == "x"}
    other = confusions(judge(both[1], OperatingPoint(0.1)))["screw"]
    assert dots == {"first": 0, "second": 100 * other.recall} and other.recall > 0
    drawn = results_cards.embedding(runs[0], "error", OperatingPoint(0.1))
    assert sum(len(trace.x) for trace in drawn.data) == len(runs[0].images)


# --- the gallery ----------------------------------------------------------------------------------


def test_errors_come_first_and_filters_hold(reader: RunReader):
    judged = judge(reader.run("first"), OperatingPoint(0.3))
    for sort, verdict in (("false alarms", "false alarm"), ("misses", "missed")):
        query = results_gallery.GalleryQuery(sort=sort)
        order = results_gallery.select(judged, query)["verdict"].tolist()
        count = order.count(verdict)
        assert count and order[:count] == [verdict] * count
    highest = results_gallery.select(judged, results_gallery.GalleryQuery(sort="highest"))["score"]
    assert highest.is_monotonic_decreasing
    query = results_gallery.GalleryQuery("screw", results_gallery.GOOD, "passed")
    chosen = results_gallery.select(judged, query)
    assert set(chosen["class_name"]) == {"screw"} and set(chosen["defect"]) == {""}
    assert set(chosen["verdict"]) == {"passed"}
    picked = results_gallery.GalleryQuery(sort="order", chosen=frozenset({3, 17}))
    assert results_gallery.select(judged, picked)["index"].tolist() == [3, 17]


def test_disagreement_of_two_runs(reader: RunReader):
    mine, theirs = (judge(reader.run(n), OperatingPoint(0.1)) for n in ("first", "second"))
    both = mine.assign(other_verdict=other_verdicts(mine, theirs))
    chosen = results_gallery.select(both, results_gallery.GalleryQuery(verdict="disagree"))
    expected = (mine["verdict"] != theirs["verdict"]).sum()
    assert 0 < len(chosen) == expected
    assert other_verdicts(mine, theirs.iloc[:0]).eq("").all()


def test_selection_is_read_or_refused():
    text = json.dumps({"run": "first", "pictures": [1, 2]})
    assert results_gallery.read_chosen(text, "first") == {1, 2}
    assert results_gallery.read_chosen(text, "second") is None
    assert results_gallery.read_chosen("", "first") is None
    for wrong in ("[1]", "{", '{"run": "first", "pictures": ["a"]}'):
        with pytest.raises(SettingError, match="selection"):
            results_gallery.read_chosen(wrong, "first")


def test_gallery_page_shows_pictures_outlines_and_what_inspect_needs(reader: RunReader):
    run = reader.run("first")
    judged = judge(run, OperatingPoint(0.1))
    opening = results_gallery.opening_settings(run, ["demo"])
    assert opening == {"normal_prompt": "a", "abnormal_prompt": "a broken", "lam": 5.0, "tau": 1.0,
                       "model": "demo"}
    assert "model" not in results_gallery.opening_settings(run, ["another"])
    html, page = results_gallery.gallery_html(run, judged, 99, opening)
    assert page == 2 and "page 2 of 2" in html
    shown = len(judged) - results_gallery.PAGE_SIZE
    assert html.count("class='lt-run-shot-photo'") == shown
    assert html.count("class='lt-run-shot-outline'") == judged["is_defective"].iloc[-shown:].sum()
    assert "run:first/" in html and "{" not in html
    empty, page = results_gallery.gallery_html(run, judged.iloc[:0], 3, opening)
    assert page == 1 and "No image is like that" in empty


def test_outline_lies_around_the_defect(reader: RunReader):
    run = reader.run("first")
    index = int(run.images.index[run.images["is_defective"] == 1][0])
    with Image.open(io.BytesIO(results_gallery.outline_png(run, index))) as file:
        drawn = np.asarray(file.convert("RGBA"))[..., 3] > 0
    with Image.open(run.outline(index)) as file:
        inside = np.asarray(file.convert("1"))
    assert drawn.any() and not (drawn & inside).any()
    assert results_gallery.outline_png(run, 0) is None


# --- texts and handlers ---------------------------------------------------------------------------


def test_rude_names_and_paths_do_not_reach_the_page(reader: RunReader):
    run = reader.run("first")
    rude = replace(run, images=run.images.assign(defect=RUDE, path=RUDE))
    judged = judge(rude, OperatingPoint(0.1))
    html, _ = results_gallery.gallery_html(rude, judged.iloc[:2], 1, {"normal_prompt": RUDE})
    html += results_cards.facts_html(replace(run, about=run.about | {"group": RUDE}))
    html += results_cards.confusion_html(
        count_verdicts(judged), {RUDE: count_verdicts(judged)}, {RUDE: 1.0}, OperatingPoint(0.1))
    two = [replace(one, about=one.about | {"kind": RUDE})
           for one in reader.all(["first", "second"])]
    baseline = replace(results_table.run_baseline(run), name=RUDE, source=RUDE)
    html += results_view.table_html(results_table.results_table(two, []), two, baseline)
    assert "<img src=x" not in html and "${" not in html and "{{" not in html
    assert str(run.folder.parent.parent) not in html


def test_doubt_is_voiced_when_false_alarms_exceed_the_wish(reader: RunReader):
    run = reader.run("first")
    loud = replace(run, calibration=run.calibration.assign(
        **{branch: run.calibration[branch] - 9 for branch in BRANCHES}))
    point = OperatingPoint(0.1)
    judged = judge(loud, point)
    text = results_cards.confusion_html(
        count_verdicts(judged), confusions(judged), point.thresholds(loud), point)
    assert "although 10% were asked for" in text


def test_a_run_has_one_colour_in_the_table_and_in_the_plots():
    runs = [SimpleNamespace(name=f"run {n}", about={"kind": "model"}) for n in range(8)]
    headings = results_view._run_headings([(run.name, "image") for run in runs], runs)
    assert [heading["colour"] for heading in headings] == list(figures.COLOURS)
