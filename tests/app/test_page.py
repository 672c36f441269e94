"""The page in Chromium, on a real model: what a visitor does first, and what must not go wrong."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ltad.app.page import build_app, launch_options
from ltad.data.datasets import load_folder
from ltad.synthetic.render import render_part
from ltad.training.train import train
from ltad.workspace import Workspace

if not os.environ.get("CI"):
    pytest.importorskip("playwright")
from playwright.sync_api import Locator, Page, expect

pytestmark = pytest.mark.browser

expect.set_options()  # of a busy machine; by default it is five seconds


class Dawdler:
    """A scorer that takes long over the prompts it is told to take long over."""

    def __init__(self, scorer: Any) -> None:
        self._scorer = scorer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._scorer, name)

    def score(self, *question: Any) -> Any:
        if "a scratched" in question:
            time.sleep(1.5)
        return self._scorer.score(*question)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good part, a scratched one, an oblong one, a broken file, and an example."""
    folder = tmp_path_factory.mktemp("pictures")
    Image.fromarray(render_part("hex_nut", 800, 96).image).save(folder / "good.png")
    leather = Image.fromarray(render_part("leather", 801, 96, "stain").image)
    leather.save(folder / "stained.png")
    leather.resize((200, 100)).save(folder / "wide.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n but nothing else")
    (folder / "examples").mkdir()
    leather.save(folder / "examples" / "1_leather_stained.jpg")
    return folder


@pytest.fixture(scope="module")
def address(tiny_scorer: Any, tiny_model_folder: Path, folder: Path) -> Iterator[str]:
    workspace = Workspace(folder / "work")
    shutil.copytree(tiny_model_folder, workspace.models / "mine")
    app = build_app(Dawdler(tiny_scorer), folder / "examples", workspace)
    _, url, _ = app.launch(prevent_thread_lock=True, quiet=True, **launch_options())
    yield url
    app.close()




@pytest.fixture
def page(visit: Callable[..., Page], address: str) -> Iterator[Page]:
    """A fresh visit; afterwards the console must be clean too."""
    page = visit(address)
    complaints: list[str] = []
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    open_page(page, address)
    yield page
    page.close()
    # Gradio complains of its own streams when a page is left while they are open.
    cut_off = ("AbortError", "Connection errored out")
    assert [text for text in complaints if not any(cut in text for cut in cut_off)] == []


def open_page(page: Page, address: str) -> None:
    page.goto(address)
    expect(page.locator(".lt-empty")).to_be_visible()
    expect(page.get_by_role("button", name="Example: leather")).to_be_visible()


def show(page: Page, picture: Path) -> None:
    page.set_input_files("#lt-photo input[type=file]", picture)


def wait_for_answer(page: Page) -> None:
    expect(page.locator(".lt-verdict h2")).to_be_visible()
    expect(page.locator(".lt-heat")).to_have_count(3)


def open_tab(page: Page, name: str) -> None:
    """On a phone the last tabs hide behind a menu."""
    tab = page.get_by_role("tab", name=name)
    if not tab.is_visible():
        page.locator(".overflow-menu > button").click()
        tab = page.locator(".overflow-dropdown").get_by_text(name)
    tab.click()


def settled(text: Locator) -> str:
    """What is written there once it no longer changes."""
    before, now = "", text.inner_text()
    while now != before:
        text.page.wait_for_timeout(1500)
        before, now = now, text.inner_text()
    return now


def values(page: Page) -> list[str]:
    return page.locator(".lt-value").all_inner_texts()


def test_upload_gives_verdict_and_three_maps(page: Page, folder: Path):
    show(page, folder / "good.png")
    wait_for_answer(page)
    assert page.locator(".lt-verdict h2").inner_text().strip(" ?").upper() in (
        "NORMAL", "ANOMALOUS", "NOT JUDGED"
    )
    assert page.locator(".lt-bars li").count() == 3
    widths = page.locator(".lt-heat").evaluate_all("all => all.map(one => one.naturalWidth)")
    assert widths == [64, 64, 64]
    expect(page.get_by_role("status").filter(has_text="Score")).to_have_text(
        re.compile("the threshold"))
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save the maps").click()
    with Image.open(saved.value.path()) as maps:
        assert maps.format == "PNG" and maps.width > 3 * 96 and maps.height > 96
    with page.expect_download() as saved:
        page.get_by_role("link", name="Save the numbers").click()
    numbers = json.loads(Path(saved.value.path()).read_text())
    assert numbers["verdict"] == page.locator(".lt-verdict h2").inner_text().strip(" ?").lower()


def test_maps_keep_the_photographs_proportions(page: Page, folder: Path):
    show(page, folder / "wide.png")
    wait_for_answer(page)
    box = page.locator(".lt-frame").first.bounding_box()
    assert box["width"] / box["height"] == pytest.approx(2, rel=0.02)


def test_example_is_one_click_and_has_a_name(page: Page):
    page.get_by_role("button", name="Example: leather stained").click()
    wait_for_answer(page)


def test_pointing_reads_all_three_maps(page: Page, folder: Path):
    show(page, folder / "stained.png")
    wait_for_answer(page)
    assert all(text.startswith("highest") for text in values(page))
    page.locator(".lt-frame").nth(1).hover(position={"x": 40, "y": 50})
    expect(page.locator(".lt-value").first).not_to_contain_text("highest")
    combined, reconstruction, semantic = map(float, values(page))
    assert combined == pytest.approx(reconstruction + 5 * semantic, rel=0.02, abs=0.02)
    assert page.locator(".lt-cross-x:visible").count() == 3
    page.keyboard.press("Escape")
    page.locator(".lt-frame").first.focus()
    before = values(page)[0]
    for _ in range(6):
        page.keyboard.press("ArrowRight")
    expect(page.locator(".lt-value").first).not_to_have_text(before)


def test_opacity_acts_without_the_server(page: Page, folder: Path):
    show(page, folder / "stained.png")
    wait_for_answer(page)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.locator("[data-lt-opacity]").fill("20")
    expect(page.locator(".lt-heat").first).to_have_css("opacity", "0.2")
    assert not [url for url in asked if "queue" in url]


def test_the_last_prompt_typed_is_the_one_answered(page: Page, folder: Path):
    show(page, folder / "stained.png")
    wait_for_answer(page)
    heat = page.locator(".lt-heat").nth(2)
    first = heat.get_attribute("src")
    box = page.get_by_label("Words for anomalous")
    box.fill("a stained")
    expect(heat).not_to_have_attribute("src", first)
    wanted = heat.get_attribute("src")
    box.fill("a scratched")  # slow to answer
    page.wait_for_timeout(500)
    box.fill("")
    box.press_sequentially("a stained", delay=20)  # quick to answer
    page.wait_for_timeout(2500)  # for an answer to the slow one, if it came last
    expect(heat).to_have_attribute("src", wanted)
    page.wait_for_timeout(1000)
    assert heat.get_attribute("src") == wanted


def test_lambda_acts_live_and_reset_restores(page: Page, folder: Path):
    show(page, folder / "stained.png")
    wait_for_answer(page)
    score = page.locator(".lt-gauge-text b")
    first = score.inner_text()
    page.get_by_role("spinbutton", name="λ").fill("10")
    page.keyboard.press("Tab")
    expect(score).not_to_have_text(first)
    page.get_by_role("button", name="Reset to the model").click()
    expect(score).to_have_text(first)


def test_a_number_beyond_its_slider_is_set_back_with_a_word(page: Page):
    box = page.get_by_role("spinbutton", name="λ")
    box.fill("99999")
    line = page.locator(".lt-clamped")
    expect(line).to_have_text("99999 lies outside of 0 to 10, so it becomes 10.")
    box.press("Tab")
    expect(box).to_have_value("10")
    box.fill("3")
    expect(line).to_have_count(0)


def test_suggestion_chip_and_identical_prompts(page: Page, folder: Path):
    page.get_by_role("button", name="a flawless", exact=True).click()
    expect(page.get_by_label("Words for normal")).to_have_value("a flawless")
    page.get_by_label("Words for anomalous").fill("a flawless")
    expect(page.locator("#lt-notes")).to_contain_text("0.5 everywhere")
    page.get_by_label("Words for anomalous").fill("a zzyzx")
    expect(page.locator("#lt-notes")).to_contain_text("zzyzx")


def test_broken_file_is_refused_with_a_message(page: Page, folder: Path):
    show(page, folder / "good.png")
    wait_for_answer(page)
    show(page, folder / "broken.png")
    expect(page.locator(".toast-body").first).to_contain_text("broken.png")
    expect(page.locator("#lt-answer")).to_contain_text("This image cannot be used")
    expect(page.locator("#lt-answer")).to_contain_text("broken.png is not an image")
    expect(page.locator(".lt-verdict")).to_have_count(0)
    assert page.locator(".toast-body").inner_text().count("broken.png") == 1
    assert str(folder) not in page.locator("body").inner_text()


def test_words_that_cannot_be_read_leave_the_picture_and_say_so(page: Page, folder: Path):
    show(page, folder / "good.png")
    wait_for_answer(page)
    page.get_by_label("Words for normal").fill("zzyzx " * 33)
    expect(page.locator("#lt-answer")).to_contain_text("No answer to these settings")
    expect(page.locator("#lt-answer [role=alert]")).to_contain_text("Use fewer words")
    expect(page.locator("body")).not_to_have_class(re.compile("lt-waiting"))
    page.get_by_label("Words for normal").fill("a good")
    wait_for_answer(page)


def test_an_older_answer_does_not_stay_beside_settings_that_the_server_refuses(
    visit: Callable[..., Page], address: str, folder: Path
):
    page = visit(address)
    open_page(page, address)
    show(page, folder / "good.png")
    wait_for_answer(page)
    page.route("**/gradio_api/run/**", lambda route: route.fulfill(
        status=500, json={"error": "64 others wait"}))
    page.get_by_label("Words for normal").fill("a fine")
    expect(page.locator("#lt-answer [role=alert]")).to_contain_text("too many ask")
    expect(page.locator("#lt-result")).to_have_text("")
    expect(page.locator("body")).not_to_have_class(re.compile("lt-waiting"))
    page.unroute("**/gradio_api/run/**")
    page.get_by_label("Words for normal").fill("a good")
    wait_for_answer(page)
    page.close()


def test_class_names_tab_shows_tables_and_figures(page: Page):
    page.get_by_role("tab", name="Class names").click()
    expect(page.locator(".js-plotly-plot .main-svg").first).to_be_visible()
    expect(page.locator("#lt-similarity .main-svg").first).to_be_visible()
    assert page.locator(".lt-cards table").count() >= 3
    page.get_by_label("Find a word on the map").fill("nut")
    expect(page.locator("#lt-vocabulary .legend")).to_contain_text("nut")


def test_class_names_of_another_model_are_asked_for_once(page: Page, address: str):
    open_page(page, f"{address}?model=mine")
    asked: list[str] = []
    page.on("request", lambda one: asked.append(one.url) if "/queue/join" in one.url else None)
    open_tab(page, "Class names")
    expect(page.locator("#lt-similarity .main-svg").first).to_be_visible()
    page.wait_for_timeout(1500)
    asked.clear()
    page.wait_for_timeout(1500)
    assert asked == []
    open_tab(page, "Inspect")
    expect(page.locator("body")).to_have_attribute("data-lt-tab", "inspect")
    assert page.locator(".toast-body").count() == 0


def test_dark_mode_changes_page_and_figures(page: Page, address: str, folder: Path):
    def text_colour() -> str:
        page.get_by_role("tab", name="Class names").click()
        text = page.locator("#lt-similarity .main-svg text").first
        expect(text).to_be_attached()
        return text.evaluate("one => getComputedStyle(one).fill")

    open_page(page, f"{address}?__theme=light")
    light = text_colour()
    open_page(page, f"{address}?__theme=dark")
    assert "dark" in page.locator("body").get_attribute("class")
    assert text_colour() != light


def test_phone_width_needs_no_sideways_scrolling(page: Page, folder: Path):
    page.set_viewport_size({"width": 390, "height": 844})
    show(page, folder / "stained.png")
    wait_for_answer(page)
    photo, answer = (page.locator(one).bounding_box() for one in ("#lt-photo", ".lt-verdict"))
    assert photo["y"] < answer["y"] < page.get_by_label("Words for normal").bounding_box()["y"]
    for tab in ("Inspect", "Class names", "Draw a defect"):
        open_tab(page, tab)
        page.wait_for_timeout(800)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_state_stands_in_the_address_and_comes_back(page: Page, address: str):
    page.get_by_role("button", name="Example: leather stained").first.click()
    wait_for_answer(page)
    page.get_by_label("Model", exact=True).click()
    page.get_by_role("option", name="mine").click()
    expect(page).to_have_url(re.compile("model=mine"))  # and it is set up
    heat = page.locator(".lt-heat").nth(2)
    before = heat.get_attribute("src")  # the same for both models, which are copies
    page.get_by_label("Words for anomalous").fill("a dented")
    expect(page).to_have_url(re.compile("abnormal=a\\+dented"))
    expect(heat).not_to_have_attribute("src", before)
    assert "example=1_leather_stained" in page.url and "model=mine" in page.url
    scores, link = page.locator(".lt-gauge-text").inner_text(), page.url
    page.goto("about:blank")
    page.goto(link)
    wait_for_answer(page)
    expect(page.get_by_label("Words for anomalous")).to_have_value("a dented")
    expect(page.get_by_label("Model", exact=True)).to_have_value("mine")
    expect(page.locator(".lt-gauge-text")).to_have_text(re.compile(scores.split()[1]))
    page.goto("about:blank")
    page.goto(f"{address}?tab=names&lambda=plenty")
    expect(page.locator(".toast-body")).to_contain_text("plenty")
    expect(page.get_by_role("tab", name="Class names")).to_have_attribute("aria-selected", "true")


def test_another_tab_opens_a_picture_in_inspect(page: Page):
    open_tab(page, "Class names")
    page.evaluate("window.ltad.openInInspect({source: 'item:7', class_name: 'screw', lam: 3})")
    expect(page.locator(".toast-body")).to_contain_text("image 7")
    expect(page.get_by_label("Class of the part")).to_have_value("screw")
    expect(page.get_by_role("spinbutton", name="λ")).to_have_value("3")


def test_a_painted_defect_is_judged_and_undone_by_keyboard(page: Page, folder: Path):
    open_tab(page, "Draw a defect")
    page.set_input_files("#lt-draw-photo input[type=file]", folder / "good.png")
    canvas = page.locator(".lt-stage canvas")
    expect(canvas).to_be_visible()
    expect(page.locator("#lt-draw-answer")).to_contain_text("Nothing painted")
    edge = canvas.bounding_box()
    page.mouse.move(edge["x"] + 0.3 * edge["width"], edge["y"] + 0.4 * edge["height"])
    page.mouse.down()
    page.mouse.move(edge["x"] + 0.7 * edge["width"], edge["y"] + 0.5 * edge["height"], steps=8)
    page.mouse.up()
    painted = page.locator(".lt-coverage td").first
    expect(painted).not_to_have_text("0.0%")
    page.get_by_role("radio", name="Hole").focus()
    page.keyboard.press("Space")
    first = settled(painted)
    canvas.focus()
    page.keyboard.press("Space")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    expect(painted).not_to_have_text(first)
    page.keyboard.press("Control+z")
    expect(painted).to_have_text(first)
    page.keyboard.press("Control+z")
    expect(page.locator("#lt-draw-answer")).to_contain_text("Nothing painted")


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (1280, 720)])
def test_the_main_job_is_in_one_view(page: Page, folder: Path, width: int, height: int):
    """Photograph, three maps, verdict, both prompts, lambda and the class, without scrolling."""
    page.set_viewport_size({"width": width, "height": height})
    show(page, folder / "good.png")
    wait_for_answer(page)
    wanted = [page.locator("#lt-photo img").first, page.locator(".lt-verdict h2"),
              page.locator(".lt-class h3"), page.get_by_label("Class of the part"),
              page.get_by_label("Words for normal"), page.get_by_label("Words for anomalous"),
              page.get_by_role("spinbutton", name="λ"),
              *(page.locator(".lt-frame").nth(place) for place in range(3))]
    for one in wanted:
        box = one.bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= height, (str(one), box)
        assert box["x"] >= 0 and box["x"] + box["width"] <= width, (str(one), box)
    page.get_by_role("button", name="Reset to the model").scroll_into_view_if_needed()
    for place in range(3):  # the maps stay in view while the last control is edited
        expect(page.locator(".lt-frame").nth(place)).to_be_in_viewport(ratio=0.95)


def test_on_a_phone_the_verdict_and_a_map_come_first_and_the_words_are_one_thumb_away(
    page: Page, folder: Path
):
    page.set_viewport_size({"width": 390, "height": 844})
    show(page, folder / "good.png")
    wait_for_answer(page)
    verdict, frame = (page.locator(one).first.bounding_box()
                      for one in (".lt-verdict h2", ".lt-frame"))
    assert verdict["y"] + verdict["height"] < frame["y"] + frame["height"] <= 844 + 30
    page.get_by_role("button", name="Words and numbers").click()
    box = page.get_by_label("Words for anomalous")
    expect(box).to_be_in_viewport()
    expect(page.locator(".lt-frame").first).to_be_in_viewport(ratio=0.6)
    box.fill("a dirty")
    expect(page.locator(".lt-moved")).to_contain_text("Since “a / a broken”")
    page.locator("#lt-sheet").click()
    expect(box).not_to_be_visible()


def test_words_say_how_much_they_moved_and_when_they_do_nothing(page: Page, folder: Path):
    show(page, folder / "stained.png")
    wait_for_answer(page)
    line = page.locator(".lt-moved")
    expect(line).to_have_text("")
    page.get_by_label("Words for anomalous").fill("a stained")
    expect(line).to_have_text(re.compile(
        r"Since “a / a broken”: \d+\.\d% of the semantic map's pixels moved by more than 0.05, on "
        r"average by 0\.\d{3}\."))
    page.get_by_label("Words for anomalous").fill("a blorf")
    expect(page.locator("#lt-result .lt-notice")).to_contain_text("only 0.0% of its pixels differ")
    expect(line).to_contain_text("Since “a / a stained”")


def test_a_map_is_enlarged_and_zoomed(page: Page, folder: Path):
    show(page, folder / "wide.png")
    wait_for_answer(page)
    small = page.locator(".lt-frame").first.bounding_box()
    page.get_by_role("button", name="Enlarge the combined map").click()
    large = page.locator("dialog.lt-large .lt-frame")
    box = large.bounding_box()
    assert box["width"] > 3 * small["width"] and box["width"] / box["height"] == pytest.approx(
        2, rel=0.02)
    page.mouse.move(640, 450)
    page.mouse.wheel(0, -400)
    page.wait_for_timeout(200)
    assert large.bounding_box()["width"] > 2 * box["width"]
    page.get_by_role("button", name="Close").click()
    expect(page.locator("dialog.lt-large")).to_have_count(0)


NOTE_FORMULAS = """() => {
    const answer = document.getElementById("lt-result");
    const formula = () => answer.querySelector(".lt-maps figcaption span")?.innerText;
    const before = formula();
    window.formulas = new Set();
    new MutationObserver(() => {
        const now = formula();
        if (now && now !== before) window.formulas.add(now);
    }).observe(answer, { childList: true, subtree: true, characterData: true });
}"""
"""Keeps the weights of every combined map that the page shows from now on."""


def test_a_part_that_nobody_trained_is_inspected_beside_good_photographs(
    page: Page, folder: Path, tmp_path: Path
):
    good = []
    for number in range(3):
        good.append(tmp_path / f"washer {number}.png")
        Image.fromarray(render_part("washer", 900 + number, 96).image).save(good[-1])
    broken = tmp_path / "broken washer.png"
    Image.fromarray(render_part("washer", 950, 96, "broken_piece").image).save(broken)
    show(page, broken)
    wait_for_answer(page)
    page.get_by_role("button", name="Inspect a part that nobody trained").click()
    page.get_by_role("button", name="Compare with these").click()
    expect(page.get_by_text("There is no photograph of the part")).to_be_visible()
    page.get_by_label("What it is, in words").fill("steel washer")
    page.set_input_files("#lt-reference-files input[type=file]", good)
    expect(page.locator("#lt-reference-files").get_by_text("washer 2")).to_be_visible()
    page.evaluate(NOTE_FORMULAS)
    page.get_by_role("button", name="Compare with these").click()
    expect(page.get_by_text("Inspecting as “steel washer”")).to_be_visible()
    expect(page.locator(".lt-class h3")).to_have_text("steel washer")
    titles = page.locator("#lt-result .lt-maps figcaption b")
    expect(titles).to_have_text(["Combined", "Semantic", "Reference"])
    page.wait_for_timeout(1000)
    formulas = page.evaluate("[...window.formulas]")
    assert len(formulas) == 1, f"answers with other settings than the part's own: {formulas}"
    page.get_by_role("tab", name="Draw a defect").click()
    page.set_input_files("#lt-draw-photo input[type=file]", good[0])
    expect(page.locator("#lt-draw-maps figcaption b")).to_have_text(
        ["Combined", "Semantic", "Reference"])
    page.get_by_role("tab", name="Inspect").click()
    page.get_by_role("button", name="Back to the model's own parts").click()
    expect(titles).to_have_text(["Combined", "Reconstruction", "Semantic"])
    expect(page.locator(".lt-class h3")).not_to_have_text("steel washer")


def test_ltad_as_published_is_one_click_away(
    page: Page, folder: Path, address: str, tiny_encoder, tiny_encoder_folder, tiny_config,
    parts_folder, tmp_path: Path,
):
    settings = {"reference_size": 40, "reference_weight": 1.0, "good_units": True, "lam": 0.5,
                "standardize": True, "residual": "nearest"}
    train(load_folder(parts_folder), tiny_encoder, tiny_config.replace(**settings),
          folder / "work" / "models" / "taught", str(tiny_encoder_folder), tmp_path / "features")
    page.goto(f"{address}?model=taught")
    expect(page.get_by_label("Model", exact=True)).to_have_value("taught")
    show(page, folder / "good.png")
    expect(page.locator(".lt-heat")).to_have_count(4)
    formula = page.locator(".lt-maps figcaption span").first
    expect(formula).to_have_text("40% Srec + 20% Ssem + 40% Sref")
    page.get_by_role("button", name="as published").click()
    expect(formula).to_have_text("67% Srec + 33% Ssem")
    expect(page.get_by_text("The reference branch has no part in it")).to_be_visible()
    page.get_by_role("button", name="Reset to the model's defaults").click()
    expect(formula).to_have_text("40% Srec + 20% Ssem + 40% Sref")
    shutil.rmtree(folder / "work" / "models" / "taught")
