"""What modules know of a request and the edge does not: its tables, its rows, its statement."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from lakehouse.audit.models import AuditRow
from lakehouse.auth import Used

NOTHING = Used()


@dataclass(slots=True)
class Record:
    """Filled in while a request is worked on; on whichever thread."""

    row: Callable[[], AuditRow] | None = None
    """Makes the row of a request that writes, as it is by now."""
    audit_id: int | None = None
    """Of the row that is stored already: with the change itself."""
    together: Sequence["Record"] = ()
    """The requests that one change is made for, when they are several."""
    tables: set[str] = field(default_factory=set)
    followed: set[str] = field(default_factory=set)
    """Those of them that it changed, and that collections follow."""
    row_count: int = 0
    text_count: int = 0
    """Texts that were embedded."""
    sql_sha256: str | None = None
    counted: Used = NOTHING
    """What `uncounted` has told of."""

    def note(self, tables: tuple[str, ...] = (), rows: int = 0, sql: str | None = None) -> None:
        for each in self.together:
            each.note(tables)
        self.tables.update(tables)
        self.row_count += rows
        if sql is not None:
            self.sql_sha256 = hashlib.sha256(sql.encode(errors="replace")).hexdigest()

    def commit(self, table: str) -> None:
        """Note that it changed a table that collections follow."""
        for each in (self, *self.together):
            each.followed.add(table)

    def uncounted(self) -> Used:
        """Return what was noted since this was asked before: a job goes on after its request."""
        before, self.counted = self.counted, Used(self.row_count, self.text_count)
        return Used(self.row_count - before.rows, self.text_count - before.texts)


_record: ContextVar[Record | None] = ContextVar("record", default=None)


def record() -> Record:
    """Return the record of the request that is worked on; one that nobody reads outside of any."""
    return _record.get() or Record()


@contextmanager
def recording(of: Record) -> Iterator[Record]:
    """Let `of` be what is noted in, in the block and in what it begins."""
    token = _record.set(of)
    try:
        yield of
    finally:
        _record.reset(token)
