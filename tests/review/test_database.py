"""The desk's database: decisions, conflicts, undo, versions, many threads at once."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ltad.review import storage
from ltad.review.database import Database
from ltad.review.export import row
from ltad.review.records import (
    Batch,
    ConflictError,
    DeskError,
    ItemResult,
    ItemSummary,
    NewItem,
    ThresholdChoice,
)

REGION = {"left": 3, "top": 4, "right": 30, "bottom": 40, "area": 400, "score": 7.5}


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "desk" / "desk.sqlite")


def _batch(database: Database, count: int = 4) -> tuple[Batch, list[int]]:
    batch = database.create_batch("Monday", "anna", "demo", {"lam": 5.0, "class_name": None})
    keys = [f"{number:064x}" for number in range(count)]
    return batch, database.add_items(
        batch.id, [NewItem(f"part_{n}.png", key) for n, key in enumerate(keys)]
    )


def _result(score: float, class_name: str = "gear", threshold: float = 2.0) -> ItemResult:
    return ItemResult(
        640, 480, class_name, 0.75, True, score, score / 2, 0.25, threshold, (REGION,)
    )


def test_a_batch_and_its_items_come_back_as_they_went_in(database: Database):
    batch, ids = _batch(database)
    database.record_result(ids[0], **vars(_result(1.0)))
    database.record_result(ids[2], **vars(_result(9.0)))
    database.record_failure(ids[3], "part_3.png is empty.")
    database.decide(ids[2], "defective", "bob", "scratch", "deep")
    found = database.batch(batch.id)
    assert (found.name, found.person, found.model, found.state) == (
        "Monday", "anna", "demo", "running"
    )
    assert found.settings == {"lam": 5.0, "class_name": None}
    assert (found.total, found.scored, found.failed, found.decided) == (4, 2, 1, 1)
    assert [item.id for item in database.items(batch.id)] == [ids[2], ids[0], ids[1], ids[3]]
    worst = database.items(batch.id, limit=1)[0]
    assert worst == database.item(ids[2])
    assert (worst.width, worst.score, worst.regions, worst.is_anomalous) == (
        640, 9.0, (REGION,), True
    )
    assert (worst.verdict, worst.decision.defect_type, worst.revision) == (
        "defective", "scratch", 1
    )
    failed = database.items(batch.id, offset=3)[0]
    assert (failed.status, failed.reason) == ("failed", "part_3.png is empty.")
    summary = database.items_summary(batch.id)
    assert [row.id for row in summary] == [ids[2], ids[0], ids[1], ids[3]]
    assert summary[0] == ItemSummary(
        ids[2], 2, "part_2.png", f"{2:064x}", "scored", "", "gear", 1, 9.0, 2.0, None,
        "defective", 1,
    )
    newer, _ = _batch(database, 0)
    assert [b.id for b in database.batches()] == [newer.id, batch.id]


def test_items_are_sorted_by_how_far_the_score_is_above_its_own_threshold(database: Database):
    batch, ids = _batch(database, 3)
    database.record_outcomes({
        ids[0]: _result(100.0, threshold=99.0), ids[1]: _result(5.0, threshold=1.0),
        ids[2]: _result(50.0, threshold=60.0),
    })
    assert [item.id for item in database.items(batch.id)] == [ids[1], ids[0], ids[2]]


def test_a_duplicate_gets_the_result_of_its_original(database: Database):
    batch = database.create_batch("b", "anna", "demo", {})
    ids = database.add_items(batch.id, [
        NewItem("a.png", "1" * 64), NewItem("broken", "", "No image."),
        NewItem("copy.png", "1" * 64), NewItem("broken too", "", "No image."),
    ])
    assert database.waiting(batch.id, 10) == [(ids[0], "a.png", "1" * 64)]
    database.record_result(ids[0], **vars(_result(3.0)))
    items = {item.id: item for item in database.items(batch.id)}
    assert items[ids[2]].score == 3.0
    assert items[ids[2]].duplicate_of == ids[0]
    assert items[ids[1]].duplicate_of is items[ids[3]].duplicate_of is None
    # Content that comes after its original was scored waits in its own right.
    (late,) = database.add_items(batch.id, [NewItem("late.png", "1" * 64)])
    assert database.item(late).position == 4
    assert [row[0] for row in database.waiting(batch.id, 10)] == [late]


def test_a_decision_on_a_stale_page_is_refused_and_says_who_was_first(database: Database):
    _, ids = _batch(database)
    first = database.decide(ids[0], "good", "Anna", expected_revision=0)
    with pytest.raises(ConflictError, match=r"Anna decided 'good' on part_0.png .* 'defective'"):
        database.decide(ids[0], "defective", "Bob", expected_revision=0)
    with pytest.raises(ConflictError) as caught:
        database.decide(ids[0], "unsure", "Bob", expected_revision=2)
    assert caught.value.current == first
    assert database.history(ids[0]) == [first]
    second = database.decide(ids[0], "defective", "Bob", expected_revision=1)
    assert [d.revision for d in database.history(ids[0])] == [1, 2]
    assert database.item(ids[0]).decision == second


def test_several_decisions_are_kept_all_or_none(database: Database):
    _, ids = _batch(database)
    wanted = [{"item_id": i, "verdict": "good", "person": "anna"} for i in ids]
    with pytest.raises(DeskError, match="A verdict cannot be 'fine'"):
        database.decide_many([*wanted, {**wanted[0], "verdict": "fine"}])
    assert all(database.item(i).decision is None for i in ids)
    assert [d.item_id for d in database.decide_many(wanted)] == ids


def test_a_decision_remembers_what_the_model_said(database: Database):
    _, ids = _batch(database)
    database.record_result(ids[0], **vars(_result(3.5)))
    own = database.decide(ids[0], "good", "anna")
    assert (own.model, own.threshold, own.score) == ("demo", 2.0, 3.5)
    seen = database.decide(ids[0], "good", "anna", threshold=3.0, score=3.25, model="other")
    assert (seen.model, seen.threshold, seen.score) == ("other", 3.0, 3.25)


def test_only_good_and_defective_items_with_a_score_count_as_reviewed(database: Database):
    batch, ids = _batch(database, 5)
    other, other_ids = _batch(database, 1)
    for item_id, score in [*zip(ids[:4], (1.0, 2.0, 3.0, 4.0), strict=True), (other_ids[0], 5.0)]:
        database.record_result(item_id, **vars(_result(score)))
    for item_id, verdict in zip(ids, ("good", "defective", "unsure", "", "good"), strict=True):
        database.decide(item_id, verdict, "anna")
    database.decide(other_ids[0], "good", "anna")
    assert sorted(database.reviewed([batch.id])) == [("gear", 1.0, 0), ("gear", 2.0, 1)]
    assert len(database.reviewed([batch.id, other.id])) == 3


def test_undo_appends_what_stood_before_and_leaves_others_alone(database: Database):
    batch, ids = _batch(database)
    mask = database.put_blob(b"mask")
    database.decide(ids[0], "good", "anna", note="fine", mask_key=mask)
    database.decide(ids[1], "good", "bob")
    database.decide(ids[0], "unsure", "bob")
    database.decide(ids[0], "defective", "bob", "stain")

    third = database.undo(batch.id, "bob")
    assert (third.item_id, third.verdict, third.revision) == (ids[0], "unsure", 3 + 1)
    fourth = database.undo(batch.id, "bob")
    assert (fourth.verdict, fourth.note, fourth.mask_key) == ("good", "fine", mask)
    # What stands on the item is anna's again, so bob's next undo is his other item.
    fifth = database.undo(batch.id, "bob")
    assert (fifth.item_id, fifth.verdict) == (ids[1], "")
    assert database.undo(batch.id, "bob") is None
    last = database.undo(batch.id, "anna")
    assert (last.item_id, last.verdict) == (ids[0], "")
    assert database.undo(batch.id, "anna") is None
    history = database.history(ids[0])
    assert [d.verdict for d in history] == ["good", "unsure", "defective", "unsure", "good", ""]
    assert [d.undoes for d in history] == [None] * 3 + [history[2].id, history[1].id, history[0].id]
    assert database.batch(batch.id).decided == 0


def test_a_mask_stays_its_painters_whoever_decides_over_it(database: Database):
    _, ids = _batch(database)
    anns, bos = database.put_blob(b"ann's"), database.put_blob(b"bo's")
    database.decide(ids[0], "defective", "Ann", mask_key=anns)
    database.decide(ids[0], "defective", "Bo", note="deep", mask_key=anns)
    kept = database.item(ids[0]).decision
    assert (kept.person, kept.mask_person) == ("Bo", "Ann")
    database.decide(ids[0], "defective", "Bo", mask_key=bos)
    database.decide(ids[1], "defective", "Bo", mask_key=anns)  # the same painting on another image
    database.decide(ids[2], "good", "Ann")
    assert [database.item(i).decision.mask_person for i in ids[:3]] == ["Bo", "Bo", ""]
    assert [one.mask_person for one in database.history(ids[0])] == ["Ann", "Ann", "Bo"]
    assert row(database.item(ids[0]))["mask_person"] == "Bo"


def test_undo_skips_a_decision_that_somebody_decided_over(database: Database):
    batch, ids = _batch(database)
    database.decide(ids[1], "good", "anna")
    database.decide(ids[0], "good", "anna")
    database.decide(ids[0], "defective", "bob", expected_revision=1)
    assert database.undo(batch.id, "anna").item_id == ids[1]
    assert database.undo(batch.id, "anna") is None
    assert database.item(ids[0]).verdict == "defective"


def test_history_cannot_be_rewritten(database: Database):
    _, ids = _batch(database)
    database.decide(ids[0], "good", "anna")
    for sql in ("UPDATE decisions SET verdict = 'defective'", "DELETE FROM decisions"):
        with pytest.raises(DeskError, match="only appended"), database._writing() as connection:
            connection.execute(sql)
    assert database.history(ids[0])[0].verdict == "good"


@pytest.mark.parametrize("wrong, message", [
    ({"verdict": "maybe"}, "only good, defective, unsure"),
    ({"item_id": 999}, "no item 999"),
    ({"mask_key": "0" * 64}, "no mask"),
    ({"note": "x" * 2001}, "2001 characters, but at most 2000"),
])
def test_a_wrong_decision_says_what_is_wrong(database: Database, wrong: dict, message: str):
    _, ids = _batch(database)
    with pytest.raises(DeskError, match=message):
        database.decide(**{"item_id": ids[0], "verdict": "good", "person": "anna", **wrong})
    assert database.item(ids[0]).revision == 0


def test_ignore_regions_thresholds_and_blobs(database: Database):
    assert database.ignore_region("gear") is None
    database.set_ignore_region("gear", b"one", "anna")
    database.set_ignore_region("gear", b"two", "bob")
    assert database.ignore_region("gear") == b"two"
    database.set_ignore_region("gear", None, "bob")
    assert database.ignore_region("gear") is None
    assert database.blob(database.put_blob(b"two")) == b"two"
    with pytest.raises(DeskError, match="nothing stored"):
        database.blob("no such key")
    every, own = ThresholdChoice("miss", 0.1), ThresholdChoice("score", 12.5)
    database.set_threshold("demo", "", every)
    database.set_threshold("demo", "gear", ThresholdChoice("f1"))
    database.set_threshold("demo", "gear", own)
    assert database.threshold_choices("demo") == {"": every, "gear": own}
    database.set_threshold("demo", "gear", None, "bob")
    assert database.threshold_choices("demo") == {"": every}
    assert database.threshold_choices("other") == {}
    for choice in (ThresholdChoice("rate", 1.0), ThresholdChoice("guess"),
                   ThresholdChoice("score", float("nan"))):
        with pytest.raises(DeskError):
            database.set_threshold("demo", "", choice)


def test_thresholds_and_ignored_areas_remember_who_set_what(database: Database):
    first, second = ThresholdChoice("rate", 0.02), ThresholdChoice("score", 7.0)
    for choice, person in ((first, "anna"), (first, "bob"), (second, " bob "), (None, "")):
        database.set_threshold("demo", "gear", choice, person)
    history = database.threshold_history("demo", "gear")
    assert [(one.choice, one.person) for one in history] == [
        (first, "anna"), (second, "bob"), (None, "anonymous"),
    ], "the second time changed nothing"
    assert all(one.created for one in history) and history[0].id < history[1].id
    assert database.threshold_history("demo", "") == []
    for png, person in ((b"one", "anna"), (None, "bob")):
        database.set_ignore_region("gear", png, person)
    areas = database.ignore_history("gear")
    assert [one.person for one in areas] == ["anna", "bob"]
    assert database.blob(areas[0].mask_key) == b"one" and areas[1].mask_key == ""


def test_a_result_from_before_an_ignored_area_was_set_is_not_kept(database: Database):
    _, ids = _batch(database)
    version = database.ignore_version()
    assert database.record_outcomes({ids[0]: _result(1.0)}, None, version)
    database.set_ignore_region("gear", b"one", "anna")
    assert not database.record_outcomes({ids[1]: _result(2.0)}, None, version)
    assert [database.item(one).status for one in ids[:2]] == ["scored", "waiting"]
    assert database.record_outcomes({ids[1]: _result(0.5)}, None, database.ignore_version())
    assert database.item(ids[1]).score == 0.5


def test_only_good_pictures_that_somebody_chose_are_for_training(database: Database):
    _, ids = _batch(database)
    for item_id in ids:
        database.record_result(item_id, **vars(_result(1.0)))
        database.decide(item_id, "good", "anna")
    assert database.for_training() == [], "a decision alone chooses nothing"
    database.decide(ids[3], "defective", "anna")
    with pytest.raises(DeskError, match="good parts only"):
        database.set_for_training(ids[3], True, "anna")
    for item_id in ids[:3]:
        database.set_for_training(item_id, True, "anna")
    database.set_for_training(ids[1], False, "bob")
    assert [i.id for i in database.for_training()] == [ids[0], ids[2]]
    assert [i.id for i in database.for_training("gear")] == [ids[0], ids[2]]
    assert database.for_training("screw") == []
    database.decide(ids[0], "unsure", "bob")
    assert [i.id for i in database.for_training()] == [ids[2]]
    # The same content, called defective in another batch, is no longer trusted.
    other = database.create_batch("again", "bob", "demo", {})
    (same,) = database.add_items(other.id, [NewItem("same.png", database.item(ids[2]).content_key)])
    database.decide(same, "defective", "bob")
    assert database.for_training() == []


def test_a_newer_or_damaged_file_is_refused_and_left_as_it_is(tmp_path: Path):
    newer = tmp_path / "newer.sqlite"
    Database(newer).close()
    with sqlite3.connect(newer) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(DeskError, match=r"version 99, but this program knows up to \d"):
        Database(newer)
    damaged = tmp_path / "damaged.sqlite"
    damaged.write_bytes(b"this is not a database, but it is long enough to be read" * 20)
    content = damaged.read_bytes()
    with pytest.raises(DeskError, match="cannot be used"):
        Database(damaged)
    assert damaged.read_bytes() == content


def test_an_older_file_is_brought_up_to_date_in_one_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "desk.sqlite"
    old = Database(path)
    batch, ids = _batch(old)
    old.decide(ids[0], "good", "anna")
    change = ("ALTER TABLE batches ADD COLUMN line TEXT NOT NULL DEFAULT 'A'",)
    failing = (*storage.MIGRATIONS, change, ("CREATE TABLE batches (id INTEGER)",))
    monkeypatch.setattr(storage, "MIGRATIONS", failing)
    with pytest.raises(DeskError, match="already exists"):
        Database(path)
    monkeypatch.setattr(storage, "MIGRATIONS", failing[:-1])
    with ThreadPoolExecutor(4) as pool:  # all of them find the old version
        opened = list(pool.map(lambda _: Database(path), range(4)))
    assert opened[0]._rows("SELECT line FROM batches") == [("A",)]
    assert opened[0]._rows("PRAGMA user_version") == [(len(failing) - 1,)]
    assert opened[0].batch(batch.id).decided == 1


def test_the_first_version_of_the_file_opens_with_its_decisions(tmp_path: Path):
    path = tmp_path / "desk.sqlite"
    with sqlite3.connect(path) as connection:
        for statement in storage.MIGRATIONS[0]:
            connection.execute(statement)
        connection.executescript("""
            PRAGMA user_version = 1;
            INSERT INTO batches VALUES (1, 'old', '2026-01-01', 'Ann', 'm', '{}', 'finished', 0);
            INSERT INTO items (id, batch_id, position, file_name, content_key, status, reason)
                VALUES (1, 1, 0, 'a.png', 'k', 'scored', '');
            INSERT INTO decisions VALUES
                (1, 1, 1, 'good', '', '', NULL, 'Ann', '2026-01-01', 'm', 1, 2, NULL, NULL);
            UPDATE items SET revision = 1, verdict = 'good', decision_id = 1, standing_id = 1;
        """)
    connection.close()
    store = Database(path)
    (decision,) = store.history(1)
    assert (decision.verdict, decision.person, decision.imported) == ("good", "Ann", "")
    assert store.decide(1, "unsure", "Bo", expected_revision=1).revision == 2
    assert store.undo(1, "Bo").verdict == "good"


def test_thresholds_of_a_file_from_before_their_history_still_hold(tmp_path: Path):
    path = tmp_path / "desk.sqlite"
    with sqlite3.connect(path) as connection:
        for statement in (one for version in storage.MIGRATIONS[:3] for one in version):
            connection.execute(statement)
        connection.executescript("""
            PRAGMA user_version = 3;
            INSERT INTO threshold_choices VALUES ('demo', '', 'rate', 0.1);
            INSERT INTO threshold_choices VALUES ('demo', 'gear', 'score', 8.5);
        """)
    connection.close()
    store = Database(path)
    old = ThresholdChoice("score", 8.5)
    assert store.threshold_choices("demo") == {"": ThresholdChoice("rate", 0.1), "gear": old}
    store.set_threshold("demo", "gear", ThresholdChoice("f1"), "anna")
    assert [(one.choice, one.person) for one in store.threshold_history("demo", "gear")] == [
        (old, ""), (ThresholdChoice("f1"), "anna"),
    ]


def test_many_threads_and_connections_lose_nothing(database: Database):
    _, ids = _batch(database, 8)
    second = Database(database.path)

    def work(number: int) -> int:
        store = (database, second)[number % 2]
        choose, made = random.Random(number), 0
        while made < 15:
            item = store.item(choose.choice(ids))
            try:
                store.decide(item.id, "good", f"p{number}", expected_revision=item.revision)
                made += 1
            except ConflictError:
                continue
        return made

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(work, range(6))) == 90
    revisions = [[d.revision for d in database.history(i)] for i in ids]
    assert all(r == list(range(1, len(r) + 1)) for r in revisions)
    assert sum(map(len, revisions)) == 90


def test_ten_thousand_items_are_listed_by_index_and_without_sorting(database: Database):
    batch, ids = _batch(database, 10_000)
    choose = random.Random(0)
    database.record_outcomes({i: _result(choose.random()) for i in ids})
    start = time.thread_time()
    summary = database.items_summary(batch.id)
    whole = time.thread_time() - start
    start = time.thread_time()
    page = database.items(batch.id, limit=50)
    first = time.thread_time() - start
    assert [row.id for row in summary[:50]] == [item.id for item in page]
    assert [row.score for row in summary] == sorted((r.score for r in summary), reverse=True)
    assert whole < 1.0 and first < 0.1, "tens of milliseconds and one on an idle machine"
    plan = database._rows(
        "EXPLAIN QUERY PLAN SELECT id FROM items WHERE batch_id = 1"
        " ORDER BY status IN ('failed', 'cancelled'), margin DESC, position"
    )
    assert len(plan) == 1
    assert "items_by_suspicion" in plan[0][3]


def test_the_database_does_not_load_torch():
    code = "import sys, ltad.review.database; sys.exit('torch' in sys.modules)"
    assert subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False
    ).returncode == 0
