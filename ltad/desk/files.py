"""Files that the desk hands out: written whole or not at all, with names safe anywhere."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from ltad.desk.records import DeskError, Item

_STEM_LENGTH = 60


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A path beside `path` to write to; it becomes `path` when the block ends without an error.

    Raises:
        DeskError: the folder cannot be written to.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except OSError as error:
        raise DeskError(
            f"{path.name} could not be written ({error.strerror or error}). Free some space, or "
            "choose another folder."
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def archive_stem(item: Item) -> str:
    """A file name without ending: unique in its batch, no folders, nothing a shell would read."""
    stem = PurePosixPath(item.file_name.replace("\\", "/")).stem
    safe = re.sub(r"[^\w-]+", "_", stem)[:_STEM_LENGTH]
    return f"{item.position + 1:05d}_{safe}"
