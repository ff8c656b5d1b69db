"""Every setting there is, with its default, its bounds and its meaning.

A field's docstring is its line in `docs/configuration.md` and in `lakehouse.example.toml`.
"""

import re
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import parse_qs, urlsplit

import msgspec

from lakehouse.config.errors import BrokenRulesError
from lakehouse.config.memory import memory_shares

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Rule = tuple[str, str]
"""A setting that does not go with another one, and why."""

WAREHOUSE = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
SOURCE = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9_=-][A-Za-z0-9._=-]*)*")

MIB = 1024 * 1024
GIB = 1024 * MIB
BODY_MAX_BYTES = 4 * MIB
"""Largest JSON body, for every route: the contract says so, so it is no setting."""


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address. Of names only `localhost`: others may move."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def is_network(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return False
    return True


def is_below(uri: str, prefix: str) -> bool:
    """Whether an object or a prefix lies at a prefix of a bucket, or below it."""
    return f"{uri}/".startswith(f"{prefix}/")


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of each table in `lakehouse.toml`: immutable, and a misspelt key is an error."""

    def __post_init__(self) -> None:
        if rules := list(self.broken_rules()):
            raise BrokenRulesError(rules)

    def broken_rules(self) -> Iterator[Rule]:
        """Yield each setting that does not go with another one, and why."""
        yield from ()


class ServerConfig(Section, frozen=True):
    """Where it listens, where its data lies, how it stops."""

    host: str = "127.0.0.1"
    """Address to listen on. Any other than loopback takes `external` and a token."""
    external: bool = False
    """Whether an address that other machines reach may be listened on."""
    port: Port = 3110
    """TCP port to listen on."""
    data_dir: Path | None = None
    """Directory in which everything lies. Unset: `$STATE_DIRECTORY`, else `./lakehouse-data`."""
    allowed_hosts: tuple[str, ...] = ()
    """Names, besides those of loopback, that a request may give as its Host; without a port."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose web pages may ask, as `https://app.example`; without any, none may."""
    trusted_proxies: tuple[str, ...] = ()
    """Networks of proxies whose `X-Forwarded-For` is believed: `10.0.0.7`, `10.0.0.0/8`."""
    shutdown_grace_s: Annotated[int, msgspec.Meta(ge=0, le=22)] = 20
    """Seconds that accepted requests get to finish after SIGTERM, before they are interrupted."""

    def broken_rules(self) -> Iterator[Rule]:
        if not is_loopback(self.host) and not self.external:
            yield (
                "host",
                f"{self.host!r} is reached by other machines: say server.external = true as well,"
                " and create a token",
            )
        for origin in self.cors_origins:
            if not re.fullmatch(r"https?://[a-z0-9._-]+(:\d+)?", origin):
                yield "cors_origins", f"{origin!r} is no origin: `https://app.example`, no path"
        for text in self.trusted_proxies:
            if not is_network(text):
                yield "trusted_proxies", f"{text!r} is no network: 10.0.0.7, or 10.0.0.0/8"
        for name in self.allowed_hosts:
            if not re.fullmatch(r"[a-z0-9._-]+|\[[0-9a-f:.]+\]", name):
                yield (
                    "allowed_hosts",
                    f"{name!r} is no host name in lower case, without scheme and port",
                )


class AuthConfig(Section, frozen=True):
    """Who needs a token, and who a proxy vouches for. Tokens: `lakehouse token`."""

    open_routes: tuple[Literal["/ready", "/metrics"], ...] = ()
    """Routes, besides /health, that are answered without a token."""
    proxy_user_header: str | None = None
    """Header in which a trusted proxy names a user that it has checked: `X-Forwarded-User`."""
    proxy_users: tuple[str, ...] = ()
    """The token whose grants such a user has: `ada=analysts`."""

    def broken_rules(self) -> Iterator[Rule]:
        for pair in self.proxy_users:
            user, _, token = pair.partition("=")
            if not user or not token:
                yield "proxy_users", f"{pair!r} is not `user=token`"
        if self.proxy_users and not self.proxy_user_header:
            yield "proxy_users", "nothing says who it is: set auth.proxy_user_header as well"


class AuditConfig(Section, frozen=True):
    """The log of who did what: `SELECT * FROM lakehouse.audit`, for an admin."""

    keep_days: Positive = 90
    """Days that a row is kept."""
    rows_max: Positive = 200_000
    """Rows kept, the newest; about 300 bytes each in `catalog.db`."""


class MemoryConfig(Section, frozen=True):
    """One budget for the whole process."""

    max_bytes: Annotated[int, msgspec.Meta(ge=512 * MIB)] | None = None
    """Bytes the process may use. Unset: 60 % of its cgroup's limit, or of the machine's memory."""


class DiskConfig(Section, frozen=True):
    """The reserve of the disk, below which nothing is added: 507."""

    reserve_bytes: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """Bytes left free for commits, drops and deletes. Unset: a tenth of the disk, at most 2 GiB."""


class StorageConfig(Section, frozen=True):
    """Where the warehouse lies: a directory, or a bucket. And its raw objects: `/v1/storage`."""

    warehouse: str | None = None
    """`s3://bucket/prefix`, for tables and objects. Unset: `warehouse` in the data directory."""
    endpoint: str = "https://s3.amazonaws.com"
    """The S3 server: `http://127.0.0.1:9000`; without a path."""
    region: str = "us-east-1"
    """The region that requests are signed for."""
    path_style: bool = True
    """Whether the bucket stands in the path of a request, or in its host name."""
    credentials_file: Path | None = None
    """File with the keys, read again when it changes. Unset: `AWS_*`, systemd's `s3`, the role."""
    sources: tuple[str, ...] = ()
    """`s3://bucket/prefix` at `endpoint` that loads may read from; without any, none is read."""
    cache_max_bytes: Annotated[int, msgspec.Meta(ge=0)] = 256 * MIB
    """Bytes on this disk for copies of the metadata of tables in a bucket; 0 keeps none."""
    group: str | None = None
    """Group of this host whose members may read and write the files of tables on disk."""
    put_max_bytes: Positive = 256 * MIB
    """Largest object that PUT takes, in bytes."""
    vectors_put_max_bytes: Positive = 4 * GIB
    """Largest object that PUT takes under `_vectors/`, in bytes."""
    put_concurrency_max: Positive = 4
    """PUTs at once; one more gets 503."""

    def broken_rules(self) -> Iterator[Rule]:
        if self.warehouse is not None and not WAREHOUSE.fullmatch(self.warehouse):
            yield (
                "warehouse",
                f"{self.warehouse!r} is not `s3://bucket/prefix` in plain letters",
            )
        if self.warehouse is not None and self.group is not None:
            yield "group", "is of a warehouse on disk; who reads a bucket its keys say"
        if not re.fullmatch(r"https?://[A-Za-z0-9.-]+(:\d+)?", self.endpoint):
            yield "endpoint", f"{self.endpoint!r} is not `https://host`, with a port or without"
        if not re.fullmatch(r"[a-z0-9-]+", self.region):
            yield "region", f"{self.region!r} is not the name of a region"
        for source in self.sources:
            if not SOURCE.fullmatch(source):
                yield "sources", f"{source!r} is not `s3://bucket/prefix` in plain letters"
            elif self.warehouse is not None and (
                is_below(source, self.warehouse) or is_below(self.warehouse, source)
            ):
                yield (
                    "sources",
                    f"{source!r} overlaps with storage.warehouse: loads would read all tables",
                )
        if self.vectors_put_max_bytes < self.put_max_bytes:
            yield (
                "vectors_put_max_bytes",
                "is below storage.put_max_bytes: files of vectors are the larger objects",
            )


class CatalogConfig(Section, frozen=True):
    """Where the catalog lies, and what it keeps of requests."""

    uri: str | None = None
    """`postgresql://user@host/database`, without a password. Unset: in the data directory."""
    password_file: Path | None = None
    """File with the password for `uri`. Unset: systemd's credential `catalog-password`, or none."""
    connections_max: Annotated[int, msgspec.Meta(ge=2)] = 8
    """Connections to `uri` at once; who finds none within 5 s gets 503."""
    idempotency_keys_days: Positive = 30
    """Days that an idempotency key and its answer are kept."""
    backup_interval_s: Positive = 300
    """Seconds between copies of the catalog into the warehouse."""

    def broken_rules(self) -> Iterator[Rule]:
        if self.uri is None:
            if self.password_file is not None:
                yield "password_file", "is of catalog.uri, which is not set"
            return
        try:
            parts = urlsplit(self.uri)
        except ValueError:
            yield "uri", "is no address: postgresql://user@host/database"
            return
        if parts.scheme not in ("postgresql", "postgres"):
            yield "uri", "is no address of PostgreSQL: postgresql://user@host/database"
        elif parts.password is not None or "password" in parse_qs(parts.query):
            yield "uri", "holds a password: put that into a file, and set catalog.password_file"


class IcebergConfig(Section, frozen=True):
    """Other engines, by the Iceberg REST catalog protocol."""

    checks_commits: bool = True
    """Whether files that a commit names are looked at. Off only for tests of the protocol."""


class IngestConfig(Section, frozen=True):
    """Loads: `/v1/ingest` and `/v1/tables/{table}/rows`."""

    max_bytes: Positive = 64 * GIB
    """Largest upload, in bytes; never more than the free disk minus its reserve."""
    spool_max_bytes: Positive = 256 * GIB
    """Bytes of disk for all uploads that arrive, wait or are loaded; one more gets 503."""
    sample_rows: Positive = 1000
    """Rows that column types are inferred from."""
    bad_rows_reported_max: Positive = 20
    """Rows that a problem or a report names."""
    columns_max: Positive = 2000
    """Columns of a table."""
    partitions_max: Positive = 1000
    """Partitions that one load may write; more is 422."""
    line_max_bytes: Positive = 2 * MIB
    """Longest line of a CSV, longest object of an NDJSON, in bytes."""
    concurrency_max: Positive = 4
    """Loads at once; one more gets 503."""

    def broken_rules(self) -> Iterator[Rule]:
        if self.line_max_bytes > self.max_bytes:
            yield (
                "line_max_bytes",
                "is over ingest.max_bytes: a line cannot be longer than the upload it is in",
            )


class QueryConfig(Section, frozen=True):
    """Statements and their results: `/v1/sql`."""

    timeout_s: Positive = 60
    """Seconds a statement may run."""
    change_timeout_s: Positive = 600
    """Seconds that a change by SQL may take while its client waits; as a job it has no limit."""
    max_result_bytes: Positive = 64 * MIB
    """Bytes of JSON rows in one answer; the rest is spooled and read by `next`."""
    sql_max_bytes: Positive = 256 * 1024
    """Longest SQL text, in bytes."""
    nodes_max: Positive = 10_000
    """Nodes of a statement's tree."""
    concurrency_max: Positive = 32
    """Statements at once, streams included; one more gets 503."""
    spill_max_bytes: Positive = 64 * GIB
    """Bytes of disk that sorts and joins larger than their memory may use, all together."""
    results_max_bytes: Positive = 8 * GIB
    """Bytes of disk for results that wait to be read; one more gets 503."""

    def broken_rules(self) -> Iterator[Rule]:
        if self.sql_max_bytes > BODY_MAX_BYTES:
            yield (
                "sql_max_bytes",
                f"is over the {BODY_MAX_BYTES:,} bytes that any JSON body may have, and SQL comes"
                " in one",
            )


class EmbeddingConfig(Section, frozen=True):
    """Vectors of texts: `/v1/embed`, and by the model that ships with us unless more is said."""

    provider: Literal["auto", "static", "ollama"] = "auto"
    """Whose model is the default. `auto`: Ollama's if `ollama_url` is set, else our own."""
    ollama_url: str | None = None
    """Where Ollama answers: `http://127.0.0.1:11434`. Unset: it is not used."""
    ollama_model: str = "nomic-embed-text"
    """The model that Ollama is asked for."""
    deadline_s: Positive = 60
    """Seconds that the texts of one request may take."""
    cache_texts: Annotated[int, msgspec.Meta(ge=0)] = 10_000
    """Texts whose vectors are kept in memory."""
    cache_bytes: Annotated[int, msgspec.Meta(ge=0)] = 32 * MIB
    """Bytes that those texts and vectors may take."""

    def broken_rules(self) -> Iterator[Rule]:
        if self.provider == "ollama" and self.ollama_url is None:
            yield "provider", "says ollama: say embedding.ollama_url as well"
        if self.ollama_url is not None and not re.fullmatch(r"https?://[^/@]+/?", self.ollama_url):
            yield "ollama_url", f"{self.ollama_url!r} is no address: http://127.0.0.1:11434"


class VectorsConfig(Section, frozen=True):
    """Collections of vectors: `/v1/vectors`."""

    exact_max_rows: Annotated[int, msgspec.Meta(ge=1)] = 50_000
    """Items up to which a collection is searched exactly, in memory; above, by an index."""
    memory_index: bool = True
    """Whether larger ones that are searched get an index in memory, too, while it has room."""


class JobsConfig(Section, frozen=True):
    """Long work that was asked for with `Prefer: respond-async`: `/v1/jobs`."""

    concurrency_max: Positive = 4
    """Jobs that run at once; the others wait."""
    waiting_max: Positive = 100
    """Jobs that wait; one more gets 503."""
    keep_days: Positive = 7
    """Days that a job that ended is listed."""


class MaintenanceConfig(Section, frozen=True):
    """What is done to tables in the background; properties of a table go before most of it."""

    enabled: bool = True
    """Whether it is done by itself; `lakehouse maintenance run` works either way."""
    interval_s: Positive = 3600
    """Seconds between two looks at every table. A commit has its own table looked at at once."""
    snapshots_days: Annotated[int, msgspec.Meta(ge=0)] = 7
    """Days that snapshots are kept: `history.expire.max-snapshot-age-ms` of a table."""
    snapshots_min: Positive = 20
    """Snapshots kept however old they are: `history.expire.min-snapshots-to-keep`."""
    snapshots_max: Positive = 500
    """Snapshots kept however young they are: `lakehouse.history.max-snapshots-to-keep`."""
    target_file_bytes: Annotated[int, msgspec.Meta(ge=MIB)] = 128 * MIB
    """Size that small files are written together to: `write.target-file-size-bytes`."""
    files_min: Annotated[int, msgspec.Meta(ge=2)] = 5
    """Small files of a partition that are worth it."""
    manifests_min: Annotated[int, msgspec.Meta(ge=2)] = 50
    """Manifests of a snapshot that are merged: `commit.manifest.min-count-to-merge`."""
    orphans_days: Positive = 3
    """Days after which a file that no table names is removed, by the clock of the disk."""
    dropped_days: Annotated[int, msgspec.Meta(ge=0)] = 7
    """Days that a dropped table can be brought back, before its files go."""

    def broken_rules(self) -> Iterator[Rule]:
        if self.snapshots_max < self.snapshots_min:
            yield ("snapshots_max", "is below maintenance.snapshots_min: it would never be kept")


class BackupConfig(Section, frozen=True):
    """Backups: `/v1/backups` and `lakehouse backup`."""

    directories: tuple[str, ...] = ()
    """Absolute paths that a backup may go to, the first by default. Without any, none is made."""
    keep: Positive = 14
    """Backups that a directory keeps; older ones go once a new one is whole, no table damaged."""

    def broken_rules(self) -> Iterator[Rule]:
        for path in self.directories:
            if not Path(path).is_absolute():
                yield "directories", f"{path!r} is no absolute path"


class LogConfig(Section, frozen=True):
    """What is written to stderr: JSON lines, or words when it is a terminal."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """The least serious kind of line that is written."""


class Config(Section, frozen=True):
    """All settings. Read once, at start, and passed on as arguments."""

    server: ServerConfig = ServerConfig()
    auth: AuthConfig = AuthConfig()
    audit: AuditConfig = AuditConfig()
    memory: MemoryConfig = MemoryConfig()
    disk: DiskConfig = DiskConfig()
    storage: StorageConfig = StorageConfig()
    catalog: CatalogConfig = CatalogConfig()
    iceberg: IcebergConfig = IcebergConfig()
    ingest: IngestConfig = IngestConfig()
    query: QueryConfig = QueryConfig()
    embedding: EmbeddingConfig = EmbeddingConfig()
    vectors: VectorsConfig = VectorsConfig()
    jobs: JobsConfig = JobsConfig()
    maintenance: MaintenanceConfig = MaintenanceConfig()
    backup: BackupConfig = BackupConfig()
    log: LogConfig = LogConfig()

    def broken_rules(self) -> Iterator[Rule]:
        if self.auth.proxy_user_header and not self.server.trusted_proxies:
            yield "auth.proxy_user_header", "nobody may send it: set server.trusted_proxies as well"
        if self.server.external and not self.iceberg.checks_commits:
            yield (
                "iceberg.checks_commits",
                "is off: a writer of one table could read files of others; that is for loopback",
            )
        if self.memory.max_bytes is None:
            return
        share = memory_shares(self.memory.max_bytes).uploads_and_results
        if self.query.max_result_bytes > share:
            yield (
                "query.max_result_bytes",
                f"is over {share:,}, the part of memory.max_bytes for uploads and results: one"
                " page is made in memory",
            )
