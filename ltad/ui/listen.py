"""Listening to several events so that the last of them is always answered, and asked once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr
from gradio.events import Dependency


def answer_last(
    events: Sequence[Any], answer: Callable[..., Any], inputs: Any, outputs: Any, name: str
) -> Dependency:
    """``gr.on`` whose answer is repeated with the newest values if it was asked meanwhile.

    Gradio repeats all listeners of the event, and where two listen, each repetition asks the other
    again, without an end. So the events press a hidden button, to which this one alone listens.

    Args:
        name: of the button on the page, unlike all others.
    """
    button = gr.Button(visible="hidden", elem_id=f"lt-ask-{name}")
    gr.on(events, None, js=f"() => document.getElementById('lt-ask-{name}')?.click()")
    return button.click(
        answer, inputs, outputs, trigger_mode="always_last", show_progress="hidden",
        api_visibility="private",
    )
