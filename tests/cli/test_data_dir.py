"""Straight on a data directory: its lock is taken, the same app answers, the lock is given back."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lakehouse.local_socket import operator_path
from tests.cli.conftest import Shell
from tests.services import ServerProcess, answers, environment, lakehouse_server

PEOPLE = "name,city,score\nAda,Lyon,95\nBo,Oslo,88\n"


@pytest.mark.slow
@pytest.mark.skipif("LAKEHOUSE_TEST_LONG" not in os.environ, reason="several seconds")
def test_a_directory_is_made_loaded_read_and_given_back_without_a_server(alone: Shell) -> None:
    alone.write("people.csv", PEOPLE)

    done = alone.ok("ingest", "--data", "lake", "people.csv")
    assert "2 rows" in done.stdout
    rows = alone.ok("sql", "--data", "lake", "FROM people ORDER BY name", "--json").json()["rows"]

    assert rows == [["Ada", "Lyon", 95], ["Bo", "Oslo", 88]]
    assert done.stderr == ""
    assert (alone.folder / "lake").stat().st_mode & 0o777 == 0o700

    slow = "SELECT count(*) FROM people a, range(100000) b, range(100000) c"
    command = [sys.executable, "-m", "lakehouse", "sql", "--data", "lake", slow]
    with subprocess.Popen(
        command, cwd=alone.folder, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        wait_until_it_works(alone.folder / "lake" / "lock")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)

    assert process.returncode == 130
    assert said == "interrupted\n"
    assert (alone.folder / "lake" / "lock").read_bytes() == b""


def test_reading_a_directory_that_is_not_there_makes_none(alone: Shell) -> None:
    done = alone.run("tables", "--data", "nowhere")

    assert done.code == 3
    assert "nowhere" in done.stderr
    assert list(alone.folder.iterdir()) == []


def test_a_served_directory_is_asked_by_its_server(alone: Shell, served: ServerProcess) -> None:
    alone.write("by_its_server.csv", "id\n1\n")
    alone.ok("ingest", "by_its_server.csv", "--data", served.data_dir)

    assert alone.ok("sql", "SELECT id FROM by_its_server", "--url", served.url, "--json").json()[
        "rows"
    ]


@pytest.mark.slow
@pytest.mark.skipif("LAKEHOUSE_TEST_LONG" not in os.environ, reason="several seconds")
def test_a_held_directory_without_a_socket_names_its_owner_and_where_to_ask(
    alone: Shell, tmp_path: Path
) -> None:
    with lakehouse_server(tmp_path / "data") as served:
        operator_path(served.data_dir).unlink()
        done = alone.run("tables", "--data", served.data_dir)

    assert done.code == 6
    assert f"in use by PID {served.pid}" in done.stderr
    assert f"--url {served.url}" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_option_goes_before_the_variable_that_names_a_server(alone: Shell) -> None:
    done = alone.run("tables", "--data", "nowhere", LAKEHOUSE_URL="http://127.0.0.1:9")

    assert done.code == 3


def wait_until_it_works(lock: Path) -> None:
    """Return when the process that holds the directory serves, and its statement is on its way."""
    deadline = time.monotonic() + 30
    while not (lock.read_bytes() and answers(f"{json.loads(lock.read_bytes())['address']}/health")):
        assert time.monotonic() < deadline, "nobody serves the directory"
        time.sleep(0.05)
    time.sleep(0.5)
