"""The database file: its tables, its versions, and how it is opened, read and written.

WAL mode with ``synchronous=FULL``: a write that returned is on disk. All writes, and the
checkpoints that follow them, hold one lock across threads and processes, because SQLite before
3.51.3 can lose a commit when a checkpoint and a write of two connections meet ("WAL-reset bug").

A plain copy of the main file is torn when it meets a write. So a whole copy stands beside it,
``desk.backup.sqlite``, replaced in one step some seconds after every change: that is the file to
copy at any time. The main file alone is complete too, between two writes, because a checkpoint
follows every commit.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from ltad.io.files import atomic_path
from ltad.review.records import DeskError

BUSY_SECONDS = 30.0
BACKUP_SECONDS = 5.0
"""How long after a change the automatic backup is written, at the earliest."""
BACKUP_SHARE = 0.02
"""Of the time, at most this much goes into automatic backups."""
Row = tuple[Any, ...]
_log = logging.getLogger(__name__)
_ITEM_COLUMNS = """
    id INTEGER PRIMARY KEY,
    batch_id INTEGER NOT NULL REFERENCES batches,
    position INTEGER NOT NULL,
    file_name TEXT NOT NULL,
    content_key TEXT NOT NULL,
    status TEXT NOT NULL,
    reason TEXT NOT NULL,
    width INTEGER NOT NULL DEFAULT 0,
    height INTEGER NOT NULL DEFAULT 0,
    class_name TEXT NOT NULL DEFAULT '',
    class_probability REAL NOT NULL DEFAULT 0,
    is_recognised INTEGER NOT NULL DEFAULT 0,
    score REAL,
    reconstruction_score REAL,
    semantic_score REAL,
    threshold REAL,
    margin REAL GENERATED ALWAYS AS (score - threshold) VIRTUAL,
    regions TEXT NOT NULL DEFAULT '[]',
    duplicate_of INTEGER REFERENCES items,
    is_for_training INTEGER NOT NULL DEFAULT 0,
    -- The rest repeats the item's history in short, written together with it.
    revision INTEGER NOT NULL DEFAULT 0,
    verdict TEXT NOT NULL DEFAULT '',
    decision_id INTEGER REFERENCES decisions,
    standing_id INTEGER REFERENCES decisions
"""
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE batches (
            id INTEGER PRIMARY KEY, name TEXT NOT NULL, created TEXT NOT NULL,
            person TEXT NOT NULL, model TEXT NOT NULL, settings TEXT NOT NULL,
            state TEXT NOT NULL, images_per_second REAL NOT NULL DEFAULT 0)""",
        f"CREATE TABLE items ({_ITEM_COLUMNS})",
        """CREATE INDEX items_by_suspicion ON items
            (batch_id, status IN ('failed', 'cancelled'), margin DESC, position)""",
        "CREATE INDEX items_by_status ON items (batch_id, status, verdict)",
        "CREATE INDEX items_by_original ON items (duplicate_of) WHERE duplicate_of IS NOT NULL",
        "CREATE INDEX items_by_content ON items (content_key)",
        "CREATE INDEX items_for_training ON items (class_name) WHERE is_for_training",
        # previous_id: the decision that stood before; restores: the one that an undo brought back.
        """CREATE TABLE decisions (
            id INTEGER PRIMARY KEY AUTOINCREMENT, item_id INTEGER NOT NULL REFERENCES items,
            revision INTEGER NOT NULL, verdict TEXT NOT NULL, defect_type TEXT NOT NULL,
            note TEXT NOT NULL, mask_key TEXT REFERENCES blobs, person TEXT NOT NULL,
            created TEXT NOT NULL, model TEXT NOT NULL, threshold REAL, score REAL,
            undoes INTEGER REFERENCES decisions, previous_id INTEGER REFERENCES decisions,
            UNIQUE (item_id, revision))""",
        """CREATE TRIGGER decisions_never_change BEFORE UPDATE ON decisions
            BEGIN SELECT RAISE(ABORT, 'decisions are only appended'); END""",
        """CREATE TRIGGER decisions_never_vanish BEFORE DELETE ON decisions
            BEGIN SELECT RAISE(ABORT, 'decisions are only appended'); END""",
        "CREATE TABLE blobs (key TEXT PRIMARY KEY, content BLOB NOT NULL) WITHOUT ROWID",
        """CREATE TABLE ignore_regions (
            id INTEGER PRIMARY KEY, class_name TEXT NOT NULL, mask_key TEXT REFERENCES blobs,
            person TEXT NOT NULL, created TEXT NOT NULL)""",
        """CREATE TABLE threshold_choices (
            model TEXT NOT NULL, class_name TEXT NOT NULL, mode TEXT NOT NULL,
            value REAL NOT NULL, PRIMARY KEY (model, class_name)) WITHOUT ROWID""",
        """CREATE TABLE training_choices (
            id INTEGER PRIMARY KEY, item_id INTEGER NOT NULL REFERENCES items,
            is_chosen INTEGER NOT NULL, person TEXT NOT NULL, created TEXT NOT NULL)""",
    ),
    ("ALTER TABLE decisions ADD COLUMN imported TEXT NOT NULL DEFAULT ''",),
    tuple(
        f"ALTER TABLE batches ADD COLUMN {name} TEXT NOT NULL DEFAULT ''"
        for name in ("deleted", "deleted_by", "erased")
    ),
    (
        # The latest row of a model's class counts; mode '' takes the choice back.
        """CREATE TABLE threshold_settings (
            id INTEGER PRIMARY KEY, model TEXT NOT NULL, class_name TEXT NOT NULL,
            mode TEXT NOT NULL, value REAL NOT NULL, person TEXT NOT NULL,
            created TEXT NOT NULL)""",
        """INSERT INTO threshold_settings (model, class_name, mode, value, person, created)
            SELECT model, class_name, mode, value, '', '' FROM threshold_choices""",
        "DROP TABLE threshold_choices",
        "CREATE INDEX thresholds_by_class ON threshold_settings (model, class_name)",
    ),
)
"""One tuple of statements for each schema version; a database of version n has had the first n.

An entry that was released is never edited: a change is a new entry at the end.
"""


class Store:
    """One SQLite file, open in any number of threads and processes.

    Args:
        path: made if it is missing, its folder too.

    Raises:
        DeskError: it is damaged, was written by a newer version, or cannot be used.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.backup_path = self.path.with_name(f"{self.path.stem}.backup{self.path.suffix}")
        self._thread = threading.local()
        self._turn = threading.RLock()
        self._timer: threading.Timer | None = None
        self._backup_cost = 0.0
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from error
        self._lock = _process_lock(f"{self.path}.lock")
        with self._writing(is_migration=True) as connection:
            self._migrate(connection)

    def close(self) -> None:
        """Close this thread's connection; the next call opens another."""
        connection = self._thread.__dict__.pop("connection", None)
        if connection is not None:
            with self._turn, self._lock:
                connection.close()

    def backup(self, target: str | Path) -> Path:
        """Copy the database, as it is at one moment, to one file; others go on meanwhile.

        Args:
            target: replaced in one step if it exists; opens as any database of the desk.

        Raises:
            DeskError: it cannot be written.
        """
        target = Path(target)
        try:
            with (_process_lock(f"{self.path}.backup.lock"),
                  atomic_path(target, durable=True) as part):
                self._connection().execute("VACUUM INTO ?", (str(part),))
                # A commit beside the copy could not move its pages into the main file.
                self._connection().execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except (OSError, sqlite3.Error) as error:
            raise DeskError(
                f"The backup {target.name} could not be written ({error}). Free some space or "
                "choose another place."
            ) from error
        return target

    def _back_up_soon(self) -> None:
        with self._turn:
            if self._timer is None:
                seconds = max(BACKUP_SECONDS, self._backup_cost / BACKUP_SHARE)
                self._timer = threading.Timer(seconds, self._back_up_now)
                self._timer.daemon = True
                self._timer.start()

    def _back_up_now(self) -> None:
        with self._turn:
            self._timer = None  # a change from here on asks for the next backup
        start = time.monotonic()
        try:
            if self.path.exists():
                self.backup(self.backup_path)
        except DeskError as error:
            _log.warning("%s", error)
        finally:
            self.close()
        self._backup_cost = time.monotonic() - start

    def _rows(self, sql: str, values: Sequence[Any] | dict[str, Any] = ()) -> list[Row]:
        """All rows of a query at once, so that no reader holds a snapshot for longer."""
        try:
            return self._connection().execute(sql, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise self._unusable(error) from error

    @contextmanager
    def _writing(self, is_migration: bool = False) -> Generator[sqlite3.Connection]:
        """A transaction: committed and on disk at the end, or rolled back by any error."""
        try:
            with self._turn, self._lock:
                connection = self._connection()
                if is_migration:
                    connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                    connection.execute("COMMIT")
                except BaseException:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise
        except (sqlite3.Error, OSError) as error:
            raise self._unusable(error) from error
        self._back_up_soon()

    def _connection(self) -> sqlite3.Connection:
        connection = getattr(self._thread, "connection", None)
        if connection is None:
            connection = sqlite3.connect(
                self.path, timeout=BUSY_SECONDS, isolation_level=None, cached_statements=256
            )
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA wal_autocheckpoint = 1")
            self._thread.connection = connection
        return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(MIGRATIONS):
            raise DeskError(
                f"{self.path.name} has schema version {version}, but this program knows up to "
                f"{len(MIGRATIONS)}: it was written by a newer version. Update the program."
            )
        for number, statements in enumerate(MIGRATIONS[version:], start=version + 1):
            for statement in statements:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")

    def _unusable(self, error: Exception) -> DeskError:
        return DeskError(
            f"The desk's database {self.path.name} cannot be used ({error}). Nothing was saved. "
            "Check the disk's free space and rights, or put back a backup."
        )


def _process_lock(path: str) -> FileLock:
    """A lock among processes that the system itself opens when its holder dies."""
    return FileLock(
        path, poll_interval=0.002, thread_local=False, fallback_to_soft=False,
        preserve_lock_file=True,
    )
