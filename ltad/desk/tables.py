"""A batch as a table: one row an item, with what the model and the person said of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import pandas

from ltad.desk.database import Database
from ltad.desk.evidence import Thresholds, current_threshold, model_verdict
from ltad.desk.files import archive_stem
from ltad.desk.records import Batch, Item

FORMAT = 1
_GUARDED = tuple("=+-@\t\r\n＝＋－＠'")
COLUMNS = (
    "file_name", "status", "reason", "class_name", "class_probability", "is_recognised", "score",
    "reconstruction_score", "semantic_score", "threshold", "model_verdict", "verdict",
    "defect_type", "note", "person", "decided", "decided_model", "decided_threshold",
    "decided_score", "imported", "has_mask", "mask_person", "regions_at_model_limit", "width",
    "height", "archive_name", "content_key",
)


def guard(text: str) -> str:
    """`text` such that a spreadsheet shows it and never runs it; `unguard` is the inverse.

    A text that a spreadsheet could take for a formula, or that starts with an apostrophe itself,
    gets one apostrophe in front.
    """
    return f"'{text}" if text.startswith(_GUARDED) else text


def guarded(frame: pandas.DataFrame) -> pandas.DataFrame:
    """`frame` with `guard` on every text."""
    return frame.map(lambda value: guard(value) if isinstance(value, str) else value)


def unguard(text: str) -> str:
    """What `guard` was given."""
    return text[1:] if text.startswith("'") else text


def row(item: Item, thresholds: Thresholds | None = None) -> dict[str, Any]:
    """One item's values by `COLUMNS`; None where there is none.

    `threshold` and `model_verdict` are those that count now, the `decided_` ones those that the
    person saw. `regions_at_model_limit` are those stored as the item was scored, before any other
    threshold was chosen; COCO and masks follow the threshold. `archive_name` is the stem of the
    item's files in an archive.
    """
    decision = item.decision if item.verdict else None
    values = {name: getattr(item, name, None) for name in COLUMNS}
    return {
        **values,
        "threshold": current_threshold(item, thresholds),
        "model_verdict": model_verdict(item, thresholds),
        "verdict": item.verdict,
        "defect_type": decision.defect_type if decision else "",
        "note": decision.note if decision else "",
        "person": decision.person if decision else "",
        "decided": decision.created if decision else "",
        "decided_model": decision.model if decision else "",
        "decided_threshold": decision.threshold if decision else None,
        "decided_score": decision.score if decision else None,
        "imported": decision.imported if decision else "",
        "has_mask": bool(decision and decision.mask_key),
        "mask_person": decision.mask_person if decision else "",
        "regions_at_model_limit": len(item.regions),
        "archive_name": archive_stem(item),
    }


def table(items: Iterable[Item], thresholds: Thresholds | None = None) -> pandas.DataFrame:
    """`row` of every item, columns in the order of `COLUMNS`."""
    return pandas.DataFrame([row(item, thresholds) for item in items], columns=list(COLUMNS))


def csv_text(items: Iterable[Item], thresholds: Thresholds | None = None) -> str:
    """The table as CSV (comma, CRLF), every text guarded against spreadsheet formulas."""
    return guarded(table(items, thresholds)).to_csv(index=False, lineterminator="\r\n")


def csv_bytes(items: Iterable[Item], thresholds: Thresholds | None = None) -> bytes:
    """`csv_text` in UTF-8 with the mark by which Excel knows it."""
    return csv_text(items, thresholds).encode("utf-8-sig")


def json_bytes(
    batch: Batch, items: Iterable[Item], thresholds: Thresholds | None = None,
    database: Database | None = None,
) -> bytes:
    """The batch and its rows as JSON: texts as given, regions as boxes.

    With a database every row also has its `history`, all decisions, oldest first.
    """
    content = {
        "format": FORMAT,
        "batch": {"name": batch.name, "created": batch.created, "person": batch.person,
                  "model": batch.model, "settings": batch.settings, "state": batch.state},
        "items": [{
            **row(item, thresholds), "regions_at_model_limit": list(item.regions),
            **({"history": [asdict(d) for d in database.history(item.id)]} if database else {}),
        } for item in items],
    }
    return json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1).encode()
