"""Two processes of the app behind one proxy; without nginx only its configuration is looked at."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from ltad.bench.proxy import configuration, encoded_rows, main

NGINX = shutil.which("nginx") or Path("/usr/sbin/nginx").exists()


def test_the_configuration_names_each_process_and_streams(capsys):
    assert main(["--print", "7860", "7861"]) == 0
    told = capsys.readouterr().out
    assert told == configuration([7860, 7861], "80")
    for line in ("server 127.0.0.1:7860", "server 127.0.0.1:7861", "listen 80;",
                 "proxy_buffering off;", "hash $ltad_visitor"):
        assert line in told


def test_a_row_that_was_written_again_is_told_from_one_that_stayed(tmp_path):
    with sqlite3.connect(tmp_path / "cache.db") as rows:
        rows.execute("CREATE TABLE Cache (key, store_time)")
        rows.executemany("INSERT INTO Cache VALUES (?, ?)", [("features-a", 1.0), ("words", 1.0)])
    assert encoded_rows(tmp_path) == {"features-a": 1.0}


@pytest.mark.slow
@pytest.mark.skipif(not NGINX, reason="there is no nginx here")
def test_two_processes_behind_a_proxy_are_one_page(tiny_model_folder, capsys):
    status = main(["--model", str(tiny_model_folder), "--visitors", "4", "--seconds", "4"])
    told = capsys.readouterr().out
    assert status == 0 and told.count("yes") == 7, told
