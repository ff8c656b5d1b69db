"""One file, or several as one, on its way into one table."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, cast

import msgspec

from lakehouse.catalog import (
    Catalog,
    Changed,
    Column,
    Idempotency,
    RowCounts,
    Rows,
    TableExistsError,
    TableName,
    TableState,
    WriteMode,
    Written,
    dataset_id,
    known_fingerprint,
    next_wider,
)
from lakehouse.database import Connection
from lakehouse.ingest.errors import BadRowsError, InvalidFileError, drift_of
from lakehouse.ingest.faults import DAMAGED, READING_ERRORS, is_system_fault, whole_file
from lakehouse.ingest.models import CONTENT, MERGES, IngestAnswer, LoadOptions, Mode, Rejected
from lakehouse.ingest.source import Source
from lakehouse.ingest.taken import Taken
from lakehouse.state import Transaction

log = logging.getLogger(__name__)
E = TypeVar("E", Written, Changed)

NONE_REJECTED = Rejected(0, [])
NOT_KEPT = "it does not fit; what it holds was said in the first answer alone"


@dataclass(slots=True)
class Loading:
    """One file on its way into one table."""

    catalog: Catalog
    cursor: Connection
    name: TableName
    mode: Mode
    options: LoadOptions
    content: str
    key: str | None
    table: tuple[Column, ...] = ()
    """The columns of the table that is there."""
    taken: Taken | None = None
    rejected: Rejected = NONE_REJECTED
    added_rows: int = 0

    def run(self, source: Source, *, is_new: bool) -> bytes:
        """Load `source`, and what does not fit as `on_error` says."""
        said = set(self.options.types) if self.options.on_error != "string" else set()
        if self.options.on_error == "reject":
            with whole_file():
                if is_new or self.options.evolve:
                    source = self._widened(source, said)
                self.rejected = Rejected(*source.bad_rows(self.cursor))
            rows = source.good_rows() if self.rejected.count else source.rows()
            return self._write_last(source, rows, is_new)
        try:
            return self._write(source.rows())
        except READING_ERRORS as error:
            if is_system_fault(error):
                raise
            if is_new or self.options.evolve:
                with whole_file():
                    widened = self._widened(source, said)
                if widened.columns != source.columns:
                    return self._write_last(widened, widened.rows(), is_new)
            raise self._failure(source, is_new, error) from error

    def _widened(self, source: Source, said: set[str]) -> Source:
        """Return the file with columns that hold for all of its rows, where they may change.

        New columns become text, as those of a new table do. One of the table's widens as far as
        its values need and Iceberg allows: a pass over the file for each step.
        """
        known = {column.name for column in self.table}
        source = source.widened(self.cursor, said | known)
        while known:
            _, rows = source.bad_rows(self.cursor)
            bad = {row.column for row in rows} & known
            wider = {c.name: next_wider(c.type) for c in source.columns if c.name in bad}
            steps = {name: type_ for name, type_ in wider.items() if type_}
            if not steps:
                break
            source = source.typed(steps)
        return source

    def _write_last(self, source: Source, rows: Rows, is_new: bool) -> bytes:
        """Write what there is no other way to read."""
        try:
            return self._write(rows)
        except READING_ERRORS as error:
            if is_system_fault(error):
                raise
            raise self._failure(source, is_new, error) from error

    def _failure(self, source: Source, is_new: bool, error: Exception) -> Exception:
        """Return what is wrong with the file: its first bad rows."""
        with whole_file():
            count, rows = source.bad_rows(self.cursor)
        if not rows:
            log.warning("a file could not be read", exc_info=error)
            return InvalidFileError(DAMAGED)
        if not is_new and all(row.column for row in rows):
            return drift_of(str(self.name), rows, count, self.options)
        return BadRowsError(rows, count)

    def _write(self, rows: Rows) -> bytes:
        if self.mode in MERGES:
            return self._change(rows)
        written = self.catalog.loading.write(
            self.cursor,
            self.name,
            rows,
            mode=cast(WriteMode, self.mode),
            idempotency=self._sealed(self._answer),
            summary={CONTENT: self.content},
            partition_by=self.options.partition_by,
            sort_by=self.options.sort_by,
            evolve=self.options.evolve,
        )
        self.added_rows = written.added_rows
        return self._answer(written)

    def _change(self, rows: Rows) -> bytes:
        """Merge the rows by key, or delete those that have their keys."""
        sealed = self._sealed(self._changed)
        by, summary = self.options.key, {CONTENT: self.content}
        if self.mode == "delete":
            changed = self.catalog.rows.merge(
                self.cursor, self.name, rows, by, deletes=True, idempotency=sealed, summary=summary
            )
        else:
            changed = self.catalog.loading.upsert(
                self.cursor,
                self.name,
                rows,
                by,
                idempotency=sealed,
                summary=summary,
                partition_by=self.options.partition_by,
                sort_by=self.options.sort_by,
            )
        self.added_rows = changed.rows.inserted + changed.rows.updated
        return self._changed(changed)

    def _sealed(self, answer: Callable[[E], bytes]) -> Idempotency[E] | None:
        """Return what the transaction of the effect stores besides."""
        if self.key is None and self.taken is None:
            return None
        taken = self.taken

        def take(tx: Transaction, effect: E) -> None:
            if taken is not None:
                taken.record(tx, effect.table.uuid)

        def kept(effect: E) -> bytes:
            return quoting_nothing(answer(effect))

        request = taken.request if taken else self.content
        return Idempotency(self.key, request, kept, also=take)

    def _changed(self, changed: Changed) -> bytes:
        written = Written(
            changed.table,
            changed.snapshot_id,
            changed.rows.inserted,
            changed.created,
            changed.objects,
        )
        return self._answer(written, changed.rows)

    def _answer(self, written: Written, rows: RowCounts | None = None) -> bytes:
        table = written.table
        return msgspec.json.encode(
            IngestAnswer(
                dataset_id=dataset_id_of(table.name),
                name=table.name.name,
                namespace=table.name.namespace,
                existing=self.mode == "upsert" and rows is not None and rows.is_nothing,
                row_count=table.row_count,
                added_rows=written.added_rows,
                updated_rows=rows.updated if rows else 0,
                deleted_rows=rows.deleted if rows else 0,
                schema_fingerprint=known_fingerprint(table),
                objects=list(written.objects),
                snapshot_id=written.snapshot_id,
                columns=list(table.columns),
                rejected=self.rejected,
                source=self.taken.report if self.taken else msgspec.UNSET,
            )
        )


def quoting_nothing(answer: bytes) -> bytes:
    """Return what is kept of an answer: where its bad cells are, not what they hold.

    It is kept for days, out of reach of who erases the rows of the table.
    """
    kept = msgspec.json.decode(answer, type=IngestAnswer)
    if not kept.rejected.count:
        return answer
    rows = [msgspec.structs.replace(each, reason=NOT_KEPT) for each in kept.rejected.rows]
    rejected = Rejected(kept.rejected.count, rows)
    return msgspec.json.encode(msgspec.structs.replace(kept, rejected=rejected))


def dataset_id_of(name: TableName) -> str:
    """Return the id of a table: of a dataset, which lies in `main`, that of its name alone."""
    return dataset_id(name.name if name.namespace == "main" else str(name))


def chosen_mode(asked: Mode | None, current: TableState | None) -> Mode:
    """Return what to do: a new name is created, and a file replaces an existing dataset's rows.

    An explicit append, overwrite or upsert creates the table too: a daily job's first run is no
    special case.

    Raises:
        TableExistsError: create was asked for, and the table has columns.
    """
    if current is None:
        return asked if asked in MERGES else "create"
    if asked == "create" and current.columns:
        raise TableExistsError(str(current.name))
    return asked or "overwrite"
