"""Schema evolution: columns are added, widened, renamed, dropped and moved by field id.

Files stay as they are. A reader finds a column in each of them by its id, so a new column of an old
name never shows old values. Source: https://iceberg.apache.org/spec/#schema-evolution
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeAlias

from lakehouse.catalog.errors import SchemaChangeError, SchemaFixedError, UnwritableTypeError
from lakehouse.catalog.fingerprint import FINGERPRINT, fingerprint
from lakehouse.catalog.metadata import NAME_MAPPING, Json, schema_of, sort_order_of
from lakehouse.catalog.partitioning import OWN_NAME, find_field
from lakehouse.catalog.schema_models import Add, AnyChange, Drop, Move, Rename, Widen
from lakehouse.catalog.types import (
    Field,
    Type,
    check_paths,
    check_writable,
    children,
    field_name,
    numbered,
    parse_type,
    to_columns,
    type_text,
)
from lakehouse.catalog.updates import apply
from lakehouse.errors import InvalidInputError
from lakehouse.names import check_new_column_names

Path: TypeAlias = tuple[str, ...]

PART = re.compile(r'"(?:[^"]|"")+"|[^."]+')
DECIMAL = re.compile(r"decimal\((\d+),(\d+)\)")
WIDER = {"int": "long", "float": "double"}


class RefusedError(Exception):
    """Why one change cannot be done."""


@dataclass(frozen=True, slots=True)
class Found:
    """Where a path leads."""

    field: Field
    siblings: list[Field] | None
    """The fields it is one of; None for what a list or a map holds."""
    holder: dict[str, Any] | None
    """The list or the map."""


def evolution_updates(metadata: Json, changes: Iterable[AnyChange]) -> list[Json]:
    """Return the updates that make all `changes`, in their order; none when nothing differs.

    Raises:
        SchemaChangeError: some of them cannot be made; says why of each.
        SchemaFixedError: the columns of this table cannot change.
    """
    updates = Evolution(metadata).run(changes)
    if updates and FINGERPRINT in metadata["properties"]:
        columns = to_columns(schema_of(apply(metadata, updates))["fields"])
        values = {FINGERPRINT: fingerprint(columns)}
        updates.append({"action": "set-properties", "updates": values})
    return updates


class Evolution:
    """The columns of a table while they are changed; its metadata stays as it is."""

    def __init__(self, metadata: Json) -> None:
        self.fields: list[Field] = deepcopy(schema_of(metadata)["fields"])
        self._ids = count(metadata["last-column-id"] + 1)
        self._metadata = metadata

    def run(self, changes: Iterable[AnyChange]) -> list[Json]:
        """Make all `changes` and return the updates that say so."""
        refused = []
        for number, change in enumerate(changes):
            try:
                STEPS[type(change)](self, change)
                check_paths(self.fields)
            except (RefusedError, InvalidInputError, UnwritableTypeError) as error:
                refused.append((number, change.name, str(error)))
        if refused:
            raise SchemaChangeError(refused)
        return self._updates()

    def add(self, change: Add) -> None:
        *parent, name = parsed(change.name)
        siblings = self.fields
        if parent:
            holder = self.find(tuple(parent)).field["type"]
            if isinstance(holder, str) or holder["type"] != "struct":
                reason = f"{dotted(parent)} is {type_text(holder)}, and only a struct holds fields"
                raise RefusedError(f'{reason}; a name with a dot is written in quotes, "a.b"')
            siblings = holder["fields"]
        (field,) = numbered([{"name": name, "type": parse_type(change.type)}], self._ids)
        check_writable([field])
        self._check_name(siblings, field, name)
        is_last = not change.first and change.after is None
        siblings.insert(len(siblings) if is_last else position(siblings, change), field)

    def widen(self, change: Widen) -> None:
        found, wanted = self.find(self._path(change.name)), parse_type(change.type)
        given = found.field["type"]
        if type_text(given) == type_text(wanted):
            return
        if not is_wider(given, wanted):
            raise RefusedError(
                f"{type_text(given)} does not widen to {type_text(wanted)}; "
                "int widens to long, float to double, and a decimal to more digits before the point"
            )
        (found.holder or found.field)[found.field["name"] if found.holder else "type"] = wanted

    def rename(self, change: Rename) -> None:
        found = self._field(change.name)
        assert found.siblings is not None, "it is a field"
        self._check_name(found.siblings, found.field, change.to)
        found.field["name"] = change.to

    def drop(self, change: Drop) -> None:
        found = self._field(change.name)
        assert found.siblings is not None, "it is a field"
        if len(found.siblings) == 1:
            raise RefusedError("it is the last one there; a table and a struct hold at least one")
        for id_ in ids_of(found.field):
            if use := self._use_of(id_):
                raise RefusedError(f"{use}; make a table that is laid out otherwise")
        found.siblings.remove(found.field)

    def move(self, change: Move) -> None:
        found = self._field(change.name)
        assert found.siblings is not None, "it is a field"
        others = [each for each in found.siblings if each is not found.field]
        others.insert(position(others, change), found.field)
        found.siblings[:] = others

    def find(self, path: Path) -> Found:
        """Return where `path` leads, whatever the case of its letters."""
        found = Found({"type": {"type": "struct", "fields": self.fields}}, None, None)
        for depth, name in enumerate(path, start=1):
            type_ = found.field["type"]
            if isinstance(type_, str):
                raise RefusedError(f"{dotted(path[: depth - 1])} is {type_} and holds nothing")
            is_struct = type_["type"] == "struct"
            siblings: list[Field] = type_["fields"] if is_struct else children(type_)
            field = named(siblings, name)
            if field is None:
                names = ", ".join(field_name(each["name"]) for each in siblings[:20])
                where = f"{dotted(path[: depth - 1])} holds" if depth > 1 else "there are"
                raise RefusedError(f"there is no {dotted(path[:depth])}; {where} {names}")
            if not is_struct and field["name"] == "key":
                raise RefusedError("the keys of a map never change: they would no longer be found")
            found = Found(field, siblings, None) if is_struct else Found(field, None, type_)
        return found

    def _path(self, text: str) -> Path:
        """Return what `text` leads to; a column of that very name is meant first."""
        return (text,) if named(self.fields, text) else parsed(text)

    def _field(self, text: str) -> Found:
        found = self.find(self._path(text))
        if found.siblings is None:
            raise RefusedError("what a list or a map holds has no name of its own and no place")
        return found

    def _check_name(self, siblings: Sequence[Field], field: Field, name: str) -> None:
        """Refuse a name that `field` cannot have, or that would be taken for another's."""
        check_new_column_names([name])
        taken = find_field([each for each in siblings if each is not field], name)
        if taken:
            case = "" if taken["name"] == name else "; names differ by more than case"
            raise RefusedError(f"there is a {taken['name']!r} already{case}")
        if siblings is not self.fields:
            return
        for part in (each for one in self._metadata["partition-specs"] for each in one["fields"]):
            is_own = part["transform"] in OWN_NAME and part["source-id"] == field["id"]
            if part["name"] == name and not is_own:
                raise RefusedError(f"{name!r} is the name of a partition of this table")

    def _use_of(self, id_: int) -> str | None:
        """Return what a column cannot leave behind."""
        specs = (each for spec in self._metadata["partition-specs"] for each in spec["fields"])
        if any(each["source-id"] == id_ for each in specs):
            return "the table is partitioned by it"
        if any(each["source-id"] == id_ for each in sort_order_of(self._metadata)["fields"]):
            return "the table is sorted by it"
        if id_ in schema_of(self._metadata).get("identifier-field-ids", ()):
            return "rows are identified by it"
        return None

    def _updates(self) -> list[Json]:
        current = schema_of(self._metadata)
        if self.fields == current["fields"]:
            return []
        if NAME_MAPPING in self._metadata["properties"]:
            raise SchemaFixedError(
                "files of this table have no field ids: readers find its columns by name, so none "
                "can change; load the rows into a new table"
            )
        schema = {**current, "fields": self.fields}
        for known in self._metadata["schemas"]:  # as it was once: that one is current again
            if {**known, "schema-id": None} == {**schema, "schema-id": None}:
                return [{"action": "set-current-schema", "schema-id": known["schema-id"]}]
        add = {"action": "add-schema", "schema": schema, "last-column-id": next(self._ids) - 1}
        return [add, {"action": "set-current-schema", "schema-id": -1}]


STEPS: Mapping[type, Callable[[Evolution, Any], None]] = {
    Add: Evolution.add,
    Widen: Evolution.widen,
    Rename: Evolution.rename,
    Drop: Evolution.drop,
    Move: Evolution.move,
}


def parsed(text: str) -> Path:
    """Return the names that a path is made of: `address.zip`, `"a.b".c`."""
    parts = PART.findall(text)
    if ".".join(parts) != text:
        raise RefusedError('it is no path; the form is address.zip, or "a.b".c for names with dots')
    return tuple(each[1:-1].replace('""', '"') if each.startswith('"') else each for each in parts)


def dotted(path: Sequence[str]) -> str:
    return ".".join(field_name(each) for each in path)


def named(fields: Sequence[Field], name: str) -> Field | None:
    """Return the field of this name, whatever its case where none is spelled so."""
    exact = (each for each in fields if each["name"] == name)
    return next(exact, None) or find_field(fields, name)


def position(siblings: Sequence[Field], change: Add | Move) -> int:
    """Return where among its siblings a field is to be put."""
    if change.first and change.after is not None:
        raise RefusedError('"first" and "after" are two places: say where with one of them')
    if change.first:
        return 0
    if change.after is None:
        raise RefusedError('say where: "first": true or "after": "column"')
    before = named(siblings, change.after)
    if before is None:
        raise RefusedError(f"there is no other column {change.after!r} beside it to come after")
    return siblings.index(before) + 1


def is_wider(given: Type, wanted: Type) -> bool:
    """Whether every value of `given` is one of `wanted`, as the specification allows it.

    Hashes and truncations stay the same too, so a table may be partitioned by the column.
    """
    if not isinstance(given, str) or not isinstance(wanted, str):
        return False
    old, new = DECIMAL.fullmatch(type_text(given)), DECIMAL.fullmatch(wanted)
    if old and new:
        return old[2] == new[2] and int(old[1]) < int(new[1])
    return WIDER.get(given) == wanted


def next_wider(type_: str) -> str | None:
    """Return the next type that a column can widen to, of the sizes that files have; None: none.

    Parquet keeps a decimal in 4 bytes up to 9 digits, in 8 up to 18, and has 38 at most.
    """
    found = DECIMAL.fullmatch(type_)
    if found is None:
        return WIDER.get(type_)
    digits = next((each for each in (18, 38) if each > int(found[1])), None)
    return f"decimal({digits},{found[2]})" if digits else None


def ids_of(field: Field) -> Iterator[int]:
    """Yield the id of a field and those of all that is inside it."""
    yield field["id"]
    if not isinstance(field["type"], str):
        for each in children(field["type"]):
            yield from ids_of(each)
