"""LTAD: long-tailed anomaly detection with learnable class names, and an explorer for its results.

>>> from ltad import load_scorer
>>> scorer = load_scorer("assets/demo")
>>> detection = scorer.score("part.png")
>>> detection.verdict, detection.class_name, detection.score
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ltad.config import Config, preset
from ltad.types import Detection, LTADError, NearestToken, Region, Sample

if TYPE_CHECKING:
    from ltad.inference.registry import load_scorer
    from ltad.inference.scorer import Scorer
    from ltad.io.images import Prepared

__version__ = "0.1.0"
__all__ = [
    "Config", "Detection", "LTADError", "NearestToken", "Prepared", "Region", "Sample", "Scorer",
    "load_scorer", "preset",
]
# These need torch, which takes seconds to import; the database and the tables do not.
_LATER = {
    "load_scorer": "ltad.inference.registry", "Prepared": "ltad.inference.scorer",
    "Scorer": "ltad.inference.scorer",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LATER[name]), name)
