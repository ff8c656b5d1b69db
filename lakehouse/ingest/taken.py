"""Which objects a table has rows of: what was taken once, as it was, is not taken again.

A row for each stands in the transaction that made its rows the table's.
"""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from lakehouse.errors import ConflictError
from lakehouse.ingest.models import LoadOptions, SourceReport
from lakehouse.ingest.sources import SourceObject
from lakehouse.state import State, Transaction, UniqueViolationError


class ObjectsTakenError(ConflictError):
    def __init__(self) -> None:
        super().__init__("another load took some of these objects meanwhile; send it again")


@dataclass(frozen=True, slots=True)
class Taken:
    """The objects of one load."""

    objects: tuple[SourceObject, ...]
    request: str
    """What an idempotency key stands for: the source as it was asked for, and the options."""
    content: str
    """What identifies the rows: the objects as they are, and the options."""
    adds: bool
    """Whether the table keeps the rows of other objects."""
    skipped_count: int = 0
    more: bool = False

    @property
    def report(self) -> SourceReport:
        return SourceReport(
            object_count=len(self.objects),
            size_bytes=self.size_bytes,
            skipped_count=self.skipped_count,
            more=self.more,
        )

    @property
    def size_bytes(self) -> int:
        return sum(each.size_bytes for each in self.objects)

    def record(self, tx: Transaction, table_uuid: str) -> None:
        """Store that the table has them; `ObjectsTakenError` when another load was faster."""
        if not self.adds:
            tx.execute("DELETE FROM loaded_object WHERE table_uuid = ?", (table_uuid,))
        now = time.time()
        older = "DELETE FROM loaded_object WHERE table_uuid = ? AND uri = ? AND etag <> ?"
        tx.executemany(older, [(table_uuid, each.uri, each.etag) for each in self.objects])
        try:
            tx.executemany(
                "INSERT INTO loaded_object (table_uuid, uri, etag, size_bytes, loaded_at)"
                " VALUES (?, ?, ?, ?, ?)",
                [(table_uuid, each.uri, each.etag, each.size_bytes, now) for each in self.objects],
            )
        except UniqueViolationError as error:
            raise ObjectsTakenError from error


def request_of(source: str, options: LoadOptions) -> str:
    return hashlib.sha256(msgspec.json.encode((source, options))).hexdigest()


def content_of(objects: Sequence[SourceObject], options: LoadOptions) -> str:
    said = [[each.uri, each.etag] for each in objects]
    return f"source-{hashlib.sha256(msgspec.json.encode((said, options))).hexdigest()}"


def not_taken(state: State, table_uuid: str, objects: Sequence[SourceObject]) -> list[SourceObject]:
    """Return those of `objects`, at most some hundreds, that the table has no rows of. Blocks."""
    marks = ", ".join("?" for _ in objects)
    sql = f"SELECT uri, etag FROM loaded_object WHERE table_uuid = ? AND uri IN ({marks})"
    parameters = (table_uuid, *(each.uri for each in objects))
    there = state.read(lambda tx: {tuple(row) for row in tx.execute(sql, parameters)})
    return [each for each in objects if (each.uri, each.etag) not in there]
