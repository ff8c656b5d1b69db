"""The files that are loaded: the same rows as CSV, NDJSON and Parquet, made once and kept."""

import os
import tempfile
from pathlib import Path

import duckdb

# 60 bytes a row as CSV: 5 M rows are 300 MB.
COLUMNS = {
    "id": "BIGINT",
    "at": "TIMESTAMP",
    "city": "VARCHAR",
    "amount": "DOUBLE",
    "paid": "BOOLEAN",
    "customer": "VARCHAR",
}
ROWS = """
    SELECT range AS id,
           TIMESTAMP '2026-01-01' + to_seconds(range % 31536000) AS at,
           'city ' || (hash(range) % 500) AS city,
           round((hash(range + 1) % 10000000) / 100, 2) AS amount,
           hash(range + 2) % 3 > 0 AS paid,
           'customer ' || lpad((hash(range + 3) % 1000000)::VARCHAR, 8, '0') AS customer
    FROM range({count})
"""
FORMATS = {
    "csv": "FORMAT csv, HEADER",
    "parquet": "FORMAT parquet, COMPRESSION zstd",
    "ndjson": "FORMAT json",
}
CONTENT_TYPES = {
    "csv": "text/csv",
    "parquet": "application/vnd.apache.parquet",
    "ndjson": "application/x-ndjson",
}


def folder() -> Path:
    """Return the folder that keeps generated files between runs."""
    path = Path(
        os.environ.get("LAKEHOUSE_BENCH_DATA", Path(tempfile.gettempdir()) / "lakehouse-bench")
    )
    path.mkdir(parents=True, exist_ok=True)
    return path


def rows_file(kind: str, count: int) -> Path:
    """Return a file of `count` rows in one of `FORMATS`."""
    path = folder() / f"rows-{count}.{kind}"
    if not path.exists():
        partial = path.with_suffix(".partial")
        with duckdb.connect(config={"temp_directory": f"{path}.spill"}) as connection:
            connection.execute(
                f"COPY ({ROWS.format(count=count)}) TO '{partial}' ({FORMATS[kind]})"
            )
        partial.rename(path)
    return path


def reader(kind: str, path: Path) -> str:
    """Return the relation DuckDB reads the file by, told its types: nothing to guess."""
    columns = ", ".join(f"'{name}': '{type_}'" for name, type_ in COLUMNS.items())
    return {
        "csv": f"read_csv('{path}', header = true, columns = {{{columns}}})",
        "ndjson": f"read_ndjson('{path}', columns = {{{columns}}})",
        "parquet": f"read_parquet('{path}')",
    }[kind]


def read_through(path: Path) -> None:
    """Bring a file into the page cache, for both sides."""
    with path.open("rb") as file:
        while file.read(16 * 1024 * 1024):
            pass


def sync(path: Path) -> None:
    """Make a file and its name durable, as our own commit does."""
    for each in (path, path.parent):
        descriptor = os.open(each, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
