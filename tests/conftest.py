"""Small real things that the tests share: a tiny ALIGN, rendered images, a trained model."""

from __future__ import annotations

import os
import shutil

# The commands that tests start share the cores with the tests themselves.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import torch
from PIL import Image
from small_align import small_align, word_tokenizer

from ltad import load_scorer
from ltad.config import Config, FeatureSettings, ModelSettings, TrainingSettings
from ltad.data.datasets import load_folder
from ltad.models.align import AlignEncoder, load_encoder
from ltad.pretraining import captions
from ltad.synthetic.classes import applicable_defects
from ltad.synthetic.render import render_part
from ltad.training.train import train

torch.set_num_threads(1)

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--enable-precise-memory-info",
]
PATIENCE = 60_000
"""Milliseconds that a busy machine has for what the page is to show."""
TINY_CLASSES = {"hex_nut": 24, "leather": 24, "screw": 4}


@pytest.fixture
def tell(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture) -> Callable[[str], None]:
    """Prints what a test found, under ``pytest -s`` only, and past the test's own capture."""
    def say(text: str) -> None:
        if request.config.getoption("capture") == "no":
            with capsys.disabled():
                print(f"\n{text}", end="")

    return say


@pytest.fixture(scope="session")
def tiny_config() -> Config:
    """Settings that train in seconds."""
    return Config(
        features=FeatureSettings(image_size=64, taps=(0, 1, 2, 4), grid=7, semantic_grid=8),
        model=ModelSettings(
            lam=5.0, hidden_width=32, layers=1, heads=4, feedforward=64, neighbour_mask=3,
            score_pool=8, decoder_width=32, decoder_expansion=2, dropout=0.1,
        ),
        training=TrainingSettings(
            phase1_epochs=3, phase2_epochs=6, learning_rate=2e-3, batch_size=16,
        ),
    )


@pytest.fixture(scope="session")
def tiny_encoder_folder(tmp_path_factory: pytest.TempPathFactory, tiny_config: Config) -> Path:
    """A randomly initialised ALIGN with 7 blocks, saved as transformers does."""
    folder = tmp_path_factory.mktemp("encoder")
    tokenizer = word_tokenizer(captions.all_words())
    model = small_align(
        len(tokenizer), channels=(8, 8, 16, 16, 24, 24, 32), repeats=(1,) * 7,
        expansion=(1, 2, 2, 2, 2, 2, 2), text_width=32, image_size=64,
    )
    AlignEncoder(model, tokenizer, tiny_config.features).save(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_encoder(tiny_encoder_folder: Path) -> AlignEncoder:
    return load_encoder(tiny_encoder_folder)


@pytest.fixture(scope="session")
def parts_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three rendered classes, one of them with four training images, in MVTec AD's layout."""
    root = tmp_path_factory.mktemp("parts")
    for name, count in TINY_CLASSES.items():
        for index in range(count):
            _write(root / name / "train" / "good" / f"{index:03d}.png", name, index)
        for index in range(4):
            _write(root / name / "test" / "good" / f"{index:03d}.png", name, 500 + index)
        for index, defect in enumerate(applicable_defects(name)[:3]):
            picture = _write(
                root / name / "test" / defect / "000.png", name, 600 + index, defect
            )
            mask = root / name / "ground_truth" / defect / "000_mask.png"
            mask.parent.mkdir(parents=True)
            Image.fromarray(picture.mask).save(mask)
    return root


def _write(path: Path, name: str, seed: int, defect: str | None = None):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = render_part(name, seed, 96, defect)
    Image.fromarray(picture.image).save(path)
    return picture


@pytest.fixture(scope="session")
def tiny_model_folder(
    tmp_path_factory: pytest.TempPathFactory, tiny_encoder: AlignEncoder,
    tiny_encoder_folder: Path, parts_folder: Path, tiny_config: Config,
) -> Path:
    """A detector trained for a few steps by both phases."""
    out = tmp_path_factory.mktemp("model")
    train(
        load_folder(parts_folder), tiny_encoder, tiny_config, out, str(tiny_encoder_folder),
        features=tmp_path_factory.mktemp("features"),
    )
    return out


@pytest.fixture(scope="session")
def tiny_scorer(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory):
    return load_scorer(tiny_model_folder, cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium; without one the test is skipped, unless `CI` is set."""
    if not os.environ.get("CI"):
        pytest.importorskip("playwright")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        try:
            browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        except Exception as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(f"no Chromium here: {error}")
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Any]]:
    """Begins visits, ``visit(address, width=390)``; it is for the test to go there. Afterwards no
    script has failed on any page, and nothing but the addresses' hosts was asked."""
    from playwright.sync_api import expect

    expect.set_options(timeout=PATIENCE)
    pages, complaints = list[Any](), list[str]()
    homes, asked = {None, ""}, set[str | None]()

    def begin(address: str, width: int = 1280, height: int = 900) -> Any:
        page = browser.new_page(viewport={"width": width, "height": height})
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.add(urlsplit(request.url).hostname))
        homes.add(urlsplit(address).hostname)
        pages.append(page)
        return page

    yield begin
    for page in pages:
        page.close()
    assert complaints == []
    assert asked <= homes
