"""``python -m ltad prompts``: the prompt laboratory on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from ltad.cli.options import MODEL, WORK, Checkpoint, Device, Lam, Tau, Work
from ltad.evaluation.ablations import ABNORMAL_PROMPTS, NORMAL_PROMPTS
from ltad.inference.registry import load_scorer
from ltad.inference.scorer import Scorer
from ltad.prompts.experiment import Experiment, Outcome, outcome_table, run_experiment
from ltad.prompts.grid import measure_image, prompt_list, readings_frame
from ltad.prompts.refit import RefitSettings
from ltad.prompts.testset import MAP_SCALE, read_bench, read_samples, training_data
from ltad.prompts.variants import parse_replacements, replace_names, replaced_classes, save_variant
from ltad.review.export import guarded
from ltad.types import SettingError

MOST_COLUMNS = 3
"""More replaced classes than this have no columns of their own in print; the CSV holds all."""


NORMAL: list[str] = list(NORMAL_PROMPTS)
ABNORMAL: list[str] = list(ABNORMAL_PROMPTS)


def prompts(
    checkpoint: Checkpoint = MODEL,
    data: Annotated[str | None, typer.Option(
        help="test set: a folder in the layout of MVTec AD, VisA or DAGM 2007, or 'parts' for "
             "the rendered benchmark")] = None,
    image: Annotated[str | None, typer.Option(
        help="one image: its scores under each pair")] = None,
    class_name: Annotated[str | None, typer.Option(
        help="the image's class; by default recognised")] = None,
    normal: Annotated[list[str], typer.Option(metavar="WORDS ...")] = NORMAL,
    abnormal: Annotated[list[str], typer.Option(metavar="WORDS ...")] = ABNORMAL,
    replace: Annotated[list[str] | None, typer.Option(
        metavar="CLASS=WORDS ...",
        help="another class name: words, @nearest, @own or @class:NAME; the class '*' stands for "
             "all, and takes @shuffled too")] = None,
    refit: Annotated[bool, typer.Option("--refit", help="refit Phi for each pair")] = False,
    steps: Annotated[int, typer.Option(help="of the refit")] = RefitSettings.steps,
    learning_rate: Annotated[float | None, typer.Option(
        help="of the refit; by default the model's own")] = None,
    save: Annotated[Path | None, typer.Option(
        metavar="FOLDER", help="write the refitted model, if there is one pair")] = None,
    lam: Lam = None,
    tau: Tau = None,
    pixel_size: Annotated[int | None, typer.Option(
        help="side of the maps whose pixels are counted; by default "
             f"{MAP_SCALE} times the semantic grid")] = None,
    csv: Annotated[Path | None, typer.Option(
        metavar="FILE", help="write every figure, of each class too")] = None,
    device: Device = "cpu",
    work: Work = WORK,
) -> None:
    """AUROC of pairs of prompts, other class names, a refitted Phi.

    Measure pairs of prompts on a test set in seconds, before and after the names are replaced or
    Phi is refitted. The model itself is never changed.
    """
    source = data or image
    if not source:
        raise SettingError("Give a test set (--data FOLDER or --data parts) or an --image.")
    if data and image:
        raise SettingError("Give --data or --image, not both.")
    experiment = Experiment(
        prompt_list(normal, "normal"), prompt_list(abnormal, "abnormal"),
        parse_replacements(replace or []),
        RefitSettings(steps, learning_rate) if refit else None, lam, tau, pixel_size,
    )
    if image and refit:
        raise SettingError("--refit needs the training images: give --data, not --image.")
    if save and not (refit and len(experiment.pairs) == 1):
        raise SettingError("--save needs --refit and a single pair of prompts.")
    if save and experiment.replacements:
        raise SettingError("--save keeps the model's own names: leave --replace out.")
    scorer = load_scorer(checkpoint, device)
    _warn(scorer, experiment)
    if data:
        outcome = _test_set(scorer, experiment, source, work)
        figures = outcome.frame()
    else:
        outcome = None
        figures = _image_figures(scorer, experiment, source, class_name)
    if csv:
        guarded(figures).to_csv(csv, index=False)
    if save and outcome:
        about = {"refitted_from": scorer.name, "refitted_on": data, "refit_steps": steps,
                 "refit_learning_rate": outcome.refits[0].learning_rate}
        folder = save_variant(outcome.refits[0].scorer, save.name, save.parent, about)
        print(f"The refitted model is in {folder}.")


def _warn(scorer: Scorer, experiment: Experiment) -> None:
    words = " ".join((*experiment.normal_prompts, *experiment.abnormal_prompts,
                      *(r for r in experiment.replacements.values() if not r.startswith("@"))))
    unknown = list(dict.fromkeys(scorer.unknown_words(words)))
    if unknown:
        print(f"Not whole words of the vocabulary, so read in pieces: {', '.join(unknown)}.")


def _image_figures(
    scorer: Scorer, experiment: Experiment, image: str, class_name: str | None
) -> pd.DataFrame:
    """Print one image's scores under each pair; all of them as a table."""
    class_name = class_name or scorer.recognise(image).best
    models = {"": scorer}
    if experiment.replacements:
        models = {"before": scorer, "after": replace_names(scorer, experiment.replacements)}
    found = {
        state: measure_image(model, image, class_name, experiment.pairs, experiment.lam,
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
    return readings_frame(next(iter(found.values())), class_name, found.get("after", ()))


def _test_set(scorer: Scorer, experiment: Experiment, data: str, work: Path) -> Outcome:
    """Print a test set's AUROC under each pair."""
    samples = read_samples(scorer, data, work)
    features = work / "features"
    bench = read_bench(scorer, samples, features, experiment.pixel_size)
    if bench.left_out:
        print(f"Left out, because the model does not know them: {', '.join(bench.left_out)}.")
    outcome = run_experiment(
        scorer, bench, experiment, lambda: training_data(scorer, samples, features)
    )
    names = [n for n in replaced_classes(scorer, experiment.replacements) if n in bench.positions]
    print(outcome_table(outcome, tuple(names) if len(names) <= MOST_COLUMNS else ()))
    print("\n".join(_summary_lines(outcome, bench.seconds)))
    return outcome


def _summary_lines(outcome: Outcome, reading_seconds: float) -> list[str]:
    """How many pairs and images, how the pixels were counted, and how long each part took."""
    grid = outcome.before
    lines = [
        f"AUROC in percent. Pixels counted on maps of {grid.pixel_size} x {grid.pixel_size}.",
        f"{len(grid.pairs)} pairs on {grid.images} images: {grid.seconds:.1f} s "
        f"(reading the test set: {reading_seconds:.1f} s)",
    ]
    for pair, one in zip(grid.pairs, outcome.refits, strict=False):
        lines.append(
            f"Refit for {pair}: {one.seconds:.1f} s, {one.steps} steps at "
            f"{one.learning_rate:g}, loss {one.first_loss:.4f} -> {one.last_loss:.4f}"
        )
    return [*lines, f"Everything after reading: {outcome.seconds:.1f} s"]
