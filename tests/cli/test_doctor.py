"""`doctor` finds what is missing, names what mends it, and sees nothing where nothing is."""

import shlex
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests import postgres
from tests.cli.conftest import Done, QuickShell, Shell
from tests.services import ServerProcess, environment, free_port


@pytest.fixture
def quick(tmp_path: Path) -> Shell:
    return QuickShell(tmp_path, "")


def examine(quick: Shell, *words: str, port: int | None = None) -> Done:
    port = port or free_port()
    return quick.run("doctor", "--json", *words, LAKEHOUSE_SERVER__PORT=str(port))


def missing(done: Done) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = done.json()["missing"]
    assert done.code == (1 if found else 0)
    assert done.json()["ok"] == (not found)
    return found


def test_on_a_machine_that_has_everything_it_finds_nothing_and_changes_nothing(
    alone: Shell,
) -> None:
    done = alone.run("doctor", LAKEHOUSE_SERVER__PORT=str(free_port()))

    assert done.code == 0, done.stdout
    assert "missing" not in done.stdout
    for name in ("python", "engine", "configuration", "data directory", "disk", "port", "memory"):
        assert f"ok      {name}" in done.stdout
    assert list(alone.folder.iterdir()) == []


def test_a_directory_that_others_can_enter_is_mended_by_the_command_it_names(
    quick: Shell,
) -> None:
    lake = quick.folder / "a lake"
    lake.mkdir(mode=0o755)

    (found,) = missing(examine(quick, "--data", str(lake)))
    assert found["name"] == "data directory"
    subprocess.run(shlex.split(found["mend"]), check=True)

    assert missing(examine(quick, "--data", str(lake))) == []


def test_a_place_where_no_directory_can_be_is_named(quick: Shell) -> None:
    quick.write("file", "x")

    (found,) = missing(examine(quick, "--data", "file/lake"))

    assert "cannot be written" in found["detail"]
    assert "install -d -m 700" in found["mend"]


def test_a_directory_of_a_newer_version_is_named(quick: Shell) -> None:
    lake = quick.folder / "lake"
    lake.mkdir(mode=0o700)
    (lake / "format").write_text("999\nwritten by lakehouse 9.9\n")

    (found,) = missing(examine(quick, "--data", str(lake)))

    assert found["name"] == "format"
    assert "999" in found["detail"]
    assert str(lake) in found["detail"]
    assert (lake / "format").read_text().startswith("999")


def test_a_stranger_on_the_port_is_told_from_our_own_server(
    quick: Shell, served: ServerProcess
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        (found,) = missing(examine(quick, port=stranger.getsockname()[1]))
    assert found["name"] == "port"
    assert "in use" in found["detail"]

    done = examine(quick, port=int(served.url.rpartition(":")[2]))
    assert missing(done) == []
    assert "a lakehouse is running" in done.stdout


def test_every_wrong_setting_is_a_line(quick: Shell) -> None:
    quick.write("lakehouse.toml", "[server]\nprot = 1\n[query]\ntimeout_s = 0\n")

    found = missing(examine(quick, "--config", "lakehouse.toml"))

    assert [each["name"] for each in found] == ["configuration", "configuration"]
    assert "port" in found[0]["detail"]
    assert "lakehouse.toml:4" in found[1]["detail"]


def test_more_memory_than_there_is_is_named(quick: Shell) -> None:
    quick.write("lakehouse.toml", "[memory]\nmax_bytes = 9_000_000_000_000\n")

    (found,) = missing(examine(quick, "--config", "lakehouse.toml"))

    assert found["name"] == "memory"


def test_a_missing_extension_is_named_with_its_exact_version(alone: Shell) -> None:
    shadow = alone.folder / "shadow" / "duckdb_extension_avro"
    shadow.mkdir(parents=True)
    (shadow / "__init__.py").touch()

    done = alone.run(
        "doctor",
        "--json",
        LAKEHOUSE_SERVER__PORT=str(free_port()),
        PYTHONPATH=f"{shadow.parent}:{environment()['PYTHONPATH']}",
    )

    (found,) = missing(done)
    assert found["name"] == "extension avro"
    assert "pip install duckdb-extension-avro==" in found["mend"]


def test_it_reckons_with_the_reserve_that_uploads_leave(alone: Shell) -> None:
    done = alone.run(
        "doctor",
        "--json",
        LAKEHOUSE_SERVER__PORT=str(free_port()),
        LAKEHOUSE_DISK__RESERVE_BYTES=str(1 << 60),
    )

    (found,) = missing(done)
    assert found["name"] == "disk"
    assert "1.2 EB" in found["detail"]


def test_the_catalogs_own_server_is_looked_at(quick: Shell) -> None:
    with postgres.schema() as place:
        done = quick.run("doctor", "--json", LAKEHOUSE_CATALOG__URI=place.uri)
        (found,) = (each for each in done.json()["checks"] if each["name"] == "catalog")
        assert found["ok"]
        assert "PostgreSQL" in found["detail"]
        nowhere = place.uri.replace("/postgres?", "/nowhere?")
        variables = {
            "LAKEHOUSE_CATALOG__URI": nowhere,
            "LAKEHOUSE_SERVER__PORT": str(free_port()),
        }
        (found,) = missing(quick.run("doctor", "--json", **variables))
        assert found["name"] == "catalog"
        assert "nowhere" in found["detail"]
