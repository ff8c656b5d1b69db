"""What is done to a table, task by task. Everything here blocks and belongs on a worker thread."""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from lakehouse.catalog import (
    FORMAT_VERSION,
    Catalog,
    DroppedTableNotFoundError,
    FilesKeptError,
    InputsGoneError,
    LoadedTable,
    NotRewritableError,
    Rules,
    TableInUseError,
    TableName,
    is_of_another_engine,
    outdated_references,
    rules_of,
)
from lakehouse.config import MaintenanceConfig
from lakehouse.database import Connection, EngineError, EngineInterruptError
from lakehouse.disk import DiskFullError
from lakehouse.errors import LakehouseError
from lakehouse.maintenance.ledger import Ledger
from lakehouse.maintenance.models import MaintenanceRun, Outcome, Task

log = logging.getLogger(__name__)

BUSY_FILES_MIN = 50
"""Small files of a partition that are worth a rewrite while the table is being written."""
EXPIRE_TOGETHER = 20
"""Snapshots that are worth a commit while the table is being written."""
METADATA_EVERY_S = 60.0
"""Between two looks at the old metadata files of a table that is being written."""
DAY_S = 86_400
RESTS_MS = 60_000
"""After a commit of another engine."""
SKIPPED = (DiskFullError, FilesKeptError, InputsGoneError, NotRewritableError, TableInUseError)


@dataclass(frozen=True, slots=True)
class Did:
    item_count: int = 0
    size_bytes: int = 0
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """How somebody wants tables looked at."""

    thorough: bool = True
    """Whether little is worth it too; else only what a busy table cannot wait for."""
    dry_run: bool = False
    is_asked: bool = False
    """Whether a person asked for it now; else a table rests after another engine's commit."""
    go_on: Callable[[], None] = lambda: None
    """Called now and then; what it raises ends the work."""


class Upkeep:
    def __init__(self, catalog: Catalog, ledger: Ledger, config: MaintenanceConfig) -> None:
        self._catalog = catalog
        self._ledger = ledger
        self._config = config
        self._resting: set[tuple[str, Task]] = set()
        """Tasks that failed since the last thorough look: a busy table does not try each again."""
        self._cleaned_at: dict[str, float] = {}

    def table(self, cursor: Connection, name: TableName, look: Look) -> Iterator[MaintenanceRun]:
        """Do what a table needs, and yield what each task did; of a damaged one, why none was."""
        try:
            table = self._catalog.find_loaded(name)
        except LakehouseError:
            # Without its metadata even the UUID is not known. The first task says why, in its row.
            run = self._run(str(name), "", "compact", look, partial(self._on, name, unreached))
            if run is not None:
                yield run
            return
        if table is None:
            return
        uuid = table.metadata["table-uuid"]
        tasks: dict[Task, Callable[[LoadedTable, Rules], Did]] = {
            "compact": partial(self._compact, cursor, look),
            "merge": partial(self._merge, look),
            "expire": partial(self._expire, look),
            "metadata": partial(self._metadata, cursor, look),
        }
        for task, work in tasks.items():
            look.go_on()
            if not look.thorough and self._rests(uuid, task):
                continue
            run = self._run(str(name), uuid, task, look, partial(self._on, name, work))
            if run is not None:
                yield run

    def _rests(self, uuid: str, task: Task) -> bool:
        if task == "metadata":
            last, now = self._cleaned_at.get(uuid, 0.0), time.monotonic()
            if now - last < METADATA_EVERY_S:
                return True
            self._cleaned_at[uuid] = now
        return (uuid, task) in self._resting

    def _on(self, name: TableName, work: Callable[[LoadedTable, Rules], Did]) -> Did:
        table = self._catalog.find_loaded(name)  # as the task before has left it
        if table is None:
            return Did()
        return work(table, rules_of(table.metadata, self._config))

    def dropped(self, look: Look) -> Iterator[MaintenanceRun]:
        """Delete the files of tables that were dropped long ago."""
        before = datetime.now(UTC) - timedelta(days=self._config.dropped_days)
        known: list[tuple[str, str | None]] = [
            (each.uuid, str(each.name)) for each in self._catalog.dropped.list(before=before)
        ]
        known += [(uuid, None) for uuid in self._catalog.dropped.unfinished()]
        for uuid, name in known:
            look.go_on()
            run = self._run(name, uuid, "purge", look, partial(self._purge, uuid, look))
            if run is not None:
                yield run

    def orphans(self, cursor: Connection, look: Look) -> Iterator[MaintenanceRun]:
        """Delete files that no table names."""

        def work() -> Did:
            age_s = self._config.orphans_days * DAY_S
            done = self._catalog.orphans.remove(cursor, age_s, dry_run=look.dry_run)
            return Did(done.file_count, done.size_bytes)

        if run := self._run(None, "", "orphans", look, work):
            yield run

    def swept(self, table_count: int, began: datetime) -> Iterator[MaintenanceRun]:
        """Say that every table was looked at: whoever sees no other row knows why."""
        seconds = (datetime.now(UTC) - began).total_seconds()
        run = MaintenanceRun(
            task="sweep",
            outcome="done",
            item_count=table_count,
            started_at=began,
            duration_s=round(seconds, 3),
        )
        yield self._noted(run, "")

    # The tasks.

    def _compact(self, cursor: Connection, look: Look, table: LoadedTable, rules: Rules) -> Did:
        if is_left_alone(table, look):
            return Did()
        files_min = rules.files_min if look.thorough else max(rules.files_min, BUSY_FILES_MIN)
        deletes = self._catalog.layout.deletes(table)
        if deletes.file_count:
            planned = self._catalog.layout.compactable(table, rules, files_min)
            if not planned and not deletes.are_worth_folding(files_min):
                return Did()
            if not look.dry_run:
                self._catalog.rows.fold(cursor, table.name)
            return Did(deletes.of_files + deletes.file_count, deletes.of_bytes)
        if look.dry_run:
            planned = self._catalog.layout.compactable(table, rules, files_min)
            files = [file for group in planned for file in group]
            return Did(len(files), sum(file.size_bytes for file in files))
        done = self._catalog.layout.compact(cursor, table.name, rules, files_min, look.go_on)
        return Did(done.before, done.size_bytes)

    def _merge(self, look: Look, table: LoadedTable, rules: Rules) -> Did:
        if is_left_alone(table, look):
            return Did()
        if look.dry_run:
            planned = self._catalog.layout.mergeable(table, rules)
            return Did(len(planned), sum(each.manifest_length for each in planned))
        done = self._catalog.layout.merge_manifests(table.name, rules)
        return Did(done.before, done.size_bytes)

    def _expire(self, look: Look, table: LoadedTable, rules: Rules) -> Did:
        expiry = self._catalog.expiry
        now_ms = time.time_ns() // 1_000_000
        references = outdated_references(table.metadata, rules, now_ms)
        due = expiry.due(table, rules, now_ms)
        if look.dry_run:
            return Did(len(due), expiry.deletable(table.name, due).size_bytes)
        if not look.thorough and len(due) < EXPIRE_TOGETHER:
            return Did()
        count = expiry.expire(table.name, due, references) if due or references else 0
        deleted = expiry.delete(table.name)
        waits = f"{deleted.waiting} more are read by statements" if deleted.waiting else None
        return Did(count, deleted.size_bytes, waits)

    def _metadata(self, cursor: Connection, look: Look, table: LoadedTable, rules: Rules) -> Did:
        done = self._catalog.orphans.remove_old_metadata(cursor, table, dry_run=look.dry_run)
        return Did(done.file_count, done.size_bytes)

    def _purge(self, uuid: str, look: Look) -> Did:
        if not look.dry_run:
            self._catalog.dropped.purge(uuid)
        return Did(1)

    # Each of them.

    def _run(
        self, table: str | None, uuid: str, task: Task, look: Look, work: Callable[[], Did]
    ) -> MaintenanceRun | None:
        """Do one task and return its run, with its row; None when the table is gone."""
        started_at, began = datetime.now(UTC), time.monotonic()
        outcome: Outcome = "done"
        try:
            did = work()
            if look.dry_run:
                outcome = "planned"
            if not did.item_count and not did.size_bytes and not did.reason:
                outcome = "nothing"
        except DroppedTableNotFoundError:
            return None
        except EngineInterruptError:
            raise
        except SKIPPED as error:
            outcome, did = "skipped", Did(reason=error.detail)
        except (LakehouseError, EngineError, OSError) as error:
            outcome, did = "failed", Did(reason=str(error)[:1000])
        except Exception as error:
            log.exception("maintenance: %s of %s failed", task, table)
            outcome, did = "failed", Did(reason=type(error).__name__)
        if outcome == "failed" or (outcome == "skipped" and task == "compact"):
            self._resting.add((uuid, task))
        elif look.thorough:
            self._resting.discard((uuid, task))
        run = MaintenanceRun(
            table=table,
            task=task,
            outcome=outcome,
            reason=did.reason,
            item_count=did.item_count,
            size_bytes=did.size_bytes,
            started_at=started_at,
            duration_s=round(time.monotonic() - began, 3),
        )
        return run if outcome in ("planned", "nothing") else self._noted(run, uuid)

    def _noted(self, run: MaintenanceRun, uuid: str) -> MaintenanceRun:
        """Return a run with the id of its row; what was done is done without a row too."""
        try:
            return self._ledger.add(run, uuid)
        except LakehouseError as error:
            what = f"{run.task} of {run.table}: {run.outcome}"
            log.warning("maintenance: %s, which is not written down: %s", what, error)
            return run


def is_left_alone(table: LoadedTable, look: Look) -> bool:
    """Whether files of a table are not rewritten now, or never: then it is of other engines."""
    is_theirs = table.metadata["format-version"] != FORMAT_VERSION
    return is_theirs or (not look.is_asked and was_of_others(table))


def was_of_others(table: LoadedTable) -> bool:
    """Whether another engine has committed a moment ago: it may be about to do so again.

    What we would rewrite now its next commit would be refused for, and do again. That we have
    committed since, an append perhaps, does not mean that it is done.
    """
    since_ms = time.time_ns() // 1_000_000 - RESTS_MS
    return any(
        int(each["timestamp-ms"]) > since_ms and is_of_another_engine(each)
        for each in table.metadata["snapshots"]
    )


def unreached(table: LoadedTable, rules: Rules) -> Did:
    return Did()  # it could be read at the second look: the next run does what it needs
