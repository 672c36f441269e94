"""What a batch costs: ``python -m ltad.bench.review`` makes a zip of mixed images and scores it.

The zip holds rendered parts in several formats and sizes, images that need care (turned, 16-bit,
CMYK, transparent, animated), duplicates, and broken files of ten kinds.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import struct
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import cycle
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ltad.synthetic.classes import PART_CLASSES, applicable_defects
from ltad.synthetic.render import render_part

SIDES = (320, 480, 640, 1024)
LARGE = (4000, 3000)
CARE = {"turned": 8, "deep": 8, "print": 6, "clear": 4, "moving": 4, "copy": 20}
"""How many of each kind that needs care."""


def part(number: int) -> Image.Image:
    """A rendered part, every third one defective; class and size go round."""
    name = PART_CLASSES[number % len(PART_CLASSES)]
    defects = applicable_defects(name)
    defect = defects[number % len(defects)] if number % 3 == 0 else None
    image = Image.fromarray(render_part(name, number, 320, defect).image)
    side = SIDES[number % len(SIDES)]
    return image.resize(LARGE if number % 30 == 7 else (side, side * 3 // 4))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """An image's file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def tricky_files() -> Iterator[tuple[str, bytes]]:
    """Files that a careless reader shows turned, black, with wrong colours, or not at all."""
    turned = Image.Exif()
    turned[0x0112] = 6
    for n in range(CARE["turned"]):
        yield f"turned {n}.jpg", encoded(part(n), "JPEG", exif=turned)
    for n in range(CARE["deep"]):
        yield f"deep {n}.png", encoded(
            Image.fromarray(np.asarray(part(n).convert("L"), np.uint16) * 200), "PNG"
        )
    for n in range(CARE["print"]):
        yield f"print {n}.jpg", encoded(part(n).convert("CMYK"), "JPEG")
    for n in range(CARE["clear"]):
        clear = part(n).convert("RGBA")
        clear.putalpha(part(n).convert("L"))
        yield f"clear {n}.png", encoded(clear, "PNG")
    for n in range(CARE["moving"]):
        frames = [part(seed).convert("P") for seed in (n, n + len(SIDES))]
        yield f"moving {n}.gif", encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])


def broken_files() -> dict[str, bytes]:
    """Ten files that are no usable image, each for another reason."""
    png, jpeg = encoded(part(1), "PNG"), encoded(part(2), "JPEG")
    header = b"IHDR" + struct.pack(">II", 20_000, 20_000) + png[24:29]
    vast = png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:]
    flipped = bytearray(png)
    flipped[len(png) // 2] ^= 0xFF
    return {
        "empty.png": b"", "notes.png": b"The line stood still at noon.", "cut.png": png[:2000],
        "cut.jpg": jpeg[: len(jpeg) // 2], "tiny.png": encoded(Image.new("RGB", (4, 4)), "PNG"),
        "vast.png": vast, "flipped.png": bytes(flipped), "drawing.svg": b"<svg></svg>",
        "report.pdf": b"%PDF-1.7\n%%EOF", "noise.jpg": np.random.default_rng(0).bytes(5000),
    }


def mixed_files(count: int) -> dict[str, bytes]:
    """Name -> content of `count` files; see the module."""
    formats = cycle(("PNG", "JPEG", "JPEG", "WEBP", "BMP", "TIFF"))
    files = {**broken_files(), **dict(tricky_files())}
    plain = count - len(files) - CARE["copy"]
    for n in range(plain):
        kind = next(formats)
        files[f"line {n % 3}/part {n:03d}.{kind.lower()}"] = encoded(part(n), kind)
    originals = [name for name in files if name.startswith("line")]
    for n in range(CARE["copy"]):
        files[f"copies/copy {n}.bin"] = files[originals[n % len(originals)]]
    return files


def make_zip(path: Path, count: int) -> None:
    """A zip of `mixed_files`."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in mixed_files(count).items():
            archive.writestr(name, content)


def timed(function: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    """`function` that also notes in `spent` the seconds of processor time of each call."""
    def call(*args: object, **settings: object) -> object:
        start = time.process_time()
        try:
            return function(*args, **settings)
        finally:
            spent.append(time.process_time() - start)

    return call


def peak_megabytes() -> float:
    """The most memory that this process has had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(model: str, count: int, folder: Path) -> dict[str, object]:
    """Make the zip, score it in a fresh workspace in `folder`, and report."""
    with ProcessPoolExecutor(1, get_context("spawn")) as other:  # its memory is not the desk's
        other.submit(make_zip, folder / "mixed.zip", count).result()

    from ltad.inference.registry import ModelRegistry, load_scorer
    from ltad.review import worker
    from ltad.review.database import Database
    from ltad.review.images import ImageStore
    from ltad.review.uploads import collect
    from ltad.review.worker import BatchRunner

    scorer = load_scorer(model, cache=folder / "cache")
    scorer.warm_up()
    ready = peak_megabytes()
    in_encoder: list[float] = []
    in_model: list[float] = []
    in_reading: list[float] = []
    scorer.encoder.image_features = timed(scorer.encoder.image_features, in_encoder)
    scorer.score_batch = timed(scorer.score_batch, in_model)
    scorer.prepare = timed(scorer.prepare, in_reading)
    worker.read_image = timed(worker.read_image, in_reading)
    database = Database(folder / "desk.sqlite")
    runner = BatchRunner(database, ImageStore(folder / "pictures"), ModelRegistry(scorer))
    start = time.perf_counter()
    items = collect([folder / "mixed.zip"], runner.images)
    collected, processor = time.perf_counter(), time.process_time()
    batch = runner.open_batch("mixed", "measure", None, {}, items)
    while database.batch(batch.id).scored == 0 and database.batch(batch.id).state == "running":
        time.sleep(0.01)
    first = time.perf_counter()
    runner.wait(batch.id)
    end, processor = time.perf_counter(), time.process_time() - processor
    parts = {"all": processor, "encoder": sum(in_encoder), "model with encoder": sum(in_model),
             "reading and shrinking": sum(in_reading)}
    batch = database.batch(batch.id)
    runner.rescore(batch.id)
    runner.wait(batch.id)
    rescored = time.perf_counter()
    found = database.items(batch.id)
    return {
        "failed_rows": {i.file_name: i.reason for i in found if i.status == "failed"},
        "state": batch.state, "total": batch.total, "scored": batch.scored,
        "failed": batch.failed, "duplicates": sum(i.duplicate_of is not None for i in found),
        "zip_megabytes": round((folder / "mixed.zip").stat().st_size / 1e6, 1),
        "seconds_to_collect": round(collected - start, 2),
        "seconds_to_first_result": round(first - start, 2),
        "seconds_to_score": round(end - collected, 2),
        "processor_seconds": {name: round(value, 2) for name, value in parts.items()},
        "seconds_to_score_again": round(rescored - end, 2),
        "peak_megabytes": round(peak_megabytes()),
        "peak_megabytes_before": round(ready),
        "load": os.getloadavg(),
    }


def main() -> None:
    """Print the report as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="assets/demo")
    parser.add_argument("--count", type=int, default=300)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(options.model, options.count, Path(folder)), indent=1))


if __name__ == "__main__":
    main()
