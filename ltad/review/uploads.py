"""Images on their way into a batch: from single files, from zips, from a folder of the server.

Nothing is unpacked to disk under a name that somebody else chose, one file at a time is in memory,
and whatever cannot be used becomes an item that says why.
"""

from __future__ import annotations

import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

from ltad.io.images import MAX_BYTES, check_header
from ltad.review.images import ImageStore
from ltad.review.records import DeskError, NewItem
from ltad.types import ImageError

MAX_FILES = 10_000
"""In one batch."""
MAX_UNPACKED = 4 * 10**9
"""Bytes of all files of one zip."""
MAX_RATIO = 100
"""Unpacked to packed bytes of a zip; photographs hardly shrink at all."""
RATIO_FREE = 200 * 10**6
"""Unpacked bytes up to which the ratio does not matter: a blank bitmap shrinks very well."""
_IS_UTF8 = 0x800
"""The flag of a zip's entry."""
_CLUTTER = {"__macosx", "thumbs.db", "desktop.ini"}
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError)
"""A missing password is a RuntimeError, an unknown packing method a NotImplementedError of it."""


def collect(sources: Iterable[str | Path], images: ImageStore) -> list[NewItem]:
    """Take files into the store: images and zips of images, in order.

    Args:
        sources: plain files on this machine that the caller vouches for, such as uploads.
        images: where the usable ones are kept.

    Raises:
        DeskError: there is nothing in them, more than `MAX_FILES` files, or something else than a
            plain file: a folder, a link, a device.
    """
    return _limited(_walk_files(map(Path, sources), images))


def _limited(found: Iterable[NewItem]) -> list[NewItem]:
    items = []
    for item in found:
        if len(items) == MAX_FILES:
            raise DeskError(
                f"There are more than {MAX_FILES:,} files. Bring them in several batches."
            )
        items.append(item)
    if not items:
        raise DeskError("There are no files in that. Bring images, a zip or a folder of them.")
    return items


def collect_server_folder(
    folder: str | Path, allowed: Sequence[Path], images: ImageStore
) -> list[NewItem]:
    """As `collect`, of a folder on this machine that lies in one of the allowed ones.

    Raises:
        DeskError: it is not allowed or does not exist, or as `collect`.
    """
    path = Path(folder).resolve()
    roots = [Path(root).resolve() for root in allowed]
    if not str(folder).strip() or not any(path.is_relative_to(root) for root in roots):
        raise DeskError(
            f"The folder {str(folder)!r} is not one that the operator of this server allowed."
        )
    if not path.is_dir():
        raise DeskError(f"There is no folder {str(folder)!r} on the server.")
    return _limited(_walk_folder(path, images))


def _walk_files(sources: Iterable[Path], images: ImageStore) -> Iterator[NewItem]:
    for source in sources:
        if source.is_symlink() or not source.is_file():
            raise DeskError(f"{source.name} is not a file. Send files, or a zip of them.")
        yield from _file(source, source.name, images)


def _walk_folder(folder: Path, images: ImageStore) -> Iterator[NewItem]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        # A link may lead out of the folder that was allowed.
        if path.is_file() and not _is_clutter(name.parts) and (
            path.resolve().is_relative_to(folder)
        ):
            yield from _file(path, name.as_posix(), images)


def _file(path: Path, name: str, images: ImageStore) -> Iterator[NewItem]:
    if path.suffix.lower() == ".zip":
        yield from _unzip(path, name, images)
    else:
        yield _take(name, lambda: _read(path), images)


def _unzip(path: Path, name: str, images: ImageStore) -> Iterator[NewItem]:
    try:
        with zipfile.ZipFile(path) as archive:
            files = [
                (inside, entry) for entry in archive.infolist()
                if not entry.is_dir() and not _is_clutter((inside := _clean(_name_of(entry))).parts)
            ]
            problem = _zip_problem([entry for _, entry in files], path.stat().st_size)
            if problem:
                yield NewItem(name, "", f"{name} {problem}")
                return
            for inside, entry in sorted(files, key=lambda pair: pair[0]):
                yield _take(str(inside), _entry_reader(archive, entry), images)
    except _ZIP_ERRORS as error:
        yield NewItem(
            name, "", f"{name} is damaged and cannot be unpacked ({error}). Make the zip again."
        )


def _zip_problem(entries: Sequence[zipfile.ZipInfo], size: int) -> str:
    """Why an archive is refused as a whole, or ""."""
    unpacked = sum(entry.file_size for entry in entries)
    packed = sum(entry.compress_size for entry in entries)
    if not entries:
        return "holds no files. Put images into it."
    if len(entries) > MAX_FILES:
        return f"holds {len(entries):,} files, but at most {MAX_FILES:,} fit. Make several zips."
    if unpacked > MAX_UNPACKED:
        return f"unpacks to more than {MAX_UNPACKED / 1e9:.0f} GB. Make several zips."
    if packed > size or (unpacked > RATIO_FREE and unpacked > MAX_RATIO * packed):
        return (
            f"claims to unpack from {size:,} to {unpacked:,} bytes, as no zip of photographs does."
        )
    return ""


def _entry_reader(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Callable[[], bytes]:
    def read() -> bytes:
        if entry.flag_bits & 1:
            raise ImageError("It is protected by a password. Make the zip without one.")
        if entry.filename.lower().endswith(".zip"):
            raise ImageError("It is a zip inside a zip and was not opened. Bring it by itself.")
        with archive.open(entry) as file:
            return file.read(MAX_BYTES + 1)

    return read


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def _take(name: str, read: Callable[[], bytes], images: ImageStore) -> NewItem:
    try:
        content = read()
        check_header(content, PurePosixPath(name).name)
    except ImageError as error:
        return NewItem(name, "", str(error))
    except _ZIP_ERRORS as error:
        return NewItem(name, "", f"{name} cannot be read ({error}). Bring it again.")
    return NewItem(name, images.put(content))


def _name_of(entry: zipfile.ZipInfo) -> str:
    """The inner name as it was meant: macOS writes UTF-8, accents apart, without its flag."""
    name = entry.filename
    if not entry.flag_bits & _IS_UTF8:
        with suppress(UnicodeError):  # a name of an old Windows, which zipfile reads rightly
            name = name.encode("cp437").decode("utf-8")
    return unicodedata.normalize("NFC", name)


def _clean(name: str) -> PurePosixPath:
    """A zip's inner name for showing: no drive, no way up, no control characters."""
    text = "".join(c for c in name.replace("\\", "/") if c.isprintable())
    parts = [p for p in text.split("/") if p not in ("", ".", "..") and not p.endswith(":")]
    return PurePosixPath(*parts or ["unnamed"])


def _is_clutter(parts: Sequence[str]) -> bool:
    """Hidden files, and what systems leave behind in folders and zips."""
    return any(part.startswith(".") or part.lower() in _CLUTTER for part in parts)
