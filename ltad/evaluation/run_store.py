"""Runs by name, and a run evaluated again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from ltad.config import Config
from ltad.data.layouts import load_dataset
from ltad.data.splits import resample_as_trained
from ltad.evaluation import runs
from ltad.evaluation.ablate import Source, Study, evaluate_row, is_trained
from ltad.evaluation.ablations import row_of
from ltad.evaluation.record import ModelEvaluation, evaluate_bank, evaluate_model
from ltad.evaluation.runs import ABOUT_FILE, Run
from ltad.inference.checkpoint import MODEL_FILE
from ltad.inference.registry import load_scorer
from ltad.models.align import load_encoder
from ltad.types import CheckpointError, LTADError, SettingError


def re_evaluate(run: Run, work: str | Path, device: str = "cpu") -> ModelEvaluation:
    """Evaluate what a run measured once more, on its data set and with its settings.

    Args:
        run: made by `evaluate` or by `ablate`.
        work: folder of the features, and of what the stages of ablations learned.
        device: to compute on.

    Raises:
        CheckpointError: what was learned is gone.
        DatasetError: its data set is gone or has changed its classes.
        SettingError: its training images cannot be drawn again.
    """
    if run.about["row"]:
        return _re_evaluate_row(run, Path(work), device)
    return _re_evaluate_model(run, Path(work) / "features", device)


def _re_evaluate_model(run: Run, features: Path, device: str) -> ModelEvaluation:
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


def _re_evaluate_row(run: Run, work: Path, device: str) -> ModelEvaluation:
    """The row's detector is put together from what its stages learned; a bank is filled anew."""
    about, row = run.about, row_of(run.about["row"])
    config, root = Config.from_dict(about["config"]), Path(about["data"]["root"])
    split = about["split"]
    listed = tuple(split.get("listed", ()))
    samples = resample_as_trained(load_dataset(root), split["name"], about["seed"], split["counts"],
                                  listed)
    name, folder = about["encoder"]["name"], Path(about["encoder"].get("folder", ""))
    # A folder named relative to where the command ran is found from anywhere.
    name = str(folder) if "folder" in about["encoder"] and folder.is_dir() else name
    encoder = load_encoder(name, config.features, device)
    source = Source(root, about["data"]["name"], split["name"], name, listed)
    study = Study.of(samples, encoder, config, work, source)
    if not is_trained(study, row, config):
        raise CheckpointError(
            f"What run {run.name} learned is no longer in {study.stages}, or its training images "
            "or its encoder have changed since. Run the command again that made it."
        )
    return evaluate_row(study, row, config, about["group"])


class RunReader:
    """Reads the runs of a folder and keeps those that were looked at last.

    Args:
        folder: its sub-folders are the runs.
        shipped: a folder of more of them, which come with the program and are only read. A run
            of the same name in `folder` hides one.
        keep: how many stay in memory.
    """

    def __init__(self, folder: Path, shipped: Path | None = None, keep: int = 8) -> None:
        self._folder = folder
        self._shipped = shipped
        self._keep = keep
        self._read: OrderedDict[tuple[str, int], Run] = OrderedDict()
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        """All runs there are now, the newest first; those that came with the program last."""
        own = runs.run_names(self._folder)
        return own + [name for name in self._shipped_names() if name not in own]

    def _shipped_names(self) -> list[str]:
        return runs.run_names(self._shipped) if self._shipped else []

    def _require_own(self, name: str) -> None:
        if not self._folder_of(name).is_relative_to(self._folder):
            raise SettingError(
                f"The run {name!r} came with the program, without its data. It can be looked at, "
                "not deleted or evaluated again; evaluate the model to have a run of your own."
            )

    def run(self, name: str) -> Run:
        """One run.

        Raises:
            SettingError: there is no such run.
            CheckpointError: its folder is damaged, or was deleted just now.
        """
        folder = self._folder_of(name)
        with self._lock:
            try:
                key = (name, (folder / ABOUT_FILE).stat().st_mtime_ns)  # made anew, another run
                if key not in self._read:
                    self._read[key] = runs.read_run(folder)
            except (OSError, CheckpointError) as error:
                # The page says which run, not where on this machine it lies.
                raise CheckpointError(str(error).replace(str(folder), f"Run {name}")) from error
            self._read.move_to_end(key)
            while len(self._read) > self._keep:
                self._read.popitem(last=False)
            return self._read[key]

    def all(self, names: Sequence[str]) -> list[Run]:
        """Several runs in the given order, each once; errors as `run`."""
        return [self.run(name) for name in dict.fromkeys(names)]

    def delete(self, name: str) -> None:
        """Remove a run's folder for good; errors as `run`, and SettingError for a shipped one."""
        self._require_own(name)
        runs.delete_run(self._folder_of(name))

    def re_evaluate(self, name: str, work: Path, device: str = "cpu") -> str:
        """Evaluate a run's model once more into a new run beside it; the new run's name.

        Args:
            name: the run.
            work: folder of features and of what the stages of ablations learned.
            device: to compute on.

        Raises:
            SettingError: there is no such run, or it came with the program.
            LTADError: as `ltad.evaluation.run_store.re_evaluate`.
        """
        self._require_own(name)
        run = self.run(name)
        try:
            made = re_evaluate(run, work, device)
        except LTADError as error:
            raise type(error)(_without_folders(str(error), run, work)) from error
        numbers = ("", *(f" {number}" for number in range(2, 1000)))
        new = next(f"{name}-again{number}" for number in numbers
                   if not (self._folder / f"{name}-again{number}").exists())
        return made.write(self._folder / new).name

    def _folder_of(self, name: str) -> Path:
        # Only a name from the list becomes a path, so none can lead out of the folder.
        names = self.names()
        if name not in names:
            known = ", ".join(names[:8]) or "none yet"
            raise SettingError(f"There is no run {name!r}. There are: {known}.")
        is_own = name in runs.run_names(self._folder)
        return (self._folder if is_own or self._shipped is None else self._shipped) / name


def _without_folders(text: str, run: Run, work: Path) -> str:
    """The text with folders named, not where on this machine they lie."""
    for folder in (run.about["data"]["root"], run.about["model"]["folder"], str(work)):
        text = text.replace(folder, Path(folder).name) if folder else text
    return text
