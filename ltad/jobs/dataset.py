"""The images of a job: taken in, kept, counted."""

from __future__ import annotations

import io
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ltad.data.datasets import SUFFIXES
from ltad.inference.recognition import descriptor
from ltad.io.files import atomic_path
from ltad.io.images import content_key, read_image
from ltad.models.align import Encoder
from ltad.models.features import patch_features
from ltad.review.database import Database
from ltad.review.images import ImageStore
from ltad.review.records import NewItem
from ltad.review.uploads import collect, collect_server_folder
from ltad.types import DatasetError, ImageError, SettingError
from ltad.workspace import Workspace

ROLES = {"learn": "train/good", "test good": "test/good", "test defective": "test/defective"}
LONGEST_SIDE = 1024
SMALL_SIDE, THUMBNAIL_SIDE = 64, 96
MOST_IMAGES = 500
BATCH = 16
FOLDER_DEPTH = 3


@dataclass(frozen=True)
class Facts:
    """What is known of one stored image.

    Attributes:
        name: its file name in the job.
        width, height: as it came in, in pixels.
        key: hash of its content.
        small: (64, 64) uint8, the image in grey.
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
    """What became of images that came in: how many were stored, and why others were not."""

    stored: int
    refused: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """As plain data; the API calls what was stored "kept"."""
        return {"kept": self.stored, "refused": self.refused}


def add_images(
    folder: Path, part: str, role: str, incoming: Iterable[Incoming], encoder: Encoder
) -> Added:
    """Keep the readable ones among `incoming`; one that is there already is not kept twice.

    Args:
        folder: of the job.
        part: a checked name.
        role: one of `ROLES`.
        incoming: files.
        encoder: frozen; describes the images.

    Raises:
        SettingError: no such role.
        DatasetError: the part would have too many images, or the disk is full.
    """
    _check_role(role)
    known = {f.key: f.name for r in ROLES for f in read_facts(folder, part, r)}
    number = _next_number(folder, part)
    refused, batch, stored = [], [], 0
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
            refused.append(f"{file.name} is the same image as {known[key]}.")
            continue
        if len(known) >= MOST_IMAGES:
            raise DatasetError(f"{part} has {MOST_IMAGES} images, which are the most.")
        name = f"{number + stored:03d}_{_safe(file.name)}.png"
        known[key], stored = name, stored + 1
        batch.append((name, key, image))
        if len(batch) == BATCH:
            _store(folder, part, role, batch, encoder)
            batch = []
    _store(folder, part, role, batch, encoder)
    return Added(stored, tuple(refused))


def _check_role(role: str) -> None:
    if role not in ROLES:
        raise SettingError(f"Images cannot be used as {role!r}, only as: {', '.join(ROLES)}.")


def _safe(name: str) -> str:
    return re.sub(r"[^\w-]+", "_", Path(name).stem)[:40].strip("_") or "picture"


def _next_number(folder: Path, part: str) -> int:
    """One more than any image of the part ever had, as far as those still there tell."""
    names = [p.name for role in ROLES.values() for p in (folder / "data" / part / role).glob("*")]
    return 1 + max((int(n.split("_")[0]) for n in names if n.split("_")[0].isdigit()), default=-1)


def _store(folder: Path, part: str, role: str, batch: list[Any], encoder: Encoder) -> None:
    """Write each image after its facts: an image without facts cannot come to be."""
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
            with atomic_path(data / name) as unfinished:
                stored.save(unfinished, "PNG", compress_level=1)
    except OSError as error:
        raise DatasetError(
            f"The images cannot be stored: {error.strerror}. Free some space on the server."
        ) from error


@torch.inference_mode()
def describe(images: list[Image.Image], encoder: Encoder) -> np.ndarray:
    """(n, 2C) float32 descriptors of images, of all their patches: an odd one may be damaged."""
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
    """The parts that people brought images of, by name."""
    return sorted(p.name for p in (folder / "facts").glob("*") if p.is_dir())


def read_facts(folder: Path, part: str, role: str = "learn") -> list[Facts]:
    """Facts of the images of a part, by file name."""
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
    """Take a part out with all its images. Raises SettingError when there is no such part."""
    if part not in parts(folder):
        raise SettingError(f"There is no part {part!r} here. Reload the page.")
    for kind in ("data", "facts"):
        shutil.rmtree(folder / kind / part, ignore_errors=True)


def remove_image(folder: Path, part: str, role: str, name: str) -> None:
    """Take one image out. Raises SettingError when there is none of that name."""
    _check_role(role)
    known = read_facts(folder, part, role) if part in parts(folder) else []
    if name not in [facts.name for facts in known]:
        raise SettingError(f"There is no image {name!r} of {part!r}. Reload the page.")
    (folder / "data" / part / ROLES[role] / name).unlink()
    (folder / "facts" / part / ROLES[role] / name).with_suffix(".npz").unlink(missing_ok=True)


@dataclass(frozen=True)
class Incoming:
    """A file that came in: its own name, and its bytes or the reason why there are none."""

    name: str
    content: bytes | None
    reason: str = ""


def from_files(sources: Iterable[str | Path]) -> Iterator[Incoming]:
    """Uploaded files and zips. Raises DeskError as `ltad.review.uploads.collect`."""
    with tempfile.TemporaryDirectory() as folder:
        store = ImageStore(folder)
        yield from _contents(collect(sources, store), store)


def from_server_folder(folder: str, allowed: Sequence[Path]) -> Iterator[Incoming]:
    """A folder that the operator allowed. Raises DeskError as `collect_server_folder`."""
    with tempfile.TemporaryDirectory() as temporary:
        store = ImageStore(temporary)
        yield from _contents(collect_server_folder(folder, allowed, store), store)


def from_review(workspace: Workspace, class_name: str | None = None) -> Iterator[Incoming]:
    """The good images that people chose for training in Review, of one class or of all.

    Raises:
        DatasetError: none is chosen.
    """
    items = Database(workspace.database).for_training(class_name) \
        if workspace.database.is_file() else []
    if not items:
        raise DatasetError(
            "No image is chosen for training yet. In Review, mark good images for training."
        )
    store = ImageStore(workspace.images)
    return (Incoming(Path(item.file_name).name, store.bytes(item.content_key)) for item in items)


def server_choices(allowed: Sequence[Path]) -> list[str]:
    """The allowed folders, and those up to three levels below, that hold images."""
    found: list[str] = []
    level = [Path(folder) for folder in allowed if Path(folder).is_dir()]
    for _ in range(FOLDER_DEPTH + 1):
        found += [str(folder) for folder in level if _holds_images(folder)]
        level = [inner for folder in level for inner in folder.iterdir()
                 if inner.is_dir() and not inner.is_symlink() and not inner.name.startswith(".")]
    return sorted(found)


def _holds_images(folder: Path) -> bool:
    return any(path.suffix.lower() in SUFFIXES for path in folder.iterdir())


def _contents(items: Iterable[NewItem], store: ImageStore) -> Iterator[Incoming]:
    for item in items:
        name = Path(item.file_name).name
        if item.content_key:
            yield Incoming(name, store.bytes(item.content_key))
        else:
            yield Incoming(name, None, item.reason)
