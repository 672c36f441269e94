"""The learned parts of LTAD and the detector that assembles them."""

from ltad.models.detector import Detector
from ltad.models.names import PseudoClassNames
from ltad.models.reconstruction import ReconstructionModule
from ltad.models.semantic import SemanticHead
from ltad.models.synthesis import FeatureSynthesizer

__all__ = [
    "Detector",
    "FeatureSynthesizer",
    "PseudoClassNames",
    "ReconstructionModule",
    "SemanticHead",
]
