"""TPC-H tables as Parquet files and its 22 queries, made by DuckDB's own generator."""

import json
import subprocess
from pathlib import Path

from benchmarks.files import folder
from benchmarks.rivals import NotHereError, environment

TABLES = ("customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier")
# Runs in the benchmarks' own environment: the generator is an extension we do not ship.
GENERATE = """
import json, pathlib, sys
from importlib.resources import files
import duckdb

scale, target = float(sys.argv[1]), pathlib.Path(sys.argv[2])
connection = duckdb.connect(config={"temp_directory": str(target / "spill")})
root = files("duckdb_extension_tpch") / "extensions" / f"v{duckdb.__version__}"
connection.execute(f"LOAD '{root}/tpch.duckdb_extension'")
connection.execute(f"CALL dbgen(sf = {scale})")
for (table,) in connection.execute("SHOW TABLES").fetchall():
    connection.execute(f"COPY {table} TO '{target}/{table}.parquet' (COMPRESSION zstd)")
queries = connection.execute("SELECT query FROM tpch_queries() ORDER BY query_nr").fetchall()
(target / "queries.json").write_text(json.dumps([text.strip().rstrip(";") for (text,) in queries]))
"""


def tpch(scale: float) -> tuple[dict[str, Path], list[str]]:
    """Return the Parquet file of each table, and the text of the 22 queries in order."""
    target = folder() / f"tpch-{scale:g}"
    if not (target / "queries.json").exists():
        target.mkdir(exist_ok=True)
        command = [str(environment() / "python"), "-c", GENERATE, str(scale), str(target)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NotHereError(f"TPC-H cannot be generated: {done.stderr.strip()[-500:]}")
    queries: list[str] = json.loads((target / "queries.json").read_text())
    return {name: target / f"{name}.parquet" for name in TABLES}, queries
