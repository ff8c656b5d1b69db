"""What can go wrong with a table, a namespace or a commit."""

import shlex
from collections.abc import Sequence
from typing import Literal

from lakehouse.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    OutcomeUnknownError,
    TooLargeError,
    UnavailableError,
    UnprocessableError,
)


class TableNotFoundError(NotFoundError):
    def __init__(self, name: str, near: str | None = None) -> None:
        hint = f"; did you mean {near!r}?" if near else ""
        super().__init__(f"no table is named {name!r}{hint}", table=name)


class DroppedTableNotFoundError(NotFoundError):
    def __init__(self, name: str) -> None:
        super().__init__(
            f"no dropped table {name!r} can be brought back; `GET /v1/tables?dropped=true` lists "
            "those that can",
            table=name,
        )


class TableInUseError(ConflictError):
    """The table is dropped, but its files stay while a statement reads them; purge it later."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"a statement still reads the table {name!r}: it is dropped, and can be purged once "
            "that has ended",
            table=name,
        )


class FilesKeptError(ConflictError):
    """The table is dropped, but says that none of its files may be deleted."""

    retryable = False

    def __init__(self, name: str) -> None:
        super().__init__(
            f"the table {name!r} has gc.enabled=false: it is dropped, and its files stay; undrop "
            "it and set gc.enabled=true before you purge it",
            table=name,
        )


class NamespaceNotFoundError(NotFoundError):
    def __init__(self, name: str) -> None:
        super().__init__(f"no namespace is named {name!r}", namespace=name)


class SnapshotNotFoundError(NotFoundError):
    def __init__(self, table: str, asked: object) -> None:
        named = f", tag or branch {asked[:80]!r}" if isinstance(asked, str) else f" at {asked}"
        super().__init__(
            f"the table {table!r} has no snapshot{named}; "
            f"`GET /v1/tables/{table}/snapshots` lists those that it has",
            table=table,
        )


class RefNotFoundError(NotFoundError):
    def __init__(self, table: str, ref: str) -> None:
        super().__init__(f"the table {table!r} has no tag or branch {ref[:80]!r}", table=table)


class RefExistsError(ConflictError):
    """A tag stays where it is unless the request says that it moves; no name changes its kind."""

    retryable = False

    def __init__(
        self,
        table: str,
        ref: str,
        what: str,
        step: str = "say `move` to move a tag, or delete it first",
    ) -> None:
        super().__init__(
            f"{ref!r} of the table {table!r} {what}; {step}",
            table=table,
            ref=ref,
        )


class NotForwardError(ConflictError):
    """The branch main is not an ancestor of the snapshot, so what it holds would be lost."""

    retryable = False

    def __init__(self, table: str, snapshot_id: int) -> None:
        super().__init__(
            f"the snapshot {snapshot_id} does not go on from what the table {table!r} is now; "
            "POST .../rollback goes back to an earlier one",
            table=table,
        )


class NotMainsPastError(ConflictError):
    """The table never was at this snapshot: it belongs to a branch alone."""

    retryable = False

    def __init__(self, table: str, asked: object) -> None:
        super().__init__(
            f"the table {table!r} never was at {asked}; a branch that goes on from it becomes "
            "the table by PUT .../refs/main",
            table=table,
        )


class ChangesExpiredError(NotFoundError):
    """Snapshots in between are gone, so nobody knows all that changed."""

    def __init__(self, table: str, oldest: int) -> None:
        super().__init__(
            f"the changes of the table {table!r} before the snapshot {oldest} have expired; export "
            "the table and go on from the snapshot that was exported",
            table=table,
            oldest_snapshot_id=oldest,
        )


class NotInPastError(ConflictError):
    """The table went back since, so what came after is not what changed."""

    retryable = False

    def __init__(self, table: str, since: int, until: int) -> None:
        super().__init__(
            f"the snapshot {until} of the table {table!r} does not go on from {since}: it was "
            f"rolled back; GET .../diff/rows?from={since}&to={until} says what differs",
            table=table,
            since=since,
            until=until,
        )


class TableExistsError(ConflictError):
    retryable = False

    def __init__(self, name: str) -> None:
        super().__init__(f"a table named {name!r} is there already", table=name)


class ViewNotFoundError(NotFoundError):
    def __init__(self, name: str) -> None:
        super().__init__(f"no view is named {name!r}", view=name)


class ViewExistsError(ConflictError):
    retryable = False

    def __init__(self, name: str) -> None:
        super().__init__(f"a view named {name!r} is there already", view=name)


class NameTakenError(ConflictError):
    """A table and a view cannot have one name."""

    retryable = False

    def __init__(self, kind: Literal["table", "view"], name: str) -> None:
        super().__init__(
            f"a {kind} named {name!r} is there already; take another name, or drop it first",
            name=name,
        )
        self.kind, self.name = kind, name


class InvalidViewError(InvalidInputError):
    """What is sent cannot be a view, or a change of one."""


class ViewDamagedError(UnavailableError):
    """The file of the view is gone or unreadable. No other view suffers."""

    retryable = False
    retry_after_s = None

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"the view {name!r} is damaged: {reason}", view=name)


class NamespaceExistsError(ConflictError):
    retryable = False

    def __init__(self, name: str) -> None:
        super().__init__(f"a namespace named {name!r} is there already", namespace=name)


class NamespaceNotEmptyError(ConflictError):
    retryable = False

    def __init__(self, name: str) -> None:
        super().__init__(
            f"the namespace {name!r} still holds tables, views, collections or namespaces; drop"
            " them first",
            namespace=name,
        )


class InvalidKeyError(InvalidInputError):
    """A column that a change names is not one that it can use."""

    def __init__(self, column: str, reason: str) -> None:
        super().__init__(f"the column {column[:80]!r} is refused: {reason}", column=column[:255])


class NotAdoptableError(UnprocessableError):
    """A file cannot become part of a table where it lies. Nothing was changed."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path[:255]!r} cannot be adopted: {reason}", path=path[:255])


class NothingToAdoptError(NotFoundError):
    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"nothing to adopt at {path[:255]!r}: {reason}", path=path[:255])


class PlaceTakenError(ConflictError):
    """Files of another table are not adopted: it may rewrite and delete them."""

    retryable = False

    def __init__(self, path: str, owner: str) -> None:
        super().__init__(f"{path[:255]!r} belongs to the {owner}", path=path[:255])


class TableKnownError(ConflictError):
    """One table has one name: two that commit to one history would fork it."""

    retryable = False

    def __init__(self, path: str, table_uuid: str, known: str) -> None:
        super().__init__(
            f"{path[:255]!r} is the {known} already, by its UUID {table_uuid}",
            path=path[:255],
            uuid=table_uuid,
        )


class ErasureRefusedError(ConflictError):
    """Rows lie where erasing does not reach. Nothing was changed."""

    retryable = False

    def __init__(self, table: str, reason: str) -> None:
        super().__init__(f"rows of {table!r} cannot be erased: {reason}", table=table)


class ErasureUnfinishedError(UnavailableError):
    """The rows are out of the table, and some files that hold them are still read."""

    retry_after_s = 10

    def __init__(self, table: str, snapshots: int) -> None:
        super().__init__(
            f"the rows are deleted from {table!r}, but statements still read {snapshots} of the "
            "snapshots that hold them; send it again when they have ended",
            table=table,
            snapshots=snapshots,
        )


class OneRowEachError(InvalidInputError):
    def __init__(self) -> None:
        super().__init__("an expression makes several rows of one (unnest); it has one value a row")


class TooManyPartitionsError(UnprocessableError):
    """Each partition is a file at least, and every reader pays for every file."""

    def __init__(
        self, terms: Sequence[str], count: int, count_max: int, *, begins: bool = False
    ) -> None:
        subject = "the rows have" if not begins else "the first rows alone have"
        super().__init__(
            f"{subject} {count:,} partitions by {', '.join(terms)}; {count_max:,} are the most in "
            "one load: partition by something coarser, as `month(at)` or `bucket(16, id)`, load "
            "the rows in parts, or raise ingest.partitions_max",
            partition_by=list(terms),
            count=count,
            partitions_max=count_max,
        )


class NullKeyError(UnprocessableError):
    """Rows that are to be merged have no key. None was written."""

    def __init__(self, column: str, count: int, first: int) -> None:
        super().__init__(
            f"{count} rows have no value in the key column {column!r}, the first is row {first};"
            " a key is never null",
            column=column,
            count=count,
            row=first,
        )


class UnsupportedTypeError(InvalidInputError):
    def __init__(self, type_: str, reason: str, column: str | None = None) -> None:
        where = f" of column {column!r}" if column else ""
        super().__init__(f"the type {type_[:200]!r}{where} cannot be stored: {reason}")


class UnwritableTypeError(UnprocessableError):
    """Other engines' tables have such columns, which are read. A file of ours never could."""

    def __init__(self, column: str, type_: str) -> None:
        super().__init__(
            f"column {column!r} is of type {type_}, which is read but never written here; a column "
            "of type binary holds such values, so change the type, put the rows into a new table, "
            "or drop the column",
            column=column,
        )


class ValueLostError(UnprocessableError):
    """A value does not fit the type of its column without a loss. Nothing was written."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)


class EmptyTableError(InvalidInputError):
    def __init__(self, name: str) -> None:
        super().__init__(f"the table {name!r} has no columns yet; its first load sets them")


class SchemaDriftError(ConflictError):
    """The rows do not have the table's columns.

    Args:
        differences: what differs, a sentence for each column.
        advice: what helps.
        facts: more for the machine: the first bad rows, say.
    """

    retryable = False

    def __init__(
        self, table: str, differences: Sequence[str], advice: str = "", **facts: object
    ) -> None:
        shown = "; ".join([*differences[:20], *([advice] if advice else [])])
        super().__init__(
            f"the rows do not fit the table {table!r}: {shown}",
            table=table,
            columns=list(differences),
            **facts,
        )


class SchemaChangeError(UnprocessableError):
    """Changes of a schema that cannot be made. None of the request was.

    `context.changes` names each one: `number` in the request, from 0, `name`, and why.
    """

    def __init__(self, refused: Sequence[tuple[int, str, str]]) -> None:
        number, name, reason = refused[0]
        more = f", and {len(refused) - 1} more" if len(refused) > 1 else ""
        super().__init__(
            f"change {number}, of {name[:80]!r}, is refused: {reason}{more}; nothing was changed",
            changes=[{"number": n, "name": name, "reason": why} for n, name, why in refused],
        )


class SchemaFixedError(UnprocessableError):
    """The columns of this table cannot change."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)


class SchemaMovedError(ConflictError):
    """The schema is not the one the request was made for. Read it again."""

    def __init__(self, table: str, expected: int, found: int) -> None:
        super().__init__(
            f"the table {table!r} has the schema {found} now, not {expected}; read it again",
            table=table,
            schema_id=found,
        )


class SchemaChangedError(SchemaDriftError):
    """The table got other columns while the rows were written: read them again by those."""

    retryable = True

    def __init__(self, table: str) -> None:
        super().__init__(table, ["its columns were changed meanwhile; send it again"])


class CommitFailedError(ConflictError):
    """A requirement of the commit no longer holds: somebody else committed first."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"Requirement failed: {reason}")


class NotWrittenError(UnprocessableError):
    """Another engine made the table in a format version that is only read here."""

    def __init__(self, table: str, version: int) -> None:
        super().__init__(
            f"the table {table} is of format version {version}, which is read here and written by "
            "other engines; tables of version 2 are written by both",
            table=table,
            format_version=version,
        )


class TooManyUpdatesError(TooLargeError):
    def __init__(self, count: int, most: int) -> None:
        super().__init__(
            f"a commit has {count:,} updates of a kind, and {most:,} are the most: make several",
            max_count=most,
        )


class MetadataTooLargeError(TooLargeError):
    """A commit would make a table's metadata longer than anybody should read; nothing happened."""

    def __init__(self, table: str, size_bytes: int, max_bytes: int) -> None:
        super().__init__(
            f"the metadata of {table} would have {size_bytes:,} bytes, and {max_bytes:,} are the "
            "most: expire snapshots, and keep what is long out of properties and comments",
            table=table,
            max_bytes=max_bytes,
        )


class InputsGoneError(CommitFailedError):
    """Files that were rewritten are not the table's any more: begin anew with those that are."""

    def __init__(self) -> None:
        super().__init__("files that were to be replaced are not in the table any more")


class CommitStateUnknownError(OutcomeUnknownError):
    def __init__(self, table: str) -> None:
        super().__init__(
            f"the commit to {table!r} may or may not have happened; look before you send it again"
        )


class TableDamagedError(UnavailableError):
    """Files of the table are gone or unreadable. No other table suffers."""

    retryable = False
    retry_after_s = None

    def __init__(self, table: str, reason: str) -> None:
        super().__init__(f"the table {table!r} is damaged: {reason}", table=table)
        self.reason = reason


class UnreadableFileError(UnavailableError):
    """A manifest or a list is not what its name says; whose it is, `naming_damage` adds."""

    retryable = False
    retry_after_s = None

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"the file {key} cannot be read ({reason})", key=key)


class IdempotencyMismatchError(UnprocessableError):
    def __init__(self, key: str) -> None:
        super().__init__(f"the Idempotency-Key {key!r} was used with another request")


class IdempotencyInFlightError(ConflictError):
    def __init__(self, key: str) -> None:
        super().__init__(f"a request with the Idempotency-Key {key!r} is still running")


class TablesElsewhereError(UnprocessableError):
    """The warehouse was moved; nothing was touched."""

    def __init__(self, table: str, old: str, new: str) -> None:
        super().__init__(
            f"the table {table} was written when the warehouse lay at {old}; now it is {new}."
            f" Run: lakehouse catalog relocate {shlex.quote(old)} {shlex.quote(new)}",
            old=old,
            new=new,
        )


class NothingToRelocateError(NotFoundError):
    def __init__(self, old: str, roots: list[str]) -> None:
        known = f"; there are tables under {', '.join(roots)}" if roots else ""
        super().__init__(f"no table lies under {old}{known}")


class CannotRelocateError(UnprocessableError):
    def __init__(self, tables: list[str], reason: str) -> None:
        super().__init__(
            f"nothing was moved: {', '.join(tables)} has {reason}. Put the warehouse back and"
            " compact the table there, or leave it behind with --without",
            tables=tables,
        )
