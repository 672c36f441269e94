"""A deleted batch: out of sight, back when asked, its images off the disk in the end."""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime, timedelta

import pytest
from desk_for_tests import Desk

from ltad.review.database import RETENTION_DAYS, days_left
from ltad.review.images import RECENT_SECONDS, free_images
from ltad.review.records import DeskError, NewItem
from ltad.review.worker import BatchRunner


@pytest.fixture(scope="module")
def files(parts_folder):
    return sorted(parts_folder.glob("*/test/*/000.png"))


@pytest.fixture
def desk(tmp_path, tiny_scorer, files):
    desk = Desk(tmp_path / "desk", tiny_scorer, files)
    desk.review()
    return desk


def grow_old(desk, seconds=RECENT_SECONDS + 1):
    """As if every image had come in so long ago."""
    for path in desk.images.folder.glob("*/*"):
        past = path.stat().st_mtime - seconds
        os.utime(path, (past, past))


def on_disk(desk):
    return {path.name for path in desk.images.folder.glob("*/*")}


def test_deleting_hides_a_batch_and_loses_nothing(desk):
    before, kept = desk.decisions(), on_disk(desk)
    history = [desk.database.history(item.id) for item in desk.items]
    chosen = next(item for item in desk.items if item.verdict == "good")
    desk.database.set_for_training(chosen.id, True, "Ada")
    assert [item.id for item in desk.database.for_training()] == [chosen.id]
    deleted = desk.database.delete_batch(desk.id, "Bo")
    assert (deleted.deleted_by, deleted.total) == ("Bo", len(desk.items))
    assert desk.database.batches() == [] == desk.database.for_training()
    assert desk.database.deleted_batches() == [deleted]
    desk.database.mark_erased()
    grow_old(desk)
    assert free_images(desk.database, desk.images) == 0 and on_disk(desk) == kept
    restored = desk.database.restore_batch(desk.id)
    assert desk.database.batches() == [restored] and restored.deleted == ""
    assert desk.decisions() == before
    assert [desk.database.history(item.id) for item in desk.items] == history
    assert [item.id for item in desk.database.for_training()] == [chosen.id]


def test_erasing_frees_the_disk_but_no_decision(desk, files):
    before = desk.decisions()
    shared = desk.images.put(files[0].read_bytes())  # stands in another batch too
    other = desk.database.create_batch("other", "Ada", desk.batch.model, {})
    desk.database.add_items(other.id, [NewItem("a.png", shared)])
    with pytest.raises(DeskError, match=r"is not deleted\. Delete it first"):
        desk.database.mark_erased(desk.id)
    desk.database.delete_batch(desk.id, "Ada")
    desk.database.mark_erased(desk.id)
    grow_old(desk)
    sizes = sum(p.stat().st_size for p in desk.images.folder.glob("*/*") if p.name != shared)
    assert free_images(desk.database, desk.images) == sizes > 0
    assert on_disk(desk) == {shared}
    assert free_images(desk.database, desk.images) == 0
    desk.database.restore_batch(desk.id)
    assert desk.decisions() == before
    with pytest.raises(DeskError, match="no longer there"):
        desk.images.image(desk.item("1" + files[1].name).content_key)
    desk.images.put(files[1].read_bytes())  # brought again, it shows again
    assert desk.images.image(desk.item("1" + files[1].name).content_key).size == (96, 96)


def test_pictures_go_by_themselves_after_some_days(desk):
    desk.database.delete_batch(desk.id, "Ada")
    (batch,) = desk.database.deleted_batches()
    assert RETENTION_DAYS - 0.01 < days_left([batch])[desk.id] <= RETENTION_DAYS
    grow_old(desk)
    desk.database.mark_erased()
    assert free_images(desk.database, desk.images) == 0
    past = (datetime.now(UTC) - timedelta(days=RETENTION_DAYS, minutes=1)).isoformat()
    with desk.database._writing() as connection:
        connection.execute("UPDATE batches SET deleted = ?", (past,))
    desk.database.mark_erased()
    assert free_images(desk.database, desk.images) > 0
    assert on_disk(desk) == set()
    assert days_left(desk.database.deleted_batches()) == {desk.id: 0.0}


def test_a_picture_brought_again_just_now_stays(desk, files):
    grow_old(desk)
    again = desk.images.put(files[0].read_bytes())  # its batch is not written yet
    desk.database.delete_batch(desk.id, "Ada")
    desk.database.mark_erased(desk.id)
    free_images(desk.database, desk.images)
    assert on_disk(desk) == {again}
    for timer in threading.enumerate():
        if isinstance(timer, threading.Timer) and timer.function.__name__ == "_free_later":
            timer.cancel()


def test_a_deleted_batch_is_not_scored_until_it_is_restored(desk, files):
    runner = BatchRunner(desk.database, desk.images, desk.registry)
    desk.database.reopen_items(desk.id)
    desk.database.delete_batch(desk.id, "Ada")
    assert not runner.start(desk.id) and runner.resume() == []
    assert desk.database.progress(desk.id).done < len(desk.items)
    desk.database.restore_batch(desk.id)
    assert runner.start(desk.id)
    assert runner.wait(desk.id, 120).state == "finished"
