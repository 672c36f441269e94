"""Files that the desk hands out: written whole or not at all, with names safe anywhere."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from ltad.io.files import atomic_path
from ltad.review.records import DeskError, Item

_STEM_LENGTH = 60


@contextmanager
def whole_file(path: str | Path) -> Generator[Path]:
    """A path beside `path` to write to; it becomes `path` when the block ends without an error.

    Raises:
        DeskError: the folder cannot be written to.
    """
    try:
        with atomic_path(path) as part:
            yield part
    except OSError as error:
        raise DeskError(
            f"{Path(path).name} could not be written ({error.strerror or error}). Free some "
            "space, or choose another folder."
        ) from error


def archive_stem(item: Item) -> str:
    """A file name without ending: unique in its batch, no folders, nothing a shell would read."""
    stem = PurePosixPath(item.file_name.replace("\\", "/")).stem
    safe = re.sub(r"[^\w-]+", "_", stem)[:_STEM_LENGTH]
    return f"{item.position + 1:05d}_{safe}"
