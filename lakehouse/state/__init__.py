"""The one door to the catalog's database, a file or PostgreSQL, and to the data directory."""

from lakehouse.state.data_directory import (
    DataDirectory,
    begun_restore,
    held_as_it_is,
    owner_id,
    replace_catalog,
    served_at,
)
from lakehouse.state.errors import (
    CatalogInUseError,
    CatalogLostError,
    DataDirectoryInUseError,
    LeaseLostError,
    StateTooNewError,
    UniqueViolationError,
)
from lakehouse.state.expiry import expire_idempotency_keys, keep_expiring
from lakehouse.state.files import sync_directory, write_whole
from lakehouse.state.lease import Lease, keep_lease
from lakehouse.state.opening import catalog_server, move_catalog, open_state
from lakehouse.state.sharing import close_catalog, share
from lakehouse.state.sqlite import SqliteState, damage_in
from lakehouse.state.state import State
from lakehouse.state.transactions import Transaction

__all__ = [
    "CatalogInUseError",
    "CatalogLostError",
    "DataDirectory",
    "DataDirectoryInUseError",
    "Lease",
    "LeaseLostError",
    "SqliteState",
    "State",
    "StateTooNewError",
    "Transaction",
    "UniqueViolationError",
    "begun_restore",
    "catalog_server",
    "close_catalog",
    "damage_in",
    "expire_idempotency_keys",
    "held_as_it_is",
    "keep_expiring",
    "keep_lease",
    "move_catalog",
    "open_state",
    "owner_id",
    "replace_catalog",
    "served_at",
    "share",
    "sync_directory",
    "write_whole",
]
