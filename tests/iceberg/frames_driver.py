"""Daft or Polars, told what to do: a request comes as a line of JSON, its answer goes back as one.

Runs in the engine's own environment, so nothing of ours is imported.
"""

import json
import sys
from typing import Any, Protocol

import pyarrow as pa
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.table import Table


class Engine(Protocol):
    def write(self, table: Table, columns: dict[str, list[Any]], mode: Any) -> None: ...
    def totals(self, table: Table, column: str, least: int) -> list[int]:
        """Return how many rows have an id of at least `least`, and the sum of a column there."""
        ...


class OfDaft:
    def __init__(self) -> None:
        import daft  # type: ignore[import-not-found]

        self._daft = daft

    def write(self, table: Table, columns: dict[str, list[Any]], mode: Any) -> None:
        self._daft.from_pydict(columns).write_iceberg(table, mode=mode)

    def totals(self, table: Table, column: str, least: int) -> list[int]:
        col, found = self._daft.col, self._daft.read_iceberg(table)
        found = found.where(col("id") >= least)
        sums = found.agg(col("id").count(), col(column).sum().alias("total")).to_pydict()
        return [sums["id"][0], sums["total"][0]]


class OfPolars:
    def __init__(self) -> None:
        import polars

        self._polars = polars

    def write(self, table: Table, columns: dict[str, list[Any]], mode: Any) -> None:
        self._polars.DataFrame(columns).write_iceberg(table, mode=mode)

    def totals(self, table: Table, column: str, least: int) -> list[int]:
        col, found = self._polars.col, self._polars.scan_iceberg(table)
        found = found.filter(col("id") >= least)
        sums = found.select(col("id").count(), col(column).sum().alias("total")).collect()
        return [sums["id"][0], sums["total"][0]]


def main() -> None:
    engine: Engine = OfDaft() if sys.argv[1] == "daft" else OfPolars()
    lake = RestCatalog("lake", **json.loads(sys.argv[2]))
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            if "columns" in asked:
                if "schema" in asked:
                    fields = [(name, pa.type_for_alias(of)) for name, of in asked["schema"].items()]
                    lake.create_table(asked["table"], schema=pa.schema(fields))
                table = lake.load_table(asked["table"])
                engine.write(table, asked["columns"], asked["mode"])
                said: Any = None
            else:
                table = lake.load_table(asked["table"])
                said = engine.totals(table, asked["column"], asked["least"])
            answer: dict[str, Any] = {"said": said}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"[:2000]}
        print(f"answer {json.dumps(answer)}", flush=True)


if __name__ == "__main__":
    main()
