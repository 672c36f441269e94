"""The reference branch, the units of good images, and that neither touches the paper's scores."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from ltad import load_scorer
from ltad.app import detection_view, inspect
from ltad.app.html import render
from ltad.config import PRESETS, preset
from ltad.data.datasets import load_folder
from ltad.evaluation.evaluate import branches_of, detector_measure, settings_of
from ltad.evaluation.metrics import image_auroc
from ltad.inference import scoring
from ltad.inference.feature_store import ROTATIONS, VIEWS, build_store, turned
from ltad.inference.registry import ModelRegistry
from ltad.io.heatmap import data_url
from ltad.models.detector import Detector
from ltad.models.features import border_weights
from ltad.models.reference import ReferenceBranch, smoothed
from ltad.models.residual import ResidualScore
from ltad.prompts.grid import Pair
from ltad.prompts.testset import measure_pairs, read_bench
from ltad.training.reference import chosen_views, fit_reference
from ltad.training.train import train
from ltad.types import REFERENCE, SettingError

REFERENCE_SETTINGS = {
    "reference_size": 40, "reference_weight": 1.0, "good_units": True, "lam": 0.5,
    "residual": "scaled", "standardize": True, "views": "rotations",
}


@pytest.fixture(scope="module")
def reference_scorer(
    tiny_encoder, tiny_encoder_folder, tiny_config, parts_folder, tmp_path_factory
):
    out = tmp_path_factory.mktemp("reference")
    train(
        load_folder(parts_folder), tiny_encoder, tiny_config.replace(**REFERENCE_SETTINGS), out,
        str(tiny_encoder_folder), features=tmp_path_factory.mktemp("features"),
    )
    return load_scorer(out, cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def tests_store(tiny_encoder, parts_folder, tmp_path_factory):
    samples = [s for s in load_folder(parts_folder) if s.split == "test"]
    return build_store(samples, tiny_encoder, tmp_path_factory.mktemp("tests"))


def photo(parts_folder, name="leather/test/good/000.png") -> Image.Image:
    return Image.open(parts_folder / name)


# --- the paper's scores ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", [p for p in PRESETS if p.startswith("paper")])
def test_the_papers_presets_have_no_reference_branch_and_no_units(name):
    model = preset(name).model
    assert model.reference_size == 0 and not model.good_units and model.residual == "squared"
    assert model.border_weight == 1.0


def test_a_model_as_published_scores_by_equation_5(tiny_scorer, tests_store):
    detector, settings = tiny_scorer.detector, settings_of(tiny_scorer.config)
    assert detector.reference is None and "units" not in detector.state_dict()
    assert branches_of(detector) == ("combined", "reconstruction", "semantic")
    measure = detector_measure(detector, tiny_scorer.encoder, settings)
    places = tests_store.indices("leather")
    found = measure("leather", tests_store, places)
    index = detector.index("leather")
    coarse, fine = (torch.from_numpy(a[places].astype(np.float32))
                    for a in (tests_store.patches, tests_store.fine_patches))
    texts = [detector.texts(tiny_scorer.encoder, words, [index] * len(places))
             for words in (settings.normal_prompt, settings.abnormal_prompt)]
    with torch.inference_mode():
        rebuilt, target = detector.reconstruction(coarse), coarse
        s_rec = scoring.reconstruction_score(rebuilt, target)
        s_sem = scoring.semantic_score(detector.semantic(fine), *texts, settings.tau)
        expected = [scoring.pooled_map(s, settings.size, settings.pool) for s in (s_rec, s_sem)]
        total = scoring.image_score(expected[0] + settings.lam * expected[1])
    torch.testing.assert_close(found.scores["combined"], total, rtol=1e-6, atol=1e-6)


# --- the border -----------------------------------------------------------------------------------


def test_a_places_share_in_the_border_decides_what_it_counts():
    fine, coarse = border_weights(20, 0.5), border_weights(10, 0.5)
    assert fine[0, 7] == pytest.approx(0.5) and fine[1, 1] == pytest.approx(1.0)
    assert fine[19, 19] == pytest.approx(0.5)
    assert coarse[0, 4] == pytest.approx(0.75)  # half of it is border
    assert coarse[0, 0] == pytest.approx(0.5 + 0.5 / 4)  # a quarter of it is not
    torch.testing.assert_close(coarse[1:9, 1:9], torch.ones(8, 8))
    assert border_weights(20, 1.0).eq(1.0).all()


def test_both_distances_count_less_in_the_border(reference_scorer, tests_store):
    detector = reference_scorer.detector
    weighed = copy.copy(detector)
    weighed.config = detector.config.replace(border_weight=0.5)
    places = tests_store.indices("leather")
    coarse, fine = (torch.from_numpy(a[places].astype(np.float32))
                    for a in (tests_store.patches, tests_store.fine_patches))
    index = detector.index("leather")
    for raw, patches in (("raw_reconstruction", coarse), ("raw_reference", fine)):
        whole = getattr(detector, raw)(patches, index)
        less = getattr(weighed, raw)(patches, index)
        torch.testing.assert_close(less, whole * border_weights(whole.shape[-1], 0.5))
    zero, one = detector.unit("reference", index)
    torch.testing.assert_close(
        weighed.reference_scores(fine, index),
        (weighed.raw_reference(fine, index) - zero) / (one - zero))


# --- the branch -----------------------------------------------------------------------------------


def normal_grids(images: int, seed: int) -> torch.Tensor:
    """(images, 12, 8, 8) of a smooth random field."""
    return smoothed(torch.randn(images, 12, 8, 8, generator=torch.Generator().manual_seed(seed)))


def test_patches_that_it_holds_lie_at_distance_0_and_strange_ones_far():
    branch, good = ReferenceBranch(1, 12, 10_000), normal_grids(6, 0)
    branch.fit(lambda: [(good, 0)])
    assert branch.scores(good, 0).max() < 0.02  # half precision
    fresh = normal_grids(4, 1)
    broken = fresh.clone()
    broken[:, :3, 2:5, 2:5] += 4
    higher = branch.scores(broken, 0) - branch.scores(fresh, 0)
    assert (higher[:, 3, 3] > 1).all() and higher[:, 7, 7].abs().max() < 1e-5


def test_a_large_bank_is_searched_in_two_stages_with_nearly_the_same_outcome():
    random = torch.Generator().manual_seed(0)
    # correlated channels, as real features are: few directions carry most of the variance
    mixing = torch.randn(8, 96, generator=random)
    bank, rows = (torch.randn(n, 8, generator=random) @ mixing for n in (3000, 200))
    score = ResidualScore("nearest", 1, 96, 3000, 0.0, 0.02)
    score.fit(lambda: [(bank.T.reshape(1, 96, 60, 50), 0)])
    assert len(score.bank) == 3000
    whitened = score.whitened(rows.T.reshape(1, 96, 20, 10), 0).flatten(0, -2)
    exact = torch.cdist(whitened, score.bank.float()).amin(dim=1)
    found = score._nearest(whitened, 0)
    assert (found >= exact - 1e-3).all()
    assert (found / exact).median() < 1.01 and (found / exact).max() < 1.5


def test_views_turn_and_mirror_without_loss():
    image = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6))
    views = [np.asarray(turned(image, view)) for view in ("", *VIEWS)]
    assert len({v.tobytes() + bytes(v.shape) for v in views}) == 8
    assert all(sorted(v.ravel()) == list(range(24)) for v in views)


def test_auto_keeps_the_turns_of_a_texture_and_none_of_what_has_an_upside(
    tiny_encoder, tiny_config, tmp_path
):
    """Blots look the same from every side; a part that is dark on its left and striped on its
    right does not."""
    random = np.random.default_rng(0)
    for index in range(6):
        blots = np.kron(random.integers(60, 190, (24, 24)), np.ones((4, 4))).astype(np.uint8)
        sided = np.full((96, 96), 40.0)
        sided[::6, 48:] = 230
        sided += random.normal(0, 3, sided.shape)
        for name, pixels in (("blots", blots), ("sided", sided.clip(0, 255).astype(np.uint8))):
            folder = tmp_path / "data" / name / "train" / "good"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).convert("RGB").save(folder / f"{index}.png")
    config = tiny_config.replace(views="auto", reference_size=64)
    store = build_store(load_folder(tmp_path / "data"), tiny_encoder, tmp_path / "features")
    detector = Detector(("blots", "sided"), tiny_encoder, config)
    kept = {name: chosen_views(detector, tiny_encoder, store, store.indices(name),
                               tmp_path / "features") for name in detector.class_names}
    assert kept["blots"] == list(ROTATIONS)
    assert "quarter_left" not in kept["sided"] and "quarter_right" not in kept["sided"]


def test_turned_images_join_the_bank(tiny_encoder, tiny_config, parts_folder, tmp_path):
    samples = [s for s in load_folder(parts_folder) if s.split == "train"][:4]
    samples = [replace(s, class_name="one") for s in samples]
    store = build_store(samples, tiny_encoder, tmp_path)
    sizes = {}
    for views in ("none", "rotations", "mirrored"):
        config = tiny_config.replace(views=views, reference_size=100_000)
        detector = Detector(("one",), tiny_encoder, config)
        fit_reference(detector, tiny_encoder, store, range(4), tmp_path)
        sizes[views] = len(detector.reference.nearest.bank)
    assert sizes["rotations"] == 4 * sizes["none"] and sizes["mirrored"] == 8 * sizes["none"]


# --- units ----------------------------------------------------------------------------------------


def test_units_put_good_images_between_0_and_1(reference_scorer):
    """The median place of the held-out good images is 0 and their median image score is 1, in
    every branch alone."""
    scorer = reference_scorer
    name = "leather"
    settings = scorer.score_settings()
    maps = scorer.measure(list(scorer.checkpoint.calibration[name]), name, settings)
    assert set(maps.scores) == {"combined", "reconstruction", "semantic", REFERENCE}
    zero, one = scorer.detector.semantic_unit(scorer.detector.index(name))
    for branch in ("reconstruction", REFERENCE):
        assert maps.scores[branch].median().item() == pytest.approx(1.0, abs=0.05)
    in_units = (maps.scores["semantic"] - zero) / (one - zero)
    assert in_units.median().item() <= 1.05  # below 1 only where the least unit was needed
    weights = {"reconstruction": 1, "semantic": 0.5, REFERENCE: 1}
    total = sum(
        w * ((maps.maps[b] - zero) / (one - zero) if b == "semantic" else maps.maps[b])
        for b, w in weights.items()
    ) / 2.5
    torch.testing.assert_close(maps.maps["combined"], total, rtol=1e-4, atol=1e-4)


def test_weight_0_leaves_the_published_branches(reference_scorer, parts_folder):
    image = photo(parts_folder)
    own = reference_scorer.score(image, "leather")
    published = reference_scorer.score(image, "leather", reference_weight=0.0)
    assert own.weights == {"reconstruction": 0.4, "semantic": 0.2, REFERENCE: 0.4}
    assert published.weights[REFERENCE] == 0 and published.score != own.score
    np.testing.assert_array_equal(own.reference_map, published.reference_map)
    assert "The verdict used: <b>reconstruction + semantic</b>" in (
        render("detection.scores", published))
    assert "<b>reconstruction + semantic + reference</b>" in render("detection.scores", own)
    assert render("detection.formula", own).startswith("40% S<sub>rec</sub> + 20%")


def test_a_weight_below_0_is_refused(reference_scorer, parts_folder):
    with pytest.raises(SettingError, match="reference_weight is -1"):
        reference_scorer.score(photo(parts_folder), "leather", reference_weight=-1.0)


def test_page_and_api_name_the_fourth_map(reference_scorer, parts_folder):
    detection = reference_scorer.score(photo(parts_folder), "leather")
    assert [one.key for one in detection_view.maps_of(detection)][-1] == REFERENCE
    shown = detection_view.maps_html(
        detection, detection_view.Photo("data:image/jpeg;base64,", 96, 96))
    assert shown.count("<figure>") == 4 and "--lt-count:4" in shown
    file = parts_folder / "leather/test/good/000.png"
    record = inspect.score(
        ModelRegistry(reference_scorer), {"url": data_url(file.read_bytes(), "image/png")},
        "leather", "", "", 0.5, 1.0, 0.05, 1.0, True,
    )
    assert set(record["maps"]) == {"combined", "reconstruction", "semantic", REFERENCE}
    assert record["reference_score"] == pytest.approx(detection.reference_score)
    assert not [name for name in record if name.endswith("_map")]


def test_the_prompt_lab_counts_the_reference_branch(reference_scorer, parts_folder, tmp_path):
    tests = [s for s in load_folder(parts_folder) if s.split == "test"]
    bench = read_bench(reference_scorer, tests, tmp_path)
    grid = measure_pairs(reference_scorer, bench, [Pair("a", "a broken")])
    assert REFERENCE in grid.results[0].branches
    direct = reference_scorer.measure(
        [s.path for s in tests if s.class_name == "leather"], "leather",
        reference_scorer.score_settings(),
    )
    labels = [s.is_defective for s in tests if s.class_name == "leather"]
    leather = next(c for c in grid.results[0].classes if c.class_name == "leather")
    for branch in ("combined", REFERENCE):
        assert leather.image[branch] == pytest.approx(
            image_auroc(labels, direct.scores[branch].numpy()), abs=1e-6
        )
