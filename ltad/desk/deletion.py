"""Batches that people deleted: out of sight at once, their pictures off the disk later.

What people decided is never deleted: an erased batch keeps its rows, scores, history and masks, and
can be exported or restored; only its pictures are gone. Brought again they show again, because
pictures are found by their content.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from ltad.desk.items import BATCH, NAME_LENGTH, BatchTables, batch_of, check_text, now
from ltad.desk.pictures import RECENT_SECONDS, PictureStore
from ltad.desk.records import Batch, DeskError

KEPT_DAYS = 30
"""So long a deleted batch keeps its pictures, unless somebody erases it before."""


class DeletionTables(BatchTables):
    """The part of `Database` that knows deleted batches."""

    def delete_batch(self, batch_id: int, person: str) -> Batch:
        """Set a batch aside: it is not listed, scored or counted any more. `restore_batch` undoes.

        Raises:
            DeskError: there is no such batch.
        """
        person = check_text("person's name", person, NAME_LENGTH) or "anonymous"
        with self._writing() as connection:
            connection.execute(
                "UPDATE batches SET deleted = ?, deleted_by = ? WHERE id = ? AND deleted = ''",
                (now(), person, batch_id),
            )
        return self.batch(batch_id)

    def restore_batch(self, batch_id: int) -> Batch:
        """List a deleted batch again; pictures that were erased stay away."""
        with self._writing() as connection:
            connection.execute(
                "UPDATE batches SET deleted = '', deleted_by = '', erased = '' WHERE id = ?",
                (batch_id,),
            )
        return self.batch(batch_id)

    def deleted_batches(self) -> list[Batch]:
        """All deleted batches, the last deleted one first."""
        rows = self._rows(f"SELECT {BATCH} FROM batches WHERE deleted != '' ORDER BY deleted DESC")
        return [batch_of(row, self._counts(row[0])) for row in rows]

    def mark_erased(self, batch_id: int | None = None, kept_days: float = KEPT_DAYS) -> None:
        """Give up the pictures of a deleted batch; None: of all deleted so many days ago.

        Raises:
            DeskError: the batch is not deleted, so its pictures are still wanted.
        """
        if batch_id is not None and not self.batch(batch_id).deleted:
            raise DeskError(
                f"The batch {self.batch(batch_id).name!r} is not deleted. Delete it first."
            )
        before = datetime.now(UTC) - timedelta(days=kept_days)
        with self._writing() as connection:
            connection.execute(
                "UPDATE batches SET erased = ? WHERE deleted != '' AND erased = ''"
                " AND CASE WHEN ? IS NULL THEN deleted < ? ELSE id = ? END",
                (now(), batch_id, before.isoformat(timespec="milliseconds"), batch_id),
            )

    def unwanted_pictures(self) -> list[str]:
        """Content keys that stand in erased batches and in no other."""
        rows = self._rows(
            "SELECT content_key FROM items JOIN batches ON batches.id = batch_id"
            " WHERE content_key != '' GROUP BY content_key HAVING MIN(erased != '')"
        )
        return [key for (key,) in rows]


def free_pictures(database: DeletionTables, pictures: PictureStore) -> int:
    """Take the pictures of erased batches off the disk; returns how many bytes that freed.

    A picture that somebody brought again a moment ago stays for now: its new batch may be about to
    be written. It is looked at again later, if this process lives, or at the next start.
    """
    freed = [pictures.remove(key) for key in database.unwanted_pictures()]
    if None in freed:
        later = threading.Timer(RECENT_SECONDS + 1, _free_later, (database, pictures))
        later.daemon = True
        later.start()
    return sum(size or 0 for size in freed)


def _free_later(database: DeletionTables, pictures: PictureStore) -> None:
    try:
        free_pictures(database, pictures)
    finally:
        database.close()


def days_left(batches: Sequence[Batch]) -> dict[int, float]:
    """Batch number -> days until its pictures are erased; 0 when they are."""
    today = datetime.now(UTC)
    return {
        batch.id: 0.0 if batch.erased else max(
            0.0, KEPT_DAYS - (today - datetime.fromisoformat(batch.deleted)) / timedelta(days=1)
        )
        for batch in batches
    }
