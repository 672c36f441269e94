"""Suspicious regions in the pixels of the image itself, and the places that are to be ignored.

A region is a connected part (by its four neighbours) of a mask as large as the image. The mask is
the model's, where the stretched anomaly map lies above a threshold, or the person's own; the
person's wins.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional

from ltad.inference import scoring
from ltad.io.masks import connected_areas, resize_mask
from ltad.types import BRANCH_TABLE, Detection, SettingError

MINIMUM_AREA = 0.0003
"""Share of the image below which a region is left out; 15 pixels of 224 x 224."""


@dataclass(frozen=True)
class ImageRegion:
    """A connected area of an image.

    Attributes:
        left, top, right, bottom: pixel edges of its box; right and bottom exclusive.
        area: its number of pixels.
        score: the largest anomaly value inside; 0 where there is no map.
        inside: bool (bottom - top, right - left), which pixels of the box belong to it.
    """

    left: int
    top: int
    right: int
    bottom: int
    area: int
    score: float
    inside: np.ndarray = field(repr=False, compare=False)

    @cached_property
    def contours(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        """Its outline as closed polygons of (x, y) pixel edges, see :func:`trace`."""
        return trace(self.inside, self.left, self.top)

    def record(self) -> dict[str, Any]:
        """Box, area and score as plain numbers, for a database or JSON."""
        names = ("left", "top", "right", "bottom", "area", "score")
        return {name: getattr(self, name) for name in names}


def stretch(anomaly_map: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """A map (H, W) on the image's (width, height), float32, bilinear as the model's own maps."""
    width, height = image_size
    values = torch.from_numpy(np.ascontiguousarray(anomaly_map, dtype=np.float32))
    return functional.interpolate(
        values[None, None], size=(height, width), mode="bilinear", align_corners=False
    )[0, 0].numpy()


def find_regions(
    anomaly_map: np.ndarray,
    threshold: float,
    minimum_area: float,
    image_size: tuple[int, int],
) -> tuple[ImageRegion, ...]:
    """Connected areas above `threshold` in the image's pixels, highest score first.

    Args:
        anomaly_map: (H, W) of any size; it covers the whole image.
        threshold: in the map's units.
        minimum_area: the smallest region that is kept, as a share of the image in [0, 1), so
            that it means the same for every image of a batch.
        image_size: (width, height) of the upright image.

    Raises:
        SettingError: the minimum area is no such share.
    """
    check_minimum_area(minimum_area)
    if not (anomaly_map > threshold).any():  # bilinear stretching rises above no value
        return ()
    values = stretch(anomaly_map, image_size)
    return regions_of_mask(values > threshold, values, minimum_area)


def regions_of_mask(
    mask: np.ndarray, values: np.ndarray | None = None, minimum_area: float = 0.0
) -> tuple[ImageRegion, ...]:
    """The connected parts of a mask of the image's size, highest score first, then largest.

    Args:
        mask: bool (height, width).
        values: anomaly values (height, width) that give the scores, or None.
        minimum_area: see `find_regions`.
    """
    smallest = minimum_area * mask.size
    labels, count = connected_areas(mask)
    found = []
    for index, box in enumerate(ndimage.find_objects(labels, max_label=count), start=1):
        inside = labels[box] == index
        area = int(inside.sum())
        if area >= smallest:
            rows, columns = box
            score = 0.0 if values is None else float(values[box][inside].max())
            found.append(ImageRegion(
                columns.start, rows.start, columns.stop, rows.stop, area, score, inside
            ))
    return tuple(sorted(found, key=lambda region: (-region.score, -region.area)))


def move_threshold(detection: Detection, threshold: float) -> Detection:
    """`detection` under another image threshold; the limit of its outlines moves as far with it.

    Both limits are in the map's units, so an image that becomes suspicious shows what made it so
    (`scoring.region_limit`), and the other way round. No outline surrounds what the map leaves
    at 0, such as ignored places.
    """
    moved = detection.pixel_threshold + (threshold - detection.threshold)
    moved = max(0.0, scoring.region_limit(detection.score, threshold, moved))
    return replace(
        detection, threshold=threshold, pixel_threshold=moved,
        is_anomalous=detection.score > threshold,
        regions=tuple(scoring.regions(detection.anomaly_map, moved)),
    )


def corrected_regions(
    detection: Detection,
    person_mask: np.ndarray | None,
    minimum_area: float,
    image_size: tuple[int, int],
) -> tuple[ImageRegion, ...]:
    """The regions that count: those of the person's mask if there is one, else the model's.

    A person's mask counts whole, however small its parts; an empty one means no region.
    """
    if person_mask is None:
        return find_regions(
            detection.anomaly_map, detection.pixel_threshold, minimum_area, image_size
        )
    return regions_of_mask(person_mask, stretch(detection.anomaly_map, image_size))


def region_mask(regions: tuple[ImageRegion, ...], image_size: tuple[int, int]) -> np.ndarray:
    """All regions as one bool mask (height, width)."""
    mask = np.zeros((image_size[1], image_size[0]), dtype=bool)
    for region in regions:
        mask[region.top : region.bottom, region.left : region.right] |= region.inside
    return mask


def check_minimum_area(minimum_area: float) -> float:
    """`minimum_area` itself.

    Raises:
        SettingError: it is no share of the image.
    """
    if not 0 <= minimum_area < 1:
        raise SettingError(
            f"The smallest region is {minimum_area}, but it must be a share of the image from 0 "
            f"to below 1, for example {MINIMUM_AREA}."
        )
    return minimum_area


def trace(
    inside: np.ndarray, left: int = 0, top: int = 0
) -> tuple[tuple[tuple[int, int], ...], ...]:
    """Closed polygons along the pixel edges of a mask (H, W), shifted by `left` and `top`.

    Outer outlines run clockwise on the screen, holes the other way. Filled by the even-odd rule
    they give exactly the mask; the signed areas add up to its number of pixels. Only corners are
    listed, as (x, y).
    """
    padded = np.pad(inside, 1)
    following: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    # An edge lies where a pixel's neighbour in one direction is outside; it runs clockwise.
    for (down, right), start, end in (
        ((-1, 0), (0, 0), (1, 0)), ((0, 1), (1, 0), (1, 1)),
        ((1, 0), (1, 1), (0, 1)), ((0, -1), (0, 1), (0, 0)),
    ):
        neighbour = np.roll(padded, (-down, -right), axis=(0, 1))[1:-1, 1:-1]
        rows, columns = np.nonzero(inside & ~neighbour)
        for x, y in zip((columns + left).tolist(), (rows + top).tolist(), strict=True):
            following[x + start[0], y + start[1]].append((x + end[0], y + end[1]))
    loops = []
    while following:
        first = next(iter(following))
        loop, point = [first], _follow(following, first)
        while point != first:
            loop.append(point)
            point = _follow(following, point)
        loops.append(_corners(loop))
    return tuple(loops)


def _follow(
    following: dict[tuple[int, int], list[tuple[int, int]]], point: tuple[int, int]
) -> tuple[int, int]:
    ends = following[point]
    end = ends.pop()
    if not ends:
        del following[point]
    return end


def _corners(loop: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    points = np.array(loop)
    turns = ((points - np.roll(points, 1, axis=0)) != (np.roll(points, -1, axis=0) - points))
    return tuple((int(x), int(y)) for x, y in points[turns.any(axis=1)])


def fill(polygon: Sequence[tuple[float, float]], image_size: tuple[int, int]) -> np.ndarray:
    """The mask (height, width) of the pixels whose middle lies in a closed polygon of (x, y).

    Even-odd rule; what lies outside the image is cut off.
    """
    width, height = image_size
    flips = np.zeros((height, width + 1), dtype=bool)
    for (x0, y0), (x1, y1) in zip(polygon, [*polygon[1:], polygon[0]], strict=True):
        low, high = sorted((y0, y1))
        rows = np.arange(max(int(np.ceil(low - 0.5)), 0), min(int(np.ceil(high - 0.5)), height))
        if len(rows):  # right of where the edge crosses a row, inside and outside swap
            crossings = x0 + (rows + 0.5 - y0) * ((x1 - x0) / (y1 - y0))
            flips[rows, np.clip(np.ceil(crossings - 0.5), 0, width).astype(int)] ^= True
    return np.logical_xor.accumulate(flips, axis=1)[:, :width]


def apply_ignore(detection: Detection, ignore: np.ndarray, pool: int) -> Detection:
    """`detection` as if the ignored places were not part of the image.

    The maps are 0 there. The image scores are the highest means over those pool x pool windows
    that hold no ignored pixel, so ignoring more can only lower them and the threshold keeps its
    promise. Where no such window is left, the scores are 0 and the verdict is good.

    Args:
        detection: of the whole image.
        ignore: bool (h, w) of any size, relative to the image; true is ignored.
        pool: side of the model's score windows (``config.model.score_pool``).
    """
    height, width = detection.anomaly_map.shape
    ignored = resize_mask(ignore, (width, height))
    if not ignored.any():
        return detection
    known = {branch.map: getattr(detection, branch.map) for branch in BRANCH_TABLE}
    maps = {name: np.where(ignored, np.float32(0), values)
            for name, values in known.items() if values is not None}
    window = min(pool, height, width)
    is_free = functional.max_pool2d(torch.from_numpy(ignored)[None].float(), window, 1)[0] == 0
    scores = {branch.score: _highest_window(maps[branch.map], is_free, window)
              for branch in BRANCH_TABLE if branch.map in maps}
    is_anomalous = scores["score"] > detection.threshold
    return replace(
        detection, **maps, **scores, is_anomalous=is_anomalous,
        regions=tuple(scoring.regions(maps["anomaly_map"], detection.pixel_threshold)),
        explanation=_explanation(
            detection.is_anomalous, is_anomalous, bool(is_free.any()), float(ignored.mean())
        ),
    )


def _highest_window(values: np.ndarray, is_free: torch.Tensor, window: int) -> float:
    means = functional.avg_pool2d(torch.from_numpy(values)[None], window, 1)[0][is_free]
    return float(means.max()) if means.numel() else 0.0


def _explanation(was_anomalous: bool, is_anomalous: bool, is_any_left: bool, share: float) -> str:
    ignored = f"{100 * share:.0f}% of the image is ignored in this class"
    if not is_any_left:
        return f"Nothing is left to judge: {ignored}."
    if is_anomalous:
        return f"The alarm comes from the part that counts; {ignored}."
    if was_anomalous:
        return f"No alarm: all that was suspicious lies where nothing counts; {ignored}."
    return f"No alarm: the score lies within the range of good images; {ignored}."
