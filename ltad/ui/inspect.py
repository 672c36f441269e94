"""The Inspect tab: a photograph in, a verdict with its reasons out, every control live.

One listener computes every answer. Gradio runs a listener with ``trigger_mode="always_last"`` one
call at a time and repeats it with the newest values when it was asked meanwhile, so an older
answer can never arrive last. A new picture, and typing, reach their listeners through hidden
buttons that the script in ``page.js`` presses, for typing only after a pause.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from ltad.types import Detection, LTADError
from ltad.ui import answer, pictures
from ltad.ui.errors import friendly
from ltad.ui.upload import photo_upload

AUTOMATIC = ""
NORMAL_WORDS = ("a", "a normal", "a good", "a flawless")
ABNORMAL_WORDS = ("a broken", "a damaged", "an abnormal", "a defective")
FALSE_ALARM_RATE = 0.05


def load_photo(scorer: Any, image: Image.Image | None) -> answer.Photo | None:
    """The uploaded picture made ready once, for all the answers that follow."""
    if image is None:
        return None
    jpeg = pictures.photo_jpeg(image)
    return answer.Photo(
        scorer.prepare(image), pictures.data_url(jpeg, "image/jpeg"), *image.size
    )


def inspect_photo(
    scorer: Any,
    has_examples: bool,
    photo: answer.Photo | None,
    class_name: str,
    normal_prompt: str,
    abnormal_prompt: str,
    lam: float,
    tau: float,
    false_alarm_rate: float,
) -> tuple[str, str, str]:
    """The verdict, the maps and the notes on the prompts, each as HTML."""
    normal, abnormal = _prompts(scorer, normal_prompt, abnormal_prompt)
    unknown = [*scorer.unknown_words(normal), *scorer.unknown_words(abnormal)]
    notes = answer.prompt_notes(normal, abnormal, list(dict.fromkeys(unknown)))
    if photo is None:
        return answer.empty_answer(has_examples), "", notes
    detection = scorer.score(
        photo.prepared, class_name or None, normal, abnormal, lam, tau, false_alarm_rate
    )
    return answer.answer_html(detection), answer.maps_html(detection, photo), notes


def score(
    scorer: Any,
    image: Image.Image | None,
    class_name: str,
    normal_prompt: str,
    abnormal_prompt: str,
    lam: float,
    tau: float,
    false_alarm_rate: float,
    include_maps: bool,
) -> dict[str, Any]:
    """Score one picture: the verdict's numbers, and with `include_maps` the three maps as lists."""
    if image is None:
        raise LTADError("There is no picture. Send one.")
    normal, abnormal = _prompts(scorer, normal_prompt, abnormal_prompt)
    detection = scorer.score(
        image, class_name or None, normal, abnormal, lam, tau, false_alarm_rate
    )
    return detection_record(detection, include_maps)


def detection_record(detection: Detection, include_maps: bool = False) -> dict[str, Any]:
    """A Detection as plain data for JSON."""
    maps = {key: getattr(detection, attribute) for key, attribute, _, _ in answer.MAPS}
    height, width = detection.anomaly_map.shape
    plain = {
        name: value
        for name, value in vars(detection).items()
        if not isinstance(value, np.ndarray | tuple)
    }
    plain["verdict"] = "anomalous" if detection.is_anomalous else "good"
    plain["regions"] = [vars(region) for region in detection.regions]
    plain["unknown_words"] = list(detection.unknown_words)
    plain["map_size"] = {"width": width, "height": height}
    if include_maps:
        plain["maps"] = {key: values.round(5).tolist() for key, values in maps.items()}
    return plain


def _prompts(scorer: Any, normal: str, abnormal: str) -> tuple[str, str]:
    """The prompts as typed; an empty box means the model's own."""
    model = scorer.config.model
    return normal.strip() or model.normal_prompt, abnormal.strip() or model.abnormal_prompt


def find_examples(folder: Path) -> list[Path]:
    """The example pictures of a folder, by name; none when there is no such folder."""
    return sorted(folder.glob("*.jpg"))


def build_inspect(scorer: Any, examples: list[Path]) -> None:
    """Lay out the tab inside the current ``gr.Blocks`` and wire it up."""
    with gr.Row(elem_classes="lt-columns"):  # placed by style.css: on a phone, answers come second
        with gr.Column(elem_classes="lt-left", min_width=0):
            image = photo_upload(
                label="Photograph", sources=["upload", "clipboard", "webcam"], height=280,
                buttons=["fullscreen"], elem_id="lt-photo",
            )
            if examples:
                gr.Examples(
                    [[str(path)] for path in examples], [image], label="Examples",
                    example_labels=None, cache_examples=False, examples_per_page=12,
                    api_visibility="private", elem_id="lt-examples",
                )
        with gr.Column(elem_classes="lt-right", min_width=0):
            verdict = gr.HTML(answer.empty_answer(bool(examples)), elem_id="lt-answer")
            gr.HTML(_OPACITY, elem_id="lt-toolbar")
            maps = gr.HTML(elem_id="lt-result")
        with gr.Column(elem_classes="lt-left", min_width=0):
            controls, notes = _build_controls(scorer)
    _wire(scorer, image, controls, [verdict, maps, notes], bool(examples))
    _build_endpoint(scorer, image, controls)


_OPACITY = (
    "<label class='lt-opacity'>Heatmap opacity <input type='range' min='0' max='100' value='75' "
    "data-lt-opacity aria-label='Heatmap opacity'></label>"
    "<span class='lt-quiet'>Point at a map to read all three.</span>"
)


def _build_controls(scorer: Any) -> tuple[list[Any], gr.HTML]:
    """Class, prompts and numbers, in the order that the handlers take them; and their notes."""
    model = scorer.config.model
    choices = [("Recognise automatically", AUTOMATIC)]
    choices += [(answer.readable(name), name) for name in scorer.class_names]
    class_name = gr.Dropdown(choices, value=AUTOMATIC, label="Class of the part")
    normal = _prompt_box("Words for normal, vⁿ", model.normal_prompt, NORMAL_WORDS)
    abnormal = _prompt_box("Words for anomalous, vᵃ", model.abnormal_prompt, ABNORMAL_WORDS)
    notes = gr.HTML(elem_id="lt-notes")
    lam = gr.Slider(
        0, 2 * model.lam or 1000, model.lam, step=model.lam / 100 or 5, buttons=[],
        label="λ, weight of the semantic map",
    )
    tau = gr.Slider(
        0.1, max(10.0, 2 * model.tau), model.tau, step=0.1, label="τ, temperature", buttons=[],
    )
    rate = gr.Slider(
        0.01, 0.5, FALSE_ALARM_RATE, step=0.01, label="False alarms accepted", buttons=[],
        info="Share of good parts that may be called anomalous; sets the threshold.",
    )
    controls = [class_name, normal, abnormal, lam, tau, rate]
    defaults = [AUTOMATIC, model.normal_prompt, model.abnormal_prompt, model.lam, model.tau,
                FALSE_ALARM_RATE]
    reset = gr.Button("Reset to the model's defaults", size="sm")
    reset.click(None, None, controls, js=f"() => {json.dumps(defaults)}")
    return controls, notes


def _prompt_box(label: str, default: str, suggestions: tuple[str, ...]) -> gr.Textbox:
    box = gr.Textbox(
        default, label=label, placeholder=f"{default} (the model's own)", max_lines=1,
        max_length=200,
    )
    with gr.Row(elem_classes="lt-chips"):
        for words in suggestions:
            chip = gr.Button(words, size="sm", min_width=0)
            chip.click(None, None, box, js=f"() => {json.dumps(words)}")
    return box


def _wire(
    scorer: Any, image: gr.Image, controls: list[Any], outputs: list[gr.HTML], has_examples: bool
) -> None:
    """Connect picture and controls to the one listener that answers."""
    photo = gr.State(time_to_live=3600)
    load = gr.Button("Load", elem_id="lt-load", visible="hidden")
    ask = gr.Button("Answer", elem_id="lt-ask", visible="hidden")
    class_name, normal, abnormal, *sliders = controls
    answered = gr.on(
        [ask.click, class_name.change, *[slider.change for slider in sliders]],
        friendly(partial(inspect_photo, scorer, has_examples)),
        [photo, *controls], outputs, trigger_mode="always_last",
        show_progress="hidden", api_visibility="private",
    )
    # An answer to other settings must not stay beside an error message.
    answered.failure(
        lambda: (answer.empty_answer(has_examples), ""), None, outputs[:2],
        show_progress="hidden", api_visibility="private",
    )
    answered.then(None, js="() => window.ltad.answered()")
    for box in (normal, abnormal):
        box.change(None, js="() => window.ltad.askSoon()")
    image.change(None, js="() => window.ltad.load()")
    loaded = load.click(
        friendly(partial(load_photo, scorer)), image, photo, trigger_mode="always_last",
        show_progress="hidden", api_visibility="private",
    )
    loaded.success(None, js="() => window.ltad.ask()")
    forgotten = loaded.failure(lambda: None, None, photo, api_visibility="private")
    forgotten.then(None, js="() => window.ltad.ask()")


def _build_endpoint(scorer: Any, image: gr.Image, controls: list[Any]) -> None:
    """The API's ``score``: unlike the page's own listener it takes the picture with each call."""
    include_maps = gr.Checkbox(False, label="Include the maps", visible=False)
    record = gr.JSON(label="Record", visible=False)
    gr.Button(visible=False).click(
        friendly(partial(score, scorer)), [image, *controls, include_maps], record,
        api_name="score",
        api_description="Score one picture: class, probabilities, score, threshold, verdict, "
        "regions; with include_maps also the three maps as nested lists.",
    )
