"""systemd is told that the server lives for as long as its loop goes round, and no longer."""

import asyncio
import os
import select
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lakehouse.systemd import keep_patting, watchdog_s
from tests.services import lakehouse_server

PERIOD_S = 0.3
PAT = b"WATCHDOG=1"


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    """The socket that a service tells."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        yield listener


@pytest.fixture
def watched(systemd: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", str(int(PERIOD_S * 1e6)))


def told(systemd: socket.socket) -> list[bytes]:
    """Return what was said since the last look."""
    said = []
    while select.select([systemd], [], [], 0)[0]:
        said.append(systemd.recv(100))
    return said


@pytest.mark.usefixtures("watched")
async def test_a_loop_that_stands_still_does_not_pat(systemd: socket.socket) -> None:
    patting = asyncio.create_task(keep_patting())
    await asyncio.sleep(2 * PERIOD_S)
    alive = told(systemd)
    time.sleep(2 * PERIOD_S)  # noqa: ASYNC251 - that is what it is about
    blocked = told(systemd)
    await asyncio.sleep(PERIOD_S)
    patting.cancel()

    assert alive and set(alive) == {PAT}
    assert blocked == []
    assert told(systemd), "it goes on"


@pytest.mark.usefixtures("watched")
async def test_without_a_watchdog_nobody_is_patted(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WATCHDOG_USEC")

    await keep_patting()

    assert told(systemd) == []


@pytest.mark.parametrize(
    ("variables", "period_s"),
    [
        ({"WATCHDOG_USEC": "60000000"}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),  # it watches another process
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_period_is_the_one_that_systemd_says(
    variables: dict[str, str], period_s: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert watchdog_s() == period_s


def test_a_server_pats_while_it_runs_and_is_silent_while_it_stands_still(
    systemd: socket.socket, tmp_path: Path
) -> None:
    systemd.settimeout(10)
    told_to, period_us = str(tmp_path / "notify"), str(int(PERIOD_S * 1e6))
    with lakehouse_server(
        tmp_path / "data", NOTIFY_SOCKET=told_to, WATCHDOG_USEC=period_us
    ) as server:
        assert systemd.recv(100) == b"READY=1"
        assert systemd.recv(100) == PAT
        server.signal(signal.SIGSTOP)
        try:
            time.sleep(PERIOD_S)
            told(systemd)
            time.sleep(2 * PERIOD_S)
            silent = told(systemd)
        finally:
            server.signal(signal.SIGCONT)

        assert silent == []
        assert systemd.recv(100) == PAT


def test_a_server_that_systemd_ends_says_what_its_threads_were_at(tmp_path: Path) -> None:
    with lakehouse_server(tmp_path / "data") as server:
        server.signal(signal.SIGABRT)

        assert server.wait(timeout_s=10) == -signal.SIGABRT
        assert "Current thread" in server.log()
