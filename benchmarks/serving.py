"""The server under measurement, started as a user would, and a client that costs little."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from benchmarks.store import variables

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 40.0
ANSWER_TIMEOUT_S = 1800.0
BLOCK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Served:
    """A running server."""

    port: int
    pid: int
    data_dir: Path
    start_s: float
    """From the start of the process to the first 200 of `/ready`."""

    def send(self, method: str, path: str, body: Any = None, content_type: str = "") -> bytes:
        return requested(self.port, method, path, body, content_type)

    def ingest(self, table: str, file: Path, content_type: str) -> None:
        """Load a file and read the table once: what is measured is committed *and* readable."""
        with file.open("rb") as body:
            self.send("POST", f"/v1/ingest?name={quote(table)}", body, content_type)
        self.sql(f"SELECT count(*) FROM {table}")

    def sql(self, text: str) -> list[list[Any]]:
        body = msgspec.json.encode({"sql": text})
        answer = self.send("POST", "/v1/sql", body, "application/json")
        rows: list[list[Any]] = msgspec.json.decode(answer)["rows"]
        return rows

    def drop(self, table: str) -> None:
        self.send("DELETE", f"/v1/tables/{quote(table)}")

    def resident_bytes(self, field: str = "VmRSS") -> int:
        """Return the resident memory of the process, or its peak (`VmHWM`)."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError(f"/proc has no {field} for {self.pid}")

    def forget_peak(self) -> None:
        """Let `VmHWM` begin again at what is resident now."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")


def requested(
    port: int,
    method: str,
    path: str,
    body: Any = None,
    content_type: str = "",
    *,
    accept: str = "",
) -> bytes:
    """Send one request on a connection of its own; `body` is bytes or an open file."""
    connection = http.client.HTTPConnection(
        "127.0.0.1", port, timeout=ANSWER_TIMEOUT_S, blocksize=BLOCK_BYTES
    )
    headers = {"Content-Type": content_type} if content_type else {}
    if accept:
        headers["Accept"] = accept
    if body is not None and not isinstance(body, bytes):
        headers["Content-Length"] = str(os.fstat(body.fileno()).st_size)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        answer = response.read()
    finally:
        connection.close()
    if response.status >= 300:
        raise RuntimeError(f"{method} {path}: {response.status} {answer[:2000]!r}")
    return answer


@contextmanager
def lakehouse_server(
    data_dir: Path | None = None, settings: Mapping[str, str] | None = None
) -> Iterator[Served]:
    """Start `lakehouse serve`, on an empty directory unless one is given; stop it with SIGTERM.

    Its warehouse lies where `store` says.

    Args:
        settings: variables of the environment beside those of this process.
    """
    with tempfile.TemporaryDirectory(prefix="lakehouse-bench-") as folder:
        directory = data_dir or Path(folder) / "data"
        port = free_port()
        log = Path(folder) / "server.log"
        command = [sys.executable, "-m", "lakehouse", "serve", "--data", str(directory)]
        began = time.perf_counter()
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, "--port", str(port)],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **variables(directory), **(settings or {})},
            )
        try:
            wait_until_ready(port, process, log)
            yield Served(port, process.pid, directory, time.perf_counter() - began)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_until_ready(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not answers(port, "/ready"):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the server is not up: {log.read_text()[-4000:]}")
        time.sleep(0.01)


def answers(port: int, path: str) -> bool:
    with suppress(OSError, http.client.HTTPException):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        connection.request("GET", path)
        return connection.getresponse().status == 200
    return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class KeptAlive:
    """One HTTP/1.1 connection that sends the same request again and again.

    The standard library's client spends more time on headers than the server on `SELECT 1`.
    """

    def __init__(
        self,
        port: int,
        method: str,
        path: str,
        body: bytes,
        content_type: str,
        status: int = 200,
        token: str | None = None,
    ) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray()
        self._status = f" {status} ".encode()
        kind = f"Content-Type: {content_type}\r\n" if content_type else ""
        bearer = f"Authorization: Bearer {token}\r\n" if token else ""
        self._head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{kind}{bearer}"
        self._request = self._with(body)

    def close(self) -> None:
        self._socket.close()

    def _with(self, body: bytes) -> bytes:
        return f"{self._head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    def send(self, body: bytes | None = None) -> bytes:
        """Return the answer's body; raises unless it has the expected status.

        Args:
            body: of this request; the usual one without.
        """
        self._socket.sendall(self._request if body is None else self._with(body))
        head = self._until(b"\r\n\r\n").lower()
        body = self._chunks() if b"transfer-encoding: chunked" in head else self._sized(head)
        if self._status not in head.split(b"\r\n", 1)[0]:
            raise RuntimeError(f"{head!r} {body[:500]!r}")
        return body

    def _sized(self, head: bytes) -> bytes:
        length = head.partition(b"content-length:")[2].split(b"\r\n", 1)[0]
        return self._exactly(int(length))

    def _chunks(self) -> bytes:
        parts = []
        while size := int(self._until(b"\r\n").split(b";")[0], 16):
            parts.append(self._exactly(size))
            self._until(b"\r\n")
        self._until(b"\r\n")
        return b"".join(parts)

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            self._receive()
        found = self._exactly(self._buffer.index(mark))
        self._exactly(len(mark))
        return found

    def _exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._receive()
        found = bytes(memoryview(self._buffer)[:count])
        del self._buffer[:count]  # in place: an answer of megabytes is not copied for each block
        return found

    def _receive(self) -> None:
        data = self._socket.recv(BLOCK_BYTES)
        if not data:
            raise RuntimeError("the server closed the connection")
        self._buffer += data
