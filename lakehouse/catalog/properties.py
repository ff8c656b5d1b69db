"""Properties of a table that people set: what maintenance does to it, and words of their own."""

import difflib
from collections.abc import Callable, Mapping

from lakehouse.catalog.errors import TableNotFoundError
from lakehouse.catalog.idempotency import Idempotency, IdempotencyKeys
from lakehouse.catalog.metadata import PREVIOUS_VERSIONS, Json
from lakehouse.catalog.models import PropertiesChange, TableName, TableProperties
from lakehouse.catalog.rules import RULES, InvalidPropertyError, number, rules_of
from lakehouse.catalog.tables import Change, Draft, LoadedTable, Tables
from lakehouse.catalog.updates import apply
from lakehouse.config import MaintenanceConfig
from lakehouse.errors import InvalidInputError
from lakehouse.state import Transaction

KNOWN = frozenset([*RULES, PREVIOUS_VERSIONS])
FREE = "user."
VALUE_MAX = 4_096
COUNT_MAX = 100
ALL_MAX = 1_000
"""Of a table, with those of other engines and of the catalog, which are not shown."""
ALL_MAX_CHARACTERS = 1024**2
"""Of their names and values together: a name mapping of 10,000 columns has 0.5 million."""


class UnknownPropertyError(InvalidInputError):
    def __init__(self, name: str) -> None:
        near = difflib.get_close_matches(name, KNOWN, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(KNOWN))}"
        super().__init__(
            f"the table property {name[:120]!r} is not one to set: {hint}; names of your own begin "
            f"with {FREE!r}",
            property=name[:255],
        )


class Properties:
    def __init__(
        self, tables: Tables, keys: IdempotencyKeys, load: Callable[[TableName], LoadedTable]
    ) -> None:
        self._tables = tables
        self._keys = keys
        self._load = load

    def get(self, name: TableName) -> TableProperties:
        """Return what was set; `TableNotFoundError` when there is no such table."""
        return properties_model(self._load(name))

    def change(
        self,
        name: TableName,
        request: PropertiesChange,
        idempotency: Idempotency[TableProperties] | None = None,
    ) -> TableProperties:
        """Set and remove properties in one commit, or none, and return those there are then.

        Removing one that is not there changes nothing.

        Raises:
            TableNotFoundError: there is no such table.
            UnknownPropertyError: a name is neither known nor one of your own.
            InvalidPropertyError: a value is not of its property.
        """
        for each in (*request.set, *request.remove):
            if each not in KNOWN and not (each.startswith(FREE) and len(each) > len(FREE)):
                raise UnknownPropertyError(each)
        name = self._load(name).name

        def build(now: LoadedTable | None) -> Draft:
            if now is None:
                raise TableNotFoundError(str(name))
            updates: list[Json] = []
            if request.set:
                updates.append({"action": "set-properties", "updates": dict(request.set)})
            if request.remove:
                updates.append({"action": "remove-properties", "removals": list(request.remove)})
            check_values(apply(now.metadata, updates))
            uuid = now.metadata["table-uuid"]
            return Draft(updates, [{"type": "assert-table-uuid", "uuid": uuid}])

        def seal(tx: Transaction, tables: list[LoadedTable]) -> None:
            self._keys.record(tx, idempotency, properties_model(tables[0]))

        (table,) = self._tables.commit([Change(name, build)], seal)
        return properties_model(table)


def check_values(metadata: Json) -> None:
    shown = visible(metadata["properties"])
    if len(shown) > COUNT_MAX:
        raise InvalidInputError(f"a table has at most {COUNT_MAX} properties")
    for name, value in shown.items():
        if len(value) > VALUE_MAX or "\0" in value:
            raise InvalidPropertyError(name, value, f"at most {VALUE_MAX} characters, none NUL")
    rules_of(metadata, MaintenanceConfig())
    number(metadata["properties"], PREVIOUS_VERSIONS, 1, 1)


def check_size(before: Mapping[str, str], after: Mapping[str, str]) -> None:
    """Refuse more than a table keeps; one that has more already may lose some."""
    if ALL_MAX < len(after) > len(before):
        raise InvalidInputError(
            f"the table would have {len(after):,} properties; {ALL_MAX:,} are the most"
        )
    if ALL_MAX_CHARACTERS < characters(after) > characters(before):
        raise InvalidInputError(
            f"the properties of the table would have {characters(after):,} characters; "
            f"{ALL_MAX_CHARACTERS:,} are the most"
        )


def characters(properties: Mapping[str, str]) -> int:
    return sum(len(name) + len(value) for name, value in properties.items())


def visible(properties: Mapping[str, str]) -> dict[str, str]:
    """Return those that people set; the others are how the table is kept."""
    return {
        name: value
        for name, value in sorted(properties.items())
        if name in KNOWN or name.startswith(FREE)
    }


def properties_model(table: LoadedTable) -> TableProperties:
    return TableProperties(
        name=table.name.name,
        namespace=table.name.namespace,
        properties=visible(table.metadata["properties"]),
    )
