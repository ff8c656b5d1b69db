"""One process, one PID: the app behind granian, from the first check to the last answer."""

import asyncio
import errno
import logging
import resource
import signal
import socket
from collections.abc import Callable
from pathlib import Path

from granian.constants import Interfaces
from granian.server.embed import Server

from lakehouse.api.edge import Edge
from lakehouse.app import create_app, open_lakehouse
from lakehouse.config import Config
from lakehouse.errors import LakehouseError

log = logging.getLogger(__name__)

LOOPBACK = ("127.", "::1", "localhost")
INTERRUPT_WAIT_S = 4.0
STOP_WAIT_S = 3.0
ADDRESS_SPACE_FACTOR = 2
"""RLIMIT_DATA over the memory budget: a backstop for the one call that looks at no limit."""


class CannotStartError(LakehouseError):
    """Something outside of the process must be mended before it can start."""


async def serve(config: Config, data_dir: Path, started: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; then finish what was accepted and return.

    Args:
        started: called with the address once it listens.

    Raises:
        CannotStartError: the port is taken, or the address is not loopback.
    """
    check_address(config.server.host, config.server.port)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_ in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_, stopping.set)
    async with open_lakehouse(config, data_dir, on_fatal=stopping.set) as lakehouse:
        edge = create_app(lakehouse)
        server = Server(
            edge,
            address=config.server.host,
            port=config.server.port,
            interface=Interfaces.ASGINL,
            log_enabled=False,
            websockets=False,
        )
        listening = asyncio.create_task(server.serve())
        started(f"http://{config.server.host}:{config.server.port}")
        await stopping.wait()
        lakehouse.health.draining = True
        if not await emptied(edge, config.server.shutdown_grace_s):
            lakehouse.queries.cancel_all()
            await emptied(edge, INTERRUPT_WAIT_S)
        server.stop()
        await asyncio.wait([listening], timeout=STOP_WAIT_S)


async def emptied(edge: Edge, within_s: float) -> bool:
    """Return whether all requests were answered in time."""
    deadline = asyncio.get_running_loop().time() + within_s
    while edge.inside and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(0.02)
    return not edge.inside


def check_address(host: str, port: int) -> None:
    if not host.startswith(LOOPBACK):
        raise CannotStartError(
            f"{host} is not a loopback address, and there are no tokens yet to guard it: "
            "listen on 127.0.0.1"
        )
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise CannotStartError(f"port {port} is in use") from error


def limit_memory(max_bytes: int) -> None:
    """Let the kernel refuse what DuckDB's own limit does not see: `security.md`, The SQL gate."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (max_bytes * ADDRESS_SPACE_FACTOR, hard))
