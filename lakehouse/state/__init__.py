"""The one door to `catalog.db`, and to the data directory that it lies in."""

from lakehouse.state.data_directory import DataDirectory
from lakehouse.state.errors import (
    CatalogInUseError,
    DataDirectoryInUseError,
    LeaseLostError,
    StateTooNewError,
)
from lakehouse.state.expiry import expire_idempotency_keys, keep_expiring
from lakehouse.state.lease import Lease, keep_lease
from lakehouse.state.state import State, Transaction, UniqueViolationError

__all__ = [
    "CatalogInUseError",
    "DataDirectory",
    "DataDirectoryInUseError",
    "Lease",
    "LeaseLostError",
    "State",
    "StateTooNewError",
    "Transaction",
    "UniqueViolationError",
    "expire_idempotency_keys",
    "keep_expiring",
    "keep_lease",
]
