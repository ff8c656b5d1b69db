"""Spark, told what to do: a statement comes as a line of JSON, its rows go back as one.

Runs in Spark's own environment, so nothing of ours is imported.
"""

import json
import sys
from typing import Any

from pyspark.sql import SparkSession  # type: ignore[import-not-found]


def main() -> None:
    builder = SparkSession.builder.appName("tests").master("local[1]")
    for name, value in json.loads(sys.argv[1]).items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("OFF")
    for line in sys.stdin:
        try:
            rows = [list(row) for row in spark.sql(json.loads(line)).collect()]
            answer: dict[str, Any] = {"rows": rows}
        except Exception as error:
            answer = {"error": str(error)[:2000]}
        print(f"answer {json.dumps(answer, default=str)}", flush=True)


if __name__ == "__main__":
    main()
