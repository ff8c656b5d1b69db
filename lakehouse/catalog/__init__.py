"""Tables by name: namespaces, Iceberg tables, snapshots, and the commit that moves them."""

from lakehouse.catalog.catalog import Catalog
from lakehouse.catalog.differences import ADDED_COLUMNS, Differing
from lakehouse.catalog.erasing import Erased
from lakehouse.catalog.errors import (
    CommitFailedError,
    DroppedTableNotFoundError,
    EmptyTableError,
    FilesKeptError,
    IdempotencyInFlightError,
    IdempotencyMismatchError,
    InputsGoneError,
    InvalidViewError,
    NamespaceExistsError,
    NamespaceNotEmptyError,
    NamespaceNotFoundError,
    NameTakenError,
    NothingToRelocateError,
    SchemaChangedError,
    SchemaDriftError,
    SnapshotNotFoundError,
    TableDamagedError,
    TableExistsError,
    TableInUseError,
    TableKnownError,
    TableNotFoundError,
    UnsupportedTypeError,
    ViewDamagedError,
    ViewExistsError,
    ViewNotFoundError,
)
from lakehouse.catalog.evolution import next_wider
from lakehouse.catalog.files import NeededFile, needed_files
from lakehouse.catalog.fingerprint import dataset_id, fingerprint
from lakehouse.catalog.idempotency import Idempotency, Once, owner
from lakehouse.catalog.layout import NotRewritableError
from lakehouse.catalog.loading import WriteMode
from lakehouse.catalog.lossless import DATE_TEXT, NOT_FINITE, TIME_TEXT, ZONE_TEXT, text_pattern
from lakehouse.catalog.metadata import FORMAT_VERSION
from lakehouse.catalog.models import (
    Adopt,
    Column,
    DatasetObject,
    RebuildReport,
    RelocatedTable,
    Snapshot,
    TableName,
)
from lakehouse.catalog.namespaces import ensure_namespace
from lakehouse.catalog.outside import Commit, NewTable
from lakehouse.catalog.rebuild import Rebuild
from lakehouse.catalog.relocate import check_root, relocate
from lakehouse.catalog.row_changes import Changed
from lakehouse.catalog.row_plans import RowCounts
from lakehouse.catalog.rules import Rules, deletes_files, outdated_references, rules_of
from lakehouse.catalog.table import (
    AsOf,
    Pinned,
    TableRef,
    TableState,
    Where,
    Written,
    is_of_another_engine,
    known_fingerprint,
    read_as_of,
)
from lakehouse.catalog.tables import LoadedTable, check_may_write
from lakehouse.catalog.types import duckdb_type, iceberg_type
from lakehouse.catalog.views import LoadedView
from lakehouse.catalog.writing import Rows
from lakehouse.names import (
    InvalidNameError,
    check_column_names,
    check_table_name,
    folded,
    parse_table_name,
)

__all__ = [
    "ADDED_COLUMNS",
    "DATE_TEXT",
    "FORMAT_VERSION",
    "NOT_FINITE",
    "TIME_TEXT",
    "ZONE_TEXT",
    "Adopt",
    "AsOf",
    "Catalog",
    "Changed",
    "Column",
    "Commit",
    "CommitFailedError",
    "DatasetObject",
    "Differing",
    "DroppedTableNotFoundError",
    "EmptyTableError",
    "Erased",
    "FilesKeptError",
    "Idempotency",
    "IdempotencyInFlightError",
    "IdempotencyMismatchError",
    "InputsGoneError",
    "InvalidNameError",
    "InvalidViewError",
    "LoadedTable",
    "LoadedView",
    "NameTakenError",
    "NamespaceExistsError",
    "NamespaceNotEmptyError",
    "NamespaceNotFoundError",
    "NeededFile",
    "NewTable",
    "NotRewritableError",
    "NothingToRelocateError",
    "Once",
    "Pinned",
    "Rebuild",
    "RebuildReport",
    "RelocatedTable",
    "RowCounts",
    "Rows",
    "Rules",
    "SchemaChangedError",
    "SchemaDriftError",
    "Snapshot",
    "SnapshotNotFoundError",
    "TableDamagedError",
    "TableExistsError",
    "TableInUseError",
    "TableKnownError",
    "TableName",
    "TableNotFoundError",
    "TableRef",
    "TableState",
    "UnsupportedTypeError",
    "ViewDamagedError",
    "ViewExistsError",
    "ViewNotFoundError",
    "Where",
    "WriteMode",
    "Written",
    "check_column_names",
    "check_may_write",
    "check_root",
    "check_table_name",
    "dataset_id",
    "deletes_files",
    "duckdb_type",
    "ensure_namespace",
    "fingerprint",
    "folded",
    "iceberg_type",
    "is_of_another_engine",
    "known_fingerprint",
    "needed_files",
    "next_wider",
    "outdated_references",
    "owner",
    "parse_table_name",
    "read_as_of",
    "relocate",
    "rules_of",
    "text_pattern",
]
