"""What SQL may ask of the catalog, answered for this caller: never DuckDB's own catalog."""

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import pyarrow as pa

from lakehouse.auth import Action
from lakehouse.catalog import Catalog, TableName, duckdb_type
from lakehouse.database import Connection, quoted
from lakehouse.errors import LakehouseError
from lakehouse.query.errors import StatementNotAllowedError

May: TypeAlias = Callable[[Action, TableName], bool]

INSTANCE = "lake"
VIEWS = frozenset(
    ["information_schema.tables", "information_schema.columns", "information_schema.schemata"]
)
SHOWN = {
    "tables": "show tables",
    "__show_tables_expanded": "show all tables",
    "databases": "show databases",
    "schemas": "show schemas",
}
PLAN_NOISE = re.compile(
    r"(?:file://|s3://)?/?[\w./=%:-]*/(?:tables|objects)/[\w./=%:-]*|r_[0-9a-f]{32}_\w*"
)
serial = itertools.count()


def shown_view(name: str) -> str:
    """Return the view that a SHOW asks for."""
    known = SHOWN.get(name.strip('"').lower())
    if known is None:
        raise StatementNotAllowedError(f"SHOW {name[:40]} is not answered here")
    return known


def view_of(view: str, catalog: Catalog, may: May) -> pa.Table:
    """Return the rows of a view, as this caller may see them."""
    names = [*catalog.names(), *catalog.views.names()]
    visible = sorted(name for name in names if may("read", name))
    return BUILDERS[view](catalog, visible)


def registered(cursor: Connection, rows: pa.Table) -> str:
    """Hand rows to this cursor alone, and return the relation's name."""
    relation = f"lakehouse_view_{next(serial)}"
    cursor.register(relation, rows)
    return relation


@dataclass(frozen=True, slots=True)
class Log:
    """Rows of ours that may be many: read some at a time, into a table of the engine's."""

    schema: pa.Schema
    read: Callable[[Callable[[pa.RecordBatch], None]], None]
    """Calls what it is given with each batch."""

    def copied(self, cursor: Connection) -> str:
        """Copy the rows for this cursor alone, and return the relation's name.

        They are of its memory, which counts them, and go to the disk where that is too small.
        """
        relation = f"lakehouse_view_{next(serial)}"
        target, batch = quoted(relation), f"{relation}_batch"

        def copy(rows: pa.RecordBatch) -> None:
            cursor.register(batch, rows)
            try:
                cursor.execute(f"INSERT INTO {target} FROM {quoted(batch)}")
            finally:
                cursor.unregister(batch)

        cursor.register(batch, self.schema.empty_table())
        cursor.execute(f"CREATE TEMP TABLE {target} AS FROM {quoted(batch)}")
        self.read(copy)
        return relation


def columns_of(catalog: Catalog, name: TableName) -> list[tuple[str, str]]:
    """Return the columns of a table or a view with DuckDB's types; none when it cannot be read."""
    try:
        found = catalog.find(name) or catalog.views.find(name)
        return [(c.name, duckdb_type(c.type)) for c in found.columns] if found else []
    except LakehouseError:
        return []  # a damaged table hides no other


def show_tables(catalog: Catalog, names: Sequence[TableName]) -> pa.Table:
    shown = [name.name if name.namespace == "main" else str(name) for name in names]
    return pa.table({"name": pa.array(shown, pa.string())})


def show_all_tables(catalog: Catalog, names: Sequence[TableName]) -> pa.Table:
    columns = [columns_of(catalog, name) for name in names]
    texts = pa.list_(pa.string())
    return pa.table(
        {
            "database": pa.array([INSTANCE] * len(names), pa.string()),
            "schema": pa.array([name.namespace for name in names], pa.string()),
            "name": pa.array([name.name for name in names], pa.string()),
            "column_names": pa.array([[c for c, _ in each] for each in columns], texts),
            "column_types": pa.array([[t for _, t in each] for each in columns], texts),
            "temporary": pa.array([False] * len(names), pa.bool_()),
        }
    )


def show_databases(catalog: Catalog, names: Sequence[TableName]) -> pa.Table:
    return pa.table({"database_name": pa.array([INSTANCE], pa.string())})


def show_schemas(catalog: Catalog, names: Sequence[TableName]) -> pa.Table:
    return schemata(catalog, names)


def tables(catalog: Catalog, names: Sequence[TableName]) -> pa.Table:
    views = set(catalog.views.names())
    kinds = ["VIEW" if name in views else "BASE TABLE" for name in names]
    return pa.table(
        {
            "table_catalog": pa.array([INSTANCE] * len(names), pa.string()),
            "table_schema": pa.array([name.namespace for name in names], pa.string()),
            "table_name": pa.array([name.name for name in names], pa.string()),
            "table_type": pa.array(kinds, pa.string()),
        }
    )


def columns(catalog: Catalog, names: Sequence[TableName]) -> pa.Table:
    rows = [
        (name.namespace, name.name, column, position, type_)
        for name in names
        for position, (column, type_) in enumerate(columns_of(catalog, name), start=1)
    ]
    return pa.table(
        {
            "table_catalog": pa.array([INSTANCE] * len(rows), pa.string()),
            "table_schema": pa.array([row[0] for row in rows], pa.string()),
            "table_name": pa.array([row[1] for row in rows], pa.string()),
            "column_name": pa.array([row[2] for row in rows], pa.string()),
            "ordinal_position": pa.array([row[3] for row in rows], pa.int32()),
            "is_nullable": pa.array(["YES"] * len(rows), pa.string()),
            "data_type": pa.array([row[4] for row in rows], pa.string()),
        }
    )


def schemata(catalog: Catalog, names: Sequence[TableName]) -> pa.Table:
    shown = sorted({name.namespace for name in names} | {"main"})
    return pa.table(
        {
            "catalog_name": pa.array([INSTANCE] * len(shown), pa.string()),
            "schema_name": pa.array(shown, pa.string()),
        }
    )


def explained(rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    return pa.table(
        {
            "explain_key": pa.array([row[0] for row in rows], pa.string()),
            "explain_value": pa.array([PLAN_NOISE.sub("…", row[1]) for row in rows], pa.string()),
        }
    )


BUILDERS: dict[str, Callable[[Catalog, Sequence[TableName]], pa.Table]] = {
    "show tables": show_tables,
    "show all tables": show_all_tables,
    "show databases": show_databases,
    "show schemas": show_schemas,
    "information_schema.tables": tables,
    "information_schema.columns": columns,
    "information_schema.schemata": schemata,
}
