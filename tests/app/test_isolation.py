"""Nobody's images but one's own: every named endpoint against every way to name another's file.

The table of endpoint x attack is the list of this module's tests (``pytest -v``). An attack is
refused, or it is taken as the words that it consists of and opens nothing.
"""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from gradio_client import Client, handle_file
from PIL import Image

from ltad.app.page import build_app, launch_options
from ltad.app.visitors import HEADER, _note, forget_old_notes, note_upload
from ltad.review.images import ImageStore
from ltad.review.records import DeskError
from ltad.review.uploads import collect
from ltad.synthetic.render import render_part
from ltad.workspace import Workspace

ANN, BO = {HEADER: "a" * 40}, {HEADER: "b" * 40}
SECRET = f"anns-{uuid.uuid4().hex[:8]}.png"
PUBLIC_ENDPOINTS = [
    "class_similarity", "desk_batches", "desk_cancel", "desk_create_batch", "desk_decide",
    "desk_delete", "desk_erase", "desk_export", "desk_history", "desk_ignore",
    "desk_ignore_history", "desk_import", "desk_item", "desk_items", "desk_map", "desk_mask",
    "desk_picture", "desk_progress", "desk_restart", "desk_restore", "desk_restore_ignore",
    "desk_save_ignore", "desk_threshold", "desk_threshold_history", "desk_thumbnails",
    "desk_training", "desk_undo", "draw_defect", "models", "nearest_tokens", "prompt_auroc",
    "prompt_data", "prompt_drop", "prompt_grid", "prompt_refit", "prompt_replace", "prompt_save",
    "prompt_tokens", "run_confusion", "run_gallery", "run_table", "runs", "score",
    "score_by_references",
    "vocabulary_map",
]
PRIVATE_ENDPOINTS = sorted([
    *PUBLIC_ENDPOINTS,
    "model_card", "model_compare", "run_again", "run_delete", "teach_cancel", "teach_check",
    "teach_discard", "teach_list", "teach_remove", "teach_review", "teach_start", "teach_status",
])
ATTACKS = ("directory", "parent", "other visitor", "dot dot", "absolute", "file address",
           "http address", "symlink", "NUL")
FILE_KINDS = ("Image", "File")


class Page:
    """A served page, Ann's upload on it, and what Bo would name to get at it."""

    def __init__(self, url: str, secret: Path, canary: int) -> None:
        self.url = url.rstrip("/")
        self.parameters = {
            name.lstrip("/"): [one["component"] for one in endpoint["parameters"]]
            for name, endpoint in self.get("info")["named_endpoints"].items()
        }
        self.anns = self.upload(secret, ANN)
        self.bos = self.upload(secret.with_name("bos.png"), BO)
        folder = Path(self.anns).parent
        link = Path(self.bos).parent / f"{uuid.uuid4().hex[:8]}.png"
        link.symlink_to(secret)
        self.attacks = {
            "directory": str(folder.parent), "parent": str(folder), "other visitor": self.anns,
            "dot dot": f"{Path(self.bos).parent}/../{folder.name}/{Path(self.anns).name}",
            "absolute": str(secret), "file address": secret.as_uri(),
            "http address": f"http://127.0.0.1:{canary}/{SECRET}", "symlink": str(link),
            "NUL": f"{self.anns}\0.png",
        }

    def get(self, name: str) -> dict:
        return httpx.get(f"{self.url}/gradio_api/{name}", timeout=60).json()

    def upload(self, path: Path, who: dict) -> str:
        return httpx.post(
            f"{self.url}/gradio_api/upload", files={"files": (path.name, path.read_bytes())},
            headers=who, timeout=60,
        ).json()[0]

    def call(self, name: str, *data: object, who: dict) -> httpx.Response:
        return httpx.post(f"{self.url}/gradio_api/run/{name}", json={"data": data}, headers=who,
                          timeout=120)

    def attempts(self, name: str, place: str) -> Iterator[tuple[str, httpx.Response]]:
        """Every way to put an attack into an endpoint: as a file, as words, as a record."""
        kinds = self.parameters[name]
        upload = {"path": place, "meta": {"_type": "gradio.FileData"}}
        if set(kinds) & set(FILE_KINDS):
            for payload in (upload, {"path": place}, [upload]):
                words = [payload if kind in FILE_KINDS else None for kind in kinds]
                yield "file", self.call(name, *words, who=BO)
        yield "words", self.call(
            name, *(None if kind in FILE_KINDS else place for kind in kinds), who=BO)
        if kinds:
            yield "record", self.call(name, *[upload] * len(kinds), who=BO)


@pytest.fixture(scope="module")
def canary() -> Iterator[SimpleNamespace]:
    """A server on this machine that must never be asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(404)
            self.end_headers()

        do_HEAD = do_GET

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield SimpleNamespace(port=server.server_port, asked=asked)
    server.shutdown()


@pytest.fixture(scope="module", autouse=True)
def upload_folder(tmp_path_factory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("uploads")))
        yield


@pytest.fixture(scope="module")
def secret(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("secret")
    Image.fromarray(render_part("screw", 1, 96).image).save(folder / SECRET)
    Image.fromarray(render_part("screw", 2, 96).image).save(folder / "bos.png")
    return folder / SECRET


def serve(scorer, folder: Path, is_public: bool, secret: Path, canary) -> Iterator[Page]:
    app = build_app(scorer, folder / "examples", Workspace(folder / "work", (), is_public))
    _, url, _ = app.launch(prevent_thread_lock=True, quiet=True, **launch_options(is_public))
    yield Page(url, secret, canary.port)
    app.close()


@pytest.fixture(scope="module")
def public(tiny_scorer, tmp_path_factory, secret, canary) -> Iterator[Page]:
    yield from serve(tiny_scorer, tmp_path_factory.mktemp("public"), True, secret, canary)


@pytest.fixture(scope="module")
def private(tiny_scorer, tmp_path_factory, secret, canary) -> Iterator[Page]:
    yield from serve(tiny_scorer, tmp_path_factory.mktemp("private"), False, secret, canary)


def refuses(page: Page, endpoint: str, attack: str, canary) -> None:
    for way, answer in page.attempts(endpoint, page.attacks[attack]):
        opened = f"{endpoint}, {attack} as {way}: {answer.text[:300]}"
        has_file = way == "file" or (way == "record" and page.parameters[endpoint])
        if has_file:
            assert answer.status_code == 500, opened
            assert "not uploaded here by you" in answer.json()["error"], opened
        assert "base64," not in answer.text, opened  # no image
        if SECRET not in page.attacks[attack]:  # else an answer may repeat the words
            assert SECRET not in answer.text, opened
    assert not canary.asked


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("endpoint", PUBLIC_ENDPOINTS)
def test_a_public_endpoint_opens_nothing_of_another_visitor(public, endpoint, attack, canary):
    refuses(public, endpoint, attack, canary)


@pytest.mark.parametrize("attack", [one for one in ATTACKS if one != "other visitor"])
@pytest.mark.parametrize("endpoint", PRIVATE_ENDPOINTS)
def test_a_private_endpoint_opens_uploads_only(private, endpoint, attack, canary):
    """Everybody is one visitor here, so an upload of theirs is nobody else's."""
    refuses(private, endpoint, attack, canary)


def test_the_table_names_every_endpoint(public, private):
    assert sorted(public.parameters) == sorted(PUBLIC_ENDPOINTS)
    assert sorted(private.parameters) == PRIVATE_ENDPOINTS and len(PRIVATE_ENDPOINTS) == 57


def test_the_attacks_left_nothing_behind(public, private):
    assert public.call("desk_batches", who=BO).json()["data"][0]["batches"] == []
    for page in (public, private):
        assert page.call("desk_batches", who=ANN).json()["data"][0]["batches"] == []
    assert private.call("teach_list", who=BO).json()["data"][0] == []


def test_ones_own_upload_is_taken_and_only_by_its_own_key(public, secret):
    settings = ("", "a", "a broken", 5, 1, 0.05, 0, False, "")
    mine = {"path": public.anns, "meta": {"_type": "gradio.FileData"}}
    assert public.call("score", mine, *settings, who=ANN).status_code == 200
    assert public.call("score", mine, *settings, who=BO).status_code == 500
    stranger = public.call("score", mine, *settings, who={})
    assert stranger.status_code == 500 and f"Send a header {HEADER}" in stranger.json()["error"]
    unkeyed = {"path": public.upload(secret, {}), "meta": {"_type": "gradio.FileData"}}
    assert public.call("score", unkeyed, *settings, who={}).status_code == 500
    # Bo holds the same image himself: the place is then his too.
    assert public.upload(secret, BO) == public.anns
    assert public.call("score", mine, *settings, who=BO).status_code == 200


def test_ids_of_another_visitor_lead_nowhere(public, secret):
    """Bo's desk numbers its own batches; whatever number he asks for, Ann's stay as they are."""
    ann = Client(public.url, headers=ANN, download_files=False, verbose=False)
    for _ in range(2):
        ann.predict([handle_file(secret)], [SECRET], "", "", "Ann", "", {},
                    api_name="/desk_create_batch")
    bo = Client(public.url, headers=BO, download_files=False, verbose=False)
    bo.predict([handle_file(secret.with_name("bos.png"))], ["bos.png"], "", "", "Bo", "", {},
               api_name="/desk_create_batch")

    def anns() -> str:
        histories = [public.call("desk_history", item, who=ANN) for item in (1, 2)]
        listed = public.call("desk_batches", who=ANN).json()["data"][0]
        return f"{[one.json()['data'] for one in histories]} {listed['deleted']}"

    before = anns()
    for name, *data in (
        ("desk_items", 2, ""), ("desk_item", 2, 96), ("desk_picture", 2, 96), ("desk_map", 2),
        ("desk_decide", 2, "good", "Bo", "", "", "", None), ("desk_history", 2),
        ("desk_mask", 2), ("desk_training", 2, True, "Bo"), ("desk_delete", 2, "Bo"),
        ("desk_erase", 2), ("desk_restore", 2), ("desk_cancel", 2), ("desk_restart", 2),
        ("desk_undo", 2, "Bo"), ("desk_export", 2, "json"), ("desk_progress", 2),
        ("desk_threshold", 2, "", "score", 0, True, "Bo"), ("desk_threshold_history", 2, ""),
        ("desk_restore_ignore", 2, "screw", 0, "Bo"),
    ):
        answer = public.call(name, *data, who=BO)
        found = answer.json()
        is_empty = found.get("data") in ([[]], [{"decision": None}])
        assert is_empty or "There is no" in found.get("error", ""), (name, found)
    listed = public.call("desk_thumbnails", [1, 2], who=BO).json()
    assert "There is no" in listed.get("error", "") or list(listed["data"][0]) == ["1"], listed
    assert anns() == before


def test_a_folder_or_a_link_is_no_upload_to_whoever_collects_either(secret, tmp_path):
    link = tmp_path / "link.png"
    link.symlink_to(secret)
    for source in (secret.parent, link, tmp_path / "gone.png", Path("/dev/null")):
        with pytest.raises(DeskError, match="is not a file"):
            collect([source], ImageStore(tmp_path / "pictures"))
    assert not (tmp_path / "pictures").exists()


def test_notes_of_uploads_are_forgotten_in_time(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    for name in ("old", "new"):
        note_upload(tmp_path / name, "ann")
    long_ago = time.time() - 2 * 24 * 3600
    os.utime(_note(tmp_path / "old", "ann"), (long_ago, long_ago))
    forget_old_notes()
    assert not _note(tmp_path / "old", "ann").exists() and _note(tmp_path / "new", "ann").exists()


def test_a_name_on_disk_does_not_matter_for_what_is_read(public):
    """A record with a path inside words or settings is a file too, wherever it stands."""
    nested = {"deep": [{"path": public.anns, "meta": {"_type": "gradio.FileData"}}]}
    answer = public.call("desk_create_batch", None, None, "", "", "Bo", "", nested, who={
        HEADER: "c" * 40})
    assert answer.status_code == 500 and "not uploaded here by you" in json.dumps(answer.json())


def test_a_batch_takes_the_uploads_own_names_when_none_are_given(private, secret):
    """The endpoint's description says so; on the wire the names may be null or left empty."""
    upload = {"path": private.upload(secret, {}), "meta": {"_type": "gradio.FileData"}}
    for names in (None, []):
        answer = private.call("desk_create_batch", [upload], names, "", "", "Ann", "", {}, who={})
        assert answer.status_code == 200, answer.text
        batch = answer.json()["data"][0]["batch"]["id"]
        items = private.call("desk_items", batch, "", who={}).json()["data"][0]["items"]
        assert [item["file_name"] for item in items] == [secret.name]
    client = Client(private.url, download_files=False, verbose=False)
    batch = client.predict([handle_file(secret)], person="Ann", api_name="/desk_create_batch")
    assert batch["batch"]["total"] == 1
