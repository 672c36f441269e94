"""LTAD: long-tailed anomaly detection with learnable class names, and an explorer for its results.

>>> from ltad import load_scorer
>>> scorer = load_scorer("assets/demo")
>>> detection = scorer.score("part.png")
>>> detection.is_anomalous, detection.class_name, detection.score
"""

from ltad.config import Config, preset
from ltad.loading import load_scorer
from ltad.service import Prepared, Scorer
from ltad.types import Detection, LTADError, NearestToken, Region, Sample

__version__ = "0.1.0"
__all__ = [
    "Config", "Detection", "LTADError", "NearestToken", "Prepared", "Region", "Sample", "Scorer",
    "load_scorer", "preset",
]
