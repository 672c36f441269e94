"""No acknowledged decision is lost: by a kill (must show 2), or in a copy of the backup."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ltad.review import storage
from ltad.review.database import Database
from ltad.review.records import NewItem

KILLS = 50
DECISIONS = 200
CLIENTS = 2
LATEST_KILL = 30
"""Acknowledged decisions at the kill, at most; so that all kills together take seconds."""

# One process imports the database once and forks a server for each path that it reads.
SERVERS = """
import json, os, socketserver, sys, threading
from ltad.review import storage
from ltad.review.database import Database

class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            decision = self.server.database.decide(**json.loads(line))
            self.wfile.write(json.dumps([decision.id, decision.revision]).encode() + b"\\n")

class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

assert "torch" not in sys.modules
for line in sys.stdin:
    process = os.fork()
    if process == 0:
        with Server(("127.0.0.1", 0), Handler) as server:
            server.database = Database(line.strip())
            print(os.getpid(), server.server_address[1], flush=True)
            server.serve_forever()
    os.waitpid(process, 0)
"""


@pytest.fixture
def servers():
    with subprocess.Popen(
        [sys.executable, "-c", SERVERS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    ) as process:
        yield process
        process.stdin.close()


def _client(port: int, person: str, items: list[int], acknowledged: list, is_time: threading.Event,
            kill_at: int) -> None:
    """Send decisions one after another; note each only when the server has acknowledged it."""
    try:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            answers = connection.makefile("r")
            for item_id in items:
                request = {"item_id": item_id, "verdict": "good", "person": person, "note": person}
                connection.sendall(json.dumps(request).encode() + b"\n")
                answer = answers.readline()
                if not answer.endswith("\n"):
                    return
                acknowledged.append((item_id, person, *json.loads(answer)))
                if len(acknowledged) >= kill_at:
                    is_time.set()
    except OSError:
        return


def _decide_until_killed(servers, path: Path, items: list[int], kill_at: int) -> list[tuple]:
    servers.stdin.write(f"{path}\n")
    servers.stdin.flush()
    process, port = map(int, servers.stdout.readline().split())
    acknowledged, is_time = [], threading.Event()
    clients = [
        threading.Thread(target=_client, args=(
            port, f"person {number}", items[number::CLIENTS], acknowledged, is_time, kill_at,
        ))
        for number in range(CLIENTS)
    ]
    for client in clients:
        client.start()
    assert is_time.wait(60)
    os.kill(process, signal.SIGKILL)
    for client in clients:
        client.join(60)
        assert not client.is_alive()
    return acknowledged


def test_fifty_kills_lose_no_acknowledged_decision(servers, tmp_path: Path, capsys):
    path = tmp_path / "desk.sqlite"
    first = Database(path)
    batch = first.create_batch("shift", "anna", "demo", {})
    items = first.add_items(batch.id, [NewItem(f"{n}.png", "") for n in range(DECISIONS)])
    first.close()
    choose, total, lost = random.Random(0), 0, 0
    for _ in range(KILLS):
        acknowledged = _decide_until_killed(
            servers, path, items, choose.randint(1, LATEST_KILL)
        )
        assert len(acknowledged) < DECISIONS, "the server was to be killed before the end"
        database = Database(path)
        found = {
            (item, person, number, revision)
            for item, person, number, revision in database._rows(
                "SELECT item_id, person, id, revision FROM decisions WHERE note = person"
            )
        }
        lost += len(set(acknowledged) - found)
        total += len(acknowledged)
        for item_id, _, _, revision in acknowledged:
            assert database.item(item_id).revision >= revision
        assert database._rows("PRAGMA integrity_check") == [("ok",)]
        database.close()
    with capsys.disabled():
        print(f"\n{KILLS} kills, {total} acknowledged decisions of {CLIENTS} clients, {lost} lost")
    assert lost == 0
    assert total >= KILLS


def test_every_copy_of_the_backup_is_whole_while_people_decide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(storage, "BACKUP_SECONDS", 0.02)
    monkeypatch.setattr(storage, "BACKUP_SHARE", 0.5)
    database = Database(tmp_path / "desk.sqlite")
    batch = database.create_batch("shift", "anna", "demo", {})
    ids = database.add_items(batch.id, [NewItem(f"{n}.png", "") for n in range(20)])
    is_over = threading.Event()

    def decide(person: str) -> None:
        while not is_over.is_set():
            database.decide(random.choice(ids), "good", person)

    people = [threading.Thread(target=decide, args=(name,)) for name in ("anna", "bob")]
    for person in people:
        person.start()
    found = []
    while len(set(found)) < 4:
        if database.backup_path.exists():
            copy = tmp_path / f"copy{len(found)}.sqlite"
            shutil.copyfile(database.backup_path, copy)
            restored = Database(copy)
            assert restored._rows("PRAGMA integrity_check") == [("ok",)]
            found.append(restored._rows("SELECT COUNT(*) FROM decisions")[0][0])
    is_over.set()
    for person in people:
        person.join()
    assert found == sorted(found)
    known = database._rows("SELECT * FROM decisions ORDER BY id")
    target = database.backup(tmp_path / "mine" / "backup.sqlite")
    assert Database(target)._rows("SELECT * FROM decisions ORDER BY id") == known
    # The main file alone, without its -wal, is complete as well while nobody writes.
    alone = tmp_path / "alone" / "desk.sqlite"
    alone.parent.mkdir()
    shutil.copyfile(database.path, alone)
    assert Database(alone)._rows("SELECT * FROM decisions ORDER BY id") == known
