"""What the server does to keep tables fast and small: looked at, and asked for."""

from collections.abc import Callable, Iterator

import msgspec

from lakehouse.client.answers import value_of
from lakehouse.client.jobs import Jobs
from lakehouse.client.models import Job, MaintenanceAnswer, MaintenancePage, MaintenanceRun
from lakehouse.client.transport import Transport


class Maintenance:
    """`lake.maintenance`: what was done to which table, how long it took, or why not."""

    def __init__(self, transport: Transport, jobs: Jobs) -> None:
        self._transport = transport
        self._jobs = jobs

    def runs(self, table: str | None = None) -> Iterator[MaintenanceRun]:
        """Yield the runs that did something or could not, the newest first."""
        cursor: str | None = None
        while True:
            params = {"table": table, "cursor": cursor}
            found = self._transport.send("GET", "/v1/maintenance", params=params)
            page = value_of(found, MaintenancePage)
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def is_enabled(self) -> bool:
        """Return whether the server does it by itself."""
        found = self._transport.send("GET", "/v1/maintenance", params={"limit": "1"})
        return value_of(found, MaintenancePage).enabled

    def run(
        self,
        table: str | None = None,
        *,
        dry_run: bool = False,
        told: Callable[[Job], None] = lambda job: None,
    ) -> list[MaintenanceRun]:
        """Do all that is worth it now, and return what each task did.

        Args:
            table: the only one; None for all, dropped ones and orphans too.
            dry_run: only say what would be done.
            told: called with the job at each change.

        Raises:
            NotFoundError: there is no such table.
        """
        body = {"table": table, "dry_run": dry_run}
        headers = {"Prefer": "respond-async"}
        asked = self._transport.send("POST", "/v1/maintenance/run", json=body, headers=headers)
        ended = self._jobs.wait(value_of(asked, Job).id, told)
        return msgspec.convert(ended.result, MaintenanceAnswer).runs
