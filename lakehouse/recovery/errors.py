"""Why something cannot be recovered."""

from pathlib import Path

from lakehouse.errors import NotFoundError


class NoWarehouseError(NotFoundError):
    def __init__(self, path: Path) -> None:
        super().__init__(f"there is no warehouse at {path}: nothing to rebuild a catalog from")
