"""The rows of runs in `catalog.db`. Everything here blocks and belongs on a worker thread."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from lakehouse.maintenance.models import MaintenanceRun
from lakehouse.state import State, Transaction

KEPT_ROWS = 10_000
COLUMNS = "table_name, task, outcome, reason, item_count, size_bytes, started_at, duration_s"


class Ledger:
    def __init__(self, state: State) -> None:
        self._state = state

    def add(self, run: MaintenanceRun, table_uuid: str) -> MaintenanceRun:
        """Store a run and return it with its id; the oldest beyond `KEPT_ROWS` go.

        The copy in the warehouse does not follow: what a run did is there without its row.
        """

        def work(tx: Transaction) -> int:
            (run_id,) = tx.execute(
                f"INSERT INTO maintenance_run (table_uuid, {COLUMNS})"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING run_id",
                (
                    table_uuid,
                    run.table or "",
                    run.task,
                    run.outcome,
                    run.reason,
                    run.item_count,
                    run.size_bytes,
                    run.started_at.timestamp(),
                    run.duration_s,
                ),
            ).fetchone()
            tx.execute("DELETE FROM maintenance_run WHERE run_id <= ?", (run_id - KEPT_ROWS,))
            return int(run_id)

        return msgspec.structs.replace(run, run_id=self._state.write(work, notable=False))

    def list(self, limit: int, before: int | None, table: str | None) -> Sequence[MaintenanceRun]:
        """Return the newest runs, those before the run `before`."""
        wanted = {"run_id < ?": before, "table_name = ?": table}
        given = {test: value for test, value in wanted.items() if value is not None}
        where = f" WHERE {' AND '.join(given)}" if given else ""
        sql = f"SELECT run_id, {COLUMNS} FROM maintenance_run{where} ORDER BY run_id DESC LIMIT ?"
        rows = self._state.read(lambda tx: tx.execute(sql, (*given.values(), limit)).fetchall())
        return [run_of(row) for row in rows]


def run_of(row: tuple[Any, ...]) -> MaintenanceRun:
    run_id, table, task, outcome, reason, item_count, size_bytes, started_at, duration_s = row
    return MaintenanceRun(
        run_id=run_id,
        table=table or None,
        task=task,
        outcome=outcome,
        reason=reason,
        item_count=item_count,
        size_bytes=size_bytes,
        started_at=datetime.fromtimestamp(started_at, UTC),
        duration_s=duration_s,
    )
