"""ingest-ndjson: a file over REST against DuckDB's COPY of the same file."""

from benchmarks.loading import measure
from benchmarks.row import Row


def run(*, quick: bool, runs: int) -> list[Row]:
    return [measure("ndjson", quick=quick, runs=runs)]
