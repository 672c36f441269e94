"""The desk's memory: one SQLite file with every batch, item, decision and choice.

A method that writes has its result on disk when it returns, and any number of threads and processes
may use the same file. To back it up, copy ``desk.backup.sqlite`` beside it at any time, or call
`Database.backup`; either opens as a database of the desk (see ``schema``).
"""

from __future__ import annotations

import hashlib

from ltad.desk.decisions import DecisionTables
from ltad.desk.items import NAME_LENGTH, check_text, item_columns, item_of, now
from ltad.desk.records import (
    THRESHOLD_MODES,
    DeskError,
    IgnoreSetting,
    Item,
    ThresholdChoice,
    ThresholdSetting,
)


class Database(DecisionTables):
    """Everything the desk keeps; see `Store` for how it is opened, closed and backed up."""

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
        """From now on ignore the white pixels of a mask in all pictures of a class.

        Args:
            class_name: the class.
            png: a mask of any size that covers the whole picture; None ignores nothing again.
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
            DeskError: nobody called it good; only good pictures may teach a model.
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


def _checked_person(name: str) -> str:
    return check_text("person's name", name, NAME_LENGTH) or "anonymous"


def check_choice(choice: ThresholdChoice) -> ThresholdChoice:
    """`choice` itself. Raises DeskError when its mode or value cannot be."""
    if choice.mode not in THRESHOLD_MODES:
        raise DeskError(
            f"A threshold cannot be found by {choice.mode!r}, only by {', '.join(THRESHOLD_MODES)}."
        )
    if choice.mode == "score" and not 0 <= choice.value < float("inf"):
        raise DeskError(
            f"The score is {choice.value}, but it must be a number from 0 upwards: scores are sums "
            "of errors and probabilities, so none is lower."
        )
    is_fine = {"rate": 0 < choice.value < 1, "miss": 0 <= choice.value < 1}
    if not is_fine.get(choice.mode, abs(choice.value) < float("inf")):
        raise DeskError(
            f"The {'false-alarm' if choice.mode == 'rate' else choice.mode} value is "
            f"{choice.value}, but it must be "
            + ("a number." if choice.mode not in is_fine else "between 0 and 1.")
        )
    return choice
