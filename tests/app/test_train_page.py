"""The Train tab: its endpoints from outside, and once in Chromium from upload to comparison."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from gradio_client import Client, handle_file
from PIL import Image

from ltad.app.page import launch_options
from ltad.app.train import build_train
from ltad.app.train_view import LOSS_NAMES, loss_figure
from ltad.inference.registry import ModelRegistry
from ltad.jobs import worker
from ltad.jobs.job import find_job, job_names
from ltad.jobs.worker import config_for_few_images
from ltad.review.database import Database
from ltad.review.images import ImageStore
from ltad.review.records import ItemResult, NewItem
from ltad.synthetic.render import render_part
from ltad.workspace import Workspace

if not os.environ.get("CI"):
    pytest.importorskip("playwright")
from playwright.sync_api import expect

WAIT = 240  # seconds, for a slow machine


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten good gears, one piece of leather, and a file that is no image."""
    folder = tmp_path_factory.mktemp("brought")
    for index in range(10):
        picture = render_part("gear", 900 + index, 96).image
        Image.fromarray(picture).save(folder / f"gear_{index}.png")
    Image.fromarray(render_part("leather", 1, 96).image).save(folder / "stranger.png")
    (folder / "<b>broken.png").write_bytes(b"nothing")
    return folder


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="module")
def address(tiny_scorer: Any, workspace: Workspace) -> Iterator[str]:
    registry = ModelRegistry(tiny_scorer, workspace.models)
    with pytest.MonkeyPatch.context() as patch, gr.Blocks(analytics_enabled=False) as page:
        patch.setattr(worker, "config_for_few_images", lambda base, counts: config_for_few_images(
            base, counts).replace(phase1_epochs=2, phase2_epochs=6))
        with gr.Tab("Start"):
            gr.Markdown("Nothing here")
        with gr.Tab("Train") as tab:
            build_train(registry, workspace, tab)
        page.queue()
        _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, **launch_options())
        yield url
        page.close()


def test_a_model_is_taught_and_compared_through_the_api(address, folder, workspace):
    client = Client(address, download_files=False, verbose=False)
    gears = [handle_file(path) for path in sorted(folder.glob("gear_*.png"))]
    brought = [*gears, handle_file(folder / "<b>broken.png"), handle_file(folder / "stranger.png")]
    found = client.predict("by api", "cog", "learn", brought, "", api_name="/teach_check")
    assert found["kept"] == 11 and "broken.png" in found["refused"][0]
    assert found["parts"]["cog"] == {"learn": 11, "test good": 0, "test defective": 0}
    left = client.predict("by api", "cog", "learn", "010_stranger.png", api_name="/teach_remove")
    assert left["parts"]["cog"]["learn"] == 10
    for name, part in (("../evil", "cog"), ("fine", "../cog")):
        with pytest.raises(Exception, match="may hold only letters"):
            client.predict(name, part, "learn", gears[:1], "", api_name="/teach_check")
    with pytest.raises(Exception, match="not one that the operator"):
        client.predict("by api", "cog", "learn", None, "/etc", api_name="/teach_check")
    state = client.predict("by api", False, 0.1, api_name="/teach_start")
    end = time.monotonic() + WAIT
    while state["state"] == "started":
        assert time.monotonic() < end, state
        time.sleep(0.5)
        state = client.predict("by api", api_name="/teach_status")
    assert state["state"] == "finished", state["message"]
    steps = [step for step, _ in state["losses"]["phase 2: reconstruction"]]
    assert steps == list(range(1, len(steps) + 1)) and state["seconds"] > 0
    assert set(state["losses"]) == set(LOSS_NAMES)
    card = client.predict("by api", api_name="/model_card")
    assert card["classes"] == ["cog"] == card["new_classes"]
    assert card["figures"]["classes"][0]["held_out"] == 10  # each in its turn
    first = find_job(workspace, "by api").record()["first_model"]
    pairs = client.predict(first, "by api", gears[:3], 0.05, api_name="/model_compare")
    assert [p["title"] for p in pairs["pictures"]] == ["gear_0.png", "gear_1.png", "gear_2.png"]
    assert {p["second"]["class_name"] for p in pairs["pictures"]} == {"cog"}
    assert pairs["rows"] == []
    known = client.predict(first, "by api", None, 0.05, api_name="/model_compare")
    assert (known["rows"][0]["good"], known["rows"][0]["defective"]) == (10, 10)


def test_every_loss_of_a_training_has_words():
    points = [(step, 1.0 / step) for step in range(1, 500)]
    figure = loss_figure(dict.fromkeys(LOSS_NAMES, points))
    assert [trace.name for trace in figure.data] == list(LOSS_NAMES.values())
    assert all(name.startswith(("Phase 1: ", "Phase 2: ")) for name in LOSS_NAMES.values())
    assert [trace.x[0] for trace in figure.data] == [2.0] * 4  # the mean of steps 1 to 3


def test_good_pictures_chosen_in_review_are_taken_and_no_others(address, folder, workspace):
    client = Client(address, download_files=False, verbose=False)
    with pytest.raises(Exception, match="No image is chosen for training yet"):
        client.predict("from review", "cog", api_name="/teach_review")
    assert "from review" not in job_names(workspace)
    database, store = Database(workspace.database), ImageStore(workspace.images)
    batch = database.create_batch("line 4", "Ann", "", {})
    paths = sorted(folder.glob("gear_*.png"))
    ids = database.add_items(
        batch.id, [NewItem(path.name, store.put(path.read_bytes())) for path in paths]
    )
    database.record_outcomes({
        one: ItemResult(96, 96, "leather", 0.9, True, 1.0, 1.0, 0.5, 1.9) for one in ids
    })
    for place, one in enumerate(ids):  # the first is called defective, the second by nobody
        if place != 1:
            database.decide(one, "good" if place else "defective", "Ann")
    for one in ids[2:8]:
        database.set_for_training(one, True, "Ann")
    database.decide(ids[7], "unsure", "Bo")  # doubted after it was chosen: it teaches nothing
    found = client.predict("from review", "cog", api_name="/teach_review")
    assert (found["kept"], found["refused"]) == (5, [])
    assert found["parts"] == {"cog": {"learn": 5, "test good": 0, "test defective": 0}}
    taken = {facts.name.split("_", 1)[1] for facts in
             find_job(workspace, "from review").facts()["cog"]}
    assert taken == {path.name for path in paths[2:7]}
    client.predict("from review", api_name="/teach_discard")


@pytest.mark.browser
def test_teaching_in_the_browser_survives_a_reload(visit, address, folder, workspace):
    page = visit(address, 390, 800)
    page.set_default_timeout(1000 * WAIT)
    page.goto(address)
    page.get_by_role("tab", name="Train").click()
    expect(page.locator("#lt-train-parts .lt-empty")).to_be_visible()
    expect(page.get_by_label("Name of the new model")).not_to_have_value("")
    page.get_by_label("Name of the new model").fill("by hand")
    chooser, part = "#lt-train-files input[type=file]", page.locator("#lt-train-part")
    page.set_input_files(chooser, [*folder.glob("gear_*.png")])  # before their part has a name
    expect(page.locator(".toast-body")).to_contain_text("Name the part first")
    part.locator("input, textarea").fill("cog")
    page.keyboard.press("Tab")
    expect(page.locator(".lt-shot")).to_have_count(10)
    page.set_input_files(chooser, [folder / "stranger.png"])
    expect(page.locator(".lt-shot")).to_have_count(11)
    assert "by hand" in job_names(workspace)
    page.get_by_role("button", name="Leave out 010_stranger.png").click()
    expect(page.locator(".lt-shot")).to_have_count(10)
    wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0, "the page scrolls sideways on a phone"
    page.get_by_role("button", name="Train", exact=True).click()
    expect(page.locator(".lt-state")).to_have_text("Training")
    page.reload()
    page.get_by_role("tab", name="Train").click()
    expect(page.locator(".lt-lesson h3")).to_contain_text("by hand")
    expect(page.locator(".lt-state")).to_have_text(re.compile("^Finished"), timeout=1000 * WAIT)
    expect(page.locator("#lt-train-figures")).to_contain_text("train --data")
    expect(page.locator("#lt-losses .main-svg").first).to_be_visible()
    expect(page.locator(".lt-shot button")).to_have_count(0)
    page.get_by_text("Compare two models on the same images").click()
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.locator(".lt-pair")).to_have_count(20)
    expect(page.locator(".lt-pair img.lt-heat")).to_have_count(40)
