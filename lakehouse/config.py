"""Settings: defaults, then the TOML file, then `LAKEHOUSE_*` variables. Read once, at start."""

import difflib
import os
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_origin

import msgspec

from lakehouse.errors import InvalidInputError

PREFIX = "LAKEHOUSE_"
OTHER_VARIABLES = frozenset(
    f"LAKEHOUSE_{name}"
    for name in ("TOKEN", "URL", "FAILPOINT", "PYTHON", "BENCH_DATA", "PROOF_REPORTS")
)
"""Ours, but no settings: a secret, the client's server, what tests and recipes use."""
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

    def __post_init__(self) -> None:
        if self.vectors_put_max_bytes < self.put_max_bytes:
            raise ValueError("vectors_put_max_bytes is below put_max_bytes; vectors are the larger")


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
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """The least important lines that are written to stderr."""


class Config(Section, frozen=True):
    server: ServerConfig = ServerConfig()
    memory: MemoryConfig = MemoryConfig()
    storage: StorageConfig = StorageConfig()
    catalog: CatalogConfig = CatalogConfig()
    ingest: IngestConfig = IngestConfig()
    query: QueryConfig = QueryConfig()
    log: LogConfig = LogConfig()


class ConfigError(InvalidInputError):
    """Settings that cannot be used; `context["problems"]` has all of them, not just the first."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems), problems=problems)


def load_config(path: Path | None = None, environ: Mapping[str, str] = os.environ) -> Config:
    """Return the settings from `path` (TOML), overridden by `LAKEHOUSE_<SECTION>__<KEY>`.

    Raises:
        ConfigError: keys are unknown or values wrong; each is named with its line, all at once.
    """
    given, problems = from_file(path) if path else ([], [])
    given += from_environment(environ)
    known = {section.name: section.type for section in msgspec.structs.fields(Config)}
    names = [f"{name}.{key}" for name, type_ in known.items() for key in keys_of(type_)]
    values: dict[str, dict[str, Any]] = {name: {} for name in known}
    for item in given:
        if item.name not in names:
            near = difflib.get_close_matches(item.name, names, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]}?" if near else ""
            problems.append(f"{item.origin}: {item.name} is no setting{hint}")
            continue
        section, _, key = item.name.partition(".")
        try:
            values[section][key] = converted(known[section], key, item)
        except msgspec.ValidationError as error:
            problems.append(f"{item.origin}: {item.name}: {error}")
    sections = {}
    for name, type_ in known.items():
        try:
            sections[name] = type_(**values[name])
        except ValueError as error:  # a rule between fields
            problems.append(f"{path or 'the environment'}: {name}: {error}")
    if problems:
        raise ConfigError(problems)
    return Config(**sections)


@dataclass(frozen=True, slots=True)
class Given:
    """A setting as somebody wrote it."""

    name: str
    """`section.key`."""
    value: object
    origin: str
    is_text: bool
    """Whether it comes from a variable, which knows no types."""


def from_file(path: Path) -> tuple[list[Given], list[str]]:
    """Return the settings of a TOML file and what is wrong with its form."""
    try:
        text = path.read_text("utf-8")
        document = tomllib.loads(text)
    except OSError as error:
        return [], [f"{path}: it cannot be read: {error.strerror}"]
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        return [], [f"{path}: it is no TOML: {error}"]
    given, problems = [], []
    for section, values in document.items():
        if not isinstance(values, dict):
            problems.append(f"{path}:{line_of(text, '', section)}: {section} stands in no section")
            continue
        given += [
            Given(f"{section}.{key}", value, f"{path}:{line_of(text, section, key)}", False)
            for key, value in values.items()
        ]
    return given, problems


def line_of(text: str, section: str, key: str) -> int:
    """Return the line of a key, counted from 1; of its section when it is written otherwise."""
    current, found = "", 1
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if stripped.startswith("["):
            current = stripped.strip("[] ").partition("]")[0]
            found = number if current == section else found
        elif current == section and stripped.partition("=")[0].strip(" \"'") == key:
            return number
    return found


def from_environment(environ: Mapping[str, str]) -> list[Given]:
    return [
        Given(name.removeprefix(PREFIX).lower().replace("__", ".", 1), value, name, True)
        for name, value in sorted(environ.items())
        if name.startswith(PREFIX) and name not in OTHER_VARIABLES
    ]


def keys_of(section: type) -> list[str]:
    return [field.name for field in msgspec.structs.fields(section)]


def converted(section: type, key: str, item: Given) -> Any:
    field = next(each for each in msgspec.structs.fields(section) if each.name == key)
    value = item.value
    if item.is_text and get_origin(field.type) is tuple:
        value = [part.strip() for part in str(value).split(",") if part.strip()]
    return msgspec.convert(value, field.type, strict=not item.is_text, dec_hook=as_path)


def as_path(type_: type, value: object) -> Path:
    if type_ is Path and isinstance(value, str) and value:
        return Path(value)
    raise ValueError("Expected a path")


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
