"""One process, one PID: the app behind granian, from the first check to the last answer."""

import asyncio
import errno
import logging
import os
import resource
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from granian.constants import Interfaces
from granian.server.embed import Server

from lakehouse.api.edge import Edge
from lakehouse.app import create_app, open_lakehouse
from lakehouse.config import Config, default_memory_bytes
from lakehouse.errors import LakehouseError
from lakehouse.state import DataDirectory

log = logging.getLogger(__name__)

LOOPBACK = ("127.", "::1", "localhost")
LISTENING = "0A"  # as /proc/net/tcp says it
INTERRUPT_WAIT_S = 4.0
STOP_WAIT_S = 3.0
ADDRESS_SPACE_FACTOR = 2
"""RLIMIT_DATA over the memory budget: a backstop for the one call that looks at no limit."""


class CannotStartError(LakehouseError):
    """Something outside of the process must be mended before it can start."""


class BrokenOffError(LakehouseError):
    def __init__(self) -> None:
        super().__init__("the server stopped by itself; the log says why. Start it again")


async def serve(config: Config, data_dir: Path, started: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; then finish what was accepted and return.

    A second signal ends the process at once.

    Args:
        started: called with the address once it listens.

    Raises:
        CannotStartError: the port is taken, or the address is not loopback.
        DataDirectoryInUseError, CatalogInUseError: another process has the data.
        BrokenOffError: the engine broke, or the lease was lost; it stopped in good order.
    """
    host, port = config.server.host, config.server.port
    address = f"http://{host}:{port}"
    check_address(host, port)
    limit_memory(config.memory.max_bytes or default_memory_bytes())
    stopping, broken = asyncio.Event(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop_or_die, stopping, number)

    def break_off() -> None:
        broken.set()
        stopping.set()

    with DataDirectory.open(data_dir, address=address) as directory:
        async with open_lakehouse(config, directory, stop=break_off) as lakehouse:
            edge = create_app(lakehouse)
            server = listen(edge, host, port)
            serving = asyncio.create_task(server.serve())
            notify("READY=1")
            started(address)
            await stopping.wait()
            notify("STOPPING=1")
            lakehouse.health.draining = True
            if not await emptied(edge, config.server.shutdown_grace_s):
                lakehouse.queries.cancel_all()
                await emptied(edge, INTERRUPT_WAIT_S)
            server.stop()  # type: ignore[no-untyped-call]
            await asyncio.wait([serving], timeout=STOP_WAIT_S)
    if broken.is_set():
        raise BrokenOffError


def listen(edge: Edge, host: str, port: int) -> Server:
    return Server(
        edge,
        address=host,
        port=port,
        interface=Interfaces.ASGINL,
        log_enabled=False,
        websockets=False,
    )


def stop_or_die(stopping: asyncio.Event, number: int) -> None:
    if stopping.is_set():
        os._exit(128 + number)
    stopping.set()


def notify(state: str) -> None:
    """Tell systemd, if it started us.

    Source: https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
    """
    path = os.environ.get("NOTIFY_SOCKET")
    if path:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(state.encode(), path.replace("@", "\0", 1))


async def emptied(edge: Edge, within_s: float) -> bool:
    """Return whether all requests were answered in time."""
    deadline = asyncio.get_running_loop().time() + within_s
    while edge.inside and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - a poll
        await asyncio.sleep(0.02)
    return not edge.inside


def check_address(host: str, port: int) -> None:
    if not host.startswith(LOOPBACK):
        raise CannotStartError(
            f"{host} is not a loopback address, and there are no tokens yet to guard it: "
            "listen on 127.0.0.1"
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise CannotStartError(f"cannot listen on {host}:{port}: {error}") from error
            raise CannotStartError(
                f"port {port} is in use by {owner_of(port)}; stop it, or choose another --port"
            ) from error


def owner_of(port: int) -> str:
    """Return which process listens on a TCP port, as well as /proc tells this user."""
    inodes = set()
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if any(str(link.readlink()) in inodes for link in (folder / "fd").iterdir()):
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
                return f"PID {folder.name} ({command[:120]})"
    return "a process of another user"


def limit_memory(max_bytes: int) -> None:
    """Let the kernel refuse what DuckDB's own limit does not see: `security.md`, The SQL gate."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (max_bytes * ADDRESS_SPACE_FACTOR, hard))
