"""Collections in `catalog.db`: their names, what they are like, where their files lie.

Everything here blocks and belongs on a worker thread.
"""

import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from lakehouse.embedding import Identity
from lakehouse.names import TableName, folded
from lakehouse.state import State, Transaction, UniqueViolationError
from lakehouse.vectors.errors import CollectionExistsError
from lakehouse.vectors.models import ColumnType, Distance, Source

COLUMNS = "collection_id, namespace, name, definition, created_at, folder"
LIVE = f"SELECT {COLUMNS} FROM collection WHERE dropped = 0"


class Checked(msgspec.Struct, frozen=True):
    """What the last check of the index found."""

    recall: float
    k: int
    at: float
    """Unix time."""


class Definition(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a collection is like; kept as JSON here and in the metadata of its Lance table."""

    dimension: int
    distance: Distance = "cosine"
    columns: dict[str, ColumnType] = {}
    model: Identity | None = None
    """What its texts are embedded with; None as long as none was."""
    m: int | None = None
    ef_search: int | None = None
    checked: Checked | None = None
    source: Source | None = None
    """The table that it is derived from."""


@dataclass(frozen=True, slots=True)
class Watermark:
    """The state of its table that a collection has reached: all of it, and nothing else."""

    table_uuid: str
    snapshot_id: int | None
    """None: the table had none yet."""
    made_of: str | None
    """The model, and the ids of the columns: a name may be another column's by now."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A collection as it lies there."""

    id: str
    name: TableName
    definition: Definition
    created_at: float
    folder: str
    """Where its files lie: no name of a user is a path."""


class Ledger:
    def __init__(self, state: State) -> None:
        self._state = state

    def all(self) -> list[Kept]:
        """Return the collections that are there, by name."""
        found = self._state.read(lambda tx: tx.execute(f"{LIVE} ORDER BY folded").fetchall())
        return [kept(row) for row in found]

    def reserve(self, name: TableName, definition: Definition) -> Kept:
        """Note a collection whose files are about to be made.

        Until it is listed it is a dropped one: a process that is killed on the way leaves nothing.
        """
        new = uuid.uuid4().hex
        made = Kept(new, name, definition, datetime.now(UTC).timestamp(), new)
        values = (new, *name, new, encoded(definition), made.created_at, new)

        def work(tx: Transaction) -> None:
            tx.execute(
                "INSERT INTO collection"
                " (collection_id, namespace, name, folded, definition, created_at, folder, dropped)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, 1)",
                values,
            )

        self._state.write(work)
        return made

    def publish(self, made: Kept) -> None:
        """List a collection that has its files.

        Raises:
            CollectionExistsError: one has its name.
        """
        sql = "UPDATE collection SET dropped = 0, folded = ? WHERE collection_id = ?"
        values = (folded(str(made.name)), made.id)
        try:
            self._state.write(lambda tx: tx.execute(sql, values).rowcount)
        except UniqueViolationError as error:
            raise CollectionExistsError(str(made.name)) from error

    def define(self, known: Kept, definition: Definition) -> Kept:
        """Say anew what a collection is like."""
        sql = "UPDATE collection SET definition = ? WHERE collection_id = ?"
        self._state.write(lambda tx: tx.execute(sql, (encoded(definition), known.id)).rowcount)
        return replace(known, definition=definition)

    def switch(self, known: Kept, aside: Kept, definition: Definition) -> Kept | None:
        """Let a collection have the files of one that was made aside, which gets the old ones.

        None when it was dropped meanwhile.
        """
        take = (
            "UPDATE collection SET folder = ?, definition = ?"
            " WHERE collection_id = ? AND dropped = 0"
        )
        give = "UPDATE collection SET folder = ? WHERE collection_id = ?"

        def work(tx: Transaction) -> bool:
            if not tx.execute(take, (aside.folder, encoded(definition), known.id)).rowcount:
                return False
            tx.execute(give, (known.folder, aside.id))
            return True

        done = self._state.write(work)
        return replace(known, folder=aside.folder, definition=definition) if done else None

    def watermarks(self) -> dict[str, Watermark]:
        """Return how far collections are with their tables, by their ids."""
        sql = "SELECT collection_id, table_uuid, snapshot_id, made_of FROM watermark"
        found = self._state.read(lambda tx: tx.execute(sql).fetchall())
        return {each: Watermark(*values) for each, *values in found}

    def reach(self, known: Kept, mark: Watermark) -> None:
        """Note how far a collection is with its table; its items are durable before."""
        sql = (
            "INSERT INTO watermark (collection_id, table_uuid, snapshot_id, made_of)"
            " VALUES (?, ?, ?, ?)"
            " ON CONFLICT (collection_id) DO UPDATE SET"
            " table_uuid = excluded.table_uuid, snapshot_id = excluded.snapshot_id,"
            " made_of = excluded.made_of"
        )
        values = (known.id, mark.table_uuid, mark.snapshot_id, mark.made_of)
        self._state.write(lambda tx: tx.execute(sql, values).rowcount)

    def drop(self, known: Kept) -> bool:
        """Take a collection out of the list; False when somebody else has. Its files are left."""
        sql = (
            "UPDATE collection SET dropped = 1, folded = collection_id"
            " WHERE collection_id = ? AND dropped = 0"
        )
        return self._state.write(lambda tx: tx.execute(sql, (known.id,)).rowcount) > 0

    def dropped(self) -> list[tuple[str, str]]:
        """Return the ids of collections whose files are still to be removed, and their folders."""
        sql = "SELECT collection_id, folder FROM collection WHERE dropped = 1"
        return self._state.read(lambda tx: tx.execute(sql).fetchall())

    def left_of(self, known: Kept) -> list[tuple[str, str]]:
        """Return, as `dropped`, what was put aside of a collection, or had its name."""
        sql = (
            "SELECT collection_id, folder FROM collection"
            " WHERE dropped = 1 AND namespace = ? AND name = ?"
        )
        return self._state.read(lambda tx: tx.execute(sql, known.name).fetchall())

    def forget(self, collection_id: str) -> None:
        """Note that nothing of a dropped collection is left."""

        def work(tx: Transaction) -> None:
            tx.execute("DELETE FROM watermark WHERE collection_id = ?", (collection_id,))
            tx.execute(
                "DELETE FROM collection WHERE collection_id = ? AND dropped = 1", (collection_id,)
            )

        self._state.write(work)


def restore(tx: Transaction, known: Kept) -> None:
    """List a collection whose files are there, or say anew where they are and what it is."""
    tx.execute("DELETE FROM collection WHERE collection_id = ?", (known.id,))
    tx.execute(
        "INSERT INTO collection"
        " (collection_id, namespace, name, folded, definition, created_at, folder, dropped)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, 0)",
        (
            known.id,
            *known.name,
            folded(str(known.name)),
            encoded(known.definition),
            known.created_at,
            known.folder,
        ),
    )


def count_in(tx: Transaction, namespace: str) -> int:
    """Return how many collections a namespace holds."""
    sql = "SELECT count(*) FROM collection WHERE dropped = 0 AND namespace = ?"
    return int(tx.execute(sql, (namespace,)).fetchone()[0])


def encoded(definition: Definition) -> str:
    return msgspec.json.encode(definition).decode()


def kept(row: Any) -> Kept:
    collection_id, namespace, name, definition, created_at, folder = row
    known = msgspec.json.decode(definition, type=Definition)
    return Kept(collection_id, TableName(namespace, name), known, created_at, folder)
