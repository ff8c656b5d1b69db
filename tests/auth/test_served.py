"""A real server: the socket of its owner, tokens over the network, a revocation under way."""

import contextlib
import json
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from lakehouse import auth
from lakehouse.client import Client, Grant, RemoteError, Role
from lakehouse.client.transport import LostAnswerError
from lakehouse.errors import (
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from lakehouse.local_socket import (
    is_answered,
    listening,
    listening_for_operator,
    operator_path,
)
from lakehouse.state import SqliteState
from tests.services import ServerProcess, environment, free_port, lakehouse_server

LAKEHOUSE = [sys.executable, "-m", "lakehouse"]
ROLES: dict[str, Role] = {"asker": "reader", "stranger": "writer", "boss": "admin"}
MARKER = "marker-" + "s" * 40


def owner_of(server: ServerProcess) -> Client:
    return Client(f"unix:{operator_path(server.data_dir)}")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that asks for tokens; `keeper` is its admin."""
    with lakehouse_server(tmp_path_factory.mktemp("guarded") / "data") as server:
        with owner_of(server) as owner:
            owner.tokens.create("keeper", [Grant("admin")])
            owner.create_namespace("sales")
            owner.create_namespace("hr")
        yield server


def token_of(server: ServerProcess, name: str, *grants: Grant) -> str:
    with owner_of(server) as owner:
        return owner.tokens.create(name, grants).token


def test_the_socket_is_its_owners_alone(guarded: ServerProcess) -> None:
    found = operator_path(guarded.data_dir).stat()
    assert stat.S_ISSOCK(found.st_mode)
    assert stat.S_IMODE(found.st_mode) == 0o600
    with owner_of(guarded) as owner:
        assert owner.tokens.who_am_i().name == "local"


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
@pytest.mark.parametrize("folder", ["data", "d" * 120])
def test_the_socket_is_its_owners_alone_under_every_umask(
    tmp_path: Path, umask: int, folder: str
) -> None:
    path = operator_path(tmp_path / folder)
    path.parent.mkdir()
    before = os.umask(umask)
    try:
        with listening(path, 1):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert is_answered(path)
        with listening(path, 1):  # in the place of what the one before has left
            assert is_answered(path)
    finally:
        os.umask(before)


def test_the_socket_lies_in_the_runtime_directory_where_systemd_gives_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [tmp_path / name for name in ("run", "data", "other")]
    for folder in folders:
        folder.mkdir()
    run, data, other = folders
    monkeypatch.setenv("RUNTIME_DIRECTORY", f"{run}:{tmp_path}/more")

    for _ in range(2):  # the second one in the place of what the first has left
        with listening_for_operator(data, 9):
            path = operator_path(data)
            assert path.readlink() == run / path.name
            assert stat.S_IMODE((run / path.name).lstat().st_mode) == 0o600
            assert is_answered(path)
            with listening_for_operator(other, 9):  # of the same service
                assert not operator_path(other).is_symlink()
                assert is_answered(operator_path(other)) and is_answered(path)
        assert not is_answered(path)

    monkeypatch.delenv("RUNTIME_DIRECTORY")
    with listening_for_operator(data, 9):
        assert not operator_path(data).is_symlink(), "no link to a place of before"


def test_a_server_is_found_by_its_data_directory_wherever_its_socket_lies(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with lakehouse_server(tmp_path / "data", RUNTIME_DIRECTORY=str(run)) as server:
        assert [each.name for each in run.iterdir()] == ["operator.sock"]
        with owner_of(server) as owner:
            assert owner.tokens.who_am_i().name == "local"


def test_a_socket_leaves_the_umask_of_all_threads_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed(mask: int) -> int:
        raise AssertionError("another thread may be making a folder")

    monkeypatch.setattr(os, "umask", changed)
    listening(operator_path(tmp_path), 1).close()


def test_a_socket_is_sent_no_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKEHOUSE_TOKEN", MARKER)
    path = operator_path(tmp_path)
    with listening(path, 1) as listener:
        listener.settimeout(10)

        def told() -> bytes:
            connection, _ = listener.accept()
            with connection:
                return connection.recv(4096)

        with ThreadPoolExecutor(1) as pool, Client(f"unix:{path}", retry_max_s=0) as lake:
            heard = pool.submit(told)
            with pytest.raises(LostAnswerError):
                lake.health()
            assert b"GET /health" in heard.result()
            assert MARKER.encode() not in heard.result()


def test_with_a_token_there_is_no_way_in_without_one(guarded: ServerProcess) -> None:
    for path in ("/ready", "/metrics", "/v1/tables", "/schema/openapi.json", "/nowhere"):
        answer = httpx.get(guarded.url + path)
        assert answer.status_code == 401, path
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert answer.json()["type"] == "/problems/no-token"
    assert httpx.get(f"{guarded.url}/health").status_code == 200


def test_a_token_does_what_it_was_granted(guarded: ServerProcess) -> None:
    secret = token_of(guarded, "etl", Grant("writer", "sales"), Grant("reader", "hr"))
    with Client(guarded.url, token=secret) as lake:
        lake.ingest(b"id\n1\n2\n", "sales.orders")
        assert list(lake.sql("SELECT count(*) FROM sales.orders")) == [[2]]
        with pytest.raises(PermissionDeniedError, match="may not write"):
            lake.ingest(b"id\n1\n", "hr.staff")
        with pytest.raises(PermissionDeniedError):
            list(lake.tokens.list())
        (snapshot,) = lake.history("sales.orders")
        assert snapshot.by == "etl"


def test_a_wrong_token_is_401_and_says_no_more(guarded: ServerProcess) -> None:
    with Client(guarded.url, token="lh_" + "0" * 49) as lake, pytest.raises(UnauthenticatedError):
        list(lake.tables())


def test_a_revocation_ends_what_is_under_way_within_a_second(guarded: ServerProcess) -> None:
    secret = token_of(guarded, "slow", Grant("reader"))
    said = {"Authorization": f"Bearer {secret}", "Accept": "application/x-ndjson"}
    sql = "SELECT i FROM range(100000000) t(i)"
    with (
        httpx.stream("POST", f"{guarded.url}/v1/sql", json={"sql": sql}, headers=said) as answer,
        owner_of(guarded) as owner,
    ):
        pieces = answer.iter_raw()
        next(pieces)
        owner.tokens.revoke("slow")
        revoked_at = time.monotonic()
        with pytest.raises(httpx.RemoteProtocolError):
            while True:
                next(pieces)
        assert time.monotonic() - revoked_at < 1.5
    assert httpx.get(f"{guarded.url}/v1/tables", headers=said).status_code == 401


def test_a_revoked_statement_stops_in_the_engine_too(guarded: ServerProcess) -> None:
    secret = token_of(guarded, "heavy", Grant("reader"))
    sql = "SELECT count(*) FROM range(100000000) a(i), range(1000000) b(j) WHERE i % 7 = j % 11"
    raw = json.dumps({"sql": sql}).encode()
    with socket.create_connection(("127.0.0.1", int(guarded.url.rpartition(":")[2]))) as wire:
        head = f"POST /v1/sql HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {secret}\r\n"
        wire.sendall(f"{head}Content-Length: {len(raw)}\r\n\r\n".encode() + raw)
        time.sleep(0.5)
        with owner_of(guarded) as owner:
            owner.tokens.revoke("heavy")
        wire.settimeout(5)
        assert b" 401 " in wire.recv(4096)


def test_a_statement_is_killed_by_its_caller_or_an_admin_and_by_nobody_else(
    guarded: ServerProcess,
) -> None:
    secrets = {name: token_of(guarded, name, Grant(role)) for name, role in ROLES.items()}
    clients = {name: Client(guarded.url, token=secret) for name, secret in secrets.items()}
    sql = "SELECT count(*) FROM range(100000000) a(i), range(1000000) b(j) WHERE i % 7 = j % 11"

    def ask() -> None:
        with pytest.raises(ConflictError):
            list(clients["asker"].sql(sql))

    with contextlib.ExitStack() as stack:
        for client in clients.values():
            stack.enter_context(client)
        for killer in ("asker", "boss"):
            thread = threading.Thread(target=ask)
            thread.start()
            deadline = time.monotonic() + 10
            while not (running := clients["asker"].queries.all()) or not running[0].sql:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            (query,) = running
            assert (query.caller, query.state, query.sql) == ("asker", "running", sql)
            assert clients["stranger"].queries.all() == []
            with pytest.raises(NotFoundError):
                clients["stranger"].queries.kill(query.query_id)
            assert [each.query_id for each in clients["boss"].queries.all()] == [query.query_id]
            clients[killer].queries.kill(query.query_id)
            thread.join(timeout=10)
            assert not thread.is_alive()
            assert clients["boss"].queries.all() == []


def test_an_answer_ends_when_its_token_expires(guarded: ServerProcess) -> None:
    ends = datetime.now(UTC) + timedelta(seconds=1.5)
    with owner_of(guarded) as owner:
        secret = owner.tokens.create("brief", [Grant("reader")], expires_at=ends).token
    said = {"Authorization": f"Bearer {secret}", "Accept": "application/x-ndjson"}
    sql = "SELECT i FROM range(1000000000) t(i)"
    with httpx.stream("POST", f"{guarded.url}/v1/sql", json={"sql": sql}, headers=said) as answer:
        with pytest.raises(httpx.RemoteProtocolError):
            for _ in answer.iter_raw():
                assert datetime.now(UTC) < ends + timedelta(seconds=2)
        assert datetime.now(UTC) >= ends


def test_a_rotated_token_works_on_with_either_secret(guarded: ServerProcess) -> None:
    old = token_of(guarded, "rolling", Grant("reader"))
    with owner_of(guarded) as owner:
        new = owner.tokens.rotate("rolling").token
    for secret in (old, new):
        with Client(guarded.url, token=secret) as lake:
            assert lake.tokens.who_am_i().name == "rolling"


def test_keys_jobs_and_results_are_of_one_caller(guarded: ServerProcess) -> None:
    one, other = (
        Client(guarded.url, token=token_of(guarded, name, Grant("writer", "main")))
        for name in ("one", "other")
    )
    with one, other:
        one.ingest(b"id\n1\n", "shared", idempotency_key="same")
        other.ingest(b"id\n7\n", "shared", mode="append", idempotency_key="same")
        assert list(one.sql("SELECT count(*) FROM shared")) == [[2]]
        job = one.ingest_later(b"id\n3\n", "later")
        one.jobs.wait(job.id)
        assert job.id in [each.id for each in one.jobs.list()]
        assert list(other.jobs.list()) == []
        with pytest.raises(RemoteError):
            other.jobs.get(job.id)


def test_a_line_of_the_log_names_the_caller_and_never_its_secret(guarded: ServerProcess) -> None:
    secret = token_of(guarded, "logged", Grant("reader"))
    with Client(guarded.url, token=secret) as lake:
        list(lake.tables())
    deadline = time.monotonic() + 10
    while '"caller":"logged"' not in guarded.log():  # its line comes after the answer
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert secret not in guarded.log()


def test_other_machines_need_a_token_and_the_word_of_the_operator(tmp_path: Path) -> None:
    data = tmp_path / "data"
    command = [*LAKEHOUSE, "serve", "--data", str(data)]
    where = ["--host", "0.0.0.0", "--port", str(free_port())]

    def refused(**variables: str) -> str:
        ended = subprocess.run(
            [*command, *where],
            env=environment(**variables),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode != 0
        return ended.stdout + ended.stderr

    assert "server.external" in refused()
    data.mkdir(mode=0o700)
    with SqliteState.open(data / "catalog.db") as state:
        soon = datetime.now(UTC) + timedelta(milliseconds=300)
        ended = auth.TokenCreate("ended", [auth.Grant("admin")], expires_at=soon)
        auth.Tokens(state).create(ended)
    assert "there is no valid token" in refused(LAKEHOUSE_SERVER__EXTERNAL="true")
    with lakehouse_server(
        data,
        "--host",
        "0.0.0.0",
        LAKEHOUSE_SERVER__EXTERNAL="true",
        LAKEHOUSE_TOKEN=MARKER,
        LAKEHOUSE_AUTH__OPEN_ROUTES="/ready",
    ) as server:
        assert httpx.get(f"{server.url}/v1/tables").status_code == 401
        said = {"Authorization": f"Bearer {MARKER}", "Host": "lake.example"}
        assert httpx.get(f"{server.url}/v1/tokens", headers=said).status_code == 200
        assert MARKER not in server.log()


def test_commands_reach_a_served_directory_as_its_owner(
    guarded: ServerProcess, tmp_path: Path
) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*LAKEHOUSE, *arguments],
            env=environment(),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    data = ["--data", str(guarded.data_dir)]
    made = run("token", "create", "cli", "--role", "writer", "--on", "sales", *data)
    assert made.returncode == 0, made.stderr
    secret = made.stdout.strip()
    assert secret.startswith("lh_")
    assert "writer on sales" in made.stderr
    with Client(guarded.url, token=secret) as lake:
        assert lake.tokens.who_am_i().grants == [Grant("writer", "sales")]
    assert "cli" in run("token", "list", *data).stdout
    assert run("token", "revoke", "cli", *data).returncode == 0
    assert httpx.get(guarded.url + "/v1/tables").status_code == 401


def test_a_token_is_made_before_there_is_a_server(tmp_path: Path) -> None:
    data = tmp_path / "new"
    ended = subprocess.run(
        [*LAKEHOUSE, "token", "create", "ops", "--role", "admin", "--data", str(data), "--json"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    secret = json.loads(ended.stdout)["token"]
    with lakehouse_server(data, LAKEHOUSE_AUTH__OPEN_ROUTES="/ready") as server:
        assert httpx.get(f"{server.url}/v1/tables").status_code == 401
        with Client(server.url, token=secret) as lake:
            assert [each.name for each in lake.tokens.list()] == ["ops"]
