"""Files on their way to the server, in bounded memory."""

import hashlib
import io
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

from lakehouse.errors import InvalidInputError, NotFoundError

Progress: TypeAlias = Callable[[int, int | None], None]
"""Called with the bytes sent so far, and the bytes there are (None: not known)."""
Source: TypeAlias = Path | str | bytes | BinaryIO

PIECE_BYTES = 256 * 1024
COMPRESSED = re.compile(r"(\.(gz|gzip|zst|zstd))+$")
MEDIA_TYPES = {
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".tab": "text/tab-separated-values",
    ".ndjson": "application/x-ndjson",
    ".jsonl": "application/x-ndjson",
    ".json": "application/json",
    ".parquet": "application/vnd.apache.parquet",
    ".arrow": "application/vnd.apache.arrow.file",
    ".arrows": "application/vnd.apache.arrow.stream",
    ".feather": "application/vnd.apache.arrow.file",
    ".orc": "application/vnd.apache.orc",
    ".avro": "application/vnd.apache.avro",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".zip": "application/zip",
}


def silent(sent: int, total: int | None) -> None:
    """Report nothing."""


@dataclass(frozen=True, slots=True)
class Upload:
    """Bytes that can be sent, from the start each time."""

    name: str | None
    """The file's name, where there is one."""
    size_bytes: int | None
    open: Callable[[], AbstractContextManager[BinaryIO]]
    again: bool
    """Whether it can be read a second time."""
    key: str | None = None
    """Says which file this is, the same after a restart; None where nothing does."""

    def media_type(self) -> str:
        """Return what the name says of the content; compression shows in the content itself."""
        name = COMPRESSED.sub("", (self.name or "").lower())
        return MEDIA_TYPES.get(Path(name).suffix, "application/octet-stream")

    def headers(self) -> Mapping[str, str]:
        return {} if self.size_bytes is None else {"Content-Length": str(self.size_bytes)}

    def part(self, start: int, length: int, progress: Progress = silent) -> Iterator[bytes]:
        """Yield `length` bytes from `start` on.

        Raises:
            InvalidInputError: the file shrank meanwhile.
        """
        with self.open() as file:
            file.seek(start)
            end = start + length
            while start < end:
                piece = file.read(min(PIECE_BYTES, end - start))
                if not piece:
                    raise InvalidInputError(f"{self.name or 'the file'} changed while it was read")
                start += len(piece)
                yield piece
                progress(start, self.size_bytes)

    def pieces(self, progress: Progress = silent) -> Iterator[bytes]:
        """Yield the bytes.

        Raises:
            InvalidInputError: the file grew or shrank meanwhile.
        """
        sent = 0
        with self.open() as file:
            progress(0, self.size_bytes)
            while piece := file.read(PIECE_BYTES):
                sent += len(piece)
                if self.size_bytes is not None and sent > self.size_bytes:
                    break
                yield piece
                progress(sent, self.size_bytes)
        if self.size_bytes is not None and sent != self.size_bytes:
            raise InvalidInputError(f"{self.name or 'the file'} changed while it was read")


def upload_of(source: Source) -> Upload:
    """Return `source` as an upload: a path, bytes, or a binary file, read from where it stands.

    A file that was opened is never opened again: what takes its place meanwhile is not read.

    Raises:
        NotFoundError: there is no such file.
        InvalidInputError: it is a directory, or may not be read.
    """
    if isinstance(source, bytes):
        return Upload(None, len(source), lambda: io.BytesIO(source), again=True)
    if isinstance(source, str | Path):
        return file_upload(Path(source))
    name = getattr(source, "name", None)
    label = name if isinstance(name, str) else None
    if label is not None and is_whole(source):
        return described(source, Path(label), lambda: rewound(source))
    return Upload(label, None, lambda: nullcontext(source), again=False)  # its owner closes it


def is_whole(source: BinaryIO) -> bool:
    """Whether it is a file on the disk, as it lies there and not unpacked, at its beginning."""
    if not (isinstance(source, io.BufferedReader) and isinstance(source.raw, io.FileIO)):
        return False
    return stat.S_ISREG(os.fstat(source.fileno()).st_mode) and source.tell() == 0


@contextmanager
def rewound(source: BinaryIO) -> Iterator[BinaryIO]:
    source.seek(0)
    yield source  # its owner closes it


def file_upload(path: Path) -> Upload:
    try:
        with path.open("rb") as file:
            return described(file, path, lambda: path.open("rb"))
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no file {path}", path=str(path)) from error
    except OSError as error:
        raise InvalidInputError(
            f"{path} cannot be read: {error.strerror}", path=str(path)
        ) from error


def described(
    file: BinaryIO, path: Path, again: Callable[[], AbstractContextManager[BinaryIO]]
) -> Upload:
    """Return the upload of a file that is open; `again` opens it from the start."""
    found = os.fstat(file.fileno())
    if not stat.S_ISREG(found.st_mode):
        return Upload(path.name, None, again, again=False)
    said = f"{path.resolve()}\0{found.st_size}\0{found.st_mtime_ns}"
    key = hashlib.sha256(said.encode(errors="surrogateescape")).hexdigest()
    return Upload(path.name, found.st_size, again, again=True, key=key)
