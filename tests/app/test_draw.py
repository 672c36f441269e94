"""Painted defects: rendering from strokes, the figures of coverage, and the Draw tab's handlers."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ltad.app import draw
from ltad.evaluation.operating_point import Coverage, measure_coverage
from ltad.inference.registry import ModelRegistry
from ltad.synthetic.painting import KINDS, Stroke, draw_strokes, read_strokes
from ltad.synthetic.render import render_part
from ltad.types import LTADError, SettingError

LINE = ((0.2, 0.5), (0.8, 0.5))
GREY = Image.new("RGB", (120, 80), (120, 120, 120))


@pytest.fixture(scope="module")
def part() -> Image.Image:
    return Image.fromarray(render_part("leather", 700, 96).image)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "erase"])
def test_paint_changes_what_its_mask_covers(kind):
    painted, mask = draw_strokes(GREY, [Stroke(kind, LINE, width=0.1, seed=5)])
    change = np.abs(np.asarray(painted, int) - np.asarray(GREY, int)).sum(axis=2)
    assert mask.shape == (80, 120) and 0.005 < mask.mean() < 0.3
    assert change[mask].mean() > 60 and change[0].max() == 0
    rows, columns = np.nonzero(mask)
    assert abs(rows.mean() - 40) < 5 and 15 < columns.min() < 40 < 80 < columns.max() < 105


def test_same_strokes_give_the_same_bytes(part):
    strokes = [Stroke(kind, LINE, width=0.05, seed=9) for kind in KINDS]
    first, again = (draw_strokes(part, read_strokes(json.loads(json.dumps(
        [stroke.record() for stroke in strokes])))) for _ in range(2))
    assert first[0].tobytes() == again[0].tobytes() and (first[1] == again[1]).all()
    other = draw_strokes(part, [Stroke("stain", LINE, width=0.05, seed=10)])
    assert other[0].tobytes() != draw_strokes(part, [strokes[1]])[0].tobytes()


def test_places_and_widths_are_relative_to_the_picture():
    small, large = (
        draw_strokes(Image.new("RGB", size), [Stroke("hole", ((0.25, 0.5),), width=0.2)])[1]
        for size in ((120, 60), (480, 240))
    )
    assert small.mean() == pytest.approx(large.mean(), rel=0.05)
    assert np.nonzero(large)[1].mean() == pytest.approx(120, abs=1)
    assert large.sum() == pytest.approx(np.pi * 24**2, rel=0.05)  # a disc 0.2 of 240 wide


def test_the_eraser_brings_the_good_picture_back(part):
    strokes = [Stroke("hole", LINE, width=0.1), Stroke("erase", LINE, width=0.4)]
    painted, mask = draw_strokes(part, strokes)
    assert not mask.any() and painted.tobytes() == part.tobytes()


def test_strength_is_opacity():
    weak, strong = (
        np.asarray(draw_strokes(GREY, [Stroke("hole", LINE, 0.1, strength)])[0], int)
        for strength in (0.3, 1.0)
    )
    assert abs(weak - 120).max() < 0.5 * abs(strong - 120).max()


def test_strokes_at_the_border_stay_inside():
    corners = [Stroke(kind, ((0.0, 0.0), (1.0, 1.0)), 0.5) for kind in KINDS]
    painted, mask = draw_strokes(Image.new("RGB", (40, 30)), corners)
    assert painted.size == (40, 30) and mask.shape == (30, 40)


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({"kind": "dent", "points": [[0.5, 0.5]]}, "dent"),
        ({"kind": "hole", "points": []}, "0 points"),
        ({"kind": "hole", "points": [[0.5, 1.5]]}, "1.5"),
        ({"kind": "hole", "points": [[0.5, float("nan")]]}, "nan"),
        ({"kind": "hole", "points": [[0.5]]}, "Stroke 1"),
        ({"kind": "hole", "points": [[0.5, 0.5]], "width": 3}, "width is 3"),
        ({"kind": "hole", "points": [[0.5, 0.5]], "strength": "much"}, "much"),
        ({"kind": "hole", "points": [[0.5, 0.5]], "seed": -1}, "seed is -1"),
        ({"kind": "hole", "points": [[0.5, 0.5]], "colour": "red"}, "red"),
        ({"kind": "hole", "points": [[0.5, 0.5]], "size": 1}, "size"),
        ("hole", "Stroke 1"),
    ],
)
def test_a_wrong_stroke_is_named(record, told):
    with pytest.raises(SettingError, match="Stroke 1") as raised:
        read_strokes([record])
    assert told in str(raised.value)


def test_the_list_of_strokes_has_limits():
    with pytest.raises(SettingError, match="list"):
        read_strokes({"kind": "hole"})
    with pytest.raises(SettingError, match="201 strokes"):
        read_strokes([{"kind": "hole", "points": [[0.5, 0.5]]}] * 201)


def test_coverage_counts_pixels():
    mask = np.zeros((4, 8), bool)
    mask[:, :2] = True  # 8 painted pixels
    anomaly_map = np.zeros((4, 8), np.float32)
    anomaly_map[:2, :4] = 1.0  # 8 above the threshold, 4 of them painted
    found = measure_coverage(mask, anomaly_map, 0.5)
    assert (found.painted, found.found, found.overlap) == (8 / 32, 4 / 8, 4 / 12)
    # A painted pixel beats an untouched one in 4/8 x 20/24, ties in 4/8 x 4/24 + 4/8 x 20/24.
    assert found.auroc == pytest.approx(0.5 * 20 / 24 + 0.5 * (0.5 * 4 / 24 + 0.5 * 20 / 24))
    nothing = measure_coverage(np.zeros((4, 8), bool), anomaly_map, 2.0)
    assert (nothing.painted, nothing.found, nothing.overlap, nothing.auroc) == (0, None, None, None)
    assert nothing.is_peak_near is None


def test_the_highest_place_lies_on_what_is_painted_or_away_from_it():
    mask = np.zeros((40, 80), bool)
    mask[:, 20] = True  # a twentieth of the shorter side is 2 pixels
    for column, is_near in ((20, True), (22, True), (23, False), (60, False)):
        anomaly_map = np.zeros((40, 80), np.float32)
        anomaly_map[10, column] = 1.0
        assert measure_coverage(mask, anomaly_map, 2.0).is_peak_near is is_near


def test_the_endpoint_tells_before_after_and_coverage(tiny_scorer, part):
    model = tiny_scorer.config.model
    settings = ("leather", "", "", model.lam, model.tau, 0.05, 0.0)
    strokes = [{"kind": "hole", "points": [[0.5, 0.5]], "width": 0.3}]
    record = draw.draw_defect(ModelRegistry(tiny_scorer), part, strokes, *settings, True)
    painted, mask = draw_strokes(part, read_strokes(strokes))
    before = tiny_scorer.score(part, "leather")
    after = tiny_scorer.score(painted, "leather")
    coverage = measure_coverage(mask, after.anomaly_map, after.pixel_threshold)
    assert record["before"]["score"] == before.score and record["after"]["score"] == after.score
    assert before.score != after.score and record["is_found"] == (
        after.is_anomalous and coverage.is_shown)
    assert record["coverage"] == vars(coverage) and coverage.painted > 0
    sent = record["painted"].removeprefix("data:image/png;base64,")
    assert Image.open(io.BytesIO(base64.b64decode(sent))).tobytes() == painted.tobytes()
    assert json.loads(json.dumps(record["strokes"]))[0]["width"] == 0.3
    untouched = draw.draw_defect(ModelRegistry(tiny_scorer), part, None, *settings, False)
    assert untouched["before"] == untouched["after"] and not untouched["is_found"]
    with pytest.raises(LTADError, match="no image"):
        draw.draw_defect(ModelRegistry(tiny_scorer), None, [], *settings, False)


def test_the_page_shows_what_the_strokes_did(tiny_scorer, part):
    registry, model = ModelRegistry(tiny_scorer), tiny_scorer.config.model
    settings = (tiny_scorer.name, None, "", "", "", model.lam, model.tau, 0.05)
    picture, stage = draw.load_canvas(part.resize((1200, 600)))
    assert picture.size == (512, 256) and "--lt-aspect:512/256" in stage
    drawing = {"version": 7, "strokes": [{"kind": "stain", "points": [[0.4, 0.4]], "width": 0.3}]}
    verdict, maps = draw.judge_drawing(registry, True, picture, json.dumps(drawing), *settings)
    words = ("Found", "Missed", "An alarm, but elsewhere")
    assert sum(word in verdict for word in words) == 1 and "AUROC" in verdict
    assert "before" in verdict and "data-version='7'" in maps and maps.count("lt-outline") == 3
    verdict, maps = draw.judge_drawing(registry, True, picture, "", *settings)
    assert "Nothing painted yet" in verdict and "lt-outline" not in maps
    verdict, maps = draw.judge_drawing(registry, True, None, "", *settings)
    assert "Choose a good example" in verdict and maps == ""
    with pytest.raises(SettingError, match="could not be read"):
        draw.judge_drawing(registry, True, picture, "[1]", *settings)


@pytest.mark.parametrize(
    ("is_anomalous", "found", "is_peak_near", "word", "reason"),
    [
        (False, 0.3, True, "Missed", "30%"),
        (True, 0.3, True, "Found", "30% of what you painted is above the limit"),
        (True, 0.004, False, "Found", "Less than 1% of what you painted"),
        (True, 0.0, True, "Found, but not outlined", "no painted pixel is above the limit"),
        (True, 0.0, False, "An alarm, but elsewhere", "away from what you painted"),
    ],
)
def test_an_alarm_finds_only_what_the_map_shows(
    tiny_scorer, part, is_anomalous, found, is_peak_near, word, reason
):
    before = tiny_scorer.score(part, "leather")
    after = replace(before, is_anomalous=is_anomalous)
    coverage = Coverage(0.05, found, 0.1, 0.9, is_peak_near)
    verdict = draw.trial_html(before, after, coverage, True)
    assert f"{word}</h2>" in verdict and reason in verdict


def test_a_part_that_the_model_does_not_know_is_not_judged(tiny_scorer):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8))
    strokes = [Stroke("hole", LINE, width=0.3)]
    numbers = ("", "", tiny_scorer.config.model.lam, tiny_scorer.config.model.tau, 0.05, 0.0)
    trial = draw.try_defect(tiny_scorer, noise, strokes, "", *numbers)
    assert trial.before.verdict == trial.after.verdict == "not judged"
    shown = draw.trial_html(trial.before, trial.after, trial.coverage, True)
    assert "Not judged</h2>" in shown and "looks like none of the parts" in shown
    assert not any(word in shown for word in ("Found", "Missed", "anomalous before"))
    given = draw.try_defect(tiny_scorer, noise, strokes, "screw", *numbers)
    assert given.after.verdict in ("normal", "anomalous")
    records = [draw.draw_defect(
        ModelRegistry(tiny_scorer), noise, [strokes[0].record()], name, *numbers, False
    ) for name in ("", "screw")]
    assert records[0]["is_found"] is None and records[0]["after"]["verdict"] == "not judged"
    assert records[1]["is_found"] in (True, False)


def test_outline_runs_along_the_edge():
    mask = np.zeros((64, 64), bool)
    mask[20:40, 20:40] = True
    drawn = np.asarray(Image.open(io.BytesIO(draw.outline_png(mask))))
    assert drawn[20, 30].tolist() == [255, 255, 255, 255] and drawn[19, 30, 3] == 255
    assert drawn[30, 30, 3] == 0 and drawn[5, 5, 3] == 0


def test_good_examples_come_first():
    paths = [Path("1_nut_crack.jpg"), Path("2_bearing_good.jpg")]
    assert draw.good_examples(paths) == paths[1:]
    assert draw.good_examples(paths[:1]) == paths[:1]
