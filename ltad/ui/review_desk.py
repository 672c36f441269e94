"""What the Review tab's endpoints share: the database, the pictures, the runner, the thresholds."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from ltad.desk.batch import BatchRunner
from ltad.desk.database import Database
from ltad.desk.feedback import feedback, thresholds_without_model
from ltad.desk.masks import decode_mask
from ltad.desk.pictures import PictureStore
from ltad.desk.records import Batch, Decision, DeskError
from ltad.shelf import ModelShelf
from ltad.types import LTADError
from ltad.ui.pictures import data_url
from ltad.workspace import Workspace


class Desk:
    """The desk of one page; opened when it is first needed, so that a page alone writes nothing.

    Args:
        shelf: the models.
        workspace: where batches, pictures and decisions are kept.
    """

    def __init__(self, shelf: ModelShelf, workspace: Workspace) -> None:
        self.shelf = shelf
        self.workspace = workspace
        self.pictures = PictureStore(workspace.pictures)
        self._runner: BatchRunner | None = None

    note = ""
    """What visitors of a public page must know."""

    def admit(self, files: Sequence[str], are_pictures: bool = True) -> None:
        """Check that there is room for what is about to be brought; here there always is."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever brought here."""
        return not self.workspace.database.is_file()

    @property
    def runner(self) -> BatchRunner:
        """Scores batches in the background. Two threads may both make one: they are alike."""
        if self._runner is None:
            self._runner = self._make_runner()
        return self._runner

    def _make_runner(self) -> BatchRunner:
        return BatchRunner(self.open_database(), self.pictures, self.shelf)

    def open_database(self) -> Database:
        """The database, made if it is not there yet."""
        return Database(self.workspace.database)

    @property
    def database(self) -> Database:
        return self.runner.database

    def thresholds(self, batch: Batch) -> dict[str, float]:
        """The thresholds that count now, by class name, also when the model cannot be loaded.

        Raises:
            DeskError: what people chose cannot be followed without the model.
        """
        try:
            scorer = self.shelf.scorer(batch.model)
        except LTADError as error:
            return thresholds_without_model(self.database, batch, str(error))
        return feedback(self.database, scorer, batch).thresholds

    def shown_thresholds(self, batch: Batch) -> tuple[dict[str, float], str]:
        """`thresholds`, or those at scoring time (none here) and why they are shown instead."""
        try:
            return self.thresholds(batch), ""
        except LTADError as error:
            return {}, f"{error} The thresholds on show are those of when it was scored."


def number(value: Any, label: str) -> int:
    """A whole number of a request. Raises DeskError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise DeskError(f"The {label} is {str(value)[:40]!r}, but it must be a whole number.")
    return int(value)


def decision_record(decision: Decision | None) -> dict[str, Any] | None:
    """A decision as plain data for JSON."""
    return None if decision is None else asdict(decision)


def png_url(png: bytes | None) -> str | None:
    """A PNG as a data URL, or None."""
    return None if png is None else data_url(png, "image/png")


def read_painting(url: str) -> np.ndarray:
    """The bool mask (H, W) of a painting sent as ``data:image/png;base64,...``.

    Raises:
        DeskError: it is no such text.
        ImageError: it is no picture.
    """
    header, _, content = str(url).partition(",")
    if header != "data:image/png;base64":
        raise DeskError("A mask is sent as text that begins with data:image/png;base64.")
    try:
        return decode_mask(base64.b64decode(content, validate=True))
    except binascii.Error:
        raise DeskError("The mask arrived damaged. Save it again.") from None
