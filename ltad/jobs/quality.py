"""Images that may not belong: near twins, another part, another size, blank ones, too few.

Everything here is a warning for a person to judge; nothing is left out by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

from ltad.jobs.dataset import Facts

FEWEST, HOLDABLE, BETTER = 4, 10, 20
"""Images of a part: what training asks for, what lets some be held out, what is recommended."""
TWIN_LEVELS = 2.0
"""Grey levels by which two images, cut to 64 x 64, differ (root mean square) when they are
saved twice from one photograph; two photographs of a part on one fixture differ by more."""
BLANK_LEVELS = 2.0
OUTLIER = 1.6
"""Distance to the part's other images, as a multiple of what is usual in that part."""
ASPECT = 0.1


@dataclass(frozen=True)
class QualityWarning:
    """One warning about an image, or about a part as a whole.

    Attributes:
        part: whose.
        image: the file it is about; "" for the part as a whole.
        kind: "twin", "another part", "size", "blank" or "few".
        text: the warning as a sentence.
    """

    part: str
    image: str
    kind: str
    text: str

    def record(self) -> dict[str, str]:
        """As plain data; the API calls the image "picture"."""
        return {"part": self.part, "picture": self.image, "kind": self.kind, "text": self.text}


def find_warnings(facts: Mapping[str, Sequence[Facts]], image_size: int) -> list[QualityWarning]:
    """Warnings about the images to learn from.

    Args:
        facts: part -> its images.
        image_size: side of the model's input in pixels.
    """
    found = []
    is_any_holdable = any(len(own) >= HOLDABLE for own in facts.values())
    for part, own in facts.items():
        found += _few(part, len(own), is_any_holdable)
        found += _blank(part, own) + _sizes(part, own, image_size)
    return found + _twins(facts) + _strangers(facts)


def _few(part: str, count: int, is_any_holdable: bool) -> list[QualityWarning]:
    if count < FEWEST:
        text = f"{count} of the {FEWEST} images that training needs at least."
    elif count < HOLDABLE:
        source = (
            "this part's threshold comes from the other parts" if is_any_holdable else
            "the threshold comes from the very images learnt from and raises more false alarms"
        )
        text = (f"With {count} images none can be held out, so {source}. {HOLDABLE} are enough "
                f"for a threshold of its own, {BETTER} are better.")
    elif count < BETTER:
        text = f"{count} images will do; {BETTER} give a steadier threshold."
    else:
        return []
    return [QualityWarning(part, "", "few", text)]


def _blank(part: str, own: Sequence[Facts]) -> list[QualityWarning]:
    return [QualityWarning(part, f.name, "blank", "Shows one flat tone and nothing else.")
            for f in own if f.small.std() < BLANK_LEVELS]


def _sizes(part: str, own: Sequence[Facts], image_size: int) -> list[QualityWarning]:
    if not own:
        return []
    usual_aspect = float(np.median([f.width / f.height for f in own]))
    usual_side = float(np.median([min(f.width, f.height) for f in own]))
    found = []
    for f in own:
        aspect, side, size = f.width / f.height, min(f.width, f.height), f"{f.width} x {f.height}"
        if abs(np.log(aspect / usual_aspect)) > ASPECT:
            text = f"Is {size}: its proportions are not those of this part's other images."
        elif side < usual_side / 2:
            text = f"Is {size}: less than half as large as this part's other images."
        elif side < image_size / 2:
            text = f"Is {size}: much smaller than the {image_size} pixels that the model looks at."
        else:
            continue
        found.append(QualityWarning(part, f.name, "size", text))
    return found


def _twins(facts: Mapping[str, Sequence[Facts]]) -> list[QualityWarning]:
    """Images that are all but the same as an earlier one, of any part; also if one is brighter
    than the other throughout."""
    every = [(part, f) for part, own in facts.items() for f in own]
    if len(every) < 2:
        return []
    small = np.stack([f.small.reshape(-1) for _, f in every]).astype(np.float32)
    small -= small.mean(axis=1, keepdims=True)
    apart = cdist(small, small) / np.sqrt(small.shape[1])
    found = []
    for later, (part, f) in enumerate(every):
        earlier = np.flatnonzero(apart[later, :later] < TWIN_LEVELS)
        if len(earlier) and f.small.std() >= BLANK_LEVELS:
            other_part, other = every[int(earlier[0])]
            where = "" if other_part == part else f" of {other_part}"
            found.append(QualityWarning(part, f.name, "twin",
                                        f"Is nearly the same image as {other.name}{where}."))
    return found


def _strangers(facts: Mapping[str, Sequence[Facts]]) -> list[QualityWarning]:
    """Images that look unlike the others of their part, or more like another part."""
    facts = {part: own for part, own in facts.items() if len(own) >= FEWEST}
    if not facts:
        return []
    vectors = {part: np.stack([f.descriptor for f in own]) for part, own in facts.items()}
    spread = np.sqrt(np.mean([v.var(axis=0) for v in vectors.values()], axis=0))
    scaled = {part: v / (spread + 1e-3 * spread.mean() + 1e-9) for part, v in vectors.items()}
    found = []
    for part, own in facts.items():
        within = cdist(scaled[part], scaled[part])
        np.fill_diagonal(within, np.nan)
        usual = np.nanmedian(within, axis=1)
        others = {p: np.median(cdist(scaled[part], v), axis=1)
                  for p, v in scaled.items() if p != part}
        for index, f in enumerate(own):
            nearest = min(others, key=lambda p, i=index: others[p][i], default=None)
            if nearest is not None and others[nearest][index] < usual[index]:
                text = f"Looks more like {nearest} than like the other images of {part}."
            elif usual[index] > OUTLIER * np.median(usual):
                text = f"Looks unlike the other images of {part}. Is it the same part, and good?"
            else:
                continue
            found.append(QualityWarning(part, f.name, "another part", text))
    return found
