"""Images in great number: files, folders, lists of paths and tar archives become one listing.

A tar is indexed once, so that any of its images is read later from where its bytes lie; it is laid
out as webdataset has it, or in any other way.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from ltad.data.datasets import SUFFIXES
from ltad.io.images import MAX_BYTES
from ltad.types import DatasetError

ARCHIVE = ".tar"
COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
INDEXED_AT_ONCE = 8
"""Archives; on a network file system the answers are waited for, not computed."""


class Input(NamedTuple):
    """One image.

    Attributes:
        path: its file's absolute path; in an archive the archive's, a slash and its name in there.
        archive: the archive's absolute path, or "" where it has a file of its own.
        offset, size: where its bytes lie in the archive; 0 where it has a file of its own.
    """

    path: str
    archive: str = ""
    offset: int = 0
    size: int = 0

    def source(self) -> Path | bytes:
        """What `ltad.io.images.read_image` reads: the file, or the image's bytes out of the
        archive, of which no more are read than are accepted. Raises OSError."""
        if not self.archive:
            return Path(self.path)
        with Path(self.archive).open("rb") as archive:
            archive.seek(self.offset)
            return archive.read(min(self.size, MAX_BYTES + 1))


def find_files(given: Iterable[str | Path], listed: str | Path | None = None) -> list[str]:
    """Absolute paths of images and tars, each once, in the order given; no tar is opened.

    Args:
        given: files, and folders, which are searched recursively and sorted by path. Hidden files
            and links to folders are left out there. What has an image's suffix is not looked up.
        listed: a text file with one such path a line.

    Raises:
        DatasetError: a path that leads nowhere and is no image's, a folder or list that cannot be
            read, a compressed tar, or a name that is not UTF-8.
    """
    here = Path.cwd()
    places = [*given, *(_lines(Path(listed)) if listed else ())]
    found = (file for place in places for file in _files(os.path.normpath(here / place)))
    return list(dict.fromkeys(map(_checked, found)))


def signature(files: Sequence[str]) -> str:
    """A hash of which files these are, in whatever order; a tar's size and time count as well.

    Raises:
        DatasetError: a tar is gone.
    """
    digest = hashlib.sha256()
    for file in sorted(files):
        facts = (_stat(file).st_size, _stat(file).st_mtime_ns) if _is_archive(file) else ()
        digest.update(repr((file, *facts)).encode())
    return digest.hexdigest()


def locate(files: Sequence[str]) -> list[Input]:
    """The images of `files` in order, those of a tar in its own.

    Raises:
        DatasetError: a tar that cannot be read.
    """
    archives = [file for file in files if _is_archive(file)]
    with ThreadPoolExecutor(INDEXED_AT_ONCE) as pool:
        indexed = tqdm(pool.map(_members, archives), desc="listing", unit="archive",
                       total=len(archives), disable=not archives)
        members = dict(zip(archives, indexed, strict=True))
    return [image for file in files
            for image in (members[file] if file in members else [Input(file)])]


def _members(archive: str) -> list[Input]:
    """The images of a tar; of several under one name the last one, as if it were unpacked."""
    try:
        with tarfile.open(archive, "r:") as opened:
            found = {
                path: Input(path, archive, member.offset_data, member.size)
                for member in opened
                if member.isreg() and not member.issparse() and _is_image(Path(member.name))
                and (path := _checked(f"{archive}/{member.name.removeprefix('./')}"))
            }
    except (tarfile.TarError, OSError) as error:
        raise DatasetError(
            f"{archive} cannot be read as a tar ({error}). Pack it again, or leave it out."
        ) from error
    return list(found.values())


def _files(path: str) -> Iterator[str]:
    place = Path(path)
    if place.suffix.lower() in SUFFIXES or _is_archive(path):
        yield path
    elif path.lower().endswith(COMPRESSED):
        raise DatasetError(
            f"{path} is compressed, so its images cannot be read one by one. Images gain nothing "
            "from it: unpack it to a plain .tar."
        )
    elif place.is_dir():
        yield from sorted(_in_folder(path))
    elif place.is_file():
        yield path
    else:
        raise DatasetError(f"{path} is neither a file nor a folder. Check the path.")


def _in_folder(folder: str) -> Iterator[str]:
    def stop(error: OSError) -> None:
        raise DatasetError(f"{error.filename} cannot be listed: {error.strerror}.") from error

    for parent, folders, names in os.walk(folder, onerror=stop):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if _is_image(Path(name)) or name.lower().endswith((ARCHIVE, *COMPRESSED)):
                yield from _files(f"{parent}/{name}")


def _lines(listed: Path) -> list[str]:
    try:
        lines = listed.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(
            f"The list {listed} cannot be read ({error}). It must be text in UTF-8 with one path "
            "a line."
        ) from error
    return [line for line in (line.rstrip("\r") for line in lines) if line]


def _is_archive(path: str) -> bool:
    return path.lower().endswith(ARCHIVE)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _stat(archive: str) -> os.stat_result:
    try:
        return Path(archive).stat()
    except OSError as error:
        raise DatasetError(f"{archive} cannot be opened: {error.strerror}.") from error


def _checked(path: str) -> str:
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise DatasetError(
            f"The name {path!r} is not UTF-8, so no table can hold it. Rename it."
        ) from error
    return path
