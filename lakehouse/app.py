"""Where everything is put together, by hand, once."""

import asyncio
import logging
import os
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from litestar import Litestar
from litestar.datastructures import State as AppState
from litestar.di import Provide
from litestar.openapi.config import OpenAPIConfig

from lakehouse import __version__
from lakehouse.api.bodies import JsonRequest
from lakehouse.api.documented import answers_of
from lakehouse.api.edge import Edge
from lakehouse.api.idempotency import once_of
from lakehouse.api.later import tell_rows
from lakehouse.api.problems import EXCEPTION_HANDLERS, as_problem, get_problem, status_of_work
from lakehouse.api.requests import check_request, read_signatures
from lakehouse.audit import SCHEMA as AUDIT_SCHEMA
from lakehouse.audit import Audit, record
from lakehouse.auth import (
    THE_PROCESS,
    Entrance,
    Limiter,
    Tokens,
    acting,
    may,
    object_resource,
)
from lakehouse.auth.addresses import networks
from lakehouse.auth.routes import TokensController
from lakehouse.catalog import Catalog, TableName, check_root, folded, parse_table_name
from lakehouse.catalog.adopting_routes import AdoptingController
from lakehouse.catalog.datasets import Datasets, ObjectLookup, StoredObject, Watching
from lakehouse.catalog.past_routes import PastController
from lakehouse.catalog.property_routes import PropertiesController
from lakehouse.catalog.routes import DatasetsController, NamespacesController, TablesController
from lakehouse.catalog.schema_routes import SchemaController
from lakehouse.config import (
    BODY_MAX_BYTES,
    Config,
    is_loopback,
    memory_bytes,
    memory_shares,
)
from lakehouse.database import Database, DatabaseSettings, EngineMemoryError, Remote
from lakehouse.disk import Disk
from lakehouse.embedding import Embedding
from lakehouse.embedding.routes import EmbedController
from lakehouse.iceberg import Protocol, iceberg_at
from lakehouse.ingest import Ingest, LoadEnded, SourceLoads, Sources
from lakehouse.ingest.routes import IngestController
from lakehouse.ingest.upload_routes import UploadsController
from lakehouse.ingest.uploads import Uploads
from lakehouse.jobs import Job, Jobs
from lakehouse.jobs.routes import JobsController
from lakehouse.lanes import Turns, on_thread
from lakehouse.maintenance import Maintenance, MaintenanceRun
from lakehouse.maintenance.routes import MaintenanceController
from lakehouse.observability import Health, Metrics
from lakehouse.observability.routes import HealthController
from lakehouse.query import Allowance, Log, Query, Spool, StatementEnded, TableChanges
from lakehouse.query.change_routes import ChangesController
from lakehouse.query.routes import QueriesController, SqlController
from lakehouse.query.table_routes import TableRowsController
from lakehouse.recovery import Backups
from lakehouse.recovery.routes import BackupsController
from lakehouse.schedules import RUNS_SCHEMA, Schedules, Work, forget_runs, read_runs
from lakehouse.schedules.routes import SchedulesController
from lakehouse.state import (
    CatalogLostError,
    DataDirectory,
    Lease,
    LeaseLostError,
    State,
    close_catalog,
    keep_expiring,
    keep_lease,
    open_state,
    share,
)
from lakehouse.storage import (
    LocalStore,
    ObjectNotFoundError,
    Objects,
    ObjectStore,
    Store,
    Warehouse,
    WarehouseOwnedError,
    copy_catalog,
    keep_copies,
    open_warehouse,
)
from lakehouse.storage.routes import StorageController
from lakehouse.taster import Taster
from lakehouse.vectors import Ledger, Relations, Vectors, count_in, open_lance
from lakehouse.vectors.routes import VectorsController
from lakehouse.vectors.upkeep_routes import CollectionUpkeepController

log = logging.getLogger(__name__)

SPARE_THREADS = 8
MEMORY_WAIT_S = 1.0

Chore: TypeAlias = Callable[[], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Lakehouse:
    """What lives as long as the process. A route asks for any field by its name."""

    config: Config
    health: Health
    metrics: Metrics
    tokens: Tokens
    limiter: Limiter
    audit: Audit
    jobs: Jobs
    database: Database
    objects: Objects
    catalog: Catalog
    datasets: Datasets
    ingest: Ingest
    uploads: Uploads
    source_loads: SourceLoads
    maintenance: Maintenance
    queries: Query
    table_changes: TableChanges
    backups: Backups
    schedules: Schedules
    embedding: Embedding
    vectors: Vectors
    iceberg: Protocol
    stop: Callable[[], None]
    """Ends the process in good order: something broke that a new start mends."""


@asynccontextmanager
async def open_lakehouse(
    config: Config,
    directory: DataDirectory,
    *,
    secrets: Sequence[str] = (),
    stop: Callable[[], None] = lambda: None,
) -> AsyncIterator[Lakehouse]:
    """Open every module, lowest first; they close in reverse order.

    Args:
        secrets: tokens of an admin that are not kept: of the environment, of a command.
        stop: called when the process must end by itself: the engine broke, the lease is lost.
    """
    memory_max_bytes = memory_bytes(config.memory.max_bytes)
    shares = memory_shares(memory_max_bytes)
    disk = Disk(directory.path, config.disk.reserve_bytes)
    health, metrics = Health(disk), Metrics(__version__)
    turns = Turns()
    async with AsyncExitStack() as stack:
        if config.storage.group is not None:
            await on_thread(partial(share, directory, config.storage.group))
        warehouse = await on_thread(
            partial(
                open_warehouse,
                config.storage,
                directory.warehouse,
                directory.spool,
                disk,
                cache=directory.cache,
            )
        )
        await on_thread(partial(refuse_other, warehouse, config, directory))
        settings = database_settings(config, directory, warehouse, shares.duckdb)
        database = stack.enter_context(Database.open(settings))
        database.limit_spill(disk)
        state = stack.enter_context(open_state(directory, config.catalog))
        if config.storage.group is not None:
            close_catalog(directory)
        lease = stack.enter_context(Lease.hold(state, directory.owner_id))
        tokens = Tokens(state, secrets)
        limiter = await stack.enter_async_context(Limiter(state).open())
        audit = await stack.enter_async_context(Audit(state, config.audit).open())
        store = warehouse.store
        await on_thread(partial(check_root, state, store))
        if isinstance(store, LocalStore):
            store.remove_unfinished()  # what a killed process left half written
        catalog = Catalog(
            state,
            store,
            idempotency_keys_days=config.catalog.idempotency_keys_days,
            partitions_max=config.ingest.partitions_max,
            checks_commits=config.iceberg.checks_commits,
        )
        holding, spilling = partial(keep_lease, lease), partial(database.keep_off_reserve, disk)
        keeping = chores_of(config, directory, state, store)
        if warehouse.remote is not None:
            keeping = (*keeping, database.keep_keys)
        await stack.enter_async_context(kept_up(stop, holding, spilling, *keeping))
        embedding = await stack.enter_async_context(Embedding(config.embedding).open())
        vectors = Vectors(
            Ledger(state),
            open_lance(warehouse, shares.vectors),
            database,
            catalog,
            embedding,
            config.vectors,
            disk=disk,
            shares=shares,
        )
        await stack.enter_async_context(vectors.open())
        catalog.namespaces.also_in = count_in
        catalog.on_commit(partial(wake_followers, vectors))
        queries = Query(
            database,
            catalog,
            config.query,
            results_spool(config, directory, disk),
            allowance=Allowance(shares.uploads_and_results),
            listener=partial(count_statement, metrics),
            on_fatal=stop,
            logs={
                "lakehouse.audit": Log(AUDIT_SCHEMA, audit.read),
                "lakehouse.schedule_runs": Log(RUNS_SCHEMA, partial(read_runs, state)),
            },
            collections=Relations(vectors, shares.uploads_and_results // 2),
        )
        await stack.enter_async_context(queries.open())
        jobs = Jobs(
            state, config.jobs, partial(as_problem, stop=stop), listener=partial(count_job, metrics)
        )
        jobs.on_end(partial(tell_rows, limiter, audit))
        await stack.enter_async_context(jobs.open())
        catalog.erasing.forget = partial(
            forget, jobs, state, store, directory.spool, forgetting(vectors)
        )
        await stack.enter_async_context(kept_up(stop, tokens.keep_looking))
        taster = stack.enter_context(Taster.open(memory_max_bytes))
        ingest = Ingest(
            database,
            catalog,
            directory.spool,
            config.ingest,
            disk=disk,
            turns=turns,
            taster=taster,
            listener=partial(count_load, metrics),
        )
        uploads = Uploads(directory.path / "uploads", disk, ingest.limits)
        await stack.enter_async_context(kept_up(stop, uploads.keep_expiring))
        maintenance = Maintenance(
            database, catalog, state, config.maintenance, listener=partial(count_run, metrics)
        )
        if config.maintenance.enabled:
            await stack.enter_async_context(kept_up(stop, maintenance.keep))
        objects = Objects(warehouse.objects, state, config.storage)
        source_loads = SourceLoads(ingest, Sources(objects, warehouse.outside), catalog, state)
        table_changes = TableChanges(
            database, catalog, config.query, statements=queries.statements, disk=disk, turns=turns
        )
        work = Work(source_loads, table_changes, catalog)
        schedules = Schedules(state, jobs, work, tokens, limiter, audit, status_of=status_of_work)
        await stack.enter_async_context(kept_up(stop, schedules.keep))
        lakehouse = Lakehouse(
            config=config,
            health=health,
            metrics=metrics,
            tokens=tokens,
            limiter=limiter,
            audit=audit,
            jobs=jobs,
            database=database,
            objects=objects,
            catalog=catalog,
            datasets=Datasets(catalog, state, lookup_in(warehouse.objects, objects.watching)),
            ingest=ingest,
            uploads=uploads,
            source_loads=source_loads,
            maintenance=maintenance,
            queries=queries,
            table_changes=table_changes,
            backups=Backups(state, store, config.backup),
            schedules=schedules,
            embedding=embedding,
            vectors=vectors,
            iceberg=Protocol(catalog, store, storage_told(warehouse.remote)),
            stop=stop,
        )
        add_checks(lakehouse, directory, state, warehouse)
        add_gauges(lakehouse)
        yield lakehouse


def database_settings(
    config: Config, directory: DataDirectory, warehouse: Warehouse, memory_max_bytes: int
) -> DatabaseSettings:
    return DatabaseSettings(
        directories=(warehouse.store.place, directory.spool),
        remote=warehouse.remote,
        temp_dir=directory.spool / "duckdb",
        memory_max_bytes=memory_max_bytes,
        temp_max_bytes=config.query.spill_max_bytes,
        # A statement holds a thread while the engine works for it: one that waits for a
        # thread behind long scans would wait for minutes.
        short_lane=config.query.concurrency_max + SPARE_THREADS,
        long_lane=config.ingest.concurrency_max,
    )


def refuse_other(warehouse: Warehouse, config: Config, directory: DataDirectory) -> None:
    """Refuse a bucket that belongs to a catalog that we have not: its tables would be orphans.

    Copies of a bucket that is not ours, or not ours any more, go: nobody would erase in them.

    Raises:
        WarehouseOwnedError, WarehouseNestedError: it is another data directory's, or one of that
            lies around or inside it.
        CatalogLostError: it is ours, and our catalog is gone.
        StoreDownError, StoreRefusedError, NoBucketError: it does not answer, or not to us.
    """
    if warehouse.bucket is None:
        shutil.rmtree(directory.cache, ignore_errors=True)
        return
    warehouse.bucket.check()
    try:
        warehouse.claim(directory.owner_id)
    except WarehouseOwnedError:
        shutil.rmtree(directory.cache, ignore_errors=True)
        raise
    has_catalog = config.catalog.uri is not None or directory.catalog_file.exists()
    if not has_catalog and warehouse.has_copy:
        raise CatalogLostError(directory.path)


def results_spool(config: Config, directory: DataDirectory, disk: Disk) -> Spool:
    folder = directory.spool / "results"
    return Spool(folder, total_max_bytes=config.query.results_max_bytes, disk=disk)


def chores_of(
    config: Config, directory: DataDirectory, state: State, store: Store
) -> tuple[Chore, ...]:
    """Return what keeps the state: its old rows go, and a copy of it lies in the warehouse."""
    settings = config.catalog
    return (
        partial(keep_expiring, state, settings.idempotency_keys_days),
        partial(keep_copies, state, store, directory.spool, interval_s=settings.backup_interval_s),
    )


def storage_told(remote: Remote | None) -> dict[str, str]:
    """Return what other engines are told of where tables lie; they bring keys of their own."""
    if remote is None:
        return {}
    return {
        "s3.endpoint": f"{'https' if remote.has_tls else 'http'}://{remote.endpoint}",
        "s3.region": remote.region,
        "client.region": remote.region,
        "s3.path-style-access": str(remote.path_style).lower(),
    }


def forgetting(vectors: Vectors) -> Callable[[TableName], None]:
    """Return what has collections forget what their table has lost. Blocks, and not the loop."""
    loop = asyncio.get_running_loop()

    def forget(table: TableName) -> None:
        asyncio.run_coroutine_threadsafe(vectors.replacing.forget(table), loop).result()

    return forget


def forget(
    jobs: Jobs,
    state: State,
    store: Store,
    spool: Path,
    in_collections: Callable[[TableName], None],
    table: TableName,
) -> None:
    """Leave no byte of lost rows in collections, nor of what jobs and runs said in the catalog."""
    in_collections(table)

    def is_about(name: str) -> bool:
        return folded(str(parse_table_name(name))) == folded(str(table))

    jobs.forget(lambda subject: folded(subject) == folded(str(table)))
    forget_runs(state, is_about)
    state.merge_log()
    copy_catalog(state, store, spool)


@asynccontextmanager
async def kept_up(stop: Callable[[], None], *chores: Chore) -> AsyncIterator[None]:
    """Do what has no end while the block runs; `stop` is called when one ends by itself."""

    async def run(chore: Chore) -> None:
        try:
            await with_memory(chore)
        except LeaseLostError as error:
            log.critical("%s", error)
            stop()
        except Exception:
            log.critical("a chore in the background ended", exc_info=True)
            stop()

    tasks = [asyncio.create_task(run(chore)) for chore in chores]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def with_memory(chore: Chore) -> None:
    """Do it, and begin anew when it had no memory: a statement has it, and gives it back soon."""
    while True:
        try:
            return await chore()
        except (MemoryError, EngineMemoryError):
            log.warning("a chore in the background had no memory", exc_info=True)
            await asyncio.sleep(MEMORY_WAIT_S)


def lookup_in(objects: ObjectStore, watching: Watching) -> ObjectLookup:
    """What the catalog may ask of storage: where an object lies, and its bytes."""

    def get(key: str) -> StoredObject:
        if not may("read", object_resource(key)):
            raise ObjectNotFoundError(key)
        info = objects.find(key)
        return StoredObject(info.key, info.location, info.size_bytes)

    return ObjectLookup(get, lambda key: objects.open(key)[1], watching)


def add_checks(
    lakehouse: Lakehouse, directory: DataDirectory, state: State, warehouse: Warehouse
) -> None:
    """Name every part of the process in `/ready`. A damaged table warns: the others are served."""
    health, catalog = lakehouse.health, lakehouse.catalog

    def select_one() -> None:
        with lakehouse.database.cursor() as cursor:
            cursor.execute("SELECT 1").fetchall()

    def read_state() -> None:
        state.read(lambda tx: tx.execute("SELECT 1").fetchone())

    def list_names() -> None:
        catalog.names()

    def name_damages() -> list[str]:
        return [f"the table {name}: {why}" for name, why in catalog.damaged().items()]

    health.add("database", select_one)
    health.add("state", read_state)
    health.add("catalog", list_names)
    if warehouse.bucket is None:
        health.add("storage", partial(unwritable, directory.warehouse))
    else:
        health.add("storage", warehouse.bucket.check)
    health.add("ingest", partial(unwritable, directory.spool))
    health.add("query", partial(unwritable, directory.spool))
    health.warn("the check of all tables", name_damages)
    health.warn("the check of collections", lakehouse.vectors.warnings)
    health.warn("the audit log", lakehouse.audit.warnings)
    health.warn("the check of statements", lakehouse.queries.stuck.warnings)


def add_gauges(lakehouse: Lakehouse) -> None:
    metrics, jobs, catalog = lakehouse.metrics, lakehouse.jobs, lakehouse.catalog

    def tables() -> int:
        with acting(THE_PROCESS):  # whoever reads it: it is a number of the server
            return len(catalog.names())

    metrics.gauge("jobs_running", "Jobs that run.", lambda: jobs.running)
    metrics.gauge("jobs_waiting", "Jobs that wait for their turn.", lambda: jobs.waiting)
    metrics.gauge("tables", "Tables in the catalog.", tables)
    vectors = lakehouse.vectors
    metrics.gauge("collections", "Collections of vectors.", lambda: vectors.count)
    metrics.gauges(
        "collection_recall",
        "Recall of the last check, of the 100 collections that were checked last.",
        "collection",
        vectors.recalls,
    )
    metrics.gauges(
        "collection_waiting_rows",
        "Rows that an index does not know yet, of the 100 indexed collections that were used last.",
        "collection",
        vectors.waiting,
    )


def unwritable(path: Path) -> str | None:
    return None if os.access(path, os.W_OK) else f"the folder {path.name} cannot be written"


def wake_followers(vectors: Vectors, table: TableName) -> None:
    """Have collections follow a commit, and the answer of its request say whether they did."""
    if vectors.following.committed(table):
        record().commit(str(table))


def count_statement(metrics: Metrics, ended: StatementEnded) -> None:
    record().note(ended.tables, ended.row_count, ended.sql)
    metrics.statements(ended.outcome).inc()
    metrics.statement_seconds(ended.format).observe(ended.duration_s)
    metrics.statement_rows.inc(ended.row_count)
    metrics.statement_bytes.inc(ended.sent_bytes)


def count_run(metrics: Metrics, run: MaintenanceRun) -> None:
    metrics.maintenance_runs.labels(run.task, run.outcome).inc()
    metrics.maintenance_bytes.labels(run.task).inc(run.size_bytes)
    metrics.maintenance_seconds.labels(run.task).observe(run.duration_s)


def count_load(metrics: Metrics, ended: LoadEnded) -> None:
    record().note((ended.table,), ended.row_count)
    metrics.loads(ended.mode).inc()
    metrics.loaded_rows.inc(ended.row_count)
    metrics.loaded_bytes.inc(ended.size_bytes)


def count_job(metrics: Metrics, ended: Job) -> None:
    metrics.jobs.labels(ended.kind, ended.state).inc()


def create_app(lakehouse: Lakehouse) -> Edge:
    """Return the ASGI app over an open lakehouse."""
    app = Litestar(
        route_handlers=[
            HealthController,
            get_problem,
            TablesController,
            PastController,
            SchemaController,
            PropertiesController,
            AdoptingController,
            NamespacesController,
            DatasetsController,
            IngestController,
            UploadsController,
            MaintenanceController,
            JobsController,
            SqlController,
            QueriesController,
            TableRowsController,
            ChangesController,
            StorageController,
            BackupsController,
            SchedulesController,
            EmbedController,
            VectorsController,
            CollectionUpkeepController,
            TokensController,
            iceberg_at(lakehouse.iceberg),
        ],
        dependencies={
            "once": Provide(once_of),
            **{field.name: provide(getattr(lakehouse, field.name)) for field in fields(Lakehouse)},
        },
        exception_handlers=EXCEPTION_HANDLERS,
        logging_config=None,
        before_request=check_request,
        request_class=JsonRequest,
        request_max_body_size=BODY_MAX_BYTES,
        state=AppState({"stop": lakehouse.stop}),
        openapi_config=OpenAPIConfig(
            title="Lakehouse", version=__version__, use_handler_docstrings=True
        ),
    )
    for route in app.routes:
        for handler in getattr(route, "route_handlers", ()):  # for all at once there is no option
            known = answers_of(route.path, handler.http_methods)
            handler.responses = {**known, **(handler.responses or {})}
    read_signatures(app)
    edge = Edge(
        app,
        lakehouse.metrics,
        entrance_of(lakehouse),
        lakehouse.limiter,
        lakehouse.audit,
        allowed_hosts=lakehouse.config.server.allowed_hosts,
        open_routes=lakehouse.config.auth.open_routes,
        cors_origins=lakehouse.config.server.cors_origins,
        settled=lakehouse.vectors.following.settled,
    )
    loop = asyncio.get_running_loop()

    def end(token_ids: frozenset[str]) -> None:
        edge.end_requests_of(token_ids)
        lakehouse.jobs.end_of(lakehouse.tokens.names_ended(token_ids))

    def ended(token_ids: frozenset[str]) -> None:
        loop.call_soon_threadsafe(end, token_ids)

    lakehouse.tokens.on_change = ended
    return edge


def entrance_of(lakehouse: Lakehouse) -> Entrance:
    server, auth = lakehouse.config.server, lakehouse.config.auth
    pairs = (pair.partition("=") for pair in auth.proxy_users)
    return Entrance(
        lakehouse.tokens,
        is_loopback(server.host),
        networks(server.trusted_proxies),
        auth.proxy_user_header,
        {user: token for user, _, token in pairs},
    )


def provide(value: object) -> Provide:
    return Provide(lambda: value, sync_to_thread=False)
