"""Small runs for the tests of the Results tab: rendered images, made-up scores, real figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from ltad.evaluation.bootstrap import resampled_image_auroc
from ltad.evaluation.metrics import image_auroc
from ltad.evaluation.results import ClassResult, Results
from ltad.evaluation.runs import Run, write_run
from ltad.synthetic.classes import applicable_defects
from ltad.synthetic.render import render_part
from ltad.types import BRANCHES

COUNTS = {"hex_nut": 40, "leather": 12, "screw": 4}
GOOD, BAD = 12, 8
RUDE = "<img src=x onerror=alert(1)> ${2+2} {{value}}"
"""Where a name may be anything."""


def write_small_run(
    runs: Path, name: str, seed: int = 0, shift: float = 2.0,
    branches: tuple[str, ...] = BRANCHES, held_out: int = 20,
) -> Run:
    """Rendered images with scores drawn at random; the figures are computed from those."""
    rng = np.random.default_rng(seed)
    pictures, data = runs.parent / "small", runs.parent / "data"
    rows, calibration = [], []
    for place, part in enumerate(COUNTS):
        defects = [""] * GOOD + [applicable_defects(part)[i % 3] for i in range(BAD)]
        for number, defect in enumerate(defects):
            path = data / part / "test" / (defect or "good") / f"{number:03d}.png"
            _draw(part, number, defect, path, pictures, len(rows))
            scores = rng.normal(5 * place, 1, 3) + shift * bool(defect)
            rows.append({
                "index": len(rows), "class_name": part, "defect": defect,
                "is_defective": int(bool(defect)), "path": str(path.relative_to(data)),
                "mask_path": "", "recognised": part,
                **{b: s if b in branches else np.nan
                   for b, s in zip(BRANCHES, scores, strict=True)},
            })
        calibration += [{"class_name": part, **dict(zip(BRANCHES, s, strict=True))}
                        for s in rng.normal(5 * place, 1, (held_out, 3))]
    images = pd.DataFrame(rows)
    results = []
    for part, group in images.groupby("class_name"):
        labels = group["is_defective"]
        found = {b: image_auroc(labels, group[b]) if b in branches else None for b in BRANCHES}
        resampled = resampled_image_auroc(labels, group[branches[0]], part)
        results.append(ClassResult(  # as if each image were one pixel
            part, COUNTS[part], found, found, resampled_image_auroc=resampled,
            resampled_pixel_auroc=resampled,
        ))
    about = {
        "created": "2026-03-01T10:00:00+00:00", "kind": "LTAD", "row": None, "group": None,
        "model": {"name": "demo", "folder": None}, "encoder": {"name": RUDE}, "config": None,
        "settings": {"normal_prompt": "a", "abnormal_prompt": "a broken", "lam": 5.0, "tau": 1.0},
        "seed": seed, "data": {"name": "parts", "root": str(data), "layout": "mvtec"},
        "split": {"name": "step10", "counts": COUNTS}, "training_pictures": COUNTS,
        "seconds": {"score": 1.5}, "versions": {}, "branches": list(branches),
    }
    return write_run(
        runs / name, about, images, pd.DataFrame(calibration, columns=["class_name", *BRANCHES]),
        Results(tuple(results)).to_dict(), rng.normal(size=(len(rows), 6)),
        rng.random((len(rows), 7, 7)), pictures,
    )


def _draw(part: str, number: int, defect: str, path: Path, pictures: Path, index: int) -> None:
    if path.exists():
        return
    for folder in (path.parent, pictures / "thumbnails", pictures / "outlines"):
        folder.mkdir(parents=True, exist_ok=True)
    picture = render_part(part, number, 64, defect or None)
    Image.fromarray(picture.image).save(path)
    Image.fromarray(picture.image).save(pictures / "thumbnails" / f"{index:05d}.jpg")
    if defect:
        Image.fromarray(picture.mask > 0).save(pictures / "outlines" / f"{index:05d}.png")
