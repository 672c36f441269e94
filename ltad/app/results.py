"""The Results tab: evaluations looked into, from their table down to single images.

One page from the whole to the part: which runs; their table; the long tail; the operating point;
the images. The bar of the operating point stays in view on a wide screen. The script in
``results.js`` turns clicks in tables and figures into presses of the hidden buttons made here.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import gradio as gr
from gradio.events import Dependency

from ltad.app import results_cards, results_gallery, results_view
from ltad.app.components import BUSY, PRIVATE, QUIET, answer_last, friendly
from ltad.app.html import render
from ltad.app.results_api import build_results_endpoints
from ltad.app.results_table import EXTRAS
from ltad.evaluation.operating_point import VERDICT_HEADINGS
from ltad.evaluation.run_store import RunReader
from ltad.inference.registry import ModelRegistry
from ltad.types import BRANCH_TABLE
from ltad.workspace import Workspace

ALL = ""
FALSE_ALARM_RATE = 0.05
BRANCHES = [("Run's own", ALL), *((branch.title, branch.name) for branch in BRANCH_TABLE)]
SHOWN = [("All", ALL), ("All errors", "errors"),
         *[(heading, verdict) for verdict, heading in VERDICT_HEADINGS.items()],
         ("Where the runs disagree", "disagree")]


def build_results(registry: ModelRegistry, workspace: Workspace, tab: gr.Tab) -> None:
    """Lay out the tab inside the current ``gr.Blocks`` and wire it up."""
    reader = RunReader(workspace.runs, workspace.shipped_runs)
    runs = gr.Dropdown([], multiselect=True, label="Runs", elem_id="lt-runs", visible=False)
    opening = gr.HTML(render("results.no_run"), elem_id="lt-runs-opening")
    with gr.Column(visible=False, elem_id="lt-results") as body:
        facts, re_evaluate, deletion = _build_facts()
        table = _build_table()
        long_tail = _build_long_tail()
        bar = _build_bar()
        operating = _build_operating_point()
        images = _build_images()
    focus, class_name = bar[0], bar[1]

    listed = tab.select(friendly(partial(results_view.list_runs, reader)), runs,
                        [runs, opening], **PRIVATE)
    chosen = runs.change(
        friendly(partial(results_view.choose_runs, reader)),
        [runs, focus, class_name, images["defect"], table["baseline"]],
        [opening, body, focus, class_name, images["defect"], table["baseline"], facts], **QUIET,
    )
    _wire_table(reader, chosen, runs, table)
    _wire_long_tail(reader, chosen, runs, long_tail)
    _wire_operating_point(reader, chosen, runs, bar, operating, tab)
    _wire_images(reader, registry, chosen, runs, bar, images)
    if workspace.is_public:
        deletion["ask"].visible = re_evaluate.visible = False
    else:
        _wire_deletion(reader, runs, opening, focus, deletion)
        re_evaluate.click(
            friendly(partial(results_view.re_evaluate, reader, registry, workspace.root)),
            [focus, runs], [runs, opening], show_progress_on=runs, **BUSY,
        )
    focus.input(friendly(partial(results_view.show_facts, reader)), focus, facts, **QUIET)
    listed.then(None, js="() => window.ltad.results.arrive()")
    build_results_endpoints(reader, registry, workspace.root, workspace.is_public)


def _build_facts() -> tuple[gr.HTML, gr.Button, dict[str, gr.Button]]:
    with gr.Accordion("About the run in view", open=False, elem_id="lt-run-facts"):
        with gr.Row(elem_classes="lt-run-deletion"):
            re_evaluate = gr.Button("Evaluate again", size="sm", min_width=0,
                                    elem_id="lt-run-again")
            deletion = {
                "ask": gr.Button("Delete this run", size="sm", min_width=0),
                "really": gr.Button("Really delete", size="sm", min_width=0, variant="stop",
                                    visible=False),
                "keep": gr.Button("Keep it", size="sm", min_width=0, visible=False),
            }
        facts = gr.HTML()
    return facts, re_evaluate, deletion


def _build_table() -> dict[str, Any]:
    gr.Markdown("## Figures", elem_classes="lt-run-section")
    with gr.Row(elem_classes="lt-run-filters"):
        parts: dict[str, Any] = {
            "extras": gr.CheckboxGroup(
                [(label, key) for key, label in EXTRAS.items()], value=["branches", "interval"],
                label="Columns", scale=3, min_width=280,
            ),
            "baseline": gr.Dropdown([("nothing", ALL)], value=ALL, label="Difference to",
                                    min_width=200, elem_id="lt-run-baseline"),
            "entry": gr.Dropdown([], label="Row and column of that table", visible=False,
                                 min_width=200, elem_id="lt-run-entry"),
        }
    parts["html"] = gr.HTML(elem_id="lt-run-table")
    parts["csv"] = gr.Textbox(elem_id="lt-run-csv", elem_classes="lt-run-unseen")
    parts["download"] = gr.Button("Download as CSV", size="sm", elem_classes="lt-run-short")
    return parts


def _build_long_tail() -> dict[str, Any]:
    with gr.Row(elem_classes="lt-run-section-row"):
        gr.Markdown("## Long tail", elem_classes="lt-run-section")
        metric = gr.Radio([("Image AUROC", "image"), ("Pixel AUROC", "pixel")], value="image",
                          show_label=False, container=False, elem_classes="lt-run-choice")
    return {"metric": metric,
            "plot": gr.Plot(show_label=False, label="Long tail", elem_id="lt-run-long-tail")}


def _build_bar() -> list[Any]:
    """Run in view, class, branch, rate and score, in the order that the handlers take them."""
    gr.Markdown("## Operating point", elem_classes="lt-run-section")
    with gr.Row(elem_classes="lt-run-bar-row", elem_id="lt-run-bar"):
        return [
            gr.Dropdown([], label="Run in view", visible=False, min_width=160),
            gr.Dropdown([("All classes", ALL)], value=ALL, label="Class", min_width=140),
            gr.Dropdown(BRANCHES, value=ALL, label="Scores", min_width=130),
            gr.Slider(0.01, 0.5, FALSE_ALARM_RATE, step=0.01, label="False alarms accepted",
                      buttons=[], min_width=220, scale=2, elem_id="lt-run-rate"),
            gr.Textbox("", label="Or one score", placeholder="by false alarms", max_lines=1,
                       max_length=20, min_width=120, elem_id="lt-run-score"),
        ]


def _build_operating_point() -> dict[str, Any]:
    with gr.Row(elem_classes="lt-run-halves"):
        with gr.Column(min_width=0):
            confusion = gr.HTML(elem_id="lt-run-confusion")
        with gr.Column(min_width=0):
            curves = gr.Plot(show_label=False, label="Curves", elem_id="lt-run-curves")
    histogram = gr.Plot(show_label=False, label="Scores", elem_id="lt-run-histogram")
    gr.HTML(render("results.scores_note"))
    return {"confusion": confusion, "histogram": histogram, "curves": curves,
            "columns": gr.Number(5, visible=False)}


def _build_images() -> dict[str, Any]:
    gr.Markdown("## Images", elem_classes="lt-run-section")
    with gr.Row(elem_classes="lt-run-filters"):
        parts: dict[str, Any] = {
            "verdict": gr.Dropdown(SHOWN, value=ALL, label="Show", min_width=140),
            "defect": gr.Dropdown([("All", ALL)], value=ALL, label="Defect type", min_width=140),
            "sort": gr.Dropdown([(label, key) for key, label in results_gallery.SORTS.items()],
                                value="false alarms", label="Order", min_width=170),
            "colour": gr.Dropdown(
                [(label, key) for key, label in results_cards.EMBEDDING_COLOURS.items()],
                value="error", label="Colour of the map", min_width=140,
            ),
        }
    with gr.Row(elem_classes="lt-run-map-and-shots"):
        with gr.Column(min_width=0, elem_classes="lt-run-map"):
            parts["map"] = gr.Plot(show_label=False, label="Map", elem_id="lt-run-map")
            gr.HTML(render("results.map_note"))
        with gr.Column(min_width=0):
            gr.HTML(render("results.gallery_tools"))
            parts["html"] = gr.HTML(elem_id="lt-run-gallery")
            with gr.Row(elem_classes="lt-run-pager"):
                parts["previous"] = gr.Button("‹ Previous page", size="sm", min_width=0,
                                              elem_id="lt-run-shots-previous")
                parts["next"] = gr.Button("Next page ›", size="sm", min_width=0,
                                          elem_id="lt-run-shots-next")
    parts["selection"] = gr.Textbox("", elem_id="lt-run-selection", elem_classes="lt-run-unseen")
    parts["page"] = gr.Number(1, visible=False)
    return parts


# --- what happens when ----------------------------------------------------------------------------


def _wire_table(
    reader: RunReader, chosen: Dependency, runs: gr.Dropdown, parts: dict[str, Any]
) -> None:
    show = friendly(partial(results_view.show_table, reader))
    inputs = [runs, parts["extras"], parts["baseline"], parts["entry"]]
    outputs = [parts["html"], parts["csv"]]
    chosen.then(show, inputs, outputs, **PRIVATE)
    gr.on([parts["extras"].change, parts["entry"].input], show, inputs, outputs, **QUIET)
    offered = parts["baseline"].input(
        friendly(results_view.offer_entries), parts["baseline"], parts["entry"], **QUIET
    )
    offered.then(show, inputs, outputs, **PRIVATE)
    parts["download"].click(None, parts["csv"], None,
                            js="(text) => window.ltad.results.save('ltad_results.csv', text)")


def _wire_long_tail(
    reader: RunReader, chosen: Dependency, runs: gr.Dropdown, parts: dict[str, Any]
) -> None:
    show = friendly(partial(results_view.show_long_tail, reader))
    chosen.then(show, [runs, parts["metric"]], parts["plot"], **PRIVATE)
    parts["metric"].change(show, [runs, parts["metric"]], parts["plot"], **QUIET)


def _wire_operating_point(
    reader: RunReader, chosen: Dependency, runs: gr.Dropdown, bar: list[Any], parts: dict[str, Any],
    tab: gr.Tab,
) -> None:
    focus, class_name, branch, rate, score = bar
    # A phone has room for two small histograms side by side.
    tab.select(None, None, parts["columns"], js="() => (window.innerWidth < 760 ? 2 : 5)")
    show = friendly(partial(results_view.show_operating_point, reader))
    inputs = [runs, parts["columns"], *bar]
    outputs = [parts["confusion"], parts["histogram"], parts["curves"]]
    chosen.then(show, inputs, outputs, **PRIVATE)
    answer_last([one.change for one in bar[1:]] + [bar[0].input], show, inputs, outputs, "point")
    pick_class = gr.Button(visible="hidden", elem_id="lt-run-pick-class")
    pick_class.click(None, None, class_name, js="() => window.ltad.results.pickedClass")
    pick_score = gr.Button(visible="hidden", elem_id="lt-run-pick-score")
    pick_score.click(None, None, score, js="() => window.ltad.results.pickedScore")
    line = gr.Textbox(visible=False)  # [class, score] of a line that is dragged
    pick_line = gr.Button(visible="hidden", elem_id="lt-run-pick-line")
    pick_line.click(
        friendly(partial(results_view.rate_of_line, reader)), [line, focus, branch], rate,
        js="(_, ...rest) => [window.ltad.results.pickedLine, ...rest]", **QUIET,
    ).then(None, js="() => window.ltad.results.released()")
    # Moving the slider means that the rate is wanted again.
    rate.input(None, None, score, js="() => ''")


def _wire_images(
    reader: RunReader, registry: ModelRegistry, chosen: Dependency, runs: gr.Dropdown,
    bar: list[Any], parts: dict[str, Any],
) -> None:
    focus, class_name, branch, rate, score = bar
    inputs = [runs, *bar, *[parts[k] for k in ("defect", "verdict", "sort", "selection", "page")]]
    outputs = [parts["html"], parts["page"]]
    first, previous, following = (
        friendly(partial(results_view.show_gallery, reader, registry.names, step))
        for step in (0, -1, 1)
    )
    chosen.then(first, inputs, outputs, **PRIVATE)
    filters = [parts[key].input for key in ("defect", "verdict", "sort")]
    point = [class_name.change, branch.change, rate.release, score.change, focus.input]
    answer_last([*filters, *point, parts["selection"].change], first, inputs, outputs, "shots")
    for button, turn in ((parts["previous"], previous), (parts["next"], following)):
        button.click(turn, inputs, outputs, **QUIET).then(
            None, js="() => window.ltad.results.turned()"
        )
    draw = friendly(partial(results_view.show_map, reader))
    drawn_by = [parts["colour"], focus, branch, rate, score]
    chosen.then(draw, drawn_by, parts["map"], **PRIVATE)
    answer_last([parts["colour"].input, branch.change, rate.release, score.change, focus.input],
                draw, drawn_by, parts["map"], "map")
    pick = gr.Button(visible="hidden", elem_id="lt-run-pick-pictures")
    pick.click(None, focus, parts["selection"],
               js="(run) => window.ltad.results.selection(run)")


def _wire_deletion(
    reader: RunReader, runs: gr.Dropdown, opening: gr.HTML, focus: gr.Dropdown,
    deletion: dict[str, gr.Button],
) -> None:
    """Two steps: the first shows what would be deleted, the second deletes it."""
    buttons = [deletion["ask"], deletion["really"], deletion["keep"]]
    deletion["ask"].click(results_view.ask_deletion, focus, buttons, **PRIVATE)
    deletion["keep"].click(results_view.forget_deletion, None, buttons, **PRIVATE)
    focus.change(results_view.forget_deletion, None, buttons, **PRIVATE)
    gone = deletion["really"].click(
        friendly(partial(results_view.delete_run, reader)), [focus, runs], [runs, opening],
        **PRIVATE,
    )
    gone.then(results_view.forget_deletion, None, buttons, **PRIVATE)
