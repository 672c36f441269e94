"""The Inspect tab: a photograph in, a verdict with its reasons out, every control live.

One listener computes every answer. Gradio runs a listener with ``trigger_mode="always_last"`` one
call at a time and repeats it with the newest values when it was asked meanwhile, so an older
answer can never arrive last. A new image, and every change of a control, reach their listeners
through hidden buttons that the script in ``page.js`` presses: for typing after a pause, and once
for controls that are set together, so that no answer mixes one part's settings with another's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from gradio.data_classes import ImageData
from gradio.events import Dependency, api

from ltad.app import detection_view, references
from ltad.app.components import (
    PRIVATE,
    QUIET,
    SCORED,
    Update,
    decode_upload,
    friendly,
    page_error,
    photo_upload,
)
from ltad.app.controls import Controls, build_controls, configure, model_choices_now
from ltad.app.html import escape, render
from ltad.inference.registry import ModelRegistry
from ltad.inference.scorer import Scorer
from ltad.io import heatmap
from ltad.types import Detection, LTADError

REFUSED = "The server does not take it up, most likely since too many ask at the moment."


def load_photo(
    registry: ModelRegistry, model: str, payload: dict[str, Any] | None
) -> detection_view.ReadyPhoto | detection_view.Refusal | None:
    """The uploaded image made ready once for a model, for all the answers that follow.

    Args:
        payload: as the browser sends it, undecoded: why an image is refused must reach the page
            as an answer, since a failed listener answers nothing.
    """
    if not payload:
        return None
    try:
        image = decode_upload(ImageData(**payload))
    except LTADError as error:
        gr.Warning(escape(str(error)), title="Not possible")
        return detection_view.Refusal(str(error))
    jpeg = heatmap.photo_jpeg(image)
    return detection_view.ReadyPhoto(
        heatmap.data_url(jpeg, "image/jpeg"), *image.size, registry.scorer(model).prepare(image),
        model,
    )


def inspect_photo(
    registry: ModelRegistry,
    has_examples: bool,
    photo: detection_view.ReadyPhoto | detection_view.Refusal | None,
    model: str,
    class_name: str,
    normal_prompt: str,
    abnormal_prompt: str,
    lam: float,
    tau: float,
    false_alarm_rate: float,
    reference_weight: float | None = None,
    shown: references.References | None = None,
) -> tuple[str | Update, str | Update, str | Update]:
    """The verdict, the maps and the notes on the prompts, each as HTML.

    Args:
        shown: what the visitor showed of a part that the model does not know.
    """
    if isinstance(photo, detection_view.ReadyPhoto) and photo.model != model:
        return gr.skip(), gr.skip(), gr.skip()  # it is being made ready for the new model
    scorer = references.scorer_for(registry, model, shown)
    normal, abnormal = typed_prompts(scorer, normal_prompt, abnormal_prompt)
    unknown = [*scorer.unknown_words(normal), *scorer.unknown_words(abnormal)]
    notes = detection_view.prompt_notes(normal, abnormal, list(dict.fromkeys(unknown)))
    if isinstance(photo, detection_view.Refusal):
        return render("inspect.refused", photo.reason), "", notes
    if photo is None:
        return render("inspect.nothing_yet", has_examples), "", notes
    detection = scorer.score(
        photo.prepared, class_name or None, normal, abnormal, lam, tau, false_alarm_rate,
        reference_weight,
    )
    effect = detection_view.effect_html(words_effect(scorer, photo, detection))
    maps = detection_view.maps_html(detection, photo, effect=effect) + saves_html(detection)
    return detection_view.answer_html(detection), maps, notes


def answer_photo(
    registry: ModelRegistry, has_examples: bool, photo: Any, *settings: Any
) -> tuple[str | Update, str | Update, str | Update]:
    """`inspect_photo`; why there is no answer is said in its place, since Gradio's page shows no
    error of what comes past its queue."""
    try:
        return inspect_photo(registry, has_examples, photo, *settings)
    except Exception as error:
        return render("inspect.no_answer", page_error(error).message), "", gr.skip()


def words_effect(scorer: Scorer, photo: detection_view.ReadyPhoto, detection: Detection) -> float:
    """Share of pixels whose semantic score differs by more than `detection_view.NOTICEABLE`
    from what a word without meaning gives in place of the anomalous words."""
    empty = scorer.semantic_map(
        photo.prepared, detection.class_name, detection.normal_prompt, detection_view.NONSENSE,
        detection.tau,
    )
    return float((np.abs(empty - detection.semantic_map) > detection_view.NOTICEABLE).mean())


def saves_html(detection: Detection) -> str:
    """What a visitor can keep: the maps, which ``save.js`` draws, and the numbers."""
    numbers = json.dumps(detection_record(detection), indent=2).encode()
    url = heatmap.data_url(numbers, "application/json")
    return render("inspect.saves", detection.class_name[:60], url)


def score(
    registry: ModelRegistry,
    image: Any,
    class_name: str,
    normal_prompt: str,
    abnormal_prompt: str,
    lam: float,
    tau: float,
    false_alarm_rate: Any,
    reference_weight: float,
    include_maps: bool,
    model: str = "",
) -> dict[str, Any]:
    """Score one image: the verdict's numbers, and with `include_maps` the maps as lists.

    Args:
        image: as it was sent, undecoded.
    """
    if not image or not isinstance(image, dict):
        raise LTADError("There is no image. Send one.")
    if not isinstance(false_alarm_rate, int | float):
        raise LTADError(f"The false-alarm rate is {false_alarm_rate}, but it must be a number.")
    scorer = registry.scorer(model)
    normal, abnormal = typed_prompts(scorer, str(normal_prompt or ""), str(abnormal_prompt or ""))
    detection = scorer.score(
        decode_upload(ImageData(**image)), class_name or None, normal, abnormal, lam, tau,
        false_alarm_rate, reference_weight,
    )
    return detection_record(detection, include_maps)


def detection_record(detection: Detection, include_maps: bool = False) -> dict[str, Any]:
    """A Detection as plain data for JSON."""
    height, width = detection.anomaly_map.shape
    plain = {
        name: value
        for name, value in vars(detection).items()
        if not isinstance(value, np.ndarray | tuple) and not name.endswith("_map")
    }
    plain["verdict"] = detection.verdict
    plain["regions"] = [vars(region) for region in detection.regions]
    plain["unknown_words"] = list(detection.unknown_words)
    plain["map_size"] = {"width": width, "height": height}
    if include_maps:
        plain["maps"] = {
            one.key: one.values.round(5).tolist() for one in detection_view.maps_of(detection)
        }
    return plain


def typed_prompts(scorer: Scorer, normal: str, abnormal: str) -> tuple[str, str]:
    """The prompts as typed; an empty box means the model's own."""
    model = scorer.config.model
    return normal.strip() or model.normal_prompt, abnormal.strip() or model.abnormal_prompt


def find_examples(folder: Path) -> list[Path]:
    """The example images of a folder, by name; none when there is no such folder."""
    return sorted(folder.glob("*.jpg"))


def build_inspect(
    registry: ModelRegistry, examples: Sequence[Path], tab: gr.Tab
) -> tuple[gr.Image, Controls, gr.State]:
    """Lay out the tab inside the current ``gr.Blocks`` and wire it up.

    Returns:
        The photograph, the controls and what was shown of an unknown part (`References` or None),
        for what else on the page reads or sets them.
    """
    # Placed by style.css: with an image, all that is edited and all that answers is in one view.
    with gr.Row(elem_classes="lt-columns", elem_id="lt-inspect"):
        with gr.Column(elem_classes=["lt-left", "lt-photo-place"], min_width=0):
            image = photo_upload(
                label="Photograph", sources=["upload", "clipboard", "webcam"], height=280,
                buttons=["fullscreen"], elem_id="lt-photo",
                format="png",  # an image that the server opens is scored as it is
            )
        with gr.Column(elem_classes=["lt-left", "lt-examples-place"], min_width=0):
            _build_examples(image, examples)
        with gr.Column(elem_classes="lt-right", min_width=0):
            verdict = gr.HTML(render("inspect.nothing_yet", bool(examples)), elem_id="lt-answer")
            maps = gr.HTML(elem_id="lt-result")
            gr.HTML(render("inspect.opacity"), elem_id="lt-toolbar")
        with gr.Column(elem_classes=["lt-left", "lt-controls-place"], min_width=0):
            controls = build_controls(registry)
            panel = references.build_panel()
    references.wire_panel(registry, panel, controls)
    _wire(registry, image, controls, panel.state, [verdict, maps, controls.notes], bool(examples))
    chosen = _wire_models(registry, controls, tab)
    _wire_address(registry, image, controls, chosen)
    _build_endpoint(registry, image, controls)
    references.build_endpoint(registry, detection_record, image)
    return image, controls, panel.state


def _build_examples(image: gr.Image, examples: Sequence[Path]) -> None:
    if not examples:
        return
    shown = gr.Examples(
        [[str(path)] for path in examples], [image], label="Examples", example_labels=None,
        cache_examples=False, examples_per_page=12, api_visibility="private",
        elem_id="lt-examples",
    )
    names = json.dumps([path.stem for path in examples])
    shown.dataset.click(
        None, shown.dataset, None,
        js=f"(index) => window.ltad.address.picture('example', {names}[index])",
    )


def _wire(
    registry: ModelRegistry, image: gr.Image, controls: Controls, shown: gr.State,
    outputs: list[gr.HTML], has_examples: bool,
) -> None:
    """Connect image and controls to the one listener that answers.

    Nothing that it or the endpoint takes is preprocessed: Gradio does each value in a thread of its
    own, and a dozen of them cost a page with many visitors a fifth of its answers a second.
    """
    photo = gr.State(time_to_live=3600)
    load = gr.Button("Load", elem_id="lt-load", visible="hidden")
    ask = gr.Button("Answer", elem_id="lt-ask", visible="hidden")
    class_name, normal, abnormal, *sliders = controls.settings
    answered = ask.click(
        partial(answer_photo, registry, has_examples),
        [photo, controls.model, *controls.settings, shown], outputs,
        preprocess=False, **SCORED, **QUIET,
    )
    refused = json.dumps([render("inspect.no_answer", REFUSED), ""])
    failed = answered.failure(None, None, outputs[:2], js=f"() => {refused}", **PRIVATE)
    for over in (answered.success, failed.then):
        over(None, js="() => window.ltad.answered()")
    for box in (normal, abnormal):
        box.change(None, js="() => window.ltad.askSoon()")
    gr.on([class_name.change, *[slider.change for slider in sliders]], None,
          js="() => window.ltad.askOnce()")
    image.change(None, js="() => window.ltad.load()")
    loaded = load.click(
        friendly(partial(load_photo, registry)), [controls.model, image], photo, preprocess=False,
        **QUIET,
    )
    loaded.success(None, js="() => window.ltad.ask()")
    forgotten = loaded.failure(lambda: None, None, photo, **PRIVATE)
    forgotten.then(None, js="() => window.ltad.ask()")


def _wire_models(registry: ModelRegistry, controls: Controls, tab: gr.Tab) -> Dependency:
    """Keep the list of models fresh, and the settings those of the chosen one.

    Returns:
        The listener that sets them.
    """
    tab.select(friendly(partial(model_choices_now, registry)), controls.model, controls.model,
               **PRIVATE)
    chosen = controls.model.change(
        friendly(partial(configure, registry)), [controls.model, controls.defaults],
        [controls.defaults, *controls.settings], trigger_mode="always_last",
        api_visibility="private",
    )
    chosen.success(None, js="() => window.ltad.load()")
    # A model that cannot be loaded is not left standing as if it had answered.
    chosen.failure(lambda own: json.loads(own)["model"], controls.defaults, controls.model,
                   **PRIVATE)
    return chosen


def _wire_address(
    registry: ModelRegistry, image: gr.Image, controls: Controls, chosen: Dependency
) -> None:
    """Tell the script ``address.js`` what changed."""
    first = json.dumps(registry.first.name)
    values = [controls.defaults, controls.model, *controls.settings]
    tell = f"(...values) => window.ltad.address.settings({first}, ...values)"
    gr.on([control.change for control in controls.settings], None, values, None, js=tell)
    chosen.success(None, values, None, js=tell)
    gr.on([image.input, image.clear], None, js="() => window.ltad.address.picture()")


def _build_endpoint(registry: ModelRegistry, image: gr.Image, controls: Controls) -> None:
    """The API's ``score``: unlike the page's own listener it takes the image with each call."""
    include_maps = gr.Checkbox(False, label="Include the maps", visible=False)
    model = gr.Textbox("", label="Model; empty is the first one", visible=False)
    record = gr.JSON(label="Record", visible=False)
    gr.Button(visible=False).click(
        friendly(partial(score, registry)), [image, *controls.settings, include_maps, model],
        record, api_name="score", preprocess=False, **SCORED,
        api_description="Score one image: class, probabilities, score, threshold, verdict "
        "(anomalous, normal, or not judged: it looks like none of the model's classes and no class "
        "was given), regions; with include_maps also its maps as nested lists. The model is "
        "one of those that the endpoint models lists.",
    )
    api(friendly(registry.names), api_name="models", api_description="The names of the models.")
