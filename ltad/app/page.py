"""The page: ``build_app(scorer).launch(**launch_options())``.

One file a tab, in which the handlers stand above the layout; none of them touches torch. Gradio
mounts a tab's components when it is first opened, so tabs that nobody opens cost nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import gradio as gr
from gradio.themes import Default
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Route

from ltad.app.address import name_tabs, restore_at_load
from ltad.app.class_names import build_class_names
from ltad.app.components import PRIVATE, SCORES_AT_ONCE, friendly
from ltad.app.draw import build_draw
from ltad.app.html import readable, render
from ltad.app.inspect import build_inspect, find_examples
from ltad.app.operation import RequestLog
from ltad.app.prompts import build_prompts
from ltad.app.results import build_results
from ltad.app.review import build_review
from ltad.app.train import build_train
from ltad.app.visitors import NoteUploads, OwnPagesOnly, Page
from ltad.inference.registry import ModelRegistry
from ltad.inference.scorer import Scorer
from ltad.workspace import Workspace

TABS = {
    "inspect": "Inspect", "prompts": "Prompts", "names": "Class names", "review": "Review",
    "draw": "Draw a defect", "train": "Train", "results": "Results",
}
"""Name in the page's address -> title, in order."""
_FOLDER = Path(__file__).parent / "static"
_FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
_FONTS_MONO = ["ui-monospace", "Menlo", "Consolas", "monospace"]


def build_app(
    scorer: Scorer, examples: Path = Path("assets/examples"), workspace: Workspace | None = None
) -> gr.Blocks:
    """The whole page.

    Args:
        scorer: the :class:`ltad.Scorer` that the page starts with.
        examples: a folder of ``*.jpg``.
        workspace: where the page keeps what people make; by default ``.ltad`` in this folder. On a
            public one nobody sees or changes what another visitor made.
    """
    workspace = workspace or Workspace()
    registry = ModelRegistry(scorer, None if workspace.is_public else workspace.models)
    example_paths = find_examples(examples)
    with Page(title="LTAD", analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        page.is_public = workspace.is_public
        header = gr.HTML(header_html(scorer), elem_id="lt-header")
        with gr.Tabs() as tabs:
            opened = {name: gr.Tab(label, id=name) for name, label in TABS.items()}
            name_tabs(opened)
            with opened["inspect"] as tab:
                image, controls, references = build_inspect(registry, example_paths, tab)
            with opened["prompts"]:
                build_prompts(registry, workspace, example_paths)
            with opened["names"] as tab:
                build_class_names(registry, controls.model, tab)
            with opened["review"] as tab:
                build_review(registry, workspace, tab)
            with opened["draw"] as tab:
                build_draw(registry, example_paths, controls, references, tab)
            with opened["train"] as tab:
                build_train(registry, workspace, tab)
            with opened["results"] as tab:
                build_results(registry, workspace, tab)
        with gr.Accordion("About this model", open=False):
            card = gr.HTML(card_html(scorer.card))
        controls.model.change(
            friendly(partial(describe_model, registry)), controls.model, [header, card],
            trigger_mode="multiple", **PRIVATE,
        )
        restore_at_load(page, registry, workspace, example_paths, list(TABS), tabs, controls, image)
    remember_signatures(type(block) for block in page.blocks.values())
    return page.queue(default_concurrency_limit=2, max_size=64)


def remember_signatures(kinds: Iterable[type]) -> None:
    """Work out once what the constructors of these classes take.

    Gradio asks for it for each of the page's components whenever somebody new calls, before
    anything else is answered: half of that time.
    """
    for kind in set(kinds):
        signature = inspect.signature(kind.__init__)
        kind.__init__.__signature__ = signature  # pyright: ignore[reportAttributeAccessIssue]


def describe_model(registry: ModelRegistry, model: str) -> tuple[str, str]:
    """The header and the card of a model, as HTML."""
    scorer = registry.scorer(model)
    return header_html(scorer), card_html(scorer.card)


def launch_options(
    is_public: bool = False, names: Sequence[str] = (), is_shared: bool = False,
    routes: Sequence[Route] = (), log: TextIO | None = None,
) -> dict[str, Any]:
    """What ``launch`` needs to show the page as designed, and to keep it to itself.

    Args:
        is_public: as of the workspace.
        names: by which a page that is not public may be called; see `OwnPagesOnly`.
        is_shared: whether it also gets an address under gradio.live.
        routes: what is served beside the page.
        log: where a line about each request goes, if anywhere.
    """
    request_log = [Middleware(RequestLog, log=log)] if log else []
    guards = [Middleware(NoteUploads, is_public=is_public)]
    if not is_public:  # a public one knows visitors by a key that no other page has
        guards.insert(0, Middleware(OwnPagesOnly, names=names, is_shared=is_shared))
    return {
        "theme": Default(
            primary_hue="indigo", neutral_hue="slate", font=_FONTS, font_mono=_FONTS_MONO,
        ).set(  # white on primary_500 is too pale to read
            button_primary_background_fill="*primary_600",
            button_primary_background_fill_hover="*primary_700",
        ),
        "css": _joined("*.css"),
        "head": render("page.head", _joined("*.js")),
        "footer_links": ["api", "settings"],
        "run_history": False,
        "enable_monitoring": False,
        "ssr_mode": False,
        # Else Gradio ends the page where its own first visit is not answered within three seconds,
        # as happens on a machine with much to do.
        "_frontend": False,
        # A zip of a shift's images, or of what one visitor may keep.
        "max_file_size": "100mb" if is_public else "1gb",
        "state_session_capacity": 500,
        "max_threads": 40 + SCORES_AT_ONCE,  # Gradio's own number beside those that wait
        # Gradio itself compresses files only, not the page with its scripts. Event streams and
        # images pass as they are.
        "app_kwargs": {
            "middleware": [*request_log, Middleware(GZipMiddleware, compresslevel=5), *guards],
            "routes": list(routes),
        },
    }


def _joined(pattern: str) -> str:
    """The styles or scripts of all tabs, those of the page first."""
    files = sorted(_FOLDER.glob(pattern), key=lambda f: (f.stem not in ("page", "style"), f.name))
    return "\n".join(file.read_text("utf-8") for file in files)


def header_html(scorer: Scorer) -> str:
    """The name, what the page is in one line, and which model answers."""
    return render("page.header", badge_text(scorer.card))


def badge_text(card: dict[str, Any]) -> str:
    """Which encoder answers, so that nobody takes the demo's for ALIGN."""
    if card.get("is_embedded_encoder"):
        return "Embedded encoder: EfficientNet-Lite and MiniLM joined; not ALIGN itself"
    return f"Encoder: {_fact_text(card.get('encoder', 'unknown'))}"


def card_html(card: dict[str, Any]) -> str:
    """The facts of the model as a table; what is unknown is left out."""
    facts = {str(name): _fact_text(fact) for name, fact in card.items() if fact is not None}
    return render("page.card", facts)


def _fact_text(fact: Any) -> str:
    """Nested facts on one line: ``gear 12, bolt 3``. Of a path only the last part is shown."""
    if isinstance(fact, dict):
        return ", ".join(f"{readable(str(key))} {_fact_text(value)}" for key, value in fact.items())
    if isinstance(fact, list | tuple):
        return ", ".join(_fact_text(value) for value in fact)
    if isinstance(fact, bool):
        return "yes" if fact else "no"
    if isinstance(fact, int):
        return f"{fact:,}"
    return Path(str(fact)).name if Path(str(fact)).is_absolute() else str(fact)
