"""Results in JSON pages: the first is built in memory, the rest waits on disk to be read."""

import errno
import secrets
import threading
import time
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import msgspec
import pyarrow as pa

from lakehouse.auth import caller
from lakehouse.disk import Disk, DiskFullError
from lakehouse.errors import InvalidInputError
from lakehouse.query import encoding
from lakehouse.query.models import ResultColumn
from lakehouse.query.run_errors import (
    NoTextError,
    ResultNotFoundError,
    ResultTooLargeError,
    SpoolFullError,
)

RESULT_MAX_BYTES = 2 * 1024**3
"""Bytes on disk of one result's rows after the first page."""
SPOOL_MAX_BYTES = 8 * 1024**3
"""Bytes on disk of all results that wait, where `query.results_max_bytes` does not say."""
KEPT_S = 15 * 60.0
"""Seconds that a result is kept after it was made or last read."""
ALLOWANCE_BYTES = 512 * 1024 * 1024
"""Bytes of JSON pages in memory at once, over all requests."""
PIECE_BYTES = 256 * 1024
SEPARATOR = encoding.BETWEEN_ROWS.encode()


class Allowance:
    """Bytes that all pages in memory share. Safe from any thread."""

    def __init__(self, total_bytes: int = ALLOWANCE_BYTES) -> None:
        self._free = total_bytes
        self._lock = threading.Lock()

    def take(self, size: int, *, must: bool = False) -> bool:
        """Take `size` bytes and return True; False when they are not free, unless it `must`."""
        with self._lock:
            if size > self._free and not must:
                return False
            self._free -= size
            return True

    def give_back(self, size: int) -> None:
        with self._lock:
            self._free += size


@dataclass
class Page:
    """Rows as pieces of JSON that follow each other. `release` it once they were sent.

    One that nobody gets, because the client has left, releases itself.
    """

    allowance: Allowance
    pieces: list[bytes] = field(default_factory=list)
    row_count: int = 0
    size_bytes: int = 0

    def __del__(self) -> None:
        self.release()

    def release(self) -> None:
        self.allowance.give_back(self.size_bytes)
        self.size_bytes = 0

    def body(
        self, columns: Sequence[ResultColumn], next_path: str | None, query_id: str
    ) -> list[bytes]:
        """Return the answer in pieces: small ones are joined, large ones are not copied again."""
        head = b'{"columns":' + msgspec.json.encode(columns) + b',"rows":['
        tail = msgspec.json.encode(
            {
                "row_count": self.row_count,
                "truncated": next_path is not None,
                "next": next_path,
                "query_id": query_id,
            }
        )
        opening, closing = (b"[", b"]") if self.pieces else (b"", b"")
        parts = [head + opening, *self.pieces, closing + b"]," + tail[1:]]
        return parts if self.size_bytes > PIECE_BYTES else [b"".join(parts)]


def fill(
    batches: Iterator[pa.RecordBatch], max_bytes: int, allowance: Allowance
) -> tuple[Page, Iterator[pa.RecordBatch] | None]:
    """Return a page of at most `max_bytes` of rows, and what did not fit: None if all did.

    A page has at least one row, however long. It is shorter when other requests use up the
    allowance: the rows are then in the next page.
    """
    page = Page(allowance)
    try:
        for batch in batches:
            count, piece = beginning(batch, max_bytes - page.size_bytes, not page.row_count)
            if not count or not allowance.take(len(piece) + 3, must=not page.row_count):
                return page, chain([batch], batches)
            page.size_bytes += len(piece) + 3
            page.pieces.append(SEPARATOR + piece if page.row_count else piece)
            page.row_count += count
            if count < batch.num_rows:
                return page, chain([batch.slice(count)], batches)
    except BaseException as error:
        page.release()
        if isinstance(error, UnicodeDecodeError):
            raise NoTextError from error
        raise
    return page, None


def beginning(batch: pa.RecordBatch, room_bytes: int, at_least_one: bool) -> tuple[int, bytes]:
    """Return how many rows of `batch` fit into `room_bytes`, and their text."""
    few = encoding.few_json_rows(batch)
    if few is not None and len(few) <= room_bytes:
        return batch.num_rows, few
    rows = encoding.json_rows(batch)
    count = encoding.fitting(rows, room_bytes) or int(at_least_one)
    return count, encoding.content(rows.slice(0, count), but_last=len(SEPARATOR))


@dataclass
class Spooled:
    """The rows of one result after its first page, on disk."""

    result_id: str
    query_id: str
    columns: tuple[ResultColumn, ...]
    path: Path
    first_row: int
    ends: list[int]
    """For each batch of the file, the number of the row after its last, counted from 0."""
    caller: str = field(default_factory=lambda: caller().name)
    """Nobody else reads it."""
    size_bytes: int = 0
    used_at: float = 0.0

    def link(self, row: int) -> str | None:
        if not self.ends or row >= self.ends[-1]:
            return None
        return f"/v1/sql/results/{self.result_id}?offset={row}"


class Spool:
    """The results that wait in one directory. What a former process left there goes at start."""

    def __init__(
        self,
        directory: Path,
        *,
        result_max_bytes: int = RESULT_MAX_BYTES,
        total_max_bytes: int = SPOOL_MAX_BYTES,
        kept_s: float = KEPT_S,
        disk: Disk | None = None,
    ) -> None:
        self.kept_s = kept_s
        self._disk = disk or Disk(directory)
        self.directory = directory
        self._result_max_bytes = result_max_bytes
        self._total_max_bytes = total_max_bytes
        self._results: dict[str, Spooled] = {}
        self._used_bytes = 0
        self._lock = threading.Lock()
        directory.mkdir(parents=True, exist_ok=True)
        self.clear()

    def clear(self) -> None:
        with self._lock:
            self._results.clear()
            self._used_bytes = 0
        for path in self.directory.glob("*.arrow"):
            path.unlink(missing_ok=True)

    def store(
        self,
        query_id: str,
        columns: tuple[ResultColumn, ...],
        schema: pa.Schema,
        batches: Iterable[pa.RecordBatch],
        first_row: int,
    ) -> Spooled:
        """Write all of `batches` to one file and keep it for `kept_s`.

        Raises:
            ResultTooLargeError, SpoolFullError: over a limit; nothing is left on disk.
            DiskFullError: the disk would be below its reserve.
        """
        result_id = secrets.token_urlsafe(16)
        path = self.directory / f"{result_id}.arrow"
        spooled = Spooled(result_id, query_id, columns, path, first_row, [])
        try:
            self._write(spooled, schema, batches)
        except BaseException as error:
            path.unlink(missing_ok=True)
            self._account(spooled, 0)
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise DiskFullError from error
            raise
        spooled.used_at = time.monotonic()
        with self._lock:
            self._results[result_id] = spooled
        return spooled

    def page(
        self, result_id: str, offset: int, max_bytes: int, allowance: Allowance
    ) -> tuple[Spooled, Page]:
        """Return the page that begins with row `offset` of the result.

        Raises:
            ResultNotFoundError: it is unknown, or was not read for `kept_s`.
            InvalidInputError: the result's file does not hold that row.
        """
        self.expire()
        with self._lock:
            spooled = self._results.get(result_id)
            if spooled is None or spooled.caller != caller().name:
                raise ResultNotFoundError(result_id, self.kept_s)
            spooled.used_at = time.monotonic()
        if not spooled.first_row <= offset < spooled.ends[-1]:
            raise InvalidInputError(
                f"offset is {offset}; this result keeps the rows {spooled.first_row} to "
                f"{spooled.ends[-1] - 1}",
                offset=offset,
            )
        try:
            source = pa.memory_map(str(spooled.path))
        except FileNotFoundError:
            raise ResultNotFoundError(result_id, self.kept_s) from None
        with source:
            page, _ = fill(batches_from(spooled, source, offset), max_bytes, allowance)
        return spooled, page

    def drop(self, result_id: str) -> None:
        """Forget a result and delete its file.

        Raises:
            ResultNotFoundError: there is none.
        """
        with self._lock:
            spooled = self._results.get(result_id)
            if spooled is None or spooled.caller != caller().name:
                raise ResultNotFoundError(result_id, self.kept_s)
            del self._results[result_id]
        spooled.path.unlink(missing_ok=True)
        self._account(spooled, 0)

    def expire(self) -> None:
        """Drop what was not read for `kept_s`."""
        oldest = time.monotonic() - self.kept_s
        with self._lock:
            over = [key for key, spooled in self._results.items() if spooled.used_at < oldest]
            dropped = [self._results.pop(key) for key in over]
        for spooled in dropped:
            spooled.path.unlink(missing_ok=True)
            self._account(spooled, 0)

    def _write(
        self, spooled: Spooled, schema: pa.Schema, batches: Iterable[pa.RecordBatch]
    ) -> None:
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        end = spooled.first_row
        with (
            spooled.path.open("xb") as file,
            pa.ipc.new_file(file, schema, options=options) as writer,
        ):
            for batch in batches:
                self._disk.check(batch.nbytes)
                writer.write_batch(batch)
                end += batch.num_rows
                spooled.ends.append(end)
                size = file.tell()
                if size > self._result_max_bytes:
                    raise ResultTooLargeError(self._result_max_bytes)
                if not self._account(spooled, size):
                    self.expire()
                    if not self._account(spooled, size):
                        raise SpoolFullError

    def _account(self, spooled: Spooled, size: int) -> bool:
        with self._lock:
            used = self._used_bytes + size - spooled.size_bytes
            if used > self._total_max_bytes and size > spooled.size_bytes:
                return False
            self._used_bytes, spooled.size_bytes = used, size
            return True


def batches_from(spooled: Spooled, source: pa.NativeFile, offset: int) -> Iterator[pa.RecordBatch]:
    reader = pa.ipc.open_file(source)
    first = bisect_right(spooled.ends, offset)
    begins = spooled.ends[first - 1] if first else spooled.first_row
    yield reader.get_batch(first).slice(offset - begins)
    for number in range(first + 1, reader.num_record_batches):
        yield reader.get_batch(number)
