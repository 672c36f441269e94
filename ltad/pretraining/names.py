"""ImageNet's 1,000 classes as texts: what the classifier's directions are called.

A class is called by up to three of its WordNet names in several phrasings. Other phrasings are
held out, to see whether the joint space understands a name or remembers a sentence.
"""

from __future__ import annotations

from pathlib import Path

from ltad.pretraining.sources import CLASS_NAMES, fetch

PHRASINGS = ("a photo of a {}", "{}", "a {}", "a close up photo of a {}", "an image of a {}",
             "a picture of the {}", "a bright photo of a {}")
HELD_OUT_PHRASINGS = ("a photograph of one {}", "here is a {} on a table",
                      "a cropped photo of the {}")
MOST_NAMES = 3


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
