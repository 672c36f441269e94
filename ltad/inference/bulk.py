"""Images by the million into a folder: in shards, each image once, by workers that come and go.

A shard is done when its part is there, which is written under another name and renamed; while a
worker is at it, the system holds its lock. So nothing is to be tidied up after a kill, and the
workers, on however many machines, need not know of each other.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import Timeout
from tqdm import tqdm

from ltad.data.inputs import Input
from ltad.inference.batching import batch_size
from ltad.inference.bulk_plan import LOCKS, Plan, held_lock, open_plan, read_plan, write_table
from ltad.inference.feature_store import AHEAD, DECODERS
from ltad.inference.scorer import Scorer
from ltad.io.images import Prepared, read_image
from ltad.io.threads import in_order
from ltad.types import BRANCH_TABLE, DatasetError, Detection, ImageError

WAIT_SECONDS = 1.0
"""Until the next look at shards all of which are in other workers' hands."""
UNREADABLE = "unreadable"
COLUMNS = {
    "path": "string", "class_name": "string", "is_known": "bool", "verdict": "string",
    "score": "double", "threshold": "double",
    **{branch.score: "double" for branch in BRANCH_TABLE[1:]}, "regions": "int32",
    "error": "string",
}


@dataclass(frozen=True)
class Summary:
    """What was found in all images, and what this worker did for it.

    Attributes:
        images: of the whole plan.
        verdicts: verdict, or "unreadable" -> images.
        scored: images that this worker dealt with.
        seconds: from its first look at the shards to the end of all.
    """

    images: int
    verdicts: dict[str, int]
    scored: int
    seconds: float

    def __str__(self) -> str:
        kinds = ("anomalous", "normal", "not judged", UNREADABLE)
        counts = ", ".join(f"{self.verdicts.get(kind, 0)} {kind}" for kind in kinds)
        speed = f", {self.scored / self.seconds:.1f} images a second" if self.scored else ""
        return f"{self.images} images: {counts}; {self.scored} of them scored here{speed}"


def score_into(
    folder: str | Path, scorer: Scorer, images: Sequence[str | Path] = (),
    listed: str | Path | None = None, shard_size: int | None = None, progress: bool = True,
    **settings: Any,
) -> Summary:
    """Score images into a folder, beside whoever else works on it; returns when all are done.

    Args:
        folder: planned by the first who comes; whoever comes later goes on with it.
        scorer: the model; a disk cache of features would be of no use.
        images: files, folders and tars, see `ltad.data.inputs.find_files`. Where there is a plan,
            they and `listed` may be left out: they are then not compared with the planned ones.
        listed: a text file with one such path a line.
        shard_size: images in a part; by default 1,000, or as planned.
        progress: show a bar on stderr.
        settings: `class_name`, `normal_prompt`, `abnormal_prompt`, `lam`, `tau` and
            `false_alarm_rate` of `Scorer.score_batch`.

    Raises:
        DatasetError: no image, or an input that cannot be listed; or the folder was planned with
            other images, another model or other settings, or cannot be written or locked.
        UnknownClassError, PromptError, SettingError: see `Scorer.score`.
    """
    plan = open_plan(folder, scorer, images, listed, shard_size, **settings)
    began, scored, left = time.monotonic(), 0, _round(plan.shards)
    with (
        ThreadPoolExecutor(DECODERS) as pool,
        tqdm(total=plan.images, desc="scoring", unit="image", disable=not progress) as bar,
    ):
        while left:
            held = []
            for shard in left:
                try:
                    scored += _see_to(plan, shard, scorer, pool, bar)
                except Timeout:
                    held.append(shard)
            if held == left:
                time.sleep(WAIT_SECONDS)
            left = held
    return Summary(plan.images, _verdicts(plan), scored, time.monotonic() - began)


def read(folder: str | Path) -> pd.DataFrame:
    """A row an image, in the planned order.

    Columns: path (absolute; ``archive.tar/member`` for one in a tar), class_name, is_known (it
    looks like one of the model's classes), verdict, score, threshold, each branch's score (missing
    where the model has no such branch), regions (how many there are) and error. An image that could
    not be read has its path and, as error, the reason; all others have no error.

    Raises:
        DatasetError: there is no plan, or parts are missing.
    """
    import pyarrow as pa
    from pyarrow import parquet

    parts = read_plan(folder).parts
    missing = [part.name for part in parts if not part.exists()]
    if missing:
        raise DatasetError(
            f"{folder} is not finished: {len(missing)} of {len(parts)} parts are missing, the "
            f"first is {missing[0]}. Start the same command again."
        )
    table = pa.concat_tables(
        parquet.read_table(part, partitioning=None)  # pyright: ignore[reportArgumentType]
        for part in parts
    )
    with_missing = {pa.int32(): pd.Int32Dtype(), pa.bool_(): pd.BooleanDtype()}
    return table.to_pandas(types_mapper=with_missing.get)


def _round(shards: int) -> list[int]:
    """All shards, beginning elsewhere in each of several workers that were started together."""
    rank, ranks = _number("RANK", 0), _number("WORLD_SIZE", 1)
    task, tasks = _number("SLURM_ARRAY_TASK_ID", 0), _number("SLURM_ARRAY_TASK_COUNT", 1)
    first = (task * ranks + rank) * shards // max(tasks * ranks, 1) % shards
    return [*range(first, shards), *range(first)]


def _number(variable: str, otherwise: int) -> int:
    text = os.environ.get(variable, "")
    return int(text) if text.isdecimal() else otherwise


def _see_to(
    plan: Plan, shard: int, scorer: Scorer, pool: ThreadPoolExecutor, bar: tqdm[Any]
) -> int:
    """Have a shard's part: how many images were scored for it. Raises Timeout where another worker
    is at it."""
    part = plan.part(shard)
    if not part.exists():
        with held_lock(plan.folder / LOCKS / f"{shard:05d}.lock", timeout=0):
            if not part.exists():  # it may have been finished meanwhile
                rows = _rows(plan, shard, scorer, pool, bar)
                columns = {name: [row.get(name) for row in rows] for name in COLUMNS}
                write_table(part, columns, COLUMNS, len(rows))
                return len(rows)
    bar.update(plan.size(shard))
    return 0


def _rows(
    plan: Plan, shard: int, scorer: Scorer, pool: ThreadPoolExecutor, bar: tqdm[Any]
) -> list[dict[str, Any]]:
    """Score the images of a shard."""
    rows, inputs = [], plan.inputs(shard)
    prepared = in_order(pool, partial(_decode, scorer), inputs, AHEAD)
    decoded = zip(inputs, prepared, strict=True)
    while batch := list(islice(decoded, batch_size(scorer.encoder.device))):
        readable = [image for _, image in batch if isinstance(image, Prepared)]
        detections = iter(scorer.score_batch(readable, **plan.settings))
        rows += [_row(one.path, next(detections)) if isinstance(image, Prepared)
                 else {"path": one.path, "error": image} for one, image in batch]
        bar.update(len(batch))
    return rows


def _decode(scorer: Scorer, image: Input) -> Prepared | str:
    try:
        prepared = scorer.prepare(read_image(image.source(), image.path))
    except ImageError as error:
        return str(error)
    except Exception as error:  # one broken image must not stop the others
        return f"{image.path} cannot be read ({error or type(error).__name__})."
    # A copy in another batch may differ in its last digit, and whether this worker still remembers
    # it is chance. Under a key of its own every image is computed in its own batch.
    return replace(prepared, key=f"{image.path} {prepared.key}")


def _row(path: str, found: Detection) -> dict[str, Any]:
    own = {name: getattr(found, name) for name in COLUMNS if hasattr(found, name)}
    return {**own, "path": path, "is_known": found.is_recognised, "regions": len(found.regions)}


def _verdicts(plan: Plan) -> dict[str, int]:
    from pyarrow import parquet

    counts: Counter[str] = Counter()
    for part in plan.parts:
        with parquet.ParquetFile(part) as file:
            counts.update(verdict or UNREADABLE
                          for verdict in file.read(["verdict"])["verdict"].to_pylist())
    return counts
