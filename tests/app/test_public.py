"""A public page: no visitor sees, changes or outlasts what is not their own."""

from __future__ import annotations

import html
import json
import os
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
from gradio_client import Client, handle_file
from PIL import Image

import app
from ltad.app import visitors
from ltad.app.page import build_app, launch_options
from ltad.app.review_batches import BatchEndpoints, ExchangeEndpoints
from ltad.app.sources import open_source
from ltad.app.visitors import HEADER, Desks
from ltad.inference.registry import ModelRegistry
from ltad.review.records import DeskError
from ltad.synthetic.render import render_part
from ltad.types import ImageError, SettingError
from ltad.workspace import COMMAND, Workspace

ANN, BO = "a" * 40, "b" * 40


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("work"), (), is_public=True)


@pytest.fixture(scope="module")
def picture(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "part.png"
    Image.fromarray(render_part("screw", 1, 96).image).save(path)
    return path


@pytest.fixture(scope="module")
def address(tiny_scorer, workspace) -> Iterator[str]:
    page = build_app(tiny_scorer, workspace=workspace)
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, **launch_options(True))
    yield url
    page.close()


@pytest.fixture
def desks(tiny_scorer, tmp_path) -> Desks:
    workspace = Workspace(tmp_path, (), is_public=True)
    return Desks(ModelRegistry(tiny_scorer), workspace)


def asked_by(key: str) -> gr.Request:
    return SimpleNamespace(headers={HEADER: key})


def call(address: str, name: str, *data, key: str = "") -> tuple[int, str]:
    request = urllib.request.Request(
        f"{address}gradio_api/run/{name}", json.dumps({"data": data}).encode(),
        {"Content-Type": "application/json", **({HEADER: key} if key else {})},
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.load(answer)["data"][0]
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)["error"]


def test_each_visitor_has_a_desk_of_their_own(address, picture, workspace):
    status, message = call(address, "desk_batches")
    assert status == 500 and "Send a header" in message
    assert call(address, "desk_batches", key="short")[0] == 500
    ann = Client(address, headers={HEADER: ANN}, download_files=False, verbose=False)
    batch = ann.predict(
        [handle_file(picture)], ["mine.png"], "", "", "Ann", "", {},
        api_name="/desk_create_batch",
    )["batch"]
    _, own = call(address, "desk_batches", key=ANN)
    assert [one["id"] for one in own["batches"]] == [batch["id"]]
    assert "only this browser sees" in own["note"] and own["folders"] == []
    assert call(address, "desk_batches", key=BO)[1]["batches"] == []
    for name, *data in (
        ("desk_items", batch["id"], ""), ("desk_item", 1, 96), ("desk_delete", batch["id"], "Bo"),
        ("desk_decide", 1, "good", "Bo", "", "", "", None),
    ):
        status, message = call(address, name, *data, key=BO)
        assert status == 500 and "There is no batch here" in message, name
    folders = list((workspace.root / "visitors").iterdir())
    assert len(folders) == 1 and ANN not in folders[0].name  # looking makes no folder
    status, message = call(address, "desk_decide", 1, "good", "Ann", "", "", "", 0, key=ANN)
    assert status == 200 and message["decision"]["verdict"] == "good"
    with pytest.raises(Exception, match="hands out no database"):
        ann.predict(batch["id"], "backup", api_name="/desk_export")
    with pytest.raises(ImageError, match="open in Review only"):
        open_source(workspace, "item:1")


def test_nobody_trains_saves_or_deletes_for_others(address, workspace):
    config = json.load(urllib.request.urlopen(f"{address}config"))
    names = {one["api_name"] for one in config["dependencies"]}
    assert not [name for name in names if str(name).startswith("teach")]
    assert "delete_run" not in names
    assert COMMAND in html.unescape(json.dumps(config["components"]))
    with pytest.raises(SettingError, match="Saving a model is not possible on a public page"):
        workspace.require_private("Saving a model")


def test_a_visitor_may_bring_so_much_and_no_more(desks, picture, tmp_path, monkeypatch):
    desk = desks.of(asked_by(ANN))
    assert desks.of(asked_by(ANN)) is desk and desks.of(asked_by(BO)) is not desk
    bring = BatchEndpoints(desk).create_batch
    monkeypatch.setattr(visitors, "MOST_IMAGES", 3)
    with zipfile.ZipFile(tmp_path / "four.zip", "w") as archive:
        for index in range(4):
            archive.write(picture, f"{index}.png")
    with pytest.raises(DeskError, match=r"keep 3 images .* with these it would be 4 images"):
        bring([str(tmp_path / "four.zip")], None, "", "", "Ann", "", {})
    assert not desk.workspace.root.exists()
    for _ in range(3):
        bring([str(picture)], ["a.png"], "", "", "Ann", "", {})
    with pytest.raises(DeskError, match="it would be 4 images"):
        bring([str(picture)], ["a.png"], "", "", "Ann", "", {})
    monkeypatch.setattr(visitors, "MOST_IMAGES", 100)
    monkeypatch.setattr(visitors, "MOST_BYTES", picture.stat().st_size)
    with pytest.raises(DeskError, match=r"MB\. Bring fewer"):
        bring([str(picture)], ["a.png"], "", "", "Ann", "", {})
    with pytest.raises(DeskError, match=r"MB\. Bring fewer"):  # decisions take room too
        ExchangeEndpoints(desk).bring_back(str(picture), 1, "Ann")
    for batch in desk.database.batches():
        assert desk.runner.wait(batch.id, 60).state == "finished"


def test_desks_that_nobody_uses_make_room(desks, picture, monkeypatch):
    monkeypatch.setattr(visitors, "MOST_VISITORS", 2)
    brought = {}
    for key in (ANN, BO):
        brought[key] = desks.of(asked_by(key))
        batch = BatchEndpoints(brought[key]).create_batch(
            [str(picture)], ["a.png"], "", "", "P", "", {})["batch"]
        brought[key].runner.wait(batch["id"], 60)
    third = BatchEndpoints(desks.of(asked_by("c" * 40)))
    with pytest.raises(DeskError, match="Too many people"):
        third.create_batch([str(picture)], ["a.png"], "", "", "P", "", {})
    long_ago = time.time() - visitors.SPARED_SECONDS - 1
    os.utime(brought[ANN].workspace.root, (long_ago, long_ago))
    third.create_batch([str(picture)], ["a.png"], "", "", "P", "", {})
    assert not brought[ANN].workspace.root.exists() and brought[BO].workspace.root.exists()
    assert BatchEndpoints(desks.of(asked_by(ANN))).batches()["batches"] == []


def test_no_endpoint_changes_the_runs(address):
    named = Client(address, verbose=False).view_api(return_format="dict")["named_endpoints"]
    assert "/run_table" in named and not {"/run_again", "/run_delete"} & set(named)


def test_a_space_is_public_unless_told_otherwise(monkeypatch):
    assert not app.parse_arguments([]).public
    assert app.parse_arguments(["--public"]).public
    monkeypatch.setenv("SPACE_ID", "somebody/something")
    assert app.parse_arguments([]).public
    assert not app.parse_arguments(["--no-public"]).public


def test_a_private_page_is_everybodys(tiny_scorer, workspace):
    desks = Desks(ModelRegistry(tiny_scorer), replace(workspace, is_public=False))
    assert desks.of(None) is desks.of(asked_by(ANN)) is desks.everybody
