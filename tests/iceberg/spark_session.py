"""Runs in Spark's own environment: SQL in, a line each; rows out, a line of JSON each.

Its settings come as one JSON document in the first argument.
"""

import json
import sys
from typing import Any


def main() -> None:
    from pyspark.sql import SparkSession  # type: ignore[import-not-found]

    builder = SparkSession.builder
    for name, value in json.loads(sys.argv[1]).items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    for line in sys.stdin:
        print(json.dumps(answered(spark, json.loads(line)), default=str), flush=True)


def answered(spark: Any, statement: str) -> dict[str, Any]:
    try:
        return {"rows": [list(row) for row in spark.sql(statement).collect()]}
    except Exception as error:  # the test says what it expects
        return {"error": str(error).partition("\n")[0]}


if __name__ == "__main__":
    main()
