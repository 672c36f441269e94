"""What a folder of bulk scoring was begun with: the images, the model and the settings.

``plan.json`` says what is the same for all images; the images themselves, which may be millions,
are in ``inputs.parquet``, whose row groups are the shards, so that a worker reads only its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import AcquireReturnProxy, FileLock, Timeout

from ltad.data.inputs import Input, find_files, locate, signature
from ltad.inference.scorer import FALSE_ALARM_RATE, Scorer
from ltad.io.files import atomic_path
from ltad.io.images import READING
from ltad.types import DatasetError, SettingError

SHARD_SIZE = 1000
PLAN_FILE, INPUTS_FILE, LOCKS = "plan.json", "inputs.parquet", "locks"
INPUT_TYPES = {"path": "string", "archive": "string", "offset": "int64", "size": "int64"}


@dataclass(frozen=True)
class Plan:
    """What is to be scored, by which model and how.

    Attributes:
        folder: where.
        model: its name, and the fingerprint of all that its verdicts depend on.
        settings: arguments of `Scorer.score_batch`, the model's own values among them.
        files: how many files and archives were listed, and their `signature`.
        images: how many there are.
        shard_size: images in a shard; the last one may have fewer.
        reading: `ltad.io.images.READING` of the program that planned.
    """

    folder: Path
    model: dict[str, str]
    settings: dict[str, Any]
    files: dict[str, Any]
    images: int
    shard_size: int
    reading: int = READING

    @property
    def shards(self) -> int:
        return -(-self.images // self.shard_size)

    def part(self, shard: int) -> Path:
        """Where a shard's rows are once it is done."""
        return self.folder / f"part-{shard:05d}.parquet"

    @property
    def parts(self) -> list[Path]:
        """Those of all shards, in order."""
        return [self.part(shard) for shard in range(self.shards)]

    def size(self, shard: int) -> int:
        """Images of one shard."""
        return min(self.shard_size, self.images - shard * self.shard_size)

    def inputs(self, shard: int) -> list[Input]:
        """The images of one shard."""
        from pyarrow import parquet

        with parquet.ParquetFile(self.folder / INPUTS_FILE) as file:
            return [Input(**row) for row in file.read_row_group(shard).to_pylist()]


def read_plan(folder: str | Path) -> Plan:
    """The plan of a folder. Raises DatasetError when there is none, or a damaged one."""
    folder = Path(folder)
    try:
        return Plan(folder, **json.loads((folder / PLAN_FILE).read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise DatasetError(f"{folder} has no {PLAN_FILE}. Say which images to score.") from error
    except (OSError, ValueError, TypeError) as error:
        raise DatasetError(
            f"{folder / PLAN_FILE} cannot be read ({error}). Choose another folder."
        ) from error


def open_plan(
    folder: str | Path, scorer: Scorer, images: Sequence[str | Path] = (),
    listed: str | Path | None = None, shard_size: int | None = None, **settings: Any,
) -> Plan:
    """The folder's plan, made if there is none; arguments and errors as of `bulk.score_into`.

    Files and folders are listed again each time, to tell whether they are still the same; tars are
    opened for the plan alone, and known by size and time afterwards.
    """
    if shard_size is not None and shard_size < 1:
        raise SettingError(f"The shard size is {shard_size}, but it must be at least 1.")
    folder, file = Path(folder), Path(folder) / PLAN_FILE
    model = {"name": scorer.name, "fingerprint": fingerprint(scorer)}
    settings = _complete(scorer, **settings)
    files = find_files(images, listed) if images or listed else None
    if files is not None and not file.exists():
        with held_lock(folder / LOCKS / "plan.lock"):
            if not file.exists():  # another worker may have been faster
                _write_plan(folder, files, model, settings, shard_size or SHARD_SIZE)
    plan = read_plan(folder)
    differences = _differences(plan, model, settings, shard_size or plan.shard_size)
    if files is not None and plan.files["signature"] != signature(files):
        differences.append(_other_files(plan, files))
    if differences:
        raise DatasetError(
            f"{folder} was planned otherwise: {'; '.join(differences)}. Say what it was planned "
            "with, or choose another folder."
        )
    return plan


def fingerprint(scorer: Scorer) -> str:
    """A hash of all that verdicts depend on: both trainings, configuration, recognition, limits."""
    checkpoint = scorer.checkpoint
    digest = hashlib.sha256(json.dumps([
        scorer.detector_key, scorer.calibrator.detector_key, scorer.class_names,
        scorer.config.to_dict(), checkpoint.recogniser.counts,
    ]).encode())
    tensors = [checkpoint.recogniser.tensors(), *checkpoint.cross_fitted.values()]
    for name, tensor in (item for group in tensors for item in sorted(group.items())):
        digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    for name, images in sorted(checkpoint.calibration.items()):
        digest.update(name.encode() + b"".join(image.tobytes() for image in images))
    return digest.hexdigest()[:16]


def held_lock(path: Path, timeout: float = -1) -> AcquireReturnProxy[FileLock]:
    """A lock, held until its block ends, that the system itself opens when its holder dies.

    Args:
        path: a file of its own; missing folders are made.
        timeout: seconds to wait for another holder, for ever if negative.

    Raises:
        Timeout: another one holds it.
        DatasetError: no lock can be had there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(path, fallback_to_soft=False).acquire(timeout)
    except Timeout:
        raise
    except (OSError, NotImplementedError) as error:
        raise DatasetError(
            f"{path} cannot be locked ({error}). Choose a folder that you may write to, on a file "
            "system that has locks (flock)."
        ) from error


def write_table(
    path: Path, columns: Mapping[str, Iterable[Any]], types: Mapping[str, str], group: int
) -> None:
    """Write a Parquet file, whole or not at all.

    Args:
        path: where.
        columns: name -> values, None where there is none.
        types: name -> Arrow's name of the column's type.
        group: rows of a row group.

    Raises:
        DatasetError: it cannot be written.
    """
    import pyarrow as pa
    from pyarrow import parquet

    schema = pa.schema([(name, pa.type_for_alias(alias)) for name, alias in types.items()])
    try:
        with atomic_path(path, durable=True) as unfinished:
            parquet.write_table(pa.table(columns, schema), unfinished, row_group_size=group)
    except OSError as error:
        raise DatasetError(
            f"{path} cannot be written ({error.strerror or error}). What was done before is kept: "
            "once it can be written, the same command goes on."
        ) from error


def _write_plan(
    folder: Path, files: list[str], model: dict[str, Any], settings: dict[str, Any], shard_size: int
) -> None:
    if any(folder.glob("part-*.parquet")):
        raise DatasetError(
            f"{folder} holds parts without a {PLAN_FILE}, so nobody knows of what. Choose another "
            "folder."
        )
    listed = {"count": len(files), "signature": signature(files)}
    inputs = locate(files)
    if not inputs:
        raise DatasetError("There is no image in what was given. Check the paths and suffixes.")
    columns = dict(zip(INPUT_TYPES, zip(*inputs, strict=True), strict=True))
    write_table(folder / INPUTS_FILE, columns, INPUT_TYPES, shard_size)
    facts = asdict(Plan(folder, model, settings, listed, len(inputs), shard_size))
    del facts["folder"]
    with atomic_path(folder / PLAN_FILE, durable=True) as unfinished:
        unfinished.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _complete(
    scorer: Scorer, class_name: str | None = None, normal_prompt: str | None = None,
    abnormal_prompt: str | None = None, lam: float | None = None, tau: float | None = None,
    false_alarm_rate: float = FALSE_ALARM_RATE,
) -> dict[str, Any]:
    """The settings as arguments of `Scorer.score_batch`, checked, the model's own among them."""
    used = scorer.score_settings(normal_prompt, abnormal_prompt, lam, tau)
    settings: dict[str, Any] = {
        "class_name": class_name, "normal_prompt": used.normal_prompt,
        "abnormal_prompt": used.abnormal_prompt, "lam": used.lam, "tau": used.tau,
        "false_alarm_rate": false_alarm_rate,
    }
    scorer.score_batch([], **settings)  # says what is wrong with them
    return settings


def _differences(
    plan: Plan, model: dict[str, Any], settings: dict[str, Any], shard_size: int
) -> list[str]:
    """What is not as planned, in words, but for the inputs."""
    pairs = {name: (plan.settings.get(name), value) for name, value in settings.items()}
    pairs["shard size"] = (plan.shard_size, shard_size)
    pairs["version of the image reader"] = (plan.reading, READING)
    differences = [f"the {name.replace('_', ' ')} was {before!r} and is {now!r}"
                   for name, (before, now) in pairs.items() if before != now]
    if plan.model["fingerprint"] != model["fingerprint"]:
        before, now = ("{name} ({fingerprint})".format(**one) for one in (plan.model, model))
        differences.insert(0, f"the model was {before} and is {now}")
    return differences


def _other_files(plan: Plan, files: list[str]) -> str:
    """Which inputs are not as planned, in words."""
    from pyarrow import parquet

    with parquet.ParquetFile(plan.folder / INPUTS_FILE) as file:
        rows = file.read(["archive", "path"]).to_pylist()
    planned = {row["archive"] or row["path"] for row in rows}
    sides = {"new": set(files) - planned, "gone": planned - set(files)}
    changes = [f"{len(some)} {what}, such as {min(some)}" for what, some in sides.items() if some]
    return f"of the inputs, {' and '.join(changes) or 'a tar was written again'}"
