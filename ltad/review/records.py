"""What the desk keeps, as plain frozen records. Times are ISO 8601 in UTC, to the millisecond."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from ltad.types import LTADError

VERDICTS = ("good", "defective", "unsure")
BATCH_STATES = ("running", "finished", "cancelled")
THRESHOLD_MODES = ("rate", "score", "f1", "miss")


class DeskError(LTADError):
    """The desk cannot do that: no such batch or item, a damaged or a newer database, a bad file."""


class ConflictError(DeskError):
    """Somebody else decided on the item since it was looked at; the message says who, what, when.

    Attributes:
        current: the decision that stands now, or None if there is none.
    """

    def __init__(self, message: str, current: Decision | None) -> None:
        super().__init__(message)
        self.current = current


@dataclass(frozen=True)
class Batch:
    """Images that were brought together, and the settings they are scored under.

    Attributes:
        id: counts up from 1.
        name: for people; need not be unique.
        created: when.
        person: who brought it.
        model: name of the model (`ltad.inference.registry.ModelRegistry`).
        settings: normal_prompt, abnormal_prompt, lam, tau, false_alarm_rate, class_name,
            minimum_area; what is missing or None takes the model's own value.
        state: one of `BATCH_STATES`.
        total, scored, failed, decided: counts of items; decided ones have a verdict.
        deleted, deleted_by: when and by whom it was deleted, or "" (`ltad.review.database`).
        erased: when its images were given up, or "".
    """

    id: int
    name: str
    created: str
    person: str
    model: str
    settings: dict[str, Any]
    state: str
    total: int
    scored: int
    failed: int
    decided: int
    deleted: str = ""
    deleted_by: str = ""
    erased: str = ""


@dataclass(frozen=True)
class NewItem:
    """An image on its way into a batch.

    Attributes:
        file_name: as the person knows it, with folders of a zip.
        content_key: SHA-256 of the file's bytes, 64 hexadecimal digits; "" for a broken file.
        reason: why the file is broken; "" for a usable one.
    """

    file_name: str
    content_key: str
    reason: str = ""


@dataclass(frozen=True)
class ItemResult:
    """What the model says of one item; fields as in `Item`."""

    width: int
    height: int
    class_name: str
    class_probability: float
    is_recognised: bool
    score: float
    reconstruction_score: float | None
    semantic_score: float
    threshold: float
    regions: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class Decision:
    """One entry of an item's history. Entries are appended, never changed.

    Attributes:
        id: counts up over all decisions.
        item_id: the item.
        revision: 1, 2, ... within the item.
        verdict: one of `VERDICTS`, or "" when the item was taken back to undecided.
        defect_type, note: the person's words, or "".
        mask_key: key of the corrected mask (`Database.blob`), or "".
        person, created: who and when; of an imported one, as the file says it.
        model, threshold, score: what the model said at that moment; the numbers may be None.
        undoes: id of the decision that this entry undid, or None.
        imported: when it came out of a file, or "" if it was made here.
        mask_person: whose decision brought the mask, which later ones of other people may keep; ""
            without a mask.
    """

    id: int
    item_id: int
    revision: int
    verdict: str
    defect_type: str
    note: str
    mask_key: str
    person: str
    created: str
    model: str
    threshold: float | None
    score: float | None
    undoes: int | None = None
    imported: str = ""
    mask_person: str = ""


@dataclass(frozen=True)
class Item:
    """An image of a batch: what the model says, and what people say.

    Attributes:
        id, batch_id, position: position counts from 0 in the order of arrival.
        file_name, content_key: as in `NewItem`.
        status: "waiting", "scored", "failed" or "cancelled".
        reason: why it failed, or "".
        width, height: of the upright image in pixels; 0 before it is scored.
        class_name: the class it was scored as, or "".
        class_probability: of that class, in [0, 1].
        is_recognised: False when the image looks like none of the classes.
        score, reconstruction_score, semantic_score: as in `ltad.types.Detection`; None before.
        threshold: the model's own at scoring time; the one that counts now may be another
            (`ltad.review.thresholds`).
        regions: left, top, right, bottom, area (image pixels) and score of each, highest first.
        duplicate_of: id of the item with the same content that was scored in its place, or None.
        is_judged: as in `ltad.types.Detection`; False when it looks like none of the classes and
            the batch names none.
        decision: the latest entry of its history, or None. An undone one has verdict "".
    """

    id: int
    batch_id: int
    position: int
    file_name: str
    content_key: str
    status: str
    reason: str
    width: int
    height: int
    class_name: str
    class_probability: float
    is_recognised: bool
    score: float | None
    reconstruction_score: float | None
    semantic_score: float | None
    threshold: float | None
    regions: tuple[dict[str, Any], ...]
    duplicate_of: int | None
    is_judged: bool
    decision: Decision | None

    @property
    def revision(self) -> int:
        """Of the latest decision, 0 if there is none: the next `expected_revision`."""
        return self.decision.revision if self.decision else 0

    @property
    def verdict(self) -> str:
        """The person's verdict now, or ""."""
        return self.decision.verdict if self.decision else ""

    @property
    def defect_type(self) -> str:
        """The person's word for the defect now, or ""."""
        return self.decision.defect_type if self.decision else ""

    @property
    def mask_key(self) -> str:
        """Key of the corrected mask now, or ""."""
        return self.decision.mask_key if self.decision else ""

    @property
    def is_anomalous(self) -> bool:
        """Whether the model called it anomalous at scoring time."""
        return is_above(self)


class ItemSummary(NamedTuple):
    """An item's row in a long list; fields as in `Item`. A tuple, because thousands are made."""

    id: int
    position: int
    file_name: str
    content_key: str
    status: str
    reason: str
    class_name: str
    is_recognised: int
    score: float | None
    threshold: float | None
    duplicate_of: int | None
    verdict: str
    revision: int


def current_threshold(
    item: Item | ItemSummary, thresholds: Mapping[str, float] | None = None
) -> float | None:
    """The threshold of the item's class among those, or its own; None before it is scored."""
    return (thresholds or {}).get(item.class_name, item.threshold)


def is_above(item: Item | ItemSummary, thresholds: Mapping[str, float] | None = None) -> bool:
    """Whether the item is scored, and above its `current_threshold`."""
    threshold = current_threshold(item, thresholds)
    return item.score is not None and threshold is not None and item.score > threshold


@dataclass(frozen=True)
class ThresholdChoice:
    """How the alarm threshold of a class, or of all classes, is found.

    Attributes:
        mode: "rate": the model's calibrated limit at false-alarm rate `value`; "score": `value`
            itself; "f1": the best F1 on the reviewed items, `value` unused; "miss": the highest
            threshold that misses at most the share `value` of the reviewed defective items.
        value: a rate in (0, 1), a score, unused, or a share in [0, 1).
    """

    mode: str
    value: float = 0.0


@dataclass(frozen=True)
class ThresholdSetting:
    """One time that somebody chose a threshold, or took a choice back.

    Attributes:
        id: counts up in time.
        choice: None takes the choice back.
        person, created: who and when; "" for choices older than this record of them.
    """

    id: int
    choice: ThresholdChoice | None
    person: str
    created: str


@dataclass(frozen=True)
class IgnoreSetting:
    """One time that somebody set the area that a class ignores.

    Attributes:
        id: counts up in time.
        mask_key: of the mask's blob, or "" where nothing is ignored.
        person, created: who and when.
    """

    id: int
    mask_key: str
    person: str
    created: str


class Reviewed(NamedTuple):
    """A scored item on which somebody decided good or defective."""

    class_name: str
    score: float
    is_defective: int


@dataclass(frozen=True)
class Progress:
    """How far a batch is.

    Attributes:
        done: items that need no more work, failed ones included.
        total, failed: items.
        images_per_second: of late, or 0.0 when unknown.
        seconds_left: or None when unknown.
        state: of the batch.
    """

    done: int
    total: int
    failed: int
    images_per_second: float
    seconds_left: float | None
    state: str


def now() -> str:
    """The time in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def check_text(label: str, text: str, length: int, is_required: bool = False) -> str:
    """`text` without surrounding space.

    Raises:
        DeskError: it is too long, or missing where it is required.
    """
    text = text.strip()
    if len(text) > length:
        raise DeskError(f"The {label} has {len(text)} characters, but at most {length} fit.")
    if is_required and not text:
        raise DeskError(f"The {label} is empty. Give one.")
    return text


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
