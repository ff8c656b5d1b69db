"""One load: rows that were written as files of a table, and the commit that shows them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from lakehouse.catalog.edits import Edit, snapshot_draft
from lakehouse.catalog.errors import (
    InputsGoneError,
    SchemaChangedError,
    SchemaDriftError,
    TableExistsError,
    TableNotFoundError,
)
from lakehouse.catalog.evolution import evolution_updates, is_wider
from lakehouse.catalog.health import naming_damage
from lakehouse.catalog.manifests import Manifests, NewFile
from lakehouse.catalog.metadata import (
    NAME_MAPPING,
    Json,
    current_snapshot_id,
    has_evolved,
    schema_of,
)
from lakehouse.catalog.models import Column, TableName
from lakehouse.catalog.schema_models import Add, AnyChange, Widen
from lakehouse.catalog.tables import Draft, LoadedTable
from lakehouse.catalog.types import Field, field_name, name_mapping, parse_type, to_columns
from lakehouse.catalog.updates import apply
from lakehouse.catalog.writing import (
    Rows,
    copy_rows,
    new_load_id,
    remove_load,
    schema_updates,
)
from lakehouse.database import Connection
from lakehouse.errors import InvalidInputError
from lakehouse.failpoints import reach
from lakehouse.storage import Store


@dataclass(frozen=True, slots=True)
class Staged:
    """A load whose files are durable, and that no snapshot names yet."""

    name: TableName
    before: LoadedTable | None
    """The table when the files were written; None when the load creates it."""
    base: Json
    updates: Sequence[Json]
    """What the table needs before its snapshot: first columns, or more, or wider ones."""
    files: Sequence[NewFile]
    replace: bool
    summary: Mapping[str, str]
    load_id: str
    read_at: int | None = None


def stage(
    cursor: Connection,
    store: Store,
    name: TableName,
    before: LoadedTable | None,
    base: Json,
    rows: Rows,
    replace: bool,
    summary: Mapping[str, str],
    *,
    partitions_max: int,
    evolve: bool = False,
) -> Staged:
    """Write the files of a load; when that fails, none of them is left.

    Args:
        evolve: make the table's columns fit the rows, instead of refusing what differs.
    """
    check_read_for(name, before, rows)
    updates = first_columns(base, rows.columns)
    if evolve and not updates:
        updates = evolution_updates(base, load_changes(schema_of(base)["fields"], rows.columns))
    metadata = apply(base, updates)
    check_columns(name, metadata, rows.columns, may_lack=evolve)
    load_id = new_load_id()
    try:
        files = copy_rows(cursor, store, metadata, rows, load_id, partitions_max)
    except BaseException:
        remove_load(store, metadata, load_id)
        remove_folders(store, before, base, load_id)
        raise
    reach("after-data-file")
    return Staged(name, before, base, updates, files, replace, summary, load_id, rows.read_at)


def discard(store: Store, load: Staged) -> None:
    """Delete the files of a load that is not to be committed."""
    for file in load.files:
        store.delete(store.key(file.location))
    remove_folders(store, load.before, load.base, load.load_id)


def remove_folders(store: Store, before: LoadedTable | None, base: Json, load_id: str) -> None:
    """Remove the folders that a load made, empty by now: its own, or those of a new table."""
    folder = store.key(base["location"])
    store.delete_empty_folders(folder if before is None else f"{folder}/data/{load_id}")


def load_draft(load: Staged, manifests: Manifests, store: Store, now: LoadedTable | None) -> Draft:
    """Return what the load does to the table as it is now.

    Raises:
        InputsGoneError: it replaces rows by what was made of others than the current ones.
    """
    made_of = load.read_at if load.replace and now else None
    if now and made_of is not None and current_snapshot_id(now.metadata) != made_of:
        raise InputsGoneError
    check_still(load.name, load.before, now, same_columns=bool(load.updates))
    if not load.files and not load.replace:
        return Draft(load.updates, base=None if now else load.base)
    with naming_damage(load.name):
        return snapshot_draft(
            manifests,
            store,
            now,
            Edit(added=load.files, replaces_all=load.replace),
            base=apply(now.metadata if now else load.base, load.updates),
            summary=load.summary,
            updates=load.updates,
        )


def first_columns(base: Json, columns: Sequence[Column]) -> list[Json]:
    """Return the updates that the first load of a dataset without columns needs."""
    return [] if schema_of(base)["fields"] else schema_updates(columns)


def load_changes(fields: Sequence[Field], columns: Sequence[Column]) -> list[AnyChange]:
    """Return what rows with these columns ask of a table: new columns, and wider ones."""
    there = {each["name"]: each["type"] for each in fields}
    changes: list[AnyChange] = []
    for column in columns:
        if column.name not in there:
            changes.append(Add(field_name(column.name), column.type))
        elif is_wider(there[column.name], parse_type(column.type)):
            changes.append(Widen(column.name, column.type))
    return changes


def map_names(metadata: Json) -> Json:
    """Return the update that lets readers find columns by name in files without field ids.

    Raises:
        InvalidInputError: a name may have been another column's.
    """
    if has_evolved(metadata):
        raise InvalidInputError(
            "files without field ids cannot be added to this table, because its columns were "
            "changed; ingest them instead"
        )
    mapping = orjson.dumps(name_mapping(schema_of(metadata)["fields"])).decode()
    return {"action": "set-properties", "updates": {NAME_MAPPING: mapping}}


def check_columns(
    name: TableName, metadata: Json, columns: Sequence[Column], *, may_lack: bool = False
) -> None:
    """Compare names, not types: those are cast, and what does not cast is the engine's error.

    Args:
        may_lack: columns may be missing, where the table does not require a value.
    """
    fields = schema_of(metadata)["fields"]
    wanted = {each["name"] for each in fields if each["required"] or not may_lack}
    given = {column.name for column in columns}
    differences = [f"column {each!r} is missing" for each in sorted(wanted - given)]
    there = {each["name"] for each in fields}
    differences += [f"column {each!r} is not in the table" for each in sorted(given - there)]
    if differences:
        raise SchemaDriftError(str(name), differences)


def check_read_for(name: TableName, table: LoadedTable | None, rows: Rows) -> None:
    """Refuse rows of a file that was read by other columns than the table has by now.

    What is no value of the new types would be cast all the same: `1.5` to the integer 2.

    Raises:
        SchemaChangedError
    """
    if table is None or rows.read_for is None:
        return
    if to_columns(schema_of(table.metadata)["fields"]) != rows.read_for:
        raise SchemaChangedError(str(name))


def check_still(
    name: TableName,
    before: LoadedTable | None,
    now: LoadedTable | None,
    *,
    same_columns: bool = True,
) -> None:
    """Refuse when the table that we wrote files for was dropped, replaced or made meanwhile.

    Args:
        same_columns: refuse other columns too. Files with field ids are read right under columns
            that were changed since, as if they had been committed before the change.

    Raises:
        TableExistsError, TableNotFoundError: it was made or dropped meanwhile.
        SchemaChangedError: its columns were changed meanwhile.
    """
    if before is None:
        if now is not None:
            raise TableExistsError(str(now.name))
        return
    if now is None or now.metadata["table-uuid"] != before.metadata["table-uuid"]:
        raise TableNotFoundError(str(name))
    was, found = before.metadata, now.metadata
    if not same_columns and schema_of(was)["fields"]:
        return
    # The last id too: one that a change gave and took back is never given again.
    if schema_of(found) != schema_of(was) or found["last-column-id"] != was["last-column-id"]:
        raise SchemaChangedError(str(name))
