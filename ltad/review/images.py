"""The images of the batches: each file under the hash of its bytes, so a content is kept once."""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from ltad.io.files import atomic_path
from ltad.io.images import read_image
from ltad.review.records import DeskError

if TYPE_CHECKING:
    from ltad.review.database import Database

RECENT_SECONDS = 600.0
"""An image that came in since may belong to a batch that is being brought; it is not removed."""
_KEY = re.compile(r"[0-9a-f]{64}")


class ImageStore:
    """Files by content in a folder, safe for threads and processes.

    Args:
        folder: made when the first image comes.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def put(self, content: bytes) -> str:
        """Keep an image's file; returns its key, the SHA-256 of its bytes in hexadecimal."""
        key = hashlib.sha256(content).hexdigest()
        path = self.path(key)
        try:
            os.utime(path)  # it is there, and wanted again: see `remove`
            return key
        except FileNotFoundError:
            pass
        try:
            with atomic_path(path) as part:
                part.write_bytes(content)
        except OSError as error:
            raise DeskError(
                f"An image cannot be kept in {self.folder} ({error.strerror}). Free some space."
            ) from error
        return key

    def path(self, key: str) -> Path:
        """The file of a key, whether it is there or not. Raises DeskError for what is no key."""
        if not _KEY.fullmatch(key):
            raise DeskError(f"{key[:80]!r} is not the key of an image.")
        return self.folder / key[:2] / key

    def bytes(self, key: str) -> bytes:
        """The file's bytes. Raises DeskError when it is not there."""
        try:
            return self.path(key).read_bytes()
        except OSError as error:
            raise DeskError(
                f"The image {key[:12]} is no longer there. Bring it again in a new batch."
            ) from error

    def remove(self, key: str) -> int | None:
        """Free an image's file; returns its bytes, 0 if there was none, None if it must stay.

        It stays while it was brought less than `RECENT_SECONDS` ago. The file is put aside before
        it is judged, so that whoever brings the same content meanwhile writes it anew.
        """
        path = self.path(key)
        aside = path.with_name(f"{key}.gone")
        try:
            if path.exists():
                path.replace(aside)
            facts = aside.stat()
        except FileNotFoundError:
            return 0
        if time.time() - facts.st_mtime >= RECENT_SECONDS:
            aside.unlink(missing_ok=True)
            return facts.st_size
        if path.exists():
            aside.unlink(missing_ok=True)
        else:
            aside.replace(path)
        return None

    def image(self, key: str) -> Image.Image:
        """The image, RGB and upright. Raises ImageError when it cannot be decoded."""
        return read_image(self.bytes(key), f"The image {key[:12]}")


def free_images(database: Database, images: ImageStore) -> int:
    """Take the images of erased batches off the disk; returns how many bytes that freed.

    An image that somebody brought again a moment ago stays for now: its new batch may be about to
    be written. It is looked at again later, if this process lives, or at the next start.
    """
    freed = [images.remove(key) for key in database.unwanted_images()]
    if None in freed:
        later = threading.Timer(RECENT_SECONDS + 1, _free_later, (database, images))
        later.daemon = True
        later.start()
    return sum(size or 0 for size in freed)


def _free_later(database: Database, images: ImageStore) -> None:
    try:
        free_images(database, images)
    finally:
        database.close()
