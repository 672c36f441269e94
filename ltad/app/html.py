"""Texts, names and numbers as the page writes them."""

from __future__ import annotations

import html

from ltad.evaluation.figures import decimals_of
from ltad.evaluation.figures import number_text as number

__all__ = ["apart", "escape", "notice", "number", "readable"]
_NOTICE_ICON = "<svg viewBox='0 0 20 20' aria-hidden='true'><path d='M10 2 19 18H1Z'/>" \
    "<path d='M10 8v5M10 15.2v.6'/></svg>"


def escape(text: object) -> str:
    """`text` as HTML, without the signs ``{ } $ ` `` that the page's templates would read."""
    safe = html.escape(str(text))
    for sign in "{}$`":
        safe = safe.replace(sign, f"&#{ord(sign)};")
    return safe


def readable(class_name: str) -> str:
    """A class name for reading: ``hex_nut`` becomes ``hex nut``."""
    return class_name.replace("_", " ")


def apart(first: float, second: float) -> tuple[str, str]:
    """Two numbers for reading, with as many decimals more as it takes to tell them apart."""
    texts = number(first), number(second)
    extra = decimals_of(max(abs(first), abs(second)))
    while texts[0] == texts[1] and first != second and extra < 6:
        extra += 1
        texts = f"{first:.{extra}f}", f"{second:.{extra}f}"
    return texts


def notice(text: str) -> str:
    """A warning with an icon; `text` is HTML."""
    return f"<p class='lt-notice' role='note'>{_NOTICE_ICON}<span>{text}</span></p>"
