"""Namespaces: groups of tables, kept in the second table of PyIceberg's `SqlCatalog`."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

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
from lakehouse.names import DEFAULT_NAMESPACE, check_levels, check_new_name
from lakehouse.state import State, Transaction

INSERT = """
    INSERT INTO iceberg_namespace_properties
        (catalog_name, namespace, property_key, property_value)
    VALUES (?, ?, ?, ?)
"""
SET = f"""{INSERT}
    ON CONFLICT (catalog_name, namespace, property_key)
        DO UPDATE SET property_value = excluded.property_value
"""
KEY_MAX, VALUE_MAX = 255, 1_000
"""Characters of a property: what the columns of `SqlCatalog` hold."""
EXISTS = "exists"
"""The property by which `SqlCatalog` notes a namespace that has no other."""
BELOW = """
    SELECT namespace FROM iceberg_namespace_properties
    WHERE catalog_name = ? AND substr(lower(namespace), 1, length(?)) = lower(?) LIMIT 1
"""
SAME_NAME = """
    SELECT table_namespace, table_name FROM iceberg_tables
    WHERE catalog_name = ? AND length(table_namespace) < length(?)
        AND substr(lower(table_namespace || '.' || table_name), 1, length(?)) = lower(?) LIMIT 1
"""
"""A table `b.t` of `a` where a namespace `a.b` is to be: `a.b.t` would be one of two."""


class PropertiesChanged(NamedTuple):
    updated: Sequence[str]
    removed: Sequence[str]
    missing: Sequence[str]
    """Of those that were to be removed, the ones that were not there."""


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
        self,
        name: str,
        *,
        inside: Sequence[str] = (),
        properties: Mapping[str, str] | None = None,
        idempotency: Idempotency[NamespaceCreate] | None = None,
    ) -> NamespaceCreate:
        """Create an empty namespace, and those that it lies in.

        Args:
            inside: the names of those, the outermost first.
            properties: what other engines note of it.

        Raises:
            NamespaceExistsError: the name is taken.
            InvalidInputError: a property is too long.
            ForbiddenError: the caller may not write it.
        """
        levels = [*inside, name]
        name = check_levels(levels)
        for each in levels:
            check_new_name("namespace", each)
        check_properties(properties or {})
        made = NamespaceCreate(name)

        def work(tx: Transaction) -> None:
            if find_namespace(tx, name) is not None:
                raise NamespaceExistsError(name)
            inside = f"{name}."
            if found := tx.execute(SAME_NAME, (CATALOG_NAME, name, inside, inside)).fetchone():
                raise NamespaceExistsError(f"{found[0]}.{found[1]}")
            for count in range(1, len(levels) + 1):
                outer = ".".join(levels[:count])
                ensure_namespace(tx, outer)
            for key, value in (properties or {}).items():
                tx.execute(SET, (CATALOG_NAME, name, key, value))
            self._keys.record(tx, idempotency, made)

        check_may_write_all(name)
        self._state.write(work)
        return made

    def properties(self, name: str) -> dict[str, str]:
        """Return what is noted of a namespace; `NamespaceNotFoundError` without one."""
        found = self.get(name)
        return self._state.read(lambda tx: read_properties(tx, found))

    def change_properties(
        self,
        name: str,
        updates: Mapping[str, str],
        removals: Sequence[str],
        *,
        idempotency: "Idempotency[PropertiesChanged] | None" = None,
    ) -> "PropertiesChanged":
        """Set and remove properties.

        Raises:
            NamespaceNotFoundError: there is no such namespace.
            ForbiddenError: the caller may not write all of it.
        """

        def work(tx: Transaction) -> PropertiesChanged:
            found = find_namespace(tx, name)
            if found is None:
                raise NamespaceNotFoundError(name)
            there = read_properties(tx, found)
            for key, value in updates.items():
                tx.execute(SET, (CATALOG_NAME, found, key, value))
            removed = [key for key in removals if key in there]
            for key in removed:
                tx.execute(
                    "DELETE FROM iceberg_namespace_properties"
                    " WHERE catalog_name = ? AND namespace = ? AND property_key = ?",
                    (CATALOG_NAME, found, key),
                )
            missing = [key for key in removals if key not in there]
            changed = PropertiesChanged([*updates], removed, missing)
            self._keys.record(tx, idempotency, changed)
            return changed

        check_properties(updates)
        self.get(name)
        check_may_write_all(name)
        return self._state.write(work)

    def drop(self, name: str, *, idempotency: Idempotency[None] | None = None) -> None:
        """Drop an empty namespace.

        Raises:
            NamespaceNotFoundError: there is none.
            NamespaceNotEmptyError: it still holds tables, collections or other namespaces.
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
            below = tx.execute(BELOW, (CATALOG_NAME, *[f"{found}."] * 2)).fetchone()
            if held[0] or below or self.also_in(tx, found):
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


def ensure_namespace(tx: Transaction, name: str) -> str:
    """Return a namespace as it was created, or create it."""
    found = find_namespace(tx, name)
    if found is None:
        tx.execute(INSERT, (CATALOG_NAME, name, EXISTS, "true"))
    return found or name


def check_properties(properties: Mapping[str, str]) -> None:
    for key, value in properties.items():
        if not 1 <= len(key) <= KEY_MAX or len(value) > VALUE_MAX or key == EXISTS:
            raise InvalidInputError(
                f"the property {key[:80]!r} is refused: a key has 1 to {KEY_MAX} characters, and is"
                f" not {EXISTS!r}; a value has {VALUE_MAX:,} at most"
            )


def read_properties(tx: Transaction, namespace: str) -> dict[str, str]:
    rows = tx.execute(
        "SELECT property_key, property_value FROM iceberg_namespace_properties"
        " WHERE catalog_name = ? AND namespace = ? AND property_key <> ? ORDER BY property_key",
        (CATALOG_NAME, namespace, EXISTS),
    ).fetchall()
    return dict(rows)


def may_see(name: str) -> bool:
    return may_somewhere("read", namespace_resource(name))


def check_may_write_all(name: str) -> None:
    check_may("write", namespace_resource(name), f"all of the namespace {name}")
