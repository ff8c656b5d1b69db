"""Importing the client loads no engine: other programs embed it."""

import subprocess
import sys

HEAVY = "duckdb pyarrow pyiceberg litestar granian numpy lakehouse.catalog lakehouse.database"


def test_the_client_loads_no_engine() -> None:
    code = (
        "import sys, lakehouse.client;"
        f"print([name for name in {HEAVY.split()!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
