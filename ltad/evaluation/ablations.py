"""The paper's ablations as rows, and its published figures."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from ltad.config import Config
from ltad.data.splits import NATURAL_COUNTS
from ltad.inference.patch_bank import BANK
from ltad.io.files import generator
from ltad.types import ALL_BRANCHES, GROUPS, TASKS, SettingError

MAIN_TABLES = {"mvtec": 3, "visa": 4, "dagm": 5}
"""Data set -> the paper's table that compares methods on it."""
DATA_NAMES = {"mvtec": "MVTec AD", "visa": "VisA", "dagm": "DAGM 2007"}
ABLATED = ("mvtec", "step100")
"""Data set and split of the paper's Tables 6 to 9."""
NORMAL_PROMPTS = ("a", "a normal", "a good", "a flawless")
ABNORMAL_PROMPTS = ("a broken", "a damaged", "an abnormal", "a defective")
NAME_LENGTHS = (1, 2, 3, 4, 5)
"""Lengths of s_c to try (open: Figure 6 is a chart; the paper states its peak, 2, only)."""
IMBALANCE_FACTORS = (50, 100, 200, 500)
"""Of Figure 8, which shows DAGM 2007."""


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


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        id: the paper's number, e.g. "6.4"; its own within "main", 9 and the figures.
        name: in words.
        branch: whose scores count: "reconstruction" (without SAD), "semantic" (without RM), or
            "combined".
        changes: settings that differ from the base.
        shuffles_names: score each class with the name of another (8.1).
        is_bank: a nearest-neighbour bank in the detector's place.
        wants_encoder: what the row needs instead of the table's encoder; "" for nothing. Such a
            row runs only when it is asked for.
        split: the training set, as `ltad.data.splits.parse_split`; "" for the table's.
        source: table and row of the paper, or None where it prints no number.
        columns: "Det. All" and its like -> the column of `source` that holds it.
        method: column of the paper's Tables 3 to 5, which have a figure for each split; or "".
    """

    id: str
    name: str
    branch: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    shuffles_names: bool = False
    is_bank: bool = False
    wants_encoder: str = ""
    split: str = ""
    source: tuple[int, str] | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    method: str = ""

    def __post_init__(self) -> None:
        if self.branch not in ALL_BRANCHES:
            raise SettingError(
                f"branch of row {self.id} is {self.branch!r}, but it must be one of "
                + ", ".join(ALL_BRANCHES) + "."
            )

    def config(self, base: Config) -> Config:
        """The base settings with this row's changes. Raises SettingError where they clash."""
        return base.replace(**self.changes)

    def paper(
        self, task: str, group: str, data: str = "mvtec", split: str = "step100"
    ) -> float | None:
        """The paper's AUROC in percent, or None where it prints none.

        Args:
            task: "Det." or "Seg.".
            group: "All", "High" or "Low".
            data: a key of `MAIN_TABLES`.
            split: the training set; the row's own goes before.
        """
        split = self.split or split
        column = self.columns.get(f"{task} {group}")
        if self.source and column and (data, split) == ABLATED:
            number, row = self.source
            return published(number).value(row.format(task=task), column)
        main = published(MAIN_TABLES[data])
        if self.method and group == "All" and f"{split} {task}" in main.rows:
            return main.value(f"{split} {task}", self.method)
        return None


def reference(class_names: Collection[str], split: str) -> tuple[str, str]:
    """Data set and split whose published figures stand beside one's own: the same ones if these
    are the classes of a data set of the paper, else those of its ablations."""
    known = (name for name, counts in NATURAL_COUNTS.items() if set(counts) == set(class_names))
    data = next(known, None)
    return (data, split) if data else ABLATED


def paper_name(data: str, split: str) -> str:
    """Whose figures those are, in words."""
    return f"the paper, {DATA_NAMES[data]} {split}"


def derangement(count: int, seed: int) -> list[int]:
    """A permutation of 0..count-1 that leaves nothing in its place.

    Raises:
        SettingError: fewer than two things.
    """
    if count < 2:
        raise SettingError("Names can be shuffled among two classes or more; there is only one.")
    random = generator(seed, 60)
    while True:  # about e tries, whatever the count
        order = random.permutation(count)
        if (order != np.arange(count)).all():
            return order.tolist()


def rows_of(table: str, ids: Sequence[str] | None = None) -> tuple[Row, ...]:
    """The rows of a table, or those of them named by `ids`.

    Raises:
        SettingError: no such table or row; the message lists them.
    """
    if table not in TABLES:
        raise SettingError(f"table is {table!r}, but it must be one of {', '.join(TABLES)}.")
    rows = {row.id: row for row in TABLES[table]}
    for row_id in ids or ():
        if row_id not in rows:
            raise SettingError(f"{row_id!r} is no row of {table}. It has: {', '.join(rows)}.")
    return tuple(rows[row_id] for row_id in ids) if ids else TABLES[table]


def row_of(row_id: str) -> Row:
    """The row of that id, which belongs to one table only.

    Raises:
        SettingError: there is no such row.
    """
    for rows in TABLES.values():
        for row in rows:
            if row.id == row_id:
                return row
    raise SettingError(f"{row_id!r} is no row of any table: {', '.join(TABLES)}.")


_SIX = {f"{task} {group}": f"{task} {group}" for task in TASKS.values() for group in GROUPS}
_UNIAD = {"skip_phase1": True, "real_probability": 1.0}


def _numbered(row_id: str, branch: str, **details: Any) -> Row:
    """A row of Tables 6 to 8, whose figures stand under its own number."""
    table = published(int(row_id[0]))
    return Row(row_id, table.about[row_id], branch, source=(table.number, row_id), columns=_SIX,
               **details)


def _imbalance(split: str) -> tuple[Row, ...]:
    """The methods of Figure 8 on one training set."""
    methods = (
        ("UniAD", "reconstruction", _UNIAD, ""),  # the paper's is on EfficientNet
        ("LTAD without SAD", "reconstruction", {}, "LTAD w/o SAD"),
        ("LTAD", "combined", {}, "LTAD"),
    )
    return tuple(
        Row(f"figure8.{split}.{number}", f"{split}: {name}", branch, changes, split=split,
            method=method)
        for number, (name, branch, changes, method) in enumerate(methods, start=1)
    )


def _prompt_pair(number: int, normal: str, abnormal: str) -> Row:
    """A cell of Table 9."""
    return Row(
        f"9.{number}", f"{normal} / {abnormal}", "semantic",
        {"normal_prompt": normal, "abnormal_prompt": abnormal}, source=(9, normal),
        columns={f"{task} All": f"{abnormal} {task}" for task in TASKS.values()},
    )


_PUBLISHED = {
    "standardize": False, "balance_classes": False, "residual": "squared", "views": "none",
    "semantic_start": "random", "good_units": False, "reference_size": 0, "reference_weight": 0.0,
    "border_weight": 1.0,
}
"""LTAD without what the preset "demo" adds to it."""
_UNITS = {"good_units": True, "lam": 1.0}


def _change(number: int, name: str, branch: str, *changes: str, **others: Any) -> Row:
    """A row of "changes": the published settings but for those named, which stay the base's."""
    published = {key: value for key, value in _PUBLISHED.items() if key not in changes}
    return Row(f"changes.{number}", name, branch, {**published, **others})


TABLES: dict[str, tuple[Row, ...]] = {
    "main": (
        # On the same encoder as LTAD, as in row 6.2; Tables 3 to 5 print UniAD on EfficientNet's.
        Row("main.1", "UniAD", "reconstruction", _UNIAD, source=(6, "6.2"), columns=_SIX),
        Row("main.2", "LTAD without SAD", "reconstruction", method="LTAD w/o SAD"),
        Row("main.3", "LTAD", "combined", method="LTAD"),
        Row("main.4", BANK, "combined", is_bank=True),
        Row("main.5", "LTAD without the reference branch", "combined", {"reference_size": 0}),
        Row("main.6", "Reference branch alone", "reference", {"reference_size": 256}),
    ),
    "table6": (
        _numbered("6.1", "reconstruction", changes=_UNIAD,
                  wants_encoder="an EfficientNet trained on ImageNet, in ALIGN's format"),
        _numbered("6.2", "reconstruction", changes=_UNIAD),
        _numbered("6.3", "reconstruction", changes={"synthesis": "plain_autoencoder"}),
        _numbered("6.4", "reconstruction", changes={"distribution_aware": True}),
        _numbered("6.5", "reconstruction",
                  changes={"name_init": "class_name", "learn_names": False}),
        _numbered("6.6", "reconstruction", changes={"name_init": "class_name"}),
        _numbered("6.7", "reconstruction", changes={"name_init": "random"}),
        _numbered("6.8", "reconstruction"),
    ),
    "table7": (
        _numbered("7.1", "semantic", changes={"layer_pooling": "none"}),
        _numbered("7.2", "semantic", changes={"layer_pooling": "mean"}),
        # The paper does not list its several prompts (open); Table 9's are the ones it names.
        _numbered("7.3", "semantic", changes={
            "normal_prompt": " | ".join(NORMAL_PROMPTS),
            "abnormal_prompt": " | ".join(ABNORMAL_PROMPTS),
        }),
        _numbered("7.4", "semantic"),
    ),
    "table8": (
        _numbered("8.1", "semantic", shuffles_names=True),
        _numbered("8.2", "semantic", changes={"text_classifier": "learned"}),
        _numbered("8.3", "semantic"),
    ),
    "table9": tuple(
        _prompt_pair(number, normal, abnormal)
        for number, (normal, abnormal) in enumerate(
            ((n, a) for n in NORMAL_PROMPTS for a in ABNORMAL_PROMPTS), start=1
        )
    ),
    "figure6": tuple(
        Row(f"figure6.{length}", f"length of s_c: {length}", "reconstruction",
            {"name_length": length})
        for length in NAME_LENGTHS
    ),
    "figure8": tuple(
        row
        for kind in ("exp", "step") for factor in IMBALANCE_FACTORS
        for order in ("", "-reversed") for row in _imbalance(f"{kind}{factor}{order}")
    ),
    "changes": (
        _change(1, "reconstruction as published", "reconstruction"),
        _change(2, "channels standardised", "reconstruction", "standardize"),
        _change(3, "classes drawn equally", "reconstruction", "balance_classes"),
        *(_change(4 + i, f"residual: {kind}", "reconstruction", residual=kind)
          for i, kind in enumerate(("scaled", "cosine", "mahalanobis", "nearest"))),
        _change(8, "reconstruction, all of these", "reconstruction", "standardize",
                "balance_classes", residual="nearest"),
        _change(9, "LTAD as published", "combined", lam=500.0),
        _change(10, "units of good images, lambda 1", "combined", **_UNITS),
        _change(11, "Phi from the encoder's own, lambda 1", "combined", "semantic_start", **_UNITS),
        _change(12, "reference branch alone", "reference", "reference_size", "good_units"),
        _change(13, "reference branch alone, images turned", "reference", "reference_size",
                "good_units", "views"),
        Row("changes.14", "all together", "combined"),
        Row("changes.15", BANK, "combined", is_bank=True),
        Row("changes.16", "all together, borders counted in full", "combined",
            {"border_weight": 1.0}),
    ),
}
