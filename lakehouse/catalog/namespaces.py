"""Namespaces: groups of tables, kept in the second table of PyIceberg's `SqlCatalog`."""

from collections.abc import Callable, Sequence
from contextlib import suppress

from lakehouse.auth import check_may, may_somewhere, namespace_resource
from lakehouse.catalog.errors import (
    NamespaceExistsError,
    NamespaceNotEmptyError,
    NamespaceNotFoundError,
)
from lakehouse.catalog.idempotency import Idempotency, IdempotencyKeys
from lakehouse.catalog.models import NamespaceCreate
from lakehouse.catalog.tables import CATALOG_NAME, find_namespace
from lakehouse.errors import InvalidInputError
from lakehouse.names import DEFAULT_NAMESPACE, check_namespace, check_new_name
from lakehouse.state import State, Transaction

INSERT = """
    INSERT INTO iceberg_namespace_properties
        (catalog_name, namespace, property_key, property_value)
    VALUES (?, ?, 'exists', 'true')
"""


class Namespaces:
    """`main` is always there; names are unique ignoring ASCII case."""

    def __init__(self, state: State, keys: IdempotencyKeys) -> None:
        self.also_in: Callable[[Transaction, str], int] = lambda tx, name: 0
        """How many things besides tables a namespace holds; handed in."""
        self._state = state
        self._keys = keys
        if self.find(DEFAULT_NAMESPACE) is None:
            with suppress(NamespaceExistsError):  # another process was faster
                self.create(DEFAULT_NAMESPACE)

    def list(self) -> list[str]:
        """Return all names that the caller may see a part of, sorted."""

        def work(tx: Transaction) -> Sequence[tuple[str]]:
            return tx.execute(
                "SELECT namespace FROM iceberg_namespace_properties WHERE catalog_name = ?"
                " UNION SELECT table_namespace FROM iceberg_tables WHERE catalog_name = ?"
                " ORDER BY 1",
                (CATALOG_NAME, CATALOG_NAME),
            ).fetchall()

        return [row[0] for row in self._state.read(work) if may_see(row[0])]

    def find(self, name: str) -> str | None:
        """Return the namespace as it was created, whatever the case of `name`; None without."""
        return self._state.read(lambda tx: find_namespace(tx, name)) if may_see(name) else None

    def get(self, name: str) -> str:
        """Return the namespace as it was created; `NamespaceNotFoundError` without."""
        found = self.find(name)
        if found is None:
            raise NamespaceNotFoundError(name)
        return found

    def create(
        self, name: str, *, idempotency: Idempotency[NamespaceCreate] | None = None
    ) -> NamespaceCreate:
        """Create an empty namespace.

        Raises:
            NamespaceExistsError: the name is taken.
            ForbiddenError: the caller may not write it.
        """
        made = NamespaceCreate(name)

        def work(tx: Transaction) -> None:
            if find_namespace(tx, name) is not None:
                raise NamespaceExistsError(name)
            tx.execute(INSERT, (CATALOG_NAME, name))
            self._keys.record(tx, idempotency, made)

        check_new_name("namespace", check_namespace(name))
        check_may_write_all(name)
        self._state.write(work)
        return made

    def drop(self, name: str, *, idempotency: Idempotency[None] | None = None) -> None:
        """Drop an empty namespace.

        Raises:
            NamespaceNotFoundError: there is none.
            NamespaceNotEmptyError: it still holds tables, or collections.
            InvalidInputError: it is `main`, where datasets live.
            ForbiddenError: the caller may see it, and may not write all of it.
        """

        def work(tx: Transaction) -> None:
            found = find_namespace(tx, name)
            if found is None:
                raise NamespaceNotFoundError(name)
            held = tx.execute(
                "SELECT count(*) FROM iceberg_tables"
                " WHERE catalog_name = ? AND table_namespace = ?",
                (CATALOG_NAME, found),
            ).fetchone()
            if held[0] or self.also_in(tx, found):
                raise NamespaceNotEmptyError(found)
            tx.execute(
                "DELETE FROM iceberg_namespace_properties WHERE catalog_name = ? AND namespace = ?",
                (CATALOG_NAME, found),
            )
            self._keys.record(tx, idempotency, None)

        if name.lower() == DEFAULT_NAMESPACE:
            raise InvalidInputError(f"the namespace {DEFAULT_NAMESPACE!r} always exists")
        self.get(name)
        check_may_write_all(name)
        self._state.write(work)


def may_see(name: str) -> bool:
    return may_somewhere("read", namespace_resource(name))


def check_may_write_all(name: str) -> None:
    check_may("write", namespace_resource(name), f"all of the namespace {name}")
