"""What a page from elsewhere can do to a page on this machine: nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import app
from ltad.app.page import build_app, launch_options
from ltad.workspace import Workspace

WRITES = (
    ("POST", "gradio_api/run/desk_batches", {"json": {"data": []}}),
    ("POST", "gradio_api/call/models", {"json": {"data": []}}),
    ("POST", "gradio_api/queue/join", {"json": {"data": [], "fn_index": 0, "session_hash": "x"}}),
    ("POST", "gradio_api/upload", {"files": {"files": ("a.png", b"x")}}),
    ("POST", "gradio_api/run/desk_batches", {"content": b'{"data": []}'}),
)


def serve(scorer, folder: Path, is_public: bool, names: tuple[str, ...]) -> Iterator[str]:
    page = build_app(scorer, folder, Workspace(folder / "work", (), is_public))
    _, url, _ = page.launch(
        prevent_thread_lock=True, quiet=True, **launch_options(is_public, names)
    )
    yield url
    page.close()


@pytest.fixture(scope="module")
def private(tiny_scorer, tmp_path_factory) -> Iterator[str]:
    yield from serve(tiny_scorer, tmp_path_factory.mktemp("private"), False, ("desk.factory",))


@pytest.fixture(scope="module")
def public(tiny_scorer, tmp_path_factory) -> Iterator[str]:
    yield from serve(tiny_scorer, tmp_path_factory.mktemp("public"), True, ())


def test_a_page_whose_own_first_visit_is_not_answered_in_time_serves_all_the_same(
    tiny_scorer, tmp_path, monkeypatch
):
    """As on a machine with much to do: Gradio gives itself three seconds, and would end."""
    monkeypatch.setattr("gradio.networking.url_ok", lambda url: False)
    for url in serve(tiny_scorer, tmp_path, True, ()):
        assert httpx.get(url, timeout=60).status_code == 200


def ask(url: str, method: str, path: str, headers: dict, **content) -> httpx.Response:
    return httpx.request(method, url + path, headers=headers, timeout=60, **content)


@pytest.mark.parametrize("origin", [
    "https://evil.example", "http://localhost:1", "null", "http://desk.factory.evil.example",
    "http://[", "",
])
@pytest.mark.parametrize(("method", "path", "content"), WRITES)
def test_a_foreign_origin_writes_nothing(private, origin, method, path, content):
    answer = ask(private, method, path, {"Origin": origin}, **content)
    assert answer.status_code == 403 and "another page" in answer.text


@pytest.mark.parametrize("host", [
    "evil.example", "evil.example:7860", "localhost.evil.example", "127.0.0.1.evil.example", "",
])
@pytest.mark.parametrize("path", ["", "config", "gradio_api/info"])
def test_a_foreign_host_reads_nothing(private, host, path):
    answer = ask(private, "GET", path, {"Host": host})
    assert answer.status_code == 403 and "does not answer to the name" in answer.text
    assert "window.ltad" not in answer.text


def test_the_page_itself_and_scripts_are_answered(private):
    name = private.split("/")[2]
    for headers in (
        {}, {"Origin": f"http://{name}"}, {"Host": "localhost:7860"}, {"Host": "[::1]:7860"},
        {"Host": "192.168.0.7"}, {"Host": "desk.factory", "Origin": "https://desk.factory"},
        {"Origin": "https://desk.factory:8443"},  # a proxy that changes the host
    ):
        answer = ask(private, *WRITES[0][:2], headers, **WRITES[0][2])
        assert answer.status_code == 200 and "data" in answer.json(), headers
    policy = ask(private, "GET", "", {}).headers["Content-Security-Policy"]
    assert policy == "frame-ancestors 'self'"


def test_a_public_page_may_be_embedded_and_knows_visitors_by_key_alone(public):
    headers = {"Host": "somebody-ltad.hf.space", "Origin": "https://huggingface.co"}
    answer = ask(public, *WRITES[0][:2], headers, **WRITES[0][2])
    assert answer.status_code == 500 and "Send a header" in answer.json()["error"]
    page = ask(public, "GET", "", headers)
    assert page.status_code == 200 and "Content-Security-Policy" not in page.headers


def test_address_and_port_of_the_environment_are_honoured(monkeypatch):
    options = app.parse_arguments([])
    assert (options.host, options.port) == ("127.0.0.1", 7860)
    monkeypatch.setenv("GRADIO_SERVER_NAME", "0.0.0.0")
    monkeypatch.setenv("GRADIO_SERVER_PORT", "8123")
    options = app.parse_arguments([])
    assert (options.host, options.port) == ("0.0.0.0", 8123)
    options = app.parse_arguments(["--host", "10.0.0.1", "--port", "9000"])
    assert (options.host, options.port) == ("10.0.0.1", 9000)
