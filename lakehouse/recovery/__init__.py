"""What is left, made whole again: backups and restores, catalogs rebuilt, tables that moved."""

from lakehouse.recovery.backups import Backups
from lakehouse.recovery.models import BackupReport, RestoreReport
from lakehouse.recovery.rebuilding import Rebuilt, rebuild
from lakehouse.recovery.relocating import relocate_directory
from lakehouse.recovery.restoring import restore, verify

__all__ = [
    "BackupReport",
    "Backups",
    "Rebuilt",
    "RestoreReport",
    "rebuild",
    "relocate_directory",
    "restore",
    "verify",
]
