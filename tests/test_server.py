"""The process: how it starts, who it lets in, and above all how it ends."""

import asyncio
import gzip
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from lakehouse import app
from lakehouse.app import kept_up
from lakehouse.config import (
    Config,
    ServerConfig,
    available_memory_bytes,
    default_memory_bytes,
)
from lakehouse.database import EngineMemoryError
from lakehouse.server import (
    MEMORY_ROOM_BYTES,
    BrokenOffError,
    CannotStartError,
    bound,
    data_limit_bytes,
    listen,
    owner_of,
    serve,
    unwrapped,
)
from lakehouse.state import lease
from tests.services import ROOT, ServerProcess, environment, free_port, lakehouse_server

GIB = 1024**3
ENDLESS_SQL = (
    "SELECT count(*) FROM range(9999999) a, range(9999999) b WHERE (a.range * b.range) % 7 = 3"
)


def run_serve(*options: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run a server that is not expected to stay."""
    return subprocess.run(
        [sys.executable, "-m", "lakehouse", "serve", *options],
        capture_output=True,
        text=True,
        timeout=30,
        env=environment(**variables),
        check=False,
    )


def wait_until(holds: Callable[[], bool], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def children_of(pid: int) -> list[str]:
    tasks = Path(f"/proc/{pid}/task")
    return [child for task in tasks.iterdir() for child in (task / "children").read_text().split()]


class Beside(threading.Thread):
    """A client that sends one request, beside the test."""

    def __init__(self, send: Callable[[], httpx.Response]) -> None:
        super().__init__(daemon=True)
        self._send = send
        self._answer: httpx.Response | None = None
        self.start()

    def run(self) -> None:
        with suppress(httpx.TransportError):
            self._answer = self._send()

    def answer(self) -> httpx.Response:
        self.join(timeout=60)
        assert self._answer is not None, "it got no answer"
        return self._answer


def asking_without_end(url: str) -> Beside:
    return Beside(lambda: httpx.post(f"{url}/v1/sql", json={"sql": ENDLESS_SQL}, timeout=60))


def wait_until_inside(client: httpx.Client) -> None:
    wait_until(lambda: "lakehouse_requests_inside 1.0" in client.get("/metrics").text)


# A server that runs.


def test_health_names_the_service_and_its_version(over_http: httpx.Client) -> None:
    answer = over_http.get("/health")

    assert answer.status_code == 200
    assert answer.json() == {"status": "ok", "service": "lakehouse", "version": "0.1.0"}


def test_it_is_one_process_with_one_pid(served: ServerProcess) -> None:
    assert children_of(served.pid) == []
    assert owner_of(int(served.url.rpartition(":")[2])).startswith(f"PID {served.pid} (")


def test_the_data_directory_is_for_its_owner_alone(served: ServerProcess) -> None:
    assert served.data_dir.stat().st_mode & 0o777 == 0o700


def test_the_log_is_a_json_document_a_line_with_the_trace_id(
    served: ServerProcess, over_http: httpx.Client
) -> None:
    over_http.get("/v1/tables", headers={"X-Lakehouse-Trace-Id": "find-me"})
    over_http.post("/v1/sql", json={"sql": "SELEC"}, headers={"X-Lakehouse-Trace-Id": "me-too"})

    wait_until(lambda: "me-too" in served.log())  # a line is written when the answer has left
    lines = [json.loads(line) for line in served.log().splitlines() if line.startswith("{")]
    (first,) = [line for line in lines if line.get("trace_id") == "find-me"]
    assert first["message"] == "GET /v1/tables 200"
    assert first["level"] == "INFO"
    assert first["duration_ms"] > 0
    assert first["time"].endswith("+00:00")
    (second,) = [line for line in lines if line.get("trace_id") == "me-too"]
    assert second["status"] == 400
    assert any(line["message"] == f"serving at {served.url}" for line in lines)
    assert "Embedded server is experimental" not in served.log()


def test_a_taken_port_is_said_in_one_sentence_that_names_its_owner(
    served: ServerProcess, tmp_path: Path
) -> None:
    port = served.url.rpartition(":")[2]

    done = run_serve("--data", str(tmp_path / "other"), "--port", port)

    assert done.returncode == 1
    assert f"port {port} is in use by PID {served.pid} (" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "other").exists()


def test_a_held_data_directory_is_said_in_one_sentence_that_names_its_holder(
    served: ServerProcess, free_port: int
) -> None:
    done = run_serve("--data", str(served.data_dir), "--port", str(free_port))

    assert done.returncode != 0
    assert f"is in use by PID {served.pid}" in done.stderr
    assert served.url in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_it_takes_a_thousand_idle_connections_and_still_answers(served: ServerProcess) -> None:
    port = int(served.url.rpartition(":")[2])
    idle = []
    try:
        for _ in range(300):  # granian's own default ends at 128
            idle.append(socket.create_connection(("127.0.0.1", port)))
            idle[-1].sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")

        assert httpx.get(f"{served.url}/health", timeout=5).status_code == 200
    finally:
        for connection in idle:
            connection.close()


# A start that fails.


def test_an_address_that_others_reach_does_not_start_and_says_why(tmp_path: Path) -> None:
    done = run_serve("--data", str(tmp_path / "data"), "--host", "0.0.0.0")

    assert done.returncode != 0
    assert "server.external = true" in done.stderr
    assert not (tmp_path / "data").exists()


def test_all_errors_of_the_settings_are_said_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "lakehouse.toml"
    path.write_text("[server]\nprot = 1\n[query]\ntimeout_s = 0\n")

    done = run_serve("--config", str(path), LAKEHOUSE_LOG__LEVEL="LOUD")

    assert done.returncode != 0
    for words in (":2: ", "did you mean port?", ":4: ", "query.timeout_s", "log.level is 'LOUD'"):
        assert words in done.stderr


# An end.


def test_what_was_accepted_is_finished_and_what_is_new_is_refused(tmp_path: Path) -> None:
    rest_may_come = threading.Event()

    def slowly() -> Iterator[bytes]:
        yield b"first"
        rest_may_come.wait(timeout=30)
        yield b", then"

    with lakehouse_server(tmp_path / "data") as server:
        url = f"{server.url}/v1/storage/put/slow"
        slow = Beside(lambda: httpx.put(url, content=slowly(), timeout=60))
        with httpx.Client(base_url=server.url) as client:
            wait_until_inside(client)
            server.signal()
            wait_until(lambda: client.get("/ready").status_code == 503)
            readiness = client.get("/ready").json()
            refused = client.post("/v1/sql", json={"sql": "SELECT 1"})
            assert client.get("/health").status_code == 200
        rest_may_come.set()

        assert readiness["ready"] is False
        assert readiness["parts"]["server"] == {"ok": False, "reason": "it is stopping"}
        assert refused.status_code == 503
        assert refused.json()["type"] == "/problems/stopping"
        assert refused.headers["Retry-After"] == "5"
        assert slow.answer().status_code == 200
        assert slow.answer().json()["size"] == len(b"first, then")
        assert server.wait(15) == 0


def test_under_load_every_request_is_answered_or_refused_whole(tmp_path: Path) -> None:
    answers: list[int] = []
    broken: list[str] = []

    def send(url: str) -> None:
        with httpx.Client(base_url=url, timeout=20) as client:
            while True:
                try:
                    answers.append(client.post("/v1/sql", json={"sql": "SELECT 42"}).status_code)
                except httpx.ConnectError:  # nobody listens any more
                    return
                except httpx.TransportError as error:  # an idle connection was closed
                    broken.append(type(error).__name__)

    with lakehouse_server(tmp_path / "data") as server:
        senders = [threading.Thread(target=send, args=(server.url,)) for _ in range(6)]
        for sender in senders:
            sender.start()
        wait_until(lambda: len(answers) > 100)
        server.signal()

        assert server.wait(15) == 0
        for sender in senders:
            sender.join(timeout=20)
    assert set(answers) <= {200, 503}
    assert len(broken) <= len(senders), broken


def test_after_the_grace_a_statement_is_interrupted_and_the_process_ends_well(
    tmp_path: Path,
) -> None:
    with lakehouse_server(tmp_path / "data", LAKEHOUSE_SERVER__SHUTDOWN_GRACE_S="0") as server:
        endless = asking_without_end(server.url)
        with httpx.Client(base_url=server.url) as client:
            wait_until_inside(client)
        begun = time.monotonic()
        server.signal()

        assert server.wait(10) == 0
        assert time.monotonic() - begun < 8
        assert endless.answer().status_code >= 400
        assert endless.answer().headers["Content-Type"] == "application/problem+json"


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    with lakehouse_server(tmp_path / "data") as server:
        asking_without_end(server.url)
        with httpx.Client(base_url=server.url) as client:
            wait_until_inside(client)
            server.signal()
            wait_until(lambda: client.get("/ready").status_code == 503)
        server.signal(signal.SIGINT)

        assert server.wait(2) == 128 + signal.SIGINT


STUCK = """
import asyncio, sys, threading, time
from pathlib import Path
from lakehouse import server
from lakehouse.config import (
    Config,
    ServerConfig,
    available_memory_bytes,
    default_memory_bytes,
)

server.END_MAX_S = 3.0
config = Config(server=ServerConfig(port=int(sys.argv[2])))

def started(url):
    threading.Thread(target=time.sleep, args=(60,)).start()  # a call that no interrupt reaches

asyncio.run(server.serve(config, Path(sys.argv[1]), started))
"""


def test_a_call_that_cannot_be_interrupted_does_not_keep_the_process(
    tmp_path: Path, free_port: int
) -> None:
    command = [sys.executable, "-c", STUCK, str(tmp_path / "data"), str(free_port)]
    process = subprocess.Popen(command, env=environment(), cwd=ROOT)
    try:
        wait_until(lambda: owner_of(free_port).startswith(f"PID {process.pid} "), 20)
        begun = time.monotonic()
        process.terminate()

        assert process.wait(timeout=10) == 0
        assert time.monotonic() - begun < 6
    finally:
        process.kill()


# The parts, in this process.


@pytest.fixture
def own_limits() -> Iterator[None]:
    kinds = (resource.RLIMIT_DATA, resource.RLIMIT_NOFILE)
    before = [resource.getrlimit(kind) for kind in kinds]
    yield
    for kind, limits in zip(kinds, before, strict=True):
        resource.setrlimit(kind, limits)


@pytest.mark.usefixtures("own_limits")
async def test_systemd_is_told_when_it_is_ready_and_when_it_stops(
    tmp_path: Path, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        config = Config(server=ServerConfig(port=free_port))

        await serve(config, tmp_path / "data", lambda url: os.kill(os.getpid(), signal.SIGTERM))

        assert systemd.recv(100) == b"READY=1"
        assert systemd.recv(100) == b"STOPPING=1"


@pytest.mark.usefixtures("own_limits")
async def test_a_server_that_loses_its_catalog_stops_by_itself_and_says_so(
    tmp_path: Path, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "HEARTBEAT_S", 0.05)
    config = Config(server=ServerConfig(port=free_port))

    def lose(url: str) -> None:
        other = subprocess.run(
            [
                sys.executable,
                "-c",
                "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]);"
                " c.execute('UPDATE lease SET token = 0'); c.commit()",
                str(tmp_path / "data" / "catalog.db"),
            ],
            check=True,
        )
        assert other.returncode == 0

    with pytest.raises(BrokenOffError):
        await serve(config, tmp_path / "data", lose)


async def test_a_job_in_the_background_without_memory_begins_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(app, "MEMORY_WAIT_S", 0.01)
    stopped, going, failures = (
        asyncio.Event(),
        asyncio.Event(),
        [MemoryError(), EngineMemoryError()],
    )

    async def chore() -> None:
        if failures:
            raise failures.pop()
        going.set()
        await asyncio.Event().wait()

    async with asyncio.timeout(5), kept_up(stopped.set, chore):
        await going.wait()

    assert not stopped.is_set()


async def test_a_job_in_the_background_that_fails_stops_the_server() -> None:
    stopped = asyncio.Event()

    async def fail() -> None:
        raise RuntimeError

    async def go_on() -> None:
        await asyncio.sleep(60)

    async with kept_up(stopped.set, fail, go_on):
        async with asyncio.timeout(5):
            await stopped.wait()


def test_of_two_that_want_one_port_at_once_exactly_one_gets_it(free_port: int) -> None:
    with bound("127.0.0.1", free_port) as first:
        try:
            with bound("127.0.0.1", free_port) as second:  # neither listens: Linux lets both bind
                listen(first, free_port)
                with pytest.raises(CannotStartError, match=f"in use by PID {os.getpid()} "):
                    listen(second, free_port)
        except CannotStartError:
            listen(first, free_port)
        with (
            pytest.raises(CannotStartError, match=f"port {free_port} is in use by PID"),
            bound("127.0.0.1", free_port),
        ):
            pass


def test_a_port_is_free_again_right_after_a_stop(free_port: int) -> None:
    for _ in range(2):
        with bound("127.0.0.1", free_port) as listener:
            listen(listener, free_port)
            with socket.create_connection(("127.0.0.1", free_port)):
                accepted = listener.accept()[0]
                accepted.close()  # we close first: the port is left in TIME_WAIT


def test_an_error_that_went_through_a_task_group_is_raised_as_itself() -> None:
    with pytest.raises(CannotStartError), unwrapped():
        raise ExceptionGroup("tasks", [CannotStartError("no")])
    with pytest.raises(ExceptionGroup), unwrapped():
        raise ExceptionGroup("tasks", [CannotStartError("no"), ValueError()])


def test_a_port_that_may_not_be_had_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        pytest.raises(CannotStartError, match="is no address"),
        bound("no.such.host.invalid", 80),
    ):
        pass


@pytest.mark.parametrize(
    ("max_bytes", "available_bytes", "limit_bytes"),
    [
        (10 * GIB, 64 * GIB, 10 * GIB + MEMORY_ROOM_BYTES),
        (GIB, 2 * GIB, int(2 * GIB * 0.9)),
        (4 * GIB, 2 * GIB, 4 * GIB),
    ],
)
def test_the_kernel_refuses_before_it_kills(
    max_bytes: int, available_bytes: int, limit_bytes: int
) -> None:
    assert data_limit_bytes(max_bytes, available_bytes) == limit_bytes


def test_a_server_has_the_limit(served: ServerProcess) -> None:
    limits = Path(f"/proc/{served.pid}/limits").read_text()
    (line,) = [line for line in limits.splitlines() if line.startswith("Max data size")]
    assert int(line.split()[3]) == data_limit_bytes(
        default_memory_bytes(), available_memory_bytes()
    )


def test_what_arrow_reserves_fits_into_the_limit_of_a_small_server(served: ServerProcess) -> None:
    """Its own allocator takes 1 GiB at once, all the room that there is beside the budget."""
    packed = gzip.compress(b"a,b\n1,2\n")
    answer = httpx.post(f"{served.url}/v1/ingest?name=packed&format=csv", content=packed)
    assert answer.status_code == 200, answer.text

    status = Path(f"/proc/{served.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmData:")]
    assert int(line.split()[1]) * 1024 < MEMORY_ROOM_BYTES


def test_a_call_beyond_the_limit_gets_an_error_and_the_process_lives() -> None:
    script = (
        "from lakehouse.server import limit_memory\n"
        "limit_memory(1 << 29, 1 << 33)\n"
        "try:\n"
        "    bytearray(1 << 32)\n"
        "except MemoryError:\n"
        "    print('refused')\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )

    assert done.stdout == "refused\n", done.stderr


def test_a_port_that_nobody_has_has_no_owner() -> None:
    assert owner_of(free_port()) == "a process of another user"
