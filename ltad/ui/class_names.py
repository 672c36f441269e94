"""The Class names tab: what the learned vectors of a class mean, as far as words can say it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import gradio as gr
import plotly.graph_objects as go

from ltad.shelf import ModelShelf
from ltad.types import NearestToken
from ltad.ui import plots
from ltad.ui.controls import class_choices, model_choices
from ltad.ui.errors import friendly
from ltad.ui.text import escape, notice, number, readable

MOST_TOKENS = 50
START = "object"  # the word whose embedding every learned vector begins as


def describe_names(scorer: Any, class_name: str, count: int) -> str:
    """For each learned vector of a class: drift from its start and the nearest tokens, as HTML."""
    learned = scorer.nearest_tokens(class_name, _count(count))
    baseline = scorer.random_baseline(_count(count))
    drift = scorer.name_drift(class_name)
    cards = "".join(
        _card_html(
            f"{readable(class_name)}, vector {index}",
            f"Since its start as “{START}”: cosine {cosine:.3f}, distance {number(distance)}.",
            tokens,
            baseline,
        )
        for index, (tokens, (cosine, distance)) in enumerate(zip(learned, drift, strict=True), 1)
    )
    return baseline_notice(learned, baseline) + f"<div class='lt-cards'>{cards}</div>"


def baseline_notice(learned: Sequence[Sequence[NearestToken]], baseline: Sequence[float]) -> str:
    """Says when the nearest tokens are no nearer than those of random vectors."""
    findings = []
    for index, tokens in enumerate(learned, 1):
        near = [token.token for token in tokens if token.cosine > baseline[0]]
        if not near:
            findings.append(f"Vector {index} is no nearer to any word than a random vector is.")
        elif near == [START]:
            findings.append(f"Vector {index} is near to no word but “{START}”, where it began.")
    if not findings:
        return ""
    return notice(f"<b>{' '.join(findings)}</b> Read no meaning into the other nearest tokens.")


def describe_words(scorer: Any, words: str, count: int) -> str:
    """The nearest tokens of each token of some words, as HTML."""
    if not words.strip():
        return "<p class='lt-quiet'>Type words to compare them with the learned vectors.</p>"
    baseline = scorer.random_baseline(_count(count))
    found = scorer.nearest_tokens_of_words(words, _count(count))
    cards = "".join(
        _card_html(token, "A token of the vocabulary.", near, baseline)
        for token, near in found.items()
    )
    return f"<div class='lt-cards'>{cards}</div>"


def _card_html(
    title: str, about: str, tokens: Sequence[NearestToken], baseline: Sequence[float]
) -> str:
    rows = "".join(
        f"<tr><th scope='row'>{escape(near.token)}</th>"
        f"<td class='lt-with-bar'><i style='width:{100 * max(0.0, near.cosine):.0f}%'></i>"
        f"<span>{near.cosine:.3f}</span></td>"
        f"<td>{chance:.3f}</td><td>{number(near.distance)}</td></tr>"
        for near, chance in zip(tokens, baseline, strict=False)
    )
    return (
        f"<section class='lt-card'><h3>{escape(title)}</h3><p class='lt-quiet'>{escape(about)}</p>"
        "<table class='lt-table'><thead><tr><th scope='col'>Nearest token</th>"
        "<th scope='col'>Cosine</th>"
        "<th scope='col' title='Mean cosine of the token of this rank, random vectors'>By chance"
        f"</th><th scope='col'>Distance</th></tr></thead><tbody>{rows}</tbody></table></section>"
    )


def draw_vocabulary(scorer: Any, class_name: str, word: str) -> go.Figure:
    """The map of the vocabulary with a class, and perhaps a word, standing out."""
    return plots.vocabulary_figure(scorer.vocabulary_map(), class_name, word)


def draw_similarity(scorer: Any) -> go.Figure:
    """How alike the classes' text embeddings are."""
    return plots.similarity_figure(scorer.class_names, scorer.text_similarity())


def of_model(
    shelf: ModelShelf, describe: Callable[..., Any], model: str, class_name: str, *rest: Any
) -> Any:
    """`describe` for a model's class; its first class while the choice is another model's."""
    scorer = shelf.scorer(model)
    known = class_name if class_name in scorer.class_names else scorer.class_names[0]
    return describe(scorer, known, *rest)


def describe_all(
    scorer: Any, class_name: str, count: int, words: str, search: str
) -> tuple[Any, str, str, go.Figure, go.Figure]:
    """The classes to choose from, and everything that the tab shows of a model."""
    return (
        gr.update(choices=class_choices(scorer), value=class_name),
        describe_names(scorer, class_name, count), describe_words(scorer, words, count),
        draw_vocabulary(scorer, class_name, search), draw_similarity(scorer),
    )


def describe_class(
    scorer: Any, class_name: str, count: int, search: str
) -> tuple[str, go.Figure]:
    """What a class changes: its learned vectors, and where they lie on the map."""
    return (describe_names(scorer, class_name, count),
            draw_vocabulary(scorer, class_name, search))


def describe_tables(scorer: Any, class_name: str, count: int, words: str) -> tuple[str, str]:
    """Both kinds of tables with another number of tokens."""
    return describe_names(scorer, class_name, count), describe_words(scorer, words, count)


def build_class_names(shelf: ModelShelf, chosen_model: gr.Dropdown, tab: gr.Tab) -> None:
    """Lay out the tab inside the current ``gr.Blocks`` and wire it up.

    Args:
        chosen_model: the Inspect tab's model, with which this tab opens.
    """
    scorer = shelf.first
    first, words_in_prompts = scorer.class_names[0], scorer.config.model
    names_of_models = shelf.names()
    with gr.Row():
        model = gr.Dropdown(
            names_of_models, value=names_of_models[0], label="Model",
            visible=len(names_of_models) > 1,
        )
        class_name = gr.Dropdown(class_choices(scorer), value=first, label="Class")
        count = gr.Slider(1, MOST_TOKENS, 10, step=1, label="Tokens in each table", buttons=[])
    gr.Markdown("## Learned vectors\nThe tokens nearest to each learned vector, beside the cosine "
                "that the token of the same rank reaches for random vectors of the same length.")
    names = gr.HTML()
    gr.Markdown("## Words\nThe same tables for ordinary words, such as those of the prompts.")
    prompts = dict.fromkeys(
        f"{words_in_prompts.normal_prompt} {words_in_prompts.abnormal_prompt} {START}".split()
    )
    words = gr.Textbox(" ".join(prompts), label="Words", max_lines=1, max_length=200)
    word_tables = gr.HTML()
    gr.Markdown("## Map of the vocabulary\nA flat picture of a space with many dimensions: "
                "nearness here is a hint, the tables are the measurement.")
    search = gr.Textbox(label="Find a word on the map", max_lines=1, max_length=60)
    vocabulary = gr.Plot(label="Map of the vocabulary", show_label=False, elem_id="lt-vocabulary")
    gr.Markdown("## Similarity of the classes\nCosine between the text embeddings of the learned "
                "names; the colours run from the lowest pair to 1.")
    similarity = gr.Plot(label="Similarity of the classes", show_label=False,
                         elem_id="lt-similarity")

    # Gradio repeats all listeners of an event when one was asked meanwhile, without an end when
    # there are two: here an event has one. The class on its way may be another model's, which
    # `of_model` sees to and Gradio would refuse.
    quiet = {"show_progress": "hidden", "api_visibility": "private"}
    last = {**quiet, "trigger_mode": "always_last", "preprocess": False}
    everything = [class_name, names, word_tables, vocabulary, similarity]
    for event, answer, inputs, outputs in (
        (model.input, describe_all, [class_name, count, words, search], everything),
        (class_name.input, describe_class, [class_name, count, search], [names, vocabulary]),
        (count.change, describe_tables, [class_name, count, words], [names, word_tables]),
        (words.change, lambda scorer, _, *asked: describe_words(scorer, *asked),
         [class_name, words, count], word_tables),
        (search.change, draw_vocabulary, [class_name, search], vocabulary),
    ):
        event(friendly(partial(of_model, shelf, answer)), [model, *inputs], outputs, **last)
    opened = tab.select(friendly(partial(model_choices, shelf)), chosen_model, model, **quiet)
    opened.then(friendly(partial(of_model, shelf, describe_all)),
                [model, class_name, count, words, search], everything, preprocess=False, **quiet)
    _build_endpoints(shelf)


def _build_endpoints(shelf: ModelShelf) -> None:
    """The API's view of the same facts, as plain data. An empty model is the first one."""

    def nearest_tokens(class_name: str, k: int = 10, model: str = "") -> list:
        """The k nearest tokens of each learned vector of a class."""
        learned = shelf.scorer(model).nearest_tokens(class_name, _count(k))
        return [[dataclasses.asdict(near) for near in tokens] for tokens in learned]

    def prompt_tokens(words: str, k: int = 10, model: str = "") -> dict:
        """The k nearest tokens of each token of some words."""
        found = shelf.scorer(model).nearest_tokens_of_words(words, _count(k))
        return {token: [dataclasses.asdict(near) for near in tokens]
                for token, tokens in found.items()}

    def vocabulary_map(model: str = "") -> dict:
        """The vocabulary and the learned names in the plane."""
        drawn = shelf.scorer(model).vocabulary_map()
        return {
            "tokens": list(drawn.tokens), "token_xy": drawn.token_xy.tolist(),
            "names": list(drawn.names), "name_xy": drawn.name_xy.tolist(),
            "initial_xy": drawn.initial_xy.tolist(),
        }

    def class_similarity(model: str = "") -> dict:
        """Cosine of every pair of classes' text embeddings."""
        scorer = shelf.scorer(model)
        return {"class_names": list(scorer.class_names),
                "similarity": scorer.text_similarity().tolist()}

    for endpoint in (nearest_tokens, prompt_tokens, vocabulary_map, class_similarity):
        gr.api(friendly(endpoint), api_name=endpoint.__name__)


def _count(k: int) -> int:
    return max(1, min(MOST_TOKENS, int(k)))
