"""Other engines for tests, as `.ci/engines` brings them: Spark, Daft and dbt, and Apache's kit."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import duckdb

from lakehouse.database import extension_file
from tests.services import must_be_there

ICEBERG = "1.10.1"


def folder() -> Path:
    named = os.environ.get("LAKEHOUSE_ENGINES")
    return Path(named) if named else Path.home() / ".cache/lakehouse-services/engines"


def environment_of(engine: str) -> Path:
    """Return the programs of an engine's packages; skip the test where they are not there."""
    found = folder() / engine
    must_be_there((found / "packages").exists(), f"there is no {engine}: .ci/engines brings it")
    return found / "bin"


def jars(name: str) -> Sequence[Path]:
    """Return the files of `jars` or `rck`, by name; skip the test where they are not there."""
    found = sorted((folder() / f"{name}-{ICEBERG}").glob("*.jar"))
    is_there = bool(found) and shutil.which("java") is not None
    must_be_there(is_there, f"there is no Java with {name}-{ICEBERG}: .ci/engines brings them")
    return found


def duckdb_extensions(into: Path) -> Path:
    """Lay DuckDB's extensions where `INSTALL` finds them, without the network."""
    (platform,) = duckdb.sql("PRAGMA platform").fetchall()[0]
    place = into / f"v{duckdb.__version__}" / platform
    place.mkdir(parents=True, exist_ok=True)
    for name in ("avro", "httpfs", "iceberg"):
        (place / f"{name}.duckdb_extension").symlink_to(extension_file(name))
    return into
