"""A large file goes on where it was: of a server that is killed, of a client that comes back."""

import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from lakehouse.client import Client, parts
from lakehouse.errors import InvalidInputError, UnavailableError
from tests.services import ServerProcess, free_port, lakehouse_server

ROWS = 40_000
MIB = 1024 * 1024


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "FROM_BYTES", MIB)
    monkeypatch.setattr(parts, "PART_BYTES", MIB)
    monkeypatch.setattr(parts, "LOOK_S", 0.05)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "big.csv"
    text = b"x" * 100
    file.write_bytes(b"n,text\n" + b"".join(b"%d,%s\n" % (n, text) for n in range(ROWS)))
    return file


class GaveUpError(Exception):
    """The client ends here, as one that is killed."""


def test_a_large_file_comes_in_parts(small: None, path: Path, served: ServerProcess) -> None:
    seen: list[int] = []
    with Client(served.url) as lake:
        report = lake.ingest(path, "in_parts", progress=lambda done, total: seen.append(done))
        assert report.added_rows == ROWS
        total = lake.sql("SELECT count(*), sum(n)::BIGINT FROM in_parts").rows
        assert total == [[ROWS, ROWS * (ROWS - 1) // 2]]
    assert seen[0] == 0
    assert seen == sorted(seen)
    assert seen[-1] == path.stat().st_size


def test_a_client_that_comes_back_sends_the_rest_alone(
    small: None, path: Path, served: ServerProcess
) -> None:
    def give_up(done: int, total: Any) -> None:
        if done > 2.5 * MIB:
            raise GaveUpError

    seen: list[int] = []
    with Client(served.url) as lake, pytest.raises(GaveUpError):
        lake.ingest(path, "came_back", progress=give_up)
    with Client(served.url) as lake:
        report = lake.ingest(path, "came_back", progress=lambda done, total: seen.append(done))
    assert report.added_rows == ROWS
    assert seen[0] >= 2 * MIB


def test_a_server_that_is_killed_under_it_is_waited_for(
    small: None, path: Path, tmp_path: Path
) -> None:
    port, killed = free_port(), threading.Event()
    servers: list[ServerProcess] = []

    def kill(done: int, total: Any) -> None:
        if done > 1.5 * MIB and not killed.is_set():
            servers[0].process.kill()
            servers[0].wait()
            killed.set()

    def start_again() -> Generator[None]:
        killed.wait(60)
        with lakehouse_server(tmp_path / "data", port=port):
            yield

    again = start_again()
    starting = threading.Thread(target=lambda: next(again))
    with lakehouse_server(tmp_path / "data", port=port) as server:
        servers.append(server)
        starting.start()
        with Client(server.url) as lake:
            report = lake.ingest(path, "t", progress=kill)
            assert report.added_rows == ROWS
            assert lake.sql("SELECT count(*) FROM t").rows == [[ROWS]]
    starting.join()
    again.close()
    assert killed.is_set()


def test_a_server_that_stays_away_is_said(
    small: None, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "AWAY_MAX_S", 0.2)
    began = time.monotonic()
    with Client(f"http://127.0.0.1:{free_port()}") as lake, pytest.raises(UnavailableError):
        lake.ingest(path, "t")
    assert time.monotonic() - began < 30


def test_a_file_that_shrinks_meanwhile_is_not_loaded(
    small: None, path: Path, served: ServerProcess
) -> None:
    def cut(done: int, total: Any) -> None:
        if done > 1.5 * MIB:
            path.write_bytes(path.read_bytes()[:MIB])

    with Client(served.url) as lake, pytest.raises(InvalidInputError, match="changed while"):
        lake.ingest(path, "shrunk", progress=cut)
