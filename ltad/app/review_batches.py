"""Endpoints of batches: created, listed, exported, brought back, deleted."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from ltad.app.review_desk import Desk, number
from ltad.inference.scorer import Scorer
from ltad.review.coco import write_coco
from ltad.review.database import days_left
from ltad.review.export import csv_bytes, json_bytes, write_archive
from ltad.review.images import free_images
from ltad.review.imports import import_decisions
from ltad.review.records import Batch, DeskError, ItemSummary, NewItem, is_above
from ltad.review.report import write_report
from ltad.review.thresholds import random_sample
from ltad.review.uploads import MAX_FILES, collect, collect_server_folder
from ltad.types import LTADError

MOST_SUBFOLDERS = 300
ENDINGS = {
    "csv": ".csv", "json": ".json", "coco": "-coco.json", "zip": ".zip", "report": ".html",
    "backup": ".sqlite",
}
_PREFIX = "ltad-export-"
_RETENTION_SECONDS = 3600


class BatchEndpoints:
    """Every method is an endpoint of the API."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def batches(self) -> dict[str, Any]:
        """All batches, newest first; the deleted ones; the models with their classes; the
        server's folders."""
        desk = self._desk
        deleted = [] if desk.is_empty else desk.database.deleted_batches()
        left = days_left(deleted)
        return {
            "batches": [] if desk.is_empty else [asdict(b) for b in desk.database.batches()],
            "deleted": [asdict(b) | {"days_left": left[b.id]} for b in deleted],
            "models": [self._model_record(name) for name in desk.registry.names()],
            "folders": list(self._folders()), "note": desk.note,
        }

    def create_batch(
        self, files: list[str] | None = None, names: list[str] | None = None, folder: str = "",
        name: str = "", person: str = "", model: str = "", settings: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Take images and zips that were uploaded, or a server folder, and score them.

        Args:
            files: uploaded files.
            names: what to call them, in the same order; by default their own names.
            folder: one of the `folders` of `batches`, in place of files.
            name: of the batch; "" gives it one.
            person: who brings it.
            model: "" is the first one.
            settings: see `ltad.review.records.Batch`; None is the model's own.
        """
        desk = self._desk
        if folder:
            known = self._folders()
            if folder not in known:
                raise DeskError(f"There is no folder {folder[:80]!r} to take images from.")
            items = collect_server_folder(
                known[folder], desk.workspace.server_folders, desk.images
            )
        elif files:
            desk.admit(files)
            names = names or [Path(path).name for path in files]
            items = list(self._collect(files, names))
        else:
            raise DeskError("There are no files. Send images or a zip, or name a server folder.")
        batch = desk.runner.open_batch(
            name.strip() or _batch_name(names or [folder], len(items)), person, model or None,
            settings or {}, items,
        )
        return {"batch": asdict(batch)}

    def items(self, batch_id: int, version: str = "") -> dict[str, Any]:
        """The queue, most suspicious first; `problem` says why people's thresholds do not count.

        Args:
            batch_id: the batch.
            version: of the answer that the caller holds; when nothing changed since, `items` and
                `defect_types` are None.
        """
        desk = self._desk
        progress = desk.runner.progress(number(batch_id, "batch"))
        batch = desk.database.batch(batch_id)
        thresholds, problem = desk.shown_thresholds(batch)
        rows = _by_suspicion(
            desk.database.items_summary(batch_id), thresholds, batch.settings.get("class_name")
        )
        sample = random_sample(batch_id, rows)
        now = hashlib.sha256(repr(rows).encode()).hexdigest()[:16]
        is_known = now == version
        return {
            "version": now, "batch": asdict(batch), "progress": asdict(progress),
            "problem": problem,
            "items": None if is_known else [
                row._asdict() | {"is_in_sample": row.id in sample} for row in rows
            ],
            "defect_types": None if is_known else self._defect_types(batch),
        }

    def progress(self, batch_id: int) -> dict[str, Any]:
        """Images done, in all, failed; images a second; seconds left; state."""
        return asdict(self._desk.runner.progress(number(batch_id, "batch")))

    def cancel(self, batch_id: int) -> dict[str, Any]:
        """Stop scoring a batch after the images in work; what is scored stays."""
        self._desk.runner.cancel(number(batch_id, "batch"))
        return self.progress(batch_id)

    def restart(self, batch_id: int) -> dict[str, Any]:
        """Score the images that a cancelled batch left out."""
        self._desk.runner.restart(number(batch_id, "batch"))
        return self.progress(batch_id)

    def delete(self, batch_id: int, person: str) -> dict[str, Any]:
        """Set a batch aside. Its decisions are kept for good, its images for 30 days."""
        return asdict(self._desk.database.delete_batch(number(batch_id, "batch"), person))

    def restore(self, batch_id: int) -> dict[str, Any]:
        """List a deleted batch again, with all that was decided on it, and go on scoring it."""
        batch = self._desk.database.restore_batch(number(batch_id, "batch"))
        self._desk.runner.start(batch.id)
        return asdict(batch)

    def erase(self, batch_id: int) -> dict[str, Any]:
        """Take the images of a deleted batch off the disk now; its decisions are kept.

        Returns:
            `bytes`: that were freed. Images that came in a moment ago follow within minutes.
        """
        self._desk.database.mark_erased(number(batch_id, "batch"))
        return {"bytes": free_images(self._desk.database, self._desk.images)}

    def _collect(self, files: list[str], names: list[str]) -> Iterator[NewItem]:
        """Items of uploads under the visitor's own names; the uploads' are cleaned of some."""
        if len(files) > MAX_FILES or len(names) != len(files):
            raise DeskError(
                f"There are {len(files):,} files and {len(names):,} names; there must be as many "
                f"of both, and at most {MAX_FILES:,}."
            )
        for path, name in zip(files, names, strict=True):
            for item in collect([path], self._desk.images):
                if item.file_name == Path(path).name:
                    reason = item.reason.replace(item.file_name, Path(name).name)
                    item = replace(item, file_name=_printable(name), reason=reason)
                yield item

    def _defect_types(self, batch: Batch) -> list[str]:
        decisions = (item.decision for item in self._desk.database.items(batch.id))
        return sorted({d.defect_type for d in decisions if d and d.defect_type})

    def _model_record(self, name: str) -> dict[str, Any]:
        try:
            return {"name": name, "classes": list(self._desk.registry.class_names(name))}
        except LTADError:  # it says so when somebody scores with it
            return {"name": name, "classes": []}

    def _folders(self) -> dict[str, Path]:
        """The allowed folders and those right inside them, by the names that the page shows."""
        found: dict[str, Path] = {}
        for folder in self._desk.workspace.server_folders:
            inside = sorted(p for p in folder.glob("*/") if not p.name.startswith("."))
            for path in [folder, *inside[:MOST_SUBFOLDERS]]:
                label = (Path(folder.resolve().name) / path.relative_to(folder)).as_posix()
                while label in found:
                    label += "'"
                found[label] = path
        return found


def _by_suspicion(
    rows: list[ItemSummary], thresholds: dict[str, float], named_class: str | None
) -> list[ItemSummary]:
    """The rows with the thresholds that count now, and in the order that follows from them:
    anomalous ones, then those that are not judged, whose score says little, then normal ones."""
    rows = [row._replace(threshold=thresholds.get(row.class_name, row.threshold)) for row in rows]
    scored = [row for row in rows if row.score is not None]
    others = [row for row in rows if row.score is None]

    def order(row: ItemSummary) -> tuple[int, float]:
        is_judged = row.is_recognised or row.class_name == named_class
        rank = 0 if is_above(row) else 2 if is_judged else 1
        return rank, (row.threshold or 0.0) - (row.score or 0.0)

    return sorted(scored, key=order) + others


def _batch_name(names: list[str], count: int) -> str:
    if len(names) == 1:
        return Path(names[0]).stem or names[0]
    return f"{datetime.now():%Y-%m-%d %H:%M}, {count} images"


def _printable(name: str) -> str:
    return "".join(c for c in str(name) if c.isprintable())[:300] or "unnamed"


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
                path, batch, items, desk.database, desk.images, desk.registry,
                thresholds=thresholds,
            )
        else:
            write = write_coco if kind == "coco" else write_report
            write(
                path, batch, items, desk.database, desk.images, self._scorer(batch.model),
                thresholds,
            )
        return str(path)

    def bring_back(self, file: str | None, batch_id: int, person: str) -> dict[str, Any]:
        """Restore the decisions of a COCO, CSV or JSON export, or of a zip of one, into a batch.

        Returns:
            restored and unchanged counts, `text` in one sentence, `problems` one each. A file that
            holds no decisions is no failure of the server: `text` says what is wrong with it.
        """
        if not file:
            raise DeskError("There is no file. Send a COCO, CSV or JSON export.")
        self._desk.admit([file], are_images=False)
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

    def _scorer(self, name: str) -> Scorer | None:
        try:
            return self._desk.registry.scorer(name)
        except LTADError:  # the file then holds what people painted, without the model's regions
            return None


def _fresh_folder() -> Path:
    """A folder for one export. Gradio copies the file, so those of the last hour are enough."""
    root = Path(tempfile.gettempdir())
    for old in root.glob(f"{_PREFIX}*"):
        try:
            if time.time() - old.stat().st_mtime > _RETENTION_SECONDS:
                shutil.rmtree(old, ignore_errors=True)
        except OSError:  # another process was faster
            continue
    return Path(tempfile.mkdtemp(prefix=_PREFIX))
