"""Where the page keeps what people make with it: one folder, one place for each kind of thing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ltad.types import SettingError

COMMAND = "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt && " \
    ".venv/bin/python app.py"
"""Starts the page on one's own machine, in a copy of this repository."""


@dataclass(frozen=True)
class Workspace:
    """The folder of everything that is written while the page runs; nothing in it is a cache
    except `features`.

    Attributes:
        root: the folder; made when first written to.
        server_folders: folders on this machine whose images visitors may take into a batch.
        is_public: strangers visit the page: none sees or changes what another one made.
        shipped_runs: a folder of runs that come with the program, shown beside those in `runs` and
            never changed; None where there are none.
    """

    root: Path = Path(".ltad")
    server_folders: tuple[Path, ...] = ()
    is_public: bool = False
    shipped_runs: Path | None = None

    def require_private(self, what: str) -> None:
        """Raises SettingError on a public page, on which visitors cannot do `what`."""
        if self.is_public:
            raise SettingError(
                f"{what} is not possible on a public page. Run it on your own machine: {COMMAND}"
            )

    @property
    def runs(self) -> Path:
        """One folder an evaluation (``ltad.evaluation.runs``)."""
        return self.root / "runs"

    @property
    def models(self) -> Path:
        """One folder a model that was trained in the page."""
        return self.root / "models"

    @property
    def features(self) -> Path:
        """Frozen features of data sets (``ltad.inference.feature_store``)."""
        return self.root / "features"

    @property
    def database(self) -> Path:
        """Batches and every decision about them: one SQLite file."""
        return self.root / "desk.sqlite"

    @property
    def images(self) -> Path:
        """Images of the batches, each file named by its content."""
        return self.root / "pictures"
