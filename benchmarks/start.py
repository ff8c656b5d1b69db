"""start: `lakehouse serve` to ready over a directory that is in use, and its memory at rest."""

import tempfile
from pathlib import Path

from benchmarks.files import CONTENT_TYPES, rows_file
from benchmarks.row import Figure, Row
from benchmarks.serving import lakehouse_server

TABLES, QUICK_TABLES = 100, 10
ROWS = 1_000
START_MAX_S, RSS_MAX_MB = 3.0, 450


def run(*, quick: bool, runs: int) -> list[Row]:
    tables = QUICK_TABLES if quick else TABLES
    path = rows_file("parquet", ROWS)
    with tempfile.TemporaryDirectory(prefix="lakehouse-bench-") as folder:
        data_dir = Path(folder) / "data"
        with lakehouse_server(data_dir) as server:
            for number in range(tables):
                server.ingest(f"table_{number}", path, CONTENT_TYPES["parquet"])
        starts_s, resident_mb = [], []
        for _ in range(runs + 1):
            with lakehouse_server(data_dir) as server:
                starts_s.append(server.start_s)
                resident_mb.append(server.resident_bytes() / 1e6)
    start, resident = Figure("to ready", starts_s[1:]), Figure("at rest", resident_mb[1:])
    return [
        row("to ready", "s", start, START_MAX_S, tables),
        row("resident memory at rest", "MB", resident, RSS_MAX_MB, tables),
    ]


def row(work: str, unit: str, figure: Figure, at_most: float, tables: int) -> Row:
    return Row(
        name="start",
        work=f"{work}, {tables} tables",
        unit=unit,
        ours=figure,
        target=f"<= {at_most:g} {unit}",
        met=figure.median <= at_most,
        sizes={"tables": tables, "rows_each": ROWS},
    )
