"""Avro is written as it is read: one whole file, whatever the batches, with every value."""

import random
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from lakehouse.database import Connection, Database, DatabaseSettings, extension_file
from lakehouse.query import avro
from lakehouse.query.avro import Avro
from lakehouse.query.run_errors import UnencodableResultError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("avro")


@pytest.fixture(scope="module")
def cursor(folder: Path) -> Iterator[Connection]:
    """Behind the lock, which lets the engine write into `folder` and nowhere else."""
    settings = DatabaseSettings(
        directories=(folder,),
        temp_dir=folder / "spill",
        memory_max_bytes=1 << 29,
        temp_max_bytes=1 << 29,
    )
    with Database.open(settings) as database, database.cursor() as cursor:
        yield cursor


@pytest.fixture(scope="module")
def reader() -> Iterator[Connection]:
    with duckdb.connect() as connection:
        connection.execute(f"LOAD '{extension_file('avro')}'")
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


def written(cursor: Connection, folder: Path, schema: pa.Schema, *batches: pa.RecordBatch) -> bytes:
    writer = Avro(schema, cursor, folder)
    data = writer.head() + b"".join(map(writer.batch, batches)) + writer.tail()
    assert [path for path in folder.iterdir() if path.name.startswith("avro-")] == []
    return data


def read(reader: Connection, tmp_path: Path, data: bytes) -> pa.Table:
    path = tmp_path / "read.avro"
    path.write_bytes(data)
    return reader.execute(f"FROM read_avro('{path}')").to_arrow_table()


def blocks(data: bytes) -> list[int]:
    """Return how many rows each block has: a reader that knows nothing but the format."""

    def number(at: int) -> tuple[int, int]:
        value, shift = 0, 0
        while True:
            value |= (data[at] & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if data[at - 1] < 0x80:
                return (value >> 1) ^ -(value & 1), at

    assert data[:4] == b"Obj\x01"
    count, at = number(4)
    while count:
        assert count > 0
        for _ in range(2 * count):
            size, at = number(at)
            at += size
        count, at = number(at)
    mark, at = data[at : at + 16], at + 16
    found = []
    while at < len(data):
        rows, at = number(at)
        size, at = number(at)
        at += size
        assert data[at : at + 16] == mark
        at += 16
        found.append(rows)
    return found


def test_batches_of_any_size_become_one_file_in_their_order(
    cursor: Connection,
    reader: Connection,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(avro, "BATCH_ROWS", 10_000)
    numbers = list(range(70_000))
    table = pa.table({"id": numbers, "word": [f"{n}" * (n % 7) or None for n in numbers]})
    cuts = sorted(random.Random(1).sample(numbers, 40))
    parts = [table.slice(a, b - a) for a, b in zip([0, *cuts], [*cuts, 70_000], strict=True)]

    data = written(
        cursor, folder, table.schema, *(part.combine_chunks().to_batches()[0] for part in parts)
    )

    assert sum(blocks(data)) == 70_000
    assert len(blocks(data)) > 5
    assert read(reader, tmp_path, data).equals(table)


def test_a_large_batch_of_many_rows_keeps_its_order(
    cursor: Connection, reader: Connection, folder: Path, tmp_path: Path
) -> None:
    table = pa.table({"id": range(500_000)})
    data = written(cursor, folder, table.schema, *table.to_batches())
    assert read(reader, tmp_path, data).equals(table)


def test_no_rows_are_a_whole_file(
    cursor: Connection, reader: Connection, folder: Path, tmp_path: Path
) -> None:
    data = written(cursor, folder, pa.schema([("id", pa.int64())]))
    assert blocks(data) == []
    found = read(reader, tmp_path, data)
    assert (found.num_rows, found.schema.names) == (0, ["id"])


def test_a_value_that_has_the_mark_of_a_block_in_it_is_kept(
    cursor: Connection, reader: Connection, folder: Path, tmp_path: Path
) -> None:
    """The mark of the file, that is: the one of a batch is not known before it is written."""
    schema = pa.schema([("v", pa.binary())])
    writer = Avro(schema, cursor, folder)
    table = pa.table({"v": [writer.head()[-16:]] * 3}, schema=schema)
    data = writer.head() + writer.batch(table.to_batches()[0]) + writer.tail()
    assert read(reader, tmp_path, data).equals(table)


VALUES: list[tuple[str, Any]] = [
    ("true", True),
    ("(-128)::TINYINT", -128),
    ("200::UTINYINT", 200),
    ("60000::USMALLINT", 60_000),
    ("4000000000::UINTEGER", 4_000_000_000),
    ("(-9223372036854775808)::BIGINT", -(2**63)),
    ("1.5::FLOAT", 1.5),
    ("(-0.1)::DOUBLE", -0.1),
    ("(-1.25)::DECIMAL(9,2)", Decimal("-1.25")),
    ("'99999999999999999999999999999999999999'::DECIMAL(38,0)", Decimal("9" * 38)),
    ("'añ🦀'", "añ🦀"),
    (r"'\x00\xFF'::BLOB", b"\x00\xff"),
    ("[1, NULL, 3]", [1, None, 3]),
    ("[[200::UTINYINT]]", [[200]]),
    ("[1, 2]::INTEGER[2]", [1, 2]),
    ("{'a': 1::SMALLINT, 'b': {'a': 'x'}}", {"a": 1, "b": {"a": "x"}}),
    ("MAP {'k': 1::UTINYINT}", [("k", 1)]),
]


@pytest.mark.parametrize(("sql", "value"), VALUES, ids=[sql for sql, _ in VALUES])
def test_every_value_comes_back_and_so_does_its_absence(
    cursor: Connection, reader: Connection, folder: Path, tmp_path: Path, sql: str, value: Any
) -> None:
    found = reader.execute(f"SELECT {sql} AS v UNION ALL SELECT NULL").to_arrow_table()
    data = written(cursor, folder, found.schema, *found.to_batches())
    assert read(reader, tmp_path, data).column("v").to_pylist() == [value, None]


@pytest.mark.parametrize(
    "sql",
    [
        "DATE '1582-10-15'",
        "TIME '23:59:59.999999'",
        "TIMESTAMP '2026-01-02 03:04:05.123456'",
        "TIMESTAMP_S '1969-12-31 23:59:59'",
        "TIMESTAMP_MS '2026-01-02 03:04:05.123'",
        "TIMESTAMPTZ '2026-01-02 03:04:05.123456+05'",
        "TIMESTAMP_NS '2026-01-02 03:04:05.123456789'",
    ],
)
def test_times_come_back_to_the_microsecond(
    cursor: Connection, reader: Connection, folder: Path, tmp_path: Path, sql: str
) -> None:
    found = reader.execute(f"SELECT {sql} AS v").to_arrow_table()
    data = written(cursor, folder, found.schema, *found.to_batches())
    path = tmp_path / "read.avro"
    path.write_bytes(data)
    (back,) = reader.execute(f"SELECT v = {sql}, v::VARCHAR FROM read_avro('{path}')").fetchall()
    assert back[0] is True, back


@pytest.mark.parametrize("name", ["a b", "1st", "größe", "", 'a"b', "a-b"])
def test_a_name_that_avro_has_not_is_said_before_anything_is_sent(
    cursor: Connection, folder: Path, name: str
) -> None:
    for schema in (
        pa.schema([("id", pa.int64()), (name, pa.int64())]),
        pa.schema([("s", pa.struct([(name, pa.int64())]))]),
    ):
        with pytest.raises(UnencodableResultError, match=re.escape("letters, digits and `_`")):
            Avro(schema, cursor, folder)
    assert [path for path in folder.iterdir() if path.name.startswith("avro-")] == []


def test_a_type_that_avro_has_not_is_said_before_anything_is_sent(
    cursor: Connection, folder: Path
) -> None:
    with pytest.raises(UnencodableResultError, match="in avro"):
        Avro(pa.schema([("v", pa.month_day_nano_interval())]), cursor, folder)
