"""Evaluating a run's detector once more: a model's, a bank's, or that of a row of ablations."""

from __future__ import annotations

from pathlib import Path

from ltad.ablate import evaluate_row
from ltad.ablations import row_of
from ltad.checkpoint import MODEL_FILE
from ltad.config import Config
from ltad.data.layouts import load_dataset
from ltad.data.longtail import resample_again
from ltad.encoders import load_encoder
from ltad.loading import load_scorer
from ltad.model_runs import ModelEvaluation, evaluate_bank, evaluate_model
from ltad.runs import Run
from ltad.study import Source, Study, is_trained
from ltad.types import CheckpointError


def evaluate_again(run: Run, work: str | Path, device: str = "cpu") -> ModelEvaluation:
    """Evaluate what a run measured once more, on its data set and with its settings.

    Args:
        run: made by `evaluate` or by `ablate`.
        work: folder of the features, and of what the stages of ablations learned.
        device: to compute on.

    Raises:
        CheckpointError: what was learned is gone.
        DatasetError: its data set is gone or has changed its classes.
        SettingError: its training pictures cannot be drawn again.
    """
    if run.about["row"]:
        return _row_again(run, Path(work), device)
    return _model_again(run, Path(work) / "features", device)


def _model_again(run: Run, features: Path, device: str) -> ModelEvaluation:
    folder, root = run.about["model"]["folder"], Path(run.about["data"]["root"])
    if folder is None or not (Path(folder) / MODEL_FILE).is_file():
        raise CheckpointError(
            f"The model of run {run.name} ({run.about['kind']}) "
            + ("was not kept in a folder. Run the command again that made it."
               if folder is None else f"is no longer in {folder}.")
        )
    scorer, settings = load_scorer(folder, device), run.about["settings"]
    samples, data = load_dataset(root), run.about["data"]["name"]
    if run.about["kind"].startswith("nearest neighbours"):  # as the first runs call it too
        return evaluate_bank(scorer, samples, root, features, folder, data)
    return evaluate_model(
        scorer, samples, root, features,
        scorer.score_settings(settings["normal_prompt"], settings["abnormal_prompt"],
                              settings["lam"], settings["tau"]),
        folder, data,
    )


def _row_again(run: Run, work: Path, device: str) -> ModelEvaluation:
    """The row's detector is put together from what its stages learned; a bank is filled anew."""
    about, row = run.about, row_of(run.about["row"])
    config, root = Config.from_dict(about["config"]), Path(about["data"]["root"])
    split = about["split"]
    listed = tuple(split.get("listed", ()))
    samples = resample_again(load_dataset(root), split["name"], about["seed"], split["counts"],
                             listed)
    name, folder = about["encoder"]["name"], Path(about["encoder"].get("folder", ""))
    # A folder named relative to where the command ran is found from anywhere.
    name = str(folder) if "folder" in about["encoder"] and folder.is_dir() else name
    encoder = load_encoder(name, config.features, device)
    source = Source(root, about["data"]["name"], split["name"], name, listed)
    study = Study.of(samples, encoder, config, work, source)
    if not is_trained(study, row, config):
        raise CheckpointError(
            f"What run {run.name} learned is no longer in {study.stages}, or its training pictures "
            "or its encoder have changed since. Run the command again that made it."
        )
    return evaluate_row(study, row, config, about["group"])
