"""The figures of the paper's Tables 3 to 9, to print beside one's own.

Ho, Peng and Vasconcelos, "Long-tailed Anomaly Detection with Learnable Class Names" (CVPR 2024).
The numbers stand in ``ltad/data/published.json``, with notes on what the paper's tables lack.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from ltad.types import SettingError


@dataclass(frozen=True)
class PublishedTable:
    """One table of the paper, AUROC in percent, "Det." per image and "Seg." per pixel.

    Attributes:
        number: of the table, 3 to 9.
        title: what it compares.
        source: the paper's caption.
        note: what the printed table lacks, or "".
        columns: names, e.g. ``"LTAD"`` (Tables 3 to 5) or ``"Det. High"`` (6 to 8).
        rows: names, e.g. ``"exp100 Det."`` or the paper's experiment, ``"6.8"``.
        about: row name -> the experiment in words; empty where the name says it all.
        values: one tuple a row, one float in [0, 100] a column, None where "N/A" is printed.
    """

    number: int
    title: str
    source: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    about: dict[str, str]
    values: tuple[tuple[float | None, ...], ...]

    def value(self, row: str, column: str) -> float | None:
        """One cell.

        Raises:
            SettingError: no such row or column.
        """
        for kind, name, known in (("row", row, self.rows), ("column", column, self.columns)):
            if name not in known:
                raise SettingError(
                    f"{name!r} is no {kind} of Table {self.number}. It has: {', '.join(known)}."
                )
        return self.values[self.rows.index(row)][self.columns.index(column)]


@cache
def published(table: int) -> PublishedTable:
    """Table 3 (MVTec AD), 4 (VisA), 5 (DAGM 2007), or one of the ablations 6 to 9.

    Raises:
        SettingError: no such table.
    """
    tables = json.loads(files("ltad.data").joinpath("published.json").read_text("utf-8"))["tables"]
    if str(table) not in tables:
        raise SettingError(f"table is {table!r}, but it must be one of {', '.join(tables)}.")
    entry = tables[str(table)]
    return PublishedTable(
        number=int(table), title=entry["title"], source=entry["source"], note=entry["note"],
        columns=tuple(entry["columns"]),
        rows=tuple(row["name"] for row in entry["rows"]),
        about={row["name"]: row["about"] for row in entry["rows"] if "about" in row},
        values=tuple(tuple(row["values"]) for row in entry["rows"]),
    )
