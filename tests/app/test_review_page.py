"""The Review tab in Chromium: an inspector's shift by keyboard, and what must never be lost."""

from __future__ import annotations

import io
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
from filelock import FileLock
from PIL import Image

from ltad.app.page import launch_options
from ltad.app.review import build_review
from ltad.inference.registry import ModelRegistry
from ltad.io.masks import decode_mask
from ltad.review.database import Database
from ltad.review.images import ImageStore
from ltad.review.records import ItemResult, NewItem, ThresholdChoice
from ltad.synthetic.render import render_part
from ltad.workspace import Workspace

if not os.environ.get("CI"):
    pytest.importorskip("playwright")
from playwright.sync_api import APIResponse, Page, Route, expect

pytestmark = pytest.mark.browser

SAVED = ".lt-review-row[data-saved=true]"
CURRENT = ".lt-review-current .lt-review-name"

# Milliseconds from a key to the second frame after it, and of each request that saves.
CLOCK = """() => {
  window.painted = [];
  document.addEventListener("keydown", () => {
    const start = performance.now();
    requestAnimationFrame(() => requestAnimationFrame(
      () => window.painted.push(performance.now() - start)));
  }, true);
}"""
READ_CLOCK = """() => [window.painted, performance.getEntriesByType("resource")
  .filter((one) => one.name.endsWith("/desk_decide")).map((one) => one.duration)]"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Eleven parts, some defective, and one broken file."""
    folder = tmp_path_factory.mktemp("pictures")
    for index in range(11):
        name = ("hex_nut", "leather", "screw")[index % 3]
        picture = render_part(name, 900 + index, 96, "crack" if name == "hex_nut" else None)
        Image.fromarray(picture.image).save(folder / f"part {index:02d} <b>.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n but nothing else")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def server(tiny_scorer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    workspace = Workspace(tmp_path_factory.mktemp("work"))
    with gr.Blocks() as page:
        with gr.Tab("Review", id="review") as tab:
            build_review(ModelRegistry(tiny_scorer, workspace.models), workspace, tab)
        with gr.Tab("Other"):
            gr.Markdown("Something else")
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, **launch_options())
    yield SimpleNamespace(url=url, workspace=workspace, database=Database(workspace.database))
    page.close()


@pytest.fixture
def page(visit: Callable[..., Page], server: SimpleNamespace) -> Page:
    """A fresh visitor."""
    return visit(server.url)


def bring(page: Page, server: SimpleNamespace, files: list[Path]) -> int:
    """Upload a batch, wait until it is scored and shown; returns its number."""
    page.goto(server.url)
    expect(page.locator(".lt-review-bar")).to_be_visible()
    known = [one.id for one in server.database.batches()]
    page.set_input_files(".lt-review-files", files)
    page.wait_for_function("known => !known.includes(ltad.review.state.batch?.id)", arg=known)
    usable = sum(path.name != "broken.png" for path in files)
    expect(page.locator(".lt-review-progress")).to_contain_text(f"0 of {usable} decided")
    expect(page.locator(CURRENT)).to_be_visible()
    return server.database.batches()[0].id


def intercept(page: Page, address: str, handler: Callable[[Route], object], **options: int) -> None:
    """``page.route`` that has begun when it returns: Chromium says that it intercepts before a page
    that is open already sends its requests that way, so one of our own is sent until it fails."""
    page.route("**/nobody-asks-for-this", lambda route: route.abort())
    page.route(address, handler, **options)
    page.wait_for_function("() => fetch('nobody-asks-for-this').then(() => false, () => true)")


def current(page: Page) -> str:
    return page.locator(CURRENT).inner_text()


def verdicts(server: SimpleNamespace, batch: int) -> list[str]:
    return [row.verdict for row in server.database.items_summary(batch) if row.verdict]


def test_whole_desk_by_keyboard_alone(page: Page, server: SimpleNamespace, files: list[Path]):
    batch = bring(page, server, files)
    press = page.keyboard.press
    expect(page.locator(".lt-review-row[data-status=failed]")).to_contain_text("broken.png")
    worst = server.database.items_summary(batch)[0].file_name
    expect(page.locator(CURRENT)).to_have_text(worst)
    page.evaluate(CLOCK)
    for key in "arauraraar":
        before = current(page)
        press(key)
        expect(page.locator(CURRENT)).not_to_have_text(before)
    expect(page.locator(SAVED)).to_have_count(10)
    painted, saved = (sorted(times) for times in page.evaluate(READ_CLOCK))
    print(
        f"\nkey to next item painted: median {painted[5]:.0f} ms, longest {painted[-1]:.0f} ms; "
        f"to saved on disk: median {saved[5]:.0f} ms, longest {saved[-1]:.0f} ms"
    )
    assert len(saved) == 10 and painted[5] < 500 and saved[5] < 1500  # on a slow, busy machine
    assert len(verdicts(server, batch)) == 10  # what the page calls saved is on disk
    expect(page.locator(".lt-review-saved")).to_contain_text("Saved")
    press("z")
    expect(page.locator(SAVED)).to_have_count(9)
    assert len(verdicts(server, batch)) == 9
    press("n")
    page.keyboard.type("zzz are letters here")  # and no keys
    press("Enter")
    press("r")
    expect(page.locator(SAVED)).to_have_count(10)
    notes = [item.decision.note for item in server.database.items(batch) if item.decision]
    assert notes.count("zzz are letters here") == 1
    press("?")
    expect(page.locator("dialog[open]")).to_contain_text("reject")
    press("Escape")
    export = page.get_by_role("button", name="Export")
    for _ in range(60):
        press("Shift+Tab")
        if export.evaluate("one => one === document.activeElement"):
            break
    press("Enter")
    expect(page.locator("[data-export=csv]")).to_be_focused()
    with page.expect_download() as download:
        press("Enter")
    table = Path(download.value.path()).read_text("utf-8-sig")
    assert table.count("inspector-") == 10 and "zzz are letters here" in table


def test_two_people_see_both_decisions(page: Page, server: SimpleNamespace, files: list[Path]):
    batch = bring(page, server, files[1:4])
    item = server.database.items_summary(batch)[0]
    server.database.decide(item.id, "good", "Ann", note="a reflection")
    page.keyboard.press("r")
    banner = page.locator(".lt-review-unsaved")
    expect(banner).to_contain_text(f"Ann decided on {item.file_name} before you did")
    expect(page.locator(".lt-review-message")).to_be_hidden()  # it is told once
    banner.get_by_role("button", name="Show both").click()
    both = page.locator(".lt-review-both")
    expect(both).to_contain_text("Ann said good")
    expect(both).to_contain_text("You said defective")
    assert server.database.item(item.id).verdict == "good"
    page.get_by_role("button", name="Set defective").click()
    expect(both).to_be_hidden()
    expect(banner).to_be_hidden()
    expect(page.locator(SAVED)).to_have_count(1)
    assert [d.verdict for d in server.database.history(item.id)] == ["good", "defective"]


def test_unreachable_server_loses_no_decision(
    page: Page, server: SimpleNamespace, files: list[Path]
):
    batch = bring(page, server, files[1:5])
    # Before all are scored, a key may find no next image and meet the same one again.
    expect(page.get_by_text("0 of 4 decided")).to_be_visible(timeout=60_000)
    intercept(page, "**/run/desk_decide", lambda route: route.abort())
    for key in "ara":
        page.keyboard.press(key)
    unsaved = page.locator(".lt-review-unsaved")
    expect(unsaved).to_contain_text("3 decisions are not saved")
    assert page.locator(SAVED).count() == 0 and verdicts(server, batch) == []
    expect(page).to_have_url(re.compile(rf"[?&]batch={batch}&"))  # so that it comes back to it
    page.once("dialog", lambda dialog: dialog.accept())  # the browser asks before it leaves
    page.reload()
    expect(unsaved).to_contain_text("3 decisions are not saved")
    page.unroute("**/run/desk_decide")
    page.get_by_role("button", name="Try now").click()
    expect(page.locator(SAVED)).to_have_count(3, timeout=60_000)
    expect(unsaved).to_be_hidden()
    assert sorted(verdicts(server, batch)) == ["defective", "good", "good"]


def test_an_answer_that_a_newer_one_overtook_changes_nothing(
    page: Page, server: SimpleNamespace, files: list[Path]
):
    batch = bring(page, server, files[1:3])
    overtaken: list[tuple[Route, APIResponse]] = []
    intercept(page, "**/run/desk_items", lambda route: overtaken.append((route, route.fetch())),
              times=1)
    page.evaluate("() => { ltad.review.refresh(); }")
    page.wait_for_function("() => ltad.review.state.version !== ''")
    while not overtaken:
        page.wait_for_timeout(20)
    item = server.database.items_summary(batch)[0]
    server.database.decide(item.id, "good", "Ann")
    page.evaluate("() => ltad.review.refresh()")
    newer = page.evaluate("() => ltad.review.state.version")
    (route, response), = overtaken
    route.fulfill(response=response)
    page.wait_for_timeout(300)
    assert page.evaluate("() => ltad.review.state.version") == newer
    expect(page.locator(".lt-review-progress")).to_contain_text("1 of 2 decided")


def test_unsent_decisions_of_another_batch_are_named_with_it_and_counted_there(
    page: Page, server: SimpleNamespace, files: list[Path]
):
    other = bring(page, server, files[2:4])
    batch = bring(page, server, files[1:3])
    name = server.database.batch(batch).name
    intercept(page, "**/run/desk_decide", lambda route: route.abort())
    unsaved = page.locator(".lt-review-unsaved")
    page.keyboard.press("a")
    expect(unsaved).to_contain_text("1 decision is not saved")
    expect(unsaved).not_to_contain_text(f" in {name}")
    page.once("dialog", lambda dialog: dialog.accept())
    page.goto(f"{server.url}?batch={other}")
    expect(unsaved).to_contain_text(f" in {name}: good")
    page.get_by_role("button", name="Batches").click()
    mine = page.locator("[data-panel=batches] li").first
    expect(mine).to_contain_text("2 images, 0 decided")
    page.unroute("**/run/desk_decide")
    page.get_by_role("button", name="Try now").click()
    expect(mine).to_contain_text("2 images, 1 decided")
    assert verdicts(server, batch) == ["good"] and verdicts(server, other) == []


def test_banner_counts_what_is_not_acknowledged(
    page: Page, server: SimpleNamespace, files: list[Path]
):
    batch = bring(page, server, files[1:5])
    intercept(page, "**/run/desk_decide", lambda route: route.abort())
    for key in "ara":
        page.keyboard.press(key)
    unsaved, count = page.locator(".lt-review-unsaved"), page.locator(".lt-review-saved")
    expect(unsaved).to_contain_text("3 decisions are not saved")
    page.unroute("**/run/desk_decide")
    held: list = []  # each request waits here until the test lets it through
    intercept(page, "**/run/desk_decide", lambda route: held.append(route))
    page.get_by_role("button", name="Try now").click()
    for left in (3, 2, 1):
        expect(unsaved).to_contain_text(
            f"{left} decisions are not saved" if left > 1 else "1 decision is not saved"
        )
        expect(count).to_have_text(f"{left} not saved")
        assert len(verdicts(server, batch)) == 3 - left
        while not held:
            page.wait_for_timeout(20)
        held.pop().continue_()
    expect(unsaved).to_be_hidden()
    expect(count).to_contain_text("Saved")
    assert len(verdicts(server, batch)) == 3


def test_page_waits_for_the_next_picture_while_scoring_goes_on(
    page: Page, server: SimpleNamespace, files: list[Path]
):
    database = server.database
    batch = database.create_batch("slow", "Ann", "", {}).id
    store = ImageStore(server.workspace.images)
    ids = database.add_items(batch, [
        NewItem(f"part {i}.png", store.put(path.read_bytes()))
        for i, path in enumerate(files[1:5])
    ])

    def score(*places: int) -> None:
        database.record_outcomes({
            ids[i]: ItemResult(96, 96, "leather", 0.9, True, 2.0 - i / 10, 1.0, 0.5, 1.0)
            for i in places
        })

    with FileLock(f"{database.path}.batch-{batch}.lock"):  # as another server that scores it
        score(0, 1)
        page.goto(f"{server.url}?batch={batch}")
        expect(page.locator(CURRENT)).to_have_text("part 0.png")
        page.keyboard.press("a")
        expect(page.locator(CURRENT)).to_have_text("part 1.png")
        page.keyboard.press("a")
        page.keyboard.press("r")
        rest = page.get_by_text("The next one opens as soon as it is scored")
        expect(rest).to_be_visible()
        page.keyboard.press("r")
        expect(page.locator(SAVED)).to_have_count(2)
        score(2)
        expect(page.locator(CURRENT)).to_have_text("part 2.png")
        expect(rest).to_be_hidden()
        page.keyboard.press("r")
        page.keyboard.press("a")
        expect(rest).to_be_visible()
        score(3)
        database.set_batch_state(batch, "finished")
        expect(page.locator(CURRENT)).to_have_text("part 3.png")
        page.keyboard.press("u")
        page.keyboard.press("a")
        expect(page.get_by_text("Every image in this list is decided")).to_be_visible()
        expect(page.locator(SAVED)).to_have_count(4)
    history = [[d.verdict for d in database.history(one)] for one in ids]
    assert history == [["good"], ["good"], ["defective"], ["unsure"]]
    page.keyboard.press("z")
    expect(page.locator(SAVED)).to_have_count(3)
    page.keyboard.press("a")  # after an undo the image is open again
    expect(page.locator(SAVED)).to_have_count(4)


def test_a_batch_opens_where_the_work_goes_on(
    page: Page, server: SimpleNamespace, files: list[Path]
):
    batch = fill(server, files, 40)
    for row in server.database.items_summary(batch)[:25]:
        server.database.decide(row.id, "good", "Ann")
    page.goto(f"{server.url}?batch={batch}")
    expect(page.locator(CURRENT)).to_have_text("0025 ok.png")
    expect(page.locator(CURRENT)).to_be_in_viewport()


def test_mask_is_painted_and_saved(page: Page, server: SimpleNamespace, files: list[Path]):
    batch = bring(page, server, files[1:3])
    item = server.database.items_summary(batch)[0]
    page.keyboard.press("e")
    expect(page.locator(".lt-review-editor")).to_be_visible()
    page.keyboard.press("c")
    box = page.locator(".lt-review-canvas").bounding_box()
    across, down = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(across - 80, down)
    page.mouse.down()
    page.mouse.move(across + 80, down, steps=8)
    page.mouse.up()
    page.keyboard.press("Enter")
    expect(page.locator(SAVED)).to_have_count(1)
    decision = server.database.item(item.id).decision
    mask = Image.open(io.BytesIO(server.database.blob(decision.mask_key)))
    left, top, right, bottom = mask.getbbox()
    assert mask.size == (96, 96) and right - left > 2 * (bottom - top)
    assert top < 48 < bottom and left < 48 < right


def test_a_mask_starts_empty_and_takes_the_models_regions_only_when_asked(
    page: Page, server: SimpleNamespace, files: list[Path]
):
    batch = bring(page, server, files[1:3])
    item = server.database.items_summary(batch)[0]
    painted = """() => new Promise((done) => { const image = new Image();
      image.onload = () => { const sheet = new OffscreenCanvas(image.width, image.height);
        const context = sheet.getContext("2d"); context.drawImage(image, 0, 0);
        done(context.getImageData(0, 0, image.width, image.height).data
          .reduce((sum, value, at) => sum + (at % 4 === 0 && value > 127), 0)); };
      image.src = ltad.review.editor.png(); })"""
    has_layer = "() => { try { return !!ltad.review.editor.png(); } catch { return false; } }"

    def count() -> int:
        page.wait_for_function(has_layer)  # the image may still be on its way to the canvas
        return page.evaluate(painted)

    page.keyboard.press("u")
    expect(page.locator(SAVED)).to_have_count(1)
    # A decision's answer makes the page forget what it fetched, perhaps while that is on its way.
    page.evaluate("""id => { ltad.review.show(id); ltad.review.forgetDetails();
      ltad.review.editor.open("mask"); }""", item.id)
    expect(page.locator(".lt-review-editor")).to_be_visible()
    assert count() == 0
    page.keyboard.press("Enter")
    expect(page.locator(".lt-review-message")).to_contain_text("Nothing was painted")
    assert [d.mask_key for d in server.database.history(item.id)] == [""]
    page.evaluate("ltad.review.state.smallest = 0")
    page.evaluate("""() => { ltad.review.visibleRegions = () => {
      const path = new Path2D(); path.rect(60, 60, 20, 10); return [{ path }]; }; }""")
    page.keyboard.press("e")
    page.keyboard.press("Space")  # a stroke in the middle
    page.keyboard.press("Space")
    stroke = count()
    page.get_by_role("button", name="Add the model's regions").click()
    assert count() > stroke + 150  # 20 x 10 pixels more, and the stroke stays
    page.keyboard.press("z")
    assert count() == stroke > 0
    page.keyboard.press("c")
    assert count() == 0
    page.keyboard.press("z")
    assert count() == stroke
    page.keyboard.press("Escape")


def test_a_slow_image_that_was_left_takes_nothing_from_the_one_on_show(
    page: Page, server: SimpleNamespace, files: list[Path]
):
    batch = bring(page, server, files[1:3])
    here, slow = (row.id for row in server.database.items_summary(batch))
    page.evaluate("([here]) => ltad.review.detail(here)", [here])
    page.evaluate("""([here, slow]) => { const { review } = ltad, detail = review.detail;
      review.detail = async (id) => {
        if (id === slow) await new Promise((done) => setTimeout(done, 600));
        return detail(id); };
      review.show(slow); review.show(here); }""", [here, slow])
    page.wait_for_timeout(400)  # long enough to have given up the slow one
    assert page.evaluate("ltad.review.shownDetail()?.id") == here
    page.wait_for_timeout(400)  # and now it has come
    assert page.evaluate("ltad.review.shownDetail()?.id") == here


def test_mask_is_painted_without_a_pointer(
    page: Page, server: SimpleNamespace, files: list[Path]
):
    batch = bring(page, server, files[1:3])
    item = server.database.items_summary(batch)[0]
    page.keyboard.press("e")
    bar = page.locator(".lt-review-editor")
    expect(bar).to_be_visible()
    page.keyboard.press("c")
    page.keyboard.press("ArrowUp")  # the brush starts in the middle
    page.keyboard.press("Space")
    expect(bar).to_contain_text("Mask of the defect, painting")
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    expect(bar).not_to_contain_text("painting")
    for _ in range(30):
        page.keyboard.press("ArrowDown")  # lifted, it paints nothing
    page.keyboard.press("Enter")
    expect(page.locator(SAVED)).to_have_count(1)
    mask = decode_mask(server.database.blob(server.database.item(item.id).decision.mask_key))
    rows, columns = mask.nonzero()
    assert 44 <= rows.min() <= rows.max() <= 52  # a brush of 3 pixels, in an image of 96
    assert 44 <= columns.min() < 48 and 58 <= columns.max() <= 72


def test_ignored_area_is_painted_up_to_the_edge_and_counts_at_once(
    page: Page, server: SimpleNamespace, files: list[Path]
):
    batch = bring(page, server, files[1:4])
    item = server.database.items(batch)[0]
    page.keyboard.press("e")
    expect(page.locator(".lt-review-editor")).to_be_visible()
    page.keyboard.press("x")  # the eraser is not meant for what is painted next
    expect(page.get_by_role("button", name="Eraser")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("i")
    expect(page.locator(".lt-review-editor")).to_contain_text("Ignored on every")
    expect(page.get_by_role("button", name="Brush", exact=True)).to_be_visible()
    page.wait_for_timeout(200)  # the image has made room for the bar
    box = page.locator(".lt-review-canvas").bounding_box()
    across = box["x"] + box["width"] / 2
    page.mouse.move(across - 150, box["y"] + 3)
    page.mouse.down()
    page.mouse.move(across + 150, box["y"] + 3, steps=8)
    page.mouse.up()
    with page.expect_request("**/run/desk_map"):  # the map is drawn anew without the area
        page.keyboard.press("Enter")
    mask = decode_mask(server.database.ignore_region(item.class_name))
    assert mask[0].any() and not mask[mask.shape[0] // 2 :].any()
    page.keyboard.press("i")
    expect(page.get_by_label("Areas that were set before")).to_contain_text("ignored: inspector-")
    page.keyboard.press("Escape")
    page.locator(".lt-review-message").get_by_role("button", name="Undo").click()
    expect(page.locator(".lt-review-message")).to_contain_text("Undone")
    assert server.database.ignore_region(item.class_name) is None
    expect(page.locator(".lt-review-progress")).to_contain_text("0 of 3 decided")


def test_an_earlier_threshold_is_set_again_and_moves_the_outlines(
    page: Page, server: SimpleNamespace, files: list[Path]
):
    bring(page, server, files[1:4])
    limit = page.locator(".lt-review-side", has_text="Outlined where the map is above")
    expect(limit).to_contain_text("the model's own limit.")
    page.get_by_role("button", name="Threshold", exact=True).click()
    earlier = page.locator(".lt-review-earlier")
    page.get_by_label("Threshold as").select_option("score")
    tried = page.locator(".lt-review-preview")
    expect(tried).to_contain_text("Tried out, not in force")
    page.get_by_label("Value").fill("0.5")
    expect(tried).to_contain_text("3 of 3 would be anomalous, now")
    apply = page.get_by_role("button", name="Apply")
    assert server.database.threshold_choices("model0") == {}  # looking changes nothing
    apply.click()
    expect(tried).to_contain_text("In force: 3 of 3")
    expect(apply).to_be_disabled()
    expect(earlier).to_contain_text("Score 0.500: by inspector-")
    expect(limit).to_contain_text("moved with the threshold")
    page.get_by_label("Value").fill("-5")
    expect(tried).to_contain_text("from 0 upwards")
    expect(apply).to_be_disabled()
    page.locator("[data-panel=threshold]").get_by_role("button", name="Undo").click()
    expect(earlier).to_contain_text("The model's own: by inspector-")
    expect(limit).to_contain_text("the model's own limit.")
    page.get_by_label("Threshold as").select_option("score")
    page.get_by_label("Value").fill("0.5")
    expect(tried).to_contain_text("3 of 3 would be")
    apply.click()
    expect(earlier).to_contain_text("Score 0.500: by inspector-")
    page.get_by_role("button", name="Reset to the model's").click()
    expect(tried).to_contain_text("Tried out, not in force")
    apply.click()
    expect(earlier).to_contain_text("The model's own: by inspector-")
    expect(limit).to_contain_text("the model's own limit.")
    earlier.locator("summary").click()
    page.get_by_role("button", name="Set again").first.click()
    expect(earlier).to_contain_text("Score 0.500: by inspector-")
    page.get_by_role("button", name="Reset to the model's").click()
    apply.click()
    expect(limit).to_contain_text("the model's own limit.")


def test_a_deleted_batch_comes_back_and_its_pictures_leave_the_disk(
    page: Page, server: SimpleNamespace, files: list[Path], tmp_path: Path
):
    picture = Image.fromarray(render_part("screw", 4711, 96).image)
    picture.save(tmp_path / "lonely.png")  # in no other batch
    batch = bring(page, server, [tmp_path / "lonely.png"])
    page.keyboard.press("r")
    expect(page.locator(SAVED)).to_have_count(1)
    key = server.database.items(batch)[0].content_key
    stored = ImageStore(server.workspace.images).path(key)
    os.utime(stored, (time.time() - 3600,) * 2)  # it came in an hour ago

    def press(name: str) -> None:
        page.locator("[data-panel=batches] li", has_text="lonely").get_by_role(
            "button", name=name).click()

    page.get_by_role("button", name="Batches").click()
    press("Delete")
    expect(page.locator(".lt-review-message")).to_contain_text("lonely is deleted")
    assert batch not in [one.id for one in server.database.batches()]
    page.locator(".lt-review-message").get_by_role("button", name="Undo").click()
    expect(page.locator(CURRENT)).to_have_text("lonely.png")
    press("Delete")
    press("Free the disk now")
    assert stored.is_file()  # one press is not enough
    press("Press again")
    expect(page.locator("[data-panel=batches]")).to_contain_text("Its images are gone")
    assert not stored.exists()
    press("Restore")
    expect(page.locator(SAVED)).to_have_count(1)
    assert verdicts(server, batch) == ["defective"]


def test_keys_rest_while_another_tab_is_open(
    page: Page, server: SimpleNamespace, files: list[Path]
):
    batch = bring(page, server, files[1:3])
    page.get_by_role("tab", name="Other").click()
    for key in "aru":
        page.keyboard.press(key)
    page.get_by_role("tab", name="Review").click()
    page.get_by_role("searchbox").fill("aru")
    expect(page.locator(".lt-review-none")).to_contain_text("No image passes")
    assert verdicts(server, batch) == []


def test_phone_needs_no_sideways_scrolling(
    page: Page, server: SimpleNamespace, files: list[Path]
):
    page.set_viewport_size({"width": 390, "height": 844})
    bring(page, server, files[1:3])
    for name in ("Threshold", "Export", "New batch"):
        page.get_by_role("button", name=name, exact=True).click()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    picture, buttons, queue = (
        page.locator(one).bounding_box()["y"]
        for one in (".lt-review-canvas", ".lt-review-verdicts", ".lt-review-list")
    )
    assert picture < buttons < queue


@pytest.mark.slow
def test_a_thousand_pictures_stay_quick(page: Page, server: SimpleNamespace, files: list[Path]):
    batch = fill(server, files, 1000)
    start = time.perf_counter()
    page.goto(f"{server.url}?batch={batch}")
    expect(page.locator(CURRENT)).to_have_text("0000 worst.png")
    first = time.perf_counter() - start
    scroll = page.evaluate("""async () => {
      const list = document.querySelector(".lt-review-list");
      const frame = () => new Promise(requestAnimationFrame);
      const times = [];
      for (let step = 1; step <= 60; step++) {
        const start = performance.now();
        list.scrollTop = (step / 60) * list.scrollHeight;
        await frame(); await frame();
        times.push(performance.now() - start);
      }
      times.sort((one, other) => one - other);
      const rows = list.querySelectorAll("[data-id]").length;
      return { median: times[30], longest: times[59], rows };
    }""")
    start = time.perf_counter()
    page.get_by_role("searchbox").fill("0500")
    expect(page.locator(".lt-review-row")).to_have_count(1)
    search = time.perf_counter() - start
    page.get_by_role("searchbox").fill("")
    start = time.perf_counter()
    page.locator("[data-kind=anomalous]").click()
    expect(page.locator(".lt-review-place")).to_have_text("1 of 100")
    chosen = time.perf_counter() - start
    heap = page.evaluate("performance.memory.usedJSHeapSize") / 2**20
    print(
        f"\n1,000 items: first image after {first:.2f} s, scroll step {scroll['median']:.0f} ms "
        f"(longest {scroll['longest']:.0f}), search {1000 * search:.0f} ms, "
        f"filter {1000 * chosen:.0f} ms, heap {heap:.0f} MB, {scroll['rows']} rows drawn"
    )
    assert scroll["rows"] < 40 and heap < 200 and scroll["median"] < 300
    assert search < 5 and chosen < 5 and first < 25


def fill(server: SimpleNamespace, files: list[Path], count: int) -> int:
    """A scored batch of copies of a few images, each under a name of its own."""
    database = server.database
    keys = [
        ImageStore(server.workspace.images).put(path.read_bytes())
        for path in files if path.name != "broken.png"
    ]
    batch = database.create_batch("a thousand", "Ann", "", {})
    names = [f"{index:04d} {'ok' if index else 'worst'}.png" for index in range(count)]
    ids = database.add_items(
        batch.id, [NewItem(n, keys[i % len(keys)]) for i, n in enumerate(names)]
    )
    database.record_outcomes({
        one: ItemResult(96, 96, "leather", 0.9, True, 2.0 - index / count, 1.0, 0.5, 1.9)
        for index, one in enumerate(ids)
    })
    database.set_batch_state(batch.id, "finished")
    database.set_threshold("", "leather", ThresholdChoice("score", 1.9))  # a hundred are above
    return batch.id


def test_on_a_phone_the_decision_bar_sticks_to_the_lower_edge(
    page: Page, server: SimpleNamespace, files: list[Path]
):
    page.set_viewport_size({"width": 390, "height": 844})
    batch = bring(page, server, files[1:3])
    for name in ("Good", "Defective", "Unsure"):
        box = page.locator(".lt-review-verdict", has_text=name).bounding_box()
        assert box["y"] > 720 and box["y"] + box["height"] <= 844
    page.locator(".lt-review-verdict", has_text="Defective").click()
    expect(page.locator(SAVED)).to_have_count(1)
    assert verdicts(server, batch) == ["defective"]
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
