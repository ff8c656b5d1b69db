"""Where everything is put together, by hand, once."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from litestar import Litestar
from litestar.connection import ASGIConnection
from litestar.di import Provide
from litestar.handlers import BaseRouteHandler
from litestar.openapi.config import OpenAPIConfig

from lakehouse import __version__
from lakehouse.api.edge import Edge, check_caller
from lakehouse.api.problems import EXCEPTION_HANDLERS
from lakehouse.catalog import Catalog
from lakehouse.catalog.datasets import Datasets, ObjectLookup
from lakehouse.catalog.routes import DatasetsController, NamespacesController, TablesController
from lakehouse.config import Config
from lakehouse.database import Database, DatabaseSettings
from lakehouse.observability import Health, Metrics
from lakehouse.observability.routes import HealthController
from lakehouse.query import Query, Spool
from lakehouse.query.routes import SqlController
from lakehouse.state import State
from lakehouse.storage import LocalStore

BODY_MAX_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Lakehouse:
    """What lives as long as the process. A route asks for any field by its name."""

    config: Config
    health: Health
    metrics: Metrics
    database: Database
    store: LocalStore
    catalog: Catalog
    datasets: Datasets
    queries: Query


@asynccontextmanager
async def open_lakehouse(
    config: Config, data_dir: Path, *, on_fatal: Callable[[], None] = lambda: None
) -> AsyncIterator[Lakehouse]:
    """Open every module, lowest first; they close in reverse order."""
    warehouse, spool = data_dir / "warehouse", data_dir / "spool"
    settings = DatabaseSettings(
        directories=(warehouse, spool),
        temp_dir=spool / "duckdb",
        memory_max_bytes=4 << 30,
        temp_max_bytes=16 << 30,
    )
    health = Health()
    async with AsyncExitStack() as stack:
        database = stack.enter_context(Database.open(settings))
        state = stack.enter_context(State.open(data_dir / "catalog.db"))
        store = LocalStore(warehouse)
        catalog = Catalog(
            state, store, idempotency_keys_days=config.catalog.idempotency_keys_days
        )
        lookup = ObjectLookup(partial(find_object, store), partial(open_object, store))
        queries = await stack.enter_async_context(
            Query(
                database, catalog, config.query, Spool(spool / "results"), on_fatal=on_fatal
            ).open()
        )
        health.warn(lambda: [f"{name}: {why}" for name, why in catalog.damaged().items()])
        yield Lakehouse(
            config=config,
            health=health,
            metrics=Metrics(__version__),
            database=database,
            store=store,
            catalog=catalog,
            datasets=Datasets(catalog, state, lookup),
            queries=queries,
        )


def create_app(lakehouse: Lakehouse) -> Edge:
    """Return the ASGI app over an open lakehouse."""
    allowed_hosts = lakehouse.config.server.allowed_hosts

    def from_here(connection: ASGIConnection, handler: BaseRouteHandler) -> None:
        check_caller(connection.scope, allowed_hosts)

    app = Litestar(
        route_handlers=[
            HealthController,
            TablesController,
            NamespacesController,
            DatasetsController,
            SqlController,
        ],
        guards=[from_here],
        dependencies={
            field.name: provide(getattr(lakehouse, field.name)) for field in fields(Lakehouse)
        },
        exception_handlers=EXCEPTION_HANDLERS,
        request_max_body_size=BODY_MAX_BYTES,
        openapi_config=OpenAPIConfig(
            title="Lakehouse", version=__version__, use_handler_docstrings=True
        ),
    )
    return Edge(app, lakehouse.metrics)


def provide(value: object) -> Provide:
    return Provide(lambda: value, sync_to_thread=False)
