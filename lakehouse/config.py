"""Settings: defaults, then the TOML file, then `LAKEHOUSE_*` variables. Read once, at start."""

import os
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec

from lakehouse.errors import InvalidInputError

PREFIX = "LAKEHOUSE_"
MEMORY_SHARE = 0.6
CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Positive = Annotated[int, msgspec.Meta(ge=1)]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of each table in `lakehouse.toml`: immutable, and a misspelt key is an error."""


class ServerConfig(Section, frozen=True):
    host: str = "127.0.0.1"
    """Address to listen on. Anything but loopback does not start yet: there are no tokens."""
    port: Port = 3110
    """TCP port to listen on."""
    data_dir: Path | None = None
    """Where everything lies. Unset: `$STATE_DIRECTORY`, else `./lakehouse-data`."""
    allowed_hosts: tuple[str, ...] = ()
    """Names, besides loopback's, that a request may give as its Host."""
    shutdown_grace_s: Annotated[int, msgspec.Meta(ge=0, le=25)] = 20
    """Seconds that accepted requests get to finish after SIGTERM, before they are interrupted."""


class MemoryConfig(Section, frozen=True):
    max_bytes: Annotated[int, msgspec.Meta(ge=512 * 1024 * 1024)] | None = None
    """Bytes the process may use. Unset: 60 % of the cgroup's limit, or of the machine's memory."""


class StorageConfig(Section, frozen=True):
    put_max_bytes: Positive = 256 * 1024 * 1024
    """Largest object that PUT takes, in bytes."""
    vectors_put_max_bytes: Positive = 4 * 1024 * 1024 * 1024
    """Largest object that PUT takes under `_vectors/`, in bytes."""
    put_concurrency_max: Positive = 4
    """PUTs at once; one more gets 503."""


class CatalogConfig(Section, frozen=True):
    idempotency_keys_days: Positive = 30
    """Days that an idempotency key and its answer are kept."""
    backup_interval_s: Positive = 300
    """Seconds between copies of `catalog.db` into the warehouse."""


class IngestConfig(Section, frozen=True):
    max_bytes: Positive = 64 * 1024 * 1024 * 1024
    """Largest upload, in bytes; never more than the free disk minus its reserve."""
    sample_rows: Positive = 1000
    """Rows that column types are inferred from."""
    bad_rows_reported_max: Positive = 20
    """Rows that a problem or a report names."""
    columns_max: Positive = 2000
    """Columns of a table."""
    line_max_bytes: Positive = 2 * 1024 * 1024
    """Longest line of a CSV, longest object of an NDJSON, in bytes."""
    concurrency_max: Positive = 4
    """Loads at once; one more gets 503."""


class QueryConfig(Section, frozen=True):
    timeout_s: Positive = 60
    """Seconds a statement may run."""
    max_result_bytes: Positive = 64 * 1024 * 1024
    """Bytes of JSON rows in one answer; the rest is spooled and read by `next`."""
    sql_max_bytes: Positive = 256 * 1024
    """Longest SQL text, in bytes."""
    nodes_max: Positive = 10_000
    """Nodes of a statement's tree."""
    concurrency_max: Positive = 32
    """Statements at once, streams included; one more gets 503."""


class LogConfig(Section, frozen=True):
    level: str = "INFO"
    """DEBUG, INFO, WARNING or ERROR."""


class Config(Section, frozen=True):
    server: ServerConfig = ServerConfig()
    memory: MemoryConfig = MemoryConfig()
    storage: StorageConfig = StorageConfig()
    catalog: CatalogConfig = CatalogConfig()
    ingest: IngestConfig = IngestConfig()
    query: QueryConfig = QueryConfig()
    log: LogConfig = LogConfig()


def load_config(path: Path | None = None, environ: Mapping[str, str] = os.environ) -> Config:
    """Return the settings from `path` (TOML), overridden by `LAKEHOUSE_<SECTION>__<KEY>`.

    Raises:
        InvalidInputError: a key is unknown or a value has the wrong type; the message names it.
    """
    values: dict[str, Any] = tomllib.loads(path.read_text()) if path else {}
    for name, value in environ.items():
        if name.startswith(PREFIX):
            section, _, key = name.removeprefix(PREFIX).lower().partition("__")
            values.setdefault(section, {})[key] = value
    try:
        return msgspec.convert(values, Config, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidInputError(f"bad setting: {error}") from error


@dataclass(frozen=True, slots=True)
class MemoryShares:
    """How the process's memory is split, in bytes."""

    duckdb: int
    vectors: int
    uploads_and_results: int
    rest: int


def memory_shares(max_bytes: int) -> MemoryShares:
    """Split the budget: half is DuckDB's own limit, the rest of the process needs its part."""
    duckdb, vectors, transfers = max_bytes // 2, max_bytes // 5, max_bytes // 6
    return MemoryShares(duckdb, vectors, transfers, max_bytes - duckdb - vectors - transfers)


def default_memory_bytes() -> int:
    """Return 60 % of what the cgroup allows (version 2 or 1), or of the machine's memory."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path in CGROUP_LIMITS:
        with suppress(OSError, ValueError):
            limits.append(int(path.read_text()))
    return int(min(limits) * MEMORY_SHARE)
