"""What is left, made whole again: catalogs rebuilt from the warehouse."""

from lakehouse.recovery.rebuilding import Rebuilt, rebuild

__all__ = ["Rebuilt", "rebuild"]
