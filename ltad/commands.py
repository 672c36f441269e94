"""What each command of the command line does."""

from __future__ import annotations

import json
import os
import time
from argparse import Namespace
from dataclasses import asdict, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ltad.ablate import report_table, run_table, seconds_of
from ltad.ablations import rows_of
from ltad.config import Config, preset
from ltad.data.check import check_dataset, count_table
from ltad.data.folders import load_folder, read_list, select
from ltad.data.layouts import load_dataset
from ltad.data.longtail import Split, parse_split, resample, training_counts
from ltad.data.named_splits import (
    NATURAL_COUNTS,
    NamedSplit,
    named_splits,
    split_counts,
    splits_table,
)
from ltad.data.write_parts import write_parts
from ltad.encoders import load_encoder
from ltad.loading import load_scorer
from ltad.model_runs import ModelEvaluation, evaluate_bank, evaluate_model
from ltad.pretraining.probe import probe as probe_encoder
from ltad.pretraining.train import PretrainingSettings
from ltad.pretraining.train import pretrain as pretrain_encoder
from ltad.run_figures import splits_figure
from ltad.run_files import new_run_folder
from ltad.run_tables import printed_results
from ltad.runs import Run
from ltad.service import Scorer
from ltad.study import Source, Study
from ltad.training.train import train as train_detector
from ltad.types import DatasetError, Sample, SettingError
from ltad.workspace import Workspace


def train(options: Namespace) -> None:
    """``python -m ltad train``"""
    config = configured(preset(options.preset), options.set).replace(seed=options.seed)
    encoder = load_encoder(options.encoder, config.features, options.device)
    samples, _, about = training_samples(options, options.split, options.seed)
    tell_training_set(options, samples, about)
    checkpoint = train_detector(
        samples, encoder, config, options.out, _reference(options.encoder, options.out),
        features=options.work / "features", about=about,
    )
    counts = checkpoint.about["training_pictures"]
    print(f"Trained on {sum(counts.values())} pictures of {len(counts)} classes in "
          f"{checkpoint.about['seconds']:.0f} s: {options.out}")


def configured(config: Config, changes: list[str]) -> Config:
    """`config` with ``NAME=VALUE`` settings changed; values are read as JSON, else as text.

    Raises:
        SettingError: not of that form, or no such setting.
    """
    values = {}
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals:
            raise SettingError(f"{change!r} is not of the form NAME=VALUE.")
        try:
            values[name] = json.loads(text)
        except json.JSONDecodeError:
            values[name] = text
    return config.replace(**values)


def training_samples(
    options: Namespace, split: str, seed: int
) -> tuple[list[Sample], Path, dict]:
    """The data set under a split or its list, its folder, and the facts to keep with the model."""
    about = {"data": Path(options.data).name, "split": split, "split_seed": seed}
    if options.data == "parts":
        root = _parts_folder(options.work, split, seed)
        return load_folder(root), root, about
    samples, root = load_dataset(options.data), Path(options.data)
    if options.list is not None:
        about["split"] = options.list.name
        return select(samples, read_list(options.list, options.data)), root, about
    return resample(samples, parse_split(split), seed), root, about


def tell_training_set(options: Namespace, samples: list[Sample], about: dict) -> None:
    """Print its counts, High and Low, and every fault of its files; it is for the person to judge
    which of them matter."""
    split = Split(about["split"], "none", 1)  # it has been drawn
    print(splits_table([NamedSplit(about["data"], split, training_counts(samples))]))
    if options.data == "parts" or options.unchecked:  # what this program renders is whole
        return
    faults = check_dataset(tqdm(samples, desc="checking", unit="pictures"))
    for fault in faults:
        print(f"fault: {fault}")
    if faults:
        print(f"Faults found: {len(faults)}. What can be read is used.")


def _parts_folder(work: Path, split: str, seed: int) -> Path:
    return write_parts(work / f"parts-{split}-{seed}", split, seed)


def _reference(encoder: str, out: Path) -> str:
    """How a model folder names its encoder: inside it, relative to it, or by hub name."""
    folder = Path(encoder)
    return os.path.relpath(folder, out) if folder.is_dir() else encoder


def evaluate(options: Namespace) -> None:
    """``python -m ltad evaluate``"""
    scorer = load_scorer(options.checkpoint, options.device)
    root = _evaluation_root(scorer, options)
    samples, features = load_dataset(root), options.work / "features"
    data = Path(options.data).name
    runs = Workspace(options.work).runs
    names = [options.run_name, f"{options.run_name}-bank"][: 1 + options.bank]
    folders = [new_run_folder(runs, name) for name in names if options.run_name]
    folder = options.checkpoint if Path(options.checkpoint).is_dir() else None
    found = evaluate_model(
        scorer, samples, root, features,
        scorer.score_settings(
            options.normal_prompt, options.abnormal_prompt, options.lam, options.tau
        ),
        folder, data,
    )
    report = _told(found) | {"recognised": found.evaluation.recognised_shares(),
                             "model": scorer.card}
    if folders:
        _kept(found, folders[0])
    if options.bank:
        bank = evaluate_bank(scorer, samples, root, features, folder, data)
        report["bank"] = bank.evaluation.results_dict()
        print("\nNearest-neighbour bank\n"
              + printed_results(report["bank"], bank.evaluation.branches))
        if folders:
            _kept(bank, folders[1])
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def _evaluation_root(scorer: Scorer, options: Namespace) -> Path:
    if options.data != "parts":
        return Path(options.data)
    about = scorer.checkpoint.about
    return _parts_folder(options.work, about["split"], about["split_seed"])


def _told(found: ModelEvaluation) -> dict[str, Any]:
    """Print a model's tables; the figures as plain data."""
    evaluation = found.evaluation
    print(evaluation.results.table())
    print("\nCombined branch\n" + evaluation.results.figures_table())
    shares = evaluation.recognised_shares().values()
    print(f"\nClass recognised: {100 * sum(shares) / len(shares):.1f}% of the test pictures "
          "(mean over classes)")
    return {**evaluation.results_dict(), "settings": found.facts["settings"]}


def _kept(found: ModelEvaluation, folder: Path) -> None:
    found.write(folder)
    print(f"Run: {folder}")


def ablate(options: Namespace) -> None:
    """``python -m ltad ablate``"""
    began = time.monotonic()
    if options.seeds < 1:
        raise SettingError(f"--seeds is {options.seeds}, but it must be at least 1.")
    rows = rows_of(options.table, options.rows)
    runnable = [row for row in rows if options.rows or not row.wants_encoder]
    base = configured(preset(options.preset), options.set)
    encoder = load_encoder(options.encoder, base.features, options.device)
    out = options.out or Workspace(options.work).runs
    runs: list[Run] = []
    for seed in range(options.seed, options.seed + options.seeds):
        if options.seeds > 1:
            print(f"Seed {seed}")
        config = base.replace(seed=seed)
        for split, group in groupby(runnable, key=lambda row: row.split or options.split):
            samples, root, about = training_samples(options, split, seed)
            source = Source(root, about["data"], about["split"], options.encoder)
            study = Study.of(samples, encoder, config, options.work, source)
            runs += run_table(study, list(group), config, out, options.table)
    print("\n" + report_table(rows, runs))
    print(f"Seconds: {time.monotonic() - began:.0f} now, "
          f"{sum(map(seconds_of, runs)):.0f} for all rows. Runs: {out}")


def score(options: Namespace) -> None:
    """``python -m ltad score``"""
    scorer = load_scorer(options.checkpoint, options.device)
    found = scorer.score_batch(
        options.images, options.class_name, options.normal_prompt, options.abnormal_prompt,
        options.lam, options.tau, options.false_alarm_rate,
    )
    if options.json:
        rows = [
            {"image": str(path), **{k: v for k, v in asdict(d).items() if not k.endswith("_map")}}
            for path, d in zip(options.images, found, strict=True)
        ]
        print(json.dumps(rows, indent=2))
        return
    for path, d in zip(options.images, found, strict=True):
        verdict = "ANOMALOUS" if d.is_anomalous else "good"
        known = "" if d.is_recognised or d.was_class_given else "  (looks like none of the classes)"
        print(f"{verdict:9}  {d.score:10.4g} / {d.threshold:.4g}  {d.class_name}{known}  {path}")


def tokens(options: Namespace) -> None:
    """``python -m ltad tokens``"""
    scorer = load_scorer(options.checkpoint, options.device)
    for name in scorer.class_names:
        nearest = scorer.nearest_tokens(name, options.k)
        for number, (row, drift) in enumerate(
            zip(nearest, scorer.name_drift(name), strict=True), start=1
        ):
            words = ", ".join(f"{t.token} {t.cosine:.2f}" for t in row)
            print(f"{name} [{number}]  (to 'object': {drift[0]:.2f})  {words}")
    baseline = scorer.random_baseline(options.k)
    print("random vectors      " + ", ".join(f"{cosine:.2f}" for cosine in baseline))


def parts(options: Namespace) -> None:
    """``python -m ltad parts``"""
    began = time.monotonic()
    write_parts(options.folder, options.split, options.seed, options.per_class)
    samples = load_folder(options.folder)
    kinds = [sum(s.split == split for s in samples) for split in ("train", "test")]
    print(f"{kinds[0]} training and {kinds[1]} test pictures in {options.folder} "
          f"({time.monotonic() - began:.0f} s)")


def check(options: Namespace) -> None:
    """``python -m ltad check``

    Raises:
        DatasetError: there are faults, which have been printed.
    """
    samples = load_dataset(options.folder)
    print(count_table(samples))
    faults = check_dataset(tqdm(samples, desc="pictures"))
    for fault in faults:
        print(f"fault: {fault}")
    if faults:
        raise DatasetError(f"Faults found in {options.folder}: {len(faults)}. Repair the files.")
    print(f"No faults in {len(samples)} pictures.")


def splits(options: Namespace) -> None:
    """``python -m ltad splits``"""
    found = _wished_splits(options)
    print(splits_table(found))
    if options.plot:
        splits_figure(found).write_html(options.plot, include_plotlyjs=True)
        print(f"Plotted in {options.plot}.")


def _wished_splits(options: Namespace) -> tuple[NamedSplit, ...]:
    if options.data is None and options.split is None:
        return named_splits(options.dataset)
    if options.data is None:
        natural = {name: NATURAL_COUNTS[name] for name in
                   ([options.dataset] if options.dataset else NATURAL_COUNTS)}
    else:
        natural = {options.data.name: training_counts(load_dataset(options.data))}
    return tuple(split_counts(name, counts, options.split or "none")
                 for name, counts in natural.items())


def pretrain(options: Namespace) -> None:
    """``python -m ltad pretrain``"""
    given = {"steps": options.steps, "pairs": options.pairs, "seed": options.seed}
    settings = replace(
        PretrainingSettings(), **{k: v for k, v in given.items() if v is not None}
    )
    pretrain_encoder(options.out, settings, options.work / "pretraining", options.device,
                     start=options.start)
    print(f"The encoder is in {options.out}. Measure it: python -m ltad probe --encoder "
          f"{options.out}")


def probe(options: Namespace) -> None:
    """``python -m ltad probe``"""
    found = probe_encoder(
        load_encoder(options.encoder, device=options.device), options.per_defect, options.good
    )
    print(f"naming among the seen classes  {100 * found.naming:6.1f}%")
    print(f"{'a PART / a broken PART':30} {'image':>6}  {'pixel':>6}   (AUROC, percent)")
    for group in found.image:
        print(f"{group:30} {100 * found.image[group]:6.1f}  {100 * found.pixel[group]:6.1f}")
    for pair, value in found.image_by_prompts.items():
        print(f"seen, {pair:24} {100 * value:6.1f}")
    if options.json:
        options.json.write_text(json.dumps(asdict(found), indent=2) + "\n", encoding="utf-8")


__all__ = [
    "ablate", "check", "evaluate", "parts", "pretrain", "probe", "score", "splits", "tokens",
    "train",
]
