"""A real MinIO for tests: one server for all of them, a prefix for each; and a proxy before it."""

import atexit
import hashlib
import http.client
import os
import re
import secrets
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
from minio import Minio

from lakehouse.config import StorageConfig
from tests.services import environment, free_port, must_be_there, program
from tests.services import running as running_process

IN_BUCKET = "LAKEHOUSE_TEST_S3"
"""Set where tests of the catalog have their warehouse in a bucket."""
OF_PARENT = "MINIO_OF_TESTS"
"""The server that this process has started, and its prefix, for processes that it starts."""
USER = "lakehouse-test"
PASSWORD = "planted-s3-secret-" + "k" * 24
BUCKET = "lake"


@dataclass
class MinioServer:
    url: str

    def client(self) -> Minio:
        host = self.url.removeprefix("http://")
        return Minio(host, access_key=USER, secret_key=PASSWORD, secure=False, region="us-east-1")


def needed() -> None:
    """Skip the test that calls this where there is no MinIO, or fail where there must be."""
    must_be_there(program("minio") is not None, "there is no MinIO here: .ci/services builds it")


@contextmanager
def running(port: int | None = None, folder: Path | None = None) -> Iterator[MinioServer]:
    """A server with an empty bucket, until the block ends.

    Args:
        folder: where its data lies, kept for the next one; None for one that goes.
    """
    binary = program("minio")
    assert binary is not None, "ask `needed` first"
    with ExitStack() as stack:
        if folder is None:
            name = stack.enter_context(tempfile.TemporaryDirectory(prefix="lakehouse-minio-"))
            folder = Path(name)
        port = port or free_port()
        server = MinioServer(f"http://127.0.0.1:{port}")
        where = ["--address", f"127.0.0.1:{port}", "--quiet"]
        keys = {"MINIO_ROOT_USER": USER, "MINIO_ROOT_PASSWORD": PASSWORD}
        ready = f"{server.url}/minio/health/live"
        stack.enter_context(
            running_process(
                str(binary),
                "server",
                str(folder),
                *where,
                ready=ready,
                env=environment(HOME=str(folder), **keys),
            )
        )
        client = server.client()
        if not client.bucket_exists(BUCKET):
            client.make_bucket(BUCKET)
        yield server


@cache
def shared() -> MinioServer:
    if OF_PARENT in os.environ:  # a process that a test started
        return MinioServer(os.environ[OF_PARENT].rpartition(" ")[0])
    stack = ExitStack()
    server = stack.enter_context(running())
    atexit.register(stack.close)  # after what removes its folder: the last one is called first
    os.environ[OF_PARENT] = f"{server.url} {secrets.token_hex(6)}"
    return server


def key_file(folder: Path, user: str = USER, password: str = PASSWORD, token: str = "") -> Path:
    """Write keys as AWS' tools have them, whole at every moment."""
    lines = ["[default]", f"aws_access_key_id = {user}", f"aws_secret_access_key = {password}"]
    if token:
        lines.append(f"aws_session_token = {token}")
    part = folder / "keys.part"
    part.write_text("\n".join(lines) + "\n")
    return part.rename(folder / "keys")


def settings(folder: Path, url: str | None = None, prefix: str | None = None) -> StorageConfig:
    """Return the settings of a warehouse in a prefix that nobody else has."""
    needed()
    folder.mkdir(exist_ok=True)
    return StorageConfig(
        warehouse=f"s3://{BUCKET}/{prefix or secrets.token_hex(6)}",
        endpoint=url or shared().url,
        credentials_file=key_file(folder),
    )


def variables(config: StorageConfig) -> dict[str, str]:
    """Return the settings as variables, for a server of its own."""
    return {
        "LAKEHOUSE_STORAGE__WAREHOUSE": str(config.warehouse),
        "LAKEHOUSE_STORAGE__ENDPOINT": config.endpoint,
        "LAKEHOUSE_STORAGE__CREDENTIALS_FILE": str(config.credentials_file),
    }


@cache
def of_this_run() -> StorageConfig:
    """Return the settings of a prefix for all tests of this process, and for those it starts."""
    needed()
    shared()
    prefix = os.environ[OF_PARENT].rpartition(" ")[2]
    return settings(Path(tempfile.mkdtemp(prefix="lakehouse-keys-")), prefix=prefix)


def for_pyiceberg() -> dict[str, str]:
    """Return how PyIceberg reaches the bucket, where tests have their warehouse in one."""
    return pyiceberg_properties() if IN_BUCKET in os.environ else {}


def pyiceberg_properties() -> dict[str, str]:
    server = {"s3.endpoint": shared().url, "s3.region": "us-east-1"}
    return {**server, "s3.access-key-id": USER, "s3.secret-access-key": PASSWORD}


def duckdb_secret() -> str:
    """Return the statement that tells DuckDB of the bucket."""
    host = shared().url.removeprefix("http://")
    return (
        f"CREATE SECRET (TYPE s3, KEY_ID '{USER}', ENDPOINT '{host}', SECRET '{PASSWORD}',"
        " URL_STYLE 'path', USE_SSL false)"
    )


def below(inner: StorageConfig, name: str) -> StorageConfig:
    return msgspec.structs.replace(inner, warehouse=f"{inner.warehouse}/{name}")


def chosen(data_dir: Path) -> StorageConfig:
    """Return where the warehouse of a data directory lies: in it, or where it is set in a bucket.

    The same for the same directory.
    """
    if IN_BUCKET not in os.environ:
        return StorageConfig()
    return below(of_this_run(), hashlib.sha256(str(data_dir).encode()).hexdigest()[:12])


def files(config: StorageConfig, folder: str) -> set[str]:
    """Return the names of all objects below a folder of the warehouse, `tables` or another."""
    prefix = f"{str(config.warehouse).removeprefix(f's3://{BUCKET}/')}/{folder}/"
    listed = shared().client().list_objects(BUCKET, prefix, recursive=True)
    return {str(each.object_name) for each in listed}


@dataclass
class Asked:
    method: str
    path: str


@dataclass
class Proxy:
    """What stands before a server: it counts what is asked, and breaks what it is told to."""

    target: str
    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    fault: Callable[[Asked], str | None] = lambda asked: None
    """Returns what becomes of a request: `500`, `503`, `SlowDown`, `delay`, `reset`, `truncate`,
    `delay-after` (it was done at once, and is told late), `reset-after` (it was done, and nobody
    is told), `half` (half of the bytes, and the size says so), `garble` (a body from its end on),
    `less` and `more` (a HEAD or a list says another size, a GET has that in its head), or None."""

    def kinds(self) -> list[str]:
        return [each.method for each in self.asked]


class Before(ThreadingHTTPServer):
    """The server of a proxy."""

    daemon_threads = True

    def __init__(self, told: Proxy) -> None:
        self.told = told
        super().__init__(("127.0.0.1", 0), Between)

    def server_bind(self) -> None:
        super().server_bind()
        self.told.url = f"http://127.0.0.1:{self.server_address[1]}"


class Between(BaseHTTPRequestHandler):
    """One connection to the proxy: passes each request on, or does what becomes of it."""

    server: "Before"
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def hop(self) -> None:
        asked, told = Asked(self.command, self.path), self.server.told
        told.asked.append(asked)
        fault = told.fault(asked)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if fault == "delay":
            time.sleep(0.4)
        if fault == "reset":
            self.cut()
            return
        if fault in ("500", "503", "SlowDown"):
            code = "InternalError" if fault == "500" else fault
            status = 500 if fault == "500" else 503
            said = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
            self.answer(status, {"Content-Type": "application/xml"}, said)
            return
        upstream = http.client.HTTPConnection(told.target.removeprefix("http://"), timeout=30)
        try:
            upstream.request(self.command, self.path, body, dict(self.headers.items()))
            found = upstream.getresponse()
            data = found.read()
        finally:
            upstream.close()
        if fault == "delay-after":
            time.sleep(0.4)
        if fault == "reset-after":
            self.cut()
            return
        headers = {
            name: value
            for name, value in found.headers.items()
            if name.lower() not in ("transfer-encoding", "connection")
        }
        if fault == "garble":
            data = data[::-1]
        if fault == "half":
            data = data[: len(data) // 2]
        if self.command != "HEAD":
            headers["Content-Length"] = str(len(data))
        if fault in ("less", "more"):
            lie = (lambda size: size // 2) if fault == "less" else (lambda size: size + 7)
            self.lie(headers, data, found.status, lie)
            return
        if fault == "truncate" and data:
            self.answer(found.status, headers, data[: len(data) // 2])
            self.cut()
            return
        self.answer(found.status, headers, data)

    def answer(self, status: int, headers: dict[str, str], data: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(data if self.command != "HEAD" else b"")
            self.wfile.flush()

    def lie(
        self, headers: dict[str, str], data: bytes, status: int, lie: Callable[[int], int]
    ) -> None:
        """Answer with another size, of the body or in a list."""
        if b"<ListBucketResult" in data[:200]:
            data = re.sub(
                rb"<Size>(\d+)</Size>",
                lambda found: b"<Size>%d</Size>" % lie(int(found[1])),
                data,
            )
            self.answer(status, headers | {"Content-Length": str(len(data))}, data)
            return
        size = int(headers.get("Content-Length") or 0)
        self.answer(status, headers | {"Content-Length": str(lie(size))}, data)
        if self.command != "HEAD":
            self.cut()

    def cut(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = hop  # noqa: N815

    def handle(self) -> None:
        with suppress(OSError):
            super().handle()


@contextmanager
def proxy(target: str) -> Iterator[Proxy]:
    """Run a proxy before `target` until the block ends."""
    told = Proxy(target)
    server = Before(told)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def is_of(kind: str) -> Callable[[Asked], bool]:
    """Return whether a request writes a file of a table: `data`, `metadata`."""
    found = re.compile(rf"/tables/.*/{kind}/")
    return lambda asked: asked.method in ("PUT", "POST") and bool(found.search(asked.path))
