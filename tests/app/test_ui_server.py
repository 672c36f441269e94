"""What comes in from outside: uploads, and requests to the running app without a browser."""

from __future__ import annotations

import asyncio
import base64
import gzip
import inspect
import io
import json
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import pytest
from gradio.data_classes import ImageData
from gradio.state_holder import SessionState
from gradio_client import Client
from PIL import Image

from ltad.app import components
from ltad.app.page import build_app, launch_options
from ltad.io import heatmap
from ltad.workspace import Workspace

# Class, words, lambda, tau, rate, maps, model: accepted by the endpoint, as one test shows.
SETTINGS = ("", "a", "a broken", 5, 1, 0.05, 0, False, "")


@pytest.fixture
def upload_folder(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "uploads"
    folder.mkdir()
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(folder))
    return folder


def save_png(path: Path) -> Path:
    Image.new("RGB", (20, 10), (200, 0, 0)).save(path)
    return path


def refusal(payload: ImageData) -> str:
    with pytest.raises(gr.Error) as raised:
        components.photo_upload().preprocess(payload)
    return raised.value.message


def test_uploaded_picture_is_decoded(upload_folder):
    path = save_png(upload_folder / "part.png")
    picture = components.photo_upload().preprocess(ImageData(path=str(path)))
    assert picture.mode == "RGB" and picture.size == (20, 10)
    assert components.photo_upload().preprocess(None) is None


def test_path_outside_the_upload_folder_is_refused(upload_folder, tmp_path):
    outside = save_png(tmp_path / "secret.png")
    (upload_folder / "link.png").symlink_to(outside)
    for path in (outside, upload_folder / "link.png", upload_folder / ".." / "secret.png"):
        message = refusal(ImageData(path=str(path), meta={}))
        assert "not uploaded here" in message and "secret" not in message
    assert "not uploaded here" in refusal(ImageData())


def test_a_component_that_gradio_makes_anew_refuses_as_well(upload_folder, tmp_path):
    first = components.photo_upload(label="Photograph")
    again = type(first)(**first.constructor_args)  # as after a click on an example
    with pytest.raises(gr.Error, match="not uploaded here"):
        again.preprocess(ImageData(path=str(save_png(tmp_path / "secret.png"))))
    with pytest.raises(gr.Error, match="not its address"):
        asyncio.run(again.async_move_resource_to_block_cache("https://example.org/part.png"))


def test_inline_picture_goes_through_the_same_decoder(upload_folder):
    png = base64.b64encode(save_png(upload_folder / "part.png").read_bytes()).decode()
    picture = components.photo_upload().preprocess(ImageData(url=f"data:image/png;base64,{png}"))
    assert picture.size == (20, 10)
    assert "base64" in refusal(ImageData(url="data:image/svg+xml,<svg/>"))
    assert "damaged" in refusal(ImageData(url="data:image/png;base64,%%%"))
    assert "The image" in refusal(ImageData(url="data:image/png;base64,aGVsbG8="))


def test_broken_upload_is_named_by_the_visitors_own_name(upload_folder):
    path = upload_folder / "stored.png"
    path.write_bytes(b"not an image")
    message = refusal(ImageData(path=str(path), orig_name="a/b/<mine>.png"))
    assert "&lt;mine&gt;.png" in message and str(upload_folder) not in message


def test_addresses_are_not_downloaded():
    component = components.photo_upload()
    with pytest.raises(gr.Error, match="not its address"):
        asyncio.run(component.async_move_resource_to_block_cache("http://localhost:9/part.png"))


@pytest.fixture(scope="module")
def served(tiny_scorer, tmp_path_factory):
    page = build_app(
        tiny_scorer, tmp_path_factory.mktemp("examples"), Workspace(tmp_path_factory.mktemp("work"))
    )
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, **launch_options())
    yield url.rstrip("/")
    page.close()


def read(url: str, body: object = None) -> str:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as reply:
        return reply.read().decode()


def call(url: str, endpoint: str, *arguments: object) -> str:
    """The event stream that answers one API call."""
    asked = json.loads(read(f"{url}/gradio_api/call/{endpoint}", {"data": arguments}))
    return read(f"{url}/gradio_api/call/{endpoint}/{asked['event_id']}")


def test_the_page_is_sent_compressed(served):
    request = urllib.request.Request(f"{served}/", headers={"Accept-Encoding": "gzip"})
    with urllib.request.urlopen(request, timeout=30) as reply:
        packed = reply.read()
        assert reply.headers["Content-Encoding"] == "gzip"
    plain = gzip.decompress(packed)
    assert b"window.ltad" in plain and len(packed) < len(plain) / 4
    assert "window.ltad" in read(f"{served}/")  # who cannot unpack it gets it as it is


def test_a_new_visitor_costs_no_look_at_signatures(tiny_scorer, tmp_path, monkeypatch):
    page = build_app(tiny_scorer, tmp_path, Workspace(tmp_path))
    looked, own = [], inspect._signature_from_function
    with monkeypatch.context() as patch:
        patch.setattr(inspect, "_signature_from_function",
                      lambda *a, **k: looked.append(a) or own(*a, **k))
        known = SessionState(page).config_values
    assert not looked
    for kind in {type(block) for block in page.blocks.values()}:
        vars(kind.__init__).pop("__signature__", None)
    assert known == SessionState(page).config_values


def test_no_event_has_two_listeners_that_are_asked_again(served):
    """Gradio asks all listeners of an event again when one was asked meanwhile; see `listen`."""
    events: dict[tuple, list[int]] = {}
    for listener in json.loads(read(f"{served}/config"))["dependencies"]:
        if listener["trigger_mode"] == "always_last" and listener["backend_fn"]:
            for target, event in listener["targets"]:
                if target is not None and event != "load":
                    events.setdefault((target, event), []).append(listener["id"])
    assert len(events) > 20
    assert [ids for ids in events.values() if len(ids) > 1] == []


def test_event_streams_are_not_held_back():
    """The first of two events arrives while the handler still waits to send the second."""
    go_on = threading.Event()

    def count(start: int) -> Iterator[int]:
        yield start
        go_on.wait(30)
        yield start + 1

    with gr.Blocks(analytics_enabled=False) as page:
        gr.api(count)
    _, url, _ = page.queue().launch(prevent_thread_lock=True, quiet=True, **launch_options())
    try:
        asked = json.loads(read(f"{url}gradio_api/call/count", {"data": [4]}))
        request = urllib.request.Request(f"{url}gradio_api/call/count/{asked['event_id']}",
                                         headers={"Accept-Encoding": "gzip"})
        with urllib.request.urlopen(request, timeout=20) as reply:
            assert reply.headers["Content-Encoding"] is None
            assert [reply.readline().strip() for _ in range(2)] == [
                b"event: generating", b"data: [4]"
            ]
            go_on.set()
            assert b"data: [5]" in reply.read()
    finally:
        go_on.set()
        page.close()


def test_only_the_named_endpoints_are_public(served):
    information = json.loads(read(f"{served}/gradio_api/info"))
    names = set(information["named_endpoints"])
    assert names >= {
        "/models", "/score", "/nearest_tokens", "/prompt_tokens", "/vocabulary_map",
        "/class_similarity", "/draw_defect", "/prompt_grid", "/prompt_auroc", "/prompt_refit",
        "/prompt_replace", "/teach_check", "/teach_start", "/teach_status", "/teach_cancel",
        "/model_compare", "/runs", "/run_table", "/run_gallery", "/run_confusion",
        "/desk_batches", "/desk_create_batch", "/desk_items", "/desk_decide", "/desk_undo",
        "/desk_mask", "/desk_threshold", "/desk_threshold_history", "/desk_ignore_history",
        "/desk_restore_ignore", "/desk_export", "/desk_import",
    }
    # Gradio numbers a name that two listeners share, and names those that nobody named "lambda".
    assert not [name for name in names if name[-2:] in ("_1", "_2") or "lambda" in name]
    assert not information["unnamed_endpoints"]


def test_served_app_opens_no_file_from_outside(served, tmp_path):
    outside = str(save_png(tmp_path / "secret.png"))
    for payload in (
        {"path": outside},
        {"path": outside, "meta": {"_type": "gradio.FileData"}},
        {"path": "http://localhost:9/part.png", "meta": {"_type": "gradio.FileData"}},
    ):
        answered = call(served, "score", payload, *SETTINGS)
        assert "event: error" in answered and "verdict" not in answered
        assert "secret" not in answered


def inline_picture() -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 10)).save(buffer, "PNG")
    return heatmap.data_url(buffer.getvalue(), "image/png")


def test_served_app_draws(served):
    strokes = [{"kind": "hole", "points": [[0.5, 0.5]], "width": 0.4}]
    answered = call(served, "draw_defect", {"url": inline_picture()}, strokes, *SETTINGS)
    assert '"auroc": ' in answered and "event: complete" in answered
    strokes[0]["kind"] = "dent"
    refused = call(served, "draw_defect", {"url": inline_picture()}, strokes, *SETTINGS)
    assert "event: error" in refused and "dent" in refused


def test_served_app_scores_and_explains(served, tiny_scorer):
    url = inline_picture()
    assert f'["{tiny_scorer.name}"]' in call(served, "models")
    answered = call(served, "score", {"url": url}, *SETTINGS)
    assert '"verdict": ' in answered and "event: complete" in answered
    assert call(served, "nearest_tokens", "hex_nut", 3, "").count('"token"') == 2 * 3
    assert '"broken": [{"token"' in call(served, "prompt_tokens", "a broken", 3, "")
    assert '"tokens"' in call(served, "vocabulary_map", "")
    assert '"similarity"' in call(served, "class_similarity", "")
    assert "event: error" in call(served, "nearest_tokens", "no such class", 3, "")


def test_a_script_may_leave_the_model_out(served, tiny_scorer):
    client = Client(served, download_files=False, verbose=False)
    learned = client.predict("hex_nut", 2, api_name="/nearest_tokens")
    near = tiny_scorer.nearest_tokens("hex_nut", 2)
    assert [token["token"] for token in learned[0]] == [token.token for token in near[0]]
