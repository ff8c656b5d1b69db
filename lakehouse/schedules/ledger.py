"""Schedules and runs in `catalog.db`. Everything here blocks and belongs on a worker thread."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from lakehouse.schedules.errors import (
    ScheduleExistsError,
    ScheduleNotFoundError,
    TooManyOfOneError,
    TooManySchedulesError,
)
from lakehouse.schedules.models import (
    Schedule,
    ScheduleCreate,
    ScheduleMode,
    ScheduleRun,
    Trigger,
)
from lakehouse.state import State, Transaction, UniqueViolationError

SCHEDULES_MAX = 500
OF_ONE_MAX = 100
"""Of the schedules that there may be, those of one owner: nobody takes the room of all."""
BATCH_ROWS = 4_096
"""Of all runs, those that are objects of Python at once."""
KEPT_RUNS = 500
"""Of each schedule, the newest."""
COLUMNS = "schedule_id, name, asked, caller, token_id, created_at, paused, reason, next_at"
FORGOTTEN = "rows of the table were erased, and what this said with them"
RUN_COLUMNS = (
    "run_id, schedule_run.schedule_id, begun_by, outcome, due_at, started_at, ended_at, job_id,"
    " row_count, detail"
)


MOVED = "UPDATE schedule SET next_at = ? WHERE schedule_id = ?"


@dataclass(frozen=True, slots=True)
class Kept:
    """A schedule as it lies there."""

    id: int
    asked: ScheduleCreate
    caller: str
    token_id: str | None
    created_at: float
    paused: bool
    reason: str | None
    next_at: float

    @property
    def name(self) -> str:
        return self.asked.name

    def shown(self, last_run: ScheduleRun | None) -> Schedule:
        asked = self.asked
        return Schedule(
            name=asked.name,
            cron=asked.cron,
            table=asked.table,
            source=asked.source,
            sql=asked.sql,
            mode=mode_of(asked),
            key=asked.key,
            options=asked.options,
            owner=self.caller,
            created_at=moment(self.created_at),
            paused=self.paused,
            reason=self.reason,
            next_at=None if self.paused else moment(self.next_at),
            last_run=last_run,
        )


class Ledger:
    def __init__(self, state: State) -> None:
        self._state = state

    def add(self, asked: ScheduleCreate, caller: str, token_id: str | None, next_at: float) -> Kept:
        """Store a schedule.

        Raises:
            ScheduleExistsError: one of the same caller has its name.
            TooManySchedulesError: there are as many as there may be.
            TooManyOfOneError: the caller has as many as one may.
        """
        now = datetime.now(UTC).timestamp()
        text = msgspec.json.encode(asked).decode()

        def work(tx: Transaction) -> int:
            (count,) = tx.execute("SELECT count(*) FROM schedule").fetchone()
            if count >= SCHEDULES_MAX:
                raise TooManySchedulesError(SCHEDULES_MAX)
            own = "SELECT count(*) FROM schedule WHERE caller = ?"
            (count,) = tx.execute(own, (caller,)).fetchone()
            if count >= OF_ONE_MAX:
                raise TooManyOfOneError(OF_ONE_MAX)
            (schedule_id,) = tx.execute(
                "INSERT INTO schedule"
                " (label, name, asked, caller, token_id, created_at, paused, next_at)"
                " VALUES (?, ?, ?, ?, ?, ?, 0, ?) RETURNING schedule_id",
                (f"{caller}:{asked.name}", asked.name, text, caller, token_id, now, next_at),
            ).fetchone()
            return int(schedule_id)

        try:
            schedule_id = self._state.write(work)
        except UniqueViolationError as error:
            raise ScheduleExistsError(asked.name) from error
        return Kept(schedule_id, asked, caller, token_id, now, False, None, next_at)

    def all(self) -> list[Kept]:
        sql = f"SELECT {COLUMNS} FROM schedule ORDER BY name, caller"
        return [kept(row) for row in self._state.read(lambda tx: tx.execute(sql).fetchall())]

    def find(self, name: str) -> list[Kept]:
        """Return those of a name, one of each owner at most; of `owner:name` the one."""
        sql = f"SELECT {COLUMNS} FROM schedule WHERE name = ? OR label = ? ORDER BY caller"
        rows = self._state.read(lambda tx: tx.execute(sql, (name, name)).fetchall())
        return [kept(row) for row in rows]

    def pause(self, schedule_id: int, reason: str | None) -> None:
        sql = "UPDATE schedule SET paused = 1, reason = ? WHERE schedule_id = ?"
        self._state.write(lambda tx: tx.execute(sql, (reason, schedule_id)).rowcount)

    def set_next(self, schedule_id: int, next_at: float) -> None:
        """Let it run at this time, also when it was paused."""
        sql = "UPDATE schedule SET paused = 0, reason = NULL, next_at = ? WHERE schedule_id = ?"
        self._state.write(lambda tx: tx.execute(sql, (next_at, schedule_id)).rowcount)

    def put_off(self, schedule_id: int, next_at: float) -> None:
        """Say when it is due next; a paused one stays so."""
        self._state.write(lambda tx: tx.execute(MOVED, (next_at, schedule_id)).rowcount)

    def delete(self, schedule_id: int) -> None:
        def work(tx: Transaction) -> None:
            for table in ("schedule_run", "schedule"):
                tx.execute(f"DELETE FROM {table} WHERE schedule_id = ?", (schedule_id,))

        self._state.write(work)

    def begin(
        self, of: Kept, trigger: Trigger, due_at: float, next_at: float | None = None
    ) -> ScheduleRun:
        """Store that a run begins and when the next one does, and forget the oldest ones.

        Raises:
            ScheduleNotFoundError: it was deleted meanwhile.
        """
        now = datetime.now(UTC)

        def work(tx: Transaction) -> int:
            is_there = "SELECT 1 FROM schedule WHERE schedule_id = ?"
            if tx.execute(is_there, (of.id,)).fetchone() is None:
                raise ScheduleNotFoundError(of.name)
            (run_id,) = tx.execute(
                "INSERT INTO schedule_run"
                " (schedule_id, begun_by, outcome, due_at, started_at, row_count)"
                " VALUES (?, ?, 'running', ?, ?, 0) RETURNING run_id",
                (of.id, trigger, due_at, now.timestamp()),
            ).fetchone()
            if next_at is not None:
                tx.execute(MOVED, (next_at, of.id))
            tx.execute(
                "DELETE FROM schedule_run WHERE schedule_id = ? AND run_id <= (SELECT run_id"
                " FROM schedule_run WHERE schedule_id = ? ORDER BY run_id DESC LIMIT 1 OFFSET ?)",
                (of.id, of.id, KEPT_RUNS),
            )
            return int(run_id)

        return ScheduleRun(
            # Unlike schedules, runs are worth no new copy of the catalog in the warehouse.
            run_id=self._state.write(work, notable=False),
            schedule=of.name,
            trigger=trigger,
            outcome="running",
            due_at=moment(due_at),
            started_at=now,
        )

    def is_job(self, run_id: int, job_id: str) -> None:
        sql = "UPDATE schedule_run SET job_id = ? WHERE run_id = ?"
        self._state.write(lambda tx: tx.execute(sql, (job_id, run_id)).rowcount, notable=False)

    def end(self, run: ScheduleRun) -> None:
        """Store how a run ended."""
        ended_at = run.ended_at.timestamp() if run.ended_at else None
        values = (run.outcome, ended_at, run.job_id, run.row_count, run.detail, run.run_id)
        sql = (
            "UPDATE schedule_run SET outcome = ?, ended_at = ?, job_id = ?, row_count = ?,"
            " detail = ? WHERE run_id = ?"
        )
        self._state.write(lambda tx: tx.execute(sql, values).rowcount, notable=False)

    def interrupt_unended(self, before: float = math.inf) -> list[tuple[Kept, ScheduleRun]]:
        """End the runs that the last process left, and return them with their schedules.

        Args:
            before: when this process began, in seconds since 1970; what began later runs.
        """
        now = datetime.now(UTC).timestamp()

        def work(tx: Transaction) -> list[Any]:
            found = tx.execute(
                f"SELECT {RUN_COLUMNS} FROM schedule_run"
                " WHERE outcome = 'running' AND started_at < ?",
                (before,),
            ).fetchall()
            tx.execute(
                "UPDATE schedule_run SET outcome = 'interrupted', ended_at = ?,"
                " detail = 'the server ended' WHERE outcome = 'running' AND started_at < ?",
                (now, before),
            )
            return found

        schedules = {each.id: each for each in self.all()}
        rows = self._state.write(work, notable=False)
        return [
            (schedules[row[1]], run_of(row, schedules[row[1]].name))
            for row in rows
            if row[1] in schedules
        ]

    def runs(self, of: Kept, limit: int, before: int | None = None) -> list[ScheduleRun]:
        """Return its newest runs, those before the run `before`."""
        sql = (
            f"SELECT {RUN_COLUMNS} FROM schedule_run WHERE schedule_id = ? AND run_id < ?"
            " ORDER BY run_id DESC LIMIT ?"
        )
        values = (of.id, 2**62 if before is None else before, limit)
        rows = self._state.read(lambda tx: tx.execute(sql, values).fetchall())
        return [run_of(row, of.name) for row in rows]

    def last_runs(self) -> dict[int, ScheduleRun]:
        """Return the newest run of each schedule, by the schedule's id."""
        sql = (
            f"SELECT {RUN_COLUMNS}, name FROM schedule_run JOIN schedule USING (schedule_id)"
            " WHERE run_id IN (SELECT max(run_id) FROM schedule_run GROUP BY schedule_id)"
        ).replace("schedule_run.schedule_id", "schedule.schedule_id")
        rows = self._state.read(lambda tx: tx.execute(sql).fetchall())
        return {row[1]: run_of(row[:-1], row[-1]) for row in rows}

    def all_runs(self, take: Callable[[Sequence[Sequence[Any]]], None]) -> None:
        """Call `take` with the runs of all schedules, the oldest first, some at a time.

        Args:
            take: takes rows: what `runs` tells, then name and owner.
        """
        sql = (
            f"SELECT {RUN_COLUMNS}, name, caller FROM schedule_run JOIN schedule"
            " ON schedule.schedule_id = schedule_run.schedule_id ORDER BY run_id"
        )

        def work(tx: Transaction) -> None:
            found = tx.execute(sql)
            while rows := found.fetchmany(BATCH_ROWS):
                take(rows)

        self._state.read(work)


def forget_runs(state: State, is_about: Callable[[str], bool]) -> int:
    """Forget why runs into such a table failed, which may quote its rows; return how many. Blocks.

    Args:
        is_about: told the table as a schedule names it.
    """

    def work(tx: Transaction) -> int:
        asked = tx.execute("SELECT schedule_id, asked FROM schedule").fetchall()
        tables = [
            (key, msgspec.json.decode(text, type=ScheduleCreate).table) for key, text in asked
        ]
        told = "UPDATE schedule_run SET detail = ? WHERE schedule_id = ? AND detail IS NOT NULL"
        ids = [key for key, table in tables if is_about(table)]
        return sum(tx.execute(told, (FORGOTTEN, key)).rowcount for key in ids)

    return state.write(work, notable=False)


def mode_of(asked: ScheduleCreate) -> ScheduleMode:
    return asked.mode or ("append" if asked.sql is None else "overwrite")


def kept(row: tuple[Any, ...]) -> Kept:
    schedule_id, _, asked, caller, token_id, created_at, paused, reason, next_at = row
    create = msgspec.json.decode(asked, type=ScheduleCreate)
    return Kept(schedule_id, create, caller, token_id, created_at, bool(paused), reason, next_at)


def run_of(row: tuple[Any, ...], name: str) -> ScheduleRun:
    run_id, _, trigger, outcome, due_at, started_at, ended_at, job_id, row_count, detail = row
    return ScheduleRun(
        run_id=run_id,
        schedule=name,
        trigger=trigger,
        outcome=outcome,
        due_at=moment(due_at),
        started_at=moment(started_at),
        ended_at=moment(ended_at) if ended_at is not None else None,
        duration_s=ended_at - started_at if ended_at is not None else None,
        job_id=job_id,
        row_count=row_count,
        detail=detail,
    )


def moment(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
