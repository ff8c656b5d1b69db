"""The audit log in `catalog.db`: written in groups, kept for a while, read by admins in SQL."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Self

import anyio
import msgspec
import pyarrow as pa

from lakehouse.audit.models import AuditRow
from lakehouse.audit.record import Record, record
from lakehouse.config import AuditConfig
from lakehouse.lanes import on_thread
from lakehouse.redaction import redacted
from lakehouse.state import State, Transaction

log = logging.getLogger(__name__)

COLUMNS = AuditRow.__struct_fields__
INSERT = f"INSERT INTO audit ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
RETURNING = f"{INSERT} RETURNING audit_id"
ANSWERED = (
    "UPDATE audit SET status = ?, tables = ?, row_count = ?, received_bytes = ?, sent_bytes = ?,"
    " duration_s = ? WHERE audit_id = ?"
)
SELECT = f"SELECT audit_id, {', '.join(COLUMNS)} FROM audit ORDER BY audit_id"
LATER_S = 1.0
"""How long a statement's row may wait for others to be written with."""
EXPIRE_EVERY_S = 3_600.0
EXPIRED_AT_ONCE = 1_000
STRANGERS = "token_id IS NULL AND status IN (401, 403)"
"""Refusals of who had no valid token: they cost their sender nothing."""
STRANGERS_PART = 10
"""Of the rows kept, one in so many may be such a refusal."""
BEYOND = "SELECT audit_id FROM audit WHERE {} ORDER BY audit_id DESC LIMIT 1 OFFSET ?"
"""The newest of the rows that are too many."""
DAY_S = 86_400
BATCH_ROWS = 4_096
"""Rows that are objects of Python at once: all 200,000 would take some 300 MB."""
FIELDS: list[tuple[str, pa.DataType]] = [
    ("audit_id", pa.int64()),
    ("began_at", pa.timestamp("us", "UTC")),
    ("caller", pa.string()),
    ("token_id", pa.string()),
    ("address", pa.string()),
    ("trace_id", pa.string()),
    ("method", pa.string()),
    ("path", pa.string()),
    ("status", pa.int32()),
    ("sql_sha256", pa.string()),
    ("tables", pa.list_(pa.string())),
    ("row_count", pa.int64()),
    ("received_bytes", pa.int64()),
    ("sent_bytes", pa.int64()),
    ("duration_s", pa.float64()),
]
SCHEMA = pa.schema(FIELDS)


def store_with(tx: Transaction) -> list[tuple[Record, int]]:
    """Store the row of the request that is worked on in the transaction of its change.

    So one is there exactly if the other is, and no request waits for a second fsync. Its status is
    0 until it was answered. Returns what `stored` is to be called with once all is on the disk.
    """
    asked = record().together or [record()]
    rows = [(each, each.row()) for each in asked if each.row is not None and each.audit_id is None]
    return [(each, tx.execute(RETURNING, values_of(row)).fetchone()[0]) for each, row in rows]


def stored(found: Sequence[tuple[Record, int]]) -> None:
    """Note which rows are on the disk."""
    for each, audit_id in found:
        each.audit_id = audit_id


class Audit:
    """Rows that come together are one transaction: no request waits for another's fsync."""

    def __init__(self, state: State, config: AuditConfig) -> None:
        self._state = state
        self._config = config
        self._rows: list[AuditRow] = []
        self._answers: list[tuple[object, ...]] = []
        self._writing: asyncio.Task[None] | None = None
        self._missing, self._unanswered = 0, 0
        self._failed: str | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Self]:
        """Write what waits now and then while this is open, and all of it at the end."""
        keeping = asyncio.create_task(self._keep())
        try:
            yield self
        finally:
            keeping.cancel()
            with anyio.CancelScope(shield=True):
                await asyncio.wait([keeping])
                await self._flush()

    async def write(self, row: AuditRow) -> None:
        """Return once the row is on the disk. One that cannot be written is logged, and said."""
        self._rows.append(row)
        await self._flush()

    def later(self, row: AuditRow) -> None:
        """Have the row written within `LATER_S`."""
        self._rows.append(row)

    def answered(self, audit_id: int, row: AuditRow) -> None:
        """Have the row that was stored with a change say how that was answered, soon."""
        self._answers.append(
            (
                row.status,
                told_tables(row),
                row.row_count,
                row.received_bytes,
                row.sent_bytes,
                row.duration_s,
                audit_id,
            )
        )

    def warnings(self) -> list[str]:
        """Return what is missing since the start, if anything is, and why, for `/ready`."""
        if self._failed is None:
            return []
        return [
            f"the audit log lacks {self._missing} rows, and how {self._unanswered} others were"
            f" answered: {self._failed}"
        ]

    def read(self, take: Callable[[pa.RecordBatch], None]) -> None:
        """Call `take` with all rows, the oldest first, some at a time. On a worker thread.

        Cost: one batch as objects of Python; in Arrow a row takes some 300 bytes.
        """

        def work(tx: Transaction) -> None:
            found = tx.execute(SELECT)
            while rows := found.fetchmany(BATCH_ROWS):
                take(batch_of(rows))

        self._state.read(work)

    async def _flush(self) -> None:
        """Return when all rows that are there now are written.

        While one group is written, whoever comes waits, and all who wait form the next. A group
        is written by a task of its own: who asked for it may be cancelled.
        """
        if self._writing is not None:
            await asyncio.wait([self._writing])  # of the group before: ours is in the next
        if self._rows or self._answers:
            rows, self._rows = self._rows, []
            answers, self._answers = self._answers, []
            self._writing = asyncio.create_task(self._write(rows, answers))
        if self._writing is not None:
            await asyncio.wait([self._writing])

    async def _write(self, rows: Sequence[AuditRow], answers: Sequence[tuple[object, ...]]) -> None:
        def work(tx: Transaction) -> None:
            tx.executemany(INSERT, [values_of(row) for row in rows])
            tx.executemany(ANSWERED, answers)

        try:
            await on_thread(partial(self._state.write, work, notable=False))
        except Exception as error:
            self._missing += len(rows)
            self._unanswered += len(answers)
            self._failed = str(error)
            said = "the audit log lost %d rows, and how %d others were answered"
            log.critical(said, len(rows), len(answers), exc_info=True)
        finally:
            self._writing = None

    async def _keep(self) -> None:
        expired_at: float | None = None
        while True:
            await self._flush()
            if expired_at is None or time.monotonic() - expired_at > EXPIRE_EVERY_S:
                expired_at = time.monotonic()
                try:
                    await on_thread(self._expire)
                except Exception:
                    log.exception("rows of the audit log could not be expired")
            await anyio.sleep(LATER_S)

    def _expire(self) -> None:
        """Delete what is too old, or beyond the number kept, a thousand a transaction.

        Refusals of strangers go first: else they would push out what everybody else did.
        """
        before, most = time.time() - self._config.keep_days * DAY_S, self._config.rows_max
        self._delete("began_at < ?", before)
        beyond = BEYOND.format(STRANGERS)
        self._delete(f"{STRANGERS} AND audit_id <= ({beyond})", most // STRANGERS_PART)
        self._delete(f"audit_id <= ({BEYOND.format('true')})", most)

    def _delete(self, where: str, *values: object) -> None:
        sql = (
            "DELETE FROM audit WHERE audit_id IN"
            f" (SELECT audit_id FROM audit WHERE {where} LIMIT {EXPIRED_AT_ONCE})"
        )
        while self._state.write(lambda tx: tx.execute(sql, values).rowcount, notable=False):
            pass


def batch_of(rows: Sequence[Sequence[Any]]) -> pa.RecordBatch:
    columns: list[Any] = list(zip(*rows, strict=True))
    at, tables = SCHEMA.get_field_index("began_at"), SCHEMA.get_field_index("tables")
    columns[at] = [int(each * 1_000_000) for each in columns[at]]
    columns[tables] = [msgspec.json.decode(each) for each in columns[tables]]
    arrays = [
        pa.array(values, type=each.type) for values, each in zip(columns, SCHEMA, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def values_of(row: AuditRow) -> tuple[object, ...]:
    values = {name: getattr(row, name) for name in COLUMNS}
    values |= {"path": redacted(row.path), "tables": told_tables(row)}
    return tuple(values.values())


def told_tables(row: AuditRow) -> str:
    """Return the tables of a row as JSON; where somebody took a token for a name, without it."""
    return redacted(msgspec.json.encode(row.tables).decode())
