"""Tensors as safetensors files with JSON beside them, and torch's seeds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ltad.io.files import atomic_path, generator
from ltad.types import CheckpointError


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], **about: Any) -> None:
    """Write `tensors` and the JSON values of `about` to `path`, all or nothing.

    Raises:
        CheckpointError: the disk is full or the folder cannot be written.
    """
    try:
        with atomic_path(path, durable=True) as part:
            save_file(
                {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()},
                part, metadata={"about": json.dumps(about)},
            )
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{path} could not be written: {error}. Free some space, or choose another folder."
        ) from error


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and JSON values of a file that `write_tensors` wrote.

    Raises:
        CheckpointError: no such file, or not a whole safetensors file.
    """
    try:
        with safe_open(str(path), framework="pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            about = json.loads((opened.metadata() or {}).get("about", "{}"))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read as a safetensors file: {error}.") from error
    return tensors, about


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's per-parameter state as named tensors."""
    return {
        f"optimizer.{index}.{key}": value if isinstance(value, Tensor) else torch.tensor(value)
        for index, entry in optimizer.state_dict()["state"].items()
        for key, value in entry.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` returned."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".")
            state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def torch_generator(*key: int) -> torch.Generator:
    """A torch generator (CPU) that depends on the integers of `key` only."""
    return torch.Generator().manual_seed(int(generator(*key).integers(2**63)))
