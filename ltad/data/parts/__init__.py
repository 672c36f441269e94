"""Rendered industrial parts with exact defect masks, a stand-in for photographed ones."""

from .names import (
    DEFECT_TYPES,
    PART_CLASSES,
    UNSEEN_DEFECT_TYPES,
    UNSEEN_PART_CLASSES,
    applicable_defects,
)
from .render import RenderedPart, render_part

__all__ = [
    "DEFECT_TYPES",
    "PART_CLASSES",
    "UNSEEN_DEFECT_TYPES",
    "UNSEEN_PART_CLASSES",
    "RenderedPart",
    "applicable_defects",
    "render_part",
]
