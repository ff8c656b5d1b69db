"""The background of the tables: what a commit wakes, and a look at every table now and then."""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial

from lakehouse.auth import check_may, may, table_resource
from lakehouse.catalog import Catalog, TableName, TableNotFoundError
from lakehouse.config import MaintenanceConfig
from lakehouse.database import Connection, Database, EngineError, Lane
from lakehouse.errors import LakehouseError
from lakehouse.maintenance.ledger import Ledger
from lakehouse.maintenance.models import MaintenanceRun
from lakehouse.maintenance.upkeep import Look, Upkeep
from lakehouse.state import State

log = logging.getLogger(__name__)

PAUSE_S = 0.2
"""Between two looks: commits that follow each other are looked at together."""
PAUSE_SHARE = 10
"""A look that took long is followed by a pause that many times as long."""
FIRST_SWEEP_S = 60.0
"""After the start, which has other things to do."""
BUSY = Look(thorough=False)


class Maintenance:
    """Keeps tables in shape. One table at a time, on a thread of its own."""

    def __init__(
        self,
        database: Database,
        catalog: Catalog,
        state: State,
        config: MaintenanceConfig,
        *,
        listener: Callable[[MaintenanceRun], None] = lambda run: None,
    ) -> None:
        self.enabled = config.enabled
        self._database = database
        self._catalog = catalog
        self._config = config
        self._ledger = Ledger(state)
        self._upkeep = Upkeep(catalog, self._ledger, config)
        self._listener = listener
        self._woken: dict[TableName, None] = {}
        self._lock = threading.Lock()
        self._event = asyncio.Event()

    async def keep(self) -> None:
        """Look after tables for as long as the server lives."""
        loop = asyncio.get_running_loop()
        self._catalog.on_commit(partial(self._wake, loop))
        sweep_at = time.monotonic() + FIRST_SWEEP_S
        while True:
            try:
                # Not `wait_for`: in Python 3.11 it loses a cancel that comes with the event, and
                # the end of the server waited for this for ever.
                async with asyncio.timeout(max(0.0, sweep_at - time.monotonic())):
                    await self._event.wait()
            except TimeoutError:
                await kept(self.run())
                sweep_at = time.monotonic() + self._config.interval_s
                continue
            began = time.monotonic()
            for name in self._take():
                await kept(self._database.run(partial(self._busy, name), Lane.UPKEEP))
            await asyncio.sleep(max(PAUSE_S, PAUSE_SHARE * (time.monotonic() - began)))

    async def run(
        self,
        table: TableName | None = None,
        *,
        dry_run: bool = False,
        is_asked: bool = False,
        go_on: Callable[[], None] = lambda: None,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> list[MaintenanceRun]:
        """Do all that is worth it, to one table or to all and to what dropped ones left.

        Args:
            is_asked: by a person, who does not want to wait until other engines are done.
            go_on: called now and then on a thread; what it raises ends the work.
            progress: called with how many tables are done, of how many.

        Raises:
            TableNotFoundError, ForbiddenError: as `operable`.
        """
        look, began = Look(dry_run=dry_run, is_asked=is_asked, go_on=go_on), datetime.now(UTC)
        if table is not None:
            names = [await self.operable(table)]
        else:
            names = await self._database.call(self._catalog.names)
        runs: list[MaintenanceRun] = []
        for number, name in enumerate(names):
            progress(number, len(names))
            runs += await self._database.run(partial(self._thorough, name, look), Lane.UPKEEP)
        progress(len(names), len(names))
        if table is None:
            runs += await self._database.run(partial(self._leftovers, look), Lane.UPKEEP)
        if table is None and not dry_run:
            swept = partial(self._upkeep.swept, len(names), began)
            runs += await self._database.call(lambda: self._told(swept()), Lane.UPKEEP)
        return runs

    async def operable(self, table: TableName) -> TableName:
        """Return the name of a table that the caller may have maintained, as it was created.

        Raises:
            TableNotFoundError: there is no such table.
            ForbiddenError: the caller may see it, and may not write it.
        """
        name = (await self._database.call(partial(self._catalog.load, table))).name
        check_may("operate", table_resource(*name), f"the table {name}")
        return name

    def runs(
        self, limit: int, before: int | None = None, table: TableName | None = None
    ) -> Sequence[MaintenanceRun]:
        """Return the newest runs that left a row, those before the run `before`.

        Raises:
            TableNotFoundError: there is no table `table`, and no row of one.
        """
        there = self._catalog.find(table) if table is not None else None
        name = str(there.name if there else table) if table is not None else None
        found = [] if is_hidden(table) else self._ledger.list(limit, before, name)
        if table is not None and not there and not found and before is None:
            raise TableNotFoundError(str(table), self._catalog.nearest(table))
        return found

    def _wake(self, loop: asyncio.AbstractEventLoop, name: TableName) -> None:
        """Have a table looked at soon. Called on any thread, after its commit."""
        with self._lock:
            is_new = name not in self._woken
            self._woken[name] = None
        if is_new:
            with suppress(RuntimeError):  # the loop is closed: the next start looks at every table
                loop.call_soon_threadsafe(self._event.set)

    def _take(self) -> list[TableName]:
        with self._lock:
            names = list(self._woken)
            self._woken.clear()
            self._event.clear()
        return names

    # Below: on a worker thread.

    def _busy(self, name: TableName, cursor: Connection) -> None:
        self._told(self._upkeep.table(cursor, name, BUSY))

    def _thorough(self, name: TableName, look: Look, cursor: Connection) -> list[MaintenanceRun]:
        return self._told(self._upkeep.table(cursor, name, look))

    def _leftovers(self, look: Look, cursor: Connection) -> list[MaintenanceRun]:
        runs = self._told(self._upkeep.dropped(look))
        return runs + self._told(self._upkeep.orphans(cursor, look))

    def _told(self, runs: Iterator[MaintenanceRun]) -> list[MaintenanceRun]:
        found = []
        for run in runs:
            if run.run_id is not None:
                self._listener(run)
            found.append(run)
        return found


async def kept(look: Awaitable[object]) -> None:
    """Await a look at tables. One that fails is told, and the next is due as ever."""
    try:
        await look
    except (LakehouseError, EngineError, OSError) as error:
        log.warning("maintenance: a look at the tables ended early: %s", error, exc_info=True)


def is_hidden(table: TableName | None) -> bool:
    """Whether the caller may not see a table, there or dropped."""
    return table is not None and not may("read", table_resource(*table))
