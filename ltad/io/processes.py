"""The processes of one job that torchrun started, on one machine or on many.

Without torchrun there is one process, and everything here does nothing. Each process runs the same
program; they divide images and rows of batches among themselves and agree on every result, which
the first process alone writes to disk and tells.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from io import StringIO
from typing import TypeVar

import torch
from torch import Tensor, distributed

Plain = TypeVar("Plain")


@contextmanager
def joined() -> Generator[None]:
    """Meet the other processes, if torchrun started any. Only the first one's standard output is
    seen within."""
    if started() < 2:
        yield
        return
    has_card = torch.cuda.is_available()
    if has_card:
        torch.cuda.set_device(own_device("cuda"))
    distributed.init_process_group("cpu:gloo,cuda:nccl" if has_card else "gloo")
    try:
        with nullcontext() if is_first() else redirect_stdout(StringIO()):
            yield
    finally:
        distributed.destroy_process_group()


def started() -> int:
    """Processes that torchrun started, 1 without it."""
    world_size = os.environ.get("WORLD_SIZE", "")
    return int(world_size) if world_size.isdecimal() else 1


def own_device(device: str) -> str:
    """The device of this process: of "cuda", the one that torchrun means for it."""
    local = os.environ.get("LOCAL_RANK", "")
    return f"cuda:{local}" if device == "cuda" and local.isdecimal() else device


def count() -> int:
    """Processes that have met in `joined`; 1 without torchrun."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """This process's number, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def is_first() -> bool:
    """Whether this is the process that writes and tells."""
    return rank() == 0


def wait() -> None:
    """Until every process is here."""
    if count() > 1:
        distributed.barrier()


@contextmanager
def first_goes_ahead() -> Generator[None]:
    """The first process runs the block, then the others do: for files that all open and one has
    to create."""
    if not is_first():
        wait()
    yield
    if is_first():
        wait()


def share(start: int, stop: int) -> range:
    """This process's part of start .. stop; the parts follow each other and differ by one at
    most."""
    whole, number, of = max(0, stop - start), rank(), count()
    return range(start + whole * number // of, start + whole * (number + 1) // of)


def agreed(value: Plain) -> Plain:
    """The first process's `value`, plain data as JSON has it, in every process.

    For choices that hang on the last digit of a figure, where processes that differ would wait
    for each other without end.
    """
    return value if count() == 1 else json.loads(gathered(json.dumps(value).encode())[0])


def gathered(own: bytes) -> list[bytes]:
    """What every process brings, in the order of their numbers."""
    if count() == 1:
        return [own]
    sizes = [int(size) for size in _gathered(torch.tensor([len(own)]))]
    padded = torch.zeros(max(sizes), dtype=torch.uint8)
    padded[: len(own)] = torch.frombuffer(bytearray(own), dtype=torch.uint8) if own else padded[:0]
    return [whole[:size].numpy().tobytes() for whole, size in
            zip(_gathered(padded), sizes, strict=True)]


def summed(tensors: Iterable[Tensor]) -> None:
    """Each tensor becomes its sum over all processes, to the same bits in each of them."""
    if count() == 1:
        return
    tensors = list(tensors)
    flat = torch.cat([one.flatten() for one in tensors])
    distributed.all_reduce(flat)
    for one, total in zip(tensors, flat.split([one.numel() for one in tensors]), strict=True):
        one.copy_(total.view_as(one))


def _gathered(own: Tensor) -> Sequence[Tensor]:
    found = [torch.empty_like(own) for _ in range(count())]
    distributed.all_gather(found, own)
    return found
