"""Several processes of the app behind one proxy: ``python -m ltad.bench.proxy --processes 2``.

Writes a configuration of nginx, starts the processes on one work folder and one cache and nginx
before them, and lets visitors come through it. Checks that every answer is the scorer's own, that
each visitor stays with one process, that an image which one process has encoded is not encoded by
another, and that a decision made through one is seen through the other. Prints what it found.

``--print PORT PORT`` prints the configuration alone, for processes that listen there.

Gradio keeps a visit in the process that began it: the queue, its answers and what a visitor showed
it. So the proxy has to send each visitor to one process. It does so by a cookie that comes with the
page; browsers and ``gradio_client`` send it back, and whoever sends none is recognised by the
address.
"""

from __future__ import annotations

import argparse
import grp
import itertools
import os
import pwd
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import httpx

from ltad.bench.clients import is_scored
from ltad.bench.served import (
    END_SECONDS,
    App,
    Conversation,
    free_port,
    image_file,
    model_settings,
    strangers,
)
from ltad.bench.visitors import PROMPTS, measure
from ltad.inference.registry import load_scorer
from ltad.inference.scorer import FALSE_ALARM_RATE, Scorer
from ltad.types import LTADError

SERVED_BY = "X-Served-By"
CONFIGURATION = """\
# For the http block of nginx, for example /etc/nginx/conf.d/ltad.conf
map $cookie_ltad_process $ltad_visitor {{ "" $remote_addr; default $cookie_ltad_process; }}
map "$uri $cookie_ltad_process" $ltad_cookie {{  # with the page, whose process does not matter
    ~^/(config)?\\x20$ "ltad_process=$request_id; Path=/; HttpOnly; SameSite=Lax"; default "";
}}
upstream ltad {{
    hash $ltad_visitor consistent;  # each visitor's queue and memory are in one process
{servers}
}}
server {{
    listen {listen};
    client_max_body_size 1g;
    location / {{
        proxy_pass http://ltad;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Request-ID $request_id;
        proxy_buffering off;  # answers come as a stream of events
        proxy_read_timeout 1h;
        add_header Set-Cookie $ltad_cookie;
        add_header {served_by} $upstream_addr always;
    }}
}}
"""
ALONE = """\
daemon off;
user {user} {group};
pid {folder}/nginx.pid;
error_log stderr warn;
worker_processes 1;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{inner}
}}
"""
"""A whole configuration, so that nginx needs no rights and touches no other folder."""


def configuration(ports: Sequence[int], listen: str) -> str:
    """What nginx has to know to stand before processes of the app.

    Args:
        ports: of this machine, at which they listen.
        listen: where nginx does, as in its directive ``listen``.
    """
    servers = "\n".join(f"    server 127.0.0.1:{port} max_fails=1 fail_timeout=5s;"
                        for port in ports)
    return CONFIGURATION.format(servers=servers, listen=listen, served_by=SERVED_BY)


@contextmanager
def proxied(ports: Sequence[int], folder: Path) -> Generator[str]:
    """nginx before processes of the app: its address, until the block ends.

    Raises:
        LTADError: there is no nginx, or it does not start.
    """
    program = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if program is None:
        raise LTADError("There is no nginx here. Install it (apt-get install nginx).")
    port = free_port()
    path, url = folder / "nginx.conf", f"http://127.0.0.1:{port}"
    inner = configuration(ports, f"127.0.0.1:{port}")
    user, group = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
    path.write_text(ALONE.format(folder=folder, inner=inner, user=user, group=group), "utf-8")
    command = [program, "-e", "stderr", "-p", str(folder), "-c", str(path)]
    with (folder / "nginx.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        while not _is_up(url):
            if process.poll() is not None:
                raise LTADError(f"nginx did not start: {(folder / 'nginx.log').read_text()[-500:]}")
            time.sleep(0.05)
        yield url
    finally:
        process.send_signal(signal.SIGQUIT)  # in order: answers on their way are finished
        process.wait(END_SECONDS)


def _is_up(url: str) -> bool:
    try:
        httpx.get(f"{url}/health", timeout=5)
    except httpx.HTTPError:
        return False
    return True


@contextmanager
def apps(model: str, count: int, folder: Path) -> Generator[list[App]]:
    """Processes of the app on one work folder, one cache and one folder of uploads."""
    with ExitStack() as stack:
        started = []
        for number in range(count):
            app = App(model, folder / f"app {number}", work=folder / "work",
                      cache=folder / "cache", temporary=folder / "temporary")
            stack.callback(app.stop)
            app.start()
            started.append(app)
        yield started


def encoded_rows(cache: Path) -> dict[str, float]:
    """Key of each row of a cache -> when it was written, in seconds since 1970.

    Whoever encodes an image writes its row, so a row that stays was not encoded anew.
    """
    with closing(sqlite3.connect(f"file:{cache / 'cache.db'}?mode=ro", uri=True)) as rows:
        return dict(rows.execute("SELECT key, store_time FROM Cache WHERE key LIKE 'features-%'"))


def is_shared(first: App, second: App, settings: list[Any], number: int) -> bool:
    """Whether an image that one process encoded is not encoded anew by another one."""
    before = encoded_rows(first.cache)
    scores, rows = [], []
    for app in (first, second):
        talk = Conversation(app.url)
        scores.append(talk.score(talk.upload(image_file(number)), PROMPTS[0], settings))
        rows.append(encoded_rows(first.cache))
    return len(rows[0]) == len(before) + 1 and rows[0] == rows[1] and scores[0] == scores[1]


def is_seen_by_both(first: App, second: App, number: int) -> bool:
    """Whether a batch and decisions that are made through either process are seen through both."""
    ann, bo = Conversation(first.url), Conversation(second.url)
    file = ann.upload(image_file(number))
    batch = ann.ask("desk_create_batch", [file], ["a.jpg"], "", "shift", "Ann", "", None)
    number_of_batch = batch["batch"]["id"]
    if not is_scored(bo, number_of_batch):
        return False
    item = bo.ask("desk_items", number_of_batch, "")["items"][0]["id"]
    made = [talk.ask("desk_decide", item, verdict, person, None, None, "", revision)["decision"]
            for talk, verdict, person, revision in (
                (ann, "good", "Ann", 0), (bo, "defective", "Bo", 1))]
    late = ann.ask("desk_decide", item, "good", "Ann", None, None, "", 1)  # Bo was faster
    seen = [talk.ask("desk_history", item) for talk in (ann, bo)]
    return seen[0] == seen[1] == made and late.get("conflict") == made[1]


def processes_of(url: str, visitors: int, requests: int = 6) -> list[set[str]]:
    """The processes that answered each visitor who keeps cookies."""
    found = []
    for _ in range(visitors):
        with httpx.Client(timeout=30) as browser:
            browser.get(f"{url}/config")  # brings the cookie; the next ones follow it
            found.append({browser.get(f"{url}/health").headers[SERVED_BY]
                          for _ in range(requests)})
    return found


def goes_on(url: str, ended: App) -> bool:
    """Whether everybody is answered while one process is down, and again when it is back."""
    ended.kill()
    try:
        answers = [httpx.get(f"{url}/health", cookies={"ltad_process": str(n)}, timeout=30)
                   for n in range(20)]
    finally:
        ended.start()
    return all(answer.is_success for answer in answers)


def check(url: str, started: list[App], scorer: Scorer, options: argparse.Namespace) -> list[str]:
    """Do the checks of the module and print each; returns those that failed."""
    settings = model_settings(scorer, FALSE_ALARM_RATE)
    seen = measure(url, settings, options.visitors, options.seconds, itertools.count())
    homes = processes_of(url, 16)
    wrong = strangers(scorer, seen.answers)
    numbers = itertools.count(1_000_000)
    results = {
        f"{len(seen.answers)} answers in {options.seconds:.0f} s, none failed": not seen.failures,
        f"{min(len(seen.answers), 200)} compared, each is its image's": seen.answers and not wrong,
        "each visitor stays with one process": all(len(home) == 1 for home in homes),
        "the visitors are spread over all": len(set().union(*homes)) == len(started),
        "what one has encoded the next does not encode anew": all(
            is_shared(*pair, settings, next(numbers)) for pair in itertools.permutations(started, 2)
        ),
        "decisions through either are seen through both": all(
            is_seen_by_both(*pair, next(numbers)) for pair in itertools.permutations(started, 2)
        ),
        "everybody is answered while one is down": goes_on(url, started[-1]),
    }
    for what, is_so in results.items():
        print(f"{'yes' if is_so else 'NO ':3}  {what}", flush=True)
    for failure in sorted(set(seen.failures))[:5]:
        print(failure)
    return [what for what, is_so in results.items() if not is_so]


def main(arguments: list[str] | None = None) -> int:
    """Check, or print the configuration. Returns 1 where a check failed."""
    parser = argparse.ArgumentParser(
        prog="python -m ltad.bench.proxy", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--processes", type=int, default=2, help="of the app")
    parser.add_argument("--visitors", type=int, default=8, help="at once")
    parser.add_argument("--seconds", type=float, default=20.0, help="that they come")
    parser.add_argument("--model", default="assets/demo", help="folder of a trained model")
    parser.add_argument("--print", type=int, nargs="+", metavar="PORT", dest="ports",
                        help="print the configuration for these ports and do nothing else")
    options = parser.parse_args(arguments)
    if options.ports:
        print(configuration(options.ports, "80"), end="")
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scorer = load_scorer(options.model, cache=folder / "own")
        with (apps(options.model, options.processes, folder) as started,
              proxied([app.port for app in started], folder) as url):
            return int(bool(check(url, started, scorer, options)))


if __name__ == "__main__":
    raise SystemExit(main())
