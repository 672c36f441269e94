"""Decisions brought back into a batch from a COCO, CSV, JSON or zip export.

An item is found by the content of its image if the file says it, else by its file name, whatever
its slashes and Unicode form; and where no whole name fits, by the end of it (``images/a.png`` is
``a.png``) if that end is unique in the batch and in the file. Nothing that was decided later than
the file is overwritten unless that is asked for; what is replaced stays in the item's history. A
restored decision has the author, the time, the model, threshold and score that the file gives it,
and the time of the import beside them.
"""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from ltad.io.masks import decode_mask, encode_mask
from ltad.review.database import Database
from ltad.review.foreign import Imported, mask_of, read_decisions
from ltad.review.records import ConflictError, Decision, Item
from ltad.types import LTADError

_ATTEMPTS = 5


@dataclass(frozen=True)
class ImportReport:
    """What came of an import.

    Attributes:
        restored: decisions that were written.
        unchanged: decisions that stood already.
        unmatched: a sentence for each that belongs to no image of the batch, or cannot be used.
        conflicts: a sentence for each that would have replaced a newer one and was left out.
        verdicts: verdict -> how many of the restored ones.
        masks, boxes: restored ones with a mask, and how many parts of these masks were boxes.
    """

    restored: int
    unchanged: int
    unmatched: tuple[str, ...]
    conflicts: tuple[str, ...]
    verdicts: dict[str, int] = field(default_factory=dict)
    masks: int = 0
    boxes: int = 0

    @property
    def text(self) -> str:
        """All in one sentence."""
        if not (self.restored or self.unchanged or self.problems):
            return "The file holds no decision, so nothing was restored."
        kinds = [f"{count} {verdict}" for verdict, count in self.verdicts.items()]
        kinds += [f"{self.masks} with a mask"] * bool(self.masks)
        kinds += [f"{self.boxes} boxes as masks"] * bool(self.boxes)
        what = f" ({', '.join(kinds)})" if kinds else ""
        return (
            f"{self.restored} decisions restored{what}, {self.unchanged} already there, "
            f"{len(self.unmatched)} without their image, {len(self.conflicts)} left out because "
            "somebody decided later."
        )

    @property
    def problems(self) -> list[str]:
        """Everything that was not restored, one sentence each."""
        return [*self.unmatched, *self.conflicts]


def import_decisions(
    database: Database,
    batch_id: int,
    source: str | Path | bytes,
    name: str = "The file",
    person: str = "",
    overwrite: bool = False,
) -> ImportReport:
    """Restore the decisions of an export; all that can be are written at once, or none.

    Args:
        database, batch_id: where to.
        source: a file's path or bytes: COCO, CSV or JSON of a batch, or a zip that holds COCO.
        name: what messages call the file.
        person: on whose behalf decisions are written that name no author.
        overwrite: replace newer decisions too.

    Raises:
        DeskError: the file cannot be read, or there is no such batch.
        ConflictError: people decided so fast meanwhile that nothing could be written.
    """
    database.batch(batch_id)
    found = read_decisions(source, name)
    attempts_left = _ATTEMPTS
    while True:
        # Somebody may decide between the look and the writing; then look again.
        plan = _Plan(database, person, overwrite)
        for item, imported in _matched(database.items(batch_id), found, plan.unmatched):
            plan.add(item, imported)
        try:
            database.decide_many(plan.wanted)
            return plan.report()
        except ConflictError:
            attempts_left -= 1
            if not attempts_left:
                raise


class _Plan:
    """Collects what an import would write."""

    def __init__(self, database: Database, person: str, overwrite: bool) -> None:
        self._database = database
        self._person = person
        self._overwrite = overwrite
        self._unchanged = 0
        self._conflicts: list[str] = []
        self._boxes = 0
        self.wanted: list[dict[str, Any]] = []
        self.unmatched: list[str] = []

    def add(self, item: Item, imported: Imported) -> None:
        """Look at one item and what the file says of it."""
        try:
            mask = mask_of(imported, (item.width, item.height))
            old_mask = self._stored_mask(item)
        except LTADError as error:
            self.unmatched.append(f"{imported.file_name}: {error}")
            return
        if not imported.knows_mask:
            mask = old_mask
        if _is_same(item.decision, imported) and _are_equal(mask, old_mask):
            self._unchanged += 1
        elif item.decision and not self._overwrite and _is_newer(item.decision, imported):
            self._conflicts.append(_conflict(item.file_name, item.decision, imported))
        else:
            self._boxes += imported.boxes
            self.wanted.append({
                "item_id": item.id, "verdict": imported.verdict,
                "person": imported.person or self._person, "defect_type": imported.defect_type,
                "note": imported.note, "mask_key": self._key(item, mask, old_mask),
                "threshold": imported.threshold, "score": imported.score,
                "model": imported.model or None, "expected_revision": item.revision,
                "created": _moment(imported.created), "is_imported": True,
            })

    def report(self) -> ImportReport:
        """What came of it."""
        return ImportReport(
            len(self.wanted), self._unchanged, tuple(self.unmatched), tuple(self._conflicts),
            dict(Counter(entry["verdict"] for entry in self.wanted)),
            sum(bool(entry["mask_key"]) for entry in self.wanted), self._boxes,
        )

    def _stored_mask(self, item: Item) -> np.ndarray | None:
        key = item.mask_key
        return decode_mask(self._database.blob(key), "The stored mask") if key else None

    def _key(self, item: Item, mask: np.ndarray | None, old_mask: np.ndarray | None) -> str:
        if mask is None:
            return ""
        if mask is old_mask:
            return item.mask_key
        return self._database.put_blob(encode_mask(mask))


def _matched(
    items: Sequence[Item], found: Sequence[Imported], unmatched: list[str]
) -> list[tuple[Item, Imported]]:
    """Each imported decision with its item; an item is used once."""
    by_content, by_name = defaultdict(list), _ByName(items, found)
    for item in sorted(items, key=lambda item: item.position):
        by_content[item.content_key].append(item)
    used, pairs = set(), []
    for imported in found:
        if imported.problem:
            unmatched.append(f"{imported.file_name}: {imported.problem}")
            continue
        key = imported.content_key
        same = by_content[key] if key else by_name.find(imported.file_name)
        left = [item for item in same if item.id not in used]
        # Among images of one content the one of the same name comes first.
        left.sort(key=lambda item: item.file_name != imported.file_name)
        if not left:
            what = "of this content" if key else "of this name"
            unmatched.append(
                f"{imported.file_name}: "
                + (f"it stands in the file more often than images {what} in the batch."
                   if same else f"the batch has no image {what}.")
            )
            continue
        if not key and len(same) > 1:
            unmatched.append(
                f"{imported.file_name}: the batch has {len(same)} images of this name, and the "
                "file does not say which (it has no content_key)."
            )
            continue
        used.add(left[0].id)
        pairs.append((left[0], imported))
    return pairs


class _ByName:
    """Finds items by file names that other programs wrote."""

    def __init__(self, items: Sequence[Item], found: Sequence[Imported]) -> None:
        self._items: dict[tuple[str, ...], list[Item]] = defaultdict(list)
        self._ends: dict[tuple[str, ...], list[Item]] = defaultdict(list)
        for item in sorted(items, key=lambda item: item.position):
            name = _parts(item.file_name)
            self._items[name].append(item)
            for end in _ends(name):
                self._ends[end].append(item)
        self._asked = Counter(end for one in found for end in _ends(_parts(one.file_name)))

    def find(self, file_name: str) -> list[Item]:
        """The items of that name; if there are none, those of its longest end that the batch knows,
        provided the file has that end once."""
        name = _parts(file_name)
        if same := self._items.get(name):
            return same
        end = next((end for end in _ends(name) if end in self._ends), None)
        return self._ends[end] if end and self._asked[end] == 1 else []


def _parts(file_name: str) -> tuple[str, ...]:
    """Folders and file of a name, with whatever slashes, accents composed."""
    name = unicodedata.normalize("NFC", file_name.replace("\\", "/"))
    return tuple(part for part in name.split("/") if part not in ("", "."))


def _ends(name: tuple[str, ...]) -> list[tuple[str, ...]]:
    """``(a, b, c)``, ``(b, c)``, ``(c,)``."""
    return [name[start:] for start in range(len(name))]


def _is_same(decision: Decision | None, imported: Imported) -> bool:
    names = ("verdict", "defect_type", "note")
    return (
        decision is not None
        and all(getattr(decision, name) == getattr(imported, name).strip() for name in names)
        and (decision.person == imported.person or not imported.person)
    )


def _are_equal(first: np.ndarray | None, second: np.ndarray | None) -> bool:
    if first is None or second is None:
        return first is second
    return np.array_equal(first, second)


def _is_newer(decision: Decision, imported: Imported) -> bool:
    return imported.created is None or _time(decision.created) > imported.created


def _moment(created: datetime | None) -> str:
    """The time as the database keeps it; none is later than now, whatever a file says."""
    if created is None:
        return ""
    return min(created, datetime.now(UTC)).astimezone(UTC).isoformat(timespec="milliseconds")


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _conflict(file_name: str, decision: Decision, imported: Imported) -> str:
    when = decision.created[:19].replace("T", " ")
    did = f"decided {decision.verdict!r}" if decision.verdict else "took the verdict back"
    return (
        f"{file_name}: {decision.person} {did} at {when} UTC, later than the file's "
        f"{imported.verdict!r} by {imported.person or 'somebody'}. The later one was kept."
    )
