"""The Results tab in Chromium and through the API, on runs that lie on disk."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import gradio as gr
import pytest
from small_runs import COUNTS, write_small_run

from ltad.app.page import launch_options
from ltad.app.results import build_results
from ltad.evaluation.runs import read_run
from ltad.workspace import Workspace

if not os.environ.get("CI"):
    pytest.importorskip("playwright")
from playwright.sync_api import Page, expect


class Registry:
    """The one thing that the tab asks of the models: what they are called."""

    def names(self) -> list[str]:
        return ["demo"]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = Workspace(tmp_path_factory.mktemp("workspace"))
    write_small_run(workspace.runs, "first", seed=1)
    write_small_run(workspace.runs, "second with quite a long name", seed=2, shift=1.0)
    return workspace


@pytest.fixture(scope="module")
def address(workspace: Workspace) -> Iterator[str]:
    with gr.Blocks() as app:
        with gr.Tab("Inspect"):
            gr.HTML("<p>Inspect</p>")
        with gr.Tab("Results") as tab:
            build_results(Registry(), workspace, tab)
    _, url, _ = app.queue().launch(prevent_thread_lock=True, quiet=True, **launch_options())
    yield url.rstrip("/")
    app.close()


@pytest.fixture
def page(visit: Callable[..., Page], address: str) -> Page:
    """The tab with its images and figures loaded."""
    page = visit(address)
    page.goto(address)
    page.get_by_role("tab", name="Results").click()
    for drawn in ("#lt-run-map", "#lt-run-histogram", "#lt-run-curves"):
        expect(page.locator(f"{drawn} .main-svg").first).to_be_visible()
    expect(page.locator(".lt-run-shot").first).to_be_visible()
    return page


def shown(page: Page, count: int) -> None:
    expect(page.locator(".lt-run-shots-count")).to_contain_text(
        f"of {count} images")


@pytest.mark.browser
def test_table_sorts_and_leads_to_a_class_whose_threshold_can_be_dragged(page: Page):
    page.locator("#lt-run-table [data-lt-sort]").nth(2).click()
    column = page.locator("#lt-run-table tbody td:nth-child(3)").all_inner_texts()
    assert len(column) == len(COUNTS)
    assert [float(text) for text in column] == sorted(map(float, column), reverse=True)
    shown(page, 60)
    page.locator("#lt-run-table [data-lt-class='screw']").click()
    shown(page, 20)
    handle = page.locator(".lt-run-handle")
    expect(handle).to_have_count(1)  # all classes had one each
    expect(handle).to_be_visible()
    handle.scroll_into_view_if_needed()
    before = page.locator(".lt-run-shares").inner_text()
    handle.focus()
    for _ in range(30):
        page.keyboard.press("ArrowLeft")
    expect(page.locator(".lt-run-shares")).not_to_have_text(before)
    score = page.locator("#lt-run-score").get_by_role("textbox")
    expect(score).not_to_have_value("")
    page.wait_for_timeout(2_000)  # the figures are drawn anew
    handle.scroll_into_view_if_needed()
    box, low = handle.bounding_box(), float(score.input_value())
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 150, box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    expect(score).not_to_have_value(str(low))
    assert float(score.input_value()) > low


@pytest.mark.browser
def test_a_threshold_among_all_classes_moves_the_rate_and_the_others(page: Page):
    handles = page.locator(".lt-run-handle")
    expect(handles).to_have_count(len(COUNTS))
    handle, other = handles.nth(0), handles.nth(1)
    handle.scroll_into_view_if_needed()
    rate = page.locator("#lt-run-rate input[type=number]")
    expect(rate).to_have_value("0.05")
    before, pictures = other.get_attribute("aria-valuenow"), page.locator("#lt-run-gallery")
    listed = pictures.inner_text()
    box = handle.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] - 25, box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    expect(rate).not_to_have_value("0.05")
    assert float(rate.input_value()) > 0.05
    expect(other).not_to_have_attribute("aria-valuenow", before)
    expect(pictures).not_to_have_text(listed, use_inner_text=True)
    expect(page.locator("#lt-run-score").get_by_role("textbox")).to_have_value("")


@pytest.mark.browser
def test_map_filters_the_gallery_and_a_picture_opens_in_inspect(page: Page):
    page.evaluate("() => { window.ltad.openInInspect = (wish) => { window.wish = wish; }; }")
    expect(page.locator(".lt-run-shot-outline").first).to_have_css("opacity", "1")
    heat = page.locator(".lt-run-shot-heat").last
    expect(heat).to_have_css("opacity", "0")
    page.get_by_label("Heat maps").check()
    expect(heat).to_have_css("opacity", "0.75")
    canvas = page.locator("#lt-run-map .nsewdrag").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 2, box["y"] + 2)
    page.wait_for_timeout(300)
    page.mouse.down()
    for across, down in ((0.5, 0.01), (0.5, 0.99), (0.01, 0.99), (0.01, 0.01)):
        page.mouse.move(box["x"] + across * box["width"], box["y"] + down * box["height"], steps=6)
    page.mouse.up()
    chip = page.locator(".lt-run-chip")
    expect(chip).to_be_visible()
    picked = int(chip.inner_text().split()[0])
    assert 0 < picked < 60
    shown(page, picked)
    page.locator(".lt-run-shot").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    wish = page.evaluate("window.wish")
    assert wish["source"].startswith("run:second with quite a long name/") and wish["lam"] == 5
    assert wish["model"] == "demo" and wish["false_alarm_rate"] == 0.05
    chip.click()
    shown(page, 60)
    page.get_by_role("button", name="Next page").click()
    expect(page.locator(".lt-run-shots-count")).to_contain_text("page 2 of 2")


@pytest.mark.browser
def test_two_runs_differences_csv_and_a_phone(page: Page, workspace: Workspace):
    page.locator("#lt-runs input").click()
    page.get_by_role("option", name="first").click()
    page.keyboard.press("Escape")
    expect(page.locator("#lt-run-table thead .lt-run-name")).to_have_count(2)
    page.locator("#lt-run-baseline input").click()
    page.get_by_role("option", name="Table 3").click()
    all_row = page.locator("#lt-run-table tfoot tr").first
    expected = 100 * read_run(workspace.runs / "first").value("All") - 88.86
    expect(all_row).to_contain_text(f"{expected:+.2f}")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download as CSV").click()
    assert "first: image difference" in Path(download.value.path()).read_text("utf-8")
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_timeout(800)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def call(address: str, endpoint: str, *arguments: object) -> str:
    """The event stream that answers one API call."""
    url = f"{address}/gradio_api/call/{endpoint}"
    request = urllib.request.Request(
        url, json.dumps({"data": arguments}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        event = json.load(reply)["event_id"]
    with urllib.request.urlopen(f"{url}/{event}", timeout=60) as reply:
        return reply.read().decode()


def test_endpoints_answer_with_plain_data_and_open_nothing_else(address: str, workspace: Workspace):
    with urllib.request.urlopen(f"{address}/gradio_api/info", timeout=60) as reply:
        information = json.load(reply)
    assert set(information["named_endpoints"]) == {
        "/runs", "/run_table", "/run_gallery", "/run_confusion", "/run_again", "/run_delete"
    }
    assert not information["unnamed_endpoints"]
    assert '"name": "first"' in call(address, "runs")
    table = call(address, "run_table", ["first"], ["aupro"], "table:6", "", False)
    assert "event: error" in table and "Table 6" in table
    table = call(address, "run_table", ["first"], [], "run:second with quite a long name", "",
                 False)
    assert '"image difference"' in table
    wish = ("screw", "good", "", "highest", 0.1, None, "", 3)
    gallery = call(address, "run_gallery", "first", *wish)
    assert gallery.count('"verdict"') == 3
    run = read_run(workspace.runs / "first")
    confused = call(address, "run_confusion", "first", 0.1, None, "")
    assert f'"screw": {run.thresholds(0.1)["screw"]}' in confused
    write_small_run(workspace.runs, "doomed")
    assert "event: complete" in call(address, "run_delete", "doomed")
    assert not (workspace.runs / "doomed").exists()
    for wrong in ("../first", "first/../first", ""):
        answered = call(address, "run_confusion", wrong, 0.1, None, "")
        assert "There is no run" in answered and str(workspace.root) not in answered
