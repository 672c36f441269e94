"""The public renderer: one part, good or with one defect, as a photograph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ltad.synthetic.catalog import KINDS, NO_BACKGROUND, Kind
from ltad.synthetic.classes import DEFECT_TYPES, PART_CLASSES, applicable_defects
from ltad.synthetic.defects import (
    bend,
    broken_piece,
    contamination,
    crack,
    dent,
    discoloration,
    hole,
    scratch,
    stain,
)
from ltad.synthetic.geometry import Frame, field, make_frame, smoothstep
from ltad.synthetic.objects import Change
from ltad.synthetic.photo import (
    Camera,
    Layers,
    Light,
    Paint,
    capture,
    develop,
    differing,
    draw_background,
    draw_camera,
    draw_light,
    shade,
)

EDITS = {
    "crack": crack,
    "scratch": scratch,
    "hole": hole,
    "stain": stain,
    "contamination": contamination,
    "discoloration": discoloration,
}
SMALLEST_SIZE = 32
ATTEMPTS = 5
LEAST_PIXELS_AT_160 = 36
LARGEST_SHARE = 0.09
LEAST_CHANGE = 8.0
SUBTLE_SHARE = 0.15


@dataclass(frozen=True)
class RenderedPart:
    """One photograph of a part.

    ``image``: (size, size, 3) uint8. ``mask``: (size, size) bool, exact defect pixels, all
    False for a good part. ``defect``: name or None. ``attributes``: the words "color",
    "material" and "background", true of this image ("none" when the part fills the image).
    """

    image: np.ndarray
    mask: np.ndarray
    part_class: str
    defect: str | None
    attributes: dict[str, str]


@dataclass(frozen=True)
class Scene:
    """Everything that the good and the defective twin have in common."""

    kind: Kind
    paint: Paint
    background: str
    frame: Frame
    light: Light
    camera: Camera
    backdrop: np.ndarray
    class_number: int
    seed: int

    def build(self, frame: Frame | None = None, change: Change | None = None) -> Layers:
        """The part's layers, from the same random stream whatever the defect."""
        rng = _stream(self.class_number, self.seed, 1)
        layers = self.kind.build(rng, frame or self.frame, self.paint, change)
        _add_dust(_stream(self.class_number, self.seed, 3), layers)
        return layers

    def develop(self, layers: Layers) -> np.ndarray:
        """Screen values before lens and sensor."""
        return develop(shade(layers, self.backdrop, self.light), self.camera)


def render_part(
    part_class: str, seed: int, size: int = 224, defect: str | None = None
) -> RenderedPart:
    """Photograph a part of ``part_class``; with ``defect``, the same part with that defect.

    The same arguments give the same bytes. Images that share class, seed and size are twins:
    same pose, light, background and noise. ``seed`` is any integer from 0, ``size`` at least 32.
    Raises ValueError for an unknown class, an unknown or inapplicable defect, a negative seed
    or a size that is too small.
    """
    _check(part_class, seed, size, defect)
    scene = _draw_scene(part_class, seed, size)
    good = scene.build()
    screen = scene.develop(good)
    mask = np.zeros((size, size), bool)
    if defect is not None:
        bad, mask = _damage(scene, good, defect)
        image = _visible(screen, scene.develop(bad), mask, scene.camera)
    else:
        image = capture(screen, scene.camera)
    attributes = {
        "color": scene.paint.color,
        "material": scene.paint.material,
        "background": scene.background,
    }
    return RenderedPart(image, mask, part_class, defect, attributes)


def _check(part_class: str, seed: int, size: int, defect: str | None) -> None:
    valid = applicable_defects(part_class)
    if defect is not None and defect not in DEFECT_TYPES:
        raise ValueError(f"unknown defect {defect!r}; valid defects: {', '.join(DEFECT_TYPES)}")
    if defect is not None and defect not in valid:
        raise ValueError(
            f"defect {defect!r} does not apply to {part_class!r}; valid: {', '.join(valid)}"
        )
    if seed < 0:
        raise ValueError(f"seed {seed!r} is negative; valid seeds start at 0")
    if size < SMALLEST_SIZE:
        raise ValueError(f"size {size!r} is too small; valid sizes start at {SMALLEST_SIZE}")


def _stream(*numbers: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence([int(number) for number in numbers]))


def _add_dust(rng: np.random.Generator, layers: Layers) -> None:
    """Specks and finger marks of very low contrast, which every good part has too."""
    size = layers.cover.shape[0]
    specks = smoothstep(field(rng, size, 120), 2.4, 3.4)
    smudge = np.float32(0.05) * smoothstep(field(rng, size, 5), 0.6, 2.2)
    layers.paint(np.float32(0.1) * specks, np.float32(0.55))
    layers.gloss *= 1 - 3 * smudge


def _draw_scene(part_class: str, seed: int, size: int) -> Scene:
    number = PART_CLASSES.index(part_class)
    kind = KINDS[part_class]
    rng = _stream(number, seed, 0)
    paint = kind.paints[_mostly_first(rng, len(kind.paints))]
    background = kind.backgrounds[_mostly_first(rng, len(kind.backgrounds))]
    angle = rng.uniform(-kind.turn, kind.turn) + (np.pi / 2) * rng.integers(2) * kind.quarter
    x, y = rng.uniform(-kind.shift, kind.shift, 2).tolist()
    frame = make_frame(size, float(angle), float(rng.uniform(*kind.scale)), (x, y))
    light, camera = draw_light(rng), draw_camera(rng)
    if background == NO_BACKGROUND:
        backdrop = np.zeros((size, size, 3), np.float32)
    else:
        backdrop = draw_background(background, rng, frame).astype(np.float32)
    return Scene(kind, paint, background, frame, light, camera, backdrop, number, seed)


def _mostly_first(rng: np.random.Generator, count: int) -> int:
    """Index of a variant: the usual one in two thirds of the images."""
    draw, other = rng.random(), int(rng.integers(1, max(2, count)))
    return 0 if count == 1 or draw < 0.67 else other


def _damage(scene: Scene, good: Layers, defect: str) -> tuple[Layers, np.ndarray]:
    """Damaged layers and mask; draws again when a defect came out too small or too large."""
    size = scene.frame.size
    least = max(4, LEAST_PIXELS_AT_160 * (size / 160) ** 2)
    drawn: list[tuple[Layers, np.ndarray]] = []
    for attempt in range(ATTEMPTS):
        rng = _stream(scene.class_number, scene.seed, 2, DEFECT_TYPES.index(defect), attempt)
        bad, mask = _edit(scene, good, defect, rng)
        pixels = int(mask.sum())
        if least <= pixels <= LARGEST_SHARE * size * size:
            return bad, mask
        drawn.append((bad, mask))
    return min(drawn, key=lambda one: abs(one[1].sum() - 4 * least))


def _edit(
    scene: Scene, good: Layers, defect: str, rng: np.random.Generator
) -> tuple[Layers, np.ndarray]:
    subtle, low, clear = rng.random() < SUBTLE_SHARE, rng.uniform(0.1, 0.3), rng.uniform(0.5, 1)
    strength = float(low if subtle else clear)
    if defect in ("missing_component", "misplaced_component"):
        bad = scene.build(change=_draw_change(rng, defect == "missing_component", strength))
        return bad, differing(good, bad)
    if defect == "deformation" and scene.kind.bends:
        frame, near = bend(rng, scene.frame, good, strength)
        bad = scene.build(frame=frame)
        return bad, near & ((good.cover > 0.5) | (bad.cover > 0.5)) & _moved(good, bad)
    bad = good.copy()
    if defect == "deformation":
        return bad, dent(rng, scene.frame, bad, strength)
    if defect == "broken_piece":
        return bad, broken_piece(rng, scene.frame, bad, strength, scene.kind.fills_image)
    return bad, EDITS[defect](rng, scene.frame, bad, strength)


def _moved(good: Layers, bad: Layers) -> np.ndarray:
    return (np.abs(good.cover - bad.cover) > 0.3) | (np.abs(good.height - bad.height) > 0.004)


def _draw_change(rng: np.random.Generator, missing: bool, strength: float) -> Change:
    signs = rng.choice([-1.0, 1.0], 3)
    along, across = rng.uniform(0.35, 0.6, 2) + 0.4 * strength
    turn = rng.uniform(0.25, 0.5) + 0.5 * strength
    pick = float(rng.random())
    return Change(
        missing,
        pick,
        float(signs[0] * along),
        float(signs[1] * across),
        float(signs[2] * turn),
    )


def _visible(good: np.ndarray, bad: np.ndarray, mask: np.ndarray, camera: Camera) -> np.ndarray:
    """The captured image of the defect, its contrast raised as far as an eye needs it."""
    reference = capture(good, camera)[mask].astype(np.float32)
    for _ in range(4):
        image = capture(bad, camera)
        change = np.abs(image[mask].astype(np.float32) - reference).mean()
        if change >= LEAST_CHANGE:
            return image
        gain = min(3.0, 1.15 * LEAST_CHANGE / max(float(change), 2.0))
        bad = good + (bad - good) * np.where(mask, np.float32(gain), 1)[..., None]
    toward = np.float32(-24 if good[mask].mean() > 110 else 24)
    return capture(bad + toward * mask[..., None], camera)


__all__ = ["RenderedPart", "render_part"]
