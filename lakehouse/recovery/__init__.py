"""What is left, made whole again: catalogs rebuilt from the warehouse, tables that were moved."""

from lakehouse.recovery.rebuilding import Rebuilt, rebuild
from lakehouse.recovery.relocating import relocate_directory

__all__ = ["Rebuilt", "rebuild", "relocate_directory"]
