"""A file over REST against DuckDB's own COPY in process: shared by the three ingest rows."""

import itertools
import tempfile
import time
from pathlib import Path

from benchmarks.files import CONTENT_TYPES, read_through, reader, rows_file, sync
from benchmarks.row import Figure, Row, alternate, compared
from benchmarks.serving import lakehouse_server
from benchmarks.store import beside, connection, current, new_reference
from lakehouse.catalog.writing import ZSTD_LEVEL

FULL_ROWS, QUICK_ROWS = 5_000_000, 200_000
AT_MOST = 1.25


def measure(kind: str, *, quick: bool, runs: int) -> Row:
    count = QUICK_ROWS if quick else FULL_ROWS
    path = rows_file(kind, count)
    read_through(path)
    numbers = itertools.count()
    with (
        lakehouse_server() as server,
        connection() as engine,
        tempfile.TemporaryDirectory(prefix="lakehouse-bench-") as folder,
    ):

        def ours() -> float:
            table = f"load_{next(numbers)}"
            began = time.perf_counter()
            server.ingest(table, path, CONTENT_TYPES[kind])
            taken = time.perf_counter() - began
            server.drop(table)
            return taken

        def reference() -> float:
            target = new_reference(Path(folder), "copy.parquet")
            began = time.perf_counter()
            engine.execute(
                f"COPY (FROM {reader(kind, path)}) TO '{target}' "
                f"(FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL {ZSTD_LEVEL})"
            )
            if current() == "disk":
                sync(Path(target))
            engine.execute(f"SELECT count(*) FROM read_parquet('{target}')").fetchall()
            return time.perf_counter() - began

        mine, theirs = alternate(ours, reference, runs)
    return compared(
        f"ingest-{kind}",
        f"{count:,} rows of {kind} over REST, until committed and readable",
        "s",
        mine,
        Figure(f"DuckDB COPY in process, zstd level {ZSTD_LEVEL} as ours{beside()}", theirs),
        at_most=AT_MOST,
        sizes={"rows": count, "file_bytes": path.stat().st_size},
    )
