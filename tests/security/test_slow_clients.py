"""A client that is slow on purpose holds no place for ever: raw sockets against a real server.

Its time-outs are cut to a part of a second; all clients are slow at once.
"""

import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeAlias

import httpx
import pytest

from tests.services import environment, free_port, running

SHORT_S = 0.6
SERVE = f"""
import sys
from lakehouse import server
from lakehouse.api import edge, streams
server.HEADERS_WAIT_S = server.UNREAD_MAX_S = {SHORT_S}
edge.BODY_PAUSE_MAX_S = streams.STALL_MAX_S = {SHORT_S}
from lakehouse.cli import lakehouse
sys.argv[0] = "lakehouse"
lakehouse()
"""
PUTS_MAX = 4
BIG_BYTES = 24 * 1024 * 1024
STEADY = [b" " * 16_384] * 9 + [b'{"sql": "SELECT 42"}']
GIVES_UP_S = 15
"""When a client here gives up: the server should have long before."""


Ended: TypeAlias = Future[tuple[bytes, float]]
"""What came back, and after how many seconds."""


class Slow:
    """Sockets to the server, and what became of those that were slow."""

    def __init__(self, port: int) -> None:
        self.port = port

    def connected(self) -> socket.socket:
        wire = socket.socket()
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wire.settimeout(GIVES_UP_S)
        wire.connect(("127.0.0.1", self.port))
        return wire

    def dripping(self, head: str, drop: bytes = b" ") -> tuple[bytes, float]:
        """Send a head, then a drop again and again; return what came, and after how long."""
        began = time.monotonic()
        with self.connected() as wire:
            wire.sendall(head.encode())
            wire.settimeout(0.05)
            while time.monotonic() - began < GIVES_UP_S:
                try:
                    wire.sendall(drop)
                    return wire.recv(4096), time.monotonic() - began
                except TimeoutError:
                    continue
                except ConnectionError:
                    return b"", time.monotonic() - began
        return b"it waits still", GIVES_UP_S

    def silent(self, text: str) -> tuple[bytes, float]:
        began = time.monotonic()
        with self.connected() as wire:
            wire.sendall(text.encode())
            try:
                return wire.recv(4096), time.monotonic() - began
            except ConnectionError:
                return b"", time.monotonic() - began

    def idle(self, text: str) -> tuple[bytes, float]:
        """Ask, read the answer, ask no more; return what comes then."""
        with self.connected() as wire:
            wire.sendall(text.encode())
            assert wire.recv(4096).startswith(b"HTTP/1.1 200 ")
            began = time.monotonic()
            return wire.recv(4096), time.monotonic() - began

    def steady(self, head: str) -> tuple[bytes, float]:
        """Send a body in pieces, each in time, the last of them later than one pause may be."""
        began = time.monotonic()
        with self.connected() as wire:
            wire.sendall(head.encode())
            for piece in STEADY:
                time.sleep(SHORT_S / 6)
                wire.sendall(piece)
            return wire.recv(4096), time.monotonic() - began

    def unread(self, head: str, body: bytes = b"") -> int:
        """Ask and read nothing for a while; return how much of the answer can be read then."""
        with self.connected() as wire:
            wire.sendall(head.encode() + body)
            time.sleep(3 * SHORT_S)
            received = 0
            try:
                while piece := wire.recv(1024 * 1024):
                    received += len(piece)
            except ConnectionError:
                pass
            return received


def head_of(method: str, path: str, length: int | None = None, *more: str) -> str:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *more]
    lines += [f"Content-Length: {length}"] if length is not None else []
    return "\r\n".join([*lines, "", ""])


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("LAKEHOUSE_TEST_LONG" not in os.environ, reason="several seconds"),
]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data, port = tmp_path_factory.mktemp("slow") / "data", free_port()
    command = [sys.executable, "-c", SERVE, "serve", "--data", str(data), "--port", str(port)]
    address = f"http://127.0.0.1:{port}"
    with running(*command, ready=f"{address}/ready", env=environment()):
        yield address


@pytest.fixture(scope="module")
def ended(url: str) -> dict[str, Ended]:
    """What became of each slow client, by what it did; all of them at once."""
    slow = Slow(int(url.rpartition(":")[2]))
    csv = "Content-Type: text/csv"
    with ThreadPoolExecutor(16) as pool:
        found = {
            "steady": pool.submit(slow.steady, head_of("POST", "/v1/sql", sum(map(len, STEADY)))),
            "nothing": pool.submit(slow.silent, ""),
            "nothing more": pool.submit(slow.idle, head_of("GET", "/health")),
            "half a line": pool.submit(slow.silent, "GET /hea"),
            "headers": pool.submit(slow.dripping, "GET /health HTTP/1.1\r\nX-A: ", b"a"),
            "json": pool.submit(slow.dripping, head_of("POST", "/v1/sql", 100_000)),
            "no json": pool.submit(slow.silent, head_of("POST", "/v1/sql", 100_000)),
            "load": pool.submit(slow.dripping, head_of("POST", "/v1/ingest?name=a", 100_000, csv)),
        }
        for number in range(PUTS_MAX):
            path = f"/v1/storage/put/{number}"
            found[f"put {number}"] = pool.submit(slow.dripping, head_of("PUT", path, 100_000))
    return found


@pytest.mark.parametrize("what", ["nothing", "nothing more", "half a line", "headers"])
def test_headers_that_do_not_come_end_the_connection(ended: dict[str, Ended], what: str) -> None:
    answer, after_s = ended[what].result()
    assert answer == b""
    assert after_s < GIVES_UP_S


@pytest.mark.parametrize(
    "what", ["json", "no json", "load", *(f"put {n}" for n in range(PUTS_MAX))]
)
def test_a_body_that_comes_a_byte_at_a_time_is_408_and_ends_the_connection(
    ended: dict[str, Ended], what: str
) -> None:
    answer, after_s = ended[what].result()
    assert answer.startswith(b"HTTP/1.1 408 "), answer
    assert b"connection: close" in answer
    assert after_s < GIVES_UP_S


def test_the_places_of_slow_uploads_are_free_again(ended: dict[str, Ended], url: str) -> None:
    assert len(ended) > PUTS_MAX
    for number in range(PUTS_MAX + 1):
        answer = httpx.put(f"{url}/v1/storage/put/{number}", content=b"whole")
        assert answer.status_code == 200


def test_an_answer_that_nobody_reads_is_given_up(url: str) -> None:
    slow = Slow(int(url.rpartition(":")[2]))
    assert httpx.put(f"{url}/v1/storage/put/big", content=b"x" * BIG_BYTES).status_code == 200
    sql = json.dumps({"sql": "SELECT repeat('x', 900000) AS x FROM range(8)"}).encode()
    rows = json.dumps({"sql": "SELECT i, repeat('x', 1000) FROM range(100000) t(i)"}).encode()
    asked = [
        (head_of("GET", "/v1/storage/get/big"), b""),
        (head_of("POST", "/v1/sql?format=csv", len(rows)), rows),
        (head_of("POST", "/v1/sql", len(sql)), sql),  # it is whole in memory, and leaves at once
    ]
    whole = [BIG_BYTES, 100_000_000, 7_200_000]
    with ThreadPoolExecutor(len(asked)) as pool:
        received = list(pool.map(lambda each: slow.unread(*each), asked))
    for some, most in zip(received, whole, strict=True):
        assert some < most, "the connection is gone, and the rest of the answer with it"
    inside = [
        line
        for line in httpx.get(f"{url}/metrics").text.splitlines()
        if line.startswith("lakehouse_requests_inside ")
    ]
    assert inside == ["lakehouse_requests_inside 0.0"]


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        ("/health", 90, 200),
        ("/v1/tables", 150, 431),
        ("/health", 150, 431),
        ("/" + "x" * 100_000, 1, 414),
    ],
)
def test_headers_are_so_many_and_a_path_is_so_long(
    url: str, path: str, fields: int, status: int
) -> None:
    more = [f"X-{number}: a" for number in range(fields)]
    answer, _ = Slow(int(url.rpartition(":")[2])).silent(head_of("GET", path, None, *more))
    assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer
