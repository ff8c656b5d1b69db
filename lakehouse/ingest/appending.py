"""Rows that come as JSON: appended, merged by key, deleted by key.

Small appends to one table that arrive together become one file and one commit: while one group is
written, whoever comes waits, and all who wait form the next. Those who were just answered are let
in too if they come right back; nobody who is alone waits. Each member is validated and keyed apart,
and is answered when its own rows are on the disk.
"""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeAlias

import msgspec
import pyarrow as pa

from lakehouse.audit import Record, record, recording
from lakehouse.auth import THE_PROCESS, Caller, acting, caller
from lakehouse.catalog import (
    Catalog,
    Changed,
    Column,
    Idempotency,
    RowCounts,
    Rows,
    SchemaDriftError,
    TableName,
    TableState,
    Written,
    folded,
    owner,
)
from lakehouse.database import Connection, Database, EngineError
from lakehouse.disk import Disk
from lakehouse.errors import ConflictError, InvalidInputError, UnprocessableError
from lakehouse.failpoints import reach
from lakehouse.ingest.errors import InvalidLoadError
from lakehouse.ingest.faults import in_our_words
from lakehouse.ingest.models import MERGES, Mode, RowsAnswer, RowsMode
from lakehouse.ingest.rows import VIEW, RowReader, row_reader
from lakehouse.lanes import Lane, Turns

READERS_MAX = 256
"""Tables whose rows are read without looking at their types again."""
OF_A_MEMBER = (EngineError, InvalidInputError, ConflictError, UnprocessableError)
"""Why a group is not written that a member of it may be alone: all but a limit of the server, and
a commit that may have happened."""
COMES_BACK_S = 0.001
"""How long a group waits for each who was just answered: it takes half as long to take one in, and
ten times as long to commit."""
COME_BACK_MAX_S = 0.05
"""And for all of them."""
GROUP_MAX = 512
GROUP_BYTES_MAX = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class LoadEnded:
    """What a listener hears of each load that was committed."""

    table: str
    mode: str
    row_count: int
    size_bytes: int


Listener: TypeAlias = Callable[[LoadEnded], None]


@dataclass(slots=True, eq=False)
class Member:
    """One request of a group, and what becomes of it."""

    body: bytes
    key: str | None
    caller: Caller
    record: Record
    answer: asyncio.Future[bytes] = field(repr=False)
    rows: pa.Table | None = None
    columns: tuple[Column, ...] = ()
    """Of the table when the rows were checked."""
    request_hash: str = ""
    outcome: bytes | Exception | None = None


@dataclass(slots=True)
class Line:
    """Those who wait at one table."""

    members: list[Member] = field(default_factory=list)
    joined: asyncio.Event = field(default_factory=asyncio.Event)

    def join(self, member: Member) -> None:
        self.members.append(member)
        self.joined.set()

    async def let_in(self, answered: int) -> None:
        """Wait a moment while those who were answered come back: else a commit has half of them.

        With 32 clients groups of 16 took turns; as one, they append a fifth more rows a second.
        """
        everybody = len(self.members) + answered
        patience_s = min(COMES_BACK_S * (answered + 1), COME_BACK_MAX_S)
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                while len(self.members) < everybody:
                    self.joined.clear()
                    await self.joined.wait()

    def next_group(self) -> list[Member]:
        """Take those who wait, as many as one commit may carry; the rest stays."""
        size = count = 0
        while count < min(len(self.members), GROUP_MAX) and (not count or size < GROUP_BYTES_MAX):
            size += len(self.members[count].body)
            count += 1
        group = self.members[:count]
        del self.members[:count]
        return [member for member in group if not member.answer.done()]


class Appending:
    """Rows of requests into tables."""

    def __init__(
        self,
        database: Database,
        catalog: Catalog,
        *,
        disk: Disk,
        turns: Turns,
        listener: Listener,
    ) -> None:
        self._database = database
        self._catalog = catalog
        self._disk = disk
        self._turns = turns
        self._listener = listener
        self._readers: dict[tuple[Column, ...], RowReader] = {}
        self._lines: dict[str, Line] = {}
        """By table; there as long as somebody writes its groups."""
        self._leaders: set[asyncio.Task[None]] = set()

    async def append(self, name: TableName, body: bytes, key: str | None) -> bytes:
        """Append the rows of a JSON body to a table and return the answer, as JSON.

        Raises:
            TableNotFoundError: there is no such table.
            InvalidRowsError: a row does not fit; none of this body was written.
            ForbiddenError: the caller may see the table, and may not write it.
        """
        self._catalog.check_may_change(name)
        member = Member(body, key, caller(), record(), asyncio.get_running_loop().create_future())
        place = folded(str(name))
        line = self._lines.get(place)
        if line is None:
            line = self._lines[place] = Line()
            leader = asyncio.create_task(self._lead(name, place))
            self._leaders.add(leader)
            leader.add_done_callback(self._leaders.discard)
        line.join(member)
        return await member.answer

    async def _lead(self, name: TableName, place: str) -> None:
        """Write group after group of one table until nobody waits."""
        line = self._lines[place]
        group: list[Member] = []
        try:
            while line.members or len(group) > 1:
                await line.let_in(len(group))
                group = line.next_group()
                if not group:
                    continue
                work = partial(self._append_group, name=name, members=group)
                try:
                    await self._database.run(work, Lane.WRITE)
                except Exception as error:  # nobody else would tell them
                    settle(group, error)
                else:
                    settle(group)
        finally:
            del self._lines[place]
            for member in (*group, *line.members):  # when the process stops
                member.answer.cancel()

    async def merge(
        self, name: TableName, body: bytes, mode: RowsMode, by: Sequence[str], key: str | None
    ) -> bytes:
        """Merge the rows of a JSON body into a table, or delete those that have their keys.

        Raises:
            As `append`; NullKeyError, InvalidKeyError: as `Catalog.upsert`.
            TableBusyError: other changes of this table took a minute.
        """
        check_key_columns(mode, by)
        self._catalog.check_may_change(name)
        work = partial(self._merge, name=name, body=body, mode=mode, by=by, key=key)
        async with self._turns.at(folded(str(name))):
            return await self._database.run(work, Lane.LONG)

    # Below: on a worker thread.

    def _append_group(
        self, cursor: Connection, *, name: TableName, members: Sequence[Member]
    ) -> None:
        with ExitStack() as stack:
            for member in members:
                with acting(member.caller):
                    self._take_in(stack, cursor, name, member)
            fresh = [member for member in members if member.outcome is None]
            try:
                self._write(cursor, name, fresh)
            except OF_A_MEMBER:
                if len(fresh) == 1:
                    raise
                for member in fresh:  # one of them is bad, or they are too much together
                    self._write_alone(cursor, name, member)
        reach("before-answer")

    def _take_in(
        self, stack: ExitStack, cursor: Connection, name: TableName, member: Member
    ) -> None:
        """Validate a member; one that is wrong, or was there before, has its outcome."""
        said = str(name).encode() + b"\0" + member.body
        member.request_hash = hashlib.sha256(said).hexdigest()
        try:
            if member.key is not None:
                stack.enter_context(self._catalog.keys.in_flight(member.key))
                member.outcome = self._catalog.keys.find(member.key, member.request_hash)
            if member.outcome is None:
                self._disk.check(len(member.body))
                member.rows, member.columns = self._read(cursor, name, member.body)
        except Exception as error:
            member.outcome = error

    def _write_alone(self, cursor: Connection, name: TableName, member: Member) -> None:
        try:
            self._write(cursor, name, [member])
        except Exception as error:
            member.outcome = error

    def _write(self, cursor: Connection, name: TableName, members: Sequence[Member]) -> None:
        """Write the rows of all members in one commit, and their answers with it."""
        tables = [member.rows for member in members if member.rows is not None]
        if not tables:
            return
        together = Record(together=[member.record for member in members])
        with acting(all_of(members)), recording(together):
            self._commit(cursor, name, members, tables)

    def _commit(
        self,
        cursor: Connection,
        name: TableName,
        members: Sequence[Member],
        tables: Sequence[pa.Table],
    ) -> None:
        columns = members[0].columns
        if any(member.columns != columns for member in members):
            raise SchemaDriftError(str(name), ["its columns were changed meanwhile"])
        cursor.register(VIEW, pa.concat_tables(tables))
        keyed = [
            Idempotency(
                member.key,
                member.request_hash,
                partial(rows_answer, count=rows.num_rows),
                owner(member.caller),
            )
            for member, rows in zip(members, tables, strict=True)
            if member.key is not None
        ]
        with in_our_words():
            rows_of_all = Rows(f"SELECT * FROM {VIEW}", columns)
            staged = self._catalog.loading.stage(cursor, name, rows_of_all, mode="append")
            if len(members) > 1:
                reach("after-group-file")
            (written,) = self._catalog.loading.commit([staged], keyed)
            if len(members) > 1:
                reach("after-group")
        for member, rows in zip(members, tables, strict=True):
            member.outcome = rows_answer(written, count=rows.num_rows)
            with recording(member.record):
                self._listener(LoadEnded(str(name), "append", rows.num_rows, len(member.body)))

    def _merge(
        self,
        cursor: Connection,
        *,
        name: TableName,
        body: bytes,
        mode: RowsMode,
        by: Sequence[str],
        key: str | None,
    ) -> bytes:
        said = msgspec.json.encode([str(name), mode, list(by)])
        request_hash = hashlib.sha256(said + b"\0" + body).hexdigest()
        with ExitStack() as stack:
            if key is not None:
                stack.enter_context(self._catalog.keys.in_flight(key))
                if (answer := self._catalog.keys.find(key, request_hash)) is not None:
                    return answer
            if mode != "delete":  # that one takes away
                self._disk.check(len(body))
            rows = self._rows(cursor, name, body)
            sealed: Idempotency[Changed] | None = (
                Idempotency(key, request_hash, merged_answer) if key else None
            )
            with in_our_words():
                changed = self._catalog.rows.merge(
                    cursor, name, rows, by, deletes=mode == "delete", idempotency=sealed
                )
        reach("before-answer")
        count = changed.rows.inserted + changed.rows.updated
        self._listener(LoadEnded(str(name), mode, count, len(body)))
        return merged_answer(changed)

    def _rows(self, cursor: Connection, name: TableName, body: bytes) -> Rows:
        table, columns = self._read(cursor, name, body)
        cursor.register(VIEW, table)
        return Rows(f"SELECT * FROM {VIEW}", columns)

    def _read(
        self, cursor: Connection, name: TableName, body: bytes
    ) -> tuple[pa.Table, tuple[Column, ...]]:
        """Return the rows of a JSON body, checked against the columns of the table."""
        table = self._catalog.get(name)
        if not table.columns:
            raise InvalidLoadError(f"the table {name} has no columns yet; ingest a file first")
        reader = self._readers.get(table.columns)
        if reader is None:
            reader = self._readers[table.columns] = row_reader(cursor, table.columns)
            while len(self._readers) > READERS_MAX:
                self._readers.pop(next(iter(self._readers)), None)
        return reader.read(body), table.columns


def all_of(members: Sequence[Member]) -> Caller:
    """Return who commits for a group: each of them may, and the snapshot names them all."""
    names = sorted({member.caller.name for member in members})
    return members[0].caller if len(names) == 1 else replace(THE_PROCESS, name=", ".join(names))


def settle(group: Sequence[Member], error: Exception | None = None) -> None:
    """Tell each member its own outcome; `error` to those that have none."""
    for member in group:
        outcome = member.outcome if member.outcome is not None else error
        if member.answer.done():
            continue  # its client has left
        if isinstance(outcome, bytes):
            member.answer.set_result(outcome)
        else:
            assert outcome is not None, "a group that ends well has an outcome for each"
            member.answer.set_exception(outcome)


def check_key_columns(mode: Mode | None, key: Sequence[str]) -> None:
    if (mode in MERGES) != bool(key):
        raise InvalidLoadError(
            "key= names the columns that mode=upsert and mode=delete go by: key=id, or key=city,day"
        )


def rows_answer(written: Written, count: int) -> bytes:
    counts = RowCounts(inserted=count)
    return rows_json(written.table, written.snapshot_id, counts)


def merged_answer(changed: Changed) -> bytes:
    return rows_json(changed.table, changed.snapshot_id, changed.rows)


def rows_json(table: TableState, snapshot_id: int | None, rows: RowCounts) -> bytes:
    return msgspec.json.encode(
        RowsAnswer(
            name=table.name.name,
            namespace=table.name.namespace,
            added_rows=rows.inserted,
            updated_rows=rows.updated,
            deleted_rows=rows.deleted,
            row_count=table.row_count,
            snapshot_id=snapshot_id,
        )
    )
