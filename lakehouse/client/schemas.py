"""The columns of tables, and how they change."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

import msgspec

from lakehouse.client.answers import value_of
from lakehouse.client.refs import table_path
from lakehouse.client.transport import Transport


class SchemaField(msgspec.Struct, frozen=True):
    id: int
    name: str
    type: str
    required: bool
    fields: list["SchemaField"] = []
    """What is inside a nested column."""


class SchemaVersion(msgspec.Struct, frozen=True):
    schema_id: int
    columns: list[SchemaField]


class TableSchema(msgspec.Struct, frozen=True):
    name: str
    namespace: str
    schema_id: int
    columns: list[SchemaField]
    schemas: list[SchemaVersion]
    """All that the table had, the current one among them."""


class Schemas:
    """`lake.schemas`: columns with their field ids, now and before."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def get(self, table: str) -> TableSchema:
        """Return the schema of a table; `NotFoundError` when there is none."""
        return value_of(self._transport.send("GET", f"{table_path(table)}/schema"), TableSchema)

    def evolve(
        self,
        table: str,
        *changes: Mapping[str, Any],
        expected_schema_id: int | None = None,
        idempotency_key: str | None = None,
    ) -> TableSchema:
        """Make all changes in one commit, or none, and return the schema then.

        Args:
            table: `name` or `namespace.name`.
            changes: `{"op": "rename", "name": "address.zip", "to": "code"}`; also `add`, `widen`,
                `drop` and `move`, as docs/tables.md has them.
            expected_schema_id: refuse when the current schema is another one.
            idempotency_key: the same key never changes twice; one is made when None.

        Raises:
            UnprocessableError: a change cannot be made; `error.context["changes"]` says why.
            ConflictError: the schema is not the expected one.
        """
        listed: Sequence[Mapping[str, Any]] = changes
        response = self._transport.send(
            "POST",
            f"{table_path(table)}/schema",
            json={"changes": listed, "expected_schema_id": expected_schema_id},
            headers={"Idempotency-Key": idempotency_key or uuid4().hex},
        )
        return value_of(response, TableSchema)
