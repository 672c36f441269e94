"""The words that the joint space is taught: what names a flaw, what means none, what is kept back.

A prompt is one word or phrase and a subject: "a cracked screw", "a screw with a crack". Words for
holes, dents and warps are never used in training, since those flaws are kept out as well.

ImageNet's 1,000 classes are named by up to three of their WordNet names in several phrasings; other
phrasings are held out, to see whether a name is understood or a sentence remembered.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ltad.pretraining.captions import article
from ltad.pretraining.towers import CLASS_NAMES, fetch

FLAW_WORDS: Mapping[str, tuple[str, ...]] = {
    "crack": ("cracked", "fractured", "with a crack", "with cracks"),
    "scratch": ("scratched", "scraped", "with a scratch", "with scratches"),
    "stain": ("stained", "soiled", "with a stain", "with a spot"),
    "contamination": ("contaminated", "dirty", "polluted", "with contamination", "with debris",
                      "with dirt", "with a foreign object"),
    "broken_piece": ("chipped", "snapped", "with a chip", "with a piece broken off",
                     "with a broken edge"),
    "missing_component": ("incomplete", "with a missing part", "with a part missing"),
    "misplaced_component": ("misaligned", "misplaced", "with a misplaced part",
                            "with a shifted part"),
    "discoloration": ("discolored", "faded", "with a discoloration", "with a faded area"),
    "scuff": ("scuffed", "worn", "abraded", "with scuff marks"),
    "thread": ("with a hair", "with a thread", "with a fiber"),
    "specks": ("speckled", "dusty", "with specks", "with dust"),
    "smear": ("smeared", "smudged", "with a smear"),
}
"""What may be said of each kind of flaw, and of no other."""

KIND_OF_SCENE_FLAW: Mapping[str, str] = {
    "scratch": "scratch", "crack": "crack", "stain": "stain", "discoloured": "discoloration",
    "specks": "specks", "scuff": "scuff", "thread": "thread", "foreign": "contamination",
    "other_texture": "unnamed", "moved_patch": "unnamed", "smeared": "smear",
    "bitten": "broken_piece", "rearranged": "misplaced_component", "blob": "stain",
}
"""`ltad.synthetic.scenes.flaws.FLAW_KINDS` in these terms; "unnamed" has no word of its own."""

NEAR: Mapping[str, frozenset[str]] = {
    "scratch": frozenset({"scuff"}),
    "scuff": frozenset({"scratch", "smear"}),
    "stain": frozenset({"contamination", "discoloration", "smear", "specks"}),
    "contamination": frozenset({"stain", "specks", "thread"}),
    "specks": frozenset({"contamination", "stain"}),
    "thread": frozenset({"contamination", "scratch"}),
    "smear": frozenset({"stain", "discoloration", "scuff"}),
    "misplaced_component": frozenset({"missing_component"}),
    "missing_component": frozenset({"misplaced_component", "broken_piece"}),
    "broken_piece": frozenset({"missing_component", "crack"}),
    "crack": frozenset({"scratch", "broken_piece"}),
    "discoloration": frozenset({"stain", "smear"}),
    "unnamed": frozenset({"misplaced_component", "missing_component", "scuff", "smear",
                          "discoloration", "stain"}),
}
"""Kinds that a person might take for one another, so that neither teaches against the other."""

DAMAGED = ("broken", "damaged", "defective", "abnormal", "faulty", "imperfect", "bad",
           "with a defect", "with damage", "with a flaw")
SOUND = ("", "normal", "good", "flawless", "perfect", "intact", "undamaged", "without defect")
HARMLESS = ("red", "blue", "green", "yellow", "black", "white", "large", "small", "big", "tiny",
            "wooden", "metal", "plastic", "round", "square", "heavy", "light", "cheap", "modern",
            "shiny", "matte", "on a table", "on a white background", "with a label", "in the sun",
            "expensive", "common")
"""Words that mean no damage."""

HELD_OUT_DAMAGED = ("flawed", "ruined", "blemished", "anomalous", "with an anomaly")
HELD_OUT_HARMLESS = ("purple", "huge", "golden", "ceramic", "oval", "orange", "famous",
                     "on the floor")
"""Never seen in training; the probe asks what they do."""


PHRASINGS = ("a photo of a {}", "{}", "a {}", "a close up photo of a {}", "an image of a {}",
             "a picture of the {}", "a bright photo of a {}")
HELD_OUT_PHRASINGS = ("a photograph of one {}", "here is a {} on a table",
                      "a cropped photo of the {}")
MOST_NAMES = 3


def phrase(words: str, subject: str) -> str:
    """``("broken", "screw")`` -> "a broken screw"; ``("with a crack", "screw")`` -> "a screw with
    a crack"; ``("", "screw")`` -> "a screw"."""
    if not words:
        return f"{article(subject)} {subject}"
    if " " in words:
        return f"{article(subject)} {subject} {words}"
    return f"{article(words)} {words} {subject}"


def every_word() -> tuple[str, ...]:
    """All words of training, each once."""
    flaws = [w for words in FLAW_WORDS.values() for w in words]
    return tuple(dict.fromkeys([*SOUND, *DAMAGED, *HARMLESS, *flaws]))


def imagenet_names(work: str | Path) -> list[list[str]]:
    """For each of the 1,000 classes, in the classifier's order, its names; the first is usual."""
    folder = fetch(CLASS_NAMES, work) / "timm/data/_info"
    synsets = (folder / "imagenet_synsets.txt").read_text(encoding="utf-8").split()
    lines = (folder / "imagenet_synset_to_lemma.txt").read_text(encoding="utf-8").splitlines()
    names = dict(line.split("\t", 1) for line in lines if "\t" in line)
    return [[name.strip() for name in names[synset].split(",")] for synset in synsets]


def phrased(
    names: list[list[str]], phrasings: tuple[str, ...], most: int
) -> tuple[list[str], list[int]]:
    """Texts and the class index of each: every phrasing of up to `most` names a class."""
    texts, classes = [], []
    for index, own in enumerate(names):
        for name in own[:most]:
            texts += [phrasing.format(name) for phrasing in phrasings]
            classes += [index] * len(phrasings)
    return texts, classes
