"""Other engines, set up as their users do it."""

import duckdb

from lakehouse.database import extension_file
from tests.services import ServerProcess


def attached(engine: duckdb.DuckDBPyConnection, server: ServerProcess, how: str) -> None:
    """Attach the catalog as `lake`.

    Args:
        how: it is told who we are, in the words of `ATTACH`.
    """
    for name in ("avro", "httpfs", "iceberg"):
        engine.load_extension(str(extension_file(name)))
    engine.execute(
        f"ATTACH '' AS lake (TYPE iceberg, ENDPOINT '{server.url}/iceberg', {how},"
        " DEFAULT_SCHEMA 'main')"
    )
