"""Batches and their items in the database: made, scored, listed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from ltad.desk.records import (
    BATCH_STATES,
    Batch,
    Decision,
    DeskError,
    Item,
    ItemResult,
    ItemSummary,
    NewItem,
    Progress,
)
from ltad.desk.schema import Store

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


def now() -> str:
    """The time in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def check_text(label: str, text: str, length: int, is_required: bool = False) -> str:
    """`text` without surrounding space.

    Raises:
        DeskError: it is too long, or missing where it is required.
    """
    text = text.strip()
    if len(text) > length:
        raise DeskError(f"The {label} has {len(text)} characters, but at most {length} fit.")
    if is_required and not text:
        raise DeskError(f"The {label} is empty. Give one.")
    return text


class BatchTables(Store):
    """The part of `Database` that knows batches and items."""

    def create_batch(
        self, name: str, person: str, model: str, settings: Mapping[str, Any]
    ) -> Batch:
        """An empty batch in state "running"; see `records.Batch`."""
        name = check_text("batch's name", name, NAME_LENGTH, is_required=True)
        person = check_text("person's name", person, NAME_LENGTH) or "anonymous"
        with self._writing() as connection:
            batch_id = connection.execute(
                "INSERT INTO batches (name, created, person, model, settings, state)"
                " VALUES (?, ?, ?, ?, ?, 'running')",
                (name, now(), person, model, json.dumps(dict(settings))),
            ).lastrowid
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

    def _counts(self, batch_id: int) -> tuple:
        found = self._rows(_COUNTS.format(where="WHERE batch_id = ?"), (batch_id,))
        return found[0][1:] if found else (0, 0, 0, 0)

    def add_items(self, batch_id: int, items: Iterable[NewItem]) -> list[int]:
        """Append pictures to a batch; returns their ids.

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
                ids.append(connection.execute(
                    "INSERT INTO items (batch_id, position, file_name, content_key, status,"
                    " reason, duplicate_of) VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (batch_id, position + offset, item.file_name[:NAME_LENGTH], item.content_key,
                     "failed" if item.reason else "waiting", item.reason, original),
                ).lastrowid)
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


def batch_of(row: tuple, counts: tuple) -> Batch:
    """A `Batch` of the columns `BATCH` and its counts of items."""
    *start, settings, state = row[:7]
    return Batch(*start, json.loads(settings), state, *counts, *row[7:])


def item_of(row: tuple) -> Item:
    """An `Item` of the columns of its own and of its current decision."""
    *fields, recognised, score, reconstruction, semantic, threshold, regions = row[:17]
    original, judged = row[17:19]
    decision = None if row[19] is None else Decision(*row[19:])
    return Item(
        *fields, bool(recognised), score, reconstruction, semantic, threshold,
        tuple(json.loads(regions)), original, bool(judged), decision,
    )


def item_columns() -> str:
    """What `item_of` reads, and the tables it comes from."""
    return f"SELECT {_ITEM}, {DECISION} {_FROM_ITEMS}"
