"""Run queries with chDB, in the benchmarks' own environment: `chdb_scan.py QUERIES RUNS FOLDER`.

Prints, as JSON, for each query the seconds of each run after a warm-up, or null if it failed.
"""

import json
import sys
import time
from pathlib import Path

from chdb.session import Session  # type: ignore[import-not-found]


def main(queries: list[str], runs: int, folder: Path) -> None:
    session = Session()
    session.query("CREATE DATABASE bench ENGINE = Atomic")
    session.query("USE bench")
    for path in folder.glob("*.parquet"):
        session.query(f"CREATE VIEW {path.stem} AS SELECT * FROM file('{path}', Parquet)")
    print(json.dumps([timed(session, text, runs) for text in queries]))


def timed(session: Session, text: str, runs: int) -> list[float] | None:
    taken = []
    for _ in range(runs + 1):
        began = time.perf_counter()
        try:
            session.query(text, "JSONCompact").bytes()
        except RuntimeError:
            return None
        taken.append(time.perf_counter() - began)
    return taken[1:]


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()), int(sys.argv[2]), Path(sys.argv[3]))
