"""Apache Spark as another engine: one session for a test module, SQL in and rows out."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.engines import environment_of, jars
from tests.services import environment, stop

SESSION = Path(__file__).with_name("spark_session.py")


class SparkError(Exception):
    """Spark refused a statement; has its words."""


@dataclass
class Spark:
    process: "subprocess.Popen[str]"

    def sql(self, statement: str) -> list[list[Any]]:
        """Return the rows of a statement; dates and decimals as texts.

        Raises:
            SparkError: it was refused.
        """
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(statement) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SparkError("the session has ended")
        answer = json.loads(line)
        if "error" in answer:
            raise SparkError(answer["error"])
        rows: list[list[Any]] = answer["rows"]
        return rows

    def row(self, statement: str) -> list[Any]:
        """Return the one row of a statement."""
        (row,) = self.sql(statement)
        return row


@contextmanager
def spark_on(url: str, folder: Path, **more: str) -> Iterator[Spark]:
    """A session whose catalog `lake` is a server, until the block ends. Its log lies in `folder`.

    Args:
        more: settings of the catalog, such as `token`.
    """
    python = environment_of("spark") / "python"
    settings = {
        "spark.master": "local[2]",
        "spark.ui.enabled": "false",
        "spark.jars": ",".join(map(str, jars("jars"))),
        "spark.sql.extensions": (
            "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions"
        ),
        "spark.sql.catalog.lake": "org.apache.iceberg.spark.SparkCatalog",
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.session.timeZone": "UTC",
        **catalog_settings(
            {"type": "rest", "uri": f"{url}/iceberg", "cache-enabled": "false", **more}
        ),
    }
    with (
        (folder / "spark.log").open("w") as log,
        subprocess.Popen(
            [python, SESSION, json.dumps(settings)],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment(),
        ) as process,
    ):
        try:
            yield Spark(process)
        finally:
            stop(process)


def catalog_settings(properties: Mapping[str, str]) -> dict[str, str]:
    return {f"spark.sql.catalog.lake.{name}": value for name, value in properties.items()}
