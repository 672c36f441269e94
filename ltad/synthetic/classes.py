"""The closed lists of part classes and defect types, and which belong together."""

from __future__ import annotations

PART_CLASSES: tuple[str, ...] = (
    "hex_nut",
    "screw",
    "gear",
    "washer",
    "bearing",
    "bottle_cap",
    "capsule",
    "button",
    "circuit_board",
    "connector",
    "leather",
    "carpet",
    "wood",
    "tile",
    "brushed_metal",
    "wire_mesh",
)
UNSEEN_PART_CLASSES: tuple[str, ...] = ("gear", "capsule", "carpet", "tile")

DEFECT_TYPES: tuple[str, ...] = (
    "crack",
    "scratch",
    "hole",
    "stain",
    "contamination",
    "broken_piece",
    "missing_component",
    "misplaced_component",
    "deformation",
    "discoloration",
)
UNSEEN_DEFECT_TYPES: tuple[str, ...] = ("hole", "deformation")

_APPLICABLE: dict[str, str] = {
    "hex_nut": "crack scratch stain contamination broken_piece deformation discoloration",
    "screw": "scratch stain contamination broken_piece deformation discoloration",
    "gear": "crack scratch stain contamination broken_piece missing_component discoloration",
    "washer": "crack scratch stain contamination broken_piece deformation discoloration",
    "bearing": (
        "scratch stain contamination broken_piece missing_component misplaced_component"
        " deformation discoloration"
    ),
    "bottle_cap": (
        "scratch hole stain contamination missing_component misplaced_component"
        " deformation discoloration"
    ),
    "capsule": (
        "crack scratch hole stain contamination missing_component misplaced_component"
        " deformation discoloration"
    ),
    "button": (
        "crack scratch hole stain contamination broken_piece missing_component"
        " misplaced_component discoloration"
    ),
    "circuit_board": (
        "crack scratch hole stain contamination broken_piece missing_component misplaced_component"
    ),
    "connector": (
        "crack scratch contamination broken_piece missing_component misplaced_component"
        " discoloration"
    ),
    "leather": "crack scratch hole stain contamination deformation discoloration",
    "carpet": "hole stain contamination deformation discoloration",
    "wood": "crack scratch hole stain contamination broken_piece deformation discoloration",
    "tile": (
        "crack scratch hole stain contamination broken_piece missing_component"
        " misplaced_component discoloration"
    ),
    "brushed_metal": "crack scratch hole stain contamination deformation discoloration",
    "wire_mesh": (
        "contamination broken_piece missing_component misplaced_component deformation discoloration"
    ),
}


def applicable_defects(part_class: str) -> tuple[str, ...]:
    """The defects that make sense for a part class, in the order of ``DEFECT_TYPES``.

    Raises ValueError, naming the value and the valid names, for an unknown class.
    """
    if part_class not in _APPLICABLE:
        raise ValueError(
            f"unknown part class {part_class!r}; valid classes: {', '.join(PART_CLASSES)}"
        )
    chosen = _APPLICABLE[part_class].split()
    return tuple(defect for defect in DEFECT_TYPES if defect in chosen)
