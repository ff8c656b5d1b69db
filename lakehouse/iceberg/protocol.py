"""What the endpoints work with, and how they find what a path names."""

from collections.abc import Mapping
from dataclasses import dataclass

from lakehouse.catalog import (
    Catalog,
    LoadedTable,
    LoadedView,
    NamespaceNotFoundError,
    TableNotFoundError,
)
from lakehouse.iceberg.problems import NoSuchNamespaceError, NoSuchTableError, NoSuchViewError
from lakehouse.names import TableName
from lakehouse.storage import Store


@dataclass(frozen=True, slots=True)
class Protocol:
    """The catalog as other engines see it. What finds something blocks.

    Args:
        storage: what a client is told of the object store: where it is, never a key.
    """

    catalog: Catalog
    store: Store
    storage: Mapping[str, str]

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
            raise NoSuchTableError(str(name))
        return name

    def table(self, name: TableName) -> LoadedTable:
        """Return a table as it is now.

        Raises:
            NoSuchTableError: there is none, for this caller.
        """
        try:
            found = self.catalog.load(name)
        except TableNotFoundError:
            raise NoSuchTableError(str(name)) from None
        if found.name != name:
            raise NoSuchTableError(str(name))
        return found

    def view(self, name: TableName) -> LoadedView:
        """Return a view as it is now.

        Raises:
            NoSuchViewError: there is none, for this caller.
        """
        found = self.catalog.views.find(name)
        if found is None or found.name != name:
            raise NoSuchViewError(str(name))
        return found
