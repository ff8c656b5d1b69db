"""The keys to a bucket, handed over in each way there is, are found nowhere else."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from minio.credentials.credentials import Credentials
from minio.credentials.providers import AssumeRoleProvider

from lakehouse.config import StorageConfig
from tests import object_store
from tests.security.witness import Listener
from tests.services import ServerProcess, environment, lakehouse_server

WRONG_ID, WRONG_KEY, WRONG_TOKEN = (
    f"planted-wrong-{word}-" + "w" * 24 for word in ("id", "secret", "session")
)
ADMIN = "planted-admin-" + "a" * 24
WITH_WRONG_KEYS = [f"{what} with wrong keys" for what in ("a load", "a list", "an object")]
PARQUET = {"Accept": "application/vnd.apache.parquet"}


@dataclass
class Kept:
    """A server that has had keys to a bucket, and all that it said and left."""

    server: ServerProcess
    storage: StorageConfig
    keys: Credentials
    listener: Listener
    backups: Path
    said: dict[str, str] = field(default_factory=dict)
    """What answers and commands said, by what was asked."""
    statuses: dict[str, int] = field(default_factory=dict)
    kernel: list[bytes] = field(default_factory=list)
    """What the kernel shows of the server and its children: how they were called, and with what."""

    @property
    def secrets(self) -> list[str]:
        keys = self.keys
        named = (keys.access_key, keys.secret_key, keys.session_token or "")
        return [*named, WRONG_ID, WRONG_KEY, WRONG_TOKEN]

    def ask(self, what: str, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {ADMIN}", **options.pop("headers", {})}
        answer = httpx.request(
            method, f"{self.server.url}{path}", timeout=120, headers=headers, **options
        )
        told = "\n".join(f"{name}: {value}" for name, value in answer.headers.items())
        self.said[what] = f"{told}\n{answer.text}"
        self.statuses[what] = answer.status_code
        return answer

    def sql(self, what: str, sql: str, **headers: str) -> httpx.Response:
        return self.ask(what, "POST", "/v1/sql", json={"sql": sql}, headers=headers)

    def load(self, what: str, table: str, **headers: str) -> httpx.Response:
        content = "id,word\n1,a\n"
        sent = {"Content-Type": "text/csv", **headers}
        params = {"name": table, "mode": "append"}
        return self.ask(what, "POST", "/v1/ingest", params=params, content=content, headers=sent)

    def ended(self, what: str, job: httpx.Response) -> dict[str, Any]:
        deadline = time.monotonic() + 60
        while True:
            found: dict[str, Any] = self.ask(what, "GET", job.headers["location"]).json()
            if found["ended_at"]:
                return found
            assert time.monotonic() < deadline, found
            time.sleep(0.05)

    def command(self, *words: str, variables: dict[str, str]) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "lakehouse", *words],
            env=environment(**variables),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.said[" ".join(words[:2])] = done.stdout + done.stderr

    def look_at_processes(self) -> None:
        threads = Path(f"/proc/{self.server.pid}/task").iterdir()
        children = [pid for each in threads for pid in (each / "children").read_text().split()]
        for pid in (str(self.server.pid), *children):
            self.kernel += [Path(f"/proc/{pid}/{each}").read_bytes() for each in SHOWN]


SHOWN = ("cmdline", "environ")


def session_of(prefix: str) -> Credentials:
    """Return keys of a session that may do all but write and read some tables."""
    place = f"arn:aws:s3:::{object_store.BUCKET}"

    def denied(action: str, below: str) -> dict[str, Any]:
        return {"Effect": "Deny", "Action": [action], "Resource": [f"{place}/{prefix}/{below}"]}

    allowed = {"Effect": "Allow", "Action": ["s3:*"], "Resource": [place, f"{place}/*"]}
    refused = [
        denied("s3:PutObject", "tables/main/closed*"),
        denied("s3:GetObject", "tables/main/unreadable*/data/*"),
        denied("s3:PutObject", "objects/closed*"),
    ]
    provider = AssumeRoleProvider(
        sts_endpoint=object_store.shared().url,
        access_key=object_store.USER,
        secret_key=object_store.PASSWORD,
        duration_seconds=900,
        region="us-east-1",
        policy=json.dumps({"Version": "2012-10-17", "Statement": [allowed, *refused]}),
    )
    return provider.retrieve()


LATER = [
    pytest.mark.slow,
    pytest.mark.skipif("LAKEHOUSE_TEST_LONG" not in os.environ, reason="ten seconds each"),
]
WAYS = ["file", *(pytest.param(each, marks=LATER) for each in ("environment", "systemd"))]


@pytest.fixture(scope="module", params=WAYS)
def kept(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Kept]:
    object_store.needed()
    folder = tmp_path_factory.mktemp("kept")
    storage = object_store.settings(folder / "keys")
    prefix = str(storage.warehouse).removeprefix(f"s3://{object_store.BUCKET}/")
    keys = session_of(prefix)
    file = object_store.key_file(
        folder / "keys", keys.access_key, keys.secret_key, keys.session_token or ""
    )
    backups = folder / "backups"
    backups.mkdir()
    variables = object_store.variables(storage) | {
        "LAKEHOUSE_TOKEN": ADMIN,
        "LAKEHOUSE_AUTH__OPEN_ROUTES": "/ready",
        "LAKEHOUSE_LOG__LEVEL": "DEBUG",
        "LAKEHOUSE_BACKUP__DIRECTORIES": str(backups),
    }
    if request.param != "file":
        del variables["LAKEHOUSE_STORAGE__CREDENTIALS_FILE"]
    if request.param == "environment":
        variables |= {
            "AWS_ACCESS_KEY_ID": keys.access_key,
            "AWS_SECRET_ACCESS_KEY": keys.secret_key,
            "AWS_SESSION_TOKEN": keys.session_token or "",
        }
    if request.param == "systemd":
        file = file.rename(file.with_name("s3"))
        variables["CREDENTIALS_DIRECTORY"] = str(file.parent)
    with (
        Listener() as listener,
        lakehouse_server(folder / "data", port=None, **variables) as server,
    ):
        found = Kept(server, storage, keys, listener, backups)
        use(found)
        found.command("config", "show", "--json", variables=variables)
        found.command("doctor", "--data", str(folder / "data"), variables=variables)
        if request.param != "environment":
            part = object_store.key_file(file.parent, WRONG_ID, WRONG_KEY, WRONG_TOKEN)
            part.rename(file)
            be_refused(found)
        server.signal(signal.SIGABRT)
        assert server.wait() == -signal.SIGABRT
        yield found


def use(at: Kept) -> None:
    """Do all there is to do in a bucket, some of which it refuses."""
    for table in ("kept", "unreadable"):
        assert at.load(f"a load into {table}", table).status_code == 200
    made = at.sql("rows as Parquet", "SELECT 1::BIGINT AS id, 'a' AS word", **PARQUET)
    params = {"name": "kept", "mode": "append"}
    assert at.ask("Parquet", "POST", "/v1/ingest", params=params, content=made.content)
    at.look_at_processes()
    path = "/v1/storage/put/open.parquet"
    assert at.ask("an object", "PUT", path, content=made.content).status_code == 200
    asked = {"name": "by_reference", "schema_fingerprint": "0" * 64}
    asked["objects"] = [{"key": "open.parquet"}]  # type: ignore[assignment]
    assert at.ask("a dataset", "POST", "/v1/catalog/register", json=asked).status_code == 200
    at.sql("a query", "SELECT count(*) FROM kept, by_reference")
    at.sql("a plan", "EXPLAIN SELECT * FROM kept JOIN by_reference USING (id)")
    at.load("a refused load", "closed")
    at.ended("a refused job", at.load("the 202 of a refused job", "closed", Prefer="respond-async"))
    at.sql("a refused query", "SELECT * FROM unreadable")
    at.ask("a refused object", "PUT", "/v1/storage/put/closed", content=b"x")
    for number, host in enumerate((at.listener.address, at.listener.address + "/")):
        elsewhere = f"{at.storage.warehouse}/x.parquet?s3_endpoint={host}&s3_use_ssl=false"
        at.sql(f"elsewhere {number}", f"SELECT * FROM '{elsewhere}'")
        at.sql(f"to elsewhere {number}", f"COPY (SELECT 1) TO '{elsewhere}'")
        at.ask(
            f"a source elsewhere {number}",
            "POST",
            "/v1/ingest",
            params={"name": "t", "source": elsewhere},
        )
    at.sql("secrets", "SELECT * FROM duckdb_secrets()")
    at.ended("a refused job, a backup", at.ask("its 202", "POST", "/v1/backups", json={}))
    at.ask("a purge", "DELETE", "/v1/tables/unreadable", params={"purge": "true"})
    job = at.ended("a backup", at.ask("the 202 of a backup", "POST", "/v1/backups", json={}))
    assert job["state"] == "succeeded", job
    look(at, "")


def be_refused(at: Kept) -> None:
    """Ask with keys that the bucket does not know."""
    at.load("a load with wrong keys", "kept")
    at.sql("a query with wrong keys", "SELECT * FROM kept WHERE id > 0")
    at.ask("a list with wrong keys", "GET", "/v1/storage/list")
    at.ask("an object with wrong keys", "GET", "/v1/storage/get/open.parquet")
    look(at, " with wrong keys")


def look(at: Kept, when: str) -> None:
    for path in ("/ready", "/metrics", "/schema/openapi.json", "/v1/jobs", "/v1/tables/kept"):
        at.ask(f"{path}{when}", "GET", path)
    at.sql(f"audit{when}", "SELECT * FROM lakehouse.audit")


def test_the_bucket_did_refuse_and_what_it_allows_was_done(kept: Kept) -> None:
    statuses = kept.statuses
    for what in ("a query", "a plan", "audit"):
        assert statuses[what] == 200, kept.said[what]
    refused = [what for what in statuses if what.startswith("a refused") and "job" not in what]
    refused += [each for each in statuses if each in WITH_WRONG_KEYS]
    assert {statuses[each] for each in refused} == {502}, {each: statuses[each] for each in refused}
    for what in ("a refused job", "a refused job, a backup"):
        assert '"state":"failed"' in kept.said[what]


def test_no_key_is_told_by_an_answer_or_a_command(kept: Kept) -> None:
    """Not by the document of the routes, a metric, a job, the audit log, or an error."""
    assert "storage.warehouse" in kept.said["config show"]
    assert "/ready" in kept.said["/schema/openapi.json"]
    for secret in kept.secrets:
        assert [what for what, text in kept.said.items() if secret in text] == []


def test_no_answer_names_the_bucket_or_where_in_it_anything_is(kept: Kept) -> None:
    """What a caller named themselves is in their own answers."""
    commands = ("config show", "doctor --data")
    answers = {
        what: text
        for what, text in kept.said.items()
        if what not in commands and "elsewhere" not in what
    }
    place = str(kept.storage.warehouse).removeprefix("s3://")
    told = {what: text for what, text in answers.items() if place in text or "s3://lake" in text}
    assert told == {}


def test_no_key_is_in_the_log_and_not_in_what_a_crash_leaves_there(kept: Kept) -> None:
    log = kept.server.log()
    assert "Fatal Python error: Aborted" in log
    assert len(log) > 10_000
    for secret in kept.secrets:
        assert secret not in log


def test_no_key_is_shown_by_the_kernel(kept: Kept) -> None:
    """To all that the same user starts: how the server and its children were called."""
    assert len(kept.kernel) >= 2 * len(SHOWN), "the server, and what reads files for it"
    assert any(b"lakehouse" in each for each in kept.kernel)
    for secret in kept.secrets:
        assert [each for each in kept.kernel if secret.encode() in each] == []


def test_no_key_is_on_the_disk_in_a_backup_or_in_the_bucket(kept: Kept) -> None:
    paths = [*kept.server.data_dir.rglob("*"), *kept.backups.rglob("*")]
    files = {str(path): path.read_bytes() for path in paths if path.is_file()}
    client = object_store.shared().client()
    prefix = str(kept.storage.warehouse).removeprefix(f"s3://{object_store.BUCKET}/") + "/"
    for each in client.list_objects(object_store.BUCKET, prefix, recursive=True):
        answer = client.get_object(object_store.BUCKET, str(each.object_name))
        files[str(each.object_name)] = answer.read()
        answer.close()
    assert any("catalog.db" in name for name in files)
    assert any(name.startswith(f"{prefix}_catalog/") for name in files)
    assert any(name.endswith("metadata.json") and str(kept.backups) in name for name in files)
    for secret in kept.secrets:
        assert [name for name, content in files.items() if secret.encode() in content] == []


def test_nobody_elsewhere_was_asked_in_our_name(kept: Kept) -> None:
    elsewhere = [status for what, status in kept.statuses.items() if "elsewhere" in what]
    assert len(elsewhere) == 6
    assert set(elsewhere) <= {400, 403}, kept.statuses
    assert kept.listener.heard == []
