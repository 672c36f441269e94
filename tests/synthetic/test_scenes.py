"""Scenes: determinism, twins, masks and range of variation."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ltad.synthetic.scenes.render import render_scene

ROOT = Path(__file__).resolve().parents[2]
SEEDS = range(160)


@pytest.fixture(scope="module")
def twins():
    return [(render_scene(seed), render_scene(seed, flawed=True)) for seed in SEEDS]


def digest(seeds, size: int = 96) -> str:
    """One checksum over both twins of all seeds: pixels, masks and words."""
    total = hashlib.sha256()
    for seed in seeds:
        for flawed in (False, True):
            scene = render_scene(seed, size, flawed)
            total.update(scene.image.tobytes() + scene.mask.tobytes())
            total.update(repr((scene.subject, sorted(scene.attributes.items()))).encode())
    return total.hexdigest()


def test_another_process_renders_the_same():
    code = "from tests.synthetic.test_scenes import digest; print(digest(range(12)))"
    environment = {**os.environ, "PYTHONHASHSEED": "77", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.stdout.strip() == digest(range(12)), done.stderr


def test_shapes_and_types(twins):
    for good, bad in twins:
        for scene in (good, bad):
            assert scene.image.shape == (160, 160, 3) and scene.image.dtype == np.uint8
            assert scene.mask.shape == (160, 160) and scene.mask.dtype == bool
        assert not good.flawed and not good.mask.any()
        assert bad.flawed and bad.mask.sum() >= 20


def test_twins_have_the_same_words(twins):
    for good, bad in twins:
        assert (good.subject, good.attributes) == (bad.subject, bad.attributes)
        assert {"color", "material"} <= set(good.attributes)
        assert {"texture", "shape", "background"} & set(good.attributes)
        assert all(value.isalpha() and value.islower() for value in good.attributes.values())
        assert good.subject == good.subject.lower().strip()


def test_flaw_shows_in_the_mask_and_nowhere_else(twins):
    for good, bad in twins:
        difference = np.abs(good.image.astype(float) - bad.image.astype(float)).mean(axis=-1)
        assert difference[bad.mask].mean() >= 6
        assert bad.mask.mean() <= 0.2
        # Lens blur and JPEG blocks carry a change a little way past the mask, not further.
        reach = np.zeros_like(bad.mask)
        for row, column in np.argwhere(bad.mask):
            reach[max(0, row - 24) : row + 25, max(0, column - 24) : column + 25] = True
        assert difference[~reach].sum() == 0


def test_scenes_vary(twins):
    assert len({good.subject for good, _ in twins}) > 50
    assert len({good.image.tobytes() for good, _ in twins}) == len(twins)
    spread = np.array([np.ptp(good.image.astype(int), axis=-1).mean() for good, _ in twins])
    assert 0.15 < (spread < 6).mean() < 0.6
    areas = np.array([bad.mask.mean() for _, bad in twins])
    assert areas.min() < 0.004 and areas.max() > 0.04


@pytest.mark.parametrize("size", [32, 77, 224])
def test_other_sizes(size):
    for seed in range(15):
        scene = render_scene(seed, size, flawed=True)
        assert scene.image.shape == (size, size, 3) and scene.mask.any()


@pytest.mark.parametrize(("seed", "size"), [(-1, 160), (0, 31)])
def test_bad_arguments_are_refused(seed, size):
    with pytest.raises(ValueError):
        render_scene(seed, size)
