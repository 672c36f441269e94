"""The page's address: read, checked, restored; images that the server keeps; several models."""

from __future__ import annotations

import copy
import io
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from ltad.app import address, class_names, controls, inspect
from ltad.app.sources import open_source
from ltad.data.datasets import load_folder
from ltad.evaluation.record import evaluate_model
from ltad.inference.registry import ModelRegistry
from ltad.io.heatmap import data_url, photo_jpeg
from ltad.io.images import read_image
from ltad.review.database import Database
from ltad.review.images import ImageStore
from ltad.review.records import NewItem
from ltad.types import ImageError, LTADError
from ltad.workspace import Workspace

TABS = ["inspect", "names", "draw"]


@pytest.fixture(scope="module")
def examples(tmp_path_factory) -> list[Path]:
    path = tmp_path_factory.mktemp("examples") / "1_screw_good.jpg"
    Image.new("RGB", (40, 20), (90, 120, 30)).save(path)
    return [path]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory, tiny_model_folder) -> Workspace:
    """Holds one trained model beside the one that the page starts with."""
    workspace = Workspace(tmp_path_factory.mktemp("work"))
    shutil.copytree(tiny_model_folder, workspace.models / "mine")
    return workspace


@pytest.fixture(scope="module")
def registry(tiny_scorer, workspace) -> ModelRegistry:
    return ModelRegistry(tiny_scorer, workspace.models)


def test_plain_address_wishes_nothing(registry, examples):
    for query in ("", "?", "?__theme=dark&view=api", "?%ff=%00", "?" + "&".join(["a=1"] * 99)):
        wish = address.read_address(query, registry, examples, TABS)
        assert (wish.tab, wish.settings, wish.example, wish.problems) == ("", None, "", [])


def test_address_sets_what_it_names_and_nothing_else(registry, examples, tiny_scorer):
    query = "?tab=draw&class=hex_nut&abnormal=a++dented&lambda=7.5&example=1_screw_good"
    wish = address.read_address(query, registry, examples, TABS)
    own = controls.default_settings(tiny_scorer)
    assert wish.tab == "draw" and wish.example == "1_screw_good" and wish.problems == []
    assert wish.settings == {**own, "class": "hex_nut", "abnormal": "a dented", "lambda": 7.5}


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("tab=nowhere", "nowhere"), ("model=none", "none"), ("class=gear", "gear"),
        ("lambda=much", "much"), ("lambda=-1", "-1"), ("tau=nan", "nan"), ("rate=inf", "inf"),
        ("rate=0.9", "0.9"), ("normal=" + "x" * 201, "200 letters"), ("example=../x", "../x"),
    ],
)
def test_a_bad_value_is_told_and_the_default_used(query, told, registry, examples, tiny_scorer):
    wish = address.read_address(f"?{query}", registry, examples, TABS)
    assert len(wish.problems) == 1 and told in wish.problems[0]
    assert wish.settings in (None, controls.default_settings(tiny_scorer))
    assert wish.tab == "" and wish.example == "" and wish.model == tiny_scorer.name


def test_restore_changes_only_what_is_named(registry, examples, tiny_scorer):
    plain = address.restore(registry, examples, TABS, "", tiny_scorer.name)
    assert len(plain) == 3 + len(controls.KEYS)
    assert plain[1]["choices"] == [tiny_scorer.name, "mine"] and plain[1]["visible"]
    assert all(update == {"__type__": "update"} for at, update in enumerate(plain) if at != 1)
    full = address.restore(registry, examples, TABS, "?model=mine&rate=0.2", "")
    assert full[1]["value"] == "mine" and json.loads(full[2])["model"] == "mine"
    assert full[8]["value"] == 0.2


def test_problems_are_one_notice_without_markup(registry, examples, monkeypatch):
    told = []
    monkeypatch.setattr(address.gr, "Warning", told.append)
    address.restore(registry, examples, TABS, "?tab=<b>&rate=<i>", "")
    assert len(told) == 1 and "&lt;b&gt;" in told[0] and "<" not in told[0]


def test_the_addresss_picture_is_opened(workspace, examples):
    opened = address.open_image(workspace, examples, "?tab=draw&example=1_screw_good")
    assert opened.tobytes() == read_image(examples[0]).tobytes()
    for query in ("?example=2_screw_good", "?source=item:7", "?source=", ""):
        with pytest.raises(ImageError):
            address.open_image(workspace, examples, query)


@pytest.mark.parametrize(
    "source",
    ["", "/etc/passwd", "run:../0", "run:a/b/0", "run:..\\x/0", "run:x/-1", "run:x/١", "item:",
     "item:1 ", "item:-1", "file:x", "RUN:x/0", "run:gone/0", "item:1"],
)
def test_only_known_names_are_opened(source, workspace):
    with pytest.raises(ImageError):
        open_source(workspace, source)


def test_a_test_picture_of_a_run_is_opened(workspace, tiny_scorer, parts_folder):
    samples = [s for s in load_folder(parts_folder) if s.class_name == "screw"]
    run = evaluate_model(tiny_scorer, samples, parts_folder, workspace.features)
    written = run.write(workspace.runs / "night shift")
    row = written.images.iloc[1]
    opened = open_source(workspace, "run:night shift/1")
    assert opened.tobytes() == read_image(parts_folder / row["path"]).tobytes()
    with pytest.raises(LTADError, match="999"):
        open_source(workspace, "run:night shift/999")


def test_a_picture_of_a_batch_is_opened(tmp_path):
    workspace = Workspace(tmp_path)
    buffer = io.BytesIO()
    Image.new("RGB", (30, 20), (1, 2, 3)).save(buffer, "PNG")
    key = ImageStore(workspace.images).put(buffer.getvalue())
    database = Database(workspace.database)
    batch = database.create_batch("line 1", "Ann", "demo", {})
    good, broken = database.add_items(
        batch.id, [NewItem("a.png", key), NewItem("b.png", "", "b.png is empty.")]
    )
    assert open_source(workspace, f"item:{good}").getpixel((0, 0)) == (1, 2, 3)
    with pytest.raises(LTADError, match="empty"):
        open_source(workspace, f"item:{broken}")
    with pytest.raises(LTADError, match="99"):
        open_source(workspace, "item:99")


def test_another_model_brings_its_own_settings(registry, tiny_scorer):
    own = controls.defaults_text(tiny_scorer, tiny_scorer.name)
    same = controls.configure(registry, tiny_scorer.name, own)
    assert all(update == {"__type__": "update"} for update in same)
    text, class_name, normal, *sliders = controls.configure(registry, "mine", own)
    assert json.loads(text)["model"] == "mine" and class_name["value"] == ""
    assert {name for _, name in class_name["choices"]} == {"", *tiny_scorer.class_names}
    assert normal["value"] == "a" and sliders[1]["maximum"] == 2 * tiny_scorer.config.model.lam
    with pytest.raises(LTADError, match="no model"):
        controls.configure(registry, "gone", own)
    assert controls.model_choices(registry, "gone")["value"] == tiny_scorer.name
    assert controls.model_choices_now(registry, "gone")["value"] == tiny_scorer.name
    assert "value" not in controls.model_choices_now(registry, "mine")


def test_score_takes_a_model(registry, tiny_scorer):
    jpeg = photo_jpeg(Image.new("RGB", (40, 40), (9, 90, 200)))
    picture = {"url": data_url(jpeg, "image/jpeg")}
    settings = ("screw", "", "", 5.0, 1.0, 0.05, 0.0)
    first = inspect.score(registry, picture, *settings, False)
    again = inspect.score(registry, picture, *settings, False, "mine")
    assert first["score"] == pytest.approx(again["score"], rel=1e-4)
    with pytest.raises(LTADError, match="nope"):
        inspect.score(registry, picture, *settings, False, "nope")


@pytest.mark.parametrize(("place", "value", "words"), [
    (0, None, "no image"), (0, "part.jpg", "no image"), (0, {"path": "/etc/passwd"}, "not upload"),
    (1, "gear wheel", "gear wheel"), (4, "much", "lam is 'much'"), (5, -1, "tau is -1"),
    (6, "all", "rate is all"), (6, None, "rate is None"), (6, 1, "rate is 1"),
])
def test_score_says_what_was_wrong_with_each_value(registry, place, value, words):
    """What a program sends comes to it as it was sent."""
    jpeg = photo_jpeg(Image.new("RGB", (40, 40), (9, 90, 200)))
    sent = [{"url": data_url(jpeg, "image/jpeg")}, "screw", "", "", 5.0, 1.0, 0.05, 0.0, False]
    sent[place] = value
    with pytest.raises(LTADError, match=words):
        inspect.score(registry, *sent)


def test_a_class_of_another_model_gives_way(registry):
    told = class_names.of_model(
        registry, lambda scorer, name, rest: (name, rest), "mine", "gear", 4)
    assert told == (registry.first.class_names[0], 4)


def test_a_weight_above_one_lies_in_the_middle_of_its_slider(tiny_scorer):
    detector = copy.copy(tiny_scorer.detector)
    detector.config = detector.config.replace(good_units=True, lam=0.25, reference_weight=2.0)
    ranges = controls.slider_ranges(tiny_scorer.with_detector(detector))
    assert ranges["lambda"] == (0.0, 2.0, 0.05) and ranges["reference"] == (0.0, 4.0, 0.05)
