"""Files of other formats, made into one that the engine reads as it is: NDJSON or Parquet.

Binary ones are never opened by the server: a child process reads them, and writes what is read.
"""

from dataclasses import replace
from pathlib import Path

from lakehouse.database import Connection, interruptible
from lakehouse.ingest.formats import Readable
from lakehouse.ingest.json_documents import as_lines
from lakehouse.ingest.spool import SpoolLimits
from lakehouse.taster import FileSizeError, Taster, grows_to


def converted(
    cursor: Connection,
    file: Readable,
    target: Path,
    *,
    limits: SpoolLimits,
    element_max_bytes: int,
    taster: Taster,
    sheet: str | None = None,
    header_row: int | None = None,
) -> Readable:
    """Return the file as the engine can read it, written to `target` where it is another.

    Raises:
        InvalidFileError, PoisonedFileError, FileMemoryError, FileTimeError: it cannot be read.
        RefusedFileError: it holds what no table can.
        FileSizeError, DiskFullError, QuotaUsedError: there is no room for what it becomes.
    """
    if file.format == "json":
        # Its lines are about as large as it is.
        limits.take(0, file.path.stat().st_size)
        return as_lines(cursor, file, target, element_max_bytes)
    if file.format not in ("arrow", "orc", "avro", "xlsx"):
        return file
    how = {"sheet": sheet, "header_row": header_row} if file.format == "xlsx" else {}
    room_bytes = max(limits.disk.usage().room_bytes, 0)
    most = min(limits.file_max_bytes, room_bytes)
    try:
        taster.convert(file.path, target, file.format, most, interruptible, **how)
    except FileSizeError:
        if most < grows_to(file.path):
            limits.disk.check(most + 1)  # it was the disk
        raise
    limits.take(0, target.stat().st_size)
    return replace(file, path=target, format="parquet", room_bytes=0)
