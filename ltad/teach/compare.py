"""Two models on the same pictures, each recognising the class itself as it would for a visitor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ltad.images import read_image
from ltad.metrics import image_auroc
from ltad.service import Scorer
from ltad.teach.damage import KINDS, paint_damage
from ltad.teach.figures import model_input
from ltad.teach.lessons import FOLDER
from ltad.teach.pictures import LONGEST_SIDE, ROLES
from ltad.types import Detection, SettingError
from ltad.workspace import Workspace

MOST_PER_KIND = 12
MOST_PICTURES = 100


@dataclass(frozen=True)
class Exhibit:
    """A picture to compare models on.

    Attributes:
        title: what it is called.
        part: its part, or "" when nobody said.
        is_defective: True, False, or None when nobody said.
        image: RGB.
    """

    title: str
    part: str
    is_defective: bool | None
    image: Image.Image


@dataclass(frozen=True)
class Pair:
    """What both models say of one picture."""

    exhibit: Exhibit
    first: Detection
    second: Detection


@dataclass(frozen=True)
class Row:
    """Both models on one part's pictures of known kind; each figure is (first, second).

    Attributes:
        part: which.
        good, defective: pictures.
        auroc: of the scores, in [0, 1], or None without both kinds.
        false_alarms: good pictures called anomalous.
        found: defective ones called anomalous.
        not_judged: pictures of both kinds that look like none of the model's classes.
    """

    part: str
    good: int
    defective: int
    auroc: tuple[float | None, float | None]
    false_alarms: tuple[int, int]
    found: tuple[int, int]
    not_judged: tuple[int, int]


def uploaded(images: Sequence[tuple[str, Image.Image]]) -> list[Exhibit]:
    """Exhibits of (name, picture) pairs of which nobody said what they show."""
    if len(images) > MOST_PICTURES:
        raise SettingError(f"{len(images)} pictures; at most {MOST_PICTURES} are compared at once.")
    return [Exhibit(name, "", None, image) for name, image in images]


def own_exhibits(workspace: Workspace, scorer: Scorer) -> list[Exhibit]:
    """What a taught model can be tried on without an upload.

    The test pictures that came with its lesson; for parts without any, its held-out good pictures,
    plain and with damage painted on; where none was held out, pictures that it learnt from.
    """
    classes = scorer.checkpoint.about.get("new_classes") or scorer.class_names
    exhibits = []
    for part in classes:
        data = workspace.models / FOLDER / scorer.name / "data" / part
        exhibits += _tests(part, data) or _painted(part, data, scorer)
    return exhibits


def _tests(part: str, data: Path) -> list[Exhibit]:
    found = []
    for role, is_defective in (("test good", False), ("test defective", True)):
        paths = sorted((data / ROLES[role]).glob("*.png"))
        chosen = paths[:: -(-len(paths) // MOST_PER_KIND) or 1]
        found += [Exhibit(path.stem, part, is_defective, read_image(path)) for path in chosen]
    return found


def _painted(part: str, data: Path, scorer: Scorer) -> list[Exhibit]:
    is_held_out = scorer.checkpoint.about.get("held_out_pictures", {}).get(part, True)
    good = scorer.checkpoint.calibration[part][:MOST_PER_KIND]
    if not good:
        learnt = sorted((data / ROLES["learn"]).glob("*.png"))[:MOST_PER_KIND]
        good = [model_input(path, scorer) for path in learnt]
    origin = "held-out" if is_held_out else "learnt from"
    kinds = [list(KINDS)[n % len(KINDS)] for n in range(len(good))]
    plain = [Exhibit(f"{origin} {n}", part, False, image) for n, image in enumerate(good, 1)]
    return plain + [
        Exhibit(f"{origin} {n}, painted {kind}", part, True, paint_damage(image, kind, n)[0])
        for n, (image, kind) in enumerate(zip(good, kinds, strict=True), 1)
    ]


def compare(
    first: Scorer, second: Scorer, exhibits: Sequence[Exhibit], false_alarm_rate: float = 0.05
) -> list[Pair]:
    """Both models on every exhibit, with their own prompts, lambda and tau.

    Raises:
        SettingError: nothing to compare on.
    """
    if not exhibits:
        raise SettingError("There are no pictures to compare on. Upload some.")
    found = []
    for model in (first, second):
        images = [exhibit.image for exhibit in exhibits]
        found.append(model.score_batch(images, false_alarm_rate=false_alarm_rate))
    return [Pair(*three) for three in zip(exhibits, *found, strict=True)]


def rows_of(pairs: Sequence[Pair]) -> list[Row]:
    """One row a part, of the pictures of which it is known what they show."""
    rows = []
    for part in dict.fromkeys(p.exhibit.part for p in pairs):
        own = [p for p in pairs if p.exhibit.part == part and p.exhibit.is_defective is not None]
        if not own:
            continue
        labels = np.array([p.exhibit.is_defective for p in own])
        sides = [[p.first for p in own], [p.second for p in own]]
        alarms = [np.array([d.verdict == "anomalous" for d in side]) for side in sides]
        rows.append(Row(
            part, int((~labels).sum()), int(labels.sum()),
            tuple(image_auroc(labels, [d.score for d in side]) for side in sides),
            tuple(int(a[~labels].sum()) for a in alarms),
            tuple(int(a[labels].sum()) for a in alarms),
            tuple(sum(not d.is_judged for d in side) for side in sides),
        ))
    return rows


def reduced(image: Image.Image) -> Image.Image:
    """A picture at most as large as lessons keep them."""
    small = image.copy()
    small.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    return small
