"""What the endpoints work with, and how they find what a path names."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import anyio

from lakehouse.catalog import (
    Catalog,
    LoadedTable,
    LoadedView,
    NamespaceNotFoundError,
    TableNotFoundError,
)
from lakehouse.iceberg.problems import (
    ChangesBusyError,
    NoSuchNamespaceError,
    NoSuchTableError,
    NoSuchViewError,
)
from lakehouse.lanes import Turns, on_thread
from lakehouse.names import TableName, folded
from lakehouse.storage import Store

T = TypeVar("T")

WRITES_MAX = 8
"""Changes at a time, of as many tables; each holds a thread."""
WRITES_WAITING_MAX = 256
"""Changes that wait for one of the others to end; those that wait for a turn are not among them."""
WRITES_WAIT_S = 60.0
"""How long one of them waits."""
TURN_WAIT_S = 60.0
TURNS_WAITING_MAX = 64
"""Changes that wait for one table; each holds its body, of up to 8 MB."""


def writes_limiter() -> anyio.CapacityLimiter:
    return anyio.CapacityLimiter(WRITES_MAX)


def protocol_turns() -> Turns:
    return Turns(wait_s=TURN_WAIT_S, waiting_max=TURNS_WAITING_MAX)


@dataclass(frozen=True, slots=True)
class Protocol:
    """The catalog as other engines see it. What finds something blocks.

    Args:
        storage: what a client is told of the object store: where it is, never a key.
    """

    catalog: Catalog
    store: Store
    storage: Mapping[str, str]
    writes: anyio.CapacityLimiter = field(default_factory=writes_limiter)
    turns: Turns = field(default_factory=protocol_turns)

    async def write(self, work: Callable[[], T], names: Iterable[TableName] = ()) -> T:
        """Return `work()`, a change of the catalog, run on a thread.

        Changes have threads of their own: many at once would take all of those that reads, uploads
        and the audit log share. One waits for its turn at each table before it takes a thread: many
        changes of one table hold up no change of another.

        Args:
            names: the tables or views that it changes.

        Raises:
            TableBusyError: its turn at one of them did not come. Nothing has begun.
            ChangesBusyError: all threads were taken for long. Nothing has begun.
        """
        async with AsyncExitStack() as held:
            for name in sorted({folded(str(each)) for each in names}):  # in order: no deadlock
                await held.enter_async_context(self.turns.at(name))
            async with self._thread():
                return await on_thread(work, anyio.CapacityLimiter(1))  # it is counted already

    @asynccontextmanager
    async def _thread(self) -> AsyncIterator[None]:
        """Hold one of the threads for changes in this block."""
        if self.writes.statistics().tasks_waiting >= WRITES_WAITING_MAX:
            raise ChangesBusyError
        holder = object()
        with anyio.move_on_after(WRITES_WAIT_S) as waiting:
            await self.writes.acquire_on_behalf_of(holder)
        if waiting.cancelled_caught:
            raise ChangesBusyError
        try:
            yield
        finally:
            self.writes.release_on_behalf_of(holder)

    def namespace(self, name: str) -> str:
        """Return the name of a namespace that is there.

        Raises:
            NoSuchNamespaceError: there is none, for this caller.
        """
        try:
            found = self.catalog.namespaces.get(name)
        except NamespaceNotFoundError:
            raise NoSuchNamespaceError(name) from None
        if found != name:  # names of the protocol differ by case
            raise NoSuchNamespaceError(name)
        return found

    def spelled(self, name: TableName) -> TableName:
        """Return a name that a commit may make or change.

        Raises:
            NoSuchTableError: a table is there that differs from it by case alone.
        """
        found = self.catalog.find_loaded(name)
        if found is not None and found.name != name:
            raise NoSuchTableError(".".join(name))
        return name

    def table(self, name: TableName) -> LoadedTable:
        """Return a table as it is now.

        Raises:
            NoSuchTableError: there is none, for this caller.
        """
        try:
            found = self.catalog.load(name)
        except TableNotFoundError:
            raise NoSuchTableError(".".join(name)) from None
        if found.name != name:
            raise NoSuchTableError(".".join(name))
        return found

    def view(self, name: TableName) -> LoadedView:
        """Return a view as it is now.

        Raises:
            NoSuchViewError: there is none, for this caller.
        """
        found = self.catalog.views.find(name)
        if found is None or found.name != name:
            raise NoSuchViewError(".".join(name))
        return found
