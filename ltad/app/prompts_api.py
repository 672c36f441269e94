"""The Prompts tab's endpoints: the same experiments with plain inputs and outputs."""

from __future__ import annotations

from functools import partial
from typing import Any

import gradio as gr
import pandas as pd
from gradio.events import api
from PIL import Image

from ltad.app.components import ONE_AT_A_TIME, friendly, photo_upload
from ltad.prompts.experiment import Experiment, Outcome
from ltad.prompts.grid import measure_image, prompt_list, readings_frame
from ltad.prompts.lab import PromptLab
from ltad.prompts.refit import RefitSettings
from ltad.types import LTADError


def read_grid(
    lab: PromptLab, image: Image.Image | None, normal_prompts: Any, abnormal_prompts: Any,
    class_name: str, lam: float | None, tau: float | None, include_maps: bool, model: str,
) -> dict[str, Any]:
    """Scores and, if wanted, semantic maps of one image under every pair."""
    if image is None:
        raise LTADError("There is no image. Send one.")
    scorer, experiment = lab.scorer(model), _experiment(normal_prompts, abnormal_prompts, lam, tau)
    name = class_name or scorer.recognise(image).best
    readings = measure_image(scorer, image, name, experiment.pairs, lam, tau)
    rows = _rows(readings_frame(readings, name))
    if include_maps:
        for row, reading in zip(rows, readings, strict=True):
            row["semantic_map"] = reading.maps["semantic"].round(5).tolist()
    words = " ".join((*experiment.normal_prompts, *experiment.abnormal_prompts))
    return {"class_name": name, "pairs": rows, "unknown_words": scorer.unknown_words(words)}


def build_endpoints(lab: PromptLab) -> None:
    """Offer every experiment of the tab under a name of its own."""

    def prompt_data(model: str = "") -> list[Any]:
        """The names of the test sets that experiments on a model may use."""
        return [one.name for one in lab.data_sets(model)]

    def prompt_auroc(
        data: str, normal_prompts: list[Any], abnormal_prompts: list[Any], lam: float | None = None,
        tau: float | None = None, model: str = "",
    ) -> dict[str, Any]:
        """AUROC in percent of every pair, for every class and All, High, Low."""
        experiment = _experiment(normal_prompts, abnormal_prompts, lam, tau)
        return _record(lab, model, data, lab.run(model, data, experiment))

    def prompt_refit(
        data: str, normal_prompt: str, abnormal_prompt: str, steps: int = RefitSettings.steps,
        learning_rate: float | None = None, lam: float | None = None, tau: float | None = None,
        model: str = "",
    ) -> dict[str, Any]:
        """Refit Phi for one pair: AUROC before and after, and the refitted model's id, which
        stands for a model in every endpoint here until it is dropped or forgotten."""
        experiment = _experiment(
            [normal_prompt], [abnormal_prompt], lam, tau,
            refit=RefitSettings(int(steps), learning_rate or None),
        )
        outcome = lab.run(model, data, experiment)
        one = outcome.refits[0]
        return {
            **_record(lab, model, data, outcome), "model": lab.keep(model, data, outcome),
            "refit_seconds": one.seconds, "learning_rate": one.learning_rate,
            "first_loss": one.first_loss, "last_loss": one.last_loss,
        }

    def prompt_replace(
        data: str, class_name: str, replacement: str, normal_prompt: str, abnormal_prompt: str,
        lam: float | None = None, tau: float | None = None, model: str = "",
    ) -> dict[str, Any]:
        """AUROC before and after a class's name is replaced: by words, @nearest, @own or
        @class:NAME; the class * stands for all, and takes @shuffled too."""
        experiment = _experiment(
            [normal_prompt], [abnormal_prompt], lam, tau, replacements={class_name: replacement}
        )
        return _record(lab, model, data, lab.run(model, data, experiment))

    def prompt_save(model: str, name: str) -> str:
        """Save a refitted model, named by its id, as a new model of that name."""
        return lab.save(model, name).name

    def prompt_drop(model: str) -> bool:
        """Forget a refitted model, named by its id."""
        lab.drop(model)
        return True

    for endpoint in (prompt_data, prompt_auroc, prompt_refit, prompt_replace, prompt_save,
                     prompt_drop):
        api(friendly(endpoint), api_name=endpoint.__name__, concurrency_id=ONE_AT_A_TIME)
    _build_grid_endpoint(lab)


def _build_grid_endpoint(lab: PromptLab) -> None:
    with gr.Group(visible=False):
        image = photo_upload(label="Photograph")
        normals, abnormals = gr.JSON(label="Normal prompts"), gr.JSON(label="Abnormal prompts")
        class_name = gr.Textbox("", label="Class, or nothing to recognise it")
        lam, tau = gr.Number(None, label="Lambda"), gr.Number(None, label="Tau")
        include_maps = gr.Checkbox(False, label="Include the semantic maps")
        model = gr.Textbox("", label="Model")
        record = gr.JSON(label="Record")
        gr.Button().click(
            friendly(partial(read_grid, lab)),
            [image, normals, abnormals, class_name, lam, tau, include_maps, model], record,
            api_name="prompt_grid",
            api_description="Scores and thresholds of one image under every pair of prompts; "
            "with include_maps also the semantic maps as nested lists.",
        )


def _experiment(
    normals: Any, abnormals: Any, lam: float | None, tau: float | None, **tried: Any
) -> Experiment:
    return Experiment(
        prompt_list(normals or [], "normal"), prompt_list(abnormals or [], "abnormal"),
        lam=lam, tau=tau, **tried,
    )


def _record(lab: PromptLab, model: str, data: str, outcome: Outcome) -> dict[str, Any]:
    grid = outcome.before
    return {
        "figures": _rows(outcome.frame()), "pictures": grid.images,
        "pixel_size": grid.pixel_size, "seconds": outcome.seconds,
        "command": lab.command(model, outcome.experiment, data),
    }


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as plain data; what does not exist is null."""
    return frame.astype(object).where(frame.notna(), None).to_dict("records")
