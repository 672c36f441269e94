"""What a rebuilding of the code must not change: ``python tests/golden.py [--write]``.

Rendered parts, detections on the examples, one export of each kind, the endpoints of the page and
the texts of the commands, each by its SHA-256 in `golden.json`. Figures in the last digit depend on
the processor, so the file holds for one machine: write it before a change, compare after it.
`test_golden.py` holds on every machine what does not depend on it.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import re
import sys
import tempfile
import zipfile
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
import typer
from desk_for_tests import Desk
from PIL import Image

from ltad import load_scorer
from ltad.app.page import build_app
from ltad.cli.main import app
from ltad.review.coco import write_coco
from ltad.review.export import csv_text, write_archive
from ltad.review.report import write_report
from ltad.synthetic.classes import PART_CLASSES, applicable_defects
from ltad.synthetic.render import render_part
from ltad.workspace import Workspace

FILE = Path(__file__).with_name("golden.json")
EXAMPLES = Path(__file__).parents[1] / "assets" / "examples"
MODEL = Path(__file__).parents[1] / "assets" / "demo"
CHANGING = (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?([+-]\d\d:\d\d|Z)?",
            r"\d\d? \w+ \d{4}, \d\d:\d\d", r"\b[0-9a-f]{12,64}\b", r"\d+\.\d+e?-?\d*")
"""Times, identifiers, and figures, whose digits the detections hold already."""


def parts() -> dict[str, str]:
    """Four rendered parts of each class: one good, three with a defect."""
    found = {}
    for name in PART_CLASSES:
        defects = [None, *applicable_defects(name)][:4]
        for seed, defect in enumerate(defects):
            part = render_part(name, seed, 96, defect)
            found[f"{name} {defect}"] = _hash(part.image.tobytes() + part.mask.tobytes())
    return found


def detections(scorer: Any) -> dict[str, dict[str, Any]]:
    """Verdict, class and maps of every example."""
    found = {}
    for path in sorted(EXAMPLES.glob("*.png")) + sorted(EXAMPLES.glob("*.jpg")):
        d = scorer.score(path)
        found[path.name] = {
            "verdict": d.verdict, "class": d.class_name, "score": round(float(d.score), 3),
            "exact": _hash(np.float64([d.score, d.threshold]).tobytes() + b"".join(
                np.ascontiguousarray(m).tobytes()
                for m in (d.anomaly_map, d.reconstruction_map, d.semantic_map))),
        }
    return found


def exports(scorer: Any) -> dict[str, str]:
    """One export of each kind of a reviewed batch, without its times, identifiers and figures."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        out = Path(folder)
        files = [out / f"{name}.png" for name in PART_CLASSES[:8]]
        for seed, file in enumerate(files):
            Image.fromarray(render_part(file.stem, seed, 96).image).save(file)
        desk = Desk(out / "desk", scorer, files)
        desk.review()
        write_coco(out / "coco.json", *desk.stores, scorer)
        write_report(out / "report.html", *desk.stores, scorer)
        write_archive(out / "all.zip", *desk.stores, desk.registry)
        with zipfile.ZipFile(out / "all.zip") as archive:
            names = "\n".join(sorted(archive.namelist()))
        return {
            "coco": _hash(_steady((out / "coco.json").read_text())),
            "csv": _hash(_steady(csv_text(desk.items))),
            "report": _hash(_steady((out / "report.html").read_text())),
            "zip": _hash(names.encode()),
        }


def endpoints(scorer: Any) -> dict[str, list[str]]:
    """Every named endpoint of the page with its parameters."""
    with tempfile.TemporaryDirectory() as folder:
        app = build_app(scorer, workspace=Workspace(Path(folder)))
        named = app.get_api_info()["named_endpoints"]
    return {name: [p["parameter_name"] for p in one["parameters"]] for name, one in named.items()}


def commands() -> dict[str, list[str]]:
    """Every command with its options."""
    return _options(typer.main.get_command(app), None)


def _options(command: Any, parent: Any) -> dict[str, list[str]]:
    context = command.make_context(command.name, [], parent, resilient_parsing=True)
    found = {} if parent is None else {context.command_path.strip(): sorted(
        option for one in command.get_params(context) for option in one.opts)}
    for below in getattr(command, "commands", {}).values():
        found |= _options(below, context)
    return found


def everything() -> dict[str, Any]:
    """All of it, on one thread, whose sums have one order."""
    torch.set_num_threads(1)
    scorer = load_scorer(MODEL)
    return {"parts": parts(), "detections": detections(scorer), "exports": exports(scorer),
            "endpoints": endpoints(scorer), "commands": commands()}


def _steady(text: str) -> bytes:
    for pattern in CHANGING:
        text = re.sub(pattern, "#", text)
    return text.encode()


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def main() -> int:
    """Write or compare; returns 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="keep what is found")
    write = parser.parse_args().write
    with redirect_stdout(io.StringIO()):
        found = everything()
    if write:
        FILE.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        return 0
    known, differs = json.loads(FILE.read_text(encoding="utf-8")), 0
    for kind in found:
        for name in sorted(found[kind].keys() | known[kind].keys()):
            if found[kind].get(name) != known[kind].get(name):
                print(f"{kind}: {name}: {known[kind].get(name)} -> {found[kind].get(name)}")
                differs += 1
    print(f"{sum(map(len, found.values()))} compared, {differs} differ")
    return int(differs > 0)


if __name__ == "__main__":
    sys.exit(main())
