"""What a run does: a load of a source, or of the rows of a statement."""

import hashlib

import msgspec

from lakehouse.catalog import Catalog, Once, check_may_write, parse_table_name
from lakehouse.ingest import (
    LoadOptions,
    NothingThereError,
    SourceLoads,
    check_options,
)
from lakehouse.jobs import JobHandle
from lakehouse.query import RowsFromQuery, TableChanges
from lakehouse.schedules.errors import InvalidScheduleError, ScheduleTooLargeError
from lakehouse.schedules.ledger import mode_of
from lakehouse.schedules.models import ScheduleCreate

ASKED_MAX_BYTES = 64 * 1024
"""Of one as JSON: all of them are read at once, each time one may be due."""
OWN = ("name", "namespace", "mode", "key")
"""Of the options of a load, what a schedule says by itself."""


class Work:
    """Does what schedules ask for, as whoever is the caller."""

    def __init__(
        self,
        source_loads: SourceLoads,
        table_changes: TableChanges,
        catalog: Catalog,
    ) -> None:
        self._source_loads = source_loads
        self._table_changes = table_changes
        self._catalog = catalog

    async def check(self, asked: ScheduleCreate) -> None:
        """Refuse now what no run could do.

        Raises:
            InvalidScheduleError: a part of it makes no sense.
            ScheduleTooLargeError: it has over `ASKED_MAX_BYTES`.
            ForbiddenError: the caller may not write the table.
            What `SourceLoads.check` raises of the source.
        """
        check_may_write(parse_table_name(asked.table))
        if (size := len(msgspec.json.encode(asked))) > ASKED_MAX_BYTES:
            raise ScheduleTooLargeError(size, ASKED_MAX_BYTES)
        if (asked.source is None) == (asked.sql is None):
            raise InvalidScheduleError("a schedule has one of `source` and `sql`")
        if asked.sql is not None and not asked.sql.strip():
            raise InvalidScheduleError("the statement is empty")
        if (asked.mode in ("upsert", "delete")) != bool(asked.key):
            raise InvalidScheduleError("`key` names columns for the modes upsert and delete")
        if asked.source is not None:
            load_options(asked)
            await self._source_loads.check(asked.source)
            return
        statement(asked)

    async def run(self, asked: ScheduleCreate, key: str, job: JobHandle) -> int:
        """Do it once for each `key`, and return how many rows were touched.

        Raises:
            What the load or the statement raises.
        """
        if asked.sql is not None:
            said = hashlib.sha256(msgspec.json.encode(asked)).hexdigest()
            once = Once(self._catalog.keys, key, said)
            name = parse_table_name(asked.table)
            done = await self._table_changes.from_query(name, statement(asked), once)(job)
            return done.touched_rows
        assert asked.source is not None, "`check` let it pass"
        total = 0
        try:
            async for told in self._source_loads.all(asked.source, load_options(asked), key, job):
                total = told.added_rows + told.updated_rows + told.deleted_rows
        except NothingThereError:
            pass  # nothing has come yet
        return total


def load_options(asked: ScheduleCreate) -> LoadOptions:
    """Return the options of a load.

    Raises:
        InvalidScheduleError: one is none.
        What `check_options` raises.
    """
    strange = asked.options.keys() - set(LoadOptions.__struct_fields__) | asked.options.keys() & {
        *OWN
    }
    if strange:
        raise InvalidScheduleError(f"options.{min(strange)[:80]} is no option of a scheduled load")
    name = parse_table_name(asked.table)
    own = {"name": name.name, "namespace": name.namespace, "key": asked.key}
    try:
        mode = mode_of(asked)
        options = msgspec.convert({**asked.options, **own, "mode": mode}, LoadOptions)
    except msgspec.ValidationError as error:
        raise InvalidScheduleError(f"options: {error}") from error
    check_options(options)
    return options


def statement(asked: ScheduleCreate) -> RowsFromQuery:
    """Return the statement that a run writes the rows of."""
    if asked.options:
        raise InvalidScheduleError("`options` says how a source is read; a statement has none")
    mode = mode_of(asked)
    if mode == "delete":
        raise InvalidScheduleError("the mode `delete` goes with a source")
    return RowsFromQuery(sql=asked.sql or "", mode=mode, key=asked.key)
