"""The rendered parts: determinism, twins, every class with every defect, errors."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from ltad.synthetic.classes import (
    DEFECT_TYPES,
    PART_CLASSES,
    UNSEEN_DEFECT_TYPES,
    UNSEEN_PART_CLASSES,
    applicable_defects,
)
from ltad.synthetic.render import render_part

ROOT = Path(__file__).resolve().parents[2]
TEXTURES = {"leather", "carpet", "wood", "tile", "brushed_metal", "wire_mesh"}
SHAPE_CASES = [
    ("hex_nut", 3, "crack"),
    ("bearing", 4, "missing_component"),
    ("wood", 5, "hole"),
    ("screw", 6, None),
]
PAIRS = [(name, defect) for name in PART_CLASSES for defect in applicable_defects(name)]


def digest(cases) -> str:
    total = hashlib.sha256()
    for part_class, seed, defect in cases:
        part = render_part(part_class, seed, 96, defect)
        total.update(part.image.tobytes())
        total.update(part.mask.tobytes())
    return total.hexdigest()


def test_same_bytes_in_another_process():
    program = ("from tests.synthetic.test_parts import SHAPE_CASES, digest; "
               "print(digest(SHAPE_CASES))")
    answer = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == digest(SHAPE_CASES)


def test_counts_and_unseen_subsets():
    assert len(PART_CLASSES) == len(set(PART_CLASSES)) == 16
    assert len(DEFECT_TYPES) == len(set(DEFECT_TYPES)) == 10
    assert len(set(UNSEEN_PART_CLASSES)) == 4 and set(UNSEEN_PART_CLASSES) < set(PART_CLASSES)
    assert len(set(UNSEEN_DEFECT_TYPES)) == 2 and set(UNSEEN_DEFECT_TYPES) < set(DEFECT_TYPES)
    assert TEXTURES.issubset(PART_CLASSES)
    assert 0 < len(TEXTURES & set(UNSEEN_PART_CLASSES)) < 4


def test_defects_are_spread_over_classes():
    for name in PART_CLASSES:
        assert len(applicable_defects(name)) >= 4
    for defect in DEFECT_TYPES:
        assert sum(defect in applicable_defects(name) for name in PART_CLASSES) >= 3
    seen = [name for name in PART_CLASSES if name not in UNSEEN_PART_CLASSES]
    for defect in UNSEEN_DEFECT_TYPES:
        assert sum(defect in applicable_defects(name) for name in seen) >= 3


@pytest.mark.parametrize("part_class", PART_CLASSES)
def test_good_part(part_class):
    part = render_part(part_class, 1, 80)
    assert part.image.shape == (80, 80, 3) and part.image.dtype == np.uint8
    assert part.mask.shape == (80, 80) and part.mask.dtype == bool and not part.mask.any()
    assert part.defect is None and part.part_class == part_class
    assert set(part.attributes) == {"color", "material", "background"}
    assert all(word.isalpha() for word in part.attributes.values())
    assert part.image.std() > 3


@pytest.mark.parametrize(("part_class", "defect"), PAIRS)
def test_defect_is_marked_visible_and_otherwise_a_twin(part_class, defect):
    for seed in (11, 12):
        good = render_part(part_class, seed, 160)
        bad = render_part(part_class, seed, 160, defect)
        assert bad.defect == defect and bad.attributes == good.attributes
        assert bad.mask.sum() >= 12
        change = np.abs(good.image.astype(float) - bad.image.astype(float)).mean(axis=-1)
        assert change[bad.mask].mean() >= 6
        far = ~binary_dilation(bad.mask, iterations=12)
        assert np.median(change[far]) < 4


def test_composition_does_not_depend_on_size():
    small = render_part("gear", 2, 80)
    large = render_part("gear", 2, 160).image.astype(float)
    shrunk = large.reshape(80, 2, 80, 2, 3).mean(axis=(1, 3))
    assert np.abs(shrunk - small.image).mean() < 9


def test_errors_name_the_value_and_the_choices():
    with pytest.raises(ValueError, match=r"'spoon'.*hex_nut"):
        render_part("spoon", 0)
    with pytest.raises(ValueError, match=r"'spoon'.*hex_nut"):
        applicable_defects("spoon")
    with pytest.raises(ValueError, match=r"'rust'.*crack"):
        render_part("screw", 0, defect="rust")
    with pytest.raises(ValueError, match=r"'missing_component'.*screw.*scratch"):
        render_part("screw", 0, defect="missing_component")
    with pytest.raises(ValueError, match="-1"):
        render_part("screw", -1)
    with pytest.raises(ValueError, match="8"):
        render_part("screw", 0, size=8)
