"""What a file is, by its first bytes before its name; and its text without compression."""

import codecs
from pathlib import Path
from typing import Literal

import pyarrow as pa

from lakehouse.ingest.errors import (
    InvalidFileError,
    InvalidLoadError,
    UnknownFormatError,
    UploadTooLargeError,
)
from lakehouse.ingest.models import Format
from lakehouse.ingest.spool import Upload

COPY_BYTES = 4 * 1024 * 1024
RATIO_MAX = 200
"""Bytes out for a byte in. Text comes to 20; what passes this is made to fill disks."""
RATIO_APPLIES_FROM_BYTES = 64 * 1024 * 1024
COMPRESSIONS: dict[bytes, Literal["gzip", "zstd"]] = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
}
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
    ".parquet": "parquet",
}
MEDIA_TYPES: dict[str, Format] = {
    "text/csv": "csv",
    "application/csv": "csv",
    "text/tab-separated-values": "tsv",
    "application/x-ndjson": "ndjson",
    "application/ndjson": "ndjson",
    "application/jsonl": "ndjson",
    "application/vnd.apache.parquet": "parquet",
    "application/x-parquet": "parquet",
}
PARQUET_MAGIC = b"PAR1"
# What people send by mistake, and what to tell them.
STRANGERS = {
    b"PK\x03\x04": "a zip archive or an Excel workbook; unpack it, or export it as CSV",
    b"%PDF": "a PDF",
    b"ORC": "an ORC file; convert it to Parquet",
    b"Obj\x01": "an Avro file; convert it to Parquet",
    b"ARROW1": "an Arrow IPC file; convert it to Parquet",
    b"SQLite format 3": "a SQLite database",
}


def head_of(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        return file.read(size)


def decompressed(path: Path, target: Path, max_bytes: int) -> Path:
    """Return `path`, or `target` with its content when it is compressed.

    Raises:
        UploadTooLargeError: it grows over `max_bytes`, or as only a bomb does.
        InvalidFileError: the compressed data is damaged or cut off.
    """
    compression = next(
        (name for magic, name in COMPRESSIONS.items() if head_of(path, 4).startswith(magic)), None
    )
    if compression is None:
        return path
    size_in, size_out = path.stat().st_size, 0
    try:
        with pa.input_stream(str(path), compression=compression) as source, target.open("wb") as to:
            while chunk := source.read(COPY_BYTES):
                size_out += len(chunk)
                if size_out > max_bytes:
                    raise UploadTooLargeError("decompressed, the file is too large", max_bytes)
                if size_out > max(RATIO_APPLIES_FROM_BYTES, size_in * RATIO_MAX):
                    raise UploadTooLargeError(
                        f"the file grows more than {RATIO_MAX} times when it is decompressed",
                        size_in * RATIO_MAX,
                    )
                to.write(chunk)
    except (OSError, EOFError, pa.ArrowException) as error:
        raise InvalidFileError(f"the {compression} data is damaged or cut off") from error
    return target


def format_of(upload: Upload, path: Path, declared: Format | None) -> Format:
    """Return the format of the decompressed file at `path`.

    Raises:
        InvalidFileError: it is not what was declared, or it is empty.
        UnknownFormatError: nothing says what it is.
    """
    head = head_of(path, 16)
    if not head:
        raise InvalidFileError("the file is empty")
    for magic, what in STRANGERS.items():
        if head.startswith(magic):
            raise UnknownFormatError(f"the file, which is {what},")
    is_parquet = head.startswith(PARQUET_MAGIC)
    named = declared or by_name(upload.filename) or by_media_type(upload.content_type)
    if is_parquet:
        if declared not in (None, "parquet"):
            raise InvalidFileError(f"the file is Parquet, not {declared} as the request says")
        return "parquet"
    if named == "parquet":
        raise InvalidFileError("the file is not Parquet: it does not begin with PAR1")
    if named is None:
        raise UnknownFormatError(f"the file {upload.filename!r}" if upload.filename else "the body")
    return named


def by_name(filename: str | None) -> Format | None:
    name = (filename or "").lower()
    for suffix in (".gz", ".gzip", ".zst", ".zstd"):
        name = name.removesuffix(suffix)
    return SUFFIXES.get(Path(name).suffix)


def by_media_type(content_type: str | None) -> Format | None:
    return MEDIA_TYPES.get((content_type or "").partition(";")[0].strip().lower())


def as_utf8(path: Path, target: Path, encoding: str | None, max_bytes: int) -> Path:
    """Return `path`, or `target` with its text in UTF-8 when it is in another encoding.

    UTF-16 and UTF-32 are known by their byte order mark; all else must be declared.

    Raises:
        InvalidLoadError: there is no such encoding.
        InvalidFileError: the text is not in it; names the line.
    """
    head = head_of(path, 4)
    # UTF-32's mark begins with UTF-16's, so the longest one counts.
    marks = sorted((mark for mark in BOMS if head.startswith(mark)), key=len)
    found = BOMS[marks[-1]] if marks else None
    try:
        name = codecs.lookup(encoding or found or "utf-8").name
    except LookupError as error:
        raise InvalidLoadError(f"there is no encoding {encoding!r}; try latin-1") from error
    if name == "utf-8":
        return path
    size, line = 0, 1
    try:
        with (
            path.open(encoding=name, newline="") as source,
            target.open("w", encoding="utf-8", newline="") as to,
        ):
            while text := source.read(COPY_BYTES):
                size += len(text)
                if size > max_bytes:
                    raise UploadTooLargeError("the file is too large", max_bytes)
                to.write(text)
                line += text.count("\n")
    except UnicodeError as error:
        raise InvalidFileError(f"after line {line} the text is not {name}: {error}") from error
    return target
