"""A real PostgreSQL for tests: one server for all of them, a schema for each."""

import atexit
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psycopg
import pytest

from lakehouse.state import SqliteState, State
from lakehouse.state.postgres import PostgresPlace, PostgresState
from tests.services import free_port, must_be_there

ON_POSTGRES = "LAKEHOUSE_TEST_POSTGRES"
"""Set to have lakes of the catalog's tests keep their state there."""
OF_SQLITE = pytest.mark.skipif(ON_POSTGRES in os.environ, reason="of SQLite's own file")
USER = "lake"
START_TIMEOUT_S = 60


@dataclass
class PostgresServer:
    folder: Path
    port: int
    binaries: Path

    @property
    def uri(self) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1"
        self._run("pg_ctl", "-D", "data", "-o", options, "-l", "log", "-w", "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop it; `immediate` is a crash."""
        self._run("pg_ctl", "-D", "data", "-m", mode, "-w", "stop")

    def kill(self) -> None:
        """End the server process and, by that, all of its connections, with SIGKILL."""
        pid = int((self.folder / "data" / "postmaster.pid").read_text().splitlines()[0])
        os.kill(pid, signal.SIGKILL)

    def execute(self, sql: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.uri, autocommit=True) as connection:
            cursor = connection.execute(sql)
            return cursor.fetchall() if cursor.description else []

    def _run(self, program: str, *arguments: str) -> None:
        """PostgreSQL refuses to run as root."""
        user = "nobody" if os.getuid() == 0 else None
        done = subprocess.run(
            [self.binaries / program, *arguments],
            cwd=self.folder,
            user=user,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=START_TIMEOUT_S,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{program} {arguments}: {done.stderr}")


def binaries() -> Path | None:
    """Return the folder that PostgreSQL's programs are in; Debian has them off the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    named = shutil.which("initdb")
    return found[-1].parent if found else Path(named).parent if named else None


@contextmanager
def running() -> Iterator[PostgresServer]:
    """A server with no data, until the block ends."""
    programs = binaries()
    assert programs is not None, "ask `binaries` first"
    folder = Path(tempfile.mkdtemp(prefix="lakehouse-postgres-"))
    try:
        server = PostgresServer(folder, free_port(), programs)
        if os.getuid() == 0:
            os.chown(folder, pwd.getpwnam("nobody").pw_uid, -1)
        server._run("initdb", "-D", "data", "-A", "trust", "-U", USER, "-N")
        server.start()
        try:
            yield server
        finally:
            with suppress(RuntimeError):  # the test left it stopped
                server.stop("immediate")
    finally:
        shutil.rmtree(folder)


@cache
def shared() -> PostgresServer:
    stack = ExitStack()
    server = stack.enter_context(running())
    atexit.register(stack.close)  # after what removes its folder: the last one is called first
    return server


def needed() -> None:
    """Skip the test that calls this where there is no PostgreSQL, or fail where there must be."""
    why = "there is no PostgreSQL here: apt-get install postgresql"
    must_be_there(binaries() is not None, why)


@cache
def place_of(root: Path) -> PostgresPlace:
    """Return the schema of a folder's own: the same, whenever it is opened."""
    note = root / "postgres-uri"
    if note.exists():  # another process of the same test made it
        return PostgresPlace(note.read_text())
    needed()
    place = made(shared())
    note.write_text(place.uri)
    return place


def alchemy_uri(root: Path) -> str:
    """Return where `state_of` keeps the state of a folder, as SQLAlchemy names it."""
    if ON_POSTGRES in os.environ:
        return place_of(root).uri.replace("postgresql:", "postgresql+psycopg:")
    return f"sqlite:///{root / 'catalog.db'}"


@contextmanager
def state_of(root: Path) -> Iterator[State]:
    """The state of a lake in a folder: `catalog.db`, or PostgreSQL where `ON_POSTGRES` is set."""
    if ON_POSTGRES in os.environ:
        with PostgresState.open(place_of(root)) as state:
            yield state
    else:
        with SqliteState.open(root / "catalog.db") as catalog_file:
            yield catalog_file


@contextmanager
def schema(server: PostgresServer | None = None) -> Iterator[PostgresPlace]:
    """A schema with nothing in it, as a database of its own."""
    needed()
    server = server or shared()
    place = made(server)
    try:
        yield place
    finally:
        server.execute(f"DROP SCHEMA {place.uri.rpartition('%3D')[2]} CASCADE")


def made(server: PostgresServer) -> PostgresPlace:
    name = f"t_{secrets.token_hex(6)}"
    server.execute(f"CREATE SCHEMA {name}")
    return PostgresPlace(f"{server.uri}?options=-csearch_path%3D{name}")
