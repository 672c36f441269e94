"""HTML comes from templates only, and every part that Python asks for is there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from ltad.app import html

FOLDER = Path(html.__file__).parent
FILES = sorted(FOLDER.glob("*.py"))
TAG = re.compile(r"</?(?!extra>)[a-z][a-z0-9]*[ >/]|<[a-z]+$")
"""``<extra>`` is no HTML but Plotly's mark in the texts under the pointer."""
RUDE = "<b>&\"' ${1} {{v}} `t`"


def texts(tree: ast.AST) -> Iterator[ast.Constant]:
    """The string constants, also those within f-strings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node


def tags(source: str) -> list[str]:
    return [text.value for text in texts(ast.parse(source))
            if TAG.search(text.value.replace("(?P<", ""))]  # a group of a regular expression


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_python_builds_no_tag(file: Path):
    assert tags(file.read_text("utf-8")) == []


def test_the_search_for_tags_finds_them():
    assert tags("f'<p class={x}>'") and tags("'<b>' + x") and tags("f'<{x}></td>'")
    assert tags("'%{x}<extra></extra>'") == tags("'a < b'") == tags("r'(?P<name>a)'") == []


def test_every_part_that_python_asks_for_is_in_a_template():
    asked = {part for file in FILES for part in re.findall(r"render\(\s*\"([a-z_.]+)\"",
                                                           file.read_text("utf-8"))}
    assert len(asked) > 30
    for part in asked:
        file, _, macro = part.partition(".")
        source = (FOLDER / "templates" / f"{file}.jinja").read_text("utf-8")
        assert f"{{% macro {macro}(" in source, part


def test_values_are_escaped_and_a_missing_one_is_an_error():
    shown = html.render("inspect.refused", RUDE)
    assert "<b>" not in shown and "${" not in shown and "{{" not in shown and "`" not in shown
    assert html.escape(RUDE) in shown
    with pytest.raises(UndefinedError):
        html.render("inspect.refused")
