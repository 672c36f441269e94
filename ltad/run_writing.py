"""From an evaluation to the run that keeps it."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import transformers

from ltad import __version__
from ltad.calibration import BRANCHES, ScoreSettings
from ltad.data import dagm, visa
from ltad.data.folders import plain_classes
from ltad.encoders.base import Encoder
from ltad.evaluation import Evaluation
from ltad.run_files import IMAGE_COLUMNS
from ltad.runs import Run, write_run
from ltad.thumbnails import build_thumbnails


def record(
    folder: str | Path, evaluation: Evaluation, calibration: pd.DataFrame, root: str | Path,
    features: str | Path, facts: Mapping[str, Any],
) -> Run:
    """Write an evaluation as the run `folder`, with small pictures of its test set.

    Args:
        folder: of the new run.
        evaluation: what was measured.
        calibration: see `ltad.evaluation.calibration_table`.
        root: of the data set, above every test picture.
        features: where the small pictures are kept for the next run on this test set.
        facts: for ``run.json``: kind, model, encoder, config, settings, seed, data (its name),
            split, training_pictures, seconds; row and group where there are such.

    Raises:
        SettingError: there is such a run, or it cannot have that name.
        CheckpointError: it cannot be written.
    """
    root = Path(root).resolve()
    about = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"), "row": None, "group": None,
        **facts,
        "data": {"name": facts["data"], "root": str(root), "layout": layout_of(root)},
        "versions": versions(), "branches": list(evaluation.branches),
    }
    return write_run(
        folder, about, images_table(evaluation, root), calibration, evaluation.results_dict(),
        evaluation.embeddings, evaluation.maps, build_thumbnails(evaluation.samples, features),
    )


def images_table(evaluation: Evaluation, root: Path) -> pd.DataFrame:
    """``images.csv`` of an evaluation; `root` is absolute."""
    samples = evaluation.samples
    table = pd.DataFrame({
        "index": np.arange(len(samples)),
        "class_name": [sample.class_name for sample in samples],
        "defect": [sample.defect or "" for sample in samples],
        "is_defective": [int(sample.is_defective) for sample in samples],
        "path": [_below(root, sample.path) for sample in samples],
        "mask_path": [_below(root, sample.mask_path) for sample in samples],
        **{branch: evaluation.scores.get(branch, np.nan) for branch in BRANCHES},
        "recognised": evaluation.recognised,
    })
    return table[list(IMAGE_COLUMNS)]


def _below(root: Path, path: Path | None) -> str:
    return "" if path is None else path.resolve().relative_to(root).as_posix()


def layout_of(root: Path) -> str:
    """In whose layout a data set lies, as `ltad.data.layouts.load_dataset` tells it."""
    if visa.is_visa(root):
        return "VisA"
    if dagm.is_dagm(root):
        return "DAGM 2007"
    return "plain folders" if plain_classes(root) else "MVTec AD"


def encoder_facts(name: str, encoder: Encoder) -> dict[str, str]:
    """``encoder`` of ``run.json``."""
    return {"name": name, "fingerprint": encoder.fingerprint}


def split_facts(name: str, counts: Mapping[str, int], listed: Sequence[str]) -> dict[str, Any]:
    """``split`` of ``run.json``: ``listed`` is there only if a list named the pictures."""
    return {"name": name, "counts": counts, **({"listed": list(listed)} if listed else {})}


def settings_facts(settings: ScoreSettings) -> dict[str, Any]:
    """``settings`` of ``run.json``."""
    return {
        "normal_prompt": settings.normal_prompt, "abnormal_prompt": settings.abnormal_prompt,
        "lam": settings.lam, "tau": settings.tau, "score_pool": settings.pool,
        "image_size": settings.size,
    }


def versions() -> dict[str, str]:
    """Of what a figure can depend on."""
    return {
        "ltad": __version__, "python": platform.python_version(), "torch": torch.__version__,
        "transformers": transformers.__version__, "numpy": np.__version__,
    }
