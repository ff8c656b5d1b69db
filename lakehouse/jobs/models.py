"""A job as it crosses the wire."""

from datetime import datetime
from typing import Any, Literal, TypeAlias

import msgspec

JobState: TypeAlias = Literal[
    "queued", "running", "succeeded", "failed", "cancelled", "interrupted"
]


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """Long work, as it is now."""

    id: str
    """Sorts by the time of creation."""
    kind: str
    """What it does: `ingest`, `compact`, `backup`."""
    subject: str | None = None
    """What it works on: a table, a path."""
    state: JobState = "queued"
    phase: str | None = None
    """What it is at, in words."""
    done: int | None = None
    total: int | None = None
    """Null while nobody knows."""
    unit: str | None = None
    """What `done` and `total` count: bytes, rows, files."""
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    caller: str | None = None
    """Who asked for it: the name of a token."""
    trace_id: str | None = None
    """Of the request that started it; its lines in the log carry it."""
    error: dict[str, Any] | None = None
    """Why it did not succeed: the problem (RFC 9457) that the request would have answered."""
    result: Any = None
    """What the request would have answered."""

    @property
    def ended(self) -> bool:
        return self.ended_at is not None


class JobPage(msgspec.Struct, frozen=True):
    items: list[Job]
    """Newest first."""
    next_cursor: str | None = None
