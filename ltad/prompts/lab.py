"""What the page needs of the laboratory: data sets by name, and the last few results in memory."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ltad.evaluation.runs import read_run, run_names
from ltad.inference.checkpoint import MODEL_FILE
from ltad.inference.registry import ModelRegistry
from ltad.inference.scorer import Scorer
from ltad.io.cache import Memory
from ltad.prompts.experiment import Experiment, Outcome, run_experiment
from ltad.prompts.refit import Refit
from ltad.prompts.testset import (
    PARTS,
    Bench,
    is_data_set,
    read_bench,
    read_samples,
    training_data,
)
from ltad.prompts.variants import save_variant
from ltad.synthetic.classes import PART_CLASSES
from ltad.training.phases import TrainingData
from ltad.types import LTADError, Sample, SettingError
from ltad.workspace import Workspace

REFIT_PREFIX = "refit:"
"""Begins the name of a refitted model that only this page knows; a folder cannot be called so."""
_BENCHES, _TRAININGS, _REFITS = 4, 2, 32
_MOST_FOLDERS = 100


@dataclass(frozen=True)
class DataSet:
    """A data set that the page offers.

    Attributes:
        name: shown and sent instead of the folder.
        data: the folder, or "parts".
    """

    name: str
    data: str


@dataclass(frozen=True)
class StoredRefit:
    """A refitted model in memory, and how it was made: data set, command line."""

    refit: Refit
    data: str
    command: str


class PromptLab:
    """Experiments on the models of a page. Holds caches only, each of them bounded.

    Args:
        registry: the models.
        workspace: where features lie and saved models go.
    """

    def __init__(self, registry: ModelRegistry, workspace: Workspace) -> None:
        self.registry = registry
        self.workspace = workspace
        self._benches: Memory[Bench] = Memory(_BENCHES)
        self._trainings: Memory[TrainingData] = Memory(_TRAININGS)
        self._refits: Memory[StoredRefit] = Memory(_REFITS)

    def scorer(self, model: str | None) -> Scorer:
        """The model of a name, or the refitted one of an id from `keep`.

        Raises:
            SettingError: no such model, or one that is no longer in memory.
        """
        if model and model.startswith(REFIT_PREFIX):
            return self._stored(model).refit.scorer
        return self.registry.scorer(model)

    def data_sets(self, model: str | None) -> list[DataSet]:
        """The data sets that an experiment on this model may use."""
        found: dict[str, str] = {}
        for folder in self._folders():
            name = folder.name
            while name in found:
                name += " (another)"
            found[name] = str(folder)
        if set(PART_CLASSES) & set(self.scorer(model).class_names):
            found = {"rendered parts": PARTS} | found
        return [DataSet(name, data) for name, data in found.items()]

    def data_set(self, model: str | None, name: str) -> DataSet:
        """The offered data set of that name.

        Raises:
            SettingError: it is not offered.
        """
        offered = {one.name: one for one in self.data_sets(model)}
        if name not in offered:
            there = ", ".join(offered) or "none: start the page with a server folder that holds one"
            raise SettingError(f"There is no data set {name!r}. There are: {there}.")
        return offered[name]

    def run(self, model: str | None, data_name: str, experiment: Experiment) -> Outcome:
        """Run an experiment; what was read for earlier ones is not read again.

        Raises:
            LTADError: the model, data set, words or values cannot be used.
        """
        scorer, data = self.scorer(model), self.data_set(model, data_name).data
        samples = read_samples(scorer, data, self.workspace.root)
        about = (data, _signature(samples))
        # What is remembered depends on these objects, and keeps them alive.
        bench = self._benches.get_or_make(
            (scorer.detector.reconstruction, experiment.pixel_size, *about),
            lambda: read_bench(scorer, samples, self.workspace.features, experiment.pixel_size),
        )
        return run_experiment(scorer, bench, experiment, lambda: self._trainings.get_or_make(
            (scorer.checkpoint.recogniser, *about),
            lambda: training_data(scorer, samples, self.workspace.features),
        ))

    def keep(self, model: str | None, data_name: str, outcome: Outcome) -> str:
        """Keep the refit of a single pair in memory; its id is known to who asked only."""
        key = REFIT_PREFIX + secrets.token_hex(12)
        command = self.command(model, outcome.experiment, data_name)
        stored = StoredRefit(outcome.refits[0], data_name, command)
        self._refits.put(key, stored)
        return key

    def drop(self, key: str) -> None:
        """Forget a refitted model."""
        self._refits.forget(key)

    def save(self, key: str, name: str) -> Path:
        """Write a refitted model as a new model folder; it is then on the registry.

        Raises:
            SettingError: the name cannot be used, the model is no longer in memory, or the page is
                public.
            CheckpointError: it cannot be written.
        """
        self.workspace.require_private("Saving a model")
        stored = self._stored(key)
        if name in self.registry.names():
            raise SettingError(f"There is a model {name!r} already. Choose another name.")
        return save_variant(stored.refit.scorer, name, self.workspace.models, about={
            "refitted_from": stored.refit.scorer.name,
            "refitted_on": stored.data, "refit_steps": stored.refit.steps,
            "refit_learning_rate": stored.refit.learning_rate,
        })

    def command(
        self, model: str | None, experiment: Experiment, data_name: str | None = None,
        image: str | None = None, class_name: str | None = None,
    ) -> str:
        """The command line that repeats an experiment on a data set or an image.

        A refitted model that is only in memory is made again first.
        """
        data = self.data_set(model, data_name).data if data_name else None
        if data not in (None, PARTS):
            data = _short(Path(data))
        if model and model.startswith(REFIT_PREFIX):
            folder = "refit-" + model.removeprefix(REFIT_PREFIX)[:8]
            made = f"{self._stored(model).command} --save {folder}"
            return f"{made} && {experiment.command(folder, data, image, class_name)}"
        return experiment.command(self._checkpoint(model), data, image, class_name)

    def _checkpoint(self, model: str | None) -> str:
        """How the command line names a model: its folder if that is known, else its name."""
        scorer = self.scorer(model)
        encoder = Path(scorer.encoder.source)
        for folder in (self.workspace.models / scorer.name, encoder.parent):
            if folder.name == scorer.name and (folder / MODEL_FILE).is_file():
                return _short(folder)
        return scorer.name

    def _stored(self, key: str) -> StoredRefit:
        stored = self._refits.get(key)
        if stored is None:
            raise SettingError(
                "That refitted model is no longer in memory. Refit again, or choose another model."
            )
        return stored

    def _folders(self) -> list[Path]:
        """Server folders that are data sets or hold some, and the data of the runs."""
        found = []
        for folder in self.workspace.server_folders:
            found += [folder] if is_data_set(folder) else _inside(folder)
        for name in run_names(self.workspace.runs):
            try:
                root = Path(read_run(self.workspace.runs / name).about["data"]["root"])
            except LTADError:  # a torn run is the Results tab's to tell of
                continue
            found += [root] if is_data_set(root) else []
        return list({folder.resolve(): folder for folder in found}.values())


def _inside(folder: Path) -> list[Path]:
    """The data sets among a folder's sub-folders."""
    try:
        return [f for f in sorted(folder.iterdir())[:_MOST_FOLDERS] if is_data_set(f)]
    except OSError:
        return []


def _signature(samples: Sequence[Sample]) -> int:
    """Changes when an image is added, taken away or replaced."""
    facts = ((s.path, s.path.stat()) for s in samples if s.path.exists())
    return hash(tuple((str(path), stat.st_mtime_ns, stat.st_size) for path, stat in facts))


def _short(folder: Path) -> str:
    """A folder as seen from the working folder, where that is shorter."""
    here = Path.cwd()
    whole = folder.resolve()
    return str(whole.relative_to(here)) if whole.is_relative_to(here) else str(folder)
