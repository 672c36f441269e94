"""Images that the server keeps, by the only two names that the page may call them.

``run:NAME/INDEX`` is a test image of an evaluation, ``item:ID`` an image of a batch. Nothing
else can be opened: no path ever comes from the visitor.
"""

from __future__ import annotations

import re

from PIL import Image

from ltad.types import ImageError
from ltad.workspace import Workspace

_RUN = re.compile(r"run:(?P<name>[^/\\]{1,200})/(?P<index>[0-9]{1,9})", re.ASCII)
_ITEM = re.compile(r"item:(?P<id>[0-9]{1,15})", re.ASCII)


def open_source(workspace: Workspace, source: str) -> Image.Image:
    """The image that `source` names, RGB and upright.

    Raises:
        ImageError: `source` is no such name, or there is no such image.
        LTADError: the run or the database cannot be read.
    """
    if match := _RUN.fullmatch(source):
        return _open_run(workspace, match["name"], int(match["index"]))
    if match := _ITEM.fullmatch(source):
        if workspace.is_public:
            raise ImageError("On a public page the images of a batch open in Review only.")
        return _open_item(workspace, int(match["id"]))
    raise ImageError(
        f"{source[:80]!r} names no image here. Names look like run:NAME/12 or item:34."
    )


def _open_run(workspace: Workspace, name: str, index: int) -> Image.Image:
    from ltad.evaluation.run_store import RunReader

    reader = RunReader(workspace.runs, workspace.shipped_runs)
    if name not in reader.names():
        raise ImageError(f"There is no run {name!r} here. It may have been deleted.")
    return reader.run(name).image(index)


def _open_item(workspace: Workspace, item_id: int) -> Image.Image:
    from ltad.review.database import Database
    from ltad.review.images import ImageStore

    if not workspace.database.is_file():
        raise ImageError(f"There is no image {item_id} here: no batch has been uploaded yet.")
    item = Database(workspace.database).item(item_id)
    if not item.content_key:
        raise ImageError(f"{item.file_name} could not be read when it was uploaded: {item.reason}")
    return ImageStore(workspace.images).image(item.content_key)
