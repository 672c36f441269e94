"""Parts made of pieces: where the pieces sit, and how one of them can be wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Place(NamedTuple):
    """Position of a piece in part units and its turn in radians."""

    u: float
    v: float
    turn: float = 0.0


@dataclass(frozen=True)
class Change:
    """One wrong piece: gone, or moved by (along, across) of its own size and turned."""

    missing: bool
    pick: float
    along: float = 0.0
    across: float = 0.0
    turn: float = 0.0

    def index(self, count: int) -> int:
        """Which of ``count`` pieces is wrong."""
        return min(int(self.pick * count), count - 1)


def arrange(places: list[Place], change: Change | None, reach: float) -> list[Place | None]:
    """The places after the change; ``None`` stands for the missing piece."""
    arranged: list[Place | None] = list(places)
    if change is not None and places:
        index = change.index(len(places))
        place = places[index]
        arranged[index] = (
            None
            if change.missing
            else Place(
                place.u + change.along * reach,
                place.v + change.across * reach,
                place.turn + change.turn,
            )
        )
    return arranged
