"""What the endpoints work with, and how they find what a path names."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import anyio

from lakehouse.catalog import (
    Catalog,
    LoadedTable,
    LoadedView,
    NamespaceNotFoundError,
    TableNotFoundError,
)
from lakehouse.iceberg.problems import NoSuchNamespaceError, NoSuchTableError, NoSuchViewError
from lakehouse.lanes import on_thread
from lakehouse.names import TableName
from lakehouse.storage import Store

T = TypeVar("T")

WRITES_MAX = 8
"""Changes at a time; each may wait for a table's lock, and holds a thread while it does."""


def writes_limiter() -> anyio.CapacityLimiter:
    return anyio.CapacityLimiter(WRITES_MAX)


@dataclass(frozen=True, slots=True)
class Protocol:
    """The catalog as other engines see it. What finds something blocks.

    Args:
        storage: what a client is told of the object store: where it is, never a key.
    """

    catalog: Catalog
    store: Store
    storage: Mapping[str, str]
    writes: anyio.CapacityLimiter = field(default_factory=writes_limiter)

    async def write(self, work: Callable[[], T]) -> T:
        """Return `work()`, a change of the catalog, run on a thread.

        Changes have threads of their own: many that wait for one table would take all of those that
        reads, uploads and the audit log share.
        """
        return await on_thread(work, self.writes)

    def namespace(self, name: str) -> str:
        """Return the name of a namespace that is there.

        Raises:
            NoSuchNamespaceError: there is none, for this caller.
        """
        try:
            found = self.catalog.namespaces.get(name)
        except NamespaceNotFoundError:
            raise NoSuchNamespaceError(name) from None
        if found != name:  # names of the protocol differ by case
            raise NoSuchNamespaceError(name)
        return found

    def spelled(self, name: TableName) -> TableName:
        """Return a name that a commit may make or change.

        Raises:
            NoSuchTableError: a table is there that differs from it by case alone.
        """
        found = self.catalog.find_loaded(name)
        if found is not None and found.name != name:
            raise NoSuchTableError(".".join(name))
        return name

    def table(self, name: TableName) -> LoadedTable:
        """Return a table as it is now.

        Raises:
            NoSuchTableError: there is none, for this caller.
        """
        try:
            found = self.catalog.load(name)
        except TableNotFoundError:
            raise NoSuchTableError(".".join(name)) from None
        if found.name != name:
            raise NoSuchTableError(".".join(name))
        return found

    def view(self, name: TableName) -> LoadedView:
        """Return a view as it is now.

        Raises:
            NoSuchViewError: there is none, for this caller.
        """
        found = self.catalog.views.find(name)
        if found is None or found.name != name:
            raise NoSuchViewError(".".join(name))
        return found
