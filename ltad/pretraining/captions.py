"""The language side: captions for rendered images, and the words that they are made of.

All functions are pure; those that choose take a numpy generator. Captions are lower-case English
words with single spaces and no punctuation, so that every word can be one token.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ltad.pretraining.lexicon import SYNONYMS, THEMES

__all__ = [
    "ABNORMAL_ENDINGS", "ABNORMAL_WORDS", "DEFECT_WORDS", "NORMAL_ENDINGS", "NORMAL_WORDS",
    "PREFIXES", "SYNONYMS", "all_words", "article", "caption", "twin_captions",
]  # fmt: skip

NORMAL_WORDS: tuple[str, ...] = (
    "good", "normal", "flawless", "perfect", "intact", "undamaged", "clean", "pristine", "unbroken",
    "faultless", "spotless", "immaculate", "fine", "regular", "sound", "unblemished", "proper",
    "healthy", "defectless", "new",
)  # fmt: skip
ABNORMAL_WORDS: tuple[str, ...] = (
    "broken", "damaged", "defective", "abnormal", "faulty", "flawed", "ruined", "imperfect", "bad",
    "anomalous", "irregular", "unusual", "blemished", "spoiled", "wrecked", "impaired", "marred",
    "unsound", "harmed",
)  # fmt: skip
# Endings of a caption by condition; the first of each tuple pairs with the bare good caption.
NORMAL_ENDINGS: tuple[str, ...] = (
    "without defect", "without flaw", "without any damage", "in good condition", "with no defects",
    "without defects", "in perfect condition", "with no anomaly", "of good quality",
)  # fmt: skip
ABNORMAL_ENDINGS: tuple[str, ...] = (
    "with a defect", "with a flaw", "with damage", "in bad condition", "with defects",
    "with a blemish", "with an anomaly", "with an imperfection", "of poor quality", "with a fault",
)  # fmt: skip
# Entries of one word stand before the subject, entries of several words after it.
DEFECT_WORDS: dict[str, tuple[str, ...]] = {
    "crack": ("cracked", "fractured", "split", "with a crack", "with a fracture", "with cracks"),
    "scratch": ("scratched", "scraped", "scuffed", "with a scratch", "with scratches",
                "with a scrape"),
    "hole": ("punctured", "pierced", "pitted", "with a hole", "with a puncture", "with a pit"),
    "stain": ("stained", "smudged", "soiled", "with a stain", "with a smudge", "with a spot"),
    "contamination": ("contaminated", "dirty", "polluted", "with contamination", "with debris",
                      "with dirt", "with a foreign object", "with a foreign particle"),
    "broken_piece": ("broken", "chipped", "snapped", "with a broken piece", "with a chip",
                     "with a piece broken off", "with a broken edge"),
    "missing_component": ("incomplete", "lacking", "with a missing part",
                          "with a missing component", "with a part missing",
                          "with something missing"),
    "misplaced_component": ("misaligned", "misplaced", "displaced", "with a misplaced part",
                            "with a misplaced component", "with a shifted part"),
    "deformation": ("deformed", "bent", "warped", "dented", "distorted", "with a deformation",
                    "with a dent", "with a bent part"),
    "discoloration": ("discolored", "faded", "tarnished", "with a discoloration",
                      "with a discolored area", "with a faded area"),
}  # fmt: skip
GENERIC_SUBJECTS: tuple[str, ...] = ("object", "object", "object", "item", "part", "thing")
PREFIXES: tuple[str, ...] = (
    "a photo of", "a picture of", "an image of", "a close up photo of", "close up of",
    "a closeup of", "a photograph of", "a cropped photo of", "a bright photo of", "a dark photo of",
    "view of", "a rendering of", "a blurry photo of", "a photo of the", "an inspection image of",
    "this is", "there is", "a macro shot of",
)  # fmt: skip
_PAIRED_GOOD = ("", "normal", "good", "flawless")
_PAIRED_BAD = ("broken", "damaged", "abnormal", "defective")
_VOWEL_SOUNDS = ("hour", "honest", "led ")
_CONSONANT_SOUNDS = ("uni", "use", "usual", "one", "eu")
# Names of many things or of stuff, which take no article.
_WITHOUT_ARTICLE = frozenset(
    ("stripes", "bands", "dots", "scales", "shingles", "tiles", "waves", "chevrons", "cells",
     "sand", "granite", "plaster", "fur", "felt", "marble", "terrazzo")
)  # fmt: skip


@dataclass(frozen=True)
class _Plan:
    """Everything that both twins' captions share."""

    prefix: str
    described: str
    ending: str


def article(following: str) -> str:
    """The word a or an, whichever goes before the given words by their sound."""
    word = following.split(" ", 1)[0]
    # Spelled "uni" or "us" but said with a leading y: a uniform, a used, but an unusual.
    if word.startswith(_CONSONANT_SOUNDS) and not word.startswith(("unin", "unim")):
        return "a"
    return "an" if word[:1] in tuple("aeiou") or word.startswith(_VOWEL_SOUNDS) else "a"


def _pick(rng: np.random.Generator, choices: tuple[str, ...]) -> str:
    return choices[int(rng.integers(len(choices)))]


def _synonym(name: str, rng: np.random.Generator) -> str:
    """The name, or in one case of four another word for it or for its last known word."""
    if rng.random() >= 0.25:
        return name
    if name in SYNONYMS:
        return _pick(rng, SYNONYMS[name])
    words = name.split()
    for position in range(len(words) - 1, -1, -1):
        if words[position] in SYNONYMS:
            words[position] = _pick(rng, SYNONYMS[words[position]])
            break
    return " ".join(words)


def _known(attributes: Mapping[str, str], name: str) -> str:
    """An attribute's value in words, or "" where it is missing or not in the vocabulary."""
    value = attributes.get(name, "").replace("_", " ").strip().lower()
    if value in ("", "none") or any(word not in _vocabulary() for word in value.split()):
        return ""
    return value


def _describe(subject: str, attributes: Mapping[str, str], rng: np.random.Generator) -> str:
    """The subject with some of its attributes before it, none of them twice."""
    words = []
    for name, share in (("color", 0.6), ("shape", 0.25), ("texture", 0.25), ("material", 0.5)):
        value = _known(attributes, name)
        if not value or rng.random() >= share:
            continue
        value = _synonym(value, rng)
        if not set(value.split()) & set(" ".join([subject, *words]).split()):
            words.append(value)
    return " ".join([*words, subject])


def _setting(attributes: Mapping[str, str], rng: np.random.Generator) -> str:
    """"on a white background" and the like, or ""."""
    value = _known(attributes, "background")
    if not value:
        return ""
    ground = _pick(rng, ("background", "background", "table", "surface"))
    phrase = f"{value} {ground}"
    return f"on {article(phrase)} {phrase}"


def _join(article_wanted: bool, prefix: str, condition: str, described: str, ending: str) -> str:
    """One caption; the article agrees with whichever word follows it."""
    core = " ".join(part for part in (condition, described) if part)
    if article_wanted:
        core = f"{article(core)} {core}"
    return " ".join(part for part in (prefix, core, ending) if part)


def _conditions(
    defect: str | None, rng: np.random.Generator
) -> tuple[tuple[str, str], tuple[str, str]]:
    """(adjective, ending) of the good and of the flawed twin, either of them ""."""
    if defect is not None and rng.random() < 0.6:
        words = _pick(rng, DEFECT_WORDS[defect])
        bad = ("", words) if " " in words else (words, "")
    elif rng.random() < 0.25:
        bad = ("", _pick(rng, ABNORMAL_ENDINGS))
    else:
        bad = (_pick(rng, ABNORMAL_WORDS), "")
    choice = rng.random()
    if choice < 0.35:
        good = ("", "")
    elif bad[1] and choice < 0.7:
        good = ("", _pick(rng, NORMAL_ENDINGS))
    else:
        good = (_pick(rng, NORMAL_WORDS), "")
    return good, bad


def twin_captions(
    subject: str, attributes: Mapping[str, str], defect: str | None, rng: np.random.Generator
) -> tuple[str, str]:
    """Captions (normal, abnormal) of a pair of twin images.

    Both have the same template, subject words and attributes and differ in the words for the
    condition alone (and in "a" or "an" before them). About a quarter of the pairs are "a SUBJECT"
    and "a broken SUBJECT".

    Args:
        subject: a class name, underscores allowed, or a scene's subject.
        attributes: words by name; "color", "material", "shape", "texture" and "background" are
            used where their words are in the vocabulary, and "none" is skipped.
        defect: a key of DEFECT_WORDS, or None for a flaw without a name.
        rng: decides everything.

    Raises:
        KeyError: if the defect is not a key of DEFECT_WORDS.
        ValueError: if the subject is empty.
    """
    name = subject.replace("_", " ").strip().lower()
    if not name:
        raise ValueError("the subject is empty")
    if defect is not None and defect not in DEFECT_WORDS:
        raise KeyError(defect)
    name = _pick(rng, GENERIC_SUBJECTS) if rng.random() < 0.1 else _synonym(name, rng)
    with_article = name.split()[-1] not in _WITHOUT_ARTICLE or " of " in name
    style = rng.random()
    if style < 0.25:
        return (_join(with_article, "", "", name, ""),
                _join(with_article, "", "broken", name, ""))
    if style < 0.6:
        good, bad = (_pick(rng, _PAIRED_GOOD), ""), (_pick(rng, _PAIRED_BAD), "")
        plan = _Plan("", name, "")
        if rng.random() < 0.2:
            plan = _Plan("", _describe(name, attributes, rng), "")
    else:
        good, bad = _conditions(defect, rng)
        prefix = _pick(rng, PREFIXES) if rng.random() < 0.55 else ""
        described = _describe(name, attributes, rng) if rng.random() < 0.6 else name
        plan = _Plan(prefix, described, _setting(attributes, rng) if rng.random() < 0.3 else "")
        bare = (prefix == "" and rng.random() < 0.3) or prefix.endswith(" the")
        with_article = with_article and not bare
    sound, flawed = (
        _join(with_article, plan.prefix, word, plan.described, f"{ending} {plan.ending}".strip())
        for word, ending in (good, bad)
    )
    return sound, flawed


def caption(
    subject: str, attributes: Mapping[str, str], defect: str | None, flawed: bool,
    rng: np.random.Generator,
) -> str:  # fmt: skip
    """One image's caption, good or flawed; arguments and errors as for twin_captions."""
    return twin_captions(subject, attributes, defect, rng)[bool(flawed)]


@lru_cache(maxsize=1)
def _vocabulary() -> frozenset[str]:
    """Every word, as a set for look-ups."""
    phrases = [*SYNONYMS, *(other for others in SYNONYMS.values() for other in others)]
    phrases += [*NORMAL_WORDS, *ABNORMAL_WORDS, *NORMAL_ENDINGS, *ABNORMAL_ENDINGS, *PREFIXES]
    phrases += [words for entry in DEFECT_WORDS.values() for words in entry]
    phrases += [*GENERIC_SUBJECTS, *(word for theme in THEMES.values() for word in theme)]
    return frozenset(word for phrase in phrases for word in phrase.split())


@lru_cache(maxsize=1)
def all_words() -> tuple[str, ...]:
    """Every word that a caption of a known subject can hold and many more, sorted, each once.

    All are made of the letters a to z.
    """
    return tuple(sorted(_vocabulary()))
