"""Names that people give to parts and models, which become folder names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from ltad.types import SettingError

LONGEST = 60
_ALLOWED = re.compile(r"[^\W_][\w -]*")


def checked_name(kind: str, name: str, taken: Iterable[str] = ()) -> str:
    """`name` without outer spaces, safe as a folder's name.

    Args:
        kind: what it names, for messages: "part" or "model".
        name: letters, digits, ``-``, ``_`` and spaces, at most 60, a letter or digit first.
        taken: names that it must not look like; case and ``_`` against space do not count.

    Raises:
        SettingError: any of this does not hold.
    """
    name = " ".join(unicodedata.normalize("NFC", str(name)).split())
    if not name:
        raise SettingError(f"The {kind} has no name yet. Give it one, for example “left bracket”.")
    if len(name) > LONGEST:
        raise SettingError(
            f"The {kind}'s name has {len(name)} characters, but {LONGEST} are the most."
        )
    if not _ALLOWED.fullmatch(name):
        raise SettingError(
            f"The {kind}'s name {name!r} may hold only letters, digits, “-”, “_” and spaces, and "
            "must begin with a letter or a digit."
        )
    alike = next((other for other in taken if _folded(other) == _folded(name)), None)
    if alike is not None:
        raise SettingError(
            f"There is already a {kind} called {alike!r}. Choose another name than {name!r}."
        )
    return name


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold().replace("_", " ")
