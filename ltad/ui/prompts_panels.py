"""The Prompts tab's panels for what takes seconds: AUROC of a grid, and a refit."""

from __future__ import annotations

from functools import partial
from typing import Any

import gradio as gr

from ltad.prompt_lab.experiment import GROUPS, Experiment
from ltad.prompt_lab.lab import PromptLab
from ltad.prompt_lab.pairs import prompt_list
from ltad.prompt_lab.refit import RefitSettings, own_learning_rate
from ltad.ui import prompts_html
from ltad.ui.errors import friendly
from ltad.ui.prompts_shared import BUSY, NO_DATA, QUIET, Measured, Sources, chosen_data, measured
from ltad.ui.text import escape

RATES = (("the model's own", 0.0), ("1e-6", 1e-6), ("1e-5", 1e-5), ("1e-4", 1e-4),
         ("1e-3", 1e-3))


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
        return prompts_html.NOT_YET, ""
    return (
        prompts_html.heat_table_html(found.frame, metric, branch, name)
        + prompts_html.paragraph(found.about),
        prompts_html.exports_html(found.frame, found.command, "prompt-auroc.csv"),
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
    html = prompts_html.change_table_html(
        found.frame, (), f"Phi refitted for {escape(pair)}: AUROC before → after, percent"
    ) + prompts_html.paragraph(
        f"{experiment.refit.steps} steps at {one.learning_rate:g} in <b>{one.seconds:.1f} s</b>; "
        f"L<sub>sem</sub> {one.first_loss:.4f} → {one.last_loss:.4f}. {found.about}"
    )
    exports = prompts_html.exports_html(found.frame, found.command, "prompt-refit.csv")
    return html, exports, lab.keep(model, chosen_data(data), outcome), gr.update(visible=True)


def keep_refit(
    kept: list[tuple[str, str]], key: str, normal: str, abnormal: str
) -> tuple[list[tuple[str, str]], Any]:
    """Put the refitted model among the page's models and choose it."""
    label = f"refit {len(kept) + 1}: {normal} / {abnormal} (this visit only)"
    return [*kept, (label, key)], gr.update(visible=False)


def drop_refit(lab: PromptLab, key: str) -> tuple[str, str, str, Any]:
    """Forget the refitted model."""
    lab.drop(key)
    return prompts_html.NOT_YET, "", "", gr.update(visible=False)


def save_refit(lab: PromptLab, key: str, name: str) -> str:
    """Write the refitted model as a new model folder; the page's answer as HTML."""
    folder = lab.save(key, name.strip())
    return prompts_html.paragraph(f"Saved as the model <b>{escape(folder.name)}</b>.")


def build_panels(lab: PromptLab, sources: Sources) -> tuple[gr.Dropdown, gr.State]:
    """Lay out the panels; returns the test set's choice and the refits that are kept."""
    offered = [one.name for one in lab.data_sets(None)]
    gr.Markdown("## AUROC on a test set\nEvery pair of the grid on features that are computed "
                "once. The first time, a test set takes as long as its pictures need.")
    data = gr.Dropdown(offered, value=next(iter(offered), None), label="Test set",
                       elem_id="lt-prompts-data")
    if not offered:
        gr.HTML(prompts_html.paragraph(escape(NO_DATA)))
    _build_auroc(lab, sources, data)
    return data, _build_refit(lab, sources, data)


def _build_auroc(lab: PromptLab, sources: Sources, data: gr.Dropdown) -> None:
    run = gr.Button("Measure the AUROC of every pair", variant="primary",
                    elem_id="lt-prompts-measure")
    with gr.Row():
        metric = gr.Radio([("Image", "image"), ("Pixel", "pixel")], value="image", label="AUROC")
        branch = gr.Radio(["semantic", "combined"], value="semantic", label="Map")
        group = gr.Radio(list(GROUPS), value="All", label="Classes")
    heat, exports = gr.HTML(prompts_html.NOT_YET, elem_id="lt-prompts-auroc"), gr.HTML()
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
                "equation (8) on the model's own training pictures, beginning at its present Φ; "
                "the model itself stays as it is.")
    own = f"The model's own is {own_learning_rate(lab.shelf.first):g} for {lab.shelf.first.name}."
    with gr.Row():
        steps = gr.Slider(50, 1000, RefitSettings.steps, step=50, label="Steps", buttons=[])
        rate = gr.Dropdown(list(RATES), value=0.0, label="Learning rate", info=own,
                           min_width=240)
    run = gr.Button("Refit and compare", variant="primary", elem_id="lt-prompts-refit-run")
    table, exports = gr.HTML(prompts_html.NOT_YET, elem_id="lt-prompts-refit"), gr.HTML()
    key, kept = gr.State(""), gr.State([])
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
    keep.click(keep_refit, [kept, key, *pair], [kept, choices], **QUIET).success(
        partial(_with_kept, lab), kept, model, **QUIET
    )
    drop.click(partial(drop_refit, lab), key, [table, exports, key, choices], **QUIET)
    save.click(friendly(partial(save_refit, lab)), [key, name], saved, **QUIET)
    return kept


def _with_kept(lab: PromptLab, kept: list[tuple[str, str]]) -> Any:
    names = [(name, name) for name in lab.shelf.names()]
    return gr.update(choices=[*names, *kept], value=kept[-1][1])
