"""Arrow over HTTP: a stream of bytes as a reader of record batches."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import pyarrow as pa


class Pieces(io.RawIOBase):
    """Pieces of bytes as a file to read."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        target = memoryview(cast(bytearray, buffer)).cast("B")
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        count = min(len(target), len(self._rest))
        target[:count], self._rest = self._rest[:count], self._rest[count:]
        return count


@contextmanager
def reading(pieces: Iterator[bytes]) -> Iterator[pa.RecordBatchReader]:
    """Open a reader over the pieces of an Arrow IPC stream."""
    with io.BufferedReader(Pieces(pieces), 1024 * 1024) as file, pa.ipc.open_stream(file) as reader:
        yield reader
