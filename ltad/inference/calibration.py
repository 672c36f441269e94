"""Thresholds and drawing scales from held-out normal images, for any prompts, lambda and tau."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from ltad.inference import scoring
from ltad.io.cache import Memory
from ltad.models.features import to_grid
from ltad.types import REFERENCE

SCALE_QUANTILES = (0.5, 0.995)
SCALE_STRETCH = 1.5
REMEMBERED = 128
MAPS_REMEMBERED = 4
"""Classes and prompts whose good images' maps are kept, some 20 MB each, so that a new lambda only
adds them up; and classes whose latest ones are, for what no word changes."""


@dataclass(frozen=True)
class Readings:
    """What the detector reads from n images before any prompt comes in.

    Attributes:
        reconstruction: S_rec on the grid, (n, G, G) float32; None where nothing was trained.
        projected: p^ on the semantic grid, (n, d, G', G').
        reference: S_ref on the semantic grid, (n, G', G'), or None without that branch.
        semantic_unit: the values of S_sem that count as 0 and as 1 in the sum, where the branches
            are on the scale of good images; None for the sum of equation (5).
    """

    reconstruction: Tensor | None
    projected: Tensor
    reference: Tensor | None = None
    semantic_unit: tuple[float, float] | None = None

    def __len__(self) -> int:
        return len(self.projected)


@dataclass(frozen=True)
class ScoreSettings:
    """What turns readings into scores: the prompts' words, lambda, tau, pooling, map size, and the
    weight of the reference branch."""

    normal_prompt: str
    abnormal_prompt: str
    lam: float
    tau: float
    pool: int
    size: int
    reference_weight: float = 0.0


@dataclass(frozen=True)
class BranchMaps:
    """The pixel maps of n images, (n, S, S), keyed by branch, and their image scores (n,)."""

    maps: dict[str, Tensor]
    scores: dict[str, Tensor]


def semantic_grid(
    readings: Readings, normal: Tensor, abnormal: Tensor, settings: ScoreSettings
) -> Tensor:
    """S_sem on the semantic grid, (n, G', G'), under t_n and t_a, each (d,) or (n, d)."""
    count = len(readings)
    return scoring.semantic_score(
        readings.projected.float(), normal.expand(count, -1), abnormal.expand(count, -1),
        settings.tau,
    )


def _parts(*parts: Tensor | None) -> dict[str, Tensor]:
    """Of S_rec, S_sem and S_ref those that there are, by name."""
    named = zip(("reconstruction", "semantic", REFERENCE), parts, strict=True)
    return {name: part for name, part in named if part is not None}


def combined_of(
    parts: Mapping[str, Tensor], semantic_unit: tuple[float, float] | None,
    settings: ScoreSettings,
) -> Tensor:
    """S of the branches that there are, maps of any one shape, S_sem as a probability.

    Equation (5), with the reference branch added by its weight; or, where the branches are on the
    scale of good images, their weighted mean, so that 1 stays the worst place of a good image.
    """
    return weighted_sum(in_units(parts, semantic_unit), semantic_unit is not None, settings)


def in_units(
    parts: Mapping[str, Tensor], semantic_unit: tuple[float, float] | None
) -> dict[str, Tensor]:
    """The branches as they are added up: S_sem too on the scale of good images, if there is one."""
    return {**parts, "semantic": _on_scale(parts["semantic"], semantic_unit)}


def _on_scale(part: Tensor, unit: tuple[float, float] | None) -> Tensor:
    if unit is None:
        return part
    zero, one = unit
    return (part - zero) / (one - zero)


def weighted_sum(
    parts: Mapping[str, Tensor], are_in_units: bool, settings: ScoreSettings
) -> Tensor:
    """S of `in_units`, as `combined_of` says."""
    weights = {"reconstruction": 1.0, "semantic": settings.lam,
               REFERENCE: settings.reference_weight}
    if not are_in_units:
        total = scoring.combine(parts["reconstruction"], parts["semantic"], settings.lam)
        if REFERENCE in parts:
            total = total + settings.reference_weight * parts[REFERENCE]
        return total
    whole = sum(weights[name] for name in parts) or 1.0
    first, *others = parts
    total = weights[first] / whole * parts[first]
    for name in others:
        total += weights[name] / whole * parts[name]
    return total


def pooled_parts(
    readings: Readings, semantic: Tensor, settings: ScoreSettings
) -> dict[str, Tensor]:
    """Average-pooled maps (n, P, P) of each branch of readings and their S_sem (n, G', G')."""
    return _parts(*(
        None if g is None else scoring.pooled_map(g.float(), settings.size, settings.pool)
        for g in (readings.reconstruction, semantic, readings.reference)
    ))


@dataclass(frozen=True)
class ImageMaps:
    """What n images show under one pair of prompts, whatever the weights of the branches.

    Attributes:
        are_in_units: the branches are added up on the scale of good images.
        maps: branch -> (n, S, S), S_sem as a probability.
        scores: branch -> (n,), what it scores by itself.
        added_maps, added_pooled: (n, S, S) and average-pooled (n, P, P), as they are added up.
    """

    are_in_units: bool
    maps: dict[str, Tensor]
    scores: dict[str, Tensor]
    added_maps: dict[str, Tensor]
    added_pooled: dict[str, Tensor]

    @classmethod
    def of(
        cls, readings: Readings, normal: Tensor, abnormal: Tensor, settings: ScoreSettings
    ) -> ImageMaps:
        """Maps of `readings` under t_n and t_a, (d,) or (n, d)."""
        semantic, unit = semantic_grid(readings, normal, abnormal, settings), readings.semantic_unit
        maps = _parts(*(
            None if g is None else scoring.upsample(g.float(), settings.size)
            for g in (readings.reconstruction, semantic, readings.reference)
        ))
        windows = pooled_parts(readings, semantic, settings)
        alone = {name: scoring.image_score(window) for name, window in windows.items()}
        return cls(unit is not None, maps, alone, in_units(maps, unit), in_units(windows, unit))

    def weighted(self, settings: ScoreSettings) -> BranchMaps:
        """Every branch and their sum under `settings`, with whose prompts these maps were made."""
        whole, windows = (weighted_sum(parts, self.are_in_units, settings)
                          for parts in (self.added_maps, self.added_pooled))
        return BranchMaps({"combined": whole, **self.maps},
                          {"combined": scoring.image_score(windows), **self.scores})


def branch_maps(
    readings: Readings, normal: Tensor, abnormal: Tensor, settings: ScoreSettings
) -> BranchMaps:
    """Maps and image scores of `readings` under t_n and t_a, (d,) or (n, d)."""
    return ImageMaps.of(readings, normal, abnormal, settings).weighted(settings)


@dataclass(frozen=True)
class NormalScores:
    """What one class's held-out normal images score, by branch.

    Attributes:
        scores: image scores, (n,).
        peaks: each image's highest place, (n,); upsampling never rises above it.
        low, high: quantiles of all places together (`SCALE_QUANTILES`).
    """

    scores: dict[str, np.ndarray]
    peaks: dict[str, np.ndarray]
    low: dict[str, float]
    high: dict[str, float]

    @classmethod
    def of(cls, grids: Mapping[str, Tensor], scores: Mapping[str, Tensor]) -> NormalScores:
        """Of the same branches' maps (n, G', G'), and image scores (n,)."""
        places = {b: v.cpu().numpy() for b, v in grids.items()}
        quantiles = {b: np.quantile(v, SCALE_QUANTILES) for b, v in places.items()}
        return cls(
            {b: v.cpu().numpy() for b, v in scores.items()},
            {b: v.max(axis=(1, 2)) for b, v in places.items()},
            {b: float(v[0]) for b, v in quantiles.items()},
            {b: float(v[1]) for b, v in quantiles.items()},
        )

    def __or__(self, other: NormalScores) -> NormalScores:
        """These, and those of other branches."""
        return NormalScores(self.scores | other.scores, self.peaks | other.peaks,
                            self.low | other.low, self.high | other.high)


def _each(parts: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """The branches of one image after the other, (1, ...) each."""
    count = len(next(iter(parts.values())))
    return ({name: part[i : i + 1] for name, part in parts.items()} for i in range(count))


@dataclass(frozen=True)
class GoodBranch:
    """One branch of a class's held-out good images.

    Attributes:
        grid, pooled: (n, G', G') and average-pooled (n, P, P), as they are added up.
        alone: what the branch scores by itself.
    """

    grid: Tensor
    pooled: Tensor
    alone: NormalScores

    @classmethod
    def of(
        cls, name: str, raw: Tensor, side: int, settings: ScoreSettings,
        unit: tuple[float, float] | None = None,
    ) -> GoodBranch:
        """Of the branch on its own grid, (n, G, G), measured on one of G' = `side`; `unit` are the
        values that count as 0 and as 1 in the sum, where these are not 0 and 1."""
        grid = raw if raw.shape[-1] == side else to_grid(raw.float()[:, None], side)[:, 0]
        windows = scoring.pooled_map(raw.float(), settings.size, settings.pool)
        alone = NormalScores.of({name: grid}, {name: scoring.image_score(windows)})
        return cls(_on_scale(grid, unit), _on_scale(windows, unit), alone)


@dataclass(frozen=True)
class GoodMaps:
    """Maps of one class's held-out good images under one pair of prompts, whatever the weights.

    Attributes:
        are_in_units: the branches are added up on the scale of good images.
        branches: those that there are, by name.
    """

    are_in_units: bool
    branches: dict[str, GoodBranch]

    @classmethod
    def of(
        cls, readings: Readings, normal: Tensor, abnormal: Tensor, settings: ScoreSettings,
        before: GoodMaps | None = None,
    ) -> GoodMaps:
        """Maps of `readings` under t_n and t_a.

        Args:
            before: maps of the same readings under other words or another tau, for maps of the same
                size and pooling: the branches that neither changes are taken from there.
        """
        semantic, unit = semantic_grid(readings, normal, abnormal, settings), readings.semantic_unit
        side = semantic.shape[-1]
        raw = _parts(readings.reconstruction, semantic, readings.reference)
        return cls(unit is not None, {
            name: GoodBranch.of(name, part, side, settings, unit if name == "semantic" else None)
            if before is None or name == "semantic" else before.branches[name]
            for name, part in raw.items()
        })

    def scores(self, settings: ScoreSettings) -> NormalScores:
        """Scores under `settings`, with whose prompts these maps were made, the sum's first."""
        grids = weighted_sum({n: b.grid for n, b in self.branches.items()}, self.are_in_units,
                             settings)
        # One image at a time: its windows stay in the processor's cache, all of them do not.
        scores = torch.cat([
            scoring.image_score(weighted_sum(one, self.are_in_units, settings))
            for one in _each({n: b.pooled for n, b in self.branches.items()})
        ])
        found = NormalScores.of({"combined": grids}, {"combined": scores})
        for branch in self.branches.values():
            found |= branch.alone
        return found


def pooled(parts: list[NormalScores]) -> NormalScores:
    """The scores of several classes as one; quantiles are averaged over the classes."""
    branches = parts[0].scores
    return NormalScores(
        {b: np.concatenate([p.scores[b] for p in parts]) for b in branches},
        {b: np.concatenate([p.peaks[b] for p in parts]) for b in branches},
        {b: float(np.mean([p.low[b] for p in parts])) for b in branches},
        {b: float(np.mean([p.high[b] for p in parts])) for b in branches},
    )


@dataclass(frozen=True)
class Limits:
    """The decision for one class under one false-alarm rate.

    Attributes:
        thresholds: image-score threshold by branch.
        medians: the middle normal score by branch.
        pixel_threshold: of the combined map.
        scale: (low, high) for drawing, by branch.
        is_pooled: True where the class had too few images of its own.
        images: normal images behind the thresholds.
        normal_scores: their combined image scores, one each, in rising order.
        is_borrowed: these are no images of the class: they say how far new good images of other
            parts lay from a single one of theirs.
    """

    thresholds: dict[str, float]
    medians: dict[str, float]
    pixel_threshold: float
    scale: dict[str, tuple[float, float]]
    is_pooled: bool
    images: int
    normal_scores: tuple[float, ...]
    is_borrowed: bool = False


def limits_of(
    normal: NormalScores, rate: float, largest: float | None, is_pooled: bool,
    is_borrowed: bool = False,
) -> Limits:
    """Conformal thresholds at false-alarm rate `rate`, and the drawing scale.

    Args:
        normal: scores of held-out good images.
        rate: false alarms accepted, in (0, 1).
        largest: what the semantic branch can add to the sum at most, or None where that has no
            meaning.
        is_pooled: of several classes.
        is_borrowed: see `Limits`.
    """
    scale = {
        b: (normal.low[b], normal.low[b] + SCALE_STRETCH * max(normal.high[b] - normal.low[b],
                                                             1e-6 * (1 + abs(normal.low[b]))))
        for b in normal.scores
    }
    low, high = scale["semantic"]
    scale["semantic"] = (min(low, 0.5), max(min(high, 1.0), 0.5))
    if largest is not None:
        low, high = scale["combined"]
        # S_sem ends at 1, so no colour is spent on sums that cannot occur.
        high = min(high, scale["reconstruction"][1] + largest)
        scale["combined"] = (low, max(high, low * (1 + 1e-6)))
    return Limits(
        {b: scoring.conformal_threshold(v, rate) for b, v in normal.scores.items()},
        {b: float(np.median(v)) for b, v in normal.scores.items()},
        scoring.conformal_threshold(normal.peaks["combined"], rate),
        scale, is_pooled, len(normal.scores["combined"]),
        tuple(np.sort(normal.scores["combined"]).tolist()), is_borrowed,
    )


class Calibration:
    """Limits for every class under any settings, computed on demand and remembered.

    Args:
        counts: class name -> held-out normal images; zero for some classes, not for all.
        read: class name -> their readings; called once for a class, when it is first needed.
        texts: (class names, words) -> (n, d) text embeddings of [words; s_c].
        is_borrowed: see `Limits`.
    """

    def __init__(
        self, counts: Mapping[str, int], read: Callable[[str], Readings],
        texts: Callable[[list[str], str], Tensor], is_borrowed: bool = False,
    ) -> None:
        self._is_borrowed = is_borrowed
        self._counts = {name: count for name, count in counts.items() if count}
        self._read, self._texts = read, texts
        self._readings: dict[str, Readings] = {}
        self._reading: dict[str, Lock] = {}
        self._known: Memory[NormalScores] = Memory(REMEMBERED + len(self._counts))
        self._maps: Memory[GoodMaps] = Memory(MAPS_REMEMBERED)
        self._latest: Memory[GoodMaps] = Memory(MAPS_REMEMBERED)

    def limits(self, class_name: str, settings: ScoreSettings, rate: float) -> Limits:
        """Limits of one class; pooled over all when it has too few images for the rate."""
        own = self._counts.get(class_name)
        if own is not None and own + 1 >= 1.0 / rate:
            own_scores = self._normal([class_name], settings)[0]
            return limits_of(own_scores, rate, self._largest(settings), False, self._is_borrowed)
        parts = self._normal(list(self._counts), settings)
        alone = len(parts) == 1 and own is not None
        return limits_of(pooled(parts), rate, self._largest(settings), not alone,
                         self._is_borrowed)

    def _largest(self, settings: ScoreSettings) -> float | None:
        # Of a sum in units of good images, or with S_ref in it, nobody can say where it ends.
        has_end = all(
            r.semantic_unit is None and (r.reference is None or settings.reference_weight == 0)
            for r in self._readings.values())
        return settings.lam if has_end else None

    def _normal(self, names: list[str], settings: ScoreSettings) -> list[NormalScores]:
        found = {n: known for n in names if (known := self._known.get((n, settings))) is not None}
        missing = [n for n in names if n not in found]
        if missing:
            found |= self._measure(missing, settings)
        return [found[n] for n in names]

    def _own(self, name: str) -> Readings:
        with self._reading.setdefault(name, Lock()):  # one class does not wait for another
            if name not in self._readings:
                self._readings[name] = self._read(name)
            return self._readings[name]

    @torch.inference_mode()
    def _measure(self, names: list[str], settings: ScoreSettings) -> dict[str, NormalScores]:
        prompts = replace(settings, lam=0.0, reference_weight=0.0)
        maps = {n: known for n in names if (known := self._maps.get((n, prompts))) is not None}
        missing = [n for n in names if n not in maps]
        if missing:
            normal = self._texts(missing, settings.normal_prompt)
            abnormal = self._texts(missing, settings.abnormal_prompt)
            for i, name in enumerate(missing):
                shape = (name, settings.size, settings.pool)
                good = GoodMaps.of(self._own(name), normal[i], abnormal[i], settings,
                                   self._latest.get(shape))
                maps[name] = self._maps.put((name, prompts), self._latest.put(shape, good))
        return {n: self._known.put((n, settings), maps[n].scores(settings))
                for n in names}


def standing(score: float, limits: Limits) -> str:
    """How suspicious a score is, in terms of good images, as exactly as so many allow.

    By exchangeability, a new good image outscores all n held-out ones once in n + 1 times.

    Args:
        score: combined image score.
        limits: of the class; the scores of its held-out good images count, at least one.
    """
    count = limits.images
    below = sum(normal < score for normal in limits.normal_scores)
    if limits.is_borrowed:
        share = (f"fewer than 1 in {count + 1}" if below == count
                 else f"about {100 * (count + 1 - below) / (count + 1):.0f}%")
        return (f"Of other parts, {share} of the good images lay this far from a single one of "
                "theirs.")
    whose = ("of all classes together, because this class has too few of its own"
             if limits.is_pooled else "of this class")
    images = f"{count} held-out good images {whose}"
    if below == count:
        return (f"Higher than all {images}: at most about 1 good part in {count + 1} looks this "
                "suspicious.")
    if below == 0:
        return f"Lower than all {images}."
    if 2 * below < count:
        return f"Higher than {below} of {images}."
    share = round((count + 1) / (count + 1 - below))
    return f"Higher than {below} of {images}: about 1 good part in {share} looks this suspicious."


def explain(scores: dict[str, float], limits: Limits) -> str:
    """Where the score stands among good images, and which branch raised the alarm."""
    place = standing(scores["combined"], limits)
    over = [b for b in scores if b != "combined" and scores[b] > limits.thresholds[b]]
    if scores["combined"] <= limits.thresholds["combined"]:
        aside = f"; the {over[0]} branch alone is above its own threshold" if over else ""
        return f"{place} No alarm: the score lies within the range of good images{aside}."
    within = [b for b in scores if b != "combined" and b not in over]
    if not over:
        return f"{place} No branch is above its own threshold; only their sum is."
    raised = (f"The {' and '.join(over)} branch{'es' if len(over) > 1 else ''} "
              f"raise{'' if len(over) > 1 else 's'} the alarm")
    if within:
        raised += (f"; {' and '.join(within)} stay{'' if len(within) > 1 else 's'} within "
                   f"{'their' if len(within) > 1 else 'its'} range")
    return f"{place} {raised}."
