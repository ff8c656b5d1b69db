"""A run of maintenance as it crosses the wire."""

from datetime import datetime
from typing import Literal, TypeAlias

import msgspec

Task: TypeAlias = Literal["compact", "merge", "expire", "metadata", "purge", "orphans", "sweep"]
Outcome: TypeAlias = Literal["done", "planned", "nothing", "skipped", "failed"]


class MaintenanceRun(msgspec.Struct, frozen=True, kw_only=True):
    """What one task did to one table, or why it did not."""

    run_id: int | None = None
    """Of the row that it left; none of a dry run, and none where nothing was to do."""
    table: str | None = None
    """Null for the files of no table, and for a sweep."""
    task: Task
    outcome: Outcome
    reason: str | None = None
    """Why it was skipped or failed, or what is still waiting."""
    item_count: int = 0
    """Files or manifests that became fewer, snapshots that expired, files that were deleted; of a
    sweep the tables that were looked at."""
    size_bytes: int = 0
    """Of what was rewritten or deleted."""
    started_at: datetime
    duration_s: float = 0.0


class MaintenanceAsk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    table: str | None = None
    """Every table without one, dropped tables and files of no table too."""
    dry_run: bool = False
    """Only say what would be done."""


class MaintenanceAnswer(msgspec.Struct, frozen=True):
    runs: list[MaintenanceRun]


class MaintenancePage(msgspec.Struct, frozen=True):
    enabled: bool
    """Whether it is done by itself."""
    items: list[MaintenanceRun]
    """Newest first."""
    next_cursor: str | None = None
