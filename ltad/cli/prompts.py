"""``python -m ltad prompts``: the prompt laboratory on the command line."""

from __future__ import annotations

import argparse
from argparse import Namespace
from pathlib import Path

from ltad.evaluation.ablations import ABNORMAL_PROMPTS, NORMAL_PROMPTS
from ltad.inference.registry import load_scorer
from ltad.inference.scorer import Scorer
from ltad.prompts.experiment import Experiment, Outcome, outcome_table, run_experiment
from ltad.prompts.grid import prompt_list, read_picture, readings_frame
from ltad.prompts.refit import RefitSettings
from ltad.prompts.testset import MAP_SCALE, read_bench, read_samples, training_data
from ltad.prompts.variants import parse_replacements, replace_names, replaced_classes, save_variant
from ltad.review.export import guarded
from ltad.types import SettingError

MOST_COLUMNS = 3
"""More replaced classes than this have no columns of their own in print; the CSV holds all."""


def add_prompts(group) -> None:
    """Add the sub-parser of ``prompts`` to the command line's."""
    parser = group.add_parser(
        "prompts", help="AUROC of pairs of prompts, other class names, a refitted Phi.",
        description="Measure pairs of prompts on a test set in seconds, before and after the "
                    "names are replaced or Phi is refitted. The model itself is never changed.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.set_defaults(run=prompts)
    parser.add_argument("--checkpoint", default="assets/demo", help="model folder or hub name")
    parser.add_argument("--data", help="test set: a folder in the layout of MVTec AD, VisA or "
                        "DAGM 2007, or 'parts' for the rendered benchmark")
    parser.add_argument("--image", help="one picture: its scores under each pair")
    parser.add_argument("--class-name", help="the picture's class; by default recognised")
    parser.add_argument("--normal", nargs="+", default=list(NORMAL_PROMPTS), metavar="WORDS")
    parser.add_argument("--abnormal", nargs="+", default=list(ABNORMAL_PROMPTS), metavar="WORDS")
    parser.add_argument("--replace", nargs="+", default=[], metavar="CLASS=WORDS",
                        help="another class name: words, @nearest, @own or @class:NAME; the class "
                             "'*' stands for all, and takes @shuffled too")
    parser.add_argument("--refit", action="store_true", help="refit Phi for each pair")
    parser.add_argument("--steps", type=int, default=RefitSettings.steps, help="of the refit")
    parser.add_argument("--learning-rate", type=float, default=None,
                        help="of the refit; by default the model's own")
    parser.add_argument("--save", type=Path, default=None, metavar="FOLDER",
                        help="write the refitted model, if there is one pair")
    parser.add_argument("--lam", type=float, default=None, help="instead of the model's lambda")
    parser.add_argument("--tau", type=float, default=None, help="instead of the model's tau")
    parser.add_argument("--pixel-size", type=int, default=None,
                        help="side of the maps whose pixels are counted; by default "
                             f"{MAP_SCALE} times the semantic grid")
    parser.add_argument("--csv", type=Path, default=None, metavar="FILE",
                        help="write every figure, of each class too")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, mps, ...")
    parser.add_argument("--work", type=Path, default=Path(".ltad"),
                        help="folder for rendered parts and cached features")


def prompts(options: Namespace) -> None:
    """``python -m ltad prompts``"""
    if not (options.data or options.image):
        raise SettingError("Give a test set (--data FOLDER or --data parts) or an --image.")
    if options.data and options.image:
        raise SettingError("Give --data or --image, not both.")
    experiment = _experiment(options)
    if options.image and experiment.refit:
        raise SettingError("--refit needs the training pictures: give --data, not --image.")
    if options.save and not (experiment.refit and len(experiment.pairs) == 1):
        raise SettingError("--save needs --refit and a single pair of prompts.")
    if options.save and experiment.replacements:
        raise SettingError("--save keeps the model's own names: leave --replace out.")
    scorer = load_scorer(options.checkpoint, options.device)
    _warn(scorer, experiment)
    if options.image:
        _picture(scorer, experiment, options)
    else:
        _test_set(scorer, experiment, options)


def _experiment(options: Namespace) -> Experiment:
    return Experiment(
        prompt_list(options.normal, "normal"), prompt_list(options.abnormal, "abnormal"),
        parse_replacements(options.replace),
        RefitSettings(options.steps, options.learning_rate) if options.refit else None,
        options.lam, options.tau, options.pixel_size,
    )


def _warn(scorer: Scorer, experiment: Experiment) -> None:
    words = " ".join((*experiment.normal_prompts, *experiment.abnormal_prompts,
                      *(r for r in experiment.replacements.values() if not r.startswith("@"))))
    unknown = list(dict.fromkeys(scorer.unknown_words(words)))
    if unknown:
        print(f"Not whole words of the vocabulary, so read in pieces: {', '.join(unknown)}.")


def _picture(scorer: Scorer, experiment: Experiment, options: Namespace) -> None:
    class_name = options.class_name or scorer.recognise(options.image).best
    models = {"": scorer}
    if experiment.replacements:
        models = {"before": scorer, "after": replace_names(scorer, experiment.replacements)}
    found = {
        state: read_picture(model, options.image, class_name, experiment.pairs, experiment.lam,
                            experiment.tau)
        for state, model in models.items()
    }
    print(f"class: {class_name}")
    width = max(len(str(pair)) for pair in experiment.pairs)
    for state, readings in found.items():
        for reading in readings:
            print(str(reading.pair).ljust(width), *([state] if state else []), *(
                f"{b} {reading.scores[b]:.4g} (threshold {reading.thresholds[b]:.4g})"
                for b in reading.scores
            ), sep="  ")
    if options.csv:
        frame = readings_frame(next(iter(found.values())), class_name, found.get("after", ()))
        guarded(frame).to_csv(options.csv, index=False)


def _test_set(scorer: Scorer, experiment: Experiment, options: Namespace) -> None:
    samples = read_samples(scorer, options.data, options.work)
    features = options.work / "features"
    bench = read_bench(scorer, samples, features, experiment.pixel_size)
    if bench.left_out:
        print(f"Left out, because the model does not know them: {', '.join(bench.left_out)}.")
    outcome = run_experiment(
        scorer, bench, experiment, lambda: training_data(scorer, samples, features)
    )
    names = [n for n in replaced_classes(scorer, experiment.replacements) if n in bench.positions]
    print(outcome_table(outcome, tuple(names) if len(names) <= MOST_COLUMNS else ()))
    print("\n".join(_told(outcome, bench.seconds)))
    if options.csv:
        guarded(outcome.frame()).to_csv(options.csv, index=False)
    if options.save:
        about = {"refitted_from": scorer.name, "refitted_on": str(options.data),
                 "refit_steps": experiment.refit.steps,
                 "refit_learning_rate": outcome.refits[0].learning_rate}
        folder = save_variant(outcome.refits[0].scorer, options.save.name, options.save.parent,
                              about)
        print(f"The refitted model is in {folder}.")


def _told(outcome: Outcome, reading_seconds: float) -> list[str]:
    """How many pairs and pictures, how the pixels were counted, and how long each part took."""
    grid = outcome.before
    lines = [
        f"AUROC in percent. Pixels counted on maps of {grid.pixel_size} x {grid.pixel_size}.",
        f"{len(grid.pairs)} pairs on {grid.pictures} pictures: {grid.seconds:.1f} s "
        f"(reading the test set: {reading_seconds:.1f} s)",
    ]
    for pair, one in zip(grid.pairs, outcome.refits, strict=False):
        lines.append(
            f"Refit for {pair}: {one.seconds:.1f} s, {outcome.experiment.refit.steps} steps at "
            f"{one.learning_rate:g}, loss {one.first_loss:.4f} -> {one.last_loss:.4f}"
        )
    return [*lines, f"Everything after reading: {outcome.seconds:.1f} s"]
