"""Endpoints that let a batch leave as a file, and let decisions come back from one."""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from pathlib import Path

from ltad.desk.archive import write_archive
from ltad.desk.coco import write_coco
from ltad.desk.importing import import_decisions
from ltad.desk.records import DeskError
from ltad.desk.report import write_report
from ltad.desk.tables import csv_bytes, json_bytes
from ltad.types import LTADError
from ltad.ui.review_desk import Desk, number

ENDINGS = {
    "csv": ".csv", "json": ".json", "coco": "-coco.json", "zip": ".zip", "report": ".html",
    "backup": ".sqlite",
}
_PREFIX = "ltad-export-"
_KEPT_SECONDS = 3600


class ExchangeEndpoints:
    """Every method is an endpoint of the API."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def export(self, batch_id: int, kind: str) -> str:
        """A batch as a file to download.

        Args:
            batch_id: the batch.
            kind: "csv", "json", "coco", "zip", "report", or "backup", the whole database.
        """
        if kind not in ENDINGS:
            raise DeskError(f"There is no export {str(kind)[:40]!r}, only {', '.join(ENDINGS)}.")
        desk = self._desk
        if kind == "backup" and desk.workspace.is_public:
            raise DeskError("A public page hands out no database. Take the zip or the JSON.")
        batch = desk.database.batch(number(batch_id, "batch"))
        stem = "ltad-desk" if kind == "backup" else re.sub(r"[^\w-]+", "_", batch.name)[:80]
        path = _fresh_folder() / f"{stem}{ENDINGS[kind]}"
        if kind == "backup":
            desk.database.backup(path)
            return str(path)
        items, thresholds = desk.database.items(batch.id), desk.thresholds(batch)
        if kind == "csv":
            path.write_bytes(csv_bytes(items, thresholds))
        elif kind == "json":
            path.write_bytes(json_bytes(batch, items, thresholds, desk.database))
        elif kind == "zip":
            write_archive(
                path, batch, items, desk.database, desk.pictures, desk.shelf,
                thresholds=thresholds,
            )
        else:
            write = write_coco if kind == "coco" else write_report
            write(
                path, batch, items, desk.database, desk.pictures, self._scorer(batch.model),
                thresholds,
            )
        return str(path)

    def bring_back(self, file: str | None, batch_id: int, person: str) -> dict:
        """Restore the decisions of a COCO, CSV or JSON export, or of a zip of one, into a batch.

        Returns:
            restored and unchanged counts, `text` in one sentence, `problems` one each. A file that
            holds no decisions is no failure of the server: `text` says what is wrong with it.
        """
        if not file:
            raise DeskError("There is no file. Send a COCO, CSV or JSON export.")
        self._desk.admit([file], are_pictures=False)
        batch = self._desk.database.batch(number(batch_id, "batch"))
        try:
            report = import_decisions(
                self._desk.database, batch.id, file, Path(file).name, person
            )
        except DeskError as error:
            return {"restored": 0, "unchanged": 0, "text": str(error), "problems": []}
        return {
            "restored": report.restored, "unchanged": report.unchanged, "text": report.text,
            "problems": report.problems[:200],
        }

    def _scorer(self, name: str) -> object | None:
        try:
            return self._desk.shelf.scorer(name)
        except LTADError:  # the file then holds what people painted, without the model's regions
            return None


def _fresh_folder() -> Path:
    """A folder for one export. Gradio copies the file, so those of the last hour are enough."""
    root = Path(tempfile.gettempdir())
    for old in root.glob(f"{_PREFIX}*"):
        try:
            if time.time() - old.stat().st_mtime > _KEPT_SECONDS:
                shutil.rmtree(old, ignore_errors=True)
        except OSError:  # another process was faster
            continue
    return Path(tempfile.mkdtemp(prefix=_PREFIX))
