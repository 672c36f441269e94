"""A part that nobody trained, judged beside a few good images: scorer, page handlers, commands."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ltad import load_scorer
from ltad.app import detection_view, inspect, references
from ltad.bench import references as bench
from ltad.cli.main import main
from ltad.evaluation.metrics import image_auroc
from ltad.inference import scoring
from ltad.inference.calibration import standing
from ltad.inference.feature_store import turned
from ltad.inference.reference_mode import (
    BORDER_WEIGHT,
    FARTHER_THAN,
    ITSELF,
    MOST_IMAGES,
    NEW_IMAGES,
    ReferenceRegistry,
    ReferenceScorer,
)
from ltad.inference.registry import ModelRegistry
from ltad.models.features import border_weights
from ltad.models.reference import ReferenceBranch, smoothed
from ltad.synthetic.render import render_part
from ltad.types import ImageError, PromptError, SettingError


def washer(seed: int, defect: str | None = None) -> Image.Image:
    return Image.fromarray(render_part("washer", seed, 96, defect).image)


@pytest.fixture(scope="module")
def good() -> list[Image.Image]:
    return [washer(900 + i) for i in range(4)]


@pytest.fixture(scope="module")
def scorer(tiny_scorer, good) -> ReferenceScorer:
    return ReferenceScorer(tiny_scorer, good, "steel_washer")


def saved(folder: Path, images: list[Image.Image]) -> list[str]:
    for number, image in enumerate(images):
        image.save(folder / f"{number}.png")
    return sorted(str(path) for path in folder.glob("*.png"))


# --- the scorer -----------------------------------------------------------------------------------


def test_a_part_of_no_model_gets_maps_of_two_branches_and_a_verdict(scorer, tiny_scorer):
    assert "washer" not in tiny_scorer.class_names
    found = scorer.score(washer(950, "broken_piece"), scorer.class_names[0])
    assert found.class_name == "steel washer" and found.is_judged
    assert found.reconstruction_map is None and found.reconstruction_score is None
    assert found.reference_map.shape == found.semantic_map.shape == found.anomaly_map.shape
    assert found.weights == {"semantic": pytest.approx(0.2), "reference": pytest.approx(0.8)}
    assert "held-out good images of this class" in found.explanation


def test_thresholds_come_from_each_image_held_against_the_others(scorer, tiny_scorer, good):
    """Recomputed without the module: three images fill a branch, and the fourth is measured."""
    name, base = scorer.class_names[0], tiny_scorer
    fine = [base._reader.fine([base.prepare(image)]) for image in good]
    size = base.config.features.image_size

    def views(image: Image.Image) -> list[torch.Tensor]:
        small = Image.fromarray(base.prepare(image).pixels)
        return [base._reader.fine([base.prepare(turned(small, view))])
                for view in ("", *scorer.turns)]

    apart, border = [], border_weights(fine[0].shape[-1], BORDER_WEIGHT)
    for place in range(4):
        others = [v for at, image in enumerate(good) if at != place for v in views(image)]
        branch = ReferenceBranch(1, fine[0].shape[1], 10_000)
        branch.fit(lambda others=others: [(features, 0) for features in others])
        apart.append(branch.scores(fine[place], 0) * border)
    pool = base.config.model.score_pool
    zero, one = scoring.good_unit(torch.cat(apart), size, pool)
    expected = [float(scoring.image_score(scoring.pooled_map(
        (raw - zero) / (one - zero), size, pool))) for raw in apart]
    settings = scorer.score_settings(lam=0.0)
    limits = scorer.calibration.limits(name, settings, 0.2)
    assert limits.images == 4 and not limits.is_pooled
    assert limits.normal_scores == pytest.approx(sorted(expected), rel=1e-3)
    assert limits.thresholds["combined"] == pytest.approx(max(expected), rel=1e-3)


def test_an_image_that_was_shown_lies_nearer_than_one_that_was_not_and_says_why(scorer, good):
    name = scorer.class_names[0]
    known = [scorer.score(image, name) for image in good]
    new = [scorer.score(washer(970 + i), name) for i in range(4)]
    assert max(f.reference_score for f in known) < min(f.reference_score for f in new)
    assert all(found.explanation.startswith(ITSELF) for found in known)
    assert not any(ITSELF in found.explanation for found in new)


def test_a_single_image_is_held_against_its_own_other_places(tiny_scorer, good):
    """Recomputed place by place: near places do not count, and the limits are multiples."""
    scorer = ReferenceScorer(tiny_scorer, good[:1], "washer")
    image = Image.fromarray(tiny_scorer.prepare(good[0]).pixels)
    fine = [tiny_scorer._reader.fine([tiny_scorer.prepare(turned(image, view))])
            for view in ("", *scorer.turns)]
    branch = ReferenceBranch(1, fine[0].shape[1], 10_000)
    branch.fit(lambda: [(features, 0) for features in fine])
    rows = branch.nearest.whitened(smoothed(fine[0]), 0)[0]
    side = len(rows)
    own = torch.zeros(1, side, side)
    for y, x in product(range(side), repeat=2):
        others = [rows[v, u] for v, u in product(range(side), repeat=2)
                  if max(abs(v - y), abs(u - x)) > FARTHER_THAN]
        own[0, y, x] = min((rows[y, x] - other).norm() for other in others) / rows.shape[2] ** 0.5
    assert torch.allclose(own, branch.within(fine[0], FARTHER_THAN), rtol=1e-3)

    size, pool = tiny_scorer.config.features.image_size, tiny_scorer.config.model.score_pool
    own = own * border_weights(side, BORDER_WEIGHT)
    expected = torch.cat([factor * own for factor in NEW_IMAGES])
    zero, one = scoring.good_unit(expected, size, pool)
    scores = scoring.image_score(scoring.pooled_map((expected - zero) / (one - zero), size, pool))
    limits = scorer.calibration.limits("washer", scorer.score_settings(lam=0.0), 0.05)
    assert limits.is_borrowed
    assert limits.normal_scores == pytest.approx(sorted(scores.tolist()), rel=1e-3)
    assert limits.thresholds["combined"] == pytest.approx(float(scores.max()), rel=1e-3)
    assert "fewer than 1 in 20 of the good images" in standing(99.0, limits)
    assert "about 50% of the good images" in standing(sum(limits.normal_scores[9:11]) / 2, limits)


def test_words_act_in_reference_mode(scorer):
    name, image = scorer.class_names[0], washer(960, "scratch")
    broken, purple = (scorer.score(image, name, abnormal_prompt=words).semantic_map
                      for words in ("a broken", "a purple"))
    assert np.abs(broken - purple).max() > 0


def test_the_embedded_encoder_finds_damage_beside_four_good_images(tmp_path):
    base = load_scorer("assets/demo", cache=tmp_path)
    scorer = ReferenceScorer(base, [Image.fromarray(render_part("gear", 900 + i, 320).image)
                                    for i in range(4)], "gear")
    images = [Image.fromarray(render_part("gear", 950 + i, 320, defect).image)
              for defect in (None, "broken_piece") for i in range(6)]
    found = scorer.score_batch(images, "gear")
    assert image_auroc(np.array([0] * 6 + [1] * 6), np.array([d.score for d in found])) > 0.8
    leather = scorer.score(Image.fromarray(render_part("leather", 1, 320).image), "gear")
    assert not leather.is_recognised and leather.verdict == "anomalous"


@pytest.mark.parametrize(("count", "name", "error", "reason"), [
    (0, "washer", SettingError, "There are 0 reference images"),
    (MOST_IMAGES + 1, "washer", SettingError, "There are 9 reference images"),
    (2, "  ", SettingError, "has no name"),
    (2, "w" * 61, SettingError, "61 letters"),
])
def test_what_cannot_be_used_is_refused(tiny_scorer, count, name, error, reason):
    with pytest.raises(error, match=reason):
        ReferenceScorer(tiny_scorer, [washer(i) for i in range(count)], name)


def test_a_copy_is_no_second_image(tiny_scorer, good):
    with pytest.raises(SettingError, match="only 1 are different"):
        ReferenceScorer(tiny_scorer, [good[0], good[0].copy()], "washer")


def test_the_shelf_makes_the_same_references_once(tiny_scorer, good):
    registry = ReferenceRegistry(keep=1)
    images = [tiny_scorer.prepare(image) for image in good]
    first = registry.scorer(tiny_scorer, images, "washer")
    assert registry.scorer(tiny_scorer, images, "washer") is first
    assert registry.scorer(tiny_scorer, images, "ring") is not first
    assert registry.scorer(tiny_scorer, images, "washer") is not first


# --- the page's handlers --------------------------------------------------------------------------


def test_the_page_inspects_beside_what_was_shown_and_goes_back(tiny_scorer, tmp_path, good):
    registry, model = ModelRegistry(tiny_scorer), tiny_scorer.name
    files = saved(tmp_path, good)
    state, note, leave, defaults, class_name, *_ = references.show_references(
        registry, model, "steel washer", files
    )
    assert state.name == "steel washer" and len(state.images) == 4 and leave["visible"]
    assert "Inspecting as “steel washer”" in note and "1 good part in 5" in note
    assert class_name["value"] == "steel washer" and not class_name["interactive"]
    values = json.loads(defaults)
    assert values["class"] == "steel washer" and values["lambda"] == 0.25
    photo = detection_view.ReadyPhoto(
        "data:,", 96, 96, tiny_scorer.prepare(washer(990, "broken_piece")), model)
    verdict, maps, _ = inspect.inspect_photo(
        registry, True, photo, model, "steel washer", "", "", 0.25, 1.0, 0.05, 1.0, state
    )
    assert "steel washer" in verdict and "chosen by you" in verdict
    assert "<b>Reference</b>" in maps and "<b>Reconstruction</b>" not in maps
    assert "The verdict used: <b>semantic + reference</b>" in maps
    back = references.leave_references(registry, model)
    assert back[0] is None and back[4]["interactive"] and back[4]["value"] == ""


@pytest.mark.parametrize("count", [0, MOST_IMAGES + 1])
def test_the_panel_says_how_many_photographs_it_takes(tiny_scorer, tmp_path, count):
    files = saved(tmp_path, [washer(i) for i in range(count)])
    with pytest.raises(SettingError, match="no photograph" if not count else "9 photographs"):
        references.show_references(ModelRegistry(tiny_scorer), tiny_scorer.name, "washer", files)


def test_a_broken_photograph_is_named(tiny_scorer, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"broken\.png"):
        references.show_references(
            ModelRegistry(tiny_scorer), tiny_scorer.name, "washer", [str(tmp_path / "broken.png")]
        )


def test_not_judged_offers_reference_mode(tiny_scorer):
    noise = np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8)
    found = tiny_scorer.score(noise)
    if found.is_judged:
        pytest.skip("the tiny model takes noise for a part")
    assert "data-lt-references" in detection_view.answer_html(found)


# --- the command ----------------------------------------------------------------------------------


def test_score_takes_a_folder_of_good_images_and_a_name(
    tiny_model_folder, tmp_path, good, capsys, monkeypatch
):
    monkeypatch.setenv("LTAD_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "good"
    folder.mkdir()
    saved(folder, good)
    part = tmp_path / "part.png"
    washer(990, "broken_piece").save(part)
    command = ["score", str(part), "--checkpoint", str(tiny_model_folder)]
    beside = [*command, "--reference", str(folder), "--name", "steel washer"]
    assert main([*beside, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)[0]
    assert found["class_name"] == "steel washer" and found["reconstruction_score"] is None
    for arguments, reason in (
        ([*command, "--name", "washer"], "Give both"),
        ([*command, "--reference", str(tmp_path / "none"), "--name", "washer"], "no image in"),
        ([*command, "--reference", str(folder)], "has no name"),
        ([*beside, "--class-name", "screw"], "Leave it out"),
    ):
        assert main(arguments) == 1
        assert reason in capsys.readouterr().err


def test_a_name_that_no_token_spells_is_refused(tiny_scorer, good):
    with pytest.raises((PromptError, SettingError)):
        ReferenceScorer(tiny_scorer, good, "\u200b")


def test_the_measurement_prints_a_row_for_each_class_and_number(
    tiny_model_folder, parts_folder, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("LTAD_CACHE", str(tmp_path / "cache"))
    assert bench.main(["--data", str(parts_folder), "--images", "1", "3",
                                   "--model", str(tiny_model_folder), "--seeds", "2"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[:4] == ["class", "images", "combined", "reference"]
    assert [row.split()[:2] for row in rows] == [
        [name, count] for name in ("hex_nut", "leather", "screw") for count in ("1", "3")
    ]
