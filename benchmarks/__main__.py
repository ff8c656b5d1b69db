"""`just bench [row ...] [--quick]`: measure, print each row as JSON, keep them all.

Rows go to `benchmarks/results/<date>.json` and, as a table, beside it. Nothing else should run
on the machine meanwhile.
"""

import argparse
import sys
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import msgspec

from benchmarks.row import Report, as_table, report

RESULTS = Path(__file__).with_name("results")
ROWS = (
    "ingest-csv",
    "ingest-parquet",
    "ingest-ndjson",
    "ingest-memory",
    "append-small",
    "append-concurrent",
    "sql-overhead",
    "sql-rate",
    "sql-auth",
    "sql-scan",
    "sql-prune",
    "embed-rate",
    "vector-exact",
    "vector-ann",
    "start",
)
RUNS, QUICK_RUNS = 5, 2


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--quick", action="store_true", help="small sizes: does it work at all?")
    parser.add_argument("--runs", type=int, help=f"measured runs of each side, {RUNS} by default")
    options = parser.parse_args(arguments)
    if unknown := set(options.rows) - set(ROWS):
        parser.error(f"no such row: {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")

    reports: list[Report] = []
    for name in options.rows or ROWS:
        module = import_module(f"benchmarks.{name.replace('-', '_')}")
        runs = options.runs or (QUICK_RUNS if options.quick else RUNS)
        for row in module.run(quick=options.quick, runs=runs):
            reports.append(report(row, options.quick))
            print(msgspec.json.encode(reports[-1]).decode(), flush=True)
    print(as_table(reports))
    if not options.quick:
        keep(reports)
    return 0


def keep(reports: list[Report]) -> None:
    """Write the rows under today's date; a row measured again today replaces the earlier one."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{datetime.now(UTC).date()}.json"
    before = msgspec.json.decode(path.read_bytes(), type=list[Report]) if path.exists() else []
    again = {each.row.name for each in reports}
    kept = [*(each for each in before if each.row.name not in again), *reports]
    kept.sort(key=lambda each: ROWS.index(each.row.name))
    path.write_bytes(msgspec.json.format(msgspec.json.encode(kept), indent=2) + b"\n")
    path.with_suffix(".md").write_text(as_table(kept))


if __name__ == "__main__":
    sys.exit(main())
