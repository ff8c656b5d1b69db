"""A server with a catalog, one table and `/v1/sql`: what leaves and stalls needs real sockets."""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from granian.constants import Interfaces
from granian.server.embed import Server
from litestar import Litestar
from litestar.datastructures import State as AppState
from litestar.di import Provide

from lakehouse.api.problems import EXCEPTION_HANDLERS
from lakehouse.catalog import Catalog, Column, Rows, TableName
from lakehouse.config import QueryConfig
from lakehouse.database import Database, DatabaseSettings
from lakehouse.query import Query, Spool, StatementEnded
from lakehouse.query.routes import SqlController
from lakehouse.state import SqliteState
from tests.catalog.lake import remote_for, store_in

ROWS = 20_000
PAGE_BYTES = 100_000
RESULT_MAX_BYTES = 4_000_000
CONCURRENCY_MAX = 10
NUMBERS = TableName("main", "numbers")
COLUMNS = (Column("id", "long"), Column("name", "string"))


@dataclass
class SqlServer:
    """The parts of a lakehouse that SQL needs, served on a port."""

    url: str
    port: int
    database: Database
    catalog: Catalog
    spool_dir: Path
    queries: list[Query] = field(default_factory=list)
    ended: list[StatementEnded] = field(default_factory=list)
    fatal: threading.Event = field(default_factory=threading.Event)

    def write(self, sql: str, mode: str = "overwrite") -> None:
        with self.database.cursor() as cursor:
            self.catalog.loading.write(cursor, NUMBERS, Rows(sql, COLUMNS), mode=mode)  # type: ignore[arg-type]

    def outcome(self, query_id: str) -> str:
        """Return how the statement ended; waits for it."""
        wait_for(lambda: any(event.query_id == query_id for event in self.ended))
        return next(event.outcome for event in self.ended if event.query_id == query_id)


def wait_for(condition: Callable[[], bool], timeout_s: float = 15.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlServer]:
    root = tmp_path_factory.mktemp("lakehouse")
    warehouse, spool_dir = root / "warehouse", root / "spool"
    warehouse.mkdir()
    spool_dir.mkdir()
    remote = remote_for(root)
    with ExitStack() as stack:
        database = stack.enter_context(
            Database.open(
                DatabaseSettings(
                    directories=(warehouse, spool_dir, *([remote.place] if remote else [])),
                    remote=remote,
                    temp_dir=root / "temp",
                    memory_max_bytes=512 * 1024 * 1024,
                    temp_max_bytes=64 * 1024 * 1024,
                    threads=2,
                    short_lane=2 * CONCURRENCY_MAX,
                )
            )
        )
        state = stack.enter_context(SqliteState.open(root / "catalog.db"))
        catalog = Catalog(state, store_in(root))
        port = free_port()
        server = SqlServer(f"http://127.0.0.1:{port}", port, database, catalog, spool_dir)
        stack.enter_context(served(server))
        server.write(f"SELECT range AS id, 'number ' || range AS name FROM range({ROWS})", "create")
        yield server


def served(server: SqlServer) -> ExitStack:
    config = QueryConfig(timeout_s=20, max_result_bytes=PAGE_BYTES, concurrency_max=CONCURRENCY_MAX)

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        query = Query(
            server.database,
            server.catalog,
            config,
            Spool(server.spool_dir / "results", result_max_bytes=RESULT_MAX_BYTES),
            listener=server.ended.append,
            on_fatal=server.fatal.set,
        )
        async with query.open():
            server.queries.append(query)
            yield

    def queries(state: AppState) -> object:
        return server.queries[-1]

    app = Litestar(
        [SqlController],
        dependencies={"queries": Provide(queries, sync_to_thread=False)},
        exception_handlers=EXCEPTION_HANDLERS,
        lifespan=[lifespan],
    )
    loop = asyncio.new_event_loop()
    granian: list[Server] = []

    async def serve() -> None:
        granian.append(Server(app, port=server.port, interface=Interfaces.ASGI, log_enabled=False))
        await granian[0].serve()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    wait_for(lambda: answers(server.url))

    def stop() -> None:
        loop.call_soon_threadsafe(granian[0].stop)
        thread.join(timeout=30)
        loop.close()

    stack = ExitStack()
    stack.callback(stop)
    return stack


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/v1/sql?sql=SELECT%201", timeout=5).is_success
    except httpx.TransportError:
        return False


@pytest.fixture
def client(server: SqlServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client
