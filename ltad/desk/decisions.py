"""Decisions in the database: appended, undone by appending, never changed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ltad.desk.deletion import DeletionTables
from ltad.desk.items import DECISION, NAME_LENGTH, check_text, now
from ltad.desk.records import VERDICTS, ConflictError, Decision, DeskError, Reviewed

DEFECT_TYPE_LENGTH = 100
NOTE_LENGTH = 2000


class DecisionTables(DeletionTables):
    """The part of `Database` that knows decisions."""

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
    decision_id = connection.execute(
        f"INSERT INTO decisions ({columns}) VALUES ({marks})", values
    ).lastrowid
    connection.execute(
        "UPDATE items SET revision = ?, verdict = ?, decision_id = ?, standing_id = ?"
        " WHERE id = ?",
        (revision + 1, fields["verdict"], decision_id, restores if undoes else decision_id,
         fields["item_id"]),
    )
    return _decision(connection, decision_id)


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
