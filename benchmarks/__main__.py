"""`just bench [row ...] [--store minio] [--quick]`: measure, print each row as JSON, keep them all.

Rows go to `benchmarks/results/<date>.json` and, as a table, beside it. Nothing else should run
on the machine meanwhile.
"""

import argparse
import sys
from contextlib import nullcontext
from datetime import UTC, datetime
from importlib import import_module

import msgspec

from benchmarks.row import RESULTS, Report, as_table, report
from benchmarks.store import STORES, in_bucket

ROWS = (
    "ingest-csv",
    "ingest-parquet",
    "ingest-ndjson",
    "ingest-memory",
    "append-small",
    "append-concurrent",
    "iceberg-commit",
    "sql-overhead",
    "sql-rate",
    "sql-auth",
    "sql-scan",
    "sql-out",
    "sql-prune",
    "embed-rate",
    "embed-cached",
    "embed-together",
    "vector-exact",
    "vector-ann",
    "vector-filter",
    "vector-add",
    "vector-sizes",
    "start",
)
IN_BUCKET = (
    "ingest-csv",
    "ingest-parquet",
    "ingest-ndjson",
    "ingest-memory",
    "append-small",
    "append-concurrent",
    "iceberg-commit",
    "sql-overhead",
    "sql-scan",
    "sql-out",
    "sql-prune",
    "start",
)
"""Those that touch tables: of the others the warehouse shows nothing."""
RUNS, QUICK_RUNS = 5, 2


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--quick", action="store_true", help="small sizes: does it work at all?")
    parser.add_argument("--runs", type=int, help=f"measured runs of each side, {RUNS} by default")
    parser.add_argument(
        "--store", choices=STORES, default="disk", help="where the warehouse lies: disk, or minio"
    )
    options = parser.parse_args(arguments)
    rows = ROWS if options.store == "disk" else IN_BUCKET
    if unknown := set(options.rows) - set(rows):
        named = ", ".join(sorted(unknown))
        parser.error(f"no such row on {options.store}: {named}; there are {', '.join(rows)}")

    reports: list[Report] = []
    with nullcontext() if options.store == "disk" else in_bucket():
        for name in options.rows or rows:
            module = import_module(f"benchmarks.{name.replace('-', '_')}")
            runs = options.runs or (QUICK_RUNS if options.quick else RUNS)
            for row in module.run(quick=options.quick, runs=runs):
                placed = msgspec.structs.replace(row, store=options.store)
                reports.append(report(placed, options.quick))
                print(msgspec.json.encode(reports[-1]).decode(), flush=True)
    print(as_table(reports))
    if not options.quick:
        keep(reports)
    return 0


def keep(reports: list[Report]) -> None:
    """Write the rows under today's date, and beside them the newest that there were of others."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{datetime.now(UTC).date()}.json"
    newest = max(RESULTS.glob("*.json"), default=path)
    before = msgspec.json.decode(newest.read_bytes(), type=list[Report]) if newest.exists() else []
    again = {(each.row.name, each.row.store) for each in reports}
    kept = [*(each for each in before if (each.row.name, each.row.store) not in again), *reports]
    kept.sort(key=lambda each: (STORES.index(each.row.store), ROWS.index(each.row.name)))
    path.write_bytes(msgspec.json.format(msgspec.json.encode(kept), indent=2) + b"\n")
    path.with_suffix(".md").write_text(as_table(kept))


if __name__ == "__main__":
    sys.exit(main())
