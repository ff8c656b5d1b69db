"""Secrets that were planted everywhere are found nowhere but where they belong."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from lakehouse.auth.secrets import hash_of
from lakehouse.client import Client, Grant
from lakehouse.local_socket import operator_path
from lakehouse.redaction import REDACTED
from tests.services import ServerProcess, environment, lakehouse_server

ENVIRONMENT = "planted-environment-" + "e" * 24
KEY_ID, KEY, SESSION = (f"planted-key-{word}-" + "k" * 24 for word in ("id", "secret", "session"))
WRONG = "planted-wrong-" + "w" * 24
BASIC = "planted-basic-" + "b" * 24
QUERY = "planted-query-" + "q" * 24
SQL = "planted-sql-" + "s" * 24
BOUND = "planted-bound-" + "p" * 24
ROW = "planted-row-" + "r" * 24
BAD_ROW = "planted-bad-row-" + "r" * 24
HEADER = "planted-header-" + "h" * 24
BUSY = "SELECT count(*) FROM range(100000000) a(i), range(1000000) b(j) WHERE i % 7 = j % 11"


class Planted:
    """A server that was told secrets in every way there is, and all that it said of them."""

    def __init__(self, server: ServerProcess, client: httpx.Client, backups: Path) -> None:
        self.server, self.client, self.backups = server, client, backups
        self.tokens: list[str] = []
        self.environ: list[bytes] = []
        """What the kernel shows of the server's environment once it has started."""
        self.said: dict[str, str] = {}
        """What answers and commands said, by what was asked; not the answer that makes a token."""

    def ask(self, method: str, path: str, token: str = "", **options: object) -> httpx.Response:
        headers: dict[str, str] = {**options.pop("headers", {})}  # type: ignore[dict-item]
        if token:
            headers.setdefault("Authorization", f"Bearer {token}")
        what = options.pop("what", f"{method} {path[:40]}")
        answer = self.client.request(method, path, headers=headers, **options)  # type: ignore[arg-type]
        told = "\n".join(f"{name}: {value}" for name, value in answer.headers.items())
        self.said[f"{len(self.said)} {what}"] = f"{told}\n{answer.text}"
        return answer

    def command(self, *words: str, **variables: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "lakehouse", *words],
            env=environment(**variables),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        self.said[" ".join(words[:2])] = done.stdout + done.stderr

    def files(self) -> Iterator[tuple[Path, bytes]]:
        """Yield every file that the server keeps, and every copy of one."""
        for root in (self.server.data_dir, self.backups):
            for path in sorted(root.rglob("*")):
                if path.is_file() and not path.is_symlink():
                    yield path, path.read_bytes()


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planted]:
    folder = tmp_path_factory.mktemp("planted")
    backups = folder / "backups"
    backups.mkdir()
    with (
        lakehouse_server(
            folder / "data",
            LAKEHOUSE_TOKEN=ENVIRONMENT,
            AWS_ACCESS_KEY_ID=KEY_ID,
            AWS_SECRET_ACCESS_KEY=KEY,
            AWS_SESSION_TOKEN=SESSION,
            LAKEHOUSE_AUTH__OPEN_ROUTES="/ready",
            LAKEHOUSE_BACKUP__DIRECTORIES=str(backups),
            LAKEHOUSE_LOG__LEVEL="DEBUG",
        ) as server,
        httpx.Client(base_url=server.url, timeout=30) as client,
    ):
        found = Planted(server, client, backups)
        found.environ = Path(f"/proc/{server.pid}/environ").read_bytes().split(b"\0")
        plant(found)
        look(found)
        server.signal(signal.SIGABRT)
        assert server.wait() == -signal.SIGABRT
        assert "Fatal Python error: Aborted" in server.log()
        yield found


def plant(to: Planted) -> None:
    with Client(f"unix:{operator_path(to.server.data_dir)}") as owner:
        made = [owner.tokens.create("keeper", [Grant("admin")])]
        made += [owner.tokens.create("worker", [Grant("writer")]), owner.tokens.rotate("worker")]
        to.tokens += [each.token for each in made]
    keeper, _, worker = to.tokens
    # Where a token belongs, and where none does.
    assert to.ask("GET", "/v1/tokens", ENVIRONMENT).status_code == 200
    for scheme in (f"Bearer {WRONG}", f"Basic {BASIC}", BASIC, f"Bearer {keeper[:-1]}"):
        assert to.ask("GET", "/ready2", headers={"Authorization": scheme}).status_code == 401
    for name in ("access_token", "token", "Authorization"):
        params = {name: f"Bearer {QUERY}"}
        assert to.ask("GET", "/v1/tables", params=params).status_code == 401
        assert to.ask("GET", "/v1/tables", worker, params=params).status_code == 400
        assert to.ask("GET", "/health", params=params).status_code in (200, 400)
    for path in (f"/v1/tokens/{worker}", f"/{worker}", f"/v1/tables/{worker}"):
        for who in ("", keeper):
            assert to.ask("DELETE", path, who).status_code in (401, 404, 405, 400)
    odd = {"X-Lakehouse-Trace-Id": worker, "X-Api-Key": HEADER, "Cookie": f"s={HEADER}"}
    assert to.ask("GET", "/v1/tables", worker, headers=odd).status_code == 200
    key = {"Idempotency-Key": "once"}
    asked = {"name": "twin", "grants": [{"role": "reader"}]}
    assert to.ask("POST", "/v1/tokens", keeper, json=asked, headers=key).status_code == 400
    # Texts of statements and values of rows.
    for sql in (f"SELECT '{SQL}'", f"SELECT '{SQL}' FROM nowhere", f"COPY x TO '{SQL}'"):
        to.ask("POST", "/v1/sql", worker, json={"sql": sql})
        to.ask("GET", "/v1/sql", worker, params={"sql": sql})
    to.ask("POST", "/v1/sql", worker, json={"sql": "SELECT ?::INT", "parameters": [BOUND]})
    loaded = {"rows": [{"id": 1, "word": ROW}]}
    columns = [{"name": "id", "type": "long"}, {"name": "word", "type": "string"}]
    made_table = {"name": "kept", "columns": columns}
    assert to.ask("POST", "/v1/tables", worker, json=made_table).status_code == 201
    assert to.ask("POST", "/v1/tables/kept/rows", worker, json=loaded).status_code == 201
    bad = {"rows": [{"id": BAD_ROW, "word": "x"}]}
    assert to.ask("POST", "/v1/tables/kept/rows", worker, json=bad).status_code == 400
    content = f"id,word\n{BAD_ROW},x\n"
    params = {"name": "kept", "mode": "append"}
    sent = {"Content-Type": "text/csv"}
    assert to.ask("POST", "/v1/ingest", worker, params=params, content=content, headers=sent)


def look(at: Planted) -> None:
    """Ask for all that tells of the server, while a statement runs."""
    keeper, _, worker = at.tokens
    for path in ("/ready", "/metrics", "/schema/openapi.json", "/v1/tokens", "/v1/jobs"):
        assert at.ask("GET", path, keeper).status_code == 200, path
    assert at.ask("GET", "/v1/tables/kept", worker).status_code == 200
    audit = {"sql": "SELECT * FROM lakehouse.audit"}
    assert at.ask("POST", "/v1/sql", keeper, json=audit, what="audit").json()["row_count"] > 10
    data = at.server.data_dir
    raw = json.dumps({"sql": f"{BUSY} -- {SQL}"}).encode()
    head = f"POST /v1/sql HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {worker}\r\n"
    with socket.create_connection(("127.0.0.1", int(at.server.url.rpartition(":")[2]))) as wire:
        wire.sendall(f"{head}Content-Length: {len(raw)}\r\n\r\n".encode() + raw)
        deadline = time.monotonic() + 10
        while not at.ask("GET", "/v1/queries", keeper).json()["items"]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        at.command("queries", "list", "--json", "--data", str(data))
    at.command("config", "show", "--json", LAKEHOUSE_TOKEN=ENVIRONMENT)
    with Client(f"unix:{operator_path(data)}") as owner:
        job = owner.jobs.wait(owner.backup().id)
        assert job.state == "succeeded", job
    at.ask("GET", "/v1/jobs", keeper)


def test_no_secret_is_told_by_any_answer_or_command(planted: Planted) -> None:
    """What a caller said itself is in its own answers; no token and no header ever is."""
    for secret in (ENVIRONMENT, KEY_ID, KEY, WRONG, BASIC, QUERY, HEADER, *planted.tokens):
        assert [what for what, text in planted.said.items() if secret in text] == [], secret
    tells = "\n".join(
        text for what, text in planted.said.items() if not what.endswith(("/v1/sql", "/v1/ingest"))
    )
    assert REDACTED in tells, "the paths that had a token in them"
    audit = planted.said[next(each for each in planted.said if each.endswith("audit"))]
    for secret in (SQL, BOUND, ROW, BAD_ROW):
        assert secret not in audit
    for name in ("/ready", "/metrics", "/schema/openapi.json", "/v1/jobs"):
        for what in (each for each in planted.said if each.endswith(f"GET {name}")):
            for secret in (SQL, BOUND, ROW, BAD_ROW):
                assert secret not in planted.said[what], (what, secret)


def test_no_secret_is_left_in_the_environment_that_the_kernel_shows(planted: Planted) -> None:
    """For all that the same user starts."""
    told = dict(each.partition(b"=")[::2] for each in planted.environ if each)
    for secret in (ENVIRONMENT, KEY_ID, KEY, SESSION):
        assert [name for name, value in told.items() if secret.encode() in value] == []
    assert told[b"LAKEHOUSE_LOG__LEVEL"] == b"DEBUG", "what is no secret is as it was"


def test_no_path_of_the_host_is_told_by_an_answer(planted: Planted) -> None:
    root = str(planted.server.data_dir.parent)
    told = [what for what, text in planted.said.items() if root in text]
    assert [what for what in told if "/v1/jobs" not in what] == [], "a backup says where it is"


def test_no_secret_is_in_the_log_and_not_in_what_a_crash_leaves_there(planted: Planted) -> None:
    log = planted.server.log()
    assert "/v1/tokens/" + REDACTED in log
    for secret in (ENVIRONMENT, KEY_ID, KEY, WRONG, BASIC, QUERY, HEADER, *planted.tokens):
        assert secret not in log, secret
    for secret in (SQL, BOUND, ROW, BAD_ROW):
        assert secret not in log, secret


def test_no_secret_is_on_the_disk_nor_in_any_copy(planted: Planted) -> None:
    """Rows are in the files of their table, which is what they are for."""
    files = dict(planted.files())
    names = {path.name for path in files}
    assert {"catalog.db"} <= names
    assert any(path.parent.name == "_catalog" for path in files), "the copy in the warehouse"
    assert any(path.is_relative_to(planted.backups) for path in files)
    catalogs = [content for path, content in files.items() if path.name.startswith("catalog.db")]
    for token in planted.tokens:
        assert any(hash_of(token).encode() in each for each in catalogs), "its hash is kept"
    for secret in (ENVIRONMENT, WRONG, BASIC, QUERY, HEADER, SQL, BOUND, BAD_ROW, *planted.tokens):
        assert [path for path, content in files.items() if secret.encode() in content] == [], secret
    holding = [path for path, content in files.items() if ROW.encode() in content]
    assert holding
    assert all("tables" in path.parts for path in holding), holding
