"""One DuckDB for the whole process: many cursors, locked down, and never on the event loop."""

import ctypes
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Self, TypeAlias, TypeVar

import anyio

from lakehouse.lanes import Lane as Lane  # whoever asks for a database names a lane
from lakehouse.lanes import Threads, on_thread

# Read when the library is loaded. Without it the engine's allocator keeps the address space of what
# it was given back, and `RLIMIT_DATA` counts that: after one statement that hit the limit there was
# no room left for a thread or a Python object (1,529 of 1,536 MB; with it 300 to 770 after 1.5 s,
# and loads and scans as fast). Source: https://jemalloc.net/jemalloc.3.html#opt.retain
os.environ.setdefault("DUCKDB_JE_MALLOC_CONF", "retain:false,background_thread:true")

import _duckdb
import duckdb

from lakehouse.disk import Disk, bytes_in
from lakehouse.errors import LakehouseError

T = TypeVar("T")
Connection: TypeAlias = duckdb.DuckDBPyConnection
Work: TypeAlias = Callable[[Connection], T]

# The engine's errors that modules catch and translate; nobody else imports duckdb.
EngineError: TypeAlias = duckdb.Error
EngineDataError: TypeAlias = duckdb.DataError
EngineProgrammingError: TypeAlias = duckdb.ProgrammingError
EngineInterruptError: TypeAlias = duckdb.InterruptException
EngineInvalidInputError: TypeAlias = duckdb.InvalidInputException
EngineMemoryError: TypeAlias = duckdb.OutOfMemoryException
EngineIOError: TypeAlias = duckdb.IOException
EnginePermissionError: TypeAlias = duckdb.PermissionException
EngineFatalError: TypeAlias = duckdb.FatalException

EXTENSIONS = ("avro", "iceberg", "httpfs")
SPILL_SETTING = "max_temp_directory_size"
PROGRESS_SETTINGS = ("enable_progress_bar", "enable_progress_bar_print")
FILES_SETTING = "enable_external_file_cache"
SPILL_STEP_BYTES = 16 * 1024 * 1024
SPILL_LOOK_S = 0.5
KEYS_LOOK_S = 5.0
IDLE_CURSORS_MAX = 32
ARROW_ROWS = 2_048
"""Of a batch where few rows are asked for. The engine reserves room for all of them, and by default
for a million: 10 MiB for each column, so that one CSV of 300 columns had no memory in 1.5 GiB."""
REMOTE_FAILURE = re.compile(r"HTTP Error: |for HTTP [A-Z]+ to '|\(HTTP code \d+")
REFUSED = re.compile(r"\(HTTP (code )?40[13]\b")
MISREAD = re.compile(r"(No magic bytes|too small to be a Parquet|[Ff]ooter length).*'s3://")
FORGET_EVERY_S = 5.0
REMOTE_SETTINGS: Mapping[str, object] = {
    # Each file that is written holds a part in memory, of a ten thousandth of the largest file.
    "s3_uploader_max_filesize": "50GB",
    "s3_uploader_thread_limit": 8,
    "http_timeout": 15,
}
LANES_WAIT_S = 1.0
ROOM_BYTES = 16 * 1024 * 1024
"""What Python needs to tell that there is no memory: the stack of a thread, objects."""
PURGE = b"arena.4096.purge"
"""Of all arenas of the engine's allocator. Source: https://jemalloc.net/jemalloc.3.html"""
ROOM_TRIES, ROOM_WAIT_S = 100, 0.05


def quoted(name: str) -> str:
    """Return `name` as a SQL identifier. Values are never formatted into SQL; pass parameters."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return `text` as a SQL string, for the few places where DuckDB takes no parameter."""
    return "'" + text.replace("'", "''") + "'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """An object store that the engine reads and writes: one prefix of one bucket."""

    place: str
    """`s3://bucket/prefix`."""
    endpoint: str
    """`host:port`."""
    has_tls: bool
    region: str
    path_style: bool
    keys: Callable[[], tuple[str, str, str]]
    """The access key, the secret key and the session token of now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseSettings:
    directories: tuple[Path | str, ...]
    """What DuckDB may read and write: the warehouse and the spool. Nothing else, ever."""
    remote: Remote | None = None
    """How it reaches a warehouse that is no directory."""
    temp_dir: Path
    memory_max_bytes: int
    temp_max_bytes: int
    threads: int = os.cpu_count() or 1
    short_lane: int = 8
    write_lane: int = 8
    long_lane: int = 4


def beside(cursor: Connection) -> Connection:
    """Return another cursor of the same engine: no transaction or temporary table is shared."""
    other = cursor.cursor()
    other.execute("USE lake")
    return other


class Secret:
    """The keys to the object store as the engine has them: those of now, at every statement.

    `CREATE SECRET` is the one thing that still works behind the lock, so keys can change without a
    new start. It is valid for the warehouse alone.
    """

    def __init__(self, connection: Connection, remote: Remote) -> None:
        self._connection = connection
        self._remote = remote
        self._told: tuple[str, str, str] | None = None
        self._telling = threading.Lock()

    def renew(self) -> None:
        """Tell the engine other keys, if there are. Without any it keeps those it has."""
        try:
            keys = self._remote.keys()
        except LakehouseError:
            return  # what needs them says so: the store does, by name
        with self._telling:
            if keys != self._told:
                self._tell(keys)
                self._told = keys

    def _tell(self, keys: tuple[str, str, str]) -> None:
        remote = self._remote
        values: Mapping[str, object] = {
            "key_id": keys[0],
            "secret": keys[1],
            **({"session_token": keys[2]} if keys[2] else {}),
            "endpoint": remote.endpoint,
            "region": remote.region,
            "url_style": "path" if remote.path_style else "vhost",
            "use_ssl": remote.has_tls,
            "scope": f"{remote.place}/",
        }
        parts = ", ".join(f"{name} {setting(value)}" for name, value in values.items())
        with self._connection.cursor() as cursor:
            try:
                cursor.execute(f"CREATE OR REPLACE SECRET warehouse (TYPE s3, {parts})")
            except duckdb.Error as error:  # its words may have the statement's
                raise RuntimeError(f"the engine takes no keys: {type(error).__name__}") from None


class Cursors:
    """Cursors of the instance; one that was left as it was opened is used again.

    Opening one is half of what `SELECT 1` costs: 0.3 of 0.6 ms.
    """

    def __init__(self, connection: Connection, renew: Callable[[], None]) -> None:
        self._connection = connection
        self._renew = renew
        self._idle: list[Connection] = []
        self._closed = False
        self._forgot_at_s = float("-inf")

    def forget_files(self, error: BaseException) -> None:
        """Have the engine read all files anew when `error` says that it knows one wrongly.

        It keeps a file's size as it keeps its parts: wrong once, it would be until the next start.
        """
        misread = any(is_misread(each) for each in (error, error.__cause__) if each)
        if misread and time.monotonic() - self._forgot_at_s > FORGET_EVERY_S:
            self._forgot_at_s = time.monotonic()
            with suppress(duckdb.Error), self._connection.cursor() as cursor:
                cursor.execute(f"SET GLOBAL {FILES_SETTING} = false")
                cursor.execute(f"SET GLOBAL {FILES_SETTING} = true")

    def take(self, *, measured: bool = False) -> Connection:
        """Return a cursor that nobody else has. Blocks for milliseconds under load."""
        if measured:
            return self.new(measured=True)
        self._renew()
        try:
            return self._idle.pop()
        except IndexError:
            return self.new()

    def new(self, *, measured: bool = False) -> Connection:
        self._renew()
        cursor = beside(self._connection)
        if measured:  # the bar is not drawn, but what it would show is counted
            cursor.execute("SET enable_progress_bar_print = false")
            cursor.execute("SET enable_progress_bar = true")
        return cursor

    def give_back(self, cursor: Connection) -> None:
        if self._closed or len(self._idle) >= IDLE_CURSORS_MAX:
            cursor.close()
        else:
            self._idle.append(cursor)

    def close(self) -> None:
        self._closed = True
        while self._idle:
            self._idle.pop().close()


class Session:
    """One cursor that lives over several thread hops; what `cursor.register` adds dies with it."""

    def __init__(
        self, cursors: Cursors, threads: Threads, name: str, *, measured: bool = False
    ) -> None:
        self._cursors = cursors
        self._threads = threads
        self._name = name
        self._measured = measured
        self._cursor: Connection | None = None
        """Taken on the first thread: under load it takes milliseconds, which the loop has not."""
        self._running = self._closed = self._clean = False
        self._using = threading.Lock()
        """Held to interrupt or to let go of the cursor: no interrupt meets one of another's."""
        self._ends: list[Callable[[], None]] = []

    async def run(self, work: Work[T]) -> T:
        """Return `work(cursor)`, run on a worker thread.

        When the caller is cancelled the statement is interrupted and its thread waited for,
        at most `GIVE_UP_AFTER_S` seconds: a single scalar call never looks at the interrupt.
        """
        return await self._threads.run(partial(self._on_thread, work), self.interrupt, self._name)

    def _on_thread(self, work: Work[T]) -> T:
        self._running, self._clean = True, False
        SESSION.set(self)  # the context is that of this work alone
        try:
            if self._cursor is None:
                measured = self._measured
                self._cursor = (
                    self._cursors.new(measured=True) if measured else self._cursors.take()
                )
            return work(self._cursor)
        except BaseException as error:
            self._let_go()
            self._cursors.forget_files(error)
            wait_for_room()
            raise
        finally:
            self._running = False
            if self._closed:  # given up, and back after all
                self._let_go()

    def keep(self) -> None:
        """Say, at the end of a work, that its cursor is as it was: another session may have it.

        Nothing is registered on it, and its last result was read to the end.
        """
        self._clean = not self._measured

    def interrupt(self) -> None:
        """Stop what runs now, from any thread; it raises `EngineInterruptError` there."""
        with self._using:
            self._clean = False
            if self._cursor is not None:
                self._cursor.interrupt()
            for end in self._ends:
                end()

    @contextmanager
    def ended_by(self, end: Callable[[], None]) -> Iterator[None]:
        with self._using:
            self._ends.append(end)
        try:
            yield
        finally:
            with self._using:
                self._ends.remove(end)

    def share_done(self) -> float | None:
        """Return how much of the statement that runs is done, from 0 to 1, as the engine guesses.

        None when none runs, when it cannot say, and of a session that is not `measured`.
        """
        with self._using:
            percent = self._cursor.query_progress() if self._cursor is not None else -1.0
        return percent / 100 if percent >= 0 else None

    def close(self) -> None:
        self._closed = True
        if not self._running:  # closing under a running statement would wait for it
            self._let_go()

    def _let_go(self) -> None:
        """Give the cursor back, or close it: what a statement that failed has taken is free now."""
        with self._using:
            cursor, self._cursor = self._cursor, None
            clean, self._clean = self._clean, False
        if cursor is not None and clean:
            self._cursors.give_back(cursor)
        elif cursor is not None:
            cursor.close()


SESSION: ContextVar[Session] = ContextVar("session")


def interruptible(end: Callable[[], None]) -> AbstractContextManager[None]:
    """Have an interrupt call `end` too, in this block of a session's work: what runs is no SQL."""
    session = SESSION.get(None)
    return session.ended_by(end) if session is not None else nullcontext()


class Database:
    """The process's one DuckDB instance. Tables are files: it holds nothing but relations."""

    def __init__(self, connection: Connection, settings: DatabaseSettings) -> None:
        secret = Secret(connection, settings.remote) if settings.remote else None
        self._renew = secret.renew if secret else lambda: None
        self._cursors = Cursors(connection, self._renew)
        self._temp_dir = settings.temp_dir
        self._temp_max_bytes = settings.temp_max_bytes
        self._spill_max_bytes = settings.temp_max_bytes
        self._lanes = {
            Lane.SHORT: Threads(Lane.SHORT, settings.short_lane),
            Lane.WRITE: Threads(Lane.WRITE, settings.write_lane),
            Lane.LONG: Threads(Lane.LONG, settings.long_lane),
            Lane.UPKEEP: Threads(Lane.UPKEEP, 1),
        }

    @classmethod
    @contextmanager
    def open(cls, settings: DatabaseSettings) -> Iterator[Self]:
        """Open the instance and lock it: after this no statement can reach host or network."""
        with duckdb.connect(":memory:") as connection:
            lock_down(connection, settings)
            database = cls(connection, settings)
            try:
                yield database
            finally:
                database._close()
        # One that came back from the engine only now must not meet the end of the interpreter.
        for threads in database._lanes.values():
            threads.join(LANES_WAIT_S)

    def _close(self) -> None:
        for threads in self._lanes.values():
            threads.close()
        self._cursors.close()

    @contextmanager
    def cursor(self) -> Iterator[Connection]:
        """A cursor for blocking work that is on a worker thread already."""
        with self._cursors.new() as cursor:
            yield cursor

    @contextmanager
    def session(
        self, lane: Lane = Lane.SHORT, name: str = "work", *, measured: bool = False
    ) -> Iterator[Session]:
        """A session; `measured` for one whose `share_done` will be asked for."""
        session = Session(self._cursors, self._lanes[lane], name, measured=measured)
        try:
            yield session
        finally:
            session.close()

    async def run(self, work: Work[T], lane: Lane = Lane.SHORT) -> T:
        """Return `work(cursor)` with a cursor of its own, run on a worker thread of `lane`."""
        with self.session(lane) as session:
            return await session.run(work)

    async def call(self, work: Callable[[], T], lane: Lane = Lane.SHORT) -> T:
        """Return `work()`, run on a worker thread of `lane`: for what blocks without DuckDB."""
        return await self._lanes[lane].call(work)

    def lane(self, lane: Lane) -> Threads:
        return self._lanes[lane]

    async def keep_keys(self) -> None:
        """Tell statements that run long of other keys to the object store, until cancelled."""
        while True:
            await on_thread(self._renew)
            await anyio.sleep(KEYS_LOOK_S)

    async def keep_off_reserve(self, disk: Disk) -> None:
        """Let statements spill into the disk's room above its reserve alone, until cancelled."""
        while True:
            # Not in a lane: those may be full of statements that spill.
            await on_thread(partial(self.limit_spill, disk))
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


def is_of_remote(error: BaseException) -> bool:
    """Whether an engine's error says that the object store failed, rather than a statement.

    That a file is not there is the store's answer, and no failure.
    """
    text = str(error)
    return (bool(REMOTE_FAILURE.search(text)) and "404" not in text) or is_misread(error)


def is_refused(error: BaseException) -> bool:
    """Whether it says that the object store knows the keys not, or that they may not do this."""
    return bool(REFUSED.search(str(error)))


def is_misread(error: BaseException) -> bool:
    """Whether it says that an object is no Parquet file, as when its size was told wrong."""
    return bool(MISREAD.search(str(error)))


def give_back() -> None:
    """Return to the system what the engine has freed and keeps for later. Blocks up to 0.2 s."""
    engine = ctypes.CDLL(_duckdb.__file__)
    if hasattr(engine, "duckdb_je_mallctl"):
        engine.duckdb_je_mallctl(PURGE, None, None, None, ctypes.c_size_t(0))


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
        # Names of data files are never reused, so nothing cached about one goes stale. A size that
        # the store said wrong goes with the parts; the cache of HTTP answers would keep it.
        "enable_http_metadata_cache": False,
        "validate_external_file_cache": "NO_VALIDATION",
        "TimeZone": "UTC",
        "memory_limit": f"{settings.memory_max_bytes}B",
        "threads": settings.threads,
        "allocator_background_threads": True,
        "temp_directory": str(settings.temp_dir),
        SPILL_SETTING: f"{settings.temp_max_bytes}B",
        **(REMOTE_SETTINGS if settings.remote else {}),
        # They belong to a cursor, and nothing else can be set for one before it is there.
        # The last one follows the room that the disk has, the one before is `forget_files`'.
        "allowed_configs": [*PROGRESS_SETTINGS, FILES_SETTING, SPILL_SETTING],
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
