"""One contestant of `ltad.bench.peers`, in a process of its own: ``contestants.py PART TASK``.

Another library's contestants run under the interpreter that has the library, where this project is
not installed: whatever is imported here before a contestant is chosen must be there too.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

BATCH = 16
LAYERS = ("1", "2")
"""Of the exported tower, for those who take two: the taps of 40 and 20 places a side."""


class Contestant(Protocol):
    """Learns from good images of each class, and is loaded again to judge others."""

    def fit(self, task: dict[str, Any], folder: Path) -> None:
        """Learn from ``task["learn"]``, class -> paths, and write everything into the folder."""
        ...

    def load(self, task: dict[str, Any], folder: Path) -> None:
        """Read what `fit` wrote."""
        ...

    def judge(self, paths: Sequence[str], name: str) -> list[float]:
        """An image score for each image of a class; higher is more anomalous."""
        ...


class Trained:
    """This project: LTAD, or its reconstruction alone, trained on all classes together."""

    def __init__(self, branch: str, *settings: str) -> None:
        self._branch, self._settings = branch, settings

    def fit(self, task: dict[str, Any], folder: Path) -> None:
        changes = [part for setting in self._settings for part in ("--set", setting)]
        subprocess.run([
            sys.executable, "-m", "ltad", "train", "--data", task["data"], "--encoder",
            task["encoder"], "--split", "none", "--out", str(folder / "model"), "--work",
            task["work"], *changes,
        ], check=True)

    def load(self, task: dict[str, Any], folder: Path) -> None:
        from ltad.inference.registry import load_scorer

        self._scorer = load_scorer(folder / "model", cache=Path(task["work"]) / "cache")

    def judge(self, paths: Sequence[str], name: str) -> list[float]:
        found = self._scorer.score_batch([Path(path) for path in paths])
        return [float(getattr(one, self._branch)) for one in found]


class Bank:
    """This project's nearest-neighbour bank, one for each class, on the same features."""

    def fit(self, task: dict[str, Any], folder: Path) -> None:
        import numpy as np

        from ltad.inference.patch_bank import NearestNeighbourBank

        self._open(task)
        for name, paths in task["learn"].items():
            bank = NearestNeighbourBank.fit(self._patches(paths).numpy(), seed=0)
            np.savez(folder / f"{name}.npz", mean=bank.mean, scale=bank.scale,
                     patches=getattr(bank.neighbours, "_fit_X"))  # noqa: B009, it is theirs

    def load(self, task: dict[str, Any], folder: Path) -> None:
        import numpy as np
        from sklearn.neighbors import NearestNeighbors

        from ltad.inference.patch_bank import NearestNeighbourBank

        self._open(task)
        self._banks: dict[str, NearestNeighbourBank] = {}
        for name in task["learn"]:
            found = np.load(folder / f"{name}.npz")
            search = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(found["patches"])
            self._banks[name] = NearestNeighbourBank(search, found["mean"], found["scale"])

    def judge(self, paths: Sequence[str], name: str) -> list[float]:
        from ltad.config import preset

        size, pool = self._encoder.settings.image_size, preset("demo").model.score_pool
        measured = self._banks[name].measure(self._patches(paths), size, pool)
        return measured.scores["combined"].tolist()

    def _open(self, task: dict[str, Any]) -> None:
        from ltad.models.align import load_encoder

        self._encoder = load_encoder(task["encoder"])

    def _patches(self, paths: Sequence[str]) -> Any:
        import torch

        from ltad.io.images import read_image
        from ltad.models.features import patch_features

        made = []
        with torch.inference_mode():
            for at in range(0, len(paths), BATCH):
                pixels = torch.stack([self._encoder.pixels(read_image(path))
                                      for path in paths[at : at + BATCH]])
                made.append(patch_features(self._encoder.image_features(pixels).taps,
                                           self._encoder.settings.semantic_grid))
        return torch.cat(made)


class Reference:
    """This project's reference mode: eight images and the folder's name, nothing trained."""

    def fit(self, task: dict[str, Any], folder: Path) -> None:
        """Choose the images."""
        from ltad.inference.reference_mode import MOST_IMAGES

        chosen = {name: paths[:MOST_IMAGES] for name, paths in task["learn"].items()}
        (folder / "images.json").write_text(json.dumps(chosen), encoding="utf-8")

    def load(self, task: dict[str, Any], folder: Path) -> None:
        from ltad.inference.reference_mode import ReferenceScorer
        from ltad.inference.registry import load_scorer
        from ltad.models.class_names import spoken

        base = load_scorer(task["model"], cache=Path(task["work"]) / "cache")
        chosen = json.loads((folder / "images.json").read_text(encoding="utf-8"))
        self._parts = {name: ReferenceScorer(base, paths, spoken(name))
                       for name, paths in chosen.items()}

    def judge(self, paths: Sequence[str], name: str) -> list[float]:
        part = self._parts[name]
        return [float(one.score) for one in part.score_batch(list(paths), part.class_names[0])]


class Tower:
    """The exported image tower, for libraries that look for a network of their own.

    ``tower(pixels)`` gives its three layers, of 80, 40 and 20 places a side at 320 pixels.
    """

    def __init__(self, file: str) -> None:
        torch = importlib.import_module("torch")
        self._program = torch.export.load(file).module()
        self._torch = torch

    def __call__(self, pixels: Any) -> tuple[Any, ...]:
        with self._torch.no_grad():
            return tuple(self._program(pixels))


def pixels_of(paths: Sequence[str], side: int) -> Any:
    """(B, 3, side, side) float32 as the tower wants them: scaled, bilinear, x / 127.5 - 1."""
    np, torch = (importlib.import_module(name) for name in ("numpy", "torch"))
    image = importlib.import_module("PIL.Image")
    rows = []
    for path in paths:
        with image.open(path) as opened:
            small = opened.convert("RGB").resize((side, side), image.Resampling.BILINEAR)
        rows.append(np.asarray(small, dtype=np.float32).transpose(2, 0, 1) / 127.5 - 1.0)
    return torch.from_numpy(np.stack(rows))


class Anomalib:
    """anomalib's PatchCore or PaDiM with their own settings, on this project's image tower."""

    def __init__(self, kind: str, model: str, **settings: Any) -> None:
        self._kind, self._model, self._settings = kind, model, settings

    def fit(self, task: dict[str, Any], folder: Path) -> None:
        save = importlib.import_module("safetensors.torch").save_file
        for name, paths in task["learn"].items():
            model = self._new(task)
            model.train()
            for at in range(0, len(paths), BATCH):
                model(pixels_of(paths[at : at + BATCH], task["side"]))
            if self._kind == "patchcore":
                model.subsample_embedding(0.1)
            else:
                model.fit()
            save({key: value.contiguous() for key, value in model.state_dict().items()},
                 folder / f"{name}.safetensors")

    def load(self, task: dict[str, Any], folder: Path) -> None:
        load = importlib.import_module("safetensors.torch").load_file
        self._side, self._models = task["side"], dict[str, Any]()
        for name in task["learn"]:
            model = self._new(task)
            model.load_state_dict(load(folder / f"{name}.safetensors"))
            self._models[name] = model.eval()

    def judge(self, paths: Sequence[str], name: str) -> list[float]:
        inference = importlib.import_module("torch").inference_mode
        with inference():
            found = self._models[name](pixels_of(paths, self._side))
        return found.pred_score.flatten().tolist()

    def _new(self, task: dict[str, Any]) -> Any:
        torch = importlib.import_module("torch")
        library = importlib.import_module(f"anomalib.models.image.{self._kind}.torch_model")
        tower = Tower(task["tower"])

        class Layers(torch.nn.Module):
            out_dims = task["channels"][1:]

            def forward(self, pixels: Any) -> dict[str, Any]:
                return dict(zip(LAYERS, tower(pixels)[1:], strict=True))

        setattr(library, "TimmFeatureExtractor", lambda **_: Layers())  # noqa: B010
        torch.manual_seed(0)
        return getattr(library, self._model)(layers=list(LAYERS), **self._settings)


class AnomaVision:
    """AnomaVision's PatchCore, PaDiM or small EfficientAD, on this project's image tower.

    EfficientAD's teacher is a ResNet's first layer, 64 channels on a quarter of the side; here the
    tower's layers of 24 and 40 channels, which are as many.
    """

    def __init__(self, kind: str, module: str, model: str) -> None:
        self._kind, self._module, self._model = kind, module, model

    def fit(self, task: dict[str, Any], folder: Path) -> None:
        torch = importlib.import_module("torch")
        library = self._library(task)
        for name, paths in task["learn"].items():
            torch.manual_seed(0)
            model = getattr(library, self._model)("resnet18", **self._channels(task))
            batches = [pixels_of(paths[at : at + BATCH], task["side"])
                       for at in range(0, len(paths), BATCH)]
            model.fit(batches)
            model.save_statistics(str(folder / f"{name}.pth"), half=False)

    def load(self, task: dict[str, Any], folder: Path) -> None:
        torch = importlib.import_module("torch")
        library = self._library(task)
        build = importlib.import_module(f"anomavision.algorithm.{self._kind}")
        self._side, self._models = task["side"], dict[str, Any]()
        for name in task["learn"]:
            found = torch.load(folder / f"{name}.pth", weights_only=True)
            if self._kind == "padim":
                model = library.Padim("resnet18", layer_indices=found["layer_indices"],
                                      channel_indices=found["channel_indices"])
                distance = importlib.import_module("anomavision.algorithm.common.mahalanobis")
                model.mahalanobisDistance = distance.MahalanobisDistance(
                    found["mean"], found["cov_inv"])
            else:
                model = getattr(build, f"build_{self._kind}_from_stats")(found)
            self._models[name] = model.eval()

    def judge(self, paths: Sequence[str], name: str) -> list[float]:
        inference = importlib.import_module("torch").inference_mode
        with inference():
            scores, _ = self._models[name].predict(pixels_of(paths, self._side))
        return scores.flatten().tolist()

    def _channels(self, task: dict[str, Any]) -> dict[str, Any]:
        if self._kind != "padim":
            return {}
        torch = importlib.import_module("torch")
        torch.manual_seed(0)
        chosen = torch.randperm(sum(task["channels"][1:]))[:50].sort().values
        return {"layer_indices": [0, 1], "channel_indices": chosen}

    def _library(self, task: dict[str, Any]) -> Any:
        torch = importlib.import_module("torch")
        common = importlib.import_module("anomavision.algorithm.common.feature_extraction")
        library = importlib.import_module(f"anomavision.algorithm.{self._kind}.{self._module}")
        tower, is_teacher = Tower(task["tower"]), self._kind == "efficientad"

        class Extractor(common.ResnetEmbeddingsExtractor):
            def __init__(self, backbone_name: str, device: Any) -> None:
                torch.nn.Module.__init__(self)
                self.backbone_name, self.device = backbone_name, device

            def forward(self, batch: Any, channel_indices: Any = None, layer_hook: Any = None,
                        layer_indices: Any = None) -> tuple[Any, int, int]:
                layers = tower(batch)
                found = common.concatenate_layers(list(layers[:2] if is_teacher else layers[1:]))
                if channel_indices is not None:
                    found = found.index_select(1, channel_indices)
                _, _, width, height = found.shape
                return found.flatten(2).permute(0, 2, 1).contiguous(), width, height

        setattr(library, "ResnetEmbeddingsExtractor", Extractor)  # noqa: B010
        return library


CONTESTANTS: dict[str, tuple[str, Callable[[], Contestant]]] = {
    "LTAD": ("", lambda: Trained("score", "calibration=cross_fitted")),
    "UniAD's reconstruction": ("", lambda: Trained(
        "reconstruction_score", "calibration=cross_fitted", "skip_phase1=true",
        "real_probability=1.0", "reference_size=0")),
    "nearest-neighbour bank": ("", Bank),
    "reference mode, 8 images": ("", Reference),
    "anomalib PatchCore": ("anomalib", lambda: Anomalib("patchcore", "PatchcoreModel")),
    "anomalib PaDiM": ("anomalib", lambda: Anomalib("padim", "PadimModel", n_features=100)),
    "AnomaVision PatchCore": (
        "anomavision", lambda: AnomaVision("patchcore", "patchcore", "PatchCore")),
    "AnomaVision PaDiM": ("anomavision", lambda: AnomaVision("padim", "padim", "Padim")),
    "AnomaVision EfficientAD": (
        "anomavision", lambda: AnomaVision("efficientad", "efficientad", "EfficientAD")),
}
"""Name -> the library that it needs, "" for this project, and how it is made."""


def judge_all(contestant: Contestant, task: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Every test image once: one half alone, the other in batches.

    Returns:
        ``scores`` in the order of ``task["tests"]``, ``first_answer_s`` since the process was
        asked for, ``ms`` of each image alone, ``images_a_second`` in batches, ``peak_megabytes``.
    """
    tests: list[tuple[str, str]] = task["tests"]
    scores, waits = [0.0] * len(tests), list[float]()
    contestant.load(task, folder)
    scores[0], = contestant.judge([tests[0][0]], tests[0][1])
    first = time.time() - task["asked"]
    for place in range(2, len(tests), 2):
        began = time.perf_counter()
        scores[place], = contestant.judge([tests[place][0]], tests[place][1])
        waits.append(1e3 * (time.perf_counter() - began))
    together, seconds = list(range(1, len(tests), 2)), 0.0
    for name in task["learn"]:
        own = [place for place in together if tests[place][1] == name]
        for at in range(0, len(own), BATCH):
            places = own[at : at + BATCH]
            began = time.perf_counter()
            found = contestant.judge([tests[place][0] for place in places], name)
            seconds += time.perf_counter() - began
            for place, score in zip(places, found, strict=True):
                scores[place] = score
    return {"scores": scores, "first_answer_s": first, "ms": waits,
            "images_a_second": len(together) / seconds, "peak_megabytes": peak_megabytes()}


def peak_megabytes() -> float:
    """The most memory that this process ever held."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return 0.0


def main(part: str, file: str) -> int:
    """Do one part, "fit" or "judge", of a task, and write what was found beside it."""
    task = json.loads(Path(file).read_text(encoding="utf-8"))
    folder = Path(task["folder"])
    contestant = CONTESTANTS[task["contestant"]][1]()
    if part == "fit":
        began = time.perf_counter()
        contestant.fit(task, folder)
        found = {"seconds": time.perf_counter() - began, "peak_megabytes": peak_megabytes()}
    else:
        found = judge_all(contestant, task, folder)
    Path(file).with_name(f"{part}.json").write_text(json.dumps(found), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
