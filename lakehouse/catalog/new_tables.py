"""Tables that are not there yet: what they may be called, where they lie, how they begin."""

import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from lakehouse.catalog.metadata import Json, new_metadata
from lakehouse.catalog.models import Column, TableName
from lakehouse.catalog.namespaces import Namespaces
from lakehouse.catalog.partitioning import partition_fields, sort_fields
from lakehouse.catalog.table import CREATED_AT
from lakehouse.catalog.tables import NAME, check_may_write, check_no_view, now_ms
from lakehouse.catalog.types import make_fields
from lakehouse.names import check_new_column_names, check_new_name
from lakehouse.state import State
from lakehouse.storage import Store

SLUG_MAX = 40


class NewTables:
    def __init__(self, state: State, store: Store, namespaces: Namespaces) -> None:
        self._state = state
        self._store = store
        self._namespaces = namespaces

    def placed(self, name: TableName) -> TableName:
        """Return `name`, fit for a table that is made, with its namespace as that was created.

        Raises:
            ForbiddenError: the caller may not write there, whatever is there.
            NameTakenError: a view has the name.
        """
        check_may_write(name)
        self._state.read(lambda tx: check_no_view(tx, name))
        return TableName(
            self._namespaces.get(name.namespace), check_new_name("table name", name.name)
        )

    def metadata(
        self,
        name: TableName,
        columns: Sequence[Column],
        partition_by: Sequence[str],
        sort_by: Sequence[str],
        properties: Mapping[str, str],
    ) -> Json:
        """Return the metadata of a table without rows, in a folder that no other has."""
        check_new_column_names(column.name for column in columns)
        fields, last_id = make_fields(columns)
        return self._metadata(
            name,
            properties,
            fields=fields,
            last_column_id=last_id,
            partition_fields=partition_fields(partition_by, fields),
            sort_fields=sort_fields(sort_by, fields),
        )

    def begun(
        self, name: TableName, properties: Mapping[str, str], location: str | None = None
    ) -> Json:
        """Return the metadata of a table that has no columns yet.

        Args:
            location: of its folder; None for one that no other has.
        """
        return self._metadata(name, properties, location, fields=(), last_column_id=0)

    def _metadata(
        self,
        name: TableName,
        properties: Mapping[str, str],
        location: str | None = None,
        **columns: Any,
    ) -> Json:
        table_uuid = uuid.uuid4()
        # A unique suffix: after a rename, a new table of the old name must not share the folder.
        key = f"tables/{slug(name.namespace)}/{slug(name.name)}-{table_uuid.hex[:8]}"
        created = now_ms()
        return new_metadata(
            table_uuid=str(table_uuid),
            location=location or self._store.uri(key),
            properties={**properties, CREATED_AT: str(created), NAME: str(name)},
            now_ms=created,
            **columns,
        )


def slug(name: str) -> str:
    """Return a folder for `name`: never the name itself, whose `[1]` DuckDB would expand."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name)[:SLUG_MAX].strip("-") or "x"
