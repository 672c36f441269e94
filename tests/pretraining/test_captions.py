"""Captions: grammar, twins, frequencies and vocabulary."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from ltad.pretraining.captions import (
    ABNORMAL_ENDINGS,
    ABNORMAL_WORDS,
    DEFECT_WORDS,
    NORMAL_ENDINGS,
    NORMAL_WORDS,
    PREFIXES,
    all_words,
    article,
    caption,
    twin_captions,
)
from ltad.synthetic.classes import DEFECT_TYPES, PART_CLASSES
from ltad.synthetic.scenes.fields import COLOURS, MATERIALS
from ltad.synthetic.scenes.shapes import SHAPES
from ltad.synthetic.scenes.surfaces import SURFACES

ATTRIBUTES = {"color": "silver", "material": "iron", "shape": "round", "background": "white"}
NAMED = {phrase for phrases in DEFECT_WORDS.values() for phrase in phrases}
ABNORMAL = {*ABNORMAL_WORDS, *ABNORMAL_ENDINGS, *NAMED}
NORMAL = {"", *NORMAL_WORDS, *NORMAL_ENDINGS}


def scene_subjects() -> list[str]:
    subjects = [noun for surface in SURFACES for noun in surface.nouns]
    for shape in SHAPES:
        subjects += [f"{color} {noun}" for noun in shape.singular for color in COLOURS]
        subjects += [f"{m.adjective} {noun}" for noun in shape.singular for m in MATERIALS.values()]
        subjects += [
            f"{group} of {noun}"
            for noun in (*shape.plural, "objects", "parts")
            for group in ("pile", "heap", "group", "set", "row", "array", "grid", "collection")
        ]
    return subjects


def drawn(count: int):
    """(subject, defect, normal caption, abnormal caption) of random draws."""
    rng = np.random.default_rng(5)
    subjects = [*PART_CLASSES] * 20 + scene_subjects()
    for _ in range(count):
        subject = subjects[int(rng.integers(len(subjects)))]
        defect = [None, *DEFECT_TYPES][int(rng.integers(11))] if subject in PART_CLASSES else None
        yield subject, defect, *twin_captions(subject, ATTRIBUTES, defect, rng)


def without_articles(text: str) -> str:
    return " ".join(word for word in text.split() if word not in ("a", "an"))


def strip_condition(text: str, conditions: set[str]) -> set[str]:
    """The caption without articles and without each of the conditions that it holds."""
    bare = f" {without_articles(text)} "
    found = {bare.strip()}
    for condition in conditions:
        phrase = without_articles(condition)
        if phrase and f" {phrase} " in bare:
            found.add(" ".join(bare.replace(f" {phrase} ", " ", 1).split()))
    return found


def test_same_generator_gives_same_captions():
    def draw() -> list[tuple[str, str]]:
        generators = [np.random.default_rng(seed) for seed in range(50)]
        return [twin_captions("gear", ATTRIBUTES, "crack", rng) for rng in generators]

    first, again = draw(), draw()
    assert first == again
    assert len(set(first)) > 20


def test_articles_agree_with_the_next_word():
    for text in (t for *_, good, bad in drawn(2000) for t in (good, bad)):
        words = text.split()
        for word, following in pairwise(words):
            if word in ("a", "an"):
                assert word == article(following), text
        assert words[-1] not in ("a", "an")


@pytest.mark.parametrize(
    ("words", "expected"),
    [("broken gear", "a"), ("abnormal gear", "an"), ("unusual gear", "an"), ("uniform sheet", "a"),
     ("undamaged nut", "an"), ("unimpaired nut", "an"), ("used bolt", "a"), ("hour", "an"),
     ("led", "a")],
)  # fmt: skip
def test_article(words, expected):
    assert article(words) == expected


def test_twins_differ_in_condition_words_alone():
    for *_, good, bad in drawn(2000):
        assert good != bad
        assert strip_condition(good, NORMAL) & strip_condition(bad, ABNORMAL), (good, bad)


def test_flawed_caption_of_a_named_defect_uses_its_words_sometimes():
    rng = np.random.default_rng(1)
    texts = [caption("gear", {}, "crack", True, rng) for _ in range(400)]
    named = [t for t in texts if "crack" in t or "fracture" in t or "split" in t]
    assert 30 < len(named) < 250
    assert not any("crack" in caption("gear", {}, "crack", False, rng) for _ in range(100))


def test_common_forms_are_frequent():
    rng = np.random.default_rng(2)
    pairs = Counter(twin_captions("tile", ATTRIBUTES, "stain", rng) for _ in range(4000))
    total = sum(pairs.values())
    bare = sum(n for (good, bad), n in pairs.items()
               if len(good.split()) == 2 and bad == f"a broken {good.split()[1]}")  # fmt: skip
    assert 0.2 < bare / total < 0.36
    for first in ("a tile", "a normal tile", "a good tile", "a flawless tile"):
        for second in ("a broken", "a damaged", "an abnormal", "a defective"):
            assert pairs[first, f"{second} tile"] >= 20
    generic = sum(n for (good, _), n in pairs.items()
                  if {"object", "item", "part", "thing"} & set(good.split()))  # fmt: skip
    assert 0.06 < generic / total < 0.15


def test_every_caption_word_is_in_the_vocabulary():
    known = set(all_words())
    used = {word for *_, good, bad in drawn(2000) for word in f"{good} {bad}".split()}
    used |= {word for subject in scene_subjects() for word in subject.split()}
    used |= {word for name in PART_CLASSES for word in name.split("_")}
    assert used <= known, used - known


def test_vocabulary_is_sorted_plain_words():
    words = all_words()
    assert list(words) == sorted(set(words))
    assert 1500 <= len(words) <= 2600
    assert all(word.isascii() and word.isalpha() and word.islower() for word in words)


def test_words_cover_every_defect_type():
    assert set(DEFECT_WORDS) == set(DEFECT_TYPES)
    assert not set(NORMAL_WORDS) & set(ABNORMAL_WORDS)
    assert "object" in all_words() and len(PREFIXES) > 10


def test_bad_arguments_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(KeyError):
        twin_captions("gear", {}, "melting", rng)
    with pytest.raises(ValueError):
        twin_captions(" ", {}, None, rng)


def test_unknown_and_absent_attributes_are_left_out():
    rng = np.random.default_rng(3)
    odd = {"color": "xyzzy", "background": "none", "material": ""}
    for _ in range(300):
        assert not {"xyzzy", "none"} & set(caption("gear", odd, None, False, rng).split())
