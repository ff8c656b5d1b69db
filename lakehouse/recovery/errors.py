"""Why something cannot be recovered."""

from pathlib import Path

from lakehouse.errors import InvalidInputError, NotFoundError


class NoWarehouseError(NotFoundError):
    def __init__(self, path: Path) -> None:
        super().__init__(f"there is no warehouse at {path}: nothing to rebuild a catalog from")


class OtherWarehouseError(InvalidInputError):
    def __init__(self, given: str, found: Path) -> None:
        super().__init__(f"the warehouse of this data directory is {found}, not {given}")
