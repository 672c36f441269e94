"""The Prompts tab's panel for another class name: what it says, how it looks, what it costs."""

from __future__ import annotations

from functools import partial

import gradio as gr

from ltad.prompt_lab.experiment import Experiment
from ltad.prompt_lab.lab import PromptLab
from ltad.prompt_lab.names import (
    EVERY_CLASS,
    NEAREST,
    OF_CLASS,
    OWN,
    SHUFFLED,
    replace_names,
    replaced_classes,
    replacement_words,
)
from ltad.prompt_lab.pairs import prompt_list
from ltad.prompt_lab.picture import read_picture, readings_frame
from ltad.types import PromptError, SettingError
from ltad.ui import prompts_html
from ltad.ui.answer import Photo
from ltad.ui.errors import friendly
from ltad.ui.prompts_shared import BUSY, QUIET, Sources, chosen_data, measured
from ltad.ui.text import escape, notice, readable

WORDS, NEAREST_KIND, OTHER, OWN_KIND, SHUFFLED_KIND = (
    "words", "its nearest tokens", "another class's name", "the data set's own name",
    "shuffled among all",
)
KINDS = (WORDS, NEAREST_KIND, OTHER, OWN_KIND, SHUFFLED_KIND)


def replacement_of(kind: str, words: str, other: str, class_name: str) -> dict[str, str]:
    """The panel's choice as `ltad.prompt_lab.names` writes it.

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
    lab: PromptLab, photo: Photo | None, model: str, class_name: str, kind: str, words: str,
    other: str, lam: float | None, tau: float | None, normal: str, abnormal: str,
) -> str:
    """What the replacement says, the picture's map under the learned name and under it, and the
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
    html = notice("Not whole words of the vocabulary, so read in pieces: "
                  f"<b>{escape(', '.join(unknown))}</b>.") if unknown else ""
    html += prompts_html.paragraph(
        f"{escape(readable(name)).capitalize()} is called <b>{escape(said)}</b>. The picture is "
        "read as that class: A under the learned name, B under this one."
    )
    if photo is None:
        return html
    experiment = Experiment(
        prompt_list([normal], "normal"), prompt_list([abnormal], "abnormal"), replacement,
        lam=lam, tau=tau,
    )
    before, after = (
        read_picture(one, photo.prepared, name, experiment.pairs, lam, tau)
        for one in (scorer, replace_names(scorer, replacement))
    )
    command = lab.command(model, experiment, image="PICTURE", class_name=name)
    return html + prompts_html.compare_html(*before, *after, photo) + prompts_html.exports_html(
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
    html = prompts_html.change_table_html(
        found.frame, names, f"{escape(experiment.pairs[0])}: AUROC before → after, percent"
    )
    return (html + prompts_html.paragraph(found.about),
            prompts_html.exports_html(found.frame, found.command, "prompt-name.csv"))


def _own_words(class_name: str) -> str:
    return gr.skip() if class_name == EVERY_CLASS else readable(class_name)


def build_replacement(
    lab: PromptLab, sources: Sources, data: gr.Dropdown
) -> tuple[gr.Dropdown, gr.Textbox, gr.Dropdown]:
    """Lay out the panel; returns class, words and other class."""
    classes = [(readable(name), name) for name in lab.shelf.first.class_names]
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
    table, exports = gr.HTML(prompts_html.NOT_YET, elem_id="lt-prompts-replace"), gr.HTML()
    ask = gr.Button("Rename", elem_id="lt-prompts-rename", visible="hidden")
    choice = [replaced, kind, words, other]
    numbers = [sources.lam, sources.tau, *sources.boxes[:2]]
    told = ask.click(friendly(partial(show_replacement, lab)),
                     [sources.photo, sources.model, *choice, *numbers], shown, **QUIET)
    told.failure(lambda: "", None, shown, **QUIET)
    told.then(None, js="() => window.ltad.answered()")
    for one in (*choice, *sources.boxes[:2]):
        one.change(None, js="() => window.ltad.press('lt-prompts-rename', 300)")
    replaced.input(_own_words, replaced, words, **QUIET)
    kind.change(lambda kind: (gr.update(visible=kind == WORDS), gr.update(visible=kind == OTHER)),
                kind, [words, other], **QUIET)
    run.click(friendly(partial(measure_replacement, lab)),
              [sources.model, data, *choice, *numbers], [table, exports],
              show_progress_on=table, **BUSY)
    return replaced, words, other
