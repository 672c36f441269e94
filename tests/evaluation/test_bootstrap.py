"""Bootstrap intervals: against images drawn and ranked one draw after another, and in tables."""

import json
import zlib

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from ltad.evaluation.bootstrap import (
    QUANTILES,
    RESAMPLES,
    ImagePixels,
    resampled_image_auroc,
)
from ltad.evaluation.metrics import image_auroc
from ltad.evaluation.results import FIGURES, ClassResult, Results
from ltad.types import BRANCHES


def pictures(seed: int, count: int = 7, side: int = 80, power: int = 1) -> tuple[list, list]:
    """Maps with a square that rises; the first two images are good. More `power`: longer tail."""
    rng = np.random.default_rng(seed)
    masks = [np.zeros((side, side), bool) for _ in range(count)]
    for mask in masks[2:]:
        top, left = rng.integers(0, side - 45, 2)
        mask[top : top + rng.integers(3, 45), left : left + rng.integers(3, 45)] = True
    maps = [(rng.gamma(2, size=mask.shape) + mask * rng.random() * 3) ** power for mask in masks]
    return masks, maps


def pixels_of(masks, maps) -> ImagePixels:
    pixels = ImagePixels()
    for mask, anomaly_map in zip(masks, maps, strict=True):
        pixels.add(mask, anomaly_map)
    return pixels


def drawn_one_by_one(masks, maps, name: str, seed: int = 0) -> list[float]:
    """The definition: whole images are drawn, and all their pixels ranked."""
    key = np.random.SeedSequence((seed, zlib.crc32(name.encode())))
    rng, found = np.random.default_rng(key), []
    while len(found) < RESAMPLES:
        drawn = rng.integers(len(maps), size=len(maps))
        known = [index for index in drawn if masks[index] is not None]
        labels = np.ravel([masks[index] for index in known])
        if labels.any() and not labels.all():
            found.append(roc_auc_score(labels, np.ravel([maps[index] for index in known])))
    return found


@pytest.mark.parametrize("power", [1, 9])
def test_pixels_are_drawn_by_picture(power, tell):
    masks, maps = pictures(0, power=power)  # most have more than 1,024 pixels of a kind
    assert max(mask.sum() for mask in masks) > QUANTILES
    exact = np.array(drawn_one_by_one(masks, maps, "nut"))
    own = np.array(pixels_of(masks, maps).resampled_auroc("nut"))
    furthest = np.abs(own - exact).max()
    tell(f"pixel AUROC of {RESAMPLES} draws, power {power}: at most {furthest:.1e} from "
         f"scikit-learn's on all pixels, bound {1 / QUANTILES:.1e}")
    assert np.std(exact) > 0.005 and furthest < 2e-4


def test_few_pixels_are_exact_and_ties_count_half():
    masks, maps = pictures(1, side=50)
    masks, maps = [m[:30, :30] for m in masks], [np.round(m[:30, :30]) for m in maps]
    masks[4] = None  # no mask was published
    exact = drawn_one_by_one(masks, maps, "nut", seed=3)
    assert pixels_of(masks, maps).resampled_auroc("nut", seed=3) == pytest.approx(exact, abs=1e-12)


def test_pixels_of_one_kind_have_no_values():
    assert ImagePixels().resampled_auroc("nut") is None
    for mask in (np.zeros((3, 3)), np.ones((3, 3)), None):
        assert pixels_of([mask], [np.eye(3)]).resampled_auroc("nut") is None
    # one good image and one defective one: a draw of both, or of the second alone
    masks = [np.zeros((1, 2)), np.array([[0, 1]])]
    values = pixels_of(masks, [np.array([[1.0, 3.0]]), np.array([[0.0, 2.0]])])
    assert set(values.resampled_auroc("nut")) == {2 / 3, 1.0}


def test_resampling_is_seeded_by_class():
    rng = np.random.default_rng(2)
    labels = np.arange(60) % 3 == 0
    scores = rng.normal(size=60) + labels
    drawn = resampled_image_auroc(labels, scores, "nut")
    assert len(drawn) == RESAMPLES and drawn == resampled_image_auroc(labels, scores, "nut")
    assert drawn != resampled_image_auroc(labels, scores, "gear")
    assert drawn != resampled_image_auroc(labels, scores, "nut", seed=1)
    low, high = np.percentile(drawn, (2.5, 97.5))
    assert low < image_auroc(labels, scores) < high and 0.1 < high - low < 0.4
    assert resampled_image_auroc([1, 1], [1, 2], "nut") is None
    assert set(resampled_image_auroc([0, 1], [1, 2], "nut")) == {1.0}
    # images of one pixel: both figures see the same draws
    pixels = pixels_of(labels[:, None, None], np.float32(scores)[:, None, None])
    assert pixels.resampled_auroc("nut") == pytest.approx(
        resampled_image_auroc(labels, np.float32(scores), "nut"), abs=1e-12
    )


@pytest.fixture
def results():
    rng = np.random.default_rng(3)
    labels = np.arange(40) % 2

    def entry(name, count, gap):
        image, pixel = (
            resampled_image_auroc(labels, rng.normal(size=40) + gap * labels, name)
            for _ in range(2)
        )
        return ClassResult(
            name, count, dict.fromkeys(BRANCHES, 0.5), dict.fromkeys(BRANCHES, 0.5),
            0.9, 0.8, 0.7, 0.6, 0.5, image, pixel,
        )

    bare = ClassResult("wood", 1, dict.fromkeys(BRANCHES), dict.fromkeys(BRANCHES))
    return Results((entry("nut", 9, 2), entry("gear", 3, 1), entry("tile", 2, 1), bare))


@pytest.mark.parametrize("metric", ["image", "pixel"])
def test_intervals_of_means(results, metric):
    intervals = results.intervals(metric)
    expected = np.percentile(
        [np.mean(d) for d in zip(*(r.resampled(metric) for r in results.classes[:2]),
                                 strict=True)], (2.5, 97.5),
    )
    assert intervals["High"] == pytest.approx(tuple(expected))
    assert intervals["Low"] == results.classes[2].interval(metric)
    assert results.classes[3].interval(metric) is None
    width = {name: high - low for name, (low, high) in intervals.items()}
    assert width["All"] < width["High"]  # a mean of more classes is surer


def test_figures_table_and_json(results):
    assert results.figures()["All"] == pytest.approx(
        dict(zip(FIGURES, (0.9, 0.8, 0.7, 0.6, 0.5), strict=True))
    )
    lines = results.figures_table().splitlines()
    assert len({len(line) for line in lines}) == 1
    cells = {line.split()[0]: line.split()[1:] for line in lines}
    assert cells["gear"][:5] == ["90.00", "80.00", "70.00", "60.00", "50.00"]
    assert cells["gear"][6] == cells["gear"][9] == "-" and cells["wood"] == ["n/a"] * 7
    for place, metric in ((5, "image"), (8, "pixel")):
        low, high = results.intervals(metric)["All"]
        assert cells["All"][place : place + 3 : 2] == [f"{100 * low:.2f}", f"{100 * high:.2f}"]
    data = json.loads(json.dumps(results.to_dict()))
    assert data["classes"][0]["aupro"] == 0.5 and data["classes"][3]["pixel_interval"] is None
    assert data["classes"][0]["image_interval"] == list(results.classes[0].interval("image"))
    assert data["intervals"]["Low"] == list(results.intervals("image")["Low"])
    assert data["pixel_intervals"]["Low"] == list(results.intervals("pixel")["Low"])
    assert data["figures"]["High"]["pixel_f1_max"] == pytest.approx(0.6)
    assert not any(name.startswith("resampled") for name in data["classes"][0])


def test_without_figures_there_are_no_values():
    bare = ClassResult("wood", 1, dict.fromkeys(BRANCHES), dict.fromkeys(BRANCHES))
    assert Results((bare,)).intervals("pixel")["All"] is None
    assert Results(()).figures()["All"] == dict.fromkeys(FIGURES)
    assert "n/a" in Results(()).figures_table()
