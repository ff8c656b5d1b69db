"""A child process that reads a file first: if one of them dies of it, it is not the server.

DuckDB treats data files as trusted: a broken one may end the process, or claim for a moment the
memory that all statements share. What is inside of compressed pages cannot be looked at without
reading them. Source: https://duckdb.org/docs/stable/operations_manual/securing_duckdb/overview
"""

import json
import logging
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, Self, TypeAlias

from lakehouse.disk import DiskFullError
from lakehouse.taster.child import BAD, GOOD, NO_MEMORY, NO_ROOM, READY, REFUSED, TOO_LARGE
from lakehouse.taster.errors import (
    FileMemoryError,
    FileSizeError,
    FileTimeError,
    NoTasterError,
    PoisonedFileError,
    RefusedFileError,
    TastingStoppedError,
)

log = logging.getLogger(__name__)

CHILD = Path(__file__).with_name("child.py")
START_MAX_S = 30
TIME_MIN_S = 60
BYTES_PER_S = 8 * 1024**2
"""A file gets the time that its size takes at this pace, and `TIME_MIN_S` beside it."""
MEMORY_SHARE = 8
MEMORY_MIN_BYTES = 256 * 1024**2
IDLE_MAX = 1


Interruptible: TypeAlias = Callable[[Callable[[], None]], AbstractContextManager[None]]


def never(end: Callable[[], None]) -> AbstractContextManager[None]:
    return nullcontext()


class Child:
    """One process, and the line that it says."""

    def __init__(self, memory_max_bytes: int) -> None:
        self.is_stopped = False
        self._process = subprocess.Popen(
            [sys.executable, "-I", CHILD, str(memory_max_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            # Arrow's own allocator reserves more than the limit on the process's data allows.
            env={"ARROW_DEFAULT_MEMORY_POOL": "system"},
        )

    @property
    def lives(self) -> bool:
        return self._process.poll() is None

    def ask(self, what: dict[str, Any]) -> None:
        assert self._process.stdin is not None, "it is a pipe"
        with suppress(BrokenPipeError):  # it has ended, and will not answer
            self._process.stdin.write(json.dumps(what).encode() + b"\n")
            self._process.stdin.flush()

    def answer(self, within_s: float) -> str | None:
        """Return what it says; None when it ended without a word.

        Raises:
            TimeoutError: it says nothing in time.
        """
        assert self._process.stdout is not None, "it is a pipe"
        waiting = select.poll()
        waiting.register(self._process.stdout, select.POLLIN)
        if not waiting.poll(within_s * 1000):
            raise TimeoutError
        line = self._process.stdout.readline()
        return str(json.loads(line)) if line else None

    def ended(self) -> int:
        """Return how it ended, once it said its last."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=START_MAX_S)
        return self.end()

    def stop(self) -> None:
        """Make it end, from another thread than the one that waits for its answer."""
        self.is_stopped = True
        self._process.kill()

    def end(self) -> int:
        """Make it end, and return how it did: it may have ended by itself."""
        if self.lives:
            self._process.kill()
        with self._process:
            pass
        return self._process.returncode


class Taster:
    """Tastes files, as many at once as are asked for. Its methods block.

    Args:
        memory_max_bytes: of the server; a child gets an eighth of it, and 256 MiB in any case.
    """

    def __init__(self, memory_max_bytes: int) -> None:
        self.memory_max_bytes = max(memory_max_bytes // MEMORY_SHARE, MEMORY_MIN_BYTES)
        self._idle: list[Child] = []

    @classmethod
    @contextmanager
    def open(cls, memory_max_bytes: int) -> Iterator[Self]:
        """Be ready to start children; they end with the block."""
        taster = cls(memory_max_bytes)
        try:
            yield taster
        finally:
            while taster._idle:
                taster._idle.pop().end()

    def taste(self, path: Path, interruptible: Interruptible = never) -> None:
        """Read all of a Parquet file in a child process.

        The first one starts in 0.1 s, and one is kept. It reads as fast as the server does.

        Args:
            interruptible: given what ends the child, a block in which an interrupt calls that.

        Raises:
            TastingStoppedError: it was.
            PoisonedFileError: it cannot be read, or the child died of it.
            FileMemoryError, FileTimeError: it took more than a file may.
            NoTasterError: no child could be started.
        """
        self._ask({"path": str(path)}, path, interruptible)

    def convert(
        self,
        path: Path,
        target: Path,
        format_: str,
        max_bytes: int,
        interruptible: Interruptible = never,
        **how: str | int | None,
    ) -> None:
        """Write what a file of another format holds as Parquet, in a child process.

        Args:
            target: a new file, of at most `max_bytes`.
            format_: `arrow`, `orc`, `avro` or `xlsx`.
            how: `sheet` and `header_row` of a workbook.

        Raises:
            As `taste`.
            RefusedFileError: the file is sound, and Parquet cannot hold what it does.
            FileSizeError, DiskFullError: there is no room for it.
        """
        asked = {"target": str(target), "format": format_, "max_bytes": max_bytes, **how}
        said = self._ask({"path": str(path), **asked}, path, interruptible)
        if said == TOO_LARGE:
            raise FileSizeError(max_bytes)

    def _ask(self, what: dict[str, Any], path: Path, interruptible: Interruptible) -> str:
        """Return what a child says of a file, where it is no error that every file may have."""
        time_max_s = TIME_MIN_S + path.stat().st_size // BYTES_PER_S
        child = self._take()
        try:
            with interruptible(child.stop):
                child.ask({**what, "cpu_max_s": time_max_s * (os.cpu_count() or 1)})
                said = child.answer(time_max_s)
        except TimeoutError as error:
            child.end()
            raise FileTimeError(time_max_s) from error
        except BaseException:
            child.end()
            raise
        if said is None:
            code = child.ended()
            if child.is_stopped:
                raise TastingStoppedError
            log.warning("a process that read a file ended: %s", code)
            if code == -signal.SIGXCPU:
                raise FileTimeError(time_max_s)
            if code == -signal.SIGABRT and what.get("format") == "xlsx":
                raise FileMemoryError(self.memory_max_bytes)  # so its reader ends without memory
            raise PoisonedFileError
        self._give_back(child)
        if said == NO_MEMORY:
            raise FileMemoryError(self.memory_max_bytes)
        if said == NO_ROOM:
            raise DiskFullError
        if said.startswith(REFUSED):
            raise RefusedFileError(said.removeprefix(f"{REFUSED}: "))
        if said.startswith(BAD):
            log.warning("a file could not be read: %s", said.removeprefix(f"{BAD}: "))
            raise PoisonedFileError
        assert said in (GOOD, TOO_LARGE), said
        return said

    def _take(self) -> Child:
        """Return a child that nobody asks: one that waits and lives, or a new one."""
        while True:
            try:
                child = self._idle.pop()
            except IndexError:
                return self._new()
            if child.lives:
                return child
            child.end()

    def _new(self) -> Child:
        try:
            child = Child(self.memory_max_bytes)
        except OSError as error:
            raise NoTasterError from error
        try:
            if child.answer(START_MAX_S) == READY:
                return child
        except TimeoutError:
            pass
        child.end()
        raise NoTasterError

    def _give_back(self, child: Child) -> None:
        if len(self._idle) < IDLE_MAX:
            self._idle.append(child)
        else:
            child.end()
