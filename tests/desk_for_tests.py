"""A real desk to test on: a scored batch, and a person who went through it."""

from __future__ import annotations

import numpy as np

from ltad.inference.registry import ModelRegistry
from ltad.io.masks import decode_mask, encode_mask
from ltad.review.database import Database
from ltad.review.images import ImageStore
from ltad.review.records import NewItem
from ltad.review.worker import BatchRunner

NASTY = "=HYPERLINK(\"http://a\")\r\n<script>alert(1)</script>, 'quoted'; größer ✓"
EVIL_NAME = "../../etc/-1+1 <b>.png"


class Desk:
    """A scored batch of rendered parts: two of one content, one broken, one with an evil name."""

    def __init__(self, folder, scorer, files) -> None:
        self.database = Database(folder / "desk.sqlite")
        self.images = ImageStore(folder / "pictures")
        self.registry = ModelRegistry(scorer)
        new = [NewItem(str(i) + f.name, self.images.put(f.read_bytes()))
               for i, f in enumerate(files)]
        new += [NewItem("twin.png", new[0].content_key), NewItem(EVIL_NAME, new[1].content_key),
                NewItem("broken.png", "", "broken.png is empty (0 bytes).")]
        runner = BatchRunner(self.database, self.images, self.registry)
        self.id = runner.open_batch("Line 4 <morning>", "Ada", None, {"minimum_area": 0.01}, new).id
        assert runner.wait(self.id, 120).state == "finished"

    @property
    def batch(self):
        return self.database.batch(self.id)

    @property
    def items(self):
        return self.database.items(self.id)

    @property
    def stores(self):
        return self.batch, self.items, self.database, self.images

    def item(self, name):
        return next(item for item in self.items if item.file_name == name)

    def decide(self, item, verdict, mask=None, **words):
        key = "" if mask is None else self.database.put_blob(encode_mask(mask))
        self.database.decide(item.id, verdict, words.pop("person", "Ada"), mask_key=key, **words)

    def decisions(self):
        """Everything that a restored decision must have again, by position."""
        def mask(key):
            return decode_mask(self.database.blob(key)).tolist() if key else None
        return {
            item.position: (d.verdict, d.defect_type, d.note, d.person, mask(d.mask_key),
                            d.model, d.threshold, d.score, d.created)
            for item in self.items if (d := item.decision) and d.verdict
        }

    def review(self):
        """Decide on most images, with masks, as two people might."""
        items = sorted(self.items, key=lambda item: item.position)
        stroke = np.zeros((96, 96), dtype=bool)
        stroke[10:20, 30:33] = stroke[70:75, 70:90] = True
        ring = np.zeros((96, 96), dtype=bool)
        ring[40:60, 40:60] = True
        ring[45:55, 45:55] = False
        self.decide(items[0], "good")
        self.decide(items[0], "defective", stroke, defect_type="scratch", note=NASTY)
        self.decide(items[1], "defective", ring, defect_type="dent")
        self.decide(items[2], "defective", person="Bo", defect_type="-scratch")
        self.decide(items[3], "good", stroke, note="painted, then found to be dirt")
        self.decide(items[4], "unsure", np.zeros((96, 96), dtype=bool), note="NA")
        self.decide(items[5], "defective", person="Bo")
        self.database.undo(self.id, "Bo")
        self.decide(self.item("twin.png"), "unsure", note="'=1")
        self.decide(self.item(EVIL_NAME), "defective", ring)
        self.decide(self.item("broken.png"), "unsure", note="cannot be opened")
