"""Long-tailed counts and draws; every expectation follows from the formula beside it."""

from collections import Counter
from pathlib import Path

import pytest

from ltad.data.splits import (
    Split,
    long_tail_counts,
    majority,
    parse_split,
    resample,
    resample_as_trained,
    training_counts,
)
from ltad.types import Sample, SettingError

MVTEC = {
    "carpet": 280, "grid": 264, "leather": 245, "tile": 230, "wood": 247, "bottle": 209,
    "cable": 224, "capsule": 219, "hazelnut": 391, "metal_nut": 220, "pill": 267, "screw": 320,
    "toothbrush": 60, "transistor": 213, "zipper": 240,
}
MVTEC_ORDER = [
    "hazelnut", "screw", "carpet", "pill", "grid", "wood", "leather", "zipper", "tile", "cable",
    "metal_nut", "capsule", "transistor", "bottle", "toothbrush",
]
# int(391 * 100^(-r/14)) for r = 0..14, computed by hand with 100^(1/14) = 1.389495:
# 391, 281.40, 202.52, 145.75, 104.89, 75.49, 54.33, 39.1, 28.14, 20.25, 14.57, 10.49, 7.55, ...
MVTEC_EXP100 = [391, 281, 202, 145, 104, 75, 54, 39, 28, 20, 14, 10, 7, 5, 3]


def samples_of(counts: dict[str, int], test: int = 2) -> list[Sample]:
    return [
        Sample(Path(f"{name}/{split}/good/{index:03d}.png"), name, split)
        for name, train in counts.items()
        for split, count in (("train", train), ("test", test))
        for index in range(count)
    ]


@pytest.mark.parametrize(
    "name, expected",
    [
        ("exp100", Split("exp100", "exp", 100)),
        ("step200", Split("step200", "step", 200)),
        ("exp1", Split("exp1", "exp", 1)),
        ("none", Split("none", "none", 1)),
        ("exp100-reversed", Split("exp100-reversed", "exp", 100, True)),
        ("step5@b, a", Split("step5@b, a", "step", 5, False, ("b", "a"))),
    ],
)
def test_split_names(name, expected):
    assert parse_split(name) == expected


@pytest.mark.parametrize("name", ["", "exp", "exp0", "exp-1", "exp1.5", "EXP100", "log100",
                                  "none1", "exp100 ", "exp100@",
                                  "exp100-", "none-reversed", "exp٣", "exp9999999999"])
def test_wrong_split_names(name):
    with pytest.raises(SettingError, match="'exp100'"):
        parse_split(name)


def test_mvtec_exp100():
    counts = long_tail_counts(MVTEC, parse_split("exp100"))
    assert list(counts) == MVTEC_ORDER
    assert list(counts.values()) == MVTEC_EXP100


def test_mvtec_exp200_ends_with_one_picture():
    counts = long_tail_counts(MVTEC, parse_split("exp200"))
    assert counts["hazelnut"] == 391 and counts["toothbrush"] == 391 // 200 == 1


def test_mvtec_step100_is_capped_by_what_a_class_has():
    counts = long_tail_counts(MVTEC, parse_split("step100"))
    expected = {n: MVTEC[n] if r < 7 else 391 // 100 for r, n in enumerate(MVTEC_ORDER)}
    assert counts == expected
    assert majority(counts) == (set(MVTEC_ORDER[:7]), set(MVTEC_ORDER[7:]))


def test_reversed_order_is_capped_too():
    counts = long_tail_counts(MVTEC, parse_split("exp100"), MVTEC_ORDER[::-1])
    wanted = dict(zip(MVTEC_ORDER[::-1], MVTEC_EXP100, strict=True))
    assert counts == {name: min(MVTEC[name], wanted[name]) for name in MVTEC}
    assert counts["toothbrush"] == 60 and counts["hazelnut"] == 3
    assert long_tail_counts(MVTEC, parse_split("exp100-reversed")) == counts
    named = parse_split("exp100@" + ",".join(MVTEC_ORDER[::-1]))
    assert long_tail_counts(MVTEC, named) == counts
    with pytest.raises(SettingError, match="exactly once"):
        long_tail_counts(MVTEC, parse_split("exp100@screw,bottle"))


@pytest.mark.parametrize("factor, last", [(50, 20), (100, 10), (200, 5), (500, 2)])
def test_dagm_ends_are_exact(factor, last):
    natural = {f"Class{number:02d}": 1000 for number in range(1, 11)}
    for kind in ("exp", "step"):
        counts = list(long_tail_counts(natural, parse_split(f"{kind}{factor}")).values())
        assert counts[0] == 1000 and counts[-1] == 1000 // factor == last


def test_whole_numbers_survive_rounding():
    # 512 * 32^(-r/5) = 512 / 2^r, but in floating point 512 * 32 ** (-2 / 5) falls short of 128
    assert int(512 * 32 ** (-2 / 5)) == 127
    natural = dict.fromkeys("abcdef", 512)
    counts = long_tail_counts(natural, parse_split("exp32"))
    assert list(counts.values()) == [512, 256, 128, 64, 32, 16]


def test_at_least_one_and_one_class_and_none():
    assert long_tail_counts({"a": 5, "b": 5}, parse_split("exp500")) == {"a": 5, "b": 1}
    assert long_tail_counts({"a": 5, "b": 5}, parse_split("step500")) == {"a": 5, "b": 1}
    assert long_tail_counts({"a": 5}, parse_split("step500")) == {"a": 5}
    assert long_tail_counts(MVTEC, parse_split("none")) == MVTEC


def test_wrong_orders_and_empty_classes():
    for order in (["a"], ["a", "a"], ["a", "b", "c"]):
        with pytest.raises(SettingError, match="exactly once"):
            long_tail_counts({"a": 1, "b": 1}, parse_split("none"), order)
    with pytest.raises(SettingError, match="'b' has no images"):
        long_tail_counts({"a": 1, "b": 0}, parse_split("none"))


def test_majority_sizes_of_the_three_benchmarks():
    for classes, high in ((15, 7), (12, 6), (10, 5), (1, 0)):
        sides = majority({str(number): number + 1 for number in range(classes)})
        assert [len(side) for side in sides] == [high, classes - high]
    assert majority({"b": 3, "a": 3, "c": 3, "d": 1}) == ({"a", "b"}, {"c", "d"})


def test_resampling_draws_without_replacement_and_leaves_the_test_set():
    samples = samples_of(MVTEC)
    kept = resample(samples, parse_split("exp100"), seed=0)
    train = [s for s in kept if s.split == "train"]
    assert Counter(s.class_name for s in train) == dict(
        zip(MVTEC_ORDER, MVTEC_EXP100, strict=True)
    )
    assert len({s.path for s in train}) == len(train) == sum(MVTEC_EXP100)
    assert [s for s in kept if s.split == "test"] == [s for s in samples if s.split == "test"]
    chosen = set(kept)
    assert kept == [s for s in samples if s in chosen]


def test_resampling_is_seeded_nested_and_free_of_order():
    samples = samples_of(MVTEC)
    split, other = parse_split("exp100"), parse_split("exp200")
    kept = resample(samples, split, seed=0)
    assert resample(samples[::-1], split, seed=0)[::-1] == kept
    assert resample(samples, split, seed=1) != kept
    assert set(resample(samples, other, seed=0)) <= set(kept)


@pytest.mark.parametrize("name", ["exp100", "exp100-reversed", "step100-reversed"])
def test_what_a_model_learned_from_is_found_again(name):
    """From the whole data set, and from one that was resampled when it was made."""
    samples = samples_of(MVTEC)
    kept = resample(samples, parse_split(name), seed=3)
    counts = training_counts(kept)
    assert sum(counts.values()) < sum(MVTEC.values())
    assert resample_as_trained(samples, name, 3, counts) == kept
    assert resample_as_trained(kept, name, 3, counts) == kept


def test_classes_of_one_size_draw_their_own_images():
    """The choice depends on the class's name: places in the folder are not the same for all."""
    samples = [Sample(Path(f"{name}/{n:03}.png"), name, "train") for name in "abcd"
               for n in range(100)]
    kept = resample(samples, parse_split("step10"), 0)
    places = {name: [s.path.name for s in kept if s.class_name == name] for name in "cd"}
    assert len(places["c"]) == len(places["d"]) == 10 and places["c"] != places["d"]
