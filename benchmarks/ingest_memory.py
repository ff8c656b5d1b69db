"""ingest-memory: ten times the file, the same peak."""

from benchmarks.files import CONTENT_TYPES, read_through, rows_file
from benchmarks.row import Figure, Row
from benchmarks.serving import lakehouse_server

FULL_ROWS, QUICK_ROWS = 5_000_000, 200_000
TIMES = 10
RATIO_MAX, PEAK_MAX_MB = 1.2, 1200


def run(*, quick: bool, runs: int) -> list[Row]:
    count = QUICK_ROWS if quick else FULL_ROWS
    small = [peak_mb(count) for _ in range(min(runs, 3))]
    large = [peak_mb(count * TIMES) for _ in range(min(runs, 3))]
    reference = Figure(f"file of a {TIMES}th", small)
    ours = Figure("lakehouse", large)
    ratio = ours.median / reference.median
    return [
        Row(
            name="ingest-memory",
            work=f"peak memory above idle, a CSV of {count * TIMES:,} rows",
            unit="MB",
            ours=ours,
            reference=reference,
            ratio=round(ratio, 3),
            target=f"<= {RATIO_MAX}x, and <= {PEAK_MAX_MB:,} MB",
            met=ratio <= RATIO_MAX and ours.median <= PEAK_MAX_MB,
            sizes={
                "rows": count * TIMES,
                "file_bytes": rows_file("csv", count * TIMES).stat().st_size,
            },
        )
    ]


def peak_mb(count: int) -> float:
    """Return how far one load lifts a server's resident memory above what it was at rest."""
    path = rows_file("csv", count)
    read_through(path)
    with lakehouse_server() as server:
        server.sql("SELECT 1")
        idle = server.resident_bytes()
        server.forget_peak()
        server.ingest("load", path, CONTENT_TYPES["csv"])
        return (server.resident_bytes("VmHWM") - idle) / 1e6
