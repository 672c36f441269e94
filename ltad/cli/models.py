"""What each command of the command line does."""

from __future__ import annotations

import json
import math
import os
import time
from argparse import Namespace
from dataclasses import asdict, replace
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from ltad.cli.data import parts_folder, tell_counts, tell_faults, training_samples
from ltad.config import Config, preset
from ltad.data.datasets import SUFFIXES
from ltad.data.layouts import load_dataset
from ltad.evaluation.ablate import Source, Study, report_table, run_table, seconds_of
from ltad.evaluation.ablations import rows_of
from ltad.evaluation.record import ModelEvaluation, alarm_table, evaluate_bank, evaluate_model
from ltad.evaluation.results import printed_results
from ltad.evaluation.runs import Run, new_run_folder
from ltad.inference.reference_mode import ReferenceScorer
from ltad.inference.registry import load_scorer
from ltad.inference.scorer import Scorer
from ltad.models.align import load_encoder
from ltad.training.train import train as train_detector
from ltad.types import SettingError
from ltad.workspace import Workspace

RATES = (0.01, 0.05, 0.1)


def train(options: Namespace) -> None:
    """``python -m ltad train``"""
    config = configured(preset(options.preset), options.set).replace(seed=options.seed)
    encoder = load_encoder(options.encoder, config.features, options.device)
    samples, _, about = training_samples(options, options.split, options.seed)
    tell_counts(samples, about)
    tell_faults(options, samples)
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
    present = {name: value for group in config.to_dict().values() for name, value in group.items()}
    values = {}
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals:
            raise SettingError(f"{change!r} is not of the form NAME=VALUE.")
        values[name] = _setting(name, text, present.get(name))
    return config.replace(**values)


def _setting(name: str, text: str, present: Any) -> Any:
    """A setting's value of the kind that it has at `present`; None if there is no such setting."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = text
    if isinstance(present, str):
        return value if isinstance(value, str) else text
    is_number = type(value) in (int, float) and math.isfinite(value)
    kind, fits = {
        bool: ("true or false", isinstance(value, bool)),
        int: ("a whole number", is_number and value == int(value)),
        float: ("a number", is_number),
        tuple: ("whole numbers, such as [3,10]", isinstance(value, list)
                and all(type(one) is int for one in value)),
    }.get(type(present), ("", True))
    if not fits:
        raise SettingError(f"{name} is {text!r}, but it must be {kind}.")
    return int(value) if kind == "a whole number" else value


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
    settings = scorer.score_settings(
        options.normal_prompt, options.abnormal_prompt, options.lam, options.tau
    )
    found = evaluate_model(scorer, samples, root, features, settings, folder, data)
    told = _told(found)
    print("\nTest pictures above the threshold for a false-alarm rate of\n"
          + alarm_table(scorer, found.evaluation, settings, RATES).to_string())
    report = told | {"recognised": found.evaluation.recognised_shares(),
                             "known": found.evaluation.known_shares(), "model": scorer.card}
    if folders:
        _kept(found, folders[0])
    if options.bank:
        bank = evaluate_bank(scorer, samples, root, features, folder, data)
        report["bank"] = bank.evaluation.results_dict()
        print("\nNearest-neighbour bank, one for each true class (LTAD is one model for all)\n"
              + printed_results(report["bank"], bank.evaluation.branches))
        if folders:
            _kept(bank, folders[1])
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def _evaluation_root(scorer: Scorer, options: Namespace) -> Path:
    if options.data != "parts":
        return Path(options.data)
    about = scorer.checkpoint.about
    return parts_folder(options.work, about["split"], about["split_seed"])


def _told(found: ModelEvaluation) -> dict[str, Any]:
    """Print a model's tables; the figures as plain data."""
    evaluation = found.evaluation
    print(evaluation.results.table())
    print("\nCombined branch\n" + evaluation.results.figures_table())
    shares = evaluation.recognised_shares().values()
    print(f"\nClass recognised: {100 * sum(shares) / len(shares):.1f}% of the test pictures "
          "(mean over classes)")
    known = ", ".join(f"{100 * v:.1f}% of the {k}" for k, v in evaluation.known_shares().items())
    print(f"Known, so judged without being told the class: {known} test pictures")
    if evaluation.thin_masks:
        print(f"Masks with a defect thinner than a pixel at the model's size: "
              f"{evaluation.thin_masks}. It counts as one pixel wide there.")
    for name, error in evaluation.uncertain.items():
        print(f"Uncertain: pixel {name} of the combined branch, by up to {100 * error:.2f} "
              "percentage points, because too many scores share a bin.")
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
    if options.data != "parts":
        tell_faults(options, load_dataset(options.data))
    encoder = load_encoder(options.encoder, base.features, options.device)
    out = options.out or Workspace(options.work).runs
    runs: list[Run] = []
    for seed in range(options.seed, options.seed + options.seeds):
        if options.seeds > 1:
            print(f"Seed {seed}")
        config = base.replace(seed=seed)
        for split, group in groupby(runnable, key=lambda row: row.split or options.split):
            samples, root, about = training_samples(options, split, seed)
            if seed == options.seed:
                tell_counts(samples, about)
            source = Source(root, about["data"], about["split"], options.encoder,
                            tuple(about.get("split_list", ())))
            study = Study.of(samples, encoder, config, options.work, source)
            runs += run_table(study, list(group), config, out, options.table)
    print("\n" + report_table(rows, runs))
    print(f"Seconds: {time.monotonic() - began:.0f} now, "
          f"{sum(map(seconds_of, runs)):.0f} for all rows. Runs: {out}")


def score(options: Namespace) -> None:
    """``python -m ltad score``"""
    scorer, class_name = load_scorer(options.checkpoint, options.device), options.class_name
    if options.reference:
        scorer = _beside(scorer, options)
        class_name = scorer.class_names[0]
    elif options.name:
        raise SettingError("--name says what the images of --reference DIR are. Give both.")
    found = scorer.score_batch(
        options.images, class_name, options.normal_prompt, options.abnormal_prompt,
        options.lam, options.tau, options.false_alarm_rate,
    )
    if options.json:
        rows = [
            {"image": str(path), "verdict": d.verdict,
             **{k: v for k, v in asdict(d).items() if not k.endswith("_map")}}
            for path, d in zip(options.images, found, strict=True)
        ]
        print(json.dumps(rows, indent=2))
        return
    for path, d in zip(options.images, found, strict=True):
        verdict = d.verdict.upper() if d.is_anomalous or not d.is_judged else d.verdict
        known = "" if d.is_recognised else "  (looks like none of the parts this model knows)"
        print(f"{verdict:10}  {d.score:10.4g} / {d.threshold:.4g}  {d.class_name}{known}  {path}")


def _beside(base: Scorer, options: Namespace) -> ReferenceScorer:
    """A scorer of the part in the folder of good images."""
    if options.class_name:
        raise SettingError("--class-name names a class of the model, but with --reference the part "
                           "is the one of that folder. Leave it out.")
    folder = options.reference
    images = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES) \
        if folder.is_dir() else []
    if not images:
        raise SettingError(f"There is no image in the folder {options.reference}.")
    return ReferenceScorer(base, images, options.name)


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


def pretrain(options: Namespace) -> None:
    """``python -m ltad pretrain``"""
    from ltad.pretraining.train import PretrainingSettings
    from ltad.pretraining.train import pretrain as pretrain_encoder

    given = {"steps": options.steps, "pairs": options.pairs, "seed": options.seed}
    settings = replace(
        PretrainingSettings(), **{k: v for k, v in given.items() if v is not None}
    )
    pretrain_encoder(options.out, settings, options.work / "pretraining")
    recorded = json.loads((options.out / "pretraining.json").read_text(encoding="utf-8"))
    naming = {k: f"{100 * v:.1f}%" for k, v in recorded["naming"].items()}
    print(f"ImageNet's names in held-out phrasings: {naming['top1']} nearest to their own "
          f"direction, {naming['top5']} among the five nearest")
    print(f"The encoder is in {options.out}. Measure it: python -m ltad probe --encoder "
          f"{options.out}")


def probe(options: Namespace) -> None:
    """``python -m ltad probe``"""
    from ltad.pretraining import probe as probing
    from ltad.pretraining.twins import SEEN_PART_CLASSES

    reader = probing.Reader(load_encoder(options.encoder, device=options.device))
    if options.data:
        views = probing.folder_views(reader, options.data)
    else:
        views = probing.rendered_views(reader, options.per_defect, options.good)
    readings = list(next(iter(views.values()))["good"].readings)
    tables = {"state prompts": probing.state_prompts(reader, views)}
    by = ["class", "reading"] if options.data else ["group", "reading"]
    _show('"a X" against "a broken X", AUROC in percent',
          tables["state prompts"].groupby(by, sort=False)[["image", "pixel"]].mean())
    if options.words:
        for reading in readings:
            pairs = [*probing.TABLE_9, *probing.OTHER_PAIRS, *probing.held_out_pairs()]
            found = probing.pairs_of_prompts(reader, views, reading, pairs)
            tables[f"pairs, {reading}"] = found
            _show(f"pairs of prompts, {reading}: image AUROC; share of places whose S_sem moves by "
                  f"more than {probing.MOVED}", found.set_index(["normal", "abnormal"]))
            words = probing.words_by_defect(reader, views, reading, probing.WORD_TABLE)
            tables[f"words, {reading}"] = words.reset_index(names="word")
            _show(f"words x defect types, {reading}: image AUROC", words)
    if not options.data:
        for candidates in (SEEN_PART_CLASSES, probing.PART_CLASSES):
            shares = probing.naming(reader, views, candidates)
            seen = [shares[name] for name in SEEN_PART_CLASSES]
            print(f"naming among {len(candidates)} names: seen classes "
                  f"{100 * sum(seen) / len(seen):.1f}%"
                  + "".join(f", {n} {100 * v:.0f}%" for n, v in shares.items()
                            if n not in SEEN_PART_CLASSES))
    if options.json:
        plain = {name: table.to_dict(orient="records") for name, table in tables.items()}
        options.json.write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")


def _show(title: str, table: pd.DataFrame) -> None:
    print(f"\n{title}\n" + (100 * table).to_string(float_format="%.1f") + "\n")


def bench(options: Namespace) -> None:
    """``python -m ltad bench``"""
    from ltad.bench import speed

    with TemporaryDirectory() as empty:
        found = speed.measure(load_scorer(options.checkpoint, options.device, empty), options.align)
    print(speed.report(found))
    if options.json is not None:
        speed.write(found, options.json)
