"""The figures against numbers counted apart from them, and the report in a real browser."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import auc, average_precision_score, roc_auc_score

from ltad.data.datasets import load_folder
from ltad.evaluation import figures
from ltad.evaluation.figures import head_to_tail
from ltad.evaluation.operating_point import verdicts
from ltad.evaluation.record import evaluate_bank, evaluate_model
from ltad.evaluation.report import MOST_IMAGES, report, write_report
from ltad.evaluation.runs import read_run, write_run
from ltad.types import CheckpointError, SettingError

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def runs(tiny_scorer, parts_folder, tmp_path_factory):
    work, samples = tmp_path_factory.mktemp("work"), load_folder(parts_folder)
    return [
        make(tiny_scorer, samples, parts_folder, work / "features").write(work / name)
        for make, name in ((evaluate_model, "first"), (evaluate_bank, "bank"))
    ]


def test_the_long_tail_runs_from_head_to_tail(runs):
    run = runs[0]
    assert head_to_tail(run) == ["hex_nut", "leather", "screw"]
    figure = figures.long_tail_figure(runs)
    lines = {trace.name: trace for trace in figure.data if trace.type == "scatter"}
    assert set(lines) == {"first", "first, reconstruction", "first, semantic", "bank"}
    expected = [100 * run.value(name) for name in ("hex_nut", "leather", "screw")]
    assert list(lines["first"].y) == pytest.approx(expected)
    assert lines["first, semantic"].visible == "legendonly"
    bars = next(trace for trace in figure.data if trace.type == "bar")
    assert list(bars.y) == [24, 24, 4]
    alone = figures.long_tail_figure([run], "pixel")
    assert all(trace.visible is not None or trace.type == "bar" for trace in alone.data)
    with pytest.raises(SettingError, match="no run"):
        figures.long_tail_figure([])


def test_histograms_count_every_picture(runs):
    run = runs[0]
    for class_name in (None, "leather"):
        rows = run.images if class_name is None else run.images.query("class_name == 'leather'")
        figure = figures.score_histogram(run, class_name, "semantic", 0.5)
        good, defective = figure.data
        assert sum(good.y) == (rows["is_defective"] == 0).sum()
        assert sum(defective.y) == (rows["is_defective"] == 1).sum()
        assert figure.layout.shapes[0].x0 == 0.5
        assert figure.layout.yaxis.dtick == (1 if max(*good.y, *defective.y) <= 5 else None)
    assert not figures.score_histogram(run).layout.shapes
    every = figures.score_histograms(run, run.thresholds(0.3), columns=2)
    assert sum(sum(trace.y) for trace in every.data) == len(run.images)
    assert [shape.x0 for shape in every.layout.shapes] == [
        run.thresholds(0.3)[name] for name in head_to_tail(run)
    ]


def test_curves_have_the_area_of_their_figures(runs):
    run = runs[0]
    rows = run.images.query("class_name == 'hex_nut'")
    _, roc, precision = figures.roc_and_precision_recall([run], "hex_nut").data
    expected = roc_auc_score(rows["is_defective"], rows["combined"])
    assert auc(roc.x, roc.y) / 1e4 == pytest.approx(expected, abs=0.01)
    area = average_precision_score(rows["is_defective"], rows["combined"])
    assert auc(precision.x, precision.y) / 1e4 == pytest.approx(area, abs=0.01)
    mean = figures.roc_and_precision_recall(runs)
    assert auc(mean.data[1].x, mean.data[1].y) / 1e4 == pytest.approx(run.value("All"), abs=0.01)
    only = figures.roc_and_precision_recall(runs, branch="semantic")
    assert {trace.name for trace in only.data if trace.name} == {"first, semantic"}


def test_the_embedding_map_shows_every_picture_once(runs):
    run, thresholds = runs[0], runs[0].thresholds(0.3)
    for colour in ("class", "score", "error"):
        figure = figures.embedding_map(run, colour, thresholds)
        shown = np.concatenate([trace.customdata for trace in figure.data])
        assert sorted(shown) == list(range(len(run.images)))
    said = verdicts(run, thresholds)
    for trace in figures.embedding_map(run, "error", thresholds).data:
        assert all(said[list(trace.customdata)] == trace.name)
    places = figures.project(run.embeddings())
    assert np.array_equal(places, figures.project(run.embeddings()))
    assert places[:, 0].var() >= places[:, 1].var() and np.allclose(places.mean(0), 0, atol=1e-3)
    with pytest.raises(SettingError, match="'class', 'score' or 'error'"):
        figures.embedding_map(run, "size")
    with pytest.raises(SettingError, match="need a threshold"):
        figures.embedding_map(run, "error")


def test_the_report_holds_every_figure(runs):
    content = report(runs, 0.3)
    for run in runs:
        for name in (*run.class_names, "All", "High", "Low"):
            assert f"{100 * run.value(name):.1f}" in content
    difference = 100 * (runs[1].value("Low") - runs[0].value("Low"))
    assert f"{difference:+.1f}" in content
    assert 0 < content.count("data:image/jpeg") <= MOST_IMAGES
    assert content.count("class=\"plotly-graph-div\"") == 5
    assert "https://" not in content.split("<main>")[1].replace("https://plot.ly", "")
    assert "Mean and standard deviation" not in content and "the paper," not in content


def test_a_row_of_the_paper_stands_beside_the_papers_figures(runs):
    seeds = [replace(run, about={**run.about, "row": "6.8", "kind": "object", "seed": seed})
             for seed, run in enumerate((runs[0], runs[0]))]
    content = report(seeds)
    assert "the paper, MVTec AD step100" in content and "87.0" in content
    assert "Mean and standard deviation over seeds" in content and "2 seeds" in content


def test_text_from_outside_is_escaped(runs, tmp_path):
    run = runs[0]
    text = json.dumps(run.results).replace("leather", HOSTILE)
    about = json.loads(json.dumps(run.about).replace("leather", HOSTILE))
    about["kind"] = about["split"]["name"] = about["data"]["name"] = HOSTILE
    rename = {"leather": HOSTILE}
    images = run.images.replace({"class_name": rename}).assign(defect=HOSTILE)
    made = write_run(
        tmp_path / "hostile", about, images, run.calibration.replace({"class_name": rename}),
        json.loads(text), run.embeddings(), run.maps(), run.folder,
    )
    content = report([made], 0.3)
    assert "<img src=x" not in content and "&lt;img src=x" in content


def test_a_run_without_calibration_has_no_thresholds(runs, tmp_path):
    folder = shutil.copytree(runs[0].folder, tmp_path / "bare")
    header = (folder / "calibration.csv").read_text().splitlines()[0]
    (folder / "calibration.csv").write_text(header + "\n")
    bare = read_run(folder)
    with pytest.raises(SettingError, match="held out"):
        bare.thresholds(0.1)
    assert "it has no thresholds" in report([bare])


def test_what_cannot_be_written_says_why(runs, tmp_path):
    with pytest.raises(SettingError, match="needs a run"):
        write_report([], tmp_path / "report.html")
    with pytest.raises(SettingError, match="between 0 and 1"):
        write_report(runs, tmp_path / "report.html", 5)
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="could not be written"):
        write_report(runs, tmp_path / "file" / "report.html")


@pytest.mark.browser
def test_the_report_opens_from_disk(visit, runs, tmp_path):
    write_report(runs, tmp_path / "report.html", 0.3)
    address, asked = (tmp_path / "report.html").as_uri(), []
    page = visit(address, 390, 800)
    page.context.set_offline(True)
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    page.locator(".js-plotly-plot .main-svg").first.wait_for()
    page.wait_for_function("document.querySelectorAll('.js-plotly-plot .main-svg').length >= 10")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
