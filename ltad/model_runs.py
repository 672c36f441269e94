"""Evaluating a trained model, and a nearest-neighbour bank beside it, into runs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from ltad.baselines import BANK
from ltad.calibration import ScoreSettings
from ltad.data.feature_store import FeatureStore, build_store
from ltad.data.longtail import resample_again
from ltad.evaluation import Evaluation, calibration_table, evaluate_tests, ordered_tests
from ltad.measures import bank_measure, branches_of, detector_measure
from ltad.run_writing import encoder_facts, record, settings_facts, split_facts
from ltad.runs import Run
from ltad.service import Scorer
from ltad.training.train import learned_and_held_out, training_pictures
from ltad.types import DatasetError, Sample, SettingError


@dataclass(frozen=True)
class ModelEvaluation:
    """An evaluation and all that its run has to say.

    Attributes:
        evaluation: what was measured.
        calibration: scores of held-out good pictures.
        facts: for ``run.json``, see `ltad.run_writing.record`.
        root: of the data set.
        features: folder of the feature stores.
    """

    evaluation: Evaluation
    calibration: pd.DataFrame
    facts: dict[str, Any]
    root: Path
    features: Path

    def write(self, folder: str | Path) -> Run:
        """Keep it as the run `folder`; errors as `ltad.run_writing.record`."""
        return record(folder, self.evaluation, self.calibration, self.root, self.features,
                      self.facts)


def evaluate_model(
    scorer: Scorer, samples: Sequence[Sample], root: str | Path, features: str | Path,
    settings: ScoreSettings | None = None, folder: str | Path | None = None, data: str = "",
    progress: bool = True,
) -> ModelEvaluation:
    """Score every test picture with its true class. High and Low go by the model's own split.

    Args:
        scorer: the model.
        samples: a data set; only its test pictures are read.
        root: the data set's folder.
        features: folder of the feature stores; what they hold is not encoded again.
        settings: instead of the model's own.
        folder: the model's, so that a run can be evaluated again.
        data: the data set's name; by default its folder's.
        progress: show bars.

    Raises:
        DatasetError: no test picture, or a class that the model does not know.
    """
    began = time.monotonic()
    tests = _tests(scorer, samples, features, progress)
    encoded = time.monotonic()
    settings = settings or scorer.score_settings()
    branches = branches_of(scorer.detector)
    measure = detector_measure(scorer.detector, scorer.encoder, settings, branches=branches)
    evaluation = evaluate_tests(
        tests, measure, scorer.checkpoint.about["split_counts"], branches,
        scorer.checkpoint.recogniser, progress,
    )
    facts = {
        **_facts(scorer, settings, data or Path(root).name), "kind": "LTAD",
        "model": {"name": scorer.name, "folder": _folder_fact(folder)},
        "seconds": {"features": round(encoded - began, 1),
                    "evaluation": round(time.monotonic() - encoded, 1)},
    }
    calibration = _calibration(scorer, settings)
    return ModelEvaluation(evaluation, calibration, facts, Path(root), Path(features))


def evaluate_bank(
    scorer: Scorer, samples: Sequence[Sample], root: str | Path, features: str | Path,
    folder: str | Path | None = None, data: str = "", progress: bool = True,
) -> ModelEvaluation:
    """The same for a nearest-neighbour bank a class, filled with what the model learned from.

    Raises:
        DatasetError: as `evaluate_model`.
        SettingError: the model's split is no named one, or a test class has no training picture.
    """
    began = time.monotonic()
    about, config = scorer.checkpoint.about, scorer.config
    used = resample_again(samples, about["split"], about["split_seed"], about["split_counts"],
                          about.get("split_list", ()))
    training = build_store(training_pictures(used), scorer.encoder, features, progress=progress)
    learned, held_out = learned_and_held_out(training, scorer.class_names, config)
    filled = {name: sorted(set(training.indices(name)) & set(learned))
              for name in scorer.class_names}
    tests = _tests(scorer, samples, features, progress)
    for name in sorted({sample.class_name for sample in tests.samples}):
        if not filled[name]:
            raise SettingError(f"No training picture of {name} is there to fill a bank with.")
    encoded = time.monotonic()
    settings = scorer.score_settings()
    measure = bank_measure(training, filled, settings.size, settings.pool, config.training.seed)
    evaluation = evaluate_tests(
        tests, measure, about["split_counts"], ("combined",), progress=progress
    )
    facts = {
        **_facts(scorer, settings, data or Path(root).name), "kind": BANK,
        "model": {"name": BANK, "folder": _folder_fact(folder)},
        "training_pictures": {name: len(places) for name, places in filled.items()},
        "seconds": {"features": round(encoded - began, 1),
                    "evaluation": round(time.monotonic() - encoded, 1)},
    }
    calibration = calibration_table(training, held_out, measure, ("combined",))
    return ModelEvaluation(evaluation, calibration, facts, Path(root), Path(features))


def _tests(
    scorer: Scorer, samples: Sequence[Sample], features: str | Path, progress: bool
) -> FeatureStore:
    tests = ordered_tests(samples)
    unknown = sorted({sample.class_name for sample in tests} - set(scorer.class_names))
    if unknown:
        raise DatasetError(
            f"The model was not trained on {', '.join(unknown)}. It knows: "
            + ", ".join(scorer.class_names) + "."
        )
    return build_store(tests, scorer.encoder, features, progress=progress)


def alarm_table(
    scorer: Scorer, evaluation: Evaluation, settings: ScoreSettings, rates: Sequence[float]
) -> pd.DataFrame:
    """How many test pictures lie above the thresholds for some false-alarm rates.

    Returns:
        One row for each class and one for all: "2 of 80" good and defective pictures above, by
        rate; for all also the 95% interval (Clopper and Pearson) of the share of good ones.
    """
    names = np.array([sample.class_name for sample in evaluation.samples])
    is_defective = np.array([sample.is_defective for sample in evaluation.samples])
    scores, rows = evaluation.scores["combined"], {}
    totals = {(rate, kind): np.zeros(2, int) for rate in rates for kind in ("good", "defective")}
    for name in dict.fromkeys(names):
        rows[name] = {}
        for rate in rates:
            threshold = scorer.calibration.limits(name, settings, rate).thresholds["combined"]
            for kind, is_kind in (("good", ~is_defective), ("defective", is_defective)):
                own = scores[(names == name) & is_kind]
                counts = np.array([(own > threshold).sum(), len(own)])
                totals[rate, kind] += counts
                rows[name][f"{100 * rate:g}%, {kind}"] = f"{counts[0]} of {counts[1]}"
    rows["All"] = {}
    for (rate, kind), (above, count) in totals.items():
        text = f"{above} of {count}"
        if kind == "good" and count:
            low, high = binomtest(int(above), int(count)).proportion_ci(0.95)
            text += f" ({100 * above / count:.1f}%, {100 * low:.1f} - {100 * high:.1f})"
        rows["All"][f"{100 * rate:g}%, {kind}"] = text
    return pd.DataFrame.from_dict(rows, orient="index")


def _calibration(scorer: Scorer, settings: ScoreSettings) -> pd.DataFrame:
    rows = []
    for name, pictures in scorer.checkpoint.calibration.items():
        if pictures:
            scores = scorer.calibration_scores(name, settings)
            rows.append(pd.DataFrame({"class_name": name, **{
                branch: scores[branch].double().cpu().numpy()
                for branch in branches_of(scorer.detector)
            }}))
    empty = pd.DataFrame(columns=["class_name", *branches_of(scorer.detector)])
    return pd.concat(rows, ignore_index=True) if rows else empty


def _folder_fact(folder: str | Path | None) -> str | None:
    return str(Path(folder).resolve()) if folder else None


def _facts(scorer: Scorer, settings: ScoreSettings, data: str) -> dict[str, Any]:
    about = scorer.checkpoint.about
    return {
        "encoder": encoder_facts(scorer.checkpoint.encoder_name, scorer.encoder),
        "config": scorer.config.to_dict(), "settings": settings_facts(settings),
        "seed": scorer.config.training.seed, "data": data,
        "split": split_facts(about["split"], about["split_counts"], about.get("split_list", ())),
        "training_pictures": about["training_pictures"],
    }
