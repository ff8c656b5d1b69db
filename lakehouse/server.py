"""One process, one PID: the app behind granian, from the first check to the last answer."""

import asyncio
import faulthandler
import logging
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from errno import EADDRINUSE
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

# Read when the library is loaded: what one of its threads has freed is there for the others.
os.environ.setdefault("_RJEM_MALLOC_CONF", "narenas:1")

from granian import _granian
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server

from lakehouse import __version__
from lakehouse.api.edge import Edge
from lakehouse.app import Lakehouse, create_app, kept_up, open_lakehouse
from lakehouse.config import (
    Config,
    available_memory_bytes,
    is_loopback,
    memory_bytes,
)
from lakehouse.errors import LakehouseError
from lakehouse.local_socket import listening_for_operator
from lakehouse.reserve import keep_room
from lakehouse.state import DataDirectory
from lakehouse.systemd import keep_patting, notify

log = logging.getLogger(__name__)

App: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]

LISTENING = "0A"  # as /proc/net/tcp says it
BACKLOG = 1024
CONNECTIONS_MAX = 16_384
"""Open ones, idle ones too: granian takes no further one, not even for /health."""
FILES_MAX = 65_536
PIECE_MAX_BYTES = 1024 * 1024
"""Of a body, as granian hands it over. With its default of 408 KiB an upload of 343 MB wakes us 2.4
times as often and takes 0.2 s more CPU. A connection's buffer grows only while it is filled."""

INTERRUPT_WAIT_S = 4.0
"""Interrupted statements get this long to answer that they were."""
HEADERS_WAIT_S = 30.0
"""A request's headers must be there after this long, and so must the next request's beginning."""
UNREAD_MAX_S = 60.0
"""A client that takes in nothing of what was sent to it loses its connection, and the answer in
the memory of this process is gone: only the kernel knows. `api/streams.py` sees to long answers."""
CONNECTIONS_WAIT_S = 1.0
"""Answers that are in the kernel already get this long to leave."""
END_MAX_S = 28.0
"""From the first signal to the end of the process, whatever still hangs: systemd kills at 35."""

MEMORY_ROOM_BYTES = 1024**3
"""What is reserved and never touched: stacks of threads, arenas. `RLIMIT_DATA` counts it."""
MEMORY_LIMIT_SHARE = 0.9


class CannotStartError(LakehouseError):
    """Something outside of the process must be mended before it can start."""


class OpenToOthersError(CannotStartError):
    """Other machines reach the address, and nothing keeps them out."""

    def __init__(self, host: str, data_dir: Path) -> None:
        super().__init__(
            f"{host} is reached by other machines, and there is no valid token: create one, with"
            f" `lakehouse token create NAME --role admin --data {data_dir}`"
        )


class BrokenOffError(LakehouseError):
    """The engine broke, or the lease was lost; what was acknowledged is safe."""

    def __init__(self) -> None:
        super().__init__("the server stopped by itself; the log says why. Start it again")


async def serve(
    config: Config,
    data_dir: Path,
    started: Callable[[str], None],
    *,
    secrets: Sequence[str] = (),
) -> None:
    """Serve until SIGTERM or SIGINT; then finish what was accepted and return.

    A second signal ends the process at once. It ends within `END_MAX_S` of the first one.

    Args:
        started: called with the address once it listens.
        secrets: tokens of an admin that are nowhere kept.

    Raises:
        CannotStartError: the port is taken, the address is not one of this machine, or other
            machines reach it and there is no valid token.
        DataDirectoryInUseError, CatalogInUseError: another process has the data.
        BrokenOffError: the engine broke, or the lease was lost; it stopped in good order.
    """
    keep_room()
    limit_memory(memory_bytes(config.memory.max_bytes), available_memory_bytes())
    allow_files()
    host, port = config.server.host, config.server.port
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    with (
        unwrapped(),
        Ending.on_signals() as ending,
        bound(host, port) as listener,
        DataDirectory.open(
            data_dir, address=address, has_catalog=config.catalog.uri is None
        ) as directory,
    ):
        async with open_lakehouse(
            config, directory, secrets=secrets, stop=ending.break_off
        ) as lakehouse:
            if not is_loopback(host) and not lakehouse.tokens.are_valid:
                raise OpenToOthersError(host, data_dir)
            edge = create_app(lakehouse)
            listen(listener, port)
            servers = [Granian(edge, listener)]
            if (operators := for_operator(directory.path)) is not None:
                servers.append(Granian(edge.from_operator, operators))
            serving = [asyncio.create_task(server.serve()) for server in servers]
            for server, task in zip(servers, serving, strict=True):
                task.add_done_callback(partial(ended_early, server, ending))
            log.info(
                "serving at %s",
                address,
                extra={
                    "data_dir": str(directory.path),
                    "pid": os.getpid(),
                    "version": __version__,
                    "memory_max_bytes": memory_bytes(config.memory.max_bytes),
                },
            )
            notify("READY=1")
            started(address)
            async with kept_up(ending.break_off, keep_patting):
                await ending.begun.wait()
            notify("STOPPING=1")
            await drain(lakehouse, edge, config.server.shutdown_grace_s)
            for server in servers:
                server.stop()  # type: ignore[no-untyped-call]
            await asyncio.wait(serving, timeout=CONNECTIONS_WAIT_S)
    log.info("stopped")
    if ending.broken:
        raise BrokenOffError


@contextmanager
def unwrapped() -> Iterator[None]:
    """Raise an error of ours as itself, not in the group of a task group that it went through."""
    try:
        yield
    except ExceptionGroup as group:
        ours = [each for each in group.exceptions if isinstance(each, LakehouseError)]
        if len(group.exceptions) == len(ours) == 1:
            raise ours[0] from group
        raise


async def drain(lakehouse: Lakehouse, edge: Edge, grace_s: float) -> None:
    """Take nothing new, let what was accepted finish, and interrupt what takes too long."""
    lakehouse.health.draining = edge.stopping = True
    lakehouse.jobs.refuse_new()

    def busy() -> str:
        inside, running = edge.inside, lakehouse.jobs.running
        return f"{inside} requests and {running} jobs" if inside or running else ""

    def interrupt() -> None:
        lakehouse.queries.cancel_all()
        lakehouse.jobs.interrupt_all()

    if busy():
        log.info("stopping: %s get %g s to finish", busy(), grace_s)
    if await ended(busy, grace_s):
        return
    log.warning("stopping: %s are interrupted", busy())
    # Again and again: a statement may begin only now, in a request that was let in before.
    if not await ended(busy, INTERRUPT_WAIT_S, meanwhile=interrupt):
        log.warning("stopping: %s did not end", busy())


async def ended(
    busy: Callable[[], str], within_s: float, meanwhile: Callable[[], None] = lambda: None
) -> bool:
    """Return whether all that was accepted ended in time."""
    deadline = time.monotonic() + within_s
    while busy() and time.monotonic() < deadline:
        meanwhile()
        await asyncio.sleep(0.02)
    return not busy()


class Granian(Server):
    """granian in this process, on a socket of ours.

    Its own would be opened with SO_REUSEPORT: of two servers started at once both would get it.
    """

    def __init__(self, app: App, listener: socket.socket) -> None:
        super().__init__(
            app,
            interface=Interfaces.ASGINL,
            http=HTTPModes.http1,
            websockets=False,
            log_enabled=False,
            backlog=BACKLOG,
            backpressure=CONNECTIONS_MAX,
            http1_settings=HTTP1Settings(
                header_read_timeout=int(HEADERS_WAIT_S * 1000), max_buffer_size=PIECE_MAX_BYTES
            ),
        )
        self._listener = listener

    def _init_shared_socket(self) -> None:
        self._ssp = None
        # The arguments are those it is unpickled with in granian's own workers.
        holder: Any = _granian.SocketHolder
        is_local = self._listener.family == socket.AF_UNIX
        self._shd = holder(self._listener.detach(), is_local, BACKLOG)  # it closes it


def ended_early(server: Server, ending: "Ending", serving: "asyncio.Task[None]") -> None:
    if not serving.cancelled() and (error := serving.exception()) is not None:
        log.critical("the HTTP server ended: %s", error, exc_info=error)
    if not ending.begun.is_set():
        ending.break_off()


class Ending:
    """Whether this process is to end, and that it does."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.broken = False
        self._begun = threading.Event()
        self._returned = False
        # Now: when it is needed there may be no memory for a thread.
        threading.Thread(target=self._see_to_it, name="ending", daemon=True).start()

    @classmethod
    @contextmanager
    def on_signals(cls) -> Iterator["Ending"]:
        """End at SIGTERM and SIGINT, while the block runs."""
        faulthandler.enable()
        ending, loop = cls(), asyncio.get_running_loop()
        numbers = (signal.SIGTERM, signal.SIGINT)
        for number in numbers:
            loop.add_signal_handler(number, ending._on_signal, number)
        try:
            yield ending
        finally:
            ending._returned = True
            for number in numbers:
                loop.remove_signal_handler(number)

    def break_off(self) -> None:
        """End by itself, with an exit code that says so."""
        self.broken = True
        self._begin()

    def _on_signal(self, number: int) -> None:
        if self.begun.is_set():
            log.warning("a second signal: ending at once")
            os._exit(128 + number)
        log.info("stopping: %s", signal.Signals(number).name)
        self._begin()

    def _begin(self) -> None:
        self.begun.set()
        self._begun.set()

    def _see_to_it(self) -> None:
        """End the process when it does not by itself.

        A call of the engine that looks at no interrupt holds its thread; the engine waits for it
        when it is closed. Nothing is lost: what was acknowledged is on the disk.
        """
        self._begun.wait()
        deadline, over = time.monotonic() + END_MAX_S, 0
        while time.monotonic() < deadline and over < 5:
            time.sleep(0.2)
            over += self._returned and not threading.main_thread().is_alive()
        if self._returned and threading.main_thread().is_alive():
            return  # the server is closed, and its process does something else
        log.warning("a call could not be interrupted; ending without it")
        logging.shutdown()
        os._exit(1 if self.broken else 0)


@contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """Yield a socket that has the address and does not listen yet.

    Raises:
        CannotStartError: somebody else has it; the message names the process.
    """
    try:
        family, *_, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise CannotStartError(f"{host} is no address: {error.strerror}") from error
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # soon after a stop
        # Connections inherit it. Source: https://man7.org/linux/man-pages/man7/tcp.7.html
        unread_max_ms = int(UNREAD_MAX_S * 1000)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, unread_max_ms)
        listener.setblocking(False)
        try:
            listener.bind(where)
        except OSError as error:
            raise unusable(port, error) from error
        yield listener


def for_operator(data_dir: Path) -> socket.socket | None:
    """Return the socket of the local operator; None where the file system has no sockets."""
    try:
        return listening_for_operator(data_dir, BACKLOG)
    except OSError as error:
        log.warning("there is no socket for the local operator, who needs a token: %s", error)
        return None


def listen(listener: socket.socket, port: int) -> None:
    """Take connections; of two sockets with one address only the first may."""
    try:
        listener.listen(BACKLOG)
    except OSError as error:
        raise unusable(port, error) from error


def unusable(port: int, error: OSError) -> CannotStartError:
    if error.errno == EADDRINUSE:
        owner = owner_of(port)
        return CannotStartError(f"port {port} is in use by {owner}; stop it, or choose another")
    return CannotStartError(f"cannot listen on port {port}: {(error.strerror or '').lower()}")


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
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                return f"PID {folder.name} ({command.decode(errors='replace').strip()[:120]})"
    return "a process of another user"


def limit_memory(max_bytes: int, available_bytes: int) -> None:
    """Let the kernel refuse what DuckDB's own limit does not see.

    One call of a function can ask for many gigabytes and look at no limit: `security.md`, The SQL
    gate. The engine lives when the kernel says no, and the statement gets the error.
    """
    set_soft_limit(resource.RLIMIT_DATA, data_limit_bytes(max_bytes, available_bytes))


def data_limit_bytes(max_bytes: int, available_bytes: int) -> int:
    """Return the budget and room for what is only reserved, but less than there is at all.

    Beyond that the kernel would kill the process instead of telling it.
    """
    most = max(int(available_bytes * MEMORY_LIMIT_SHARE), max_bytes)
    return min(max_bytes + MEMORY_ROOM_BYTES, most)


def allow_files() -> None:
    """Raise the limit on open files: a query over many files has them all open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_MAX if hard == resource.RLIM_INFINITY else min(FILES_MAX, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def set_soft_limit(kind: int, limit: int) -> None:
    _, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
