"""An object of a bucket as a file that is read; of a large one, several parts are on their way."""

import io
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from hashlib import md5
from typing import BinaryIO, NamedTuple, Protocol

from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError

from lakehouse.storage.errors import StoreDownError

PART_BYTES = 4 * 1024 * 1024
"""Of one request, unless the rest is read as one stream: who looks at a footer wants no more."""
PARTS_AT_ONCE_MAX = 3
"""Of one object, beside the part that is being read."""
PARTS_MAX = 12
"""Of all objects of a bucket: 48 MiB. Who finds none free reads the rest as one stream."""
SHORT_READS_MAX = 3


class Source(Protocol):
    """What a file asks of its bucket."""

    parts: "Parts"

    def response(
        self, name: str, start: int, length: int | None, etag: str | None
    ) -> BaseHTTPResponse:
        """Return the answer with bytes of an object, to be read and closed; None for the rest."""

    def failing(self, name: str, error: Exception) -> Exception:
        """Return our error for one of the library."""


class Parts:
    """How many parts of objects may be in memory, or on their way there."""

    def __init__(self, count_max: int = PARTS_MAX) -> None:
        self._free = threading.Semaphore(count_max)

    def begin(self, fetch: Callable[[], bytes]) -> "Future[bytes] | None":
        """Fetch on a thread of its own; None when too many are there. Give it to `end` once."""
        if not self._free.acquire(blocking=False):
            return None
        coming: Future[bytes] = Future()

        def run() -> None:
            try:
                coming.set_result(fetch())
            except BaseException as error:
                coming.set_exception(error)

        try:
            # Not one of a pool: nobody waits at the end of the process for a store that is silent.
            threading.Thread(target=run, name="part", daemon=True).start()
        except RuntimeError:  # no room for another thread
            self._free.release()
            return None
        return coming

    def end(self, coming: "Future[bytes]") -> None:
        """Say that nobody holds, or wants, a part any more."""
        coming.add_done_callback(lambda _: self._free.release())


class Part(NamedTuple):
    start: int
    coming: "Future[bytes]"


class ObjectFile(io.RawIOBase, BinaryIO):
    """An object that is read from one place on, or from many; what breaks off is begun anew.

    Args:
        etag: of what it must still be.
    """

    def __init__(self, bucket: Source, name: str, etag: str | None = None) -> None:
        super().__init__()
        self._bucket = bucket
        self._name = name
        self._etag = f'"{etag}"' if etag else None
        self._at = self._stream_at = self._stream_end = 0
        self._stream: BaseHTTPResponse | None = None
        self._coming: deque[Part] = deque()
        self._buffer, self._buffer_at = memoryview(b""), 0
        self._held: Future[bytes] | None = None
        self.size_bytes = PART_BYTES
        stream = self._begin(PART_BYTES)
        self._etag = stream.headers.get("etag")
        self.size_bytes = size_of(stream)
        self._stream_end = min(self._stream_end, self.size_bytes)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size_bytes}[whence]
        self._at = max(start + offset, 0)
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        left = max(self.size_bytes - self._at, 0)
        wanted = left if size is None or size < 0 else min(size, left)
        pieces = bytearray()
        while len(pieces) < wanted:
            piece = self._next(wanted - len(pieces))
            pieces += piece
            self._at += len(piece)
        return bytes(pieces)

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        piece = self.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)

    def is_whole(self, data: bytes) -> bool:
        """Whether this is the object, by its ETag; False where that is no hash of the content."""
        etag = (self._etag or "").strip('"')
        return md5(data, usedforsecurity=False).hexdigest() == etag

    def close(self) -> None:
        self._end_stream()
        self._end_parts()
        super().close()

    def _next(self, most: int) -> memoryview | bytes:
        """Return bytes from where we are, at least one."""
        inside = self._at - self._buffer_at
        if 0 <= inside < len(self._buffer):
            return self._buffer[inside : inside + most]
        if not (self._coming and self._coming[0].start == self._at):
            self._end_parts()
            if self._at == self._stream_end:  # somebody reads on and on
                self._look_ahead(self._at)
        if not self._coming:
            return self._streamed(most)
        self._take()
        return self._buffer[:most]

    # One stream.

    def _streamed(self, most: int) -> bytes:
        tries = 0
        while True:
            try:
                stream = self._stream
                if stream is None or self._stream_at != self._at or self._at >= self._stream_end:
                    # The rest, when somebody reads on and on; a part, when he looks around.
                    stream = self._begin(None if self._at == self._stream_end else PART_BYTES)
                most = min(most, self._stream_end - self._at)
                if piece := stream.read(most):
                    self._stream_at = self._at + len(piece)
                    return piece
                error: Exception = StoreDownError("an object ends too early")
            except (HTTPError, OSError) as broken:
                error = self._bucket.failing(self._name, broken)
            self._end_stream()
            tries += 1
            if tries > SHORT_READS_MAX:
                raise error

    def _begin(self, length: int | None) -> BaseHTTPResponse:
        self._end_stream()
        stream = self._bucket.response(self._name, self._at, length, self._etag)
        self._stream, self._stream_at = stream, self._at
        end = self.size_bytes if length is None else min(self._at + length, self.size_bytes)
        self._stream_end = end
        return stream

    def _end_stream(self) -> None:
        if self._stream is not None:
            if self._stream_at < self._stream_end:  # what was not read has no use
                self._stream.close()
            self._stream.release_conn()
            self._stream = None

    # Several parts.

    def _look_ahead(self, start: int) -> None:
        """Have the parts from `start` on fetched, as many as may be."""
        while len(self._coming) < PARTS_AT_ONCE_MAX and start < self.size_bytes:
            length = min(PART_BYTES, self.size_bytes - start)
            coming = self._bucket.parts.begin(part_of(self, start, length))
            if coming is None:
                break
            self._coming.append(Part(start, coming))
            start += length

    def _take(self) -> None:
        """Make the next part the one that is read, and have another one fetched."""
        self._let_go()
        part = self._coming.popleft()
        self._held = part.coming
        data = part.coming.result()
        self._buffer, self._buffer_at = memoryview(data), part.start
        self._end_stream()
        after = self._coming[-1].start + PART_BYTES if self._coming else part.start + len(data)
        self._stream_end = part.start + len(data)
        self._look_ahead(after)

    def _let_go(self) -> None:
        self._buffer = memoryview(b"")
        if self._held is not None:
            self._bucket.parts.end(self._held)
            self._held = None

    def _end_parts(self) -> None:
        self._let_go()
        while self._coming:
            self._bucket.parts.end(self._coming.popleft().coming)

    def part(self, start: int, length: int) -> bytes:
        """Return a part, by a request of its own; nothing of this file is changed."""
        data = bytearray()
        for _ in range(SHORT_READS_MAX + 1):
            left, at = length - len(data), start + len(data)
            stream = self._bucket.response(self._name, at, left, self._etag)
            try:
                data += stream.read(left)
                error: Exception = StoreDownError("an object ends too early")
            except (HTTPError, OSError) as broken:
                error = self._bucket.failing(self._name, broken)
            finally:
                if len(data) < length:
                    stream.close()
                stream.release_conn()
            if len(data) == length:
                return bytes(data)
        raise error


def part_of(file: ObjectFile, start: int, length: int) -> Callable[[], bytes]:
    return lambda: file.part(start, length)


def size_of(stream: BaseHTTPResponse) -> int:
    """Return the bytes of the whole object, from the answer with its beginning."""
    _, _, total = stream.headers.get("content-range", "").rpartition("/")
    return int(total if total.isdecimal() else stream.headers.get("content-length", 0))
