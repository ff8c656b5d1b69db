"""One DuckDB for the whole process: many cursors, locked down, and never on the event loop."""

import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from importlib.resources import files
from pathlib import Path
from typing import Self, TypeAlias, TypeVar

import anyio
import anyio.to_thread

# Read when the library is loaded. Without it the engine's allocator keeps the address space of what
# it was given back, and `RLIMIT_DATA` counts that: after one statement that hit the limit there was
# no room left for a thread or a Python object (1,529 of 1,536 MB; with it 300 to 770 after 1.5 s,
# and loads and scans as fast). Source: https://jemalloc.net/jemalloc.3.html#opt.retain
os.environ.setdefault("DUCKDB_JE_MALLOC_CONF", "retain:false,background_thread:true")

import duckdb

from lakehouse.disk import Disk, bytes_in

T = TypeVar("T")
Connection: TypeAlias = duckdb.DuckDBPyConnection
Work: TypeAlias = Callable[[Connection], T]

# The engine's errors that modules catch and translate; nobody else imports duckdb.
EngineError: TypeAlias = duckdb.Error
ConversionError: TypeAlias = duckdb.ConversionException
EngineInterruptError: TypeAlias = duckdb.InterruptException
EngineInvalidInputError: TypeAlias = duckdb.InvalidInputException
EngineMemoryError: TypeAlias = duckdb.OutOfMemoryException
EngineIOError: TypeAlias = duckdb.IOException
EngineFatalError: TypeAlias = duckdb.FatalException

EXTENSIONS = ("avro", "iceberg", "httpfs")
SPILL_SETTING = "max_temp_directory_size"
SPILL_STEP_BYTES = 16 * 1024 * 1024
SPILL_LOOK_S = 0.5
INTERRUPT_EVERY_S = 0.02
ROOM_BYTES = 16 * 1024 * 1024
"""What Python needs to tell that there is no memory: the stack of a thread, objects."""
ROOM_TRIES, ROOM_WAIT_S = 100, 0.05
ABANDON_AFTER_S = 10.0  # an interrupted thread that has not returned by then is given up


class Lane(Enum):
    """Who may use how many threads: slow work never takes the last one from a short read."""

    SHORT = "short"
    WRITE = "write"
    """Small appends: many may wait for one table's lock, and none of them holds up a read."""
    LONG = "long"
    UPKEEP = "upkeep"
    """What the tables need: one thing at a time, and it takes no slot from anybody."""


def quoted(name: str) -> str:
    """Return `name` as a SQL identifier. Values are never formatted into SQL; pass parameters."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return `text` as a SQL string, for the few places where DuckDB takes no parameter."""
    return "'" + text.replace("'", "''") + "'"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseSettings:
    directories: tuple[Path, ...]
    """What DuckDB may read and write: the warehouse and the spool. Nothing else, ever."""
    temp_dir: Path
    memory_max_bytes: int
    temp_max_bytes: int
    threads: int = os.cpu_count() or 1
    short_lane: int = 8
    write_lane: int = 8
    long_lane: int = 4


class Session:
    """One cursor that lives over several thread hops; what `cursor.register` adds dies with it."""

    def __init__(
        self, connection: Connection, limiter: anyio.CapacityLimiter, *, measured: bool = False
    ) -> None:
        self._connection = connection
        self._measured = measured
        self._cursor: Connection | None = None
        """Opened on the first thread: under load it takes milliseconds, which the loop has not."""
        self._limiter = limiter
        self._abandoned = False
        self._using = threading.Lock()
        """Held to interrupt or to let go of the cursor: no interrupt meets a closed one."""

    async def run(self, work: Work[T]) -> T:
        """Return `work(cursor)`, run on a worker thread.

        When the caller is cancelled the statement is interrupted and its thread waited for,
        at most `ABANDON_AFTER_S` seconds: a single scalar call never looks at the interrupt.
        """
        claim, done = threading.Lock(), threading.Event()

        def on_thread() -> T:
            if not claim.acquire(blocking=False):
                raise RuntimeError("the caller left before the work began")
            try:
                if self._cursor is None:
                    self._cursor = new_cursor(self._connection, measured=self._measured)
                return work(self._cursor)
            except BaseException:
                self._let_go()
                wait_for_room()
                raise
            finally:
                done.set()

        try:
            return await anyio.to_thread.run_sync(
                on_thread, abandon_on_cancel=True, limiter=self._limiter
            )
        except anyio.get_cancelled_exc_class():
            # Whoever has the claim decides: work that has not begun never will.
            if not claim.acquire(blocking=False):
                with anyio.CancelScope(shield=True), anyio.move_on_after(ABANDON_AFTER_S):
                    while not done.is_set():
                        self.interrupt()  # one that falls between two calls is lost
                        await anyio.sleep(INTERRUPT_EVERY_S)
                self._abandoned = not done.is_set()
            raise

    def interrupt(self) -> None:
        """Stop what runs now, from any thread; it raises `EngineInterruptError` there."""
        with self._using:
            if self._cursor is not None:
                self._cursor.interrupt()

    def share_done(self) -> float | None:
        """Return how much of the statement that runs is done, from 0 to 1, as the engine guesses.

        None when none runs, when it cannot say, and of a session that is not `measured`.
        """
        with self._using:
            percent = self._cursor.query_progress() if self._cursor is not None else -1.0
        return percent / 100 if percent >= 0 else None

    def close(self) -> None:
        if not self._abandoned:  # closing under a running statement would wait for it
            self._let_go()

    def _let_go(self) -> None:
        """Close the cursor: what a statement that failed has taken is given back now."""
        with self._using:
            cursor, self._cursor = self._cursor, None
        if cursor is not None:
            cursor.close()


class Database:
    """The process's one DuckDB instance. Tables are files: it holds nothing but relations."""

    def __init__(self, connection: Connection, settings: DatabaseSettings) -> None:
        self._connection = connection
        self._temp_dir = settings.temp_dir
        self._temp_max_bytes = settings.temp_max_bytes
        self._spill_max_bytes = settings.temp_max_bytes
        self._lanes = {
            Lane.SHORT: anyio.CapacityLimiter(settings.short_lane),
            Lane.WRITE: anyio.CapacityLimiter(settings.write_lane),
            Lane.LONG: anyio.CapacityLimiter(settings.long_lane),
            Lane.UPKEEP: anyio.CapacityLimiter(1),
        }

    @classmethod
    @contextmanager
    def open(cls, settings: DatabaseSettings) -> Iterator[Self]:
        """Open the instance and lock it: after this no statement can reach host or network."""
        with duckdb.connect(":memory:") as connection:
            lock_down(connection, settings)
            yield cls(connection, settings)

    @contextmanager
    def cursor(self) -> Iterator[Connection]:
        """A cursor for blocking work that is on a worker thread already."""
        with new_cursor(self._connection) as cursor:
            yield cursor

    @asynccontextmanager
    async def session(
        self, lane: Lane = Lane.SHORT, *, measured: bool = False
    ) -> AsyncIterator[Session]:
        """A session; `measured` for one whose `share_done` will be asked for."""
        session = Session(self._connection, self._lanes[lane], measured=measured)
        try:
            yield session
        finally:
            session.close()

    async def run(self, work: Work[T], lane: Lane = Lane.SHORT) -> T:
        """Return `work(cursor)` with a cursor of its own, run on a worker thread of `lane`."""
        async with self.session(lane) as session:
            return await session.run(work)

    async def call(self, work: Callable[[], T], lane: Lane = Lane.SHORT) -> T:
        """Return `work()`, run on a worker thread of `lane`: for what blocks without DuckDB."""
        return await anyio.to_thread.run_sync(work, limiter=self._lanes[lane])

    async def keep_off_reserve(self, disk: Disk) -> None:
        """Let statements spill into the disk's room above its reserve alone, until cancelled."""
        while True:
            # Not in a lane: those may be full of statements that spill.
            await anyio.to_thread.run_sync(self.limit_spill, disk)
            await anyio.sleep(SPILL_LOOK_S)

    def limit_spill(self, disk: Disk) -> None:
        """Set how much may be spilled in all: what is spilled now, and the room that is left."""
        room = max(disk.usage().room_bytes, 0)
        limit = min(self._temp_max_bytes, bytes_in(self._temp_dir) + room)
        change = abs(limit - self._spill_max_bytes)
        if change < SPILL_STEP_BYTES and limit not in (self._temp_max_bytes, 0):
            return
        if limit == self._spill_max_bytes:
            return
        with self.cursor() as cursor, suppress(EngineError):  # more is spilled by now: next time
            cursor.execute(f"SET GLOBAL {SPILL_SETTING} = '{limit}B'")
            self._spill_max_bytes = limit


def wait_for_room() -> None:
    """Wait until Python has memory again, at most 5 s.

    A thread that cannot allocate ends without a word, and whoever waits for its answer waits
    until the statement's time is over.
    """
    for _ in range(ROOM_TRIES):
        try:
            bytearray(ROOM_BYTES)
        except MemoryError:
            time.sleep(ROOM_WAIT_S)
        else:
            return


def new_cursor(connection: Connection, *, measured: bool = False) -> Connection:
    cursor = connection.cursor()
    cursor.execute("USE lake")
    if measured:  # the bar is not drawn, but what it would show is counted
        cursor.execute("SET enable_progress_bar_print = false")
        cursor.execute("SET enable_progress_bar = true")
    return cursor


def lock_down(connection: Connection, settings: DatabaseSettings) -> None:
    """Load what we need, say what may be reached, then throw the key away.

    The order matters: persistent secrets cannot be refused once one exists,
    `enable_external_access` cannot come back, and nothing can be set after
    `lock_configuration`. Source: https://duckdb.org/docs/stable/operations_manual/securing_duckdb/overview
    """
    for name in EXTENSIONS:
        connection.execute(f"LOAD {literal(str(extension_file(name)))}")
    # `memory` is the name of the in-memory catalog, and of a namespace users may ask for.
    connection.execute("ATTACH ':memory:' AS lake")
    connection.execute("USE lake")
    connection.execute("DETACH memory")
    values: Mapping[str, object] = {
        "allow_persistent_secrets": False,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "python_enable_replacements": False,
        # Names of data files are never reused, so nothing cached about one goes stale.
        "enable_http_metadata_cache": True,
        "validate_external_file_cache": "NO_VALIDATION",
        "TimeZone": "UTC",
        "memory_limit": f"{settings.memory_max_bytes}B",
        "threads": settings.threads,
        "temp_directory": str(settings.temp_dir),
        SPILL_SETTING: f"{settings.temp_max_bytes}B",
        # They belong to a cursor, and nothing else can be set for one before it is there.
        # The last one follows the room that the disk has.
        "allowed_configs": ["enable_progress_bar", "enable_progress_bar_print", SPILL_SETTING],
        "allowed_directories": [f"{path}/" for path in settings.directories],
        "enable_external_access": False,
        "lock_configuration": True,
    }
    # GLOBAL, or the setting ends with this connection: a cursor would have the host's time zone.
    for name, value in values.items():
        connection.execute(f"SET GLOBAL {name} = {setting(value)}")


def setting(value: object) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(setting, value)) + "]"
    return literal(value) if isinstance(value, str) else str(value).lower()


def extension_file(name: str) -> Path:
    """Return the signed extension that came as a wheel: nothing is downloaded at run time."""
    root = files(f"duckdb_extension_{name}") / "extensions" / f"v{duckdb.__version__}"
    return Path(str(root / f"{name}.duckdb_extension"))


def drop_quietly(cursor: Connection, name: str) -> None:
    with suppress(duckdb.Error):
        cursor.execute(f"DROP VIEW IF EXISTS {quoted(name)}")
