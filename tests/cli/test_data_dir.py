"""Straight on a data directory: its lock is taken, the same app answers, the lock is given back."""

import re
import sys

from tests.cli.conftest import Shell
from tests.services import free_port, running

PEOPLE = "name,city,score\nAda,Lyon,95\nBo,Oslo,88\n"


def test_a_directory_is_made_loaded_and_read_without_a_server(alone: Shell) -> None:
    alone.write("people.csv", PEOPLE)

    done = alone.ok("ingest", "--data", "lake", "people.csv")
    assert "2 rows" in done.stdout
    rows = alone.ok("sql", "--data", "lake", "FROM people ORDER BY name", "--json").json()["rows"]

    assert rows == [["Ada", "Lyon", 95], ["Bo", "Oslo", 88]]
    assert done.stderr == ""
    assert (alone.folder / "lake").stat().st_mode & 0o777 == 0o700


def test_reading_a_directory_that_is_not_there_makes_none(alone: Shell) -> None:
    done = alone.run("tables", "--data", "nowhere")

    assert done.code == 3
    assert "nowhere" in done.stderr
    assert list(alone.folder.iterdir()) == []


def test_a_held_directory_names_its_owner_and_where_to_ask(alone: Shell) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    lake = alone.folder / "lake"
    command = ["serve", "--data", str(lake), "--port", str(port)]
    with running(sys.executable, "-m", "lakehouse", *command, ready=f"{url}/ready", timeout_s=30):
        done = alone.run("tables", "--data", lake)

        assert done.code == 6
        assert re.search(r"in use by PID \d+", done.stderr)
        assert f"--url {url}" in done.stderr
        assert len(done.stderr.splitlines()) == 1
