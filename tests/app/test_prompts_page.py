"""The Prompts tab: its HTML, its handlers and endpoints on a tiny real model, and in Chromium."""

from __future__ import annotations

import base64
import html as markup
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import numpy as np
import pandas as pd
import pytest
from gradio_client import Client, handle_file
from PIL import Image

from ltad.app import prompts, prompts_panels, prompts_view
from ltad.app.html import render
from ltad.app.page import launch_options
from ltad.inference.registry import ModelRegistry
from ltad.prompts.lab import PromptLab
from ltad.prompts.variants import EVERY_CLASS, SHUFFLED
from ltad.synthetic.render import render_part
from ltad.types import GROUPS, LTADError, PromptError, SettingError
from ltad.workspace import Workspace

RUDE = "a <img src=x onerror=alert(1)> ${2+2}"
COLUMNS = [f"{m}_{b}" for m in ("image", "pixel") for b in ("semantic", "combined")]


@pytest.fixture(scope="module")
def lab(tiny_scorer, parts_folder, tmp_path_factory) -> PromptLab:
    workspace = Workspace(tmp_path_factory.mktemp("work"), (parts_folder,))
    return PromptLab(ModelRegistry(tiny_scorer, workspace.models), workspace)


@pytest.fixture(scope="module")
def picture(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "stained.png"
    Image.fromarray(render_part("leather", 801, 96, "stain").image).save(path)
    return path


@pytest.fixture(scope="module")
def photo(lab, picture):
    return prompts.load_photo(lab, "", Image.open(picture))


def csv_of(html: str) -> pd.DataFrame:
    packed = re.search(r"data:text/csv;charset=utf-8;base64,([^']+)", html)[1]
    return pd.read_csv(io.BytesIO(base64.b64decode(packed)))


def test_grid_says_when_the_picture_is_of_no_known_part(lab):
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    unknown = prompts.load_photo(lab, "", Image.fromarray(noise))
    for class_name, is_told in (("", True), ("leather", False)):
        grid, _, _ = prompts.show_grid(
            lab, True, unknown, "", class_name, "a", "a broken", None, None, prompts.SCALES[0]
        )
        assert ("none of the parts this model knows" in grid) == is_told


def test_grid_shows_every_pair_and_exports_its_scores(lab, photo):
    grid, exports, notes = prompts.show_grid(
        lab, True, photo, "", "leather", "a\na good", "a broken\na frobbed", None, None,
        prompts.SCALES[0],
    )
    assert grid.count("<img class='lt-heat'") == 4 and "frobbed" in notes
    rows = csv_of(exports)
    assert rows["abnormal_prompt"].tolist() == ["a broken", "a frobbed"] * 2
    expected = lab.scorer("").score(photo.prepared, "leather", "a good", "a broken")
    assert rows["semantic_score"][2] == pytest.approx(expected.semantic_score, rel=1e-4)
    assert "--class-name leather" in exports
    other = prompts.show_grid(lab, True, photo, "", "", "a", "a broken", None, None,
                              prompts.SCALES[1])[0]
    assert "its own scale" in other


def test_without_a_picture_the_tab_says_what_to_do(lab):
    grid, exports, _ = prompts.show_grid(lab, True, None, "", "", "a", "b", None, None, "")
    assert "click an example" in grid and exports == ""
    assert "once there is" in prompts.show_pairs(lab, None, "", "", None, None, *["a"] * 4)


def test_a_picture_made_ready_for_another_model_waits(lab, photo):
    skipped = prompts.show_grid(lab, True, photo, "another", "", "a", "b", None, None, "")
    assert all(isinstance(one, dict) and "value" not in one for one in skipped)


def test_words_are_escaped_everywhere(lab, photo):
    html = "".join(prompts.show_grid(lab, True, photo, "", "leather", RUDE, RUDE, None, None, ""))
    html += prompts.show_pairs(lab, photo, "", "leather", None, None, RUDE, RUDE, RUDE, RUDE)
    frame = pd.DataFrame([{"state": state, "normal_prompt": RUDE, "abnormal_prompt": RUDE,
                           "name": name, **dict.fromkeys(COLUMNS, 70.0)}
                          for state in ("before", "after") for name in (RUDE, *GROUPS)])
    after = frame[frame["state"] == "after"]
    html += prompts_view.heat_table_html(after, "image", "semantic", RUDE)
    html += prompts_view.change_table_html(frame, [RUDE], RUDE)
    html += render("prompts.renamed", RUDE, RUDE, [RUDE])
    assert "<img src=x" not in html and "${" not in html
    cell = re.search(r"data-lt-pair='([^']+)'", html)[1]
    assert json.loads(markup.unescape(cell)) == [RUDE, RUDE]
    formula = pd.DataFrame({"class": ["=1+1"], "auroc": [-1.0]})
    link = prompts_view.exports_html(formula, "", "a.csv")
    table = base64.b64decode(re.search(r"base64,([^']+)", link)[1]).decode()
    assert table == "class,auroc\n'=1+1,-1.0\n"  # no spreadsheet runs it


def test_two_pairs_are_compared_and_exported(lab, photo):
    shown = prompts.show_pairs(lab, photo, "", "leather", None, None, "a", "a broken", "a good",
                               "a broken")
    rows = csv_of(shown)
    assert rows["normal_prompt"].tolist() == ["a", "a good"]
    assert "--normal a &#x27;a good&#x27; --abnormal &#x27;a broken&#x27;" in shown
    expected = lab.scorer("").score(photo.prepared, "leather", "a good", "a broken")
    assert rows["combined_score"][1] == pytest.approx(expected.score, rel=1e-4)


def test_difference_is_blue_below_and_red_above():
    png = prompts_view.difference_png(np.array([[-9.0, 0.0, 1.0]]), 1.0)
    below, nothing, above = np.asarray(Image.open(io.BytesIO(png)))[0].tolist()
    assert below[2] > below[0] and above[0] > above[2]
    assert (below[3], nothing[3], above[3]) == (255, 0, 255)


def test_measured_grid_becomes_a_heat_table(lab, parts_folder):
    found = prompts_panels.measure_grid(
        lab, "", parts_folder.name, "a\na good", "a broken", None, None
    )
    html, exports = prompts_panels.show_heat(found, "image", "combined", "Low")
    frame = csv_of(exports)
    low = frame[frame["name"] == "Low"]["image_combined"]
    assert all(f"<b>{value:.2f}</b>" in html for value in low)
    assert html.count("lt-prompts-best") == (low == low.max()).sum()
    assert "21 images" in html and "--abnormal 'a broken'" in markup.unescape(exports)
    assert "Nothing measured yet" in prompts_panels.show_heat(None, "image", "combined", "All")[0]


def test_refit_is_kept_chosen_and_dropped(lab, parts_folder):
    html, _, key, _ = prompts_panels.refit_pair(
        lab, "", parts_folder.name, "a", "a damaged", None, None, 3, 1e-2
    )
    assert "3 steps" in html and html.count("→") >= 12
    kept, _ = prompts_panels.keep_refit([], key, "a", "a damaged")
    refreshed = prompts.refresh(lab, key, "screw", parts_folder.name, kept)
    assert refreshed[0]["value"] == key and len(refreshed[0]["choices"]) == 2
    assert lab.scorer(key).config.model.abnormal_prompt == "a damaged"
    assert "mine" in prompts_panels.save_refit(lab, key, " mine ")
    assert "mine" in [name for name, _ in prompts.refresh(lab, "", "", "", [])[0]["choices"]]
    prompts_panels.drop_refit(lab, key)
    with pytest.raises(SettingError, match="no longer"):
        lab.scorer(key)


def test_replacement_says_what_it_reads_and_what_it_costs(lab, photo, parts_folder):
    shown = prompts_panels.show_replacement(
        lab, photo, "", "leather", prompts_panels.WORDS, "frobbed hide", "screw", None, None,
        "a", "a broken",
    )
    assert "frobbed hide" in shown and "in pieces" in shown and shown.count("lt-frame") == 6
    assert csv_of(shown)["state"].tolist() == ["before", "after"]
    assert "--replace &#x27;leather=frobbed hide&#x27;" in shown
    html, exports = prompts_panels.measure_replacement(
        lab, "", parts_folder.name, "leather", prompts_panels.OTHER, "", "screw", None, None,
        "a", "a broken",
    )
    assert ">leather<" in html and "@class:screw" in exports
    assert set(csv_of(exports)["state"]) == {"before", "after"}
    assert prompts_panels.replacement_of(prompts_panels.SHUFFLED_KIND, "", "", EVERY_CLASS) == {
        EVERY_CLASS: SHUFFLED
    }
    with pytest.raises(SettingError, match="every class"):
        prompts_panels.replacement_of(prompts_panels.SHUFFLED_KIND, "", "", "leather")
    with pytest.raises(PromptError, match="Type the words"):
        prompts_panels.replacement_of(prompts_panels.WORDS, " ", "", "leather")


def test_no_test_set_is_explained(lab):
    with pytest.raises(LTADError, match="server folder"):
        prompts_panels.measure_grid(lab, "", None, "a", "b", None, None)


@pytest.fixture(scope="module")
def address(lab, picture, tmp_path_factory) -> Iterator[str]:
    examples = tmp_path_factory.mktemp("examples") / "1_leather_stained.jpg"
    Image.open(picture).save(examples)
    with gr.Blocks(analytics_enabled=False) as page:
        prompts.build_prompts(lab.registry, lab.workspace, [examples])
    _, url, _ = page.queue().launch(prevent_thread_lock=True, quiet=True, **launch_options())
    yield url
    page.close()


def test_endpoints_take_and_give_plain_data(address, lab, parts_folder, picture):
    client, data = Client(address, verbose=False), parts_folder.name
    named = client.view_api(return_format="dict")["named_endpoints"]
    assert set(named) == {"/prompt_grid", "/prompt_auroc", "/prompt_refit", "/prompt_replace",
                          "/prompt_data", "/prompt_save", "/prompt_drop"}
    assert client.predict(api_name="/prompt_data", model="") == ["rendered parts", data]
    grid = client.predict(handle_file(str(picture)), ["a"], ["a broken"], "leather", None, None,
                          True, "", api_name="/prompt_grid")
    expected = lab.scorer("").score(picture, "leather", "a", "a broken")
    assert grid["pairs"][0]["semantic_score"] == pytest.approx(expected.semantic_score, rel=1e-4)
    assert np.shape(grid["pairs"][0]["semantic_map"]) == (64, 64)
    auroc = client.predict(data, ["a"], ["a broken"], None, None, "", api_name="/prompt_auroc")
    assert len(auroc["figures"]) == 6 and auroc["pictures"] == 21
    refit = client.predict(data, "a", "a broken", 2, 0.01, None, None, "",
                           api_name="/prompt_refit")
    again = client.predict(data, ["a"], ["a broken"], None, None, refit["model"],
                           api_name="/prompt_auroc")
    after = [row for row in refit["figures"] if row["state"] == "after"]
    assert [r["image_semantic"] for r in again["figures"]] == [r["image_semantic"] for r in after]
    cost = client.predict(data, "screw", "@own", "a", "a broken", None, None, "",
                          api_name="/prompt_replace")
    assert "--replace screw=@own" in cost["command"]
    with pytest.raises(Exception, match="no data set"):
        client.predict("/etc", ["a"], ["b"], None, None, "", api_name="/prompt_auroc")


@pytest.mark.browser
def test_a_visit_from_picture_to_refit(visit, address, parts_folder):
    from playwright.sync_api import expect

    page = visit(address, 390, 844)
    page.goto(address)
    page.get_by_role("button", name="Example: leather").click()
    expect(page.locator("#lt-prompts-maps .lt-heat")).to_have_count(16)
    page.get_by_role("button", name="Make a good / a defective pair B").first.click()
    expect(page.get_by_label("B: vᵃ")).to_have_value("a defective")
    expect(page.locator("#lt-prompts-compared")).to_contain_text("a good / a defective")
    page.get_by_label("Words for normal").fill("a\na zzyzx")
    expect(page.locator("#lt-prompts-maps .lt-heat")).to_have_count(8)
    page.get_by_label("Test set").click()
    page.get_by_role("option", name=parts_folder.name).click()
    page.locator("#lt-prompts-measure").click()
    expect(page.locator(".lt-prompts-heat td b")).to_have_count(8)
    page.locator("#lt-prompts-refit-run").click()
    expect(page.locator("#lt-prompts-refit table")).to_be_visible()
    page.get_by_role("button", name="Keep for this visit").click()
    expect(page.locator("#lt-prompts-model input")).to_have_value(re.compile("refit 1"))
    expect(page.locator("#lt-prompts-maps .lt-heat")).to_have_count(8)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    captions = page.locator(".lt-prompts-scroll caption > span").evaluate_all(
        "all => all.map(one => one.getBoundingClientRect().right)"
    )
    assert len(captions) == 3 and max(captions) <= 390
