"""Endurance under load, with faults: ``python -m ltad.bench.endurance --minutes 60 --clients 20``.

Starts two processes of ``app.py`` on one cache, the inspectors' and a public one, and lets clients
of mixed kinds use both at once: images and edited prompts, batches with decisions and masks,
exports, trainings. Meanwhile both processes and a training are killed, the disk is full, files of
the cache are damaged and the database is locked, at times that follow from the seed. Afterwards
every acknowledged decision is looked for, and scores are compared with the scorer's own.

The full disk is a file system of its own, mounted in a namespace of its own (``unshare``), which
needs no rights; where that cannot be, this one fault is left out and said so.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx

from ltad.bench.clients import Client, Diary, Exporter, Numbers, Reviewer, Trainer, Visitor
from ltad.bench.faults import Ground, end_trainings, mounted, plan, strike_all
from ltad.bench.findings import (
    Lasting,
    Sample,
    figures,
    is_sound,
    lost_decisions,
    plot,
    unscored_batches,
)
from ltad.bench.served import (
    App,
    Refused,
    megabytes,
    model_settings,
    open_handles,
    strangers,
    wait_for_idle,
)
from ltad.inference.registry import load_scorer
from ltad.inference.scorer import FALSE_ALARM_RATE

NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount")
IN_NAMESPACE = "LTAD_ENDURANCE_MAY_MOUNT"
DISK_BYTES = 8 * 1024**3
"""At most; it takes the memory of what is written only."""
ALWAYS = ("trainer", "private reviewer", "public visitor", "exporter", "public reviewer",
          "private visitor")
MORE = ("public visitor", "private reviewer", "public visitor", "private visitor")
"""Kinds of clients: the first few, and those that come in turn after them."""
LEAST_AFTERWARDS = 5.0
"""Seconds of load after the last fault."""
MOST_COMPARED = 300
SETTLE_SECONDS = 300.0
"""So long the app has at the end to score what was brought."""


@dataclass
class Monitor:
    """Looks at processes from outside at regular intervals, in a thread of its own."""

    apps: dict[str, App]
    every: float
    samples: dict[str, list[Sample]] = field(default_factory=dict)

    def watch(self, is_over: threading.Event) -> None:
        """Until it is over."""
        while not is_over.wait(self.every):
            for name, app in self.apps.items():
                try:
                    seen = Sample(time.time(), app.running.pid, megabytes(app.running),
                                  open_handles(app.running))
                except (OSError, ValueError):  # it was killed a moment ago
                    continue
                self.samples.setdefault(name, []).append(seen)


def make_clients(
    count: int, ground: Ground, diary: Diary, settings: list[Any]
) -> list[tuple[str, Client]]:
    """So many clients of all kinds, by name."""
    numbers, clients = Numbers(), []
    for place in range(count):
        kind = ALWAYS[place] if place < len(ALWAYS) else MORE[place % len(MORE)]
        app = ground.public if kind.startswith("public") else ground.private
        name = f"{kind.split()[-1]} {place}"
        makers: dict[str, Callable[[], Client]] = {
            "trainer": lambda app=app, name=name: Trainer(app, name, diary, numbers),
            "exporter": lambda app=app, name=name: Exporter(app, name, diary),
            "reviewer": lambda app=app, name=name: Reviewer(app, name, diary, numbers),
            "visitor": lambda app=app, name=name: Visitor(app, name, diary, numbers, settings),
        }
        clients.append((name, makers[kind.split()[-1]]()))
    return clients


def use(name: str, client: Client, diary: Diary) -> None:
    """One client's rounds until it is over; what goes wrong in one is noted by its conversation."""
    dice = random.Random(name)
    while not diary.is_over.is_set():
        try:
            client.round()
        except (Refused, httpx.HTTPError):
            diary.is_over.wait(0.5)
        except Exception as error:  # an answer that no client expects
            diary.findings.append(f"{name.split()[0]}: {type(error).__name__}: {error}"[:200])
        diary.is_over.wait(dice.expovariate(1 / client.pause))


def endure(ground: Ground, options: argparse.Namespace, settings: list[Any]) -> Lasting:
    """Start both processes, and let the clients use them until the faults and the time are over.

    Returns:
        What was noted; the losses are not looked for yet.
    """
    apps = {"private": ground.private, "public": ground.public}
    for app in apps.values():
        app.start()
    for app in apps.values():
        wait_for_idle(app.running)
    seconds = 60 * options.minutes
    diary, struck, is_over = Diary(), [], threading.Event()
    monitor, began = Monitor(apps, every=max(0.5, seconds / 1200)), time.time()
    end = time.monotonic() + seconds
    threads = [threading.Thread(target=use, args=(name, client, diary))
               for name, client in make_clients(options.clients, ground, diary, settings)]
    watching = threading.Thread(target=monitor.watch, args=(is_over,))
    for thread in (watching, *threads):
        thread.start()
    try:
        strike_all(plan(seconds, options.seed), ground, options.seed, struck)
        time.sleep(max(LEAST_AFTERWARDS, end - time.monotonic()))
    finally:
        diary.is_over.set()
        for thread in threads:
            thread.join()
        ended = time.time()
        is_over.set()
        watching.join()
    return Lasting(began, ended, diary, struck, monitor.samples)


def settle(lasting: Lasting) -> None:
    """Wait until what was brought is scored, and note what is not, or is not there any more."""
    end, rest = time.monotonic() + SETTLE_SECONDS, unscored_batches(lasting.diary.batches)
    while rest and time.monotonic() < end:
        for batch in rest:
            with suppress(Refused, httpx.HTTPError):
                batch.poll()
        time.sleep(1.0)
        rest = unscored_batches(rest)
    lasting.unscored = [f"batch {batch.id} of {batch.database}" for batch in rest]
    lasting.lost = lost_decisions(lasting.diary.decisions)


def measure(options: argparse.Namespace, folder: Path, can_mount: bool) -> Lasting:
    """The whole measurement in an empty folder."""
    disk = folder / "disk"
    disk.mkdir()
    scorer = load_scorer(options.model, cache=folder / "own")
    with mounted(disk, DISK_BYTES) if can_mount else nullcontext():
        private, public = (
            App(options.model, folder / name, name == "public", disk / name, disk / "cache",
                disk / f"{name} temporary", ("--log", str(disk / f"{name}.log")))
            for name in ("private", "public")
        )
        ground = Ground(private, public, disk if can_mount else None, DISK_BYTES)
        try:
            lasting = endure(ground, options, model_settings(scorer, FALSE_ALARM_RATE))
            settle(lasting)
        finally:
            for app in (private, public):
                app.stop()
            end_trainings(private.work)  # they outlive the app
    lasting.raised = [line for log in sorted(folder.glob("*/log")) for line in raised(log)]
    lasting.compared = min(MOST_COMPARED, len(lasting.diary.scores))
    lasting.wrong = strangers(scorer, lasting.diary.scores, MOST_COMPARED)
    return lasting


def raised(log: Path) -> list[str]:
    """The last line of each traceback that a process left in its log."""
    lines = log.read_text(errors="replace").splitlines()
    return [f"{log.parent.name}: {line[:200]}" for before, line in pairwise(lines)
            if before.startswith("    ") and line[:1].isalpha()]


def tell(found: dict[str, Any]) -> None:
    """Print the findings."""
    print(f"{found['answers']:,} answers in {found['minutes']} minutes, "
          f"{found['answers_a_second']} a second; {found['http_5xx']} of HTTP 5xx")
    print(f"{found['decisions']:,} acknowledged decisions, {len(found['decisions_lost'])} lost; "
          f"{found['batches']:,} batches, {len(found['batches_unscored'])} not scored")
    print(f"{found['scores_of_another_image']} of {found['scores_compared']} scores compared are "
          f"another image's; {found['scores_changed']} of {found['scores_asked_again']} that were "
          "asked again changed")
    print(f"trainings {found['trainings']}, exports {found['exports']}")
    print(f"{'ms, without fault':>24} {'count':>7} {'p50':>7} {'p95':>7}")
    for name, waits in found["waits_ms_without_fault"].items():
        print(f"{name:>24} {waits['count']:7} {waits['p50']:7} {waits['p95']:7}")
    for what, unit in (("megabytes", "MB"), ("handles", "handles")):
        for name, grown in found[what].items():
            print(f"{name} app: " + ("too short to tell" if grown is None else (
                f"{grown['an_hour']:+.1f} {unit} an hour [{grown['low']:.1f}, {grown['high']:.1f}],"
                f" from {grown['first']:.0f} to {grown['last']:.0f} in {grown['minutes']:.0f} min"
            )))
    for title in ("errors", "errors_unclear", "errors_without_fault", "findings", "logged"):
        print(f"{title}: {sum(found[title].values())}")
        for text, count in found[title].items():
            print(f"{count:8} {text}")


def main(arguments: list[str] | None = None) -> int:
    """Measure, print and write. Returns 1 where something was found that must not be."""
    parser = argparse.ArgumentParser(prog="python -m ltad.bench.endurance", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="of load")
    parser.add_argument("--clients", type=int, default=20, help="at once")
    parser.add_argument("--model", default="assets/demo", help="folder of a trained model")
    parser.add_argument("--seed", type=int, default=0, help="of the faults")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the findings here")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write a page with a plot here")
    options = parser.parse_args(arguments)
    can_mount = os.environ.get(IN_NAMESPACE) == "1"
    if not can_mount and _may_mount():
        words = sys.argv[1:] if arguments is None else arguments
        command = [*NAMESPACE, sys.executable, "-m", "ltad.bench.endurance", *words]
        os.execvpe(command[0], command, {**os.environ, IN_NAMESPACE: "1"})
    with tempfile.TemporaryDirectory() as folder:
        lasting = measure(options, Path(folder), can_mount)
    found = figures(lasting)
    tell(found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if options.plot:
        plot(lasting).write_html(options.plot)
    return int(not is_sound(found))


def _may_mount() -> bool:
    """Whether a file system can be mounted in a namespace of one's own."""
    try:
        subprocess.run([*NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], check=True,
                       capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


if __name__ == "__main__":
    raise SystemExit(main())
