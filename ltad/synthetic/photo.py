"""From layers to a photograph: shading, camera and background."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from ltad.synthetic.geometry import Frame, along, field, fractal, soften

SHADOW_STEPS = 9
STEEPEST = 2.5
PLAIN = {
    "white": (222, 222, 220),
    "grey": (140, 142, 144),
    "black": (38, 38, 40),
    "blue": (66, 92, 132),
    "green": (66, 104, 84),
}


def linear(red: float, green: float, blue: float) -> np.ndarray:
    """A screen colour (0 to 255 each) as linear light, (3,) float32 in 0 to 1."""
    return (np.array([red, green, blue], np.float32) / np.float32(255)) ** 2


@dataclass(frozen=True)
class Paint:
    """One variant: its name for people (color, material) and how its surface looks."""

    color: str
    material: str
    screen: tuple[int, int, int]
    gloss: float
    metal: float

    @property
    def albedo(self) -> np.ndarray:
        """Linear colour, (3,) float32."""
        return linear(*self.screen)


@dataclass
class Layers:
    """What covers each pixel, all float32 and (size, size) except albedo (size, size, 3).

    ``cover``: 0 background to 1 part. ``height``: above the table, in image units (2 is the
    image's width). ``albedo``: linear 0 to 1. ``gloss``: 0 dull to 1 mirror-like.
    ``metal``: 0 to 1, how far the surface reflects its surroundings instead of scattering.
    """

    cover: np.ndarray
    height: np.ndarray
    albedo: np.ndarray
    gloss: np.ndarray
    metal: np.ndarray

    def copy(self) -> Layers:
        """A deep copy, so that an edit leaves the good twin alone."""
        return Layers(
            self.cover.copy(),
            self.height.copy(),
            self.albedo.copy(),
            self.gloss.copy(),
            self.metal.copy(),
        )

    def window(self, pixels: tuple[slice, slice]) -> Layers:
        """The same layers seen through a window: edits of the window edit these layers."""
        return Layers(
            self.cover[pixels],
            self.height[pixels],
            self.albedo[pixels],
            self.gloss[pixels],
            self.metal[pixels],
        )

    def paint(
        self, weight: np.ndarray, color: np.ndarray | np.float32, gloss: float | None = None,
        metal: float | None = None,
    ) -> None:
        """Blend colour (and gloss, metal when given) into the pixels of ``weight`` (0 to 1)."""
        self.albedo += weight[..., None] * (color - self.albedo)
        if gloss is not None:
            self.gloss += weight * (np.float32(gloss) - self.gloss)
        if metal is not None:
            self.metal += weight * (np.float32(metal) - self.metal)

    def lift(self, weight: np.ndarray, amount: np.ndarray | float) -> None:
        """Raise (or lower) the surface by ``weight`` times ``amount`` image units."""
        self.height += weight * np.float32(amount)


def start_layers(
    cover: np.ndarray, height: np.ndarray, color: np.ndarray, gloss: float, metal: float
) -> Layers:
    """Layers of one plain material."""
    shape = cover.shape
    albedo = np.empty((*shape, 3), np.float32)
    albedo[:] = color
    return Layers(
        cover.astype(np.float32),
        height.astype(np.float32),
        albedo,
        np.full(shape, gloss, np.float32),
        np.full(shape, metal, np.float32),
    )


def differing(good: Layers, bad: Layers) -> np.ndarray:
    """Pixels (bool) where two descriptions differ by enough to be seen."""
    seen = np.maximum(good.cover, bad.cover)
    color = np.abs(good.albedo - bad.albedo).max(axis=-1) > 0.03
    surface = (np.abs(good.height - bad.height) > 0.012) | (np.abs(good.metal - bad.metal) > 0.2)
    return (np.abs(good.cover - bad.cover) > 0.4) | ((seen > 0.4) & (color | surface))


@dataclass(frozen=True)
class Light:
    """Key light: direction of travel back to the lamp, share of ambient light, tint, fall-off."""

    azimuth: float
    elevation: float
    ambient: float
    strength: float
    fall_off: float
    tint: np.ndarray


def draw_light(rng: np.random.Generator) -> Light:
    """A random but plausible inspection light."""
    warmth = float(rng.uniform(-0.05, 0.05))
    return Light(
        azimuth=float(rng.uniform(0, 2 * np.pi)),
        elevation=float(np.radians(rng.uniform(38, 62))),
        ambient=float(rng.uniform(0.38, 0.58)),
        strength=float(rng.uniform(0.85, 1.12)),
        fall_off=float(rng.uniform(0.0, 0.14)),
        tint=np.array([1 + warmth, 1, 1 - warmth], np.float32),
    )


def shade(layers: Layers, backdrop: np.ndarray, light: Light) -> np.ndarray:
    """Lit image in linear light, (size, size, 3) float32.

    ``backdrop`` is the background's linear albedo, the table at height 0.
    """
    size = layers.cover.shape[0]
    slope_x, slope_y = _slopes(layers.height)
    up = 1 / np.sqrt(1 + slope_x * slope_x + slope_y * slope_y)
    out_x, out_y = -slope_x * up, -slope_y * up
    lamp = _direction(light)
    facing = np.maximum(out_x * lamp[0] + out_y * lamp[1] + up * lamp[2], 0)
    solid = layers.height * layers.cover
    lit = 1 - _shadow(solid, light)
    open_sky = _open_sky(solid)
    scattered = open_sky * (light.ambient + (1 - light.ambient) * lit * facing / lamp[2])
    mirrored = _mirrored(out_x, out_y, up, lamp, layers.gloss)
    reflected = open_sky * (0.45 + 0.55 * lit) * mirrored
    body = (1 - layers.metal) * scattered + layers.metal * reflected
    sheen = _sheen(out_x, out_y, up, lamp, layers.gloss) * lit * (1 - layers.metal)
    surface = layers.albedo * body[..., None] + sheen[..., None]
    table = backdrop * (open_sky * (light.ambient + (1 - light.ambient) * lit))[..., None]
    image = table + layers.cover[..., None] * (surface - table)
    axis = (np.arange(size, dtype=np.float32) + 0.5) * np.float32(2 / size) - 1
    fall = 1 + light.fall_off * (axis[None, :] * lamp[0] + axis[:, None] * lamp[1])
    return image * (fall * np.float32(light.strength))[..., None] * light.tint


def _direction(light: Light) -> np.ndarray:
    flat = np.cos(light.elevation)
    return np.array(
        [np.cos(light.azimuth) * flat, np.sin(light.azimuth) * flat, np.sin(light.elevation)],
        np.float32,
    )


def _slopes(height: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scale = np.float32(height.shape[0] / 4)
    padded = np.pad(height, 1, mode="edge")
    slope_x = (padded[1:-1, 2:] - padded[1:-1, :-2]) * scale
    slope_y = (padded[2:, 1:-1] - padded[:-2, 1:-1]) * scale
    return np.clip(slope_x, -STEEPEST, STEEPEST), np.clip(slope_y, -STEEPEST, STEEPEST)


def _mirrored(
    out_x: np.ndarray, out_y: np.ndarray, up: np.ndarray, lamp: np.ndarray, gloss: np.ndarray
) -> np.ndarray:
    """Brightness of the surroundings in the mirror direction: a bright lamp, a dark far side."""
    toward = 2 * up * (out_x * lamp[0] + out_y * lamp[1]) + (2 * up * up - 1) * lamp[2]
    low = 2 * up * (out_x * lamp[0] + out_y * lamp[1])
    glow = np.maximum(toward, 0) ** (3 + 22 * gloss)
    return np.maximum(0.52 + 0.42 * low + 0.95 * glow, 0.05)


def _sheen(
    out_x: np.ndarray, out_y: np.ndarray, up: np.ndarray, lamp: np.ndarray, gloss: np.ndarray
) -> np.ndarray:
    """Highlight of a coated or plastic surface."""
    half = lamp + np.array([0, 0, 1], np.float32)
    half = half / np.linalg.norm(half)
    facing = np.maximum(out_x * half[0] + out_y * half[1] + up * half[2], 0)
    return 0.75 * gloss * gloss * facing ** (6 + 90 * gloss)


def _shadow(solid: np.ndarray, light: Light) -> np.ndarray:
    """Share of the key light kept off each pixel by anything higher towards the lamp."""
    size = solid.shape[0]
    tangent = np.tan(light.elevation)
    top = float(solid.max())
    reach = (top - float(solid.min())) / tangent * size / 2
    if reach < 0.7:
        return np.zeros_like(solid)
    blocker = np.full_like(solid, -1)
    for step in range(1, SHADOW_STEPS + 1):
        pixels = reach * step / SHADOW_STEPS
        right = round(float(np.cos(light.azimuth)) * pixels)
        down = round(float(np.sin(light.azimuth)) * pixels)
        rise = np.float32(np.hypot(right, down) * 2 / size * tangent)
        if right or down:
            np.maximum(blocker, _moved(solid, right, down) - rise, out=blocker)
    return soften(np.clip((blocker - solid) * np.float32(1 / 0.025), 0, 1), size / 64)


def _moved(values: np.ndarray, right: int, down: int) -> np.ndarray:
    """The value ``right`` and ``down`` pixels away, repeating the border."""
    rows = np.clip(np.arange(values.shape[0]) + down, 0, values.shape[0] - 1)
    columns = np.clip(np.arange(values.shape[1]) + right, 0, values.shape[1] - 1)
    return values[rows][:, columns]


def _open_sky(solid: np.ndarray) -> np.ndarray:
    """Less ambient light where the surroundings stand higher: seams, feet, grooves."""
    size = solid.shape[0]
    wide = soften(solid, size / 22) - solid
    narrow = soften(solid, size / 70) - solid
    return 1 / (1 + 5 * np.maximum(wide, 0) + 9 * np.maximum(narrow, 0))


@dataclass(frozen=True)
class Camera:
    """One shot's settings; ``blur`` is a share of the image's side, ``noise`` in grey levels."""

    exposure: float
    white: np.ndarray
    vignette: float
    blur: float
    noise: float
    quality: int
    noise_seed: int


def draw_camera(rng: np.random.Generator) -> Camera:
    """A random shot with ordinary flaws."""
    return Camera(
        exposure=float(rng.uniform(0.9, 1.12)),
        white=rng.uniform(0.965, 1.035, 3).astype(np.float32),
        vignette=float(rng.uniform(0.0, 0.18)),
        blur=float(rng.uniform(0.0006, 0.0034)),
        noise=float(rng.uniform(0.8, 3.0)),
        quality=int(rng.integers(72, 98)),
        noise_seed=int(rng.integers(2**31)),
    )


def develop(light: np.ndarray, camera: Camera) -> np.ndarray:
    """Screen values before lens blur and noise, (size, size, 3) float32 in 0 to 255.

    A soft shoulder instead of a hard clip keeps highlights from turning into flat white.
    """
    size = light.shape[0]
    axis = (np.arange(size, dtype=np.float32) + 0.5) * np.float32(2 / size) - 1
    edge = 1 - camera.vignette * 0.5 * (axis[None, :] ** 2 + axis[:, None] ** 2)
    exposed = light * (edge * np.float32(camera.exposure))[..., None] * camera.white
    screen = np.sqrt(np.maximum(exposed, 0))
    over = np.maximum(screen - 0.8, 0)
    return np.float32(255) * (np.minimum(screen, 0.8) + over / (1 + over * 3.2))


def capture(screen: np.ndarray, camera: Camera) -> np.ndarray:
    """Blur, noise and a JPEG round trip; (size, size, 3) uint8."""
    size = screen.shape[0]
    image = Image.fromarray(np.clip(screen + 0.5, 0, 255).astype(np.uint8))
    image = image.filter(ImageFilter.GaussianBlur(camera.blur * size))
    rng = np.random.default_rng(camera.noise_seed)
    grain = rng.standard_normal((size, size, 3), dtype=np.float32) * np.float32(camera.noise)
    noisy = np.clip(np.asarray(image, np.float32) + grain + 0.5, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(noisy).save(file, "JPEG", quality=camera.quality)
    with Image.open(file) as stored:
        return np.array(stored.convert("RGB"))


def draw_background(name: str, rng: np.random.Generator, frame: Frame) -> np.ndarray:
    """Albedo (size, size, 3) float32 of the named background."""
    if name in PLAIN:
        return _plain(PLAIN[name], rng, frame)
    return SURFACES[name](rng, frame)


def _plain(color: tuple[int, int, int], rng: np.random.Generator, frame: Frame) -> np.ndarray:
    clouds = 1 + 0.035 * field(rng, frame.size, 4) + 0.012 * field(rng, frame.size, 96)
    return clouds[..., None] * linear(*color)


def _wooden(rng: np.random.Generator, frame: Frame) -> np.ndarray:
    angle = rng.uniform(-0.25, 0.25) + (np.pi / 2) * rng.integers(2)
    across = frame.y * np.float32(np.cos(angle)) - frame.x * np.float32(np.sin(angle))
    across = across + 0.035 * field(rng, frame.size, 3)
    grain = 0.6 * along(rng, across, 34) + 0.4 * along(rng, across, 150)
    tone = 1 + 0.13 * grain + 0.03 * field(rng, frame.size, 90)
    return np.maximum(tone, 0.2)[..., None] * linear(168, 128, 90)


def _concrete(rng: np.random.Generator, frame: Frame) -> np.ndarray:
    tone = 1 + 0.09 * fractal(rng, frame.size, 6, 3) + 0.07 * field(rng, frame.size, 110)
    return np.maximum(tone, 0.2)[..., None] * linear(150, 148, 143)


def _fabric(rng: np.random.Generator, frame: Frame) -> np.ndarray:
    weave = np.sin(frame.x * np.float32(150)) * np.sin(frame.y * np.float32(150))
    tone = 1 + 0.14 * weave + 0.06 * fractal(rng, frame.size, 5, 2)
    return np.maximum(tone, 0.2)[..., None] * linear(96, 100, 112)


def _metallic(rng: np.random.Generator, frame: Frame) -> np.ndarray:
    tone = 1 + 0.09 * along(rng, frame.y + 0.004 * frame.x, 170) + 0.08 * field(rng, frame.size, 3)
    return np.maximum(tone, 0.2)[..., None] * linear(158, 160, 163)


SURFACES = {
    "wooden": _wooden,
    "concrete": _concrete,
    "fabric": _fabric,
    "metallic": _metallic,
}
BACKGROUNDS = (*PLAIN, *SURFACES)
