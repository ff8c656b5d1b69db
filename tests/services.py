"""Start the real thing, wait until it answers, stop it again."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any

import httpx
import pytest

from lakehouse.api.edge import Edge
from lakehouse.audit import Audit
from lakehouse.auth import Entrance, Limiter, Tokens
from lakehouse.config import AuditConfig
from lakehouse.observability import Metrics
from lakehouse.state import SqliteState, State

ROOT = Path(__file__).parent.parent
REQUIRED = "LAKEHOUSE_TEST_SERVICES"
"""Set where every real server must be there: a test that finds none fails instead of skipping."""
POLL_S = 0.05
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 35.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def kept_programs() -> Path:
    """Return the folder that `.ci/services` builds servers into."""
    named = os.environ.get("LAKEHOUSE_SERVICES")
    return Path(named) if named else Path.home() / ".cache/lakehouse-services/bin"


def program(name: str) -> Path | None:
    """Return a server's program: the one that `.ci/services` builds, or the one on the path."""
    built = kept_programs() / name
    named = shutil.which(name)
    return built if built.exists() else Path(named) if named else None


def must_be_there(is_there: bool, why: str) -> None:
    """Skip the test that calls this where something is not there, or fail where it must be."""
    if not is_there:
        (pytest.fail if REQUIRED in os.environ else pytest.skip)(why)


@contextmanager
def running(
    *command: str,
    ready: str,
    timeout_s: float = START_TIMEOUT_S,
    env: Mapping[str, str] | None = None,
) -> Iterator["subprocess.Popen[str]"]:
    """Run `command` until the block ends; enter it once `ready` (a URL) answers.

    Raises:
        RuntimeError: it exited, or did not answer within `timeout_s` seconds; has its output.
    """
    with tempfile.TemporaryFile("w+") as output:  # a pipe would fill up and block the service
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, text=True, env=env
        )
        try:
            wait_until_ready(process, ready, timeout_s, output)
            yield process
        finally:
            stop(process)


def wait_until_ready(
    process: "subprocess.Popen[str]", ready: str, timeout_s: float, output: IO[str]
) -> None:
    deadline = time.monotonic() + timeout_s
    while not answers(ready):
        if process.poll() is not None or time.monotonic() > deadline:
            output.seek(0)
            raise RuntimeError(f"{process.args!r} is not up: {output.read()}")
        time.sleep(POLL_S)


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=1.0).is_success
    except httpx.TransportError:
        return False


def stop(process: "subprocess.Popen[str]") -> int:
    """Ask it to end, and make it; return its exit code."""
    if process.poll() is None:
        process.terminate()
    try:
        return process.wait(timeout=STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise


def environment(**variables: str) -> dict[str, str]:
    """Return this process's variables without settings of ours, so that no test inherits one."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LAKEHOUSE_")}
    path = os.pathsep.join(filter(None, [str(ROOT), kept.get("PYTHONPATH")]))
    return {**kept, "PYTHONPATH": path, **variables}


OPEN = ExitStack()
"""What stays open for as long as the tests run."""


@cache
def scratch() -> State:
    """Return a state that no test reads."""
    folder = OPEN.enter_context(tempfile.TemporaryDirectory(prefix="lakehouse-scratch-"))
    return OPEN.enter_context(SqliteState.open(Path(folder) / "catalog.db"))


def edge_of(app: Any, metrics: Metrics, **options: Any) -> Edge:
    """Return the edge around an app: open to all, as on loopback before there is a token."""
    state = scratch()
    entrance = Entrance(Tokens(state), is_loopback=True)
    return Edge(app, metrics, entrance, Limiter(state), Audit(state, AuditConfig()), **options)


def client_of(app: Any) -> httpx.AsyncClient:
    """Return a client of an ASGI app in this process; its bugs are answers, as on a socket."""
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://localhost")


@dataclass
class ServerProcess:
    """`lakehouse serve`, running. Its log is a file, a JSON document a line."""

    process: "subprocess.Popen[str]"
    url: str
    data_dir: Path
    log_file: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def log(self) -> str:
        return self.log_file.read_text()

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def wait(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Return its exit code once it has ended."""
        return self.process.wait(timeout=timeout_s)


@contextmanager
def lakehouse_server(
    data_dir: Path, *options: str, port: int | None = None, **variables: str
) -> Iterator[ServerProcess]:
    """Run `lakehouse serve` on `data_dir` until the block ends; enter it once it is ready.

    Raises:
        RuntimeError: it did not get ready; has its output.
    """
    port = port or free_port()
    url = f"http://127.0.0.1:{port}"
    log_file = data_dir.parent / f"{data_dir.name}-{port}.log"
    command = [sys.executable, "-m", "lakehouse", "serve", "--data", str(data_dir)]
    with log_file.open("w+") as output:
        process = subprocess.Popen(
            [*command, "--port", str(port), *options],
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment(**variables),
        )
        try:
            wait_until_ready(process, f"{url}/ready", START_TIMEOUT_S, output)
            yield ServerProcess(process, url, data_dir, log_file)
        finally:
            stop(process)


def size_of(server: ServerProcess, what: str) -> int:
    """Return a size of `/proc/<pid>/status`, in bytes."""
    status = Path(f"/proc/{server.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith(f"{what}:")]
    return int(line.split()[1]) * 1024


def wait_until(holds: Callable[[], bool], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
