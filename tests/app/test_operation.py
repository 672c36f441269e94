"""What an operator sees: whether the page is well, and a log that tells nothing of visitors."""

import errno
import gc
import io
import json
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import weakref
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import islice
from pathlib import Path

import gradio as gr
import httpx
import pytest
import torch
from gradio.events import api
from gradio_client import Client, handle_file
from PIL import Image
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.testclient import TestClient

import app
from ltad.app import visitors
from ltad.app.components import SCORED, SCORES_AT_ONCE, SCORES_WAITING
from ltad.app.operation import (
    HEALTH,
    RequestLog,
    health_route,
    keep_to_own_cores,
    spoken_path,
)
from ltad.app.page import build_app, launch_options
from ltad.app.visitors import NoteUploads
from ltad.bench.served import served
from ltad.io import threads
from ltad.synthetic.render import render_part
from ltad.types import CheckpointError
from ltad.workspace import Workspace

SECRETS = ("secret", "tangerine", "v" * 40)
"""In the name of a file, in a prompt, as a visitor's key."""

FRAGMENTS = """
import os, time
from ltad.app.operation import give_memory_back
def megabytes():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
told = [megabytes()]
blocks = [bytes(100_000) for _ in range(2000)]
told.append(megabytes())
blocks = blocks[::50] + blocks[-1:]
told.append(megabytes())
give_memory_back(0.2)
time.sleep(1.0)
print(*told, megabytes())
"""

CIRCLES = """
import gc
from ltad.app.operation import set_aside_what_lasts
lasting = [[number] for number in range(800_000)]
gc.collect()
searches = []
gc.callbacks.append(lambda when, told: searches.append((when, told["generation"])))
def whole_searches():
    searches.clear()
    kept = [[number] for number in range(100_000)]
    return searches.count(("stop", 2))
print(whole_searches())
set_aside_what_lasts()
print(whole_searches())
"""


def test_no_more_threads_compute_than_a_container_lets(tmp_path, monkeypatch):
    quota, before = tmp_path / "cpu.max", torch.get_num_threads()
    quota.write_text("100000 100000")
    monkeypatch.setattr(threads, "QUOTA", quota)
    try:
        torch.set_num_threads(2)
        keep_to_own_cores()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.fixture(scope="module")
def page(tiny_scorer, tmp_path_factory):
    folder, log = tmp_path_factory.mktemp("work"), io.StringIO()
    page = build_app(tiny_scorer, folder, Workspace(folder / "work", is_public=True))
    options = launch_options(True, routes=[health_route("tiny", folder / "work")], log=log)
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, **options)
    yield url.rstrip("/"), log, folder / "work"
    page.close()


def lines(log: io.StringIO) -> list[dict]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


def ask(url: str, **headers: str) -> tuple[int, dict, dict]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            return answer.status, json.load(answer), dict(answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error), dict(error.headers)


def test_health_is_ok_until_nothing_can_be_written(page):
    url, _, work = page
    status, facts, _ = ask(url + HEALTH)
    assert status == 200 and facts["status"] == "ok" and facts["model"] == "tiny"
    assert not list(work.iterdir())
    work.rmdir()
    work.write_bytes(b"")  # a file where the folder should be
    try:
        status, facts, _ = ask(url + HEALTH)
        assert status == 503 and facts["status"].startswith("The folder of decisions cannot be")
    finally:
        work.unlink()


def test_the_log_tells_what_was_asked_and_nothing_that_was_sent(page, tmp_path):
    url, log, _ = page
    image = tmp_path / f"{SECRETS[0]}.png"
    Image.fromarray(render_part("screw", 1, 96).image).save(image)
    ann = Client(url, headers={"x-ltad-visitor": SECRETS[2]}, download_files=False, verbose=False)
    ann.predict(handle_file(image), "", "a", f"a {SECRETS[1]}", api_name="/score")
    urllib.request.urlopen(f"{url}/config?{SECRETS[1]}").read()
    told = lines(log)
    paths = {line["path"] for line in told}
    assert {"/gradio_api/upload", "/gradio_api/queue/join", "/config"} <= paths
    assert all(line["status"] == 200 and line["milliseconds"] >= 0 for line in told
               if line["path"] in ("/config", "/gradio_api/upload"))
    assert not [secret for secret in SECRETS if secret in log.getvalue()]


@pytest.mark.parametrize(("given", "kept"), [
    ("proxy-id-0001", True), ("short", False), ('a"} {"b": "ccc', False),
])
def test_a_request_has_an_id_which_may_be_the_proxys(page, given, kept):
    url, log, _ = page
    _, _, headers = ask(url + HEALTH, **{"X-Request-ID": given})
    assert (headers["x-request-id"] == given) == kept
    end = time.monotonic() + 10  # the line is written once the answer is on its way
    while headers["x-request-id"] not in {line["id"] for line in lines(log)}:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_an_address_ends_before_it_names_anything():
    assert spoken_path("/gradio_api/file=/tmp/gradio/abc/my.png") == "/gradio_api/file"
    assert spoken_path("/gradio_api/call/score/0123abcd") == "/gradio_api/call/score"
    assert spoken_path("/") == "/"


def test_requests_are_answered_where_the_log_has_no_room():
    async def page(scope, receive, send):
        await PlainTextResponse("here")(scope, receive, send)

    # Closing the log has no room either.
    with pytest.raises(OSError, match="No space"), Path("/dev/full").open("w") as log:
        answer = TestClient(RequestLog(page, log)).get("/")
    assert (answer.status_code, answer.text) == (200, "here")


def test_an_upload_on_a_full_disk_is_refused_with_the_reason():
    async def full(scope, receive, send):
        raise OSError(errno.ENOSPC, "No space left on device", "/server/uploads/part.jpg")

    async def broken(scope, receive, send):
        raise OSError(errno.EIO, "Input/output error")

    answer = TestClient(NoteUploads(full, False)).post("/gradio_api/upload")
    assert answer.status_code == 507
    assert "disk is full. Nothing was saved" in answer.text and "/server" not in answer.text
    with pytest.raises(OSError, match="Input"):
        TestClient(NoteUploads(broken, False)).post("/gradio_api/upload")


def test_an_upload_that_cannot_be_noted_is_refused_whole(monkeypatch):
    async def taken(scope, receive, send):
        await JSONResponse(["/uploads/part.jpg"])(scope, receive, send)

    def full(path, visitor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(visitors, "note_upload", full)
    answer = TestClient(NoteUploads(taken, False)).post("/gradio_api/upload")
    assert answer.status_code == 507 and "disk is full" in answer.text


def test_an_answer_that_the_disk_cannot_take_says_so(page, monkeypatch):
    """Gradio copies the files of an answer; a handler's own words cannot explain that."""
    async def full(*arguments, **settings):
        raise OSError(errno.ENOSPC, "No space left on device", "/server/uploads/part.jpg")

    url, _, _ = page
    monkeypatch.setattr(gr.Blocks, "process_api", full)
    request = urllib.request.Request(f"{url}/gradio_api/run/desk_batches", b'{"data": []}', {
        "Content-Type": "application/json", "x-ltad-visitor": SECRETS[2]})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    said = json.load(refused.value)["error"]
    assert "disk is full. Nothing was saved" in said and "/server" not in said


@pytest.mark.skipif(sys.platform != "linux", reason="another C library")
def test_freed_memory_between_used_blocks_goes_back_to_the_system():
    """In a process of its own, whose heap nobody else has shaped."""
    done = subprocess.run([sys.executable, "-c", FRAGMENTS], capture_output=True, text=True,
                          cwd=Path(__file__).parents[2], timeout=120)
    before, used, freed, given_back = map(float, done.stdout.split())
    assert used - before > 100 and used - freed < 30, "freeing alone gives it back here"
    assert given_back - before < 40


def test_garbage_is_searched_for_among_new_objects_only():
    done = subprocess.run([sys.executable, "-c", CIRCLES], capture_output=True, text=True,
                          check=True)
    before, after = map(int, done.stdout.split())
    assert before == 0 and after >= 1


class FailsToWarmUp:
    """It first makes garbage; whether that was found."""

    def warm_up(self) -> None:
        circle, found = FailsToWarmUp(), []
        circle.own = circle
        weakref.finalize(circle, found.append, True)
        del circle
        kept = [[number] for number in range(100_000)]
        self.found = bool(found and kept)
        raise CheckpointError("the held-out images are damaged")


def test_after_the_start_garbage_is_searched_for_again_whatever_happened():
    gc.disable()
    scorer = FailsToWarmUp()
    try:
        with pytest.raises(CheckpointError):
            app.settle(scorer)
        assert scorer.found and gc.isenabled() and gc.get_freeze_count() > 0
    finally:
        gc.enable()
        gc.unfreeze()


@pytest.mark.slow
def test_the_page_ends_in_order_though_threads_still_compute(tmp_path):
    """The embedded model warms up for some seconds after its first answer."""
    with served("assets/demo", tmp_path) as (url, process, _):
        assert ask(url + HEALTH)[0] == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_scores_are_taken_up_by_turns_and_more_than_may_wait_are_refused(tiny_scorer, tmp_path):
    """As many as may be taken up hold the page until all others have come."""
    running, most, lock, all_came = 0, 0, threading.Lock(), threading.Event()

    def hold() -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        all_came.wait(30)
        with lock:
            running -= 1
        return "done"

    def other() -> str:
        return "at once"

    def post(name: str) -> str:
        answer = httpx.post(f"{url}gradio_api/run/{name}", json={"data": []}, timeout=60)
        said = answer.json()
        return said["data"][0] if answer.is_success else said["error"]

    page = build_app(tiny_scorer, tmp_path, Workspace(tmp_path / "work"))
    with page:
        api(hold, api_name="hold", **SCORED)
        api(other, api_name="other", queue=False)
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, **launch_options())
    refused, taken = 3, SCORES_AT_ONCE + SCORES_WAITING
    try:
        with ThreadPoolExecutor(taken + refused) as pool:
            asked = [pool.submit(post, "hold") for _ in range(taken + refused)]
            first = [one.result() for one in islice(as_completed(asked), refused)]
            assert post("other") == "at once"
            all_came.set()
            answers = [one.result() for one in asked]
    finally:
        all_came.set()
        page.close()
    assert all("64 others wait" in words for words in first)
    assert answers.count("done") == taken and most == SCORES_AT_ONCE


def test_a_score_may_be_asked_for_in_one_step_or_in_gradios_two(page):
    """Of the public page, by the visitor who sent the image."""
    url, _, _ = page
    buffer = io.BytesIO()
    Image.fromarray(render_part("screw", 1, 96).image).save(buffer, "PNG")
    with httpx.Client(base_url=f"{url}/gradio_api/", headers={"x-ltad-visitor": SECRETS[2]},
                      timeout=60) as http:
        sent = {"files": ("part.png", buffer.getvalue(), "image/png")}
        image = {"path": http.post("upload", files=sent).json()[0],
                 "meta": {"_type": "gradio.FileData"}}
        body = {"data": [image, "", "a", "a broken", 5, 1, 0.05, 0, False, ""]}
        once = http.post("run/score", json=body).json()["data"][0]
        event = http.post("call/score", json=body).json()["event_id"]
        told = http.get(f"call/score/{event}").text
    assert "event: complete" in told
    twice = json.loads(told.rpartition("data: ")[2])[0]
    assert once["score"] == pytest.approx(twice["score"]) and once["class_name"] == "screw"
