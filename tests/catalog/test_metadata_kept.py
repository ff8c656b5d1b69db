"""Metadata that is kept in memory is weighed by its bytes."""

import tracemalloc
from functools import partial

from lakehouse.catalog.tables import METADATA_CACHED_BYTES, Change, Draft, LoadedTable
from tests.catalog.lake import Lake, main

TEXT_BYTES = 4 * 1024 * 1024
COMMITS = 20


def with_text(number: int, table: LoadedTable | None) -> Draft:
    text = f"{number}" + "x" * TEXT_BYTES
    return Draft([{"action": "set-properties", "updates": {"long": text}}])


def test_long_properties_do_not_fill_the_memory(lake: Lake) -> None:
    lake.write("t", "SELECT 1 AS id, 'a' AS name")
    tracemalloc.start()
    for number in range(COMMITS):
        lake.catalog._tables.commit([Change(main("t"), partial(with_text, number))])
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < METADATA_CACHED_BYTES + 2 * TEXT_BYTES < COMMITS * TEXT_BYTES
    assert lake.metadata("t")["properties"]["long"].startswith(f"{COMMITS - 1}x")
