"""HTML from the templates in ``templates/``, and how names and numbers are written in it.

A template file belongs to a view and its macros to the parts of it: ``render("draw.stage", url)``.
Whatever a template writes is escaped unless it came out of a template itself.
"""

from __future__ import annotations

import html
import json
import re
from typing import Any

from markupsafe import Markup

from ltad.evaluation.figures import decimals_of
from ltad.evaluation.figures import number_text as number
from ltad.io.templates import environment, readable
from ltad.types import BRANCH_TABLE

__all__ = ["apart", "escape", "number", "percent", "readable", "render"]
_SIGNS = re.compile("[&<>\"'{}$`]")


def escape(text: object) -> str:
    """`text` as HTML, without the signs ``{ } $ ` `` that Gradio's own templates would read."""
    text = str(text)
    if not _SIGNS.search(text):  # most texts, and this is called for every value on the page
        return text
    safe = html.escape(text)
    for sign in "{}$`":
        safe = safe.replace(sign, f"&#{ord(sign)};")
    return safe


def apart(first: float, second: float) -> tuple[str, str]:
    """Two numbers for reading, with as many decimals more as it takes to tell them apart."""
    texts = number(first), number(second)
    extra = decimals_of(max(abs(first), abs(second)))
    while texts[0] == texts[1] and first != second and extra < 6:
        extra += 1
        texts = f"{first:.{extra}f}", f"{second:.{extra}f}"
    return texts


def percent(share: float | None, decimals: int = 1, sign: str = "%") -> str:
    """A share in [0, 1] in percent, as ``93.4%``; a dash where there is no figure."""
    return "–" if share is None else f"{100 * share:.{decimals}f}{sign}"


def render(part: str, /, *values: Any, **named: Any) -> Markup:
    """The macro `part`, "FILE.MACRO", filled in with `values`.

    Raises:
        jinja2.UndefinedError: the macro needs a value that was not given.
    """
    file, _, macro = part.partition(".")
    module = _ENVIRONMENT.get_template(f"{file}.jinja").module
    return getattr(module, macro)(*values, **named).strip()


def _escaped(value: object) -> Markup:
    return value if isinstance(value, Markup) else Markup(escape(value))


_ENVIRONMENT = environment(
    "ltad.app", _escaped, formatted=format, json=json.dumps, number=number, percent=percent
)
_GLOBALS: dict[str, Any] = {
    "apart": apart, "SIGNS": {branch.name: branch.sign for branch in BRANCH_TABLE if branch.sign},
}
_ENVIRONMENT.globals.update(_GLOBALS)
