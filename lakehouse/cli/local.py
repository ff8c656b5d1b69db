"""A server of our own beside the work, in this process: its lock, its checks, its app, its stop."""

import asyncio
import errno
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

from lakehouse.cli.exits import INTERRUPTED
from lakehouse.client import Client
from lakehouse.config import Config
from lakehouse.errors import UnavailableError
from lakehouse.observability import configure_logs
from lakehouse.reserve import with_frames
from lakehouse.server import serve

T = TypeVar("T")

LOOPBACK = "127.0.0.1"
START_TIMEOUT_S = 20.0
POLL_S = 0.01
NEXT_PORTS = 100
JOIN_TIMEOUT_S = 2.0


class Beside(Generic[T]):
    """Work on a thread while the server has the main one, where signals arrive."""

    def __init__(self, work: Callable[[str], T], *, then_stop: bool) -> None:
        self._work = work
        self._then_stop = then_stop
        self._thread: threading.Thread | None = None
        self._interrupted = threading.Event()
        self._results: list[T] = []
        self._error: BaseException | None = None

    def start(self, url: str) -> None:
        """Begin; called on the server's event loop."""
        # The server takes its second signal for impatience. Ours at the end must not be that.
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self.interrupt)
        self._thread = threading.Thread(target=self._run, args=(url,), name="command", daemon=True)
        self._thread.start()

    def interrupt(self) -> None:
        """Ctrl-C: stop in good order; the second time at once."""
        if self._interrupted.is_set():
            os._exit(INTERRUPTED)
        self._interrupted.set()
        stop_server()

    def _run(self, url: str) -> None:
        try:
            wait_until_up(url)
            self._results.append(self._work(url))
        except BaseException as error:  # raised again on the main thread
            self._error = error
        if (self._then_stop or self._error) and not self._interrupted.is_set():
            stop_server()

    def result(self) -> T:
        """Return what the work returned; `KeyboardInterrupt` when it was stopped before its end."""
        if self._thread is not None:
            self._thread.join(timeout=JOIN_TIMEOUT_S)
        if self._results:
            return self._results[0]
        if self._error is None or self._interrupted.is_set():
            raise KeyboardInterrupt
        raise self._error


def stop_server() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def beside_server(
    config: Config,
    data_dir: Path,
    work: Callable[[str], T],
    *,
    secrets: Sequence[str] = (),
    then_stop: bool = True,
) -> T:
    """Open the data directory, serve it, and return what `work(url)` returns.

    Args:
        config: its `server.host` and `server.port` are listened on.
        data_dir: made if it is not there; no other process opens it meanwhile.
        work: gets the address; runs on a thread of its own.
        secrets: tokens of an admin, for this server alone.
        then_stop: whether the server stops when the work is done, or serves on until a signal.

    Raises:
        DataDirectoryInUseError: another process holds it; the message names that process.
        KeyboardInterrupt: a signal came before the work was done.
    """
    configure_logs("ERROR")  # lines about our own requests and our own stop would hide the answers
    beside = Beside(work, then_stop=then_stop)
    with_frames(partial(asyncio.run, serve(config, data_dir, beside.start, secrets=secrets)))
    return beside.result()


def wait_until_up(url: str) -> None:
    """Return when the server answers; `UnavailableError` when it does not in time."""
    deadline = time.monotonic() + START_TIMEOUT_S
    with Client(url) as lake:
        while True:
            try:
                lake.health()
            except UnavailableError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(POLL_S)
            else:
                return


def free_port(first: int = 0) -> int:
    """Return `first` or the next port that nobody has; any free one for 0.

    Raises:
        UnavailableError: none of the next `NEXT_PORTS` is free.
    """
    for port in range(first, first + (NEXT_PORTS if first else 1)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError as error:
                if error.errno not in {errno.EADDRINUSE, errno.EACCES}:
                    raise
                continue
            return int(probe.getsockname()[1])
    raise UnavailableError(f"none of the ports from {first} to {first + NEXT_PORTS - 1} is free")
