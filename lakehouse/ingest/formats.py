"""What a file is, by its first bytes before its name; and its text, unpacked and in UTF-8."""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa

from lakehouse.ingest.errors import (
    InvalidFileError,
    InvalidLoadError,
    UnknownFormatError,
    UploadTooLargeError,
)
from lakehouse.ingest.models import Format, Unit
from lakehouse.ingest.spool import HEAD_BYTES, SpoolFile, SpoolLimits, Upload

COPY_BYTES = 4 * 1024 * 1024
SEED_ROOM_BYTES = 64 * 1024
"""Left free in front of NDJSON, for the rows that tell DuckDB what to expect."""
RATIO_MAX = 200
"""Bytes out for a byte in. Text comes to 20; what passes this is made to fill disks."""
RATIO_APPLIES_FROM_BYTES = 64 * 1024 * 1024
COMPRESSIONS: dict[bytes, Literal["gzip", "zstd"]] = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
}
BOMS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
SUFFIXES: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".json": "json",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".arrows": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".orc": "orc",
    ".avro": "avro",
    ".xlsx": "xlsx",
    ".xlsm": "xlsx",
}
MEDIA_TYPES: dict[str, Format] = {
    "text/csv": "csv",
    "application/csv": "csv",
    "text/tab-separated-values": "tsv",
    "application/x-ndjson": "ndjson",
    "application/ndjson": "ndjson",
    "application/jsonl": "ndjson",
    "application/jsonlines": "ndjson",
    "application/json": "json",
    "text/json": "json",
    "application/vnd.apache.parquet": "parquet",
    "application/x-parquet": "parquet",
    "application/vnd.apache.arrow.file": "arrow",
    "application/vnd.apache.arrow.stream": "arrow",
    "application/vnd.apache.orc": "orc",
    "application/orc": "orc",
    "application/vnd.apache.avro": "avro",
    "application/avro": "avro",
    "avro/binary": "avro",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "application/vnd.ms-excel.sheet.macroenabled.12": "xlsx",
}
# What clients send when nobody told them a type; then the content alone speaks.
SAYS_NOTHING = frozenset(
    {
        *("", "application/octet-stream", "application/x-www-form-urlencoded", "text/plain"),
        *("application/gzip", "application/x-gzip", "application/zstd", "application/zip"),
        *("application/x-zip-compressed", "multipart/x-zip"),
    }
)
JSON_DOCUMENT = re.compile(r"[\ufeff\s]*(\[\s*[\[{\]]|\{([^\r\n]*[\[{,])?[ \t]*\r?\n)")
"""An array of objects or of lists, or an object that goes on after its first line."""
JSON_LINE = re.compile(r"[\ufeff\s]*\{[^\r\n]*(\}[ \t]*\r?\n|\Z)")
"""An object that ends on its first line, or none that has one line break in what is seen of it."""
MAGICS: dict[bytes, Format] = {
    b"PAR1": "parquet",
    b"ARROW1": "arrow",
    b"\xff\xff\xff\xff": "arrow",
    b"ORC": "orc",
    b"Obj\x01": "avro",
}
TITLES = {"parquet": "Parquet", "arrow": "Arrow IPC", "orc": "ORC", "avro": "Avro"}
WORKBOOK = "a workbook of Excel (.xlsx)"
ENCRYPTED_PARQUET_MAGIC = b"PARE"
ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06")
# What people send by mistake, and what to tell them.
STRANGERS = {
    b"PK\x03\x04": "a zip archive inside of another file; unpack it once",
    b"\xd0\xcf\x11\xe0": "an Excel workbook of the old kind, or with a password (save it as .xlsx)",
    b"%PDF": "a PDF",
    b"FEA1": "a Feather file of version 1 (write it again: pyarrow.feather writes version 2)",
    b"SQLite format 3": "a SQLite database",
    b"\x89PNG": "an image",
    b"\xff\xd8\xff": "an image",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ": "compressed with xz",
}


@dataclass(frozen=True, slots=True)
class Readable:
    """The file that DuckDB will read."""

    path: Path
    format: Format
    sha256: str
    """Of what was sent, without compression."""
    room_bytes: int
    unit: Unit = "line"
    """What its rows are counted in."""


@dataclass(frozen=True, slots=True)
class Named:
    """What a request says of a file besides its bytes."""

    filename: str | None
    content_type: str | None


def head_of(path: Path, size: int, offset: int = 0) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(size)


def compression_of(head: bytes) -> Literal["gzip", "zstd"] | None:
    return next((name for magic, name in COMPRESSIONS.items() if head.startswith(magic)), None)


def room_for(head: bytes, declared: Format | None, named: Named) -> int:
    """Return the bytes to leave free in front of a file that begins with `head`."""
    if not head or compression_of(head) or head.startswith(ZIP_MAGICS):
        return 0
    return SEED_ROOM_BYTES if format_of(head, declared, named) == "ndjson" else 0


def format_of(head: bytes, declared: Format | None, named: Named) -> Format:
    """Return the format of a file, decompressed, that begins with `head`.

    Raises:
        InvalidFileError: it is not what was declared, or it is empty.
        UnknownFormatError: it is none that we read.
    """
    if not head:
        raise InvalidFileError("the file is empty")
    for magic, what in STRANGERS.items():
        if head.startswith(magic):
            raise UnknownFormatError(f"the file is {what}")
    if head.startswith(ENCRYPTED_PARQUET_MAGIC):
        raise InvalidFileError("the Parquet file is encrypted, footer and all; decrypt it first")
    binary = next((name for magic, name in MAGICS.items() if head.startswith(magic)), None)
    if binary is not None:
        if declared not in (None, binary):
            raise InvalidFileError(f"the file is {TITLES[binary]}, not {declared}, as it should be")
        return binary
    media_type = (named.content_type or "").partition(";")[0].strip().lower()
    found = declared or by_name(named.filename) or MEDIA_TYPES.get(media_type)
    if found in TITLES:
        marks = " or ".join(repr(magic)[2:-1] for magic, name in MAGICS.items() if name == found)
        raise InvalidFileError(f"the file is not {TITLES[found]}: it does not begin with {marks}")
    if found == "xlsx":
        raise InvalidFileError(f"the file is not {WORKBOOK}")
    if found == "json" and declared is None and JSON_LINE.match(decoded_head(head)):
        return "ndjson"  # which many programs write under that name
    if found is not None:
        return found
    if media_type not in SAYS_NOTHING:
        raise UnknownFormatError(f"the body is of type {media_type[:80]!r}")
    text = decoded_head(head)
    if JSON_DOCUMENT.match(text):
        return "json"
    return "ndjson" if text.lstrip("\ufeff \t\r\n").startswith("{") else "csv"


def by_name(filename: str | None) -> Format | None:
    name = (filename or "").lower()
    for suffix in (".gz", ".gzip", ".zst", ".zstd"):
        name = name.removesuffix(suffix)
    return SUFFIXES.get(Path(name).suffix)


def decoded_head(head: bytes) -> str:
    return head.decode(marked_encoding(head) or "utf-8", errors="replace")


def marked_encoding(head: bytes) -> str | None:
    """Return the encoding that a byte order mark says."""
    # UTF-32's mark begins with UTF-16's, so the longest one counts.
    marks = sorted((mark for mark in BOMS if head.startswith(mark)), key=len)
    return BOMS[marks[-1]] if marks else None


def readable(
    upload: Upload,
    decompressed: Path,
    recoded: Path,
    *,
    declared: Format | None,
    encoding: str | None,
    limits: SpoolLimits,
) -> Readable:
    """Return the upload as a file that DuckDB can read, converted into one of two new files.

    Raises:
        InvalidFileError: it is empty, damaged, or not what was declared.
        UnknownFormatError: it is none that we read.
        UploadTooLargeError: it grows over its limit, or as only a bomb does.
    """
    named = Named(upload.filename, upload.content_type)
    path, room, sha256 = upload.path, upload.room_bytes, upload.sha256
    if upload.is_workbook:
        if declared not in (None, "xlsx"):
            raise InvalidFileError(f"the file is {WORKBOOK}, not {declared}, as it should be")
        return Readable(path, "xlsx", sha256, room)
    head = head_of(path, HEAD_BYTES, room)
    if compression := compression_of(head):
        pieces = unpacked(path, compression)
        head = next(pieces, b"")
        room = room_for(head, declared, named)
        file = copied(pieces, head, decompressed, limits, room)
        path, sha256 = decompressed, file.sha256
        if compression_of(head):
            raise InvalidFileError("the file is compressed twice; unpack it once")
    format_name = format_of(head, declared, named)
    if format_name in TITLES:
        return Readable(path, format_name, sha256, room)
    known = encoding_of(encoding, head)
    if known != "utf-8":
        pieces = recoded_text(path, room, known)
        copied(pieces, b"", recoded, limits, room)
        path = recoded
    return Readable(path, format_name, sha256, room)


def copied(
    pieces: Iterator[bytes], first: bytes, target: Path, limits: SpoolLimits, room: int
) -> SpoolFile:
    file = SpoolFile(target, limits, room)
    try:
        file.write(first)
        for piece in pieces:
            file.write(piece)
    finally:
        file.close()
    return file


def unpacked(path: Path, compression: Literal["gzip", "zstd"]) -> Iterator[bytes]:
    """Yield the content of a compressed file.

    Raises:
        InvalidFileError: the compressed data is damaged or cut off.
        UploadTooLargeError: it grows as only a bomb does.
    """
    size_in, size_out = path.stat().st_size, 0
    # Not `read`: of one that fails the bytes are never freed, 4 MiB for each damaged file.
    room = bytearray(COPY_BYTES)
    with pa.input_stream(str(path), compression=compression) as source:
        while True:
            try:
                size = source.readinto(room)
            except (OSError, EOFError, pa.ArrowException) as error:
                raise InvalidFileError(f"the {compression} data is damaged or cut off") from error
            if not size:
                return
            chunk = bytes(memoryview(room)[:size])
            size_out += size
            if size_out > max(RATIO_APPLIES_FROM_BYTES, size_in * RATIO_MAX):
                raise UploadTooLargeError(
                    f"the file grows more than {RATIO_MAX} times when it is decompressed",
                    size_in * RATIO_MAX,
                )
            yield chunk


def encoding_of(declared: str | None, head: bytes) -> str:
    try:
        name = codecs.lookup(declared or marked_encoding(head) or "utf-8").name
        b"1".decode(name, "replace")  # raises for zip, hex and others that are no text
    except (LookupError, ValueError) as error:
        raise InvalidLoadError(
            f"there is no encoding {declared!r}; try latin-1, cp1252 or utf-16"
        ) from error
    return name


def recoded_text(path: Path, offset: int, encoding: str) -> Iterator[bytes]:
    """Yield the text of a file in UTF-8.

    Raises:
        InvalidFileError: the text is not in it; names the line.
    """
    line = 1
    decoder = codecs.getincrementaldecoder(encoding)()
    with path.open("rb") as file:
        file.seek(offset)
        done = False
        while not done:
            data = file.read(COPY_BYTES)
            done = not data
            try:
                text = decoder.decode(data, final=done)
            except UnicodeError as error:
                good = data[: getattr(error, "start", 0)].count(b"\n")
                raise InvalidFileError(
                    f"line {line + good} is not {encoding}; say which encoding the file has"
                ) from error
            line += text.count("\n")
            yield text.encode(errors="replace")
