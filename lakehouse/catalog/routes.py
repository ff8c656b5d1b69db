"""`/v1/tables`, `/v1/namespaces` and the Go contract's `/v1/catalog` over HTTP."""

from dataclasses import dataclass
from types import NoneType
from typing import Annotated, TypeAlias

from litestar import Controller, delete, get, post
from litestar.di import NamedDependency
from litestar.openapi.spec import OpenAPIResponse, Operation, Schema
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from lakehouse.api.access import reads, writes
from lakehouse.api.documented import NAMED
from lakehouse.api.pages import LIMIT_DEFAULT, Cursor, Limit, page_of
from lakehouse.catalog.catalog import Catalog
from lakehouse.catalog.datasets import Datasets
from lakehouse.catalog.idempotency import Idempotency, Once
from lakehouse.catalog.models import (
    DatasetRegister,
    DroppedPage,
    DroppedTable,
    Manifest,
    ManifestList,
    NamespaceCreate,
    NamespacePage,
    Snapshot,
    SnapshotPage,
    Table,
    TableCreate,
    TablePage,
    TableRename,
    TableSummary,
    TableUndrop,
)
from lakehouse.database import Database
from lakehouse.errors import InvalidInputError
from lakehouse.names import check_namespace, parse_table_name

SEQUENCE_MAX = 2**63
MANIFESTS_MAX = 10_000
"""The Go contract knows no pages of datasets: below this its answer is as it was."""
ManifestLimit: TypeAlias = Annotated[
    int, QueryParameter(ge=1, le=MANIFESTS_MAX, description="Datasets in one answer.")
]


@dataclass
class ListOperation(Operation):
    """The operation with two kinds of pages. An empty one is of both, which `oneOf` forbids."""

    def __post_init__(self) -> None:
        answer = (self.responses or {})["200"]
        assert isinstance(answer, OpenAPIResponse) and answer.content, "it has a page"
        for media in answer.content.values():
            assert isinstance(media.schema, Schema), "it is a union"
            media.schema = Schema(any_of=media.schema.one_of)


class TablesController(Controller):
    path = "/v1/tables"
    tags = ["tables"]

    @get(responses=NAMED, operation_class=ListOperation, guards=[reads])
    async def list_tables(
        self,
        catalog: NamedDependency[Catalog],
        database: NamedDependency[Database],
        namespace: FromQuery[str | None] = None,
        dropped: FromQuery[bool] = False,
        limit: Limit = LIMIT_DEFAULT,
        cursor: Cursor = None,
    ) -> TablePage | DroppedPage:
        """List tables by name, all or those of one namespace; damaged ones say why.

        With `dropped=true` those that were dropped and can be brought back.
        """

        def work() -> TablePage | DroppedPage:
            wanted = catalog.namespaces.get(namespace) if namespace is not None else None
            if dropped:
                tables = dropped_tables(catalog, wanted)
                return DroppedPage(*page_of(tables, dropped_last, limit, cursor))
            names = [each for each in catalog.names() if wanted in (None, each.namespace)]
            names.sort(key=str)
            chosen, following = page_of(names, str, limit, cursor)
            damaged = catalog.damaged()
            items = [TableSummary(n.name, n.namespace, damaged.get(str(n))) for n in chosen]
            return TablePage(items, following)

        return await database.call(work)

    @post(guards=[writes])
    async def create_table(
        self,
        catalog: NamedDependency[Catalog],
        database: NamedDependency[Database],
        once: NamedDependency[Once],
        data: JSONBody[TableCreate],
    ) -> Table:
        """Create an empty table."""

        def work(idempotency: Idempotency[Table] | None) -> Table:
            return catalog.create_table(
                parse_table_name(data.name),
                data.columns,
                partition_by=data.partition_by,
                sort_by=data.sort_by,
                idempotency=idempotency,
            )

        return await database.call(lambda: once.run(Table, work))

    @get("/{table:str}", guards=[reads])
    async def describe_table(
        self,
        catalog: NamedDependency[Catalog],
        database: NamedDependency[Database],
        table: FromPath[str],
    ) -> Table:
        """Describe a table: columns, partitioning, rows, files, bytes."""
        return await database.call(lambda: catalog.describe(parse_table_name(table)))

    @delete("/{table:str}", guards=[writes])
    async def drop_table(
        self,
        catalog: NamedDependency[Catalog],
        database: NamedDependency[Database],
        once: NamedDependency[Once],
        table: FromPath[str],
        purge: FromQuery[bool] = False,
        uuid: FromQuery[str | None] = None,
    ) -> None:
        """Take a table out of the catalog. It can be brought back until it is purged.

        `purge=true` deletes its files now, and with `uuid` those of the table that has it, dropped
        or not; without, a table that is there goes before one that was dropped.
        """
        name = parse_table_name(table)
        if uuid is not None and not purge:
            raise InvalidInputError("uuid says what to purge; it goes with purge=true")

        def work(idempotency: Idempotency[None] | None) -> None:
            if purge:
                catalog.purge(name, uuid=uuid, idempotency=idempotency)
            else:
                catalog.drop(name, idempotency=idempotency)

        await database.call(lambda: once.run(NoneType, work))

    @post("/{table:str}/undrop", status_code=200, guards=[writes])
    async def undrop_table(
        self,
        catalog: NamedDependency[Catalog],
        database: NamedDependency[Database],
        once: NamedDependency[Once],
        table: FromPath[str],
        data: JSONBody[TableUndrop | None] = None,
    ) -> Table:
        """Bring a dropped table back, as it was."""
        asked = data or TableUndrop()
        to = parse_table_name(asked.as_) if asked.as_ is not None else None

        def work(idempotency: Idempotency[Table] | None) -> Table:
            name = parse_table_name(table)
            return catalog.undrop(name, uuid=asked.uuid, to=to, idempotency=idempotency)

        return await database.call(lambda: once.run(Table, work))

    @post("/{table:str}/rename", status_code=200, guards=[writes])
    async def rename_table(
        self,
        catalog: NamedDependency[Catalog],
        database: NamedDependency[Database],
        once: NamedDependency[Once],
        table: FromPath[str],
        data: JSONBody[TableRename],
    ) -> Table:
        """Give a table another name, in the same namespace or another one."""

        def work(idempotency: Idempotency[Table] | None) -> Table:
            name, to = parse_table_name(table), parse_table_name(data.to)
            return catalog.rename(name, to, idempotency=idempotency)

        return await database.call(lambda: once.run(Table, work))

    @get("/{table:str}/snapshots", guards=[reads])
    async def list_snapshots(
        self,
        catalog: NamedDependency[Catalog],
        database: NamedDependency[Database],
        table: FromPath[str],
        limit: Limit = LIMIT_DEFAULT,
        cursor: Cursor = None,
    ) -> SnapshotPage:
        """List the snapshots of a table, newest first; each can be read with `as_of`."""

        def work() -> SnapshotPage:
            snapshots = catalog.snapshots(parse_table_name(table))
            return SnapshotPage(*page_of(snapshots, newest_first, limit, cursor))

        return await database.call(work)


def dropped_tables(catalog: Catalog, namespace: str | None) -> list[DroppedTable]:
    """Return the dropped tables in the order of their pages."""
    found = [
        DroppedTable(each.name.name, each.name.namespace, each.uuid, each.dropped_at)
        for each in catalog.dropped.list()
        if namespace in (None, each.name.namespace)
    ]
    return sorted(found, key=dropped_last)


def dropped_last(table: DroppedTable) -> str:
    since = SEQUENCE_MAX - int(table.dropped_at.timestamp() * 1000)
    return f"{table.namespace}.{table.name}\0{since:020}{table.uuid}"


def newest_first(snapshot: Snapshot) -> str:
    return f"{SEQUENCE_MAX - int(snapshot.committed_at.timestamp() * 1000):020}"


class NamespacesController(Controller):
    path = "/v1/namespaces"
    tags = ["tables"]

    @get(guards=[reads])
    async def list_namespaces(
        self,
        catalog: NamedDependency[Catalog],
        database: NamedDependency[Database],
        limit: Limit = LIMIT_DEFAULT,
        cursor: Cursor = None,
    ) -> NamespacePage:
        """List namespaces by name."""
        names = await database.call(catalog.namespaces.list)
        return NamespacePage(*page_of(sorted(names), str, limit, cursor))

    @post(guards=[writes])
    async def create_namespace(
        self,
        catalog: NamedDependency[Catalog],
        database: NamedDependency[Database],
        once: NamedDependency[Once],
        data: JSONBody[NamespaceCreate],
    ) -> NamespaceCreate:
        """Create an empty namespace."""

        def work(idempotency: Idempotency[NamespaceCreate] | None) -> NamespaceCreate:
            return catalog.namespaces.create(check_namespace(data.name), idempotency=idempotency)

        return await database.call(lambda: once.run(NamespaceCreate, work))

    @delete("/{namespace:str}", guards=[writes])
    async def drop_namespace(
        self,
        catalog: NamedDependency[Catalog],
        database: NamedDependency[Database],
        once: NamedDependency[Once],
        namespace: FromPath[str],
    ) -> None:
        """Drop an empty namespace."""

        def work(idempotency: Idempotency[None] | None) -> None:
            catalog.namespaces.drop(namespace, idempotency=idempotency)

        await database.call(lambda: once.run(NoneType, work))


class DatasetsController(Controller):
    """The Go contract: a dataset is a table of the namespace `main`."""

    path = "/v1/catalog"
    tags = ["datasets"]

    @post("/register", status_code=200, guards=[writes])
    async def register_dataset(
        self,
        datasets: NamedDependency[Datasets],
        database: NamedDependency[Database],
        once: NamedDependency[Once],
        data: JSONBody[DatasetRegister],
    ) -> Manifest:
        """Make Parquet objects of the storage API readable as a dataset, without a copy."""

        def work(idempotency: Idempotency[Manifest] | None) -> Manifest:
            return datasets.register(data, idempotency=idempotency)

        return await database.call(lambda: once.run(Manifest, work))

    @get("/manifest/{name:str}", guards=[reads])
    async def get_manifest(
        self,
        datasets: NamedDependency[Datasets],
        database: NamedDependency[Database],
        name: FromPath[str],
    ) -> Manifest:
        """Return a dataset's manifest."""
        return await database.call(lambda: datasets.manifest(name))

    @get("/list", guards=[reads])
    async def list_manifests(
        self,
        datasets: NamedDependency[Datasets],
        database: NamedDependency[Database],
        limit: ManifestLimit = MANIFESTS_MAX,
        cursor: Cursor = None,
    ) -> ManifestList:
        """List datasets by name. Only where there are more than `limit`, `next_cursor` is there."""

        def work() -> ManifestList:
            chosen, following = page_of(datasets.names(), lambda n: n.name, limit, cursor)
            return ManifestList(datasets.list(chosen), following)

        return await database.call(work)
