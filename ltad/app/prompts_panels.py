"""Panels of the Prompts tab: other class names, a refitted Phi, what is kept."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr
import pandas as pd

from ltad.app import prompts_view
from ltad.app.components import BUSY, QUIET, Update, friendly
from ltad.app.detection_view import ReadyPhoto
from ltad.app.html import readable, render
from ltad.prompts.experiment import Experiment, Outcome
from ltad.prompts.grid import measure_image, prompt_list, readings_frame
from ltad.prompts.lab import PromptLab
from ltad.prompts.refit import RefitSettings, own_learning_rate
from ltad.prompts.variants import (
    EVERY_CLASS,
    NEAREST,
    OF_CLASS,
    OWN,
    SHUFFLED,
    replace_names,
    replaced_classes,
    replacement_words,
)
from ltad.types import GROUPS, PromptError, SettingError

NO_DATA = (
    "There is no test set yet. Start the page with a server folder that holds a data set in MVTec "
    "AD's layout, or evaluate a model (`python -m ltad evaluate --run NAME`): its data is offered "
    "here. Models of rendered parts need nothing."
)
RATES = (("the model's own", 0.0), ("1e-6", 1e-6), ("1e-5", 1e-5), ("1e-4", 1e-4),
         ("1e-3", 1e-3))
WORDS, NEAREST_KIND, OTHER, OWN_KIND, SHUFFLED_KIND = (
    "words", "its nearest tokens", "another class's name", "the data set's own name",
    "shuffled among all",
)
KINDS = (WORDS, NEAREST_KIND, OTHER, OWN_KIND, SHUFFLED_KIND)


@dataclass(frozen=True)
class Sources:
    """The components of the tab that the panels read.

    Attributes:
        photo: the image's state.
        model, normals, abnormals, lam, tau: the controls.
        boxes: v^n and v^a of pair A, then of pair B.
    """

    photo: gr.State
    model: gr.Dropdown
    normals: gr.Textbox
    abnormals: gr.Textbox
    lam: gr.Number
    tau: gr.Number
    boxes: list[gr.Textbox]


@dataclass(frozen=True)
class Measured:
    """What a finished measurement leaves with the page: plain data, no model."""

    frame: pd.DataFrame
    command: str
    about: str


def measured(lab: PromptLab, model: str, data: str, outcome: Outcome) -> Measured:
    """An outcome as plain data, with the sentence that says how it was made."""
    grid = outcome.before
    about = render("prompts.about", len(grid.pairs), grid.images, data, outcome.seconds,
                   grid.pixel_size)
    command = lab.command(model, outcome.experiment, data)
    return Measured(outcome.frame(), command, about)


def chosen_data(data: str | None) -> str:
    """The name of the chosen test set. Raises SettingError when there is none."""
    if not data:
        raise SettingError(NO_DATA.replace("`", ""))
    return data


def measure_grid(
    lab: PromptLab, model: str, data: str | None, normals: str, abnormals: str,
    lam: float | None, tau: float | None,
    progress: gr.Progress = gr.Progress(track_tqdm=True),  # noqa: B008
) -> Measured:
    """AUROC of every pair of the grid."""
    experiment = Experiment(
        prompt_list(normals, "normal"), prompt_list(abnormals, "abnormal"), lam=lam, tau=tau
    )
    return measured(lab, model, chosen_data(data), lab.run(model, chosen_data(data), experiment))


def show_heat(found: Measured | None, metric: str, branch: str, name: str) -> tuple[str, str]:
    """The heat table and its exports, as HTML."""
    if found is None:
        return render("prompts.not_measured"), ""
    return (
        prompts_view.heat_table_html(found.frame, metric, branch, name)
        + render("prompts.remark", found.about),
        prompts_view.exports_html(found.frame, found.command, "prompt-auroc.csv"),
    )


def refit_pair(
    lab: PromptLab, model: str, data: str | None, normal: str, abnormal: str,
    lam: float | None, tau: float | None, steps: float, rate: float,
    progress: gr.Progress = gr.Progress(track_tqdm=True),  # noqa: B008
) -> tuple[str, str, str, Any]:
    """Refit for pair A: the table and exports as HTML, the id, and the buttons' visibility."""
    experiment = Experiment(
        prompt_list([normal], "normal"), prompt_list([abnormal], "abnormal"),
        refit=RefitSettings(int(steps), rate or None), lam=lam, tau=tau,
    )
    outcome = lab.run(model, chosen_data(data), experiment)
    found, one = measured(lab, model, chosen_data(data), outcome), outcome.refits[0]
    pair = experiment.pairs[0]
    html = prompts_view.change_table_html(found.frame, (), f"Phi refitted for {pair}") \
        + render("prompts.refitted", one, found.about)
    exports = prompts_view.exports_html(found.frame, found.command, "prompt-refit.csv")
    return html, exports, lab.keep(model, chosen_data(data), outcome), gr.update(visible=True)


def keep_refit(
    refits: list[tuple[str, str]], key: str, normal: str, abnormal: str
) -> tuple[list[tuple[str, str]], Any]:
    """Put the refitted model among the page's models and choose it."""
    label = f"refit {len(refits) + 1}: {normal} / {abnormal} (this visit only)"
    return [*refits, (label, key)], gr.update(visible=False)


def drop_refit(lab: PromptLab, key: str) -> tuple[str, str, str, Any]:
    """Forget the refitted model."""
    lab.drop(key)
    return render("prompts.not_measured"), "", "", gr.update(visible=False)


def save_refit(lab: PromptLab, key: str, name: str) -> str:
    """Write the refitted model as a new model folder; the page's answer as HTML."""
    folder = lab.save(key, name.strip())
    return render("prompts.saved", folder.name)


def build_panels(lab: PromptLab, sources: Sources) -> tuple[gr.Dropdown, gr.State]:
    """Lay out the panels; returns the test set's choice and the refits that are kept."""
    offered = [one.name for one in lab.data_sets(None)]
    gr.Markdown("## AUROC on a test set\nEvery pair of the grid on features that are computed "
                "once. The first time, a test set takes as long as its images need.")
    data = gr.Dropdown(offered, value=next(iter(offered), None), label="Test set",
                       elem_id="lt-prompts-data")
    if not offered:
        gr.HTML(render("prompts.remark", NO_DATA))
    _build_auroc(lab, sources, data)
    return data, _build_refit(lab, sources, data)


def _build_auroc(lab: PromptLab, sources: Sources, data: gr.Dropdown) -> None:
    run = gr.Button("Measure the AUROC of every pair", variant="primary",
                    elem_id="lt-prompts-measure")
    with gr.Row():
        metric = gr.Radio([("Image", "image"), ("Pixel", "pixel")], value="image", label="AUROC")
        branch = gr.Radio(["semantic", "combined"], value="semantic", label="Map")
        group = gr.Radio(list(GROUPS), value="All", label="Classes")
    heat, exports = gr.HTML(render("prompts.not_measured"), elem_id="lt-prompts-auroc"), gr.HTML()
    state = gr.State(time_to_live=3600)
    done = run.click(
        friendly(partial(measure_grid, lab)),
        [sources.model, data, sources.normals, sources.abnormals, sources.lam, sources.tau],
        state, show_progress_on=heat, **BUSY,
    )
    views = [state, metric, branch, group]
    done.success(friendly(show_heat), views, [heat, exports], **QUIET)
    gr.on([metric.change, branch.change, group.change], friendly(show_heat), views,
          [heat, exports], **QUIET)


def _build_refit(lab: PromptLab, sources: Sources, data: gr.Dropdown) -> gr.State:
    gr.Markdown("## Refit Φ for pair A\nΦ is linear on frozen features. Some hundred steps of "
                "equation (8) on the model's own training images, beginning at its present Φ; "
                "the model itself stays as it is.")
    first = lab.registry.first
    own = f"The model's own is {own_learning_rate(first):g} for {first.name}."
    with gr.Row():
        steps = gr.Slider(50, 1000, RefitSettings.steps, step=50, label="Steps", buttons=[])
        rate = gr.Dropdown(list(RATES), value=0.0, label="Learning rate", info=own,
                           min_width=240)
    run = gr.Button("Refit and compare", variant="primary", elem_id="lt-prompts-refit-run")
    table, exports = gr.HTML(render("prompts.not_measured"), elem_id="lt-prompts-refit"), gr.HTML()
    key, refits = gr.State(""), gr.State([])
    with gr.Row(visible=False) as choices:
        keep = gr.Button("Keep for this visit", size="sm")
        drop = gr.Button("Drop", size="sm")
        name = gr.Textbox(show_label=False, placeholder="name of a new model", max_lines=1,
                          max_length=64, container=False)
        save = gr.Button("Save as model", size="sm")
    saved = gr.HTML()
    model, pair = sources.model, sources.boxes[:2]
    run.click(
        friendly(partial(refit_pair, lab)),
        [model, data, *pair, sources.lam, sources.tau, steps, rate],
        [table, exports, key, choices], show_progress_on=table, **BUSY,
    )
    keep.click(keep_refit, [refits, key, *pair], [refits, choices], **QUIET).success(
        partial(_with_refits, lab), refits, model, **QUIET
    )
    drop.click(partial(drop_refit, lab), key, [table, exports, key, choices], **QUIET)
    save.click(friendly(partial(save_refit, lab)), [key, name], saved, **QUIET)
    return refits


def _with_refits(lab: PromptLab, refits: list[tuple[str, str]]) -> Any:
    names = [(name, name) for name in lab.registry.names()]
    return gr.update(choices=[*names, *refits], value=refits[-1][1])


def replacement_of(kind: str, words: str, other: str, class_name: str) -> dict[str, str]:
    """The panel's choice as `ltad.prompts.variants` writes it.

    Raises:
        PromptError: no words.
        SettingError: shuffled names for a single class.
    """
    if kind == WORDS and not words.strip():
        raise PromptError("Type the words that take the name's place, for example: hex nut.")
    if kind == SHUFFLED_KIND and class_name != EVERY_CLASS:
        raise SettingError("Names are shuffled among all: choose every class.")
    text = {WORDS: " ".join(words.split()), NEAREST_KIND: NEAREST, OTHER: f"{OF_CLASS}{other}",
            OWN_KIND: OWN, SHUFFLED_KIND: SHUFFLED}[kind]
    return {class_name: text}


def show_replacement(
    lab: PromptLab, photo: ReadyPhoto | None, model: str, class_name: str, kind: str, words: str,
    other: str, lam: float | None, tau: float | None, normal: str, abnormal: str,
) -> str:
    """What the replacement says, the image's map under the learned name and under it, and the
    exports, as HTML."""
    if (photo is not None and photo.model != model) or (kind == WORDS and not words.strip()):
        return ""
    scorer = lab.scorer(model)
    replacement = replacement_of(kind, words, other, class_name)
    name = class_name
    if class_name == EVERY_CLASS:
        name = scorer.recognise(photo.prepared).best if photo else scorer.class_names[0]
    said = replacement_words(scorer, name, replacement[class_name])
    unknown = scorer.unknown_words(said) if kind in (WORDS, NEAREST_KIND, OWN_KIND) else []
    html = render("prompts.renamed", name, said, unknown)
    if photo is None:
        return html
    experiment = Experiment(
        prompt_list([normal], "normal"), prompt_list([abnormal], "abnormal"), replacement,
        lam=lam, tau=tau,
    )
    before, after = (
        measure_image(one, photo.prepared, name, experiment.pairs, lam, tau)
        for one in (scorer, replace_names(scorer, replacement))
    )
    command = lab.command(model, experiment, image="PICTURE", class_name=name)
    return html + prompts_view.compare_html([*before, *after], photo) + prompts_view.exports_html(
        readings_frame(before, name, after), command, "prompt-name-picture.csv"
    )


def measure_replacement(
    lab: PromptLab, model: str, data: str | None, class_name: str, kind: str, words: str,
    other: str, lam: float | None, tau: float | None, normal: str, abnormal: str,
    progress: gr.Progress = gr.Progress(track_tqdm=True),  # noqa: B008
) -> tuple[str, str]:
    """What the replacement costs under pair A: the table and its exports, as HTML."""
    scorer = lab.scorer(model)
    experiment = Experiment(
        prompt_list([normal], "normal"), prompt_list([abnormal], "abnormal"),
        replacement_of(kind, words, other, class_name), lam=lam, tau=tau,
    )
    found = measured(lab, model, chosen_data(data), lab.run(model, chosen_data(data), experiment))
    there = set(found.frame["name"])
    names = [n for n in replaced_classes(scorer, experiment.replacements) if n in there]
    html = prompts_view.change_table_html(found.frame, names, str(experiment.pairs[0]))
    return (html + render("prompts.remark", found.about),
            prompts_view.exports_html(found.frame, found.command, "prompt-name.csv"))


def _own_words(class_name: str) -> str | Update:
    return gr.skip() if class_name == EVERY_CLASS else readable(class_name)


def build_replacement(
    lab: PromptLab, sources: Sources, data: gr.Dropdown
) -> tuple[gr.Dropdown, gr.Textbox, gr.Dropdown]:
    """Lay out the panel; returns class, words and other class."""
    classes = [(readable(name), name) for name in lab.registry.first.class_names]
    gr.Markdown("## Another name for a class\nTable 8's question: what do the learned names do "
                "that words do not? Under pair A.")
    with gr.Row():
        replaced = gr.Dropdown([("every class", EVERY_CLASS), *classes], value=classes[0][1],
                               label="Class")
        kind = gr.Dropdown(list(KINDS), value=WORDS, label="Its name becomes")
        words = gr.Textbox(classes[0][0], label="Words", max_lines=1, max_length=200)
        other = gr.Dropdown(classes, value=classes[-1][1], label="The other class", visible=False)
    shown = gr.HTML(elem_id="lt-prompts-renamed")
    run = gr.Button("Measure what it costs", variant="primary", elem_id="lt-prompts-replace-run")
    table = gr.HTML(render("prompts.not_measured"), elem_id="lt-prompts-replace")
    exports = gr.HTML()
    ask = gr.Button("Rename", elem_id="lt-prompts-rename", visible="hidden")
    choice = [replaced, kind, words, other]
    numbers = [sources.lam, sources.tau, *sources.boxes[:2]]
    renamed = ask.click(friendly(partial(show_replacement, lab)),
                        [sources.photo, sources.model, *choice, *numbers], shown, **QUIET)
    renamed.failure(lambda: "", None, shown, **QUIET)
    renamed.then(None, js="() => window.ltad.answered()")
    for one in (*choice, *sources.boxes[:2]):
        one.change(None, js="() => window.ltad.press('lt-prompts-rename', 300)")
    replaced.input(_own_words, replaced, words, **QUIET)
    kind.change(lambda kind: (gr.update(visible=kind == WORDS), gr.update(visible=kind == OTHER)),
                kind, [words, other], **QUIET)
    run.click(friendly(partial(measure_replacement, lab)),
              [sources.model, data, *choice, *numbers], [table, exports],
              show_progress_on=table, **BUSY)
    return replaced, words, other
