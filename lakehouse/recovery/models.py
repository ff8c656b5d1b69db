"""Backups as they cross the wire, and as they lie in `backup.json`."""

from typing import Annotated

import msgspec


class BackupRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    directory: str | None = None
    """One of `backup.directories`; the first of them without."""
    verify: bool = False
    """Whether all that was backed up is read back."""


class BackedUpFile(msgspec.Struct, frozen=True, array_like=True):
    key: str
    """Below `warehouse/`."""
    size_bytes: int
    sha256: str


class Backup(msgspec.Struct, frozen=True):
    """`backup.json`: written last, so whatever has one is whole."""

    version: str
    """Of the lakehouse that made it."""
    made_at: str
    warehouse: str
    """The path that the tables' metadata names."""
    catalog: BackedUpFile
    files: list[BackedUpFile]
    damaged: dict[str, str] = {}
    """Tables that lacked a file already, and which."""


class BackupReport(msgspec.Struct, frozen=True):
    directory: str
    file_count: int
    size_bytes: int
    copied_files: int
    """The others were in the backup before: they are hard links."""
    copied_bytes: int
    damaged: dict[str, str]
    verified: bool


class RestoreReport(msgspec.Struct, frozen=True):
    source: str
    made_at: str
    file_count: int
    size_bytes: int
    tables: Annotated[int, msgspec.Meta(ge=0)]
    damaged: dict[str, str]
