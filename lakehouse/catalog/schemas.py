"""The schemas of a table: all it had, and the commit that gives it another."""

from collections.abc import Callable, Iterable

from lakehouse.catalog.errors import SchemaMovedError, TableNotFoundError
from lakehouse.catalog.evolution import evolution_updates
from lakehouse.catalog.idempotency import Idempotency, IdempotencyKeys
from lakehouse.catalog.metadata import Json, schema_of
from lakehouse.catalog.models import TableName
from lakehouse.catalog.schema_models import (
    SchemaEvolve,
    SchemaField,
    SchemaVersion,
    TableSchema,
)
from lakehouse.catalog.tables import Change, Draft, LoadedTable, Tables
from lakehouse.catalog.types import Field, children, type_text
from lakehouse.state import Transaction


class Schemas:
    def __init__(
        self, tables: Tables, keys: IdempotencyKeys, load: Callable[[TableName], LoadedTable]
    ) -> None:
        self._tables = tables
        self._keys = keys
        self._load = load

    def get(self, name: TableName) -> TableSchema:
        """Return the current schema and all before; `TableNotFoundError` when there is no table."""
        return schema_model(self._load(name))

    def evolve(
        self,
        name: TableName,
        request: SchemaEvolve,
        idempotency: Idempotency[TableSchema] | None = None,
    ) -> TableSchema:
        """Make all changes in one commit, or none, and return the schemas then.

        Two that come at once are made one after the other: the second finds what the first made.

        Raises:
            TableNotFoundError: there is no such table.
            SchemaChangeError: some changes cannot be made; says why of each.
            SchemaFixedError: this table's columns cannot change.
            SchemaMovedError: the current schema is not the expected one.
        """
        name = self._load(name).name

        def build(now: LoadedTable | None) -> Draft:
            if now is None:
                raise TableNotFoundError(str(name))
            expected, found = request.expected_schema_id, now.metadata["current-schema-id"]
            if expected is not None and expected != found:
                raise SchemaMovedError(str(now.name), expected, found)
            return evolution_draft(now.metadata, evolution_updates(now.metadata, request.changes))

        def seal(tx: Transaction, tables: list[LoadedTable]) -> None:
            if idempotency:
                self._keys.record(tx, idempotency, schema_model(tables[0]))

        (table,) = self._tables.commit([Change(name, build)], seal)
        return schema_model(table)


def evolution_draft(metadata: Json, updates: list[Json]) -> Draft:
    """Return what moves a table from the schema that `metadata` has; it changes nothing else."""
    return Draft(
        updates=updates,
        requirements=[
            {"type": "assert-table-uuid", "uuid": metadata["table-uuid"]},
            {
                "type": "assert-current-schema-id",
                "current-schema-id": metadata["current-schema-id"],
            },
            {
                "type": "assert-last-assigned-field-id",
                "last-assigned-field-id": metadata["last-column-id"],
            },
        ],
    )


def schema_model(table: LoadedTable) -> TableSchema:
    metadata = table.metadata
    return TableSchema(
        name=table.name.name,
        namespace=table.name.namespace,
        schema_id=metadata["current-schema-id"],
        columns=field_models(schema_of(metadata)["fields"]),
        schemas=[
            SchemaVersion(each["schema-id"], field_models(each["fields"]))
            for each in metadata["schemas"]
        ],
    )


def field_models(fields: Iterable[Field]) -> list[SchemaField]:
    return [
        SchemaField(
            id=each["id"],
            name=each["name"],
            type=type_text(each["type"]),
            required=each.get("required", False),
            fields=[] if isinstance(each["type"], str) else field_models(children(each["type"])),
        )
        for each in fields
    ]
