"""Where the page keeps what people make with it: one folder, one place for each kind of thing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Workspace:
    """The folder of everything that is written while the page runs; nothing in it is a cache
    except `features`.

    Attributes:
        root: the folder; made when first written to.
        server_folders: folders on this machine whose pictures visitors may take into a batch.
    """

    root: Path = Path(".ltad")
    server_folders: tuple[Path, ...] = ()

    @property
    def runs(self) -> Path:
        """One folder an evaluation (``ltad.runs``)."""
        return self.root / "runs"

    @property
    def models(self) -> Path:
        """One folder a model that was trained in the page."""
        return self.root / "models"

    @property
    def features(self) -> Path:
        """Frozen features of data sets (``ltad.data.feature_store``)."""
        return self.root / "features"

    @property
    def database(self) -> Path:
        """Batches and every decision about them: one SQLite file."""
        return self.root / "desk.sqlite"

    @property
    def pictures(self) -> Path:
        """Pictures of the batches, each file named by its content."""
        return self.root / "pictures"
