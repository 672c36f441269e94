"""HTML from jinja templates: whatever is put into one is escaped, and nothing may be missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


def environment(
    package: str, finalize: Callable[[object], Any] | None = None, **filters: Callable[..., Any]
) -> Environment:
    """The templates in a package's folder ``templates``.

    Args:
        package: for example "ltad.review".
        finalize: every value goes through it before it is written.
        filters: further ones, by name; all have "readable", a class name for reading.
    """
    made = Environment(
        loader=PackageLoader(package), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, finalize=finalize,
    )
    made.filters |= {"readable": readable, **filters}
    return made


def readable(class_name: str) -> str:
    """A class name for reading: ``hex_nut`` becomes ``hex nut``."""
    return class_name.replace("_", " ")


def style_of(templates: Environment, name: str) -> Markup:
    """A style sheet that lies among the templates, to be written as it is."""
    assert templates.loader is not None
    return Markup(templates.loader.get_source(templates, name)[0])
