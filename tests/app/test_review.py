"""The Review tab's endpoints on a real database and a real model, without a browser."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import shutil
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from PIL import Image
from scipy.stats import binomtest

from ltad.app.page import launch_options
from ltad.app.review import build_review
from ltad.app.review_batches import ENDINGS, BatchEndpoints, ExchangeEndpoints
from ltad.app.review_desk import Desk, ItemEndpoints
from ltad.app.review_settings import SettingEndpoints
from ltad.inference.registry import ModelRegistry
from ltad.io.masks import decode_mask
from ltad.review.records import DeskError, ItemResult, NewItem, ThresholdChoice
from ltad.synthetic.render import render_part
from ltad.workspace import Workspace


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[Path]:
    """Six good parts, three defective ones, one content twice, one broken file."""
    folder = tmp_path_factory.mktemp("pictures")
    wanted = [("hex_nut", None), ("leather", None), ("screw", None)] * 2
    wanted += [("hex_nut", "crack"), ("leather", "stain"), ("leather", "hole")]
    for index, (name, defect) in enumerate(wanted):
        picture = Image.fromarray(render_part(name, 700 + index, 96, defect).image)
        picture.save(folder / f"{index}.png")
    (folder / "twice.png").write_bytes((folder / "0.png").read_bytes())
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n but nothing else")
    return sorted(folder.iterdir())


@pytest.fixture
def desk(tiny_scorer, tmp_path, files) -> SimpleNamespace:
    """Endpoints on an empty workspace that allows one server folder."""
    workspace = Workspace(tmp_path / "work", (files[0].parent,))
    desk = Desk(ModelRegistry(tiny_scorer, workspace.models), workspace)
    return SimpleNamespace(
        desk=desk, batches=BatchEndpoints(desk), items=ItemEndpoints(desk),
        settings=SettingEndpoints(desk), exchange=ExchangeEndpoints(desk),
    )


def bring(desk, files: list[Path]) -> int:
    paths = [str(path) for path in files]
    names = [f"tray <{path.stem}>.png" for path in files]
    batch = desk.batches.create_batch(paths, names, "", "", "Ann", "", {})["batch"]
    assert desk.desk.runner.wait(batch["id"], 60).state == "finished"
    return batch["id"]


def rows(desk, batch_id: int) -> list[dict]:
    return desk.batches.items(batch_id)["items"]


def test_the_list_of_batches_names_many_models_and_loads_none(desk, tiny_model_folder):
    models = desk.desk.workspace.models
    for number in range(3):
        shutil.copytree(tiny_model_folder, models / f"line {number}")
    found = desk.batches.batches()["models"]
    assert [one["name"] for one in found][1:] == ["line 0", "line 1", "line 2"]
    assert len({tuple(one["classes"]) for one in found}) == 1 and found[1]["classes"]
    assert not desk.desk.registry._loaded


def painting(mask: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def test_a_page_alone_writes_nothing(desk):
    found = desk.batches.batches()
    assert found["batches"] == [] and found["models"][0]["classes"]
    assert not desk.desk.workspace.root.exists()


def test_queue_is_worst_first_and_says_why_a_file_failed(desk, files):
    queue = rows(desk, bring(desk, files))
    margins = [row["score"] - row["threshold"] for row in queue if row["status"] == "scored"]
    assert margins == sorted(margins, reverse=True) and len(margins) == 10
    assert queue[-1]["status"] == "failed" and "tray <broken>.png" in queue[-1]["reason"]
    twice = [row for row in queue if row["duplicate_of"]]
    assert [row["file_name"] for row in twice] == ["tray <twice>.png"]


def test_rows_travel_only_when_something_changed(desk, files):
    batch = bring(desk, files[:3])
    first = desk.batches.items(batch)
    again = desk.batches.items(batch, first["version"])
    assert again["items"] is None and again["version"] == first["version"]
    desk.items.decide(first["items"][0]["id"], "defective", "Ann", "scratch")
    after = desk.batches.items(batch, first["version"])
    assert [row["verdict"] for row in after["items"]] == ["defective", "", ""]
    assert after["defect_types"] == ["scratch"] and after["batch"]["decided"] == 1


def test_two_people_never_overwrite_each_other_unknowingly(desk, files):
    row = rows(desk, bring(desk, files[:2]))[0]
    mine = desk.items.decide(row["id"], "good", "Ann", "", "fine", expected_revision=0)["decision"]
    assert (mine["score"], mine["threshold"]) == (row["score"], row["threshold"])
    answer = desk.items.decide(row["id"], "defective", "Ben", expected_revision=0)
    assert answer["conflict"]["person"] == "Ann" and "Ann decided" in answer["message"]
    # The answer got lost and the page sends the decision again.
    again = desk.items.decide(row["id"], "good", "Ann", "", "fine", expected_revision=0)
    assert again["decision"]["id"] == mine["id"] and len(desk.items.history(row["id"])) == 1
    seen = desk.items.decide(row["id"], "defective", "Ben", expected_revision=1)["decision"]
    assert seen["note"] == "fine"  # what was not sent is kept
    assert desk.items.undo(1, "Ben")["decision"]["verdict"] == "good"


def test_mask_is_kept_at_picture_size_and_leaves_with_good(desk, files):
    row = rows(desk, bring(desk, files[:1]))[0]
    small = np.zeros((48, 48), bool)
    small[10:20, 5:40] = True
    desk.items.decide(row["id"], "defective", "Ann", mask=painting(small))
    stored = decode_mask(base64.b64decode(desk.items.mask(row["id"]).split(",")[1]))
    assert stored.shape == (96, 96) and stored.sum() == 4 * small.sum()
    desk.items.decide(row["id"], "unsure", "Ann")
    assert desk.items.mask(row["id"])
    desk.items.decide(row["id"], "good", "Ann")
    assert desk.items.mask(row["id"]) is None
    desk.items.undo(1, "Ann")
    assert desk.items.mask(row["id"])
    for bad in ("hello", "data:image/png;base64,%%", "data:image/png;base64,aGVsbG8="):
        with pytest.raises(Exception, match=r"mask|picture"):
            desk.items.decide(row["id"], "defective", "Ann", mask=bad)


def test_map_has_outlines_of_its_regions(desk, files):
    found = [desk.items.map(row["id"]) for row in rows(desk, bring(desk, files))[:3]]
    regions = [region for answer in found for region in answer["regions"]]
    assert regions and all(answer["heat"].startswith("data:image/png") for answer in found)
    for region in regions:
        x = [point[0] for contour in region["contours"] for point in contour]
        assert (min(x), max(x)) == (region["left"], region["right"])
        enclosed = sum(map(_signed_area, region["contours"]))
        assert abs(enclosed) == pytest.approx(region["area"])


def _signed_area(contour: list) -> float:
    x, y = np.array(contour).T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def test_pictures_come_small_and_whole(desk, files):
    row = rows(desk, bring(desk, files[:1]))[0]
    (key, url), = desk.items.thumbnails([row["id"]]).items()
    assert key == row["content_key"] and url.startswith("data:image/jpeg")
    whole = Image.open(io.BytesIO(base64.b64decode(desk.items.picture(row["id"]).split(",")[1])))
    assert whole.size == (96, 96)
    with pytest.raises(DeskError, match="at most 100"):
        desk.items.thumbnails(list(range(101)))
    with pytest.raises(DeskError, match="whole number"):
        desk.items.item("1; DROP TABLE")


def test_threshold_counts_what_people_decided(desk, files):
    batch = bring(desk, files)
    queue = [row for row in rows(desk, batch) if row["status"] == "scored"]
    with pytest.raises(DeskError, match="Review more"):
        desk.settings.threshold(batch, "", "f1", 0, True)
    for row in queue:
        is_bad = re.search(r"<[678]>", row["file_name"])
        desk.items.decide(row["id"], "defective" if is_bad else "good", "Ann")
    limit = queue[3]["score"]
    tried = desk.settings.threshold(batch, "", "score", limit)
    alarms = [row for row in queue if row["score"] > limit]
    found = sum(bool(re.search(r"<[678]>", row["file_name"])) for row in alarms)
    assert (tried["anomalous"], tried["true_positives"]) == (len(alarms), found)
    assert tried["precision"] == pytest.approx(found / len(alarms))
    assert tried["recall"] == pytest.approx(found / 3) and tried["threshold"] == limit
    assert desk.settings.threshold(batch)["mode"] == "rate"  # it was only tried out
    before = {row["id"]: row["threshold"] for row in queue}
    assert all(before[r["id"]] == r["threshold"] for r in rows(desk, batch) if r["score"])
    desk.settings.threshold(batch, "", "score", limit, True, "Ann")
    assert {row["threshold"] for row in rows(desk, batch) if row["score"]} == {limit}
    desk.settings.threshold(batch, "", "reset", 0, True, "Ben")
    chosen = desk.settings.threshold_history(batch)
    assert [(one["mode"], one["value"], one["person"]) for one in chosen] == [
        ("reset", 0, "Ben"), ("score", limit, "Ann"),
    ]
    assert all(before[r["id"]] == r["threshold"] for r in rows(desk, batch) if r["score"])


def test_ignored_areas_score_a_class_again(desk, files):
    batch = bring(desk, files)
    before = {row["id"]: row["score"] for row in rows(desk, batch)}
    name = next(row["class_name"] for row in rows(desk, batch))
    half = np.zeros((32, 32), bool)
    half[:, :16] = True
    count = desk.settings.save_ignore(batch, name, painting(half), "Ann")["items"]
    desk.desk.runner.wait(batch, 60)
    after = rows(desk, batch)
    mine = [row for row in after if row["class_name"] == name]
    assert count == len(mine) and all(r["score"] <= before[r["id"]] for r in mine)
    assert any(r["score"] < before[r["id"]] for r in mine)
    assert all(r["score"] == before[r["id"]] for r in after if r not in mine)
    lowered = {row["id"]: row["score"] for row in after}
    mask = desk.settings.ignore(name)["mask"]
    assert mask
    desk.settings.save_ignore(batch, name, painting(np.zeros((8, 8), bool)), "Ben")
    now, first = desk.settings.ignore_history(name)
    assert (now["person"], now["share"]) == ("Ben", 0)
    assert (first["person"], first["share"]) == ("Ann", 0.5)
    assert desk.settings.ignore(name, first["id"])["mask"] == mask
    with pytest.raises(DeskError, match="no ignored area 999"):
        desk.settings.restore_ignore(batch, name, 999, "Ann")
    assert desk.settings.restore_ignore(batch, name, first["id"], "Ann")["items"] == len(mine)
    desk.desk.runner.wait(batch, 60)
    assert {row["id"]: row["score"] for row in rows(desk, batch)} == lowered
    desk.settings.restore_ignore(batch, name, 0, "Ann")
    desk.desk.runner.wait(batch, 60)
    assert {row["id"]: row["score"] for row in rows(desk, batch)} == pytest.approx(before)
    with pytest.raises(DeskError, match="no class"):
        desk.settings.save_ignore(batch, "nothing", painting(half), "Ann")


def test_outlines_follow_a_chosen_threshold(desk, files):
    batch = bring(desk, files[:3])
    row = rows(desk, batch)[0]
    own = desk.items.map(row["id"])
    assert own["limit"] == own["own_limit"]
    down = 0.3 * own["own_limit"]
    desk.settings.threshold(batch, "", "score", row["threshold"] - down, True, "Ann")
    moved = desk.items.map(row["id"])
    assert moved["own_limit"] == own["own_limit"]
    assert moved["limit"] == pytest.approx(own["own_limit"] - down)
    area = [sum(region["area"] for region in one["regions"]) for one in (own, moved)]
    assert area[1] >= area[0] and "People chose" in moved["explanation"]
    made = desk.items.decide(row["id"], "defective", "Ann")["decision"]
    assert made["threshold"] == row["threshold"] - down and made["score"] == row["score"]


def test_only_good_pictures_are_offered_for_training(desk, files):
    row = rows(desk, bring(desk, files[:1]))[0]
    with pytest.raises(DeskError, match="good"):
        desk.items.training(row["id"], True, "Ann")
    desk.items.decide(row["id"], "good", "Ann")
    desk.items.training(row["id"], True, "Ann")
    assert desk.items.item(row["id"])["for_training"]
    desk.items.decide(row["id"], "defective", "Ann")
    assert not desk.items.item(row["id"])["for_training"]


@pytest.mark.parametrize("kind", ["coco", "csv"])
def test_exports_restore_the_decisions(desk, files, kind):
    batch = bring(desk, files)
    for row, verdict in zip(rows(desk, batch), ("defective", "good", "unsure"), strict=False):
        desk.items.decide(row["id"], verdict, "Ann", "dent", "=note")
    exported = Path(desk.exchange.export(batch, kind))
    other = bring(desk, files)
    report = desk.exchange.bring_back(str(exported), other, "Ben")
    assert report["restored"] == 3 and report["problems"] == []
    assert [r["verdict"] for r in rows(desk, other)][:3] == ["defective", "good", "unsure"]
    note = desk.items.item(rows(desk, other)[0]["id"])["decision"]
    assert (note["note"], note["person"]) == ("=note", "Ann")


def test_every_export_is_a_file(desk, files):
    batch = bring(desk, files[:3])
    for kind, ending in ENDINGS.items():
        path = Path(desk.exchange.export(batch, kind))
        assert path.name.endswith(ending) and path.stat().st_size > 100
    with pytest.raises(DeskError, match="no export"):
        desk.exchange.export(batch, "../secret")


def test_server_folders_are_only_the_allowed_ones(desk, files):
    (label,) = desk.batches.batches()["folders"]
    batch = desk.batches.create_batch(None, None, label, "", "Ann", "", None)["batch"]
    assert batch["total"] == len(files) and batch["name"] == label
    desk.desk.runner.wait(batch["id"], 60)
    for folder in ("/etc", "..", f"{label}/.."):
        with pytest.raises(DeskError, match="no folder"):
            desk.batches.create_batch(None, None, folder, "", "Ann", "", None)
    with pytest.raises(DeskError, match="no files"):
        desk.batches.create_batch(None, None, "", "", "Ann", "", None)


def test_requests_from_outside(tiny_scorer, tmp_path, files):
    """Over HTTP: what is not uploaded is refused, and messages name no path of the server."""
    workspace = Workspace(tmp_path / "work")
    with gr.Blocks() as page, gr.Tab("Review") as tab:
        build_review(ModelRegistry(tiny_scorer, workspace.models), workspace, tab)
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, **launch_options())

    def call(name: str, *data) -> tuple[int, dict]:
        request = urllib.request.Request(
            f"{url}gradio_api/run/desk_{name}", json.dumps({"data": data}).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    try:
        assert call("batches")[1]["data"][0]["batches"] == []
        for meta in ({"_type": "gradio.FileData"}, None):
            file = {"path": str(files[0]), "meta": meta}
            status, answer = call("create_batch", [file], ["a.png"], "", "", "Ann", "", {})
            assert status == 500 and str(files[0].parent) not in json.dumps(answer)
        status, answer = call("item", 7, 100)
        assert status == 500 and "no item 7" in answer["error"]
        assert call("decide", 7, "perfect", "Ann", None, None, "", None)[0] == 500
    finally:
        page.close()


def test_what_people_chose_holds_without_the_model_or_the_export_refuses(
    desk, files, tiny_model_folder
):
    models = desk.desk.workspace.models
    shutil.copytree(tiny_model_folder, models / "mine")
    paths = [str(path) for path in files[:6]]
    batch = desk.batches.create_batch(paths, None, "", "", "Ann", "mine", {})["batch"]["id"]
    desk.desk.runner.wait(batch, 60)
    highest = max(row["score"] for row in rows(desk, batch))
    desk.settings.threshold(batch, "", "score", highest, True, "Ann")

    def verdicts() -> set[str]:
        table = Path(desk.exchange.export(batch, "csv")).read_text("utf-8-sig")
        return {line["model_verdict"] for line in csv.DictReader(io.StringIO(table))}

    assert verdicts() <= {"normal", "not judged"}
    desk.settings.threshold(batch, "", "score", 0.0, True, "Ann")
    assert verdicts() <= {"anomalous", "not judged"}
    shutil.rmtree(models / "mine")
    assert verdicts() <= {"anomalous", "not judged"}  # as chosen, not as when it was scored
    listed = desk.batches.items(batch)
    assert {row["threshold"] for row in listed["items"]} == {0.0} and listed["problem"] == ""
    desk.desk.database.set_threshold("mine", "", ThresholdChoice("rate", 0.3), "Ann")
    for kind in ("csv", "json", "coco", "zip", "report"):
        with pytest.raises(DeskError, match="follows from the model mine, which cannot be loaded"):
            desk.exchange.export(batch, kind)
    listed = desk.batches.items(batch)
    assert "cannot be loaded" in listed["problem"] and len(listed["items"]) == 6
    desk.desk.database.set_threshold("mine", "", None, "Ann")
    assert desk.batches.items(batch)["problem"] == "" and verdicts()


def made_up(desk, rows_: list[tuple[float, bool]]) -> int:
    """A scored batch of hex nuts with given (score, is recognised); their threshold is 10."""
    database = desk.desk.database
    batch = database.create_batch("made up", "Ann", desk.desk.registry.first.name, {
        "normal_prompt": "a", "abnormal_prompt": "a broken", "lam": 5.0, "tau": 1.0})
    ids = database.add_items(batch.id, [NewItem(f"{n}.png", "") for n in range(len(rows_))])
    for one, (score, is_known) in zip(ids, rows_, strict=True):
        database.record_result(one, **vars(
            ItemResult(96, 96, "hex_nut", 0.9, is_known, score, 1.0, 0.5, 10.0)))
    database.set_batch_state(batch.id, "finished")
    database.set_threshold(batch.model, "hex_nut", ThresholdChoice("score", 10.0), "Ann")
    return batch.id


def test_a_part_that_is_not_judged_is_not_sorted_last(desk):
    batch = made_up(desk, [(1.0, True), (2.0, False), (12.0, True), (30.0, False), (9.0, True)])
    queue = [(row["score"], bool(row["is_recognised"])) for row in rows(desk, batch)]
    assert queue == [(30.0, False), (12.0, True), (2.0, False), (9.0, True), (1.0, True)]


def test_recall_says_what_it_knows_and_a_random_sample_tells_more(desk):
    """60 parts, 12 of them defective, of which 4 score below the threshold: 67% are found."""
    scores = [20.0 + n for n in range(8)] + [n / 10 for n in range(52)]
    batch = made_up(desk, [(score, True) for score in scores])
    queue = rows(desk, batch)
    is_bad = {row["id"]: row["score"] > 10 or row["score"] in (0.1, 1.1, 2.1, 3.1)
              for row in queue}
    for row in queue[:8]:
        desk.items.decide(row["id"], "defective", "Ann")
    told = desk.settings.threshold(batch)
    assert told["recall"] == 1.0 and (told["below"], told["below_reviewed"]) == (52, 0)
    sample = {row["id"] for row in queue if row["is_in_sample"]}
    assert told["sample"]["size"] == len(sample) == 30 and told["sample"]["recall"] is None
    for one in sample:
        desk.items.decide(one, "defective" if is_bad[one] else "good", "Ann")
    told = desk.settings.threshold(batch)["sample"]
    found = sum(is_bad[row["id"]] and row["score"] > 10 for row in queue if row["is_in_sample"])
    defective = sum(is_bad[one] for one in sample)
    assert (told["reviewed"], told["defective"], told["missed"]) == (
        30, defective, defective - found)
    interval = binomtest(found, defective).proportion_ci(0.95, method="exact")
    assert told["recall"] == found / defective and told["missed"] > 0
    assert (told["low"], told["high"]) == (interval.low, interval.high)
    assert told["low"] < 8 / 12 < told["high"]
    by_score = [row["id"] in sample for row in queue]
    assert 0 < sum(by_score[:30]) < 30  # it does not follow the scores


def test_a_file_that_holds_no_decisions_is_answered_not_failed(desk, files, tmp_path):
    batch = bring(desk, files[:1])
    for name, content in (("notes.txt", b"hello"), ("cut.json", b'{"items": ['),
                          ("picture.png", files[1].read_bytes())):
        (tmp_path / name).write_bytes(content)
        told = desk.exchange.bring_back(str(tmp_path / name), batch, "Ann")
        assert (told["restored"], told["problems"]) == (0, []) and name in told["text"]
    with pytest.raises(DeskError, match="There is no batch 99"):
        desk.exchange.bring_back(str(tmp_path / "notes.txt"), 99, "Ann")


def test_a_score_below_zero_is_refused_and_says_why(desk):
    batch = made_up(desk, [(1.0, True)])
    with pytest.raises(DeskError, match=r"The score is -5.0, .* from 0 upwards"):
        desk.settings.threshold(batch, "", "score", -5, True, "Ann")
    assert desk.settings.threshold(batch, "", "score", 0)["anomalous_now"] == 0
