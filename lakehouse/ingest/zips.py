"""A zip of files: its entries become files of the load, each as if it had been sent by itself.

Only the names of entries are looked at, never their paths: nothing is written where they say.
"""

import errno
import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from lakehouse.ingest.errors import InvalidFileError, UnknownFormatError, UploadTooLargeError
from lakehouse.ingest.formats import (
    COPY_BYTES,
    RATIO_APPLIES_FROM_BYTES,
    RATIO_MAX,
    ZIP_MAGICS,
    Named,
    head_of,
    room_for,
)
from lakehouse.ingest.models import FILES_MAX, Format
from lakehouse.ingest.several import naming
from lakehouse.ingest.spool import HEAD_BYTES, SpoolFile, SpoolLimits, Upload

DIRECTORY_MAX_BYTES = 1024 * 1024
"""Of the list at the end of a zip, which is read at once."""
READABLE = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ENCRYPTED = 1
DAMAGED = "the zip archive is damaged or cut off"
DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError),
    *(ValueError, OverflowError, RuntimeError),  # of zipfile, by what the archive says of itself
)
IGNORED = ("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini")
WORKBOOK = {"[Content_Types].xml", "xl/workbook.xml"}
OTHERS = {
    "[Content_Types].xml": "an Office document, and no workbook of Excel 2007 or later",
    "content.xml": "an OpenDocument file (export its sheet as CSV)",
}


class Directory(io.FileIO):
    """A file of which no more than `DIRECTORY_MAX_BYTES` are read at once."""

    def read(self, size: int | None = -1) -> bytes:
        left = os.fstat(self.fileno()).st_size - self.tell()
        if min(left, left if size is None or size < 0 else size) > DIRECTORY_MAX_BYTES:
            raise UploadTooLargeError("the list of the zip's files is long", DIRECTORY_MAX_BYTES)
        return super().read(-1 if size is None else size) or b""


def is_zip(upload: Upload) -> bool:
    return head_of(upload.path, 4, upload.room_bytes) in ZIP_MAGICS


def is_workbook(upload: Upload) -> bool:
    """Whether a zip is a workbook of Excel, which is read whole; by the names of its entries."""
    with Directory(upload.path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                return set(archive.namelist()) >= WORKBOOK
        except (*DAMAGE, OSError):
            return False  # `entries_of` says what is wrong with it


def entries_of(
    upload: Upload, new_path: Callable[[], Path], declared: Format | None, limits: SpoolLimits
) -> list[Upload]:
    """Unpack a zip, each of its files to a new path, and return them in its order.

    Raises:
        InvalidFileError: it is damaged, encrypted, or empty.
        UnknownFormatError: it is a workbook, or packed in a way that we do not read.
        UploadTooLargeError: it has too many files, or they grow as only a bomb does.
    """
    with Directory(upload.path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                found = [each for each in archive.infolist() if is_wanted(each)]
                check(found, archive.namelist())
                return list(unpacked(archive, found, upload.size_bytes, new_path, declared, limits))
        except DAMAGE as error:
            raise InvalidFileError(DAMAGED) from error
        except OSError as error:
            if error.errno != errno.EINVAL:  # it says that something lies before its beginning
                raise
            raise InvalidFileError(DAMAGED) from error


def is_wanted(entry: zipfile.ZipInfo) -> bool:
    path = PurePosixPath(entry.filename)
    return not entry.filename.endswith("/") and not any(
        part in IGNORED or part.startswith("._") for part in path.parts
    )


def check(entries: list[zipfile.ZipInfo], names: list[str]) -> None:
    for mark, what in OTHERS.items():
        if mark in names:
            raise UnknownFormatError(f"the file is {what}")
    if not entries:
        raise InvalidFileError("there is no file in the zip archive")
    if len(entries) > FILES_MAX:
        raise InvalidFileError(
            f"the zip archive has {len(entries)} files; {FILES_MAX} are the most of one load"
        )
    for entry in entries:
        with naming(entry.filename):
            if entry.flag_bits & ENCRYPTED:
                raise InvalidFileError("it is encrypted; zip it without a password")
            if entry.compress_type not in READABLE:
                raise UnknownFormatError("it is packed in another way than with deflate")


def unpacked(
    archive: zipfile.ZipFile,
    entries: list[zipfile.ZipInfo],
    size_in: int,
    new_path: Callable[[], Path],
    declared: Format | None,
    limits: SpoolLimits,
) -> Iterator[Upload]:
    grows_to = max(RATIO_APPLIES_FROM_BYTES, size_in * RATIO_MAX)
    written = 0
    for entry in entries:
        named = Named(PurePosixPath(entry.filename).name, None)
        with naming(entry.filename), archive.open(entry) as source:
            head = source.read(HEAD_BYTES)
            if head.startswith(ZIP_MAGICS):
                raise InvalidFileError("it is a zip in a zip, or a workbook: send that by itself")
            path, room = new_path(), room_for(head, declared, named)
            target = SpoolFile(path, limits.after(written), room)
            try:
                while head:
                    target.write(head)
                    if written + target.size_bytes > grows_to:
                        raise UploadTooLargeError(
                            f"the zip grows more than {RATIO_MAX} times when it is unpacked",
                            size_in * RATIO_MAX,
                        )
                    head = source.read(COPY_BYTES // 8)
            finally:
                target.close()
        written += target.size_bytes
        yield Upload(
            path, target.size_bytes, target.sha256, named.filename, None, room, entry.filename
        )
