"""Spark in a process of its own, with the catalog of a server as `lake`."""

import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.engines import environment_of, jars
from tests.services import ServerProcess

DRIVER = Path(__file__).parent / "spark_driver.py"
CATALOG = "spark.sql.catalog.lake"


class SparkError(Exception):
    """What Spark says of a statement that failed."""


class Spark:
    def __init__(self, process: "subprocess.Popen[str]", log: Path) -> None:
        self._process = process
        self._log = log

    def __call__(self, sql: str) -> list[list[Any]]:
        """Return the rows of one statement.

        Raises:
            SparkError: it failed.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(sql) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            kind, _, said = line.partition(" ")
            if kind == "answer":
                answer = json.loads(said)
                if "error" in answer:
                    raise SparkError(answer["error"])
                return list(answer["rows"])
        raise SparkError(f"Spark is gone: {self._log.read_text()[-2000:]}")


@contextmanager
def spark_on(server: ServerProcess, **more: str) -> Iterator[Spark]:
    """Run Spark until the block ends; the test is skipped where there is none.

    Args:
        more: settings of the catalog.
    """
    python = environment_of("spark") / "python"
    with tempfile.TemporaryDirectory(prefix="lakehouse-spark-") as folder:
        settings: Mapping[str, str] = {
            "spark.jars": ",".join(map(str, jars("jars"))),
            "spark.ui.enabled": "false",
            "spark.sql.shuffle.partitions": "2",
            "spark.sql.warehouse.dir": folder,
            "spark.driver.extraJavaOptions": f"-Dderby.system.home={folder}",
            "spark.sql.extensions": (
                "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions"
            ),
            CATALOG: "org.apache.iceberg.spark.SparkCatalog",
            f"{CATALOG}.type": "rest",
            f"{CATALOG}.uri": f"{server.url}/iceberg",
            f"{CATALOG}.cache-enabled": "false",
            **{f"{CATALOG}.{key}": value for key, value in more.items()},
        }
        log = Path(folder) / "log"
        with (
            log.open("w") as errors,
            subprocess.Popen(
                [python, str(DRIVER), json.dumps(settings)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=folder,
            ) as process,
        ):
            try:
                yield Spark(process, log)
            finally:
                assert process.stdin is not None
                process.stdin.close()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
