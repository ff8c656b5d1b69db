"""The runs of all schedules as a table, `lakehouse.schedule_runs` in SQL."""

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from lakehouse.schedules.ledger import Ledger
from lakehouse.state import State

FIELDS: list[tuple[str, pa.DataType]] = [
    ("run_id", pa.int64()),
    ("schedule", pa.string()),
    ("owner", pa.string()),
    ("trigger", pa.string()),
    ("outcome", pa.string()),
    ("due_at", pa.timestamp("us", "UTC")),
    ("started_at", pa.timestamp("us", "UTC")),
    ("ended_at", pa.timestamp("us", "UTC")),
    ("job_id", pa.string()),
    ("row_count", pa.int64()),
    ("detail", pa.string()),
]
SCHEMA = pa.schema(FIELDS)


def read_runs(state: State, take: Callable[[pa.RecordBatch], None]) -> None:
    """Call `take` with the runs of all schedules, the oldest first. On a worker thread."""
    Ledger(state).all_runs(lambda rows: take(batch_of(rows)))


def batch_of(found: Sequence[Sequence[Any]]) -> pa.RecordBatch:
    rows = []
    for row in found:
        run_id, _, trigger, outcome, *times, job_id, row_count, detail, name, owner = row
        told = [None if at is None else int(at * 1_000_000) for at in times]
        rows.append([run_id, name, owner, trigger, outcome, *told, job_id, row_count, detail])
    columns = zip(*rows, strict=True)
    arrays = [
        pa.array(values, type=each.type) for values, each in zip(columns, SCHEMA, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)
