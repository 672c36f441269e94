"""The pictures of one lesson on disk, laid out as MVTec AD so that every command can read them.

``data/PART/train/good``, ``data/PART/test/good`` and ``data/PART/test/defective`` hold upright RGB
pictures as PNG. ``facts/PART/...`` holds beside each what the warnings need, so that a picture is
decoded and sent through the encoder once.
"""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ltad.encoders.base import Encoder
from ltad.features import patch_features
from ltad.images import content_key, read_image
from ltad.recognition import descriptor
from ltad.teach.intake import Incoming
from ltad.types import DatasetError, ImageError, SettingError

ROLES = {"learn": "train/good", "test good": "test/good", "test defective": "test/defective"}
LONGEST_SIDE = 1024
SMALL_SIDE, THUMBNAIL_SIDE = 64, 96
MOST_PICTURES = 500
BATCH = 16


@dataclass(frozen=True)
class Facts:
    """What is known of one stored picture.

    Attributes:
        name: its file name in the lesson.
        width, height: as it came in, in pixels.
        key: hash of its content.
        small: (64, 64) uint8, the picture in grey.
        descriptor: (2C,) float32, mean and deviation of each channel of its patch features.
        thumbnail: a JPEG of at most 96 pixels a side.
    """

    name: str
    width: int
    height: int
    key: str
    small: np.ndarray
    descriptor: np.ndarray
    thumbnail: bytes


@dataclass(frozen=True)
class Added:
    """What became of pictures that came in: how many were kept, and why others were not."""

    kept: int
    refused: tuple[str, ...]


def add_pictures(
    folder: Path, part: str, role: str, incoming: Iterable[Incoming], encoder: Encoder
) -> Added:
    """Keep the readable ones among `incoming`; one that is there already is not kept twice.

    Args:
        folder: of the lesson.
        part: a checked name.
        role: one of `ROLES`.
        incoming: files.
        encoder: frozen; describes the pictures.

    Raises:
        SettingError: no such role.
        DatasetError: the part would have too many pictures, or the disk is full.
    """
    _check_role(role)
    known = {f.key: f.name for r in ROLES for f in read_facts(folder, part, r)}
    number = _next_number(folder, part)
    refused, batch, kept = [], [], 0
    for file in incoming:
        try:
            if file.content is None:
                raise ImageError(file.reason)
            image = read_image(file.content, file.name)
        except ImageError as error:
            refused.append(str(error))
            continue
        key = content_key(image)
        if key in known:
            refused.append(f"{file.name} is the same picture as {known[key]}.")
            continue
        if len(known) >= MOST_PICTURES:
            raise DatasetError(f"{part} has {MOST_PICTURES} pictures, which are the most.")
        name = f"{number + kept:03d}_{_safe(file.name)}.png"
        known[key], kept = name, kept + 1
        batch.append((name, key, image))
        if len(batch) == BATCH:
            _store(folder, part, role, batch, encoder)
            batch = []
    _store(folder, part, role, batch, encoder)
    return Added(kept, tuple(refused))


def _check_role(role: str) -> None:
    if role not in ROLES:
        raise SettingError(f"Pictures cannot be used as {role!r}, only as: {', '.join(ROLES)}.")


def _safe(name: str) -> str:
    return re.sub(r"[^\w-]+", "_", Path(name).stem)[:40].strip("_") or "picture"


def _next_number(folder: Path, part: str) -> int:
    """One more than any picture of the part ever had, as far as those still there tell."""
    names = [p.name for role in ROLES.values() for p in (folder / "data" / part / role).glob("*")]
    return 1 + max((int(n.split("_")[0]) for n in names if n.split("_")[0].isdigit()), default=-1)


def _store(folder: Path, part: str, role: str, batch: list, encoder: Encoder) -> None:
    """Write each picture after its facts: a picture without facts cannot come to be."""
    if not batch:
        return
    described = describe([image for _, _, image in batch], encoder)
    data, facts = folder / "data" / part / ROLES[role], folder / "facts" / part / ROLES[role]
    try:
        data.mkdir(parents=True, exist_ok=True)
        facts.mkdir(parents=True, exist_ok=True)
        for (name, key, image), vector in zip(batch, described, strict=True):
            small = image.convert("L").resize((SMALL_SIDE,) * 2, Image.Resampling.BOX)
            np.savez(
                (facts / name).with_suffix(".npz"), size=np.array(image.size), key=np.array(key),
                small=np.asarray(small), descriptor=vector,
                thumbnail=np.frombuffer(_jpeg(image), np.uint8),
            )
            stored = image.copy()
            stored.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
            temporary = data / f".{name}.part"
            stored.save(temporary, "PNG", compress_level=1)
            temporary.replace(data / name)
    except OSError as error:
        raise DatasetError(
            f"The pictures cannot be stored: {error.strerror}. Free some space on the server."
        ) from error


@torch.inference_mode()
def describe(images: list[Image.Image], encoder: Encoder) -> np.ndarray:
    """(n, 2C) float32 descriptors of pictures, of all their patches: an odd one may be damaged."""
    pixels = torch.stack([encoder.pixels(image) for image in images])
    patches = patch_features(encoder.image_features(pixels).taps, encoder.settings.grid)
    return descriptor(patches, trimmed=0.0).float().cpu().numpy()


def _jpeg(image: Image.Image) -> bytes:
    thumbnail = image.copy()
    thumbnail.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    buffer = io.BytesIO()
    thumbnail.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def parts(folder: Path) -> list[str]:
    """The parts that people brought pictures of, by name."""
    return sorted(p.name for p in (folder / "facts").glob("*") if p.is_dir())


def read_facts(folder: Path, part: str, role: str = "learn") -> list[Facts]:
    """Facts of the pictures of a part, by file name."""
    found = []
    for path in sorted((folder / "data" / part / ROLES[role]).glob("*.png")):
        with np.load(
            (folder / "facts" / part / ROLES[role] / path.name).with_suffix(".npz"),
            allow_pickle=False,
        ) as saved:
            width, height = (int(side) for side in saved["size"])
            found.append(Facts(
                path.name, width, height, str(saved["key"]), saved["small"], saved["descriptor"],
                saved["thumbnail"].tobytes(),
            ))
    return found


def remove_part(folder: Path, part: str) -> None:
    """Take a part out with all its pictures. Raises SettingError when there is no such part."""
    if part not in parts(folder):
        raise SettingError(f"There is no part {part!r} here. Reload the page.")
    for kind in ("data", "facts"):
        shutil.rmtree(folder / kind / part, ignore_errors=True)


def remove_picture(folder: Path, part: str, role: str, name: str) -> None:
    """Take one picture out. Raises SettingError when there is none of that name."""
    _check_role(role)
    known = read_facts(folder, part, role) if part in parts(folder) else []
    if name not in [facts.name for facts in known]:
        raise SettingError(f"There is no picture {name!r} of {part!r}. Reload the page.")
    (folder / "data" / part / ROLES[role] / name).unlink()
    (folder / "facts" / part / ROLES[role] / name).with_suffix(".npz").unlink(missing_ok=True)
