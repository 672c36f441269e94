"""What left the desk comes back to it, whole and without surprises."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from desk_for_tests import Desk

from ltad.inference.registry import ModelRegistry
from ltad.io import masks
from ltad.io.masks import decode_mask
from ltad.review.coco import write_coco
from ltad.review.database import Database
from ltad.review.export import csv_bytes, json_bytes, write_archive
from ltad.review.images import ImageStore
from ltad.review.imports import import_decisions
from ltad.review.records import DeskError, NewItem, now
from ltad.review.worker import BatchRunner


@pytest.fixture(scope="module")
def files(parts_folder):
    return sorted(parts_folder.glob("*/test/*/000.png"))


@pytest.fixture
def desk(tmp_path, tiny_scorer, files):
    return Desk(tmp_path / "desk", tiny_scorer, files)


@pytest.fixture
def reviewed(desk):
    desk.review()
    return desk


@pytest.mark.parametrize("kind", ["coco.json", "batch.csv", "batch.json", "batch.zip"])
def test_round_trip_restores_every_decision(reviewed, tmp_path, tiny_scorer, files, kind):
    path = tmp_path / kind
    if kind == "coco.json":
        write_coco(path, *reviewed.stores, None)
    elif kind == "batch.csv":
        path.write_bytes(csv_bytes(reviewed.items))
    elif kind == "batch.json":
        path.write_bytes(json_bytes(reviewed.batch, reviewed.items))
    else:
        write_archive(path, *reviewed.stores, reviewed.registry, contents=())
    fresh = Desk(tmp_path / "fresh", tiny_scorer, files)
    report = import_decisions(fresh.database, fresh.id, path, kind)
    expected = reviewed.decisions()
    if kind in ("batch.csv", "batch.json"):  # a table holds no masks
        expected = {k: (*v[:4], None, *v[5:]) for k, v in expected.items()}
    assert len(expected) == 8
    assert fresh.decisions() == expected
    assert (report.restored, report.unchanged, report.problems) == (8, 0, [])
    restored = [item.decision for item in fresh.items if item.verdict]
    assert all(d.created < d.imported <= now() for d in restored)
    assert csv_bytes(fresh.items).decode("utf-8-sig").count(restored[0].imported) >= 1
    again = import_decisions(fresh.database, fresh.id, path, kind)
    assert (again.restored, again.unchanged, again.problems) == (0, 8, [])
    print(f"\n{kind}: {report.text} Again: {again.text}")


def test_import_keeps_newer_decisions(reviewed, tmp_path):
    path = tmp_path / "coco.json"
    write_coco(path, *reviewed.stores, None)
    first = reviewed.item("twin.png")
    reviewed.decide(first, "good", person="Cem")
    report = import_decisions(reviewed.database, reviewed.id, path)
    assert (report.restored, report.unchanged) == (0, 7)
    (conflict,) = report.conflicts
    assert re.search(r"twin\.png: Cem decided 'good' at .* UTC, later than .*'unsure' by Ada",
                     conflict)
    assert reviewed.item("twin.png").verdict == "good"
    report = import_decisions(reviewed.database, reviewed.id, path, overwrite=True)
    assert (report.restored, report.conflicts) == (1, ())
    assert [d.verdict for d in reviewed.database.history(first.id)] == ["unsure", "good", "unsure"]


def test_an_older_decision_is_replaced_and_stays_in_the_history(desk):
    item = desk.items[0]
    desk.decide(item, "good")
    rows = "file_name;verdict;decided;person\n{};Defective;{};Bo\nelsewhere.png;good;;\n"
    late = rows.format(item.file_name, "2999-01-01 10:00").encode()
    report = import_decisions(desk.database, desk.id, late, person="Cem")
    assert report.restored == 1
    (_, decision) = desk.database.history(item.id)
    assert decision.created <= decision.imported  # no decision is made in the year 2999
    assert report.unmatched == ("elsewhere.png: the batch has no image of this name.",)
    assert [(d.verdict, d.person) for d in desk.database.history(item.id)] == [
        ("good", "Ada"), ("defective", "Bo")
    ]
    no_time = rows.format(item.file_name, "").replace("Defective", "unsure").encode()
    assert len(import_decisions(desk.database, desk.id, no_time).conflicts) == 1


def test_coco_of_other_programs_is_understood(desk):
    item = next(item for item in desk.items if item.status == "scored")
    foreign = {
        "images": [{"id": 7, "file_name": item.file_name, "width": 96, "height": 96},
                   {"id": 8, "file_name": "0000.png", "width": 9, "height": 9}],
        "categories": [{"id": 1, "name": "crack"}, {"id": 2, "name": "hole"}],
        "annotations": [
            {"image_id": 7, "category_id": 2, "segmentation": [[10, 20, 14, 20, 14, 23, 10, 23]]},
            {"image_id": 7, "category_id": 1, "segmentation": {
                "size": [96, 96], "counts": [96 * 50, 96, 96 * 45]}},
        ],
    }
    report = import_decisions(desk.database, desk.id, json.dumps(foreign).encode(), person="Cem")
    assert report.restored == 1
    decision = desk.item(item.file_name).decision
    assert (decision.verdict, decision.defect_type, decision.person) == (
        "defective", "hole, crack", "Cem")
    mask = decode_mask(desk.database.blob(decision.mask_key))
    expected = np.zeros((96, 96), dtype=bool)
    expected[20:23, 10:14] = expected[:, 50] = True
    assert np.array_equal(mask, expected)
    foreign["annotations"][1]["segmentation"]["size"] = [48, 192]
    report = import_decisions(desk.database, desk.id, json.dumps(foreign).encode())
    assert "192 x 48 pixels, but the image is 96 x 96" in report.unmatched[0]


SQUARE = [[16, 32, 48, 32, 48, 64, 16, 64]]
"""COCO's outline of the pixels [32:64, 16:48] of 96 x 96."""


@pytest.fixture
def named(tmp_path, tiny_scorer, files):
    """Makes a batch of the first images under other names."""
    def make(*names):
        database, pictures = Database(tmp_path / "n.sqlite"), ImageStore(tmp_path / "n")
        new = [NewItem(n, pictures.put(f.read_bytes())) for n, f in zip(names, files, strict=False)]
        runner = BatchRunner(database, pictures, ModelRegistry(tiny_scorer))
        batch = runner.open_batch("Line", "Ada", None, {}, new)
        runner.wait(batch.id, 120)
        return database, batch.id
    return make


def foreign_coco(names, *annotations, **image) -> bytes:
    """Images with the ids 1, 2, ...; by default each with `SQUARE` as a hole."""
    annotations = annotations or [{"image_id": i, "category_id": 1, "segmentation": SQUARE}
                                  for i, _ in enumerate(names, 1)]
    return json.dumps({
        "images": [{"id": i, "file_name": n, "width": 96, "height": 96, **image}
                   for i, n in enumerate(names, 1)],
        "categories": [{"id": 1, "name": "hole"}, {"id": 2, "name": "Good"}],
        "annotations": annotations,
    }).encode()


def marked(database, batch_id) -> list:
    """Rows and columns of each item's mask, () without one."""
    def box(key):
        if not key:
            return ()
        rows, columns = np.nonzero(decode_mask(database.blob(key)))
        return (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1, len(rows))
    items = sorted(database.items(batch_id), key=lambda item: item.position)
    return [box(item.decision.mask_key) if item.decision else None for item in items]


HOLE = (32, 64, 16, 48, 32 * 32)


@pytest.mark.parametrize(("names", "asked", "is_found"), [
    (["a.png", "b.png"], ["images/a.png", "images/b.png"], [True, True]),
    (["a.png", "b.png"], ["images\\a.png", "./b.png"], [True, True]),
    (["shift 1/a.png", "shift 1/b.png"], ["b.png", "a.png"], [True, True]),
    (["shift 1/a.png"], ["images/a.png"], [True]),
    (["Bohrung_a\u0308.png", "ä.png"], ["Bohrung_ä.png", "a\u0308.png"], [True, True]),
    (["x/a.png", "y/a.png"], ["x/a.png"], [True, False]),
    (["x/a.png", "y/a.png"], ["a.png"], [False, False]),  # which of them?
    (["a.png", "b.png"], ["x/a.png", "y/a.png"], [False, False]),
    (["a.png", "b.png"], ["a.png", "x/a.png"], [True, False]),
    (["a.png"], ["aa.png"], [False]),
])
def test_names_of_other_programs_fit_by_their_end(named, names, asked, is_found):
    database, batch_id = named(*names)
    report = import_decisions(database, batch_id, foreign_coco(asked))
    assert marked(database, batch_id) == [HOLE if found else None for found in is_found]
    assert report.restored == sum(is_found)
    assert len(report.unmatched) == len(asked) - sum(is_found)


def test_annotations_of_a_scaled_image_are_scaled(named):
    database, batch_id = named("a.png", "b.png")
    large = [[x * 640 / 96 for x in SQUARE[0]]]
    runs = masks.encode(np.ones((320, 160), bool), 160, 160, (640, 640))
    content = foreign_coco(["a.png", "b.png"], {"image_id": 1, "segmentation": large},
                           {"image_id": 2, "segmentation": runs}, width=640, height=640)
    import_decisions(database, batch_id, content)
    assert marked(database, batch_id) == [HOLE, (24, 72, 24, 48, 48 * 24)]


@pytest.mark.parametrize(("annotation", "image", "message"), [
    ({"segmentation": SQUARE}, {"width": 640, "height": 480}, "640 x 480 pixels, but the image"),
    ({"segmentation": [[600, 600, 640, 600, 640, 640]]}, {}, "marks no pixel"),
    ({"segmentation": [[600, 600, 640, 600, 640, 640]]}, {"width": None}, "marks no pixel"),
    ({"segmentation": [[10, 10, 50, 50]]}, {}, "three points or more"),
    ({"bbox": [10, 10, 0, 0]}, {}, "marks no pixel"),
    ({"bbox": [10, 10]}, {}, "three points or more"),
])
def test_what_marks_nothing_is_not_restored(named, annotation, image, message):
    database, batch_id = named("a.png")
    content = foreign_coco(["a.png"], {"image_id": 1, "category_id": 1, **annotation}, **image)
    report = import_decisions(database, batch_id, content)
    assert report.restored == 0 and marked(database, batch_id) == [None]
    assert report.unmatched[0].startswith("a.png: ") and message in report.unmatched[0]


def test_boxes_flat_outlines_and_good_ones_are_taken_and_counted(named):
    database, batch_id = named("a.png", "b.png", "c.png", "d.png")
    content = foreign_coco(
        ["a.png", "b.png", "c.png", "d.png"],
        {"image_id": "1", "category_id": "1", "segmentation": [], "bbox": [16, 32, 32, 32]},
        {"image_id": "2", "category_id": 1, "segmentation": SQUARE[0]},
        {"image_id": 3, "category_id": 2, "segmentation": SQUARE},
        {"image_id": 4, "category_id": 1},
    )
    report = import_decisions(database, batch_id, content)
    assert marked(database, batch_id) == [HOLE, HOLE, (), ()]
    items = sorted(database.items(batch_id), key=lambda item: item.position)
    assert [(i.verdict, i.decision.defect_type) for i in items] == [
        ("defective", "hole"), ("defective", "hole"), ("good", ""), ("defective", "hole")]
    assert report.text.startswith("4 decisions restored (3 defective, 1 good, 2 with a mask, "
                                  "1 boxes as masks), 0 already there")


def test_one_id_for_two_images_and_ids_of_none_are_refused(named):
    database, batch_id = named("a.png", "b.png", "c.png")
    content = foreign_coco(["a.png", "b.png", "c.png"])
    content = content.replace(b'"id": 2, "file', b'"id": 1, "file')
    report = import_decisions(database, batch_id, content)
    assert marked(database, batch_id) == [None, None, HOLE]
    assert [line.split(": ")[0] for line in report.unmatched] == ["a.png", "b.png", "Image id 2"]
    assert "2 images of the id 1" in report.unmatched[1]


def test_a_file_without_decisions_says_so(desk):
    nothing = b'{"images": [], "annotations": [], "categories": []}'
    report = import_decisions(desk.database, desk.batch.id, nothing, "empty.json", "Ada")
    assert report.text == "The file holds no decision, so nothing was restored."


@pytest.mark.parametrize(("content", "message"), [
    (b"", "is empty"),
    (b"a,b\n1,2\n", "no column file_name and no column verdict"),
    (b"file_name,verdict\na.png,bad\n", "line 2: the verdict is 'bad'"),
    (b"PK\x03\x04 torn", "damaged zip"),
    (b'{"images": 3}', "no COCO or JSON"),
    (b'{"images": [', "damaged or cut off: its JSON breaks at line 1, column 13"),
    (b"[1, 2]", "no COCO or JSON"),
    (b'{"images": [{"file_name": "a"}]}', "no COCO or JSON"),
    (b'{"items": [3]}', "no COCO or JSON"),
    ("file_name,verdict\nä.png,good\n".encode("latin-1"), "not text in UTF-8"),
])
def test_files_that_cannot_be_read_say_why(desk, content, message):
    with pytest.raises(DeskError, match=message) as caught:
        import_decisions(desk.database, desk.id, content, "shift.csv")
    assert "shift.csv" in str(caught.value)
    assert desk.decisions() == {}
