"""What is kept of a request that has an `Idempotency-Key`, so that it has one effect.

It is stored with the effect, in one transaction. Of a table or a view only where its metadata lies:
that file is the answer, and long.
"""

from contextlib import suppress
from typing import Any

import msgspec
import orjson

from lakehouse.catalog import LoadedTable, LoadedView, TableName
from lakehouse.iceberg.calls import Answer
from lakehouse.iceberg.loaded import loaded, loaded_view
from lakehouse.iceberg.protocol import Protocol
from lakehouse.storage import ObjectNotFoundError


class Kept(msgspec.Struct, frozen=True):
    status: int = 204
    body: Any = None
    table: tuple[str, str] | None = None
    location: str = ""
    """Of the metadata that the answer was; none where it is the table as it is then."""
    is_view: bool = False

    @classmethod
    def of_table(cls, table: LoadedTable) -> "Kept":
        return cls.at(table.name, table.location)

    @classmethod
    def of_view(cls, view: LoadedView) -> "Kept":
        return cls(200, None, (view.name.namespace, view.name.name), view.location, is_view=True)

    @classmethod
    def at(cls, name: TableName, location: str = "") -> "Kept":
        return cls(200, table=(name.namespace, name.name), location=location)

    def answer(self, protocol: Protocol) -> Answer:
        """Return the answer that the request got. Blocks."""
        if self.table is None:
            body = b"" if self.body is None else orjson.dumps(self.body)
            return Answer(self.status, body)
        if self.is_view:
            return loaded_view(protocol.catalog.views.at(TableName(*self.table), self.location))
        name = TableName(*self.table)
        if self.location:
            with suppress(ObjectNotFoundError):  # 100 commits ago: as it is now
                return loaded(protocol, LoadedTable(name, self.location, {}))
        return loaded(protocol, protocol.table(name))
