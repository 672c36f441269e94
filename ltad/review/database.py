"""The database of batches: items, decisions that are never lost, thresholds, deletion."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from ltad.review.records import (
    BATCH_STATES,
    VERDICTS,
    Batch,
    ConflictError,
    Decision,
    DeskError,
    IgnoreSetting,
    Item,
    ItemResult,
    ItemSummary,
    NewItem,
    Progress,
    Reviewed,
    ThresholdChoice,
    ThresholdSetting,
    check_choice,
    check_text,
    now,
)
from ltad.review.storage import Row, Store

BATCH = "id, name, created, person, model, settings, state, deleted, deleted_by, erased"
_COUNTS = """
    SELECT batch_id, COUNT(*), SUM(status = 'scored'), SUM(status = 'failed'), SUM(verdict != '')
    FROM items {where} GROUP BY batch_id"""
_ITEM = """
    items.id, batch_id, position, file_name, content_key, status, reason, width, height,
    class_name, class_probability, is_recognised, items.score, reconstruction_score,
    semantic_score, items.threshold, regions, duplicate_of,
    is_recognised OR class_name = (
        SELECT json_extract(settings, '$.class_name') FROM batches WHERE batches.id = batch_id)"""
DECISION = """
    decisions.id, item_id, decisions.revision, decisions.verdict, defect_type, note,
    COALESCE(mask_key, ''), person, created, model, decisions.threshold, decisions.score, undoes,
    imported, COALESCE((
        SELECT first.person FROM decisions AS first
        WHERE first.item_id = decisions.item_id AND first.mask_key = decisions.mask_key
        ORDER BY first.id LIMIT 1), '')"""
_FROM_ITEMS = "FROM items LEFT JOIN decisions ON decisions.id = items.decision_id"
# The index items_by_suspicion is in this order, so nothing is sorted when a list is read.
_BY_SUSPICION = "ORDER BY status IN ('failed', 'cancelled'), margin DESC, position"
NAME_LENGTH = 300
RETENTION_DAYS = 30
"""So long a deleted batch keeps its images, unless somebody erases it before."""
DEFECT_TYPE_LENGTH = 100
NOTE_LENGTH = 2000


def batch_of(row: Row, counts: Row) -> Batch:
    """A `Batch` of the columns `BATCH` and its counts of items."""
    *start, settings, state = row[:7]
    fields: list[Any] = [*start, json.loads(settings), state, *counts, *row[7:]]
    return Batch(*fields)


def item_of(row: Row) -> Item:
    """An `Item` of the columns of its own and of its current decision."""
    *start, recognised, score, reconstruction, semantic, threshold, regions = row[:17]
    original, judged = row[17:19]
    decision = None if row[19] is None else Decision(*row[19:])
    fields: list[Any] = [
        *start, bool(recognised), score, reconstruction, semantic, threshold,
        tuple(json.loads(regions)), original, bool(judged), decision,
    ]
    return Item(*fields)


def item_columns() -> str:
    """What `item_of` reads, and the tables it comes from."""
    return f"SELECT {_ITEM}, {DECISION} {_FROM_ITEMS}"


def days_left(batches: Sequence[Batch]) -> dict[int, float]:
    """Batch number -> days until its images are erased; 0 when they are."""
    today = datetime.now(UTC)
    return {
        batch.id: 0.0 if batch.erased else max(
            0.0,
            RETENTION_DAYS - (today - datetime.fromisoformat(batch.deleted)) / timedelta(days=1),
        )
        for batch in batches
    }


def _checked(
    item_id: int, verdict: str, person: str, defect_type: str = "", note: str = "",
    mask_key: str = "", threshold: float | None = None, score: float | None = None,
    model: str | None = None, expected_revision: int | None = None, created: str = "",
    is_imported: bool = False,
) -> dict[str, Any]:
    if verdict and verdict not in VERDICTS:
        raise DeskError(f"A verdict cannot be {verdict!r}, only {', '.join(VERDICTS)}.")
    return {
        "item_id": item_id, "verdict": verdict, "mask_key": mask_key,
        "person": check_text("person's name", person, NAME_LENGTH) or "anonymous",
        "defect_type": check_text("defect type", defect_type, DEFECT_TYPE_LENGTH),
        "note": check_text("note", note, NOTE_LENGTH),
        "threshold": threshold, "score": score, "model": model,
        "expected_revision": expected_revision, "created": created or now(),
        "imported": now() if is_imported else "",
    }


def _append(
    connection: sqlite3.Connection, fields: dict[str, Any], undoes: int | None = None,
    restores: int | None = None,
) -> Decision:
    """One more entry, and its short form in the item's own row."""
    item = connection.execute(
        "SELECT revision, standing_id, items.threshold, score, model FROM items"
        " JOIN batches ON batches.id = batch_id WHERE items.id = ?", (fields["item_id"],),
    ).fetchone()
    if item is None:
        raise DeskError(f"There is no item {fields['item_id']!r}. Reload the batch.")
    revision, standing_id, threshold, score, model = item
    if fields["mask_key"] and not connection.execute(
        "SELECT 1 FROM blobs WHERE key = ?", (fields["mask_key"],)
    ).fetchone():
        raise DeskError(f"There is no mask {fields['mask_key']!r}. Save the mask again.")
    values = {
        **fields,
        "threshold": threshold if fields["threshold"] is None else fields["threshold"],
        "score": score if fields["score"] is None else fields["score"],
        "model": model if fields["model"] is None else fields["model"],
        "mask_key": fields["mask_key"] or None,
        "revision": revision + 1, "undoes": undoes,
        "previous_id": None if undoes else standing_id,
    }
    columns = ", ".join(values)
    marks = ", ".join(f":{name}" for name in values)
    decision_id = _inserted(
        connection, f"INSERT INTO decisions ({columns}) VALUES ({marks})", values
    )
    connection.execute(
        "UPDATE items SET revision = ?, verdict = ?, decision_id = ?, standing_id = ?"
        " WHERE id = ?",
        (revision + 1, fields["verdict"], decision_id, restores if undoes else decision_id,
         fields["item_id"]),
    )
    appended = _decision(connection, decision_id)
    assert appended is not None
    return appended


def _inserted(
    connection: sqlite3.Connection, statement: str, values: Sequence[Any] | Mapping[str, Any]
) -> int:
    """The id of the row that an INSERT made."""
    row_id = connection.execute(statement, values).lastrowid
    assert row_id is not None
    return row_id


def _decision(connection: sqlite3.Connection, decision_id: int | None) -> Decision | None:
    row = connection.execute(
        f"SELECT {DECISION} FROM decisions WHERE id = ?", (decision_id,)
    ).fetchone()
    return Decision(*row) if row else None


def _current(connection: sqlite3.Connection, item_id: int) -> Decision | None:
    found = connection.execute(
        "SELECT decision_id FROM items WHERE id = ?", (item_id,)
    ).fetchone()
    return _decision(connection, found[0]) if found else None


def _conflict(
    connection: sqlite3.Connection, fields: dict[str, Any], current: Decision | None
) -> ConflictError:
    (name,) = connection.execute(
        "SELECT file_name FROM items WHERE id = ?", (fields["item_id"],)
    ).fetchone() or (f"item {fields['item_id']}",)
    yours = f"Your {fields['verdict'] or 'withdrawal'!r} was not saved. Look at it again."
    if current is None:
        return ConflictError(f"Nobody has decided on {name} yet. {yours}", None)
    did = f"decided {current.verdict!r}" if current.verdict else "took the verdict back"
    return ConflictError(
        f"{current.person} {did} on {name} at {current.created[:19].replace('T', ' ')} UTC, "
        f"after you opened it. {yours}", current,
    )


def _checked_person(name: str) -> str:
    return check_text("person's name", name, NAME_LENGTH) or "anonymous"


class Database(Store):
    """Everything the desk keeps; see `Store` for how it is opened, closed and backed up."""

    # --- Batches and items -----------------------------------------------------------------------

    def create_batch(
        self, name: str, person: str, model: str, settings: Mapping[str, Any]
    ) -> Batch:
        """An empty batch in state "running"; see `records.Batch`."""
        name = check_text("batch's name", name, NAME_LENGTH, is_required=True)
        person = check_text("person's name", person, NAME_LENGTH) or "anonymous"
        with self._writing() as connection:
            batch_id = _inserted(
                connection,
                "INSERT INTO batches (name, created, person, model, settings, state)"
                " VALUES (?, ?, ?, ?, ?, 'running')",
                (name, now(), person, model, json.dumps(dict(settings))),
            )
        return self.batch(batch_id)

    def batches(self) -> list[Batch]:
        """All batches that are not deleted, newest first."""
        counts = {row[0]: row[1:] for row in self._rows(_COUNTS.format(where=""))}
        rows = self._rows(f"SELECT {BATCH} FROM batches WHERE deleted = '' ORDER BY id DESC")
        return [batch_of(row, counts.get(row[0], (0, 0, 0, 0))) for row in rows]

    def batch(self, batch_id: int) -> Batch:
        """One batch, deleted or not. Raises DeskError when there is none of that number."""
        rows = self._rows(f"SELECT {BATCH} FROM batches WHERE id = ?", (batch_id,))
        if not rows:
            raise DeskError(f"There is no batch {batch_id!r}. Reload the list of batches.")
        return batch_of(rows[0], self._counts(batch_id))

    def _counts(self, batch_id: int) -> Row:
        found = self._rows(_COUNTS.format(where="WHERE batch_id = ?"), (batch_id,))
        return found[0][1:] if found else (0, 0, 0, 0)

    def add_items(self, batch_id: int, items: Iterable[NewItem]) -> list[int]:
        """Append images to a batch; returns their ids.

        Content that the batch holds already, not yet scored, becomes a duplicate of it.
        """
        self.batch(batch_id)
        with self._writing() as connection:
            (position,) = connection.execute(
                "SELECT COALESCE(MAX(position) + 1, 0) FROM items WHERE batch_id = ?", (batch_id,)
            ).fetchone()
            originals = dict(connection.execute(
                "SELECT content_key, id FROM items"
                " WHERE batch_id = ? AND status = 'waiting' AND duplicate_of IS NULL",
                (batch_id,),
            ).fetchall())
            ids = []
            for offset, item in enumerate(items):
                original = originals.get(item.content_key)
                ids.append(_inserted(
                    connection,
                    "INSERT INTO items (batch_id, position, file_name, content_key, status,"
                    " reason, duplicate_of) VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (batch_id, position + offset, item.file_name[:NAME_LENGTH], item.content_key,
                     "failed" if item.reason else "waiting", item.reason, original),
                ))
                if not item.reason:
                    originals.setdefault(item.content_key, ids[-1])
        return ids

    def item(self, item_id: int) -> Item:
        """One item. Raises DeskError when there is none of that number."""
        rows = self._rows(
            f"SELECT {_ITEM}, {DECISION} {_FROM_ITEMS} WHERE items.id = ?", (item_id,)
        )
        if not rows:
            raise DeskError(f"There is no item {item_id!r}. Reload the batch.")
        return item_of(rows[0])

    def items(self, batch_id: int, limit: int | None = None, offset: int = 0) -> list[Item]:
        """Items of a batch: highest score above its threshold first, then waiting, then failed."""
        rows = self._rows(
            f"SELECT {_ITEM}, {DECISION} {_FROM_ITEMS} WHERE batch_id = ? {_BY_SUSPICION}"
            " LIMIT ? OFFSET ?",
            (batch_id, -1 if limit is None else limit, offset),
        )
        return [item_of(row) for row in rows]

    def items_summary(self, batch_id: int) -> list[ItemSummary]:
        """All items in short, in the order of `items`; 10,000 take tens of milliseconds."""
        columns = ", ".join(ItemSummary._fields)
        rows = self._rows(
            f"SELECT {columns} FROM items WHERE batch_id = ? {_BY_SUSPICION}", (batch_id,)
        )
        return list(map(ItemSummary._make, rows))

    def waiting(self, batch_id: int, limit: int) -> list[tuple[int, str, str]]:
        """(id, file name, content key) of the next items to score; duplicates are left out."""
        return self._rows(
            "SELECT id, file_name, content_key FROM items WHERE batch_id = ?"
            " AND status = 'waiting' AND duplicate_of IS NULL ORDER BY position LIMIT ?",
            (batch_id, limit),
        )

    def record_result(self, item_id: int, **fields: Any) -> None:
        """Keep what the model says of an item, and of its duplicates; `fields` of `ItemResult`."""
        self.record_outcomes({item_id: ItemResult(**fields)})

    def record_failure(self, item_id: int, reason: str) -> None:
        """Keep why an item, and with it its duplicates, cannot be scored."""
        self.record_outcomes({item_id: reason})

    def record_outcomes(
        self, outcomes: Mapping[int, ItemResult | str], images_per_second: float | None = None,
        ignore_version: int | None = None,
    ) -> bool:
        """Results, or reasons of failure, of several items at once, and the speed of late.

        Args:
            outcomes: by item id.
            images_per_second: of late.
            ignore_version: under which the items were scored; None holds under any.

        Returns:
            False, and nothing is kept, when somebody set an ignored area since that version: the
            items go on waiting.
        """
        with self._writing() as connection:
            if ignore_version is not None and ignore_version != self.ignore_version():
                return False
            for item_id, outcome in outcomes.items():
                if isinstance(outcome, str):
                    fields = {"status": "failed", "reason": outcome}
                else:
                    fields = {**asdict(outcome), "status": "scored", "reason": "",
                              "regions": json.dumps(outcome.regions)}
                connection.execute(
                    f"UPDATE items SET {', '.join(f'{name} = :{name}' for name in fields)}"
                    " WHERE id = :item OR duplicate_of = :item",
                    {**fields, "item": item_id},
                )
            if images_per_second is not None and outcomes:
                connection.execute(
                    "UPDATE batches SET images_per_second = ?"
                    " WHERE id = (SELECT batch_id FROM items WHERE id = ?)",
                    (images_per_second, next(iter(outcomes))),
                )
        return True

    def ignore_version(self) -> int:
        """Counts up whenever somebody sets the area that a class ignores."""
        return self._rows("SELECT coalesce(max(id), 0) FROM ignore_regions")[0][0]

    def set_batch_state(self, batch_id: int, state: str) -> None:
        """ "cancelled" takes the waiting items along; "running" brings them back.

        "finished" holds only for a running batch in which nothing waits; otherwise it is ignored.
        """
        if state not in BATCH_STATES:
            raise DeskError(f"A batch cannot be {state!r}, only {', '.join(BATCH_STATES)}.")
        moves = {"cancelled": ("waiting", "cancelled"), "running": ("cancelled", "waiting")}
        with self._writing() as connection:
            if state == "finished":
                connection.execute(
                    "UPDATE batches SET state = 'finished' WHERE id = ? AND state = 'running' AND"
                    " NOT EXISTS (SELECT 1 FROM items WHERE batch_id = ? AND status = 'waiting')",
                    (batch_id, batch_id),
                )
                return
            before, after = moves[state]
            connection.execute("UPDATE batches SET state = ? WHERE id = ?", (state, batch_id))
            connection.execute(
                "UPDATE items SET status = ? WHERE batch_id = ? AND status = ?",
                (after, batch_id, before),
            )

    def reopen_items(self, batch_id: int, class_name: str | None = None) -> int:
        """Let items wait again, those of one class or all; returns how many wait for it now.

        Decisions stay. Files that were broken on arrival stay failed.
        """
        with self._writing() as connection:
            changed = connection.execute(
                "UPDATE items SET status = 'waiting', reason = '' WHERE batch_id = ?"
                " AND status IN ('scored', 'failed', 'waiting') AND content_key != ''"
                " AND (? IS NULL OR class_name = ?)",
                (batch_id, class_name, class_name),
            ).rowcount
            connection.execute("UPDATE batches SET state = 'running' WHERE id = ?", (batch_id,))
        return changed

    def progress(self, batch_id: int) -> Progress:
        """How far a batch is, whichever process works on it."""
        batch = self.batch(batch_id)
        ((waiting, distinct, speed),) = self._rows(
            "SELECT COUNT(items.id), COALESCE(SUM(items.id > 0 AND duplicate_of IS NULL), 0),"
            " images_per_second FROM batches"
            " LEFT JOIN items ON batch_id = batches.id AND status = 'waiting'"
            " WHERE batches.id = ?", (batch_id,),
        )
        is_known = batch.state == "running" and speed > 0
        return Progress(
            batch.total - waiting, batch.total, batch.failed, speed,
            distinct / speed if is_known else None, batch.state,
        )

    # --- Deletion --------------------------------------------------------------------------------

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
        """List a deleted batch again; images that were erased stay away."""
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

    def mark_erased(
        self, batch_id: int | None = None, retention_days: float = RETENTION_DAYS
    ) -> None:
        """Give up the images of a deleted batch; None: of all deleted so many days ago.

        Raises:
            DeskError: the batch is not deleted, so its images are still wanted.
        """
        if batch_id is not None and not self.batch(batch_id).deleted:
            raise DeskError(
                f"The batch {self.batch(batch_id).name!r} is not deleted. Delete it first."
            )
        before = datetime.now(UTC) - timedelta(days=retention_days)
        with self._writing() as connection:
            connection.execute(
                "UPDATE batches SET erased = ? WHERE deleted != '' AND erased = ''"
                " AND CASE WHEN ? IS NULL THEN deleted < ? ELSE id = ? END",
                (now(), batch_id, before.isoformat(timespec="milliseconds"), batch_id),
            )

    def unwanted_images(self) -> list[str]:
        """Content keys that stand in erased batches and in no other."""
        rows = self._rows(
            "SELECT content_key FROM items JOIN batches ON batches.id = batch_id"
            " WHERE content_key != '' GROUP BY content_key HAVING MIN(erased != '')"
        )
        return [key for (key,) in rows]

    # --- Decisions -------------------------------------------------------------------------------

    def decide(
        self,
        item_id: int,
        verdict: str,
        person: str,
        defect_type: str = "",
        note: str = "",
        mask_key: str = "",
        threshold: float | None = None,
        score: float | None = None,
        model: str | None = None,
        expected_revision: int | None = None,
    ) -> Decision:
        """Append a decision. When this returns, it is on disk.

        Args:
            item_id: the item.
            verdict: one of `VERDICTS`, or "" to take the item's verdict back.
            person: who decides.
            defect_type, note: up to 100 and 2,000 characters.
            mask_key: of `put_blob`, or "".
            threshold, score, model: what the person saw; by default the item's own.
            expected_revision: the item's revision that the person saw (0: undecided); None does
                not ask.

        Raises:
            ConflictError: the item has another revision by now; nothing was saved.
            DeskError: no such item, verdict or mask, or a text is too long.
        """
        return self.decide_many([{
            "item_id": item_id, "verdict": verdict, "person": person, "defect_type": defect_type,
            "note": note, "mask_key": mask_key, "threshold": threshold, "score": score,
            "model": model, "expected_revision": expected_revision,
        }])[0]

    def decide_many(self, decisions: Iterable[Mapping[str, Any]]) -> list[Decision]:
        """Append several decisions, all or none.

        Args:
            decisions: each is the arguments of `decide` by name. One out of a file also has
                `is_imported`, and `created`: when it was made (ISO 8601, UTC), or "" for now.
        """
        made = []
        with self._writing() as connection:
            for wanted in decisions:
                fields = _checked(**wanted)
                expected = fields.pop("expected_revision")
                current = _current(connection, fields["item_id"])
                revision = current.revision if current else 0
                if expected is not None and expected != revision:
                    raise _conflict(connection, fields, current)
                made.append(_append(connection, fields))
        return made

    def undo(self, batch_id: int, person: str) -> Decision | None:
        """Take back the person's latest decision in a batch that still stands.

        A new entry restores what stood before it. A decision that somebody decided over since does
        not stand and is left alone.

        Returns:
            The entry that was appended, or None when there is nothing to undo.
        """
        with self._writing() as connection:
            found = connection.execute(
                f"SELECT {DECISION}, previous_id FROM items"
                " JOIN decisions ON decisions.id = items.standing_id"
                " WHERE batch_id = ? AND person = ? ORDER BY decisions.id DESC LIMIT 1",
                (batch_id, check_text("person's name", person, NAME_LENGTH) or "anonymous"),
            ).fetchone()
            if found is None:
                return None
            undone, previous_id = Decision(*found[:-1]), found[-1]
            before = _decision(connection, previous_id)
            return _append(connection, {
                "item_id": undone.item_id,
                "verdict": before.verdict if before else "",
                "defect_type": before.defect_type if before else "",
                "note": before.note if before else "",
                "mask_key": before.mask_key if before else "",
                "person": undone.person, "threshold": undone.threshold, "score": undone.score,
                "model": undone.model, "created": now(), "imported": "",
            }, undoes=undone.id, restores=previous_id)

    def history(self, item_id: int) -> list[Decision]:
        """All entries of an item, oldest first."""
        rows = self._rows(
            f"SELECT {DECISION} FROM decisions WHERE item_id = ? ORDER BY revision", (item_id,)
        )
        return [Decision(*row) for row in rows]

    def reviewed(self, batch_ids: Sequence[int]) -> list[Reviewed]:
        """Scored items of some batches that people called good or defective."""
        marks = ", ".join("?" * len(batch_ids))
        rows = self._rows(
            "SELECT class_name, score, verdict = 'defective' FROM items WHERE"
            f" batch_id IN ({marks}) AND status = 'scored' AND verdict IN ('good', 'defective')",
            list(batch_ids),
        )
        return list(map(Reviewed._make, rows))

    # --- Thresholds and settings -----------------------------------------------------------------

    def put_blob(self, content: bytes) -> str:
        """Keep bytes, such as a mask's PNG; returns their key, the SHA-256 in hexadecimal."""
        key = hashlib.sha256(content).hexdigest()
        with self._writing() as connection:
            connection.execute(
                "INSERT INTO blobs VALUES (?, ?) ON CONFLICT DO NOTHING", (key, content)
            )
        return key

    def blob(self, key: str) -> bytes:
        """The bytes of a key. Raises DeskError when there are none."""
        rows = self._rows("SELECT content FROM blobs WHERE key = ?", (key,))
        if not rows:
            raise DeskError(f"There is nothing stored under {key!r}. Reload the page.")
        return rows[0][0]

    def set_ignore_region(self, class_name: str, png: bytes | None, person: str) -> None:
        """From now on ignore the white pixels of a mask in all images of a class.

        Args:
            class_name: the class.
            png: a mask of any size that covers the whole image; None ignores nothing again.
            person: who says so.
        """
        key = self.put_blob(png) if png else None
        person = _checked_person(person)
        with self._writing() as connection:
            connection.execute(
                "INSERT INTO ignore_regions (class_name, mask_key, person, created)"
                " VALUES (?, ?, ?, ?)", (class_name, key, person, now()),
            )

    def ignore_region(self, class_name: str) -> bytes | None:
        """The mask that `set_ignore_region` set last, or None."""
        latest = self.ignore_history(class_name)[-1:]
        return self.blob(latest[0].mask_key) if latest and latest[0].mask_key else None

    def ignore_history(self, class_name: str) -> list[IgnoreSetting]:
        """Every area that was ever set for a class, oldest first; the last one counts."""
        return [IgnoreSetting(*row) for row in self._rows(
            "SELECT id, coalesce(mask_key, ''), person, created FROM ignore_regions"
            " WHERE class_name = ? ORDER BY id", (class_name,),
        )]

    def set_threshold(
        self, model: str, class_name: str, choice: ThresholdChoice | None, person: str = ""
    ) -> None:
        """How thresholds are found for a model's class ("": all classes); None forgets it.

        Earlier choices are kept; setting what holds already adds nothing to them.

        Raises:
            DeskError: there is no such mode, or its value is out of range.
        """
        if choice is not None:
            check_choice(choice)
        person = _checked_person(person)
        with self._writing() as connection:
            if self.threshold_choices(model).get(class_name) == choice:
                return
            mode, value = (choice.mode, choice.value) if choice else ("", 0.0)
            connection.execute(
                "INSERT INTO threshold_settings (model, class_name, mode, value, person, created)"
                " VALUES (?, ?, ?, ?, ?, ?)", (model, class_name, mode, value, person, now()),
            )

    def threshold_choices(self, model: str) -> dict[str, ThresholdChoice]:
        """The choices that hold for a model, by class name; "" is the one for all."""
        rows = self._rows(
            "SELECT class_name, mode, value FROM threshold_settings WHERE id IN ("
            " SELECT max(id) FROM threshold_settings WHERE model = ? GROUP BY class_name)"
            " AND mode != ''", (model,),
        )
        return {name: ThresholdChoice(mode, value) for name, mode, value in rows}

    def threshold_history(self, model: str, class_name: str) -> list[ThresholdSetting]:
        """Every choice that was ever made for a model's class, oldest first; the last one holds."""
        return [
            ThresholdSetting(number, ThresholdChoice(mode, value) if mode else None, *rest)
            for number, mode, value, *rest in self._rows(
                "SELECT id, mode, value, person, created FROM threshold_settings"
                " WHERE model = ? AND class_name = ? ORDER BY id", (model, class_name),
            )
        ]

    def set_for_training(self, item_id: int, is_chosen: bool, person: str) -> None:
        """Choose an item for training, or take it out again.

        Raises:
            DeskError: nobody called it good; only good images may teach a model.
        """
        item = self.item(item_id)
        if is_chosen and item.verdict != "good":
            raise DeskError(
                f"{item.file_name} is {item.verdict or 'not reviewed'}, but a model learns from "
                "good parts only. Review it as good first."
            )
        person = _checked_person(person)
        with self._writing() as connection:
            # Somebody may decide otherwise between the look above and this line.
            connection.execute(
                "UPDATE items SET is_for_training = ? AND verdict = 'good' WHERE id = ?",
                (is_chosen, item_id),
            )
            connection.execute(
                "INSERT INTO training_choices (item_id, is_chosen, person, created)"
                " VALUES (?, ?, ?, ?)", (item_id, is_chosen, person, now()),
            )

    def for_training(self, class_name: str | None = None) -> list[Item]:
        """The items chosen for training that are still called good, of one class or of all.

        Each content comes once, and not at all where anybody calls the same content defective.
        Deleted batches offer none.
        """
        rows = self._rows(
            f"{item_columns()} WHERE is_for_training AND items.verdict = 'good'"
            " AND (:name IS NULL OR class_name = :name)"
            " AND batch_id NOT IN (SELECT id FROM batches WHERE deleted != '') AND NOT EXISTS ("
            " SELECT 1 FROM items AS other"
            " WHERE other.content_key = items.content_key AND other.verdict = 'defective')"
            " GROUP BY content_key ORDER BY items.id", {"name": class_name},
        )
        return [item_of(row) for row in rows]
