"""What leaves the desk is right: COCO, tables, archives, reports."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
import zipfile

import numpy as np
import pytest
from desk_for_tests import EVIL_NAME, Desk
from PIL import Image
from pycocotools.coco import COCO

from ltad.io.heatmap import heat_over
from ltad.io.masks import decode_mask, encode_mask
from ltad.review.coco import write_coco
from ltad.review.evidence import detect, gather, is_suspicious, model_verdict, subset
from ltad.review.export import COLUMNS, csv_text, guard, stacked_maps, unguard, write_archive
from ltad.review.files import archive_stem
from ltad.review.records import DeskError, ItemResult, NewItem
from ltad.review.regions import region_mask, stretch
from ltad.review.report import write_report


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


def test_coco_loads_in_pycocotools_with_equal_masks(reviewed, tmp_path):
    scorer = reviewed.registry.first
    assert write_coco(tmp_path / "coco.json", *reviewed.stores, scorer) == []
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(tmp_path / "coco.json"))
    assert len(coco.imgs) == len(reviewed.items)
    annotated = 0
    for item in reviewed.items:
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=item.id))
        if item.status != "scored":
            assert annotations == []
            continue
        evidence = gather(item, reviewed.batch, reviewed.database, reviewed.images, scorer)
        expected = region_mask(evidence.regions, (item.width, item.height))
        if item.verdict in ("defective", "unsure") and item.decision.mask_key:
            source = decode_mask(reviewed.database.blob(item.decision.mask_key))
            assert np.array_equal(expected, source)
        if item.verdict == "good":
            assert annotations == []
        together = np.zeros_like(expected)
        for annotation in annotations:
            mask = coco.annToMask(annotation).astype(bool)
            rows, columns = np.nonzero(mask)
            assert annotation["area"] == mask.sum() > 0
            # A region's score is the map's largest value in it, on the image's pixels.
            values = stretch(evidence.detection.anomaly_map, (item.width, item.height))
            assert annotation["ltad"]["score"] == values[mask].max() > 0
            assert annotation["bbox"] == [
                columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1
            ]
            assert not (together & mask).any()
            together |= mask
            annotated += 1
        assert np.array_equal(together, expected)
    assert annotated >= 4
    names = {category["name"] for category in coco.cats.values()}
    assert {"scratch", "dent", "defect"} <= names
    print(f"\nCOCO: {len(coco.imgs)} images, {len(coco.anns)} annotations, "
          "each with the area and box of its mask")


def test_a_category_is_what_the_person_said_else_that_the_model_raised_an_alarm(desk, tmp_path):
    stroke = np.zeros((96, 96), dtype=bool)
    stroke[10:20, 30:33] = True
    first, second, third, fourth = desk.items[:4]
    desk.decide(first, "defective", stroke, defect_type="dent")
    desk.decide(second, "defective", stroke)
    desk.decide(third, "unsure", stroke)
    every = dict.fromkeys((item.class_name for item in desk.items), -1.0)
    write_coco(tmp_path / "coco.json", *desk.stores, desk.registry.first, every)
    found = json.loads((tmp_path / "coco.json").read_text())
    names = {category["id"]: category["name"] for category in found["categories"]}
    said = {a["image_id"]: (names[a["category_id"]], a["ltad"]["source"])
            for a in found["annotations"]}
    assert said[first.id] == ("dent", "person") and said[second.id] == ("defect", "person")
    assert said[third.id] == ("unsure", "person") and said[fourth.id] == ("anomalous", "model")


def test_csv_is_whole_and_harmless(reviewed):
    thresholds = {reviewed.items[0].class_name: -1.0}
    rows = list(csv.DictReader(io.StringIO(csv_text(reviewed.items, thresholds), newline="")))
    assert tuple(rows[0]) == COLUMNS and len(rows) == len(reviewed.items)
    texts = set(COLUMNS) - {
        "score", "reconstruction_score", "semantic_score", "threshold", "class_probability",
        "decided_threshold", "decided_score",
    }
    for row, item in zip(rows, reviewed.items, strict=True):
        assert not any(row[name].startswith(tuple("=+-@\t\r\n")) for name in texts)
        assert unguard(row["file_name"]) == item.file_name
        assert unguard(row["note"]) == (item.decision.note if item.verdict else "")
        if item.verdict:
            said = item.decision
            assert row["has_mask"] == str(bool(said.mask_key))
            for name, value in (("decided_threshold", said.threshold),
                                ("decided_score", said.score)):
                assert row[name] == ("" if value is None else repr(value))
        if item.status == "scored":
            assert float(row["score"]) == item.score
            limit = thresholds.get(item.class_name, item.threshold)
            assert float(row["threshold"]) == limit
            assert row["model_verdict"] == ("anomalous" if item.score > limit else "normal")
        else:
            assert row["reason"] == item.reason and row["score"] == ""
    for text in ("=1", "'=1", "''", "+", "-5", "@a", "\tx", "＝1", "plain", ""):
        assert unguard(guard(text)) == text and not guard(text).startswith(tuple("=+-@\t＝"))


def test_archive_holds_all_under_safe_names(reviewed, tmp_path):
    steps = []
    report = write_archive(
        tmp_path / "out.zip", *reviewed.stores, reviewed.registry,
        progress=lambda done, total: steps.append((done, total)),
    )
    items = reviewed.items
    assert report.items == len(items) and report.problems == ()
    assert steps == [(n, len(items)) for n in range(1, len(items) + 1)]
    assert report.bytes == (tmp_path / "out.zip").stat().st_size
    archive = zipfile.ZipFile(tmp_path / "out.zip")
    names = archive.namelist()
    assert archive.testzip() is None and len(set(names)) == len(names)
    assert all(re.fullmatch(r"((masks|heatmaps|maps)/)?[\w-]+\.\w+", name) for name in names)
    assert any("-1_1_b_" in name for name in names)
    scored = [item for item in items if item.status == "scored"]
    scorer = reviewed.registry.first
    for item in scored:
        stem = archive_stem(item)
        picture = reviewed.images.image(item.content_key)
        detection = detect(picture, item.class_name, reviewed.batch, reviewed.database, scorer)
        maps = np.load(io.BytesIO(archive.read(f"maps/{stem}.npy")), allow_pickle=False)
        assert maps.dtype == np.float32
        assert np.array_equal(maps, stacked_maps(detection))
        assert maps[0].max() >= item.score == pytest.approx(detection.score, rel=1e-5)
        heat = Image.open(io.BytesIO(archive.read(f"heatmaps/{stem}.png")))
        drawn = heat_over(picture, detection.anomaly_map, *detection.map_scale["combined"])
        assert np.array_equal(np.asarray(heat), np.asarray(drawn))
    painted = items[[item.position for item in items].index(0)]
    mask = decode_mask(archive.read(f"masks/{archive_stem(painted)}.png"))
    assert np.array_equal(mask, decode_mask(reviewed.database.blob(painted.decision.mask_key)))
    assert len(list(csv.reader(io.StringIO(archive.read("batch.csv").decode())))) == len(items) + 1
    history = {item["file_name"]: item["history"] for item in
               json.loads(archive.read("batch.json"))["items"]}
    assert [d["verdict"] for d in history[painted.file_name]] == ["good", "defective"]


def test_parts_of_a_batch_and_half_precision(reviewed, tmp_path):
    for part, keep in (
        ("reviewed", lambda item: item.verdict), ("all", lambda item: True),
        ("defective", lambda item: {
            item.verdict or model_verdict(item)} & {"defective", "anomalous"}),
    ):
        assert subset(reviewed.items, part) == [item for item in reviewed.items if keep(item)]
    with pytest.raises(DeskError, match="no part 'bad'"):
        subset(reviewed.items, "bad")
    report = write_archive(tmp_path / "a.zip", *reviewed.stores, reviewed.registry,
                           part="reviewed", contents=["maps"], map_type="float16")
    archive = zipfile.ZipFile(tmp_path / "a.zip")
    assert report.items == len(subset(reviewed.items, "reviewed")) == 8
    maps = [name for name in archive.namelist() if "/" in name]
    assert len(maps) == 7 and all(name.startswith("maps/") for name in maps)
    values = np.load(io.BytesIO(archive.read(maps[0])), allow_pickle=False)
    assert values.dtype == np.float16
    detection = detect(reviewed.images.image(reviewed.items[0].content_key), "", reviewed.batch,
                       reviewed.database, reviewed.registry.first)
    detection.anomaly_map[0, 0] = 70_000
    assert stacked_maps(detection, "float16").dtype == np.float32
    with pytest.raises(DeskError, match="no gifs"):
        write_archive(tmp_path / "b.zip", *reviewed.stores, reviewed.registry, contents=["gifs"])


def test_what_is_gone_is_named_and_a_stopped_archive_leaves_nothing(reviewed, tmp_path):
    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        write_archive(out / "a.zip", *reviewed.stores, reviewed.registry, progress=stop)
    assert list(out.iterdir()) == []
    lost = reviewed.item(EVIL_NAME)
    reviewed.images.path(lost.content_key).unlink()
    report = write_archive(out / "a.zip", *reviewed.stores, reviewed.registry)
    assert any(lost.file_name in p and "no longer there" in p for p in report.problems)
    readme = zipfile.ZipFile(out / "a.zip").read("README.txt").decode()
    assert all(problem in readme for problem in report.problems)
    batch, *rest = reviewed.stores
    gone = type(batch)(**{**vars(batch), "model": "retired"})
    report = write_archive(out / "b.zip", gone, *rest, reviewed.registry)
    assert "There is no model 'retired'" in report.problems[0]
    masks = [n for n in zipfile.ZipFile(out / "b.zip").namelist() if n.startswith("masks/")]
    assert len(masks) == 3  # those that people painted on parts that are not good


def test_ignored_places_count_in_exports_too(reviewed):
    item = next(i for i in reviewed.items if i.status == "scored")
    reviewed.database.set_ignore_region(
        item.class_name, encode_mask(np.ones((16, 16), dtype=bool)), "Ada")
    detection = detect(reviewed.images.image(item.content_key), item.class_name, reviewed.batch,
                       reviewed.database, reviewed.registry.first)
    assert detection.score == 0 and not detection.anomaly_map.any()


@pytest.mark.parametrize("named", [None, "screw"])
def test_a_part_that_looks_like_no_class_is_not_judged_unless_its_class_was_named(
    desk, named, tmp_path
):
    batch = desk.database.create_batch("strangers", "Ada", "", {"class_name": named})
    ids = desk.database.add_items(batch.id, [NewItem(f"{n}.png", "") for n in range(4)])
    for one, score in zip(ids, (3.0, 1.0, 3.0, 1.0), strict=True):
        desk.database.record_result(one, **vars(
            ItemResult(96, 96, "screw", 0.4, False, score, 1.0, 0.5, 2.0)))
    desk.database.decide(ids[2], "good", "Ada")
    desk.database.decide(ids[3], "defective", "Ada")
    items = [desk.database.item(one) for one in ids]
    said = [model_verdict(item) for item in items]
    assert said == (["anomalous", "normal"] * 2 if named else ["not judged"] * 4)
    # Nobody loses sight of it, and what a person says counts.
    assert [is_suspicious(item) for item in items] == [True, False, False, True]
    assert [item.verdict for item in items[2:]] == ["good", "defective"]
    assert [item.id for item in subset(items, "defective")] == [ids[0], ids[3]]
    assert ("not judged" in csv_text(items)) is (named is None)
    write_report(tmp_path / "a.html", batch, items, desk.database, desk.images, None)
    text = (tmp_path / "a.html").read_text()
    assert ('<th scope="row">not judged</th>' in text) is (named is None)


def test_report_is_one_escaped_file(reviewed, tmp_path):
    path = tmp_path / "report.html"
    everything = dict.fromkeys((item.class_name for item in reviewed.items), -1.0)
    count = write_report(path, *reviewed.stores, reviewed.registry.first, everything)
    text = path.read_text()
    shown = [i for i in reviewed.items
             if i.status == "scored" and (i.verdict or "anomalous") != "good"]
    assert count == len(shown) == text.count("<figure>")
    assert text.count("data:image/jpeg;base64,") == 2 * count
    assert text.count("data:image/png;base64,") == count
    assert "<script" not in text and "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "<title>Line 4 &lt;morning&gt;" in text
    assert not re.search(r"(?:src|href|url)\s*[=(]\s*[\"']?(?!data:)[\w/]", text)
    assert re.search(r"<dt>defective</dt><dd>4</dd>", text)
    assert "broken.png is empty (0 bytes)." in text
    few = tmp_path / "few.html"
    assert write_report(few, *reviewed.stores, None, everything, figures=2) == 2
    assert f"{count - 2} more stand in the list only" in few.read_text()
    assert "data:image/png" not in few.read_text()
