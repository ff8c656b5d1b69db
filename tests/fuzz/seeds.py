"""Real files, small: what the inputs are made of."""

import io
import json
import struct
import tempfile
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import pyarrow as pa
import pyarrow.orc
import pyarrow.parquet as pq

from lakehouse.database import extension_file
from tests.avro import container, logical, text
from tests.fuzz.thrift import zigzag
from tests.workbooks import sheet_xml, workbook

ROWS = 60
from_runs: Any = pa.RunEndEncodedArray.from_arrays
array: Any = pa.array  # its stubs know few of these types
WORDS = ("Lyon", "Oslo", "", "Zürich", 'a "quoted" one', "two\nlines", "x" * 40, "007")
MOMENT = datetime(2024, 2, 29, 23, 59, 58, 123456, tzinfo=UTC)


@cache
def csv_seeds(delimiter: str) -> tuple[bytes, ...]:
    plain = [delimiter.join(("id", "city", "score", "at", "ok"))]
    plain += [
        delimiter.join((str(n), WORDS[n % 2], f"{n / 7:.3f}", f"2024-01-{n % 28 + 1:02}", "true"))
        for n in range(ROWS)
    ]
    quoted = [delimiter.join(("name", "note", "when"))]
    quoted += [
        delimiter.join(
            (str(n), '"' + WORDS[n % len(WORDS)].replace('"', '""') + '"', MOMENT.isoformat())
        )
        for n in range(ROWS)
    ]
    wide = [delimiter.join(f"c{n}" for n in range(40))]
    wide += [delimiter.join(str(n * row) if n % 3 else "" for n in range(40)) for row in range(8)]
    texts = ("\n".join(plain), "\r\n".join(quoted) + "\r\n", "\n".join(wide) + "\n")
    return (*(text.encode() for text in texts), ("\ufeff" + texts[0]).encode("utf-16"))


@cache
def ndjson_seeds() -> tuple[bytes, ...]:
    flat = [
        {"id": n, "city": WORDS[n % len(WORDS)], "score": n / 7, "at": MOMENT.isoformat()}
        for n in range(ROWS)
    ]
    nested = [
        {
            "id": n,
            "place": {"lat": 1.5 * n, "lon": -n, "tags": ["a", "b"]},
            "list": [{"x": n, "y": None}, {"x": n + 1, "y": "z"}],
            "none": None,
            "ok": n % 2 == 0,
        }
        for n in range(ROWS // 2)
    ]
    mixed = [{"id": n, f"k{n % 5}": [n, "n", n / 2][n % 3]} for n in range(ROWS)]
    return tuple(
        "".join(json.dumps(row) + "\n" for row in rows).encode() for rows in (flat, nested, mixed)
    )


@cache
def json_seeds() -> tuple[bytes, ...]:
    """Arrays on a line for each element, on one, on many; an object; one after the other."""
    flat, nested, mixed = (
        [json.loads(line) for line in each.splitlines()] for each in ndjson_seeds()
    )
    texts = (
        "[" + ",\n".join(map(json.dumps, flat)) + "]\n",
        json.dumps(nested),
        "\ufeff" + json.dumps(mixed, indent=2),
        json.dumps(nested[0], indent=2),
        "".join(json.dumps(row, indent=1) + "\n" for row in mixed),
    )
    return tuple(text.encode() for text in texts)


def flat_table() -> pa.Table:
    ids = range(ROWS)
    return pa.table(
        {
            "id": array(ids, pa.int64()),
            "small": array([n % 100 for n in ids], pa.int8()),
            "unsigned": array(ids, pa.uint32()),
            "ratio": array([n / 3 if n % 5 else None for n in ids], pa.float32()),
            "word": array([WORDS[n % len(WORDS)] for n in ids]),
            "raw": array([bytes([n]) * (n % 4) for n in ids], pa.binary()),
            "fixed": array([bytes([n]) * 16 for n in ids], pa.binary(16)),
            "yes": array([n % 3 == 0 for n in ids]),
            "price": array([Decimal(n).scaleb(-2) for n in ids], pa.decimal128(9, 2)),
            "large": array([Decimal(n).scaleb(-9) for n in ids], pa.decimal128(38, 9)),
            "day": array([date(2024, 1, 1) + timedelta(days=n) for n in ids]),
            "clock": array([time(n % 24, n % 60) for n in ids], pa.time64("us")),
            "at": array([MOMENT + timedelta(seconds=n) for n in ids], pa.timestamp("us", "UTC")),
            "fine": array([n * 1000 for n in ids], pa.timestamp("ns")),
        }
    )


def nested_table() -> pa.Table:
    ids = range(ROWS)
    inner = pa.struct([("x", pa.int32()), ("names", pa.list_(pa.string()))])
    return pa.table(
        {
            "id": array(ids, pa.int32()),
            "tags": array([["a", None, "b"][: n % 4] if n % 7 else None for n in ids]),
            "place": array([{"x": n, "names": ["p"] * (n % 3)} for n in ids], inner),
            "deep": array([[[n], []], None][n % 2] for n in ids),
            "pairs": array([[("k", n)] for n in ids], pa.map_(pa.string(), pa.int64())),
        }
    )


@cache
def parquet_seeds() -> tuple[bytes, ...]:
    """Several writers, encodings and compressions, pages of both versions, many row groups."""
    flat, nested = flat_table(), nested_table()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "seed.parquet"

        def by_arrow(table: pa.Table, **options: Any) -> bytes:
            pq.write_table(table, path, **options)
            return path.read_bytes()

        def by_duckdb(sql: str, options: str) -> bytes:
            with duckdb.connect(":memory:") as connection:
                connection.execute(f"COPY ({sql}) TO '{path}' (FORMAT parquet, {options})")
            return path.read_bytes()

        delta = {
            "id": "DELTA_BINARY_PACKED",
            "word": "DELTA_BYTE_ARRAY",
            "raw": "DELTA_LENGTH_BYTE_ARRAY",
            "ratio": "BYTE_STREAM_SPLIT",
            "yes": "RLE",
        }
        some = flat.select(list(delta))
        uuids = pa.table({"u": array([UUID(int=n).bytes for n in range(9)], pa.uuid())})
        return (
            by_arrow(flat, compression="none"),
            by_arrow(flat, compression="snappy", data_page_version="2.0"),
            by_arrow(flat, compression="zstd", row_group_size=20),
            by_arrow(flat, compression="gzip", use_dictionary=False),
            by_arrow(some, compression="lz4", use_dictionary=False, column_encoding=delta),
            by_arrow(some, compression="none", use_dictionary=False, column_encoding=delta),
            by_arrow(nested, compression="none"),
            by_arrow(nested, compression="snappy", data_page_version="2.0", write_page_index=True),
            by_arrow(nested.select(["deep", "tags"]), compression="brotli", data_page_size=64),
            by_arrow(flat.select(["fine", "at"]), use_deprecated_int96_timestamps=True),
            by_arrow(uuids, store_schema=True),
            by_arrow(flat.slice(0, 0)),
            by_duckdb(
                "SELECT i, i % 3 AS m, 'word ' || (i % 7) AS w, [i, NULL] AS l, {'a': i, 'b': [i]}"
                " AS s, MAP {'k': i} AS p, uuid() AS u, i::UTINYINT AS t, i::HUGEINT AS h"
                " FROM range(60) t(i)",
                "COMPRESSION zstd, PARQUET_VERSION v2",
            ),
            by_duckdb(
                "SELECT i, i / 7 AS d, 'w' || i AS w, now() AS at, TIME '12:34:56' AS c,"
                " INTERVAL 1 DAY AS v, '{}'::JSON AS j FROM range(60) t(i)",
                "COMPRESSION uncompressed, PARQUET_VERSION v2, DICTIONARY_SIZE_LIMIT 1",
            ),
        )


def packed_table() -> pa.Table:
    """Columns in the forms that Arrow alone has."""
    words = array([WORDS[n % len(WORDS)] for n in range(ROWS)])
    return pa.table(
        {
            "id": array(range(ROWS), pa.int64()),
            "word": words.dictionary_encode(),
            "inside": pa.ListArray.from_arrays(list(range(ROWS + 1)), words.dictionary_encode()),
            "runs": from_runs([ROWS // 2, ROWS], [7, None]),
            "view": array(WORDS[2:3] * ROWS, pa.string_view()),
            "half": array([n / 2 for n in range(ROWS)], pa.float16()),
            "list": array([[n, None] for n in range(ROWS)], pa.list_(pa.int32(), 2)),
        }
    )


@cache
def arrow_seeds() -> tuple[bytes, ...]:
    """Streams and files, plain and compressed, in several batches."""

    def by_arrow(make: Any, table: pa.Table, compression: Any = None) -> bytes:
        target, options = io.BytesIO(), pa.ipc.IpcWriteOptions(compression=compression)
        with make(target, table.schema, options=options) as writer:
            writer.write_table(table, max_chunksize=ROWS // 2)
        return target.getvalue()

    stream, file = pa.ipc.new_stream, pa.ipc.new_file
    flat, nested, packed = flat_table(), nested_table(), packed_table()
    return (
        by_arrow(stream, flat),
        by_arrow(stream, flat, "lz4"),
        by_arrow(stream, nested, "zstd"),
        by_arrow(stream, packed),
        by_arrow(file, flat),
        by_arrow(file, nested),
        by_arrow(file, packed, "lz4"),
    )


@cache
def orc_seeds() -> tuple[bytes, ...]:
    flat = flat_table().drop_columns(["unsigned", "fixed", "clock"])  # which ORC has not

    def by_arrow(table: pa.Table, **options: Any) -> bytes:
        target = io.BytesIO()
        pyarrow.orc.write_table(table, target, **options)
        return target.getvalue()

    packings = ("uncompressed", "zlib", "snappy", "lz4", "zstd")
    return (
        *(by_arrow(flat, compression=each) for each in packings),
        by_arrow(nested_table(), compression="uncompressed"),
        by_arrow(nested_table(), compression="zstd", dictionary_key_size_threshold=1.0),
    )


@cache
def avro_seeds() -> tuple[bytes, ...]:
    """By DuckDB with nested columns, and with the types that its writer has not."""
    extension = extension_file("avro")
    sql = (
        "SELECT i, i / 7 AS d, 'w' || i AS w, [i, NULL] AS l, {'a': i, 'b': ['x']} AS s,"
        " i % 2 = 0 AS yes FROM range(60) t(i)"
    )
    with tempfile.TemporaryDirectory() as folder, duckdb.connect(":memory:") as connection:
        path = Path(folder) / "seed.avro"
        connection.execute(f"LOAD '{extension}'")
        connection.execute(f"COPY ({sql}) TO '{path}' (FORMAT avro)")
        nested = path.read_bytes()
    fields: list[dict[str, Any]] = [
        {"name": "id", "type": "long"},
        {"name": "word", "type": ["null", "string"]},
        {"name": "at", "type": logical("long", "timestamp-micros")},
        {"name": "day", "type": logical("int", "date")},
        {"name": "price", "type": logical("bytes", "decimal", precision=9, scale=2)},
        {"name": "kind", "type": {"type": "enum", "name": "k", "symbols": ["A", "B"]}},
        {"name": "pairs", "type": {"type": "map", "values": "double"}},
    ]
    records = [
        zigzag(n)
        + (zigzag(1) + text(WORDS[n % len(WORDS)]) if n % 3 else zigzag(0))
        + zigzag(n * 10**12)
        + zigzag(n)
        + text((n - 9).to_bytes(2, "big", signed=True))
        + zigzag(n % 2)
        + zigzag(1)
        + text("k")
        + struct.pack("<d", n / 7)
        + b"\0"
        for n in range(ROWS)
    ]
    here = {"name": "here", "type": logical("long", "local-timestamp-nanos")}
    times: list[dict[str, Any]] = [
        {"name": "event", "type": {"type": "record", "name": "of.event", "fields": [here]}},
        {"name": "again", "type": ["null", "of.event"]},
        {"name": "ats", "type": {"type": "array", "items": logical("long", "timestamp-nanos")}},
    ]
    moments = [
        zigzag(n * 1000) + zigzag(1) + zigzag(-n) + zigzag(1) + zigzag(n * 1000) + b"\0"
        for n in range(ROWS)
    ]
    plain = container(fields, records)
    return nested, plain, container(fields, records, "deflate"), container(times, moments)


@cache
def sheet_seeds() -> tuple[bytes, ...]:
    """Return the XML of sheets."""
    at = MOMENT.replace(tzinfo=None)
    typed: list[list[Any]] = [["id", "city", "score", "at", "day", "ok"]]
    typed += [[n, WORDS[n % 8], n / 7, at, at.date(), n % 2 == 0] for n in range(ROWS)]
    mixed: list[list[Any]] = [[None, "name", "long"], [None, None, None]]
    mixed += [[None, n if n % 2 else "x", timedelta(hours=n)] for n in range(ROWS)]
    wide: list[list[Any]] = [[f"c{n}" for n in range(200)], [None] * 150 + [1] * 50]
    return tuple(
        sheet_xml(dict(enumerate(each, start=1))).encode() for each in (typed, mixed, wide)
    )


@cache
def xlsx_seeds() -> tuple[bytes, ...]:
    return tuple(workbook({"S": each, "T": [["id"], [1]]}) for each in sheet_seeds())
