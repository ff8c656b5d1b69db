"""Logs of ours in SQL: their rows are of the engine's memory, which counts them."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from lakehouse.database import Connection, Database, DatabaseSettings
from lakehouse.query import Log

MIB = 1024**2
BATCHES, ROWS, TEXT_BYTES = 64, 1_024, 1_024
FIELDS: list[tuple[str, pa.DataType]] = [("id", pa.int64()), ("path", pa.string())]
SCHEMA = pa.schema(FIELDS)


def read(take: Callable[[pa.RecordBatch], None]) -> None:
    """64 MiB in all, 1 MiB at a time."""
    for number in range(BATCHES):
        ids = range(number * ROWS, (number + 1) * ROWS)
        texts = [f"{each:0{TEXT_BYTES}}" for each in ids]
        take(pa.record_batch([pa.array(ids, pa.int64()), pa.array(texts)], schema=SCHEMA))


def figures_of(cursor: Connection) -> tuple[int, int, int]:
    """Return rows, bytes in the engine's memory, and bytes on the disk, of a log that is copied."""
    name = Log(SCHEMA, read).copied(cursor)
    (rows,) = cursor.execute(f"SELECT count(*) FROM {name}").fetchall()[0]
    (sizes,) = cursor.execute(
        "SELECT sum(memory_usage_bytes), sum(temporary_storage_bytes) FROM duckdb_memory()"
    ).fetchall()
    return rows, int(sizes[0]), int(sizes[1])


async def test_rows_of_a_log_count_as_memory_and_go_to_the_disk_where_there_is_little(
    tmp_path: Path,
) -> None:
    for memory_mib, spills in ((512, False), (48, True)):
        settings = DatabaseSettings(
            directories=(tmp_path,),
            temp_dir=tmp_path / f"spill{memory_mib}",
            memory_max_bytes=memory_mib * MIB,
            temp_max_bytes=1024 * MIB,
            threads=2,
        )
        with Database.open(settings) as database:
            rows, in_memory, on_disk = await database.run(figures_of)
            assert rows == BATCHES * ROWS
            assert in_memory <= memory_mib * MIB
            assert in_memory + on_disk > BATCHES * ROWS * TEXT_BYTES // 2
            assert (on_disk > 0) == spills


async def test_a_log_that_was_read_is_gone_with_its_cursor(tmp_path: Path) -> None:
    settings = DatabaseSettings(
        directories=(tmp_path,),
        temp_dir=tmp_path / "spill",
        memory_max_bytes=512 * MIB,
        temp_max_bytes=1024 * MIB,
    )
    left = "SELECT count(*) FROM duckdb_tables()"
    with Database.open(settings) as database:
        await database.run(figures_of)
        assert await database.run(lambda cursor: cursor.execute(left).fetchall()) == [(0,)]
