"""The page: ``build_app(scorer).launch(**launch_options())`` in `page`, one file a tab."""

import inspect as source  # this package has an `inspect` of its own
from typing import Any


def _import_gradio() -> None:
    """Import Gradio without the type stubs that it writes for editors.

    For each of its components it parses a whole file again, which is half of its import. It leaves
    out what lies in no file, so for this while none of its own does.
    """
    real = source.getfile

    def getfile(found: Any) -> str:
        if isinstance(found, type) and found.__module__.startswith("gradio."):
            raise OSError("no stubs")
        return real(found)

    source.getfile = getfile
    try:
        import gradio  # noqa: F401  # pyright: ignore[reportUnusedImport]
    finally:
        source.getfile = real


_import_gradio()
