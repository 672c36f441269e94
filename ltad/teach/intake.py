"""Where a lesson's pictures come from: uploads, a folder of the server, and the review desk."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ltad.data.folders import SUFFIXES
from ltad.desk.collect import collect, collect_server_folder
from ltad.desk.database import Database
from ltad.desk.pictures import PictureStore
from ltad.desk.records import NewItem
from ltad.types import DatasetError
from ltad.workspace import Workspace

FOLDER_DEPTH = 3


@dataclass(frozen=True)
class Incoming:
    """A file that came in: its own name, and its bytes or the reason why there are none."""

    name: str
    content: bytes | None
    reason: str = ""


def from_files(sources: Iterable[str | Path]) -> Iterator[Incoming]:
    """Uploaded files and zips. Raises DeskError as `ltad.desk.collect.collect`."""
    with tempfile.TemporaryDirectory() as folder:
        store = PictureStore(folder)
        yield from _contents(collect(sources, store), store)


def from_server_folder(folder: str, allowed: Sequence[Path]) -> Iterator[Incoming]:
    """A folder that the operator allowed. Raises DeskError as `collect_server_folder`."""
    with tempfile.TemporaryDirectory() as temporary:
        store = PictureStore(temporary)
        yield from _contents(collect_server_folder(folder, allowed, store), store)


def from_review(workspace: Workspace, class_name: str | None = None) -> Iterator[Incoming]:
    """The good pictures that people chose for training in Review, of one class or of all.

    Raises:
        DatasetError: none is chosen.
    """
    items = Database(workspace.database).for_training(class_name) \
        if workspace.database.is_file() else []
    if not items:
        raise DatasetError(
            "No picture is chosen for training yet. In Review, mark good pictures for training."
        )
    store = PictureStore(workspace.pictures)
    return (Incoming(Path(item.file_name).name, store.bytes(item.content_key)) for item in items)


def server_choices(allowed: Sequence[Path]) -> list[str]:
    """The allowed folders, and those up to three levels below, that hold pictures."""
    found: list[str] = []
    level = [Path(folder) for folder in allowed if Path(folder).is_dir()]
    for _ in range(FOLDER_DEPTH + 1):
        found += [str(folder) for folder in level if _holds_pictures(folder)]
        level = [inner for folder in level for inner in folder.iterdir()
                 if inner.is_dir() and not inner.is_symlink() and not inner.name.startswith(".")]
    return sorted(found)


def _holds_pictures(folder: Path) -> bool:
    return any(path.suffix.lower() in SUFFIXES for path in folder.iterdir())


def _contents(items: Iterable[NewItem], store: PictureStore) -> Iterator[Incoming]:
    for item in items:
        name = Path(item.file_name).name
        if item.content_key:
            yield Incoming(name, store.bytes(item.content_key))
        else:
            yield Incoming(name, None, item.reason)
