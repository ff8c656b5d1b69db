"""The rows of jobs in `catalog.db`. Everything here blocks and belongs on a worker thread."""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from lakehouse.jobs.models import Job, JobState
from lakehouse.state import State, Transaction

COLUMNS = Job.__struct_fields__
TIMES = ("created_at", "started_at", "ended_at")
DOCUMENTS = ("error", "result")
PUT = (
    f"INSERT INTO job ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
    f" ON CONFLICT (id) DO UPDATE SET {', '.join(f'{each} = excluded.{each}' for each in COLUMNS)}"
)
SAVE_PROGRESS = "UPDATE job SET phase = ?, done = ?, total = ? WHERE id = ? AND ended_at IS NULL"
SELECT = f"SELECT {', '.join(COLUMNS)} FROM job"
DAY_S = 86_400
BATCH_ROWS = 1_000


class Ledger:
    """What is known of each job, on disk when a call returns."""

    def __init__(self, state: State) -> None:
        self._state = state

    def put(self, job: Job) -> None:
        """Store the job as it is now.

        The copy in the warehouse does not follow: what a job did is there without its row.
        """
        self._state.write(lambda tx: tx.execute(PUT, row_of(job)), notable=False)

    def save_progress(self, jobs: Sequence[Job]) -> None:
        """Store how far the jobs are, of those that have not ended meanwhile."""
        rows = [(job.phase, job.done, job.total, job.id) for job in jobs]
        self._state.write(lambda tx: tx.executemany(SAVE_PROGRESS, rows), notable=False)

    def find(self, job_id: str) -> Job | None:
        def work(tx: Transaction) -> tuple[Any, ...] | None:
            found: tuple[Any, ...] | None = tx.execute(
                f"{SELECT} WHERE id = ?", (job_id,)
            ).fetchone()
            return found

        row = self._state.read(work)
        return job_of(row) if row else None

    def list(
        self,
        limit: int,
        before: str | None,
        state: JobState | None,
        kind: str | None,
        caller: str | None,
    ) -> list[Job]:
        """Return the newest jobs, those created before the job `before`."""
        wanted = {"id < ?": before, "state = ?": state, "kind = ?": kind, "caller = ?": caller}
        given = {test: value for test, value in wanted.items() if value is not None}
        where = f" WHERE {' AND '.join(given)}" if given else ""
        sql = f"{SELECT}{where} ORDER BY id DESC LIMIT ?"
        rows = self._state.read(lambda tx: tx.execute(sql, (*given.values(), limit)).fetchall())
        return [job_of(row) for row in rows]

    def interrupt_unended(self, error: bytes) -> int:
        """Mark what ran or waited when the process died, and return how many there were."""
        return self._state.write(
            lambda tx: (
                tx.execute(
                    "UPDATE job SET state = 'interrupted', ended_at = ?, error = ?"
                    " WHERE ended_at IS NULL",
                    (time.time(), error),
                ).rowcount
            ),
            notable=False,
        )

    def forget(self, is_about: Callable[[str], bool]) -> int:
        """Delete what has ended with such a subject."""

        def work(tx: Transaction) -> int:
            ended = tx.execute(
                "SELECT id, subject FROM job WHERE ended_at IS NOT NULL AND subject IS NOT NULL"
            ).fetchall()
            ids = [(id_,) for id_, subject in ended if is_about(subject)]
            tx.executemany("DELETE FROM job WHERE id = ?", ids)
            return len(ids)

        return self._state.write(work, notable=False)

    def expire(self, keep_days: int) -> int:
        """Delete what ended more than `keep_days` ago, a thousand a transaction."""
        before = time.time() - keep_days * DAY_S

        def work(tx: Transaction) -> int:
            return tx.execute(
                "DELETE FROM job WHERE id IN (SELECT id FROM job WHERE ended_at <= ? LIMIT ?)",
                (before, BATCH_ROWS),
            ).rowcount

        total = 0
        while deleted := self._state.write(work, notable=False):
            total += deleted
        return total


def row_of(job: Job) -> tuple[object, ...]:
    values = {name: getattr(job, name) for name in COLUMNS}
    for name in TIMES:
        values[name] = values[name].timestamp() if values[name] else None
    for name in DOCUMENTS:
        values[name] = msgspec.json.encode(values[name]) if values[name] is not None else None
    return tuple(values.values())


def job_of(row: Sequence[Any]) -> Job:
    values = dict(zip(COLUMNS, row, strict=True))
    for name in TIMES:
        values[name] = datetime.fromtimestamp(values[name], UTC) if values[name] else None
    for name in DOCUMENTS:
        values[name] = msgspec.json.decode(values[name]) if values[name] is not None else None
    return Job(**values)
