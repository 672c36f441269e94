"""The Class names tab: the words nearest to each learned name, as tables and plots."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import gradio as gr
import numpy as np
import plotly.graph_objects as go
from gradio.events import api

from ltad.app.components import PRIVATE, QUIET, friendly
from ltad.app.controls import class_choices, model_choices
from ltad.app.html import escape, number, readable, render
from ltad.inference.registry import ModelRegistry
from ltad.inference.scorer import Scorer
from ltad.inference.vocabulary import VocabularyMap
from ltad.types import NearestToken

_GREY = "rgba(128, 134, 145, {})"
_ACCENT, _NAMES, _FOUND = "#ee6c4d", "#3d7ea6", "#2a9d6f"
_SVG_POINTS = 4000  # beyond this many points a canvas draws faster than SVG
_SIMILARITY = [(0.0, "#1b1041"), (0.35, "#681f7a"), (0.6, "#be3460"), (0.82, "#f0743e"),
               (1.0, "#fde26c")]
MOST_TOKENS = 50
START = "object"  # the word whose embedding every learned vector begins as


def vocabulary_figure(vocabulary: VocabularyMap, class_name: str, word: str = "") -> go.Figure:
    """The vocabulary's tokens and the learned names in the plane.

    The vectors of `class_name` stand out, and so do the tokens that contain `word`.
    """
    tokens = np.asarray(vocabulary.tokens, dtype=object)
    found = _matches(tokens, word)
    mine = np.array([name.rsplit(" ", 1)[0] == class_name for name in vocabulary.names], bool)
    names = np.array([readable(name) for name in vocabulary.names], dtype=object)
    marker = go.Scattergl if len(tokens) > _SVG_POINTS else go.Scatter
    figure = go.Figure()
    figure.add_trace(
        _points(marker, "tokens", vocabulary.token_xy, tokens, size=4, color=_GREY.format(0.5))
    )
    figure.add_trace(
        _points(go.Scatter, "other classes", vocabulary.name_xy[~mine], names[~mine],
                size=7, color=_NAMES, symbol="diamond", opacity=0.75)
    )
    figure.add_trace(
        _points(go.Scatter, _short(readable(class_name)), vocabulary.name_xy[mine], names[mine],
                size=13, color=_ACCENT, symbol="diamond", label=True)
    )
    figure.add_trace(
        _points(go.Scatter, "start: object", vocabulary.initial_xy,
                np.array(["object (start)"], dtype=object), size=13, color=_ACCENT, symbol="x")
    )
    if found.any():
        figure.add_trace(
            _points(go.Scatter, f"“{word.strip()}”", vocabulary.token_xy[found], tokens[found],
                    size=11, color=_FOUND, symbol="circle", label=found.sum() <= 12)
        )
    figure.update_xaxes(
        title=f"Two principal components: {vocabulary.explained:.0%} of the variance"
    )
    return _finish(figure, height=520, legend=True)


def _matches(tokens: np.ndarray, word: str) -> np.ndarray:
    wanted = word.strip().lower()
    return np.array([bool(wanted) and wanted in str(token).lower() for token in tokens], bool)


def _points(
    kind: type, title: str, places: np.ndarray, texts: np.ndarray, *, label: bool = False,
    **marker: Any,
) -> Any:
    return kind(
        x=places[:, 0], y=places[:, 1], text=[escape(_short(text)) for text in texts],
        hovertext=[escape(text) for text in texts], name=escape(title),
        mode="markers+text" if label else "markers",
        textposition=[("top center", "bottom center")[index % 2] for index in range(len(texts))],
        marker=marker, hovertemplate="%{hovertext}<extra></extra>",
    )


def similarity_figure(class_names: Sequence[str], similarity: np.ndarray) -> go.Figure:
    """Cosine similarity of every pair of classes' text embeddings."""
    names = [escape(_short(readable(name))) for name in class_names]
    figure = go.Figure(
        go.Heatmap(
            z=similarity, x=names, y=names, colorscale=_SIMILARITY, zmax=1.0,
            zmin=float(min(similarity.min(), 0.999)),
            hovertemplate="%{y} and %{x}: %{z:.3f}<extra></extra>",
            colorbar={"thickness": 10, "outlinewidth": 0, "title": {"text": "cosine"}},
        )
    )
    figure.update_yaxes(autorange="reversed", showticklabels=True)
    figure.update_xaxes(showticklabels=True, tickangle=-45)
    return _finish(figure, height=max(380, 30 * len(names) + 140), legend=False)


def _short(name: str, limit: int = 22) -> str:
    """A name that fits into a figure: its beginning and, because vectors are numbered, its end."""
    return name if len(name) <= limit else f"{name[: limit - 3]}…{name[-2:]}"


def _finish(figure: go.Figure, height: int, legend: bool) -> go.Figure:
    figure.update_layout(
        height=height, showlegend=legend, paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)", margin={"l": 8, "r": 8, "t": 24, "b": 8},
        font={"family": "system-ui, sans-serif", "size": 12},
        legend={"orientation": "h", "y": -0.1, "yanchor": "top", "x": 0},
        hoverlabel={"font": {"family": "system-ui, sans-serif"}},
    )
    line = _GREY.format(0.25)
    show = {} if not legend else {"showticklabels": False}
    figure.update_xaxes(automargin=True, gridcolor=line, zeroline=False, **show)
    figure.update_yaxes(automargin=True, gridcolor=line, zeroline=False, **show)
    return figure


def describe_names(scorer: Scorer, class_name: str, count: int) -> str:
    """For each learned vector of a class: drift from its start and the nearest tokens, as HTML."""
    learned = scorer.nearest_tokens(class_name, _count(count))
    baseline = scorer.random_baseline(_count(count))
    drift = scorer.name_drift(class_name)
    cards = [
        (f"{readable(class_name)}, vector {index}",
         f"Since its start as “{START}”: cosine {cosine:.3f}, distance {number(distance)}.", tokens)
        for index, (tokens, (cosine, distance)) in enumerate(zip(learned, drift, strict=True), 1)
    ]
    return render("names.warning", baseline_findings(learned, baseline)) \
        + render("names.own_name", class_name, scorer.own_name_ranks()) \
        + render("names.cards", cards, baseline)


def baseline_findings(
    learned: Sequence[Sequence[NearestToken]], baseline: Sequence[float]
) -> list[str]:
    """Says of which vectors the nearest tokens are no nearer than those of random vectors."""
    findings = []
    for index, tokens in enumerate(learned, 1):
        near = [token.token for token in tokens if token.cosine > baseline[0]]
        if not near:
            findings.append(f"Vector {index} is no nearer to any word than a random vector is.")
        elif near == [START]:
            findings.append(f"Vector {index} is near to no word but “{START}”, where it began.")
    return findings


def describe_words(scorer: Scorer, words: str, count: int) -> str:
    """The nearest tokens of each token of some words, as HTML."""
    if not words.strip():
        return render("names.no_words")
    baseline = scorer.random_baseline(_count(count))
    found = scorer.nearest_tokens_of_words(words, _count(count))
    cards = [(token, "A token of the vocabulary.", near) for token, near in found.items()]
    return render("names.cards", cards, baseline)


def draw_vocabulary(scorer: Scorer, class_name: str, word: str) -> go.Figure:
    """The map of the vocabulary with a class, and perhaps a word, standing out."""
    return vocabulary_figure(scorer.vocabulary_map(), class_name, word)


def draw_similarity(scorer: Scorer) -> go.Figure:
    """How alike the classes' text embeddings are."""
    return similarity_figure(scorer.class_names, scorer.text_similarity())


def of_model(
    registry: ModelRegistry, describe: Callable[..., Any], model: str, class_name: str, *rest: Any
) -> Any:
    """`describe` for a model's class; its first class while the choice is another model's."""
    scorer = registry.scorer(model)
    known = class_name if class_name in scorer.class_names else scorer.class_names[0]
    return describe(scorer, known, *rest)


def describe_all(
    scorer: Scorer, class_name: str, count: int, words: str, search: str
) -> tuple[Any, str, str, go.Figure, go.Figure]:
    """The classes to choose from, and everything that the tab shows of a model."""
    return (
        gr.update(choices=class_choices(scorer), value=class_name),
        describe_names(scorer, class_name, count), describe_words(scorer, words, count),
        draw_vocabulary(scorer, class_name, search), draw_similarity(scorer),
    )


def describe_class(
    scorer: Scorer, class_name: str, count: int, search: str
) -> tuple[str, go.Figure]:
    """What a class changes: its learned vectors, and where they lie on the map."""
    return (describe_names(scorer, class_name, count),
            draw_vocabulary(scorer, class_name, search))


def describe_tables(scorer: Scorer, class_name: str, count: int, words: str) -> tuple[str, str]:
    """Both kinds of tables with another number of tokens."""
    return describe_names(scorer, class_name, count), describe_words(scorer, words, count)


def build_class_names(registry: ModelRegistry, chosen_model: gr.Dropdown, tab: gr.Tab) -> None:
    """Lay out the tab inside the current ``gr.Blocks`` and wire it up.

    Args:
        chosen_model: the Inspect tab's model, with which this tab opens.
    """
    scorer = registry.first
    first, words_in_prompts = scorer.class_names[0], scorer.config.model
    names_of_models = registry.names()
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
    gr.Markdown("## Map of the vocabulary\nA flat image of a space with many dimensions: "
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
    everything = [class_name, names, word_tables, vocabulary, similarity]
    for event, answer, inputs, outputs in (
        (model.input, describe_all, [class_name, count, words, search], everything),
        (class_name.input, describe_class, [class_name, count, search], [names, vocabulary]),
        (count.change, describe_tables, [class_name, count, words], [names, word_tables]),
        (words.change, lambda scorer, _, *asked: describe_words(scorer, *asked),
         [class_name, words, count], word_tables),
        (search.change, draw_vocabulary, [class_name, search], vocabulary),
    ):
        event(friendly(partial(of_model, registry, answer)), [model, *inputs], outputs,
              preprocess=False, **QUIET)
    opened = tab.select(friendly(partial(model_choices, registry)), chosen_model, model, **PRIVATE)
    opened.then(friendly(partial(of_model, registry, describe_all)),
                [model, class_name, count, words, search], everything, preprocess=False, **PRIVATE)
    _build_endpoints(registry)


def _build_endpoints(registry: ModelRegistry) -> None:
    """The API's view of the same facts, as plain data. An empty model is the first one."""

    def nearest_tokens(class_name: str, k: int = 10, model: str = "") -> list[Any]:
        """The k nearest tokens of each learned vector of a class."""
        learned = registry.scorer(model).nearest_tokens(class_name, _count(k))
        return [[dataclasses.asdict(near) for near in tokens] for tokens in learned]

    def prompt_tokens(words: str, k: int = 10, model: str = "") -> dict[str, Any]:
        """The k nearest tokens of each token of some words."""
        found = registry.scorer(model).nearest_tokens_of_words(words, _count(k))
        return {token: [dataclasses.asdict(near) for near in tokens]
                for token, tokens in found.items()}

    def vocabulary_map(model: str = "") -> dict[str, Any]:
        """The vocabulary and the learned names in the plane."""
        drawn = registry.scorer(model).vocabulary_map()
        return {
            "tokens": list(drawn.tokens), "token_xy": drawn.token_xy.tolist(),
            "names": list(drawn.names), "name_xy": drawn.name_xy.tolist(),
            "initial_xy": drawn.initial_xy.tolist(),
        }

    def class_similarity(model: str = "") -> dict[str, Any]:
        """Cosine of every pair of classes' text embeddings."""
        scorer = registry.scorer(model)
        return {"class_names": list(scorer.class_names),
                "similarity": scorer.text_similarity().tolist()}

    for endpoint in (nearest_tokens, prompt_tokens, vocabulary_map, class_similarity):
        api(friendly(endpoint), api_name=endpoint.__name__)


def _count(k: int) -> int:
    return max(1, min(MOST_TOKENS, int(k)))
