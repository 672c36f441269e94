"""A batch as a COCO file: images, annotations with boxes and masks, and a category a defect type.

Only regions that count are annotated (`ltad.review.evidence.gather`). A part that a person called
defective carries its defect type as category, or "defect"; one on which the person is unsure,
"unsure"; one on which only the model decided, "anomalous". Masks are run-lengths, because polygons
can hold neither holes nor exact pixels. Every image has a field ``ltad`` with what the model and
the person said, enough to restore the decision (`ltad.review.imports`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ltad.inference.scorer import Scorer
from ltad.io import masks
from ltad.io.masks import decode_mask
from ltad.review.database import Database
from ltad.review.evidence import Evidence, Thresholds, gather, model_verdict
from ltad.review.files import whole_file
from ltad.review.images import ImageStore
from ltad.review.records import Batch, Item, current_threshold
from ltad.types import LTADError

FORMAT = 1
COCO_FILE = "coco.json"
"""Its name in an archive."""


class CocoDocument:
    """Collects a batch item by item; masks are kept as short texts, so thousands fit in memory.

    Args:
        batch: the batch.
        database: where the corrected masks are.
        thresholds: that count now.

    Attributes:
        problems: a sentence for each thing that had to be left out.
    """

    def __init__(
        self, batch: Batch, database: Database, thresholds: Thresholds | None = None
    ) -> None:
        self._batch = batch
        self._database = database
        self._thresholds = thresholds
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._categories: dict[str, int] = {}
        self.problems: list[str] = []

    def add(self, item: Item, evidence: Evidence | None) -> None:
        """Append an item; without evidence it is listed with its decision but not annotated."""
        self._images.append({
            "id": item.id, "file_name": item.file_name, "width": item.width,
            "height": item.height, "ltad": self._facts(item),
        })
        if evidence is None:
            return
        for region in evidence.regions:
            self._annotations.append({
                "id": len(self._annotations) + 1,
                "image_id": item.id,
                "category_id": self._category(item),
                "bbox": [region.left, region.top,
                         region.right - region.left, region.bottom - region.top],
                "area": region.area,
                "segmentation": masks.encode(
                    region.inside, region.left, region.top, (item.width, item.height)
                ),
                "iscrowd": 0,
                "ltad": {"source": evidence.source, "score": region.score},
            })

    def document(self) -> dict[str, Any]:
        """The file's content."""
        batch = self._batch
        return {
            "info": {
                "description": batch.name, "date_created": batch.created,
                "ltad": {"format": FORMAT, "model": batch.model, "settings": batch.settings,
                         "person": batch.person},
            },
            "licenses": [],
            "images": self._images,
            "annotations": self._annotations,
            "categories": [
                {"id": number, "name": name, "supercategory": "defect"}
                for name, number in self._categories.items()
            ],
        }

    def pieces(self) -> Iterator[str]:
        """The document as JSON, piece by piece."""
        return json.JSONEncoder(ensure_ascii=False, allow_nan=False).iterencode(self.document())

    def _category(self, item: Item) -> int:
        if item.verdict == "defective":
            name = item.defect_type or "defect"
        else:
            name = "unsure" if item.verdict else "anomalous"
        return self._categories.setdefault(name, len(self._categories) + 1)

    def _facts(self, item: Item) -> dict[str, Any]:
        return {
            "content_key": item.content_key,
            "class_name": item.class_name,
            "model_verdict": model_verdict(item, self._thresholds),
            "score": item.score,
            "reconstruction_score": item.reconstruction_score,
            "semantic_score": item.semantic_score,
            "threshold": current_threshold(item, self._thresholds),
            "decision": self._decision(item) if item.verdict else None,
        }

    def _decision(self, item: Item) -> dict[str, Any]:
        names = ("verdict", "defect_type", "note", "person", "created", "model", "threshold",
                 "score", "imported", "mask_person")
        facts = {name: getattr(item.decision, name) for name in names}
        if not item.mask_key:
            return {**facts, "mask": None}
        try:
            mask = decode_mask(
                self._database.blob(item.mask_key), f"The mask of {item.file_name}"
            )
        except LTADError as error:
            self.problems.append(str(error))
            return {**facts, "mask": None}
        return {**facts, "mask": masks.encode(mask, 0, 0, mask.shape[::-1])}


def write_coco(
    path: str | Path,
    batch: Batch,
    items: Iterable[Item],
    database: Database,
    images: ImageStore,
    scorer: Scorer | None,
    thresholds: Thresholds | None = None,
) -> list[str]:
    """Write a batch as one COCO file.

    Args:
        path: the file.
        batch, items: what to write.
        database, images: where masks and images are kept.
        scorer: the batch's model; None annotates corrected masks only.
        thresholds: that count now.

    Returns:
        A sentence for each item that could not be annotated.

    Raises:
        DeskError: the file cannot be written.
    """
    document = CocoDocument(batch, database, thresholds)
    for item in items:
        evidence = None
        if item.status == "scored":
            try:
                evidence = gather(item, batch, database, images, scorer, thresholds)
            except LTADError as error:
                document.problems.append(f"{item.file_name}: {error}")
        document.add(item, evidence)
    with whole_file(path) as partial, partial.open("w", encoding="utf-8") as file:
        file.writelines(document.pieces())
    return document.problems
