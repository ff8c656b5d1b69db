"""Every DuckDB type as JSON: exact, and read back equal."""

import base64
import csv
import io
import math
import struct
import subprocess
import sys
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from threading import Event
from types import SimpleNamespace
from typing import Any

import duckdb
import orjson
import pyarrow as pa
import pyarrow.orc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.query import encoding
from lakehouse.query.formats import (
    ArrowStream,
    Csv,
    Encoder,
    JsonArray,
    Ndjson,
    Orc,
    Parquet,
    unique,
)
from lakehouse.query.running import WITHOUT_ARROW, WITHOUT_ORC, WITHOUT_PARQUET, Result, run
from tests.services import environment

BIG = 170141183460469231731687303715884105727

# (SQL, type as DuckDB names it, JSON)
TYPES = [
    ("true", "BOOLEAN", "true"),
    ("(-128)::TINYINT", "TINYINT", "-128"),
    ("(-32768)::SMALLINT", "SMALLINT", "-32768"),
    ("(-2147483648)::INTEGER", "INTEGER", "-2147483648"),
    ("(-9223372036854775808)::BIGINT", "BIGINT", "-9223372036854775808"),
    ("255::UTINYINT", "UTINYINT", "255"),
    ("65535::USMALLINT", "USMALLINT", "65535"),
    ("4294967295::UINTEGER", "UINTEGER", "4294967295"),
    ("18446744073709551615::UBIGINT", "UBIGINT", "18446744073709551615"),
    (f"{BIG}::HUGEINT", "HUGEINT", f'"{BIG}"'),
    (f"(-{BIG} - 1)::HUGEINT", "HUGEINT", f'"-{BIG + 1}"'),
    (f"{2 * BIG + 1}::UHUGEINT", "UHUGEINT", f'"{2 * BIG + 1}"'),
    (f"'{BIG}{BIG}'::BIGNUM", "BIGNUM", f'"{BIG}{BIG}"'),
    ("1.50::DECIMAL(9,2)", "DECIMAL(9,2)", '"1.50"'),
    ("(-0.05)::DECIMAL(4,2)", "DECIMAL(4,2)", '"-0.05"'),
    ("0::DECIMAL(38,10)", "DECIMAL(38,10)", '"0.0000000000"'),
    ("(-0.0000000001)::DECIMAL(38,10)", "DECIMAL(38,10)", '"-0.0000000001"'),
    ("(-12.5)::DECIMAL(18,9)", "DECIMAL(18,9)", '"-12.500000000"'),
    ("0.1::FLOAT", "FLOAT", "0.1"),
    ("1::DOUBLE", "DOUBLE", "1.0"),
    ("'-0'::DOUBLE", "DOUBLE", "-0.0"),
    ("1e22::DOUBLE", "DOUBLE", "1e+22"),
    ("5e-324::DOUBLE", "DOUBLE", "5e-324"),
    ("'nan'::DOUBLE", "DOUBLE", '"NaN"'),
    ("'inf'::FLOAT", "FLOAT", '"Infinity"'),
    ("'-inf'::DOUBLE", "DOUBLE", '"-Infinity"'),
    ("'é\"\\😀'", "VARCHAR", '"é\\"\\\\😀"'),
    ("e'\\n\\t\\x01'", "VARCHAR", '"\\n\\t\\u0001"'),
    ("''", "VARCHAR", '""'),
    ("'\\xFF\\x00a'::BLOB", "BLOB", '"/wBh"'),
    ("'1010'::BIT", "BIT", '"1010"'),
    (
        "'8d5f8a6e-0000-4000-8000-000000000001'::UUID",
        "UUID",
        '"8d5f8a6e-0000-4000-8000-000000000001"',
    ),
    ("'b'::ENUM('a', 'b')", "ENUM('a', 'b')", '"b"'),
    ("""'{"a": 1}'::JSON""", "JSON", '"{\\"a\\": 1}"'),
    ("DATE '2020-02-29'", "DATE", '"2020-02-29"'),
    ("'infinity'::DATE", "DATE", '"infinity"'),
    ("'-infinity'::DATE", "DATE", '"-infinity"'),
    ("'0044-03-15 (BC)'::DATE", "DATE", '"-0043-03-15"'),
    ("DATE '5881580-07-10'", "DATE", '"5881580-07-10"'),
    ("TIME '12:00:00'", "TIME", '"12:00:00"'),
    ("TIME '12:00:00.5'", "TIME", '"12:00:00.500000"'),
    ("TIME '24:00:00'", "TIME", '"24:00:00"'),
    ("TIME_NS '12:00:00.123456789'", "TIME_NS", '"12:00:00.123456789"'),
    ("TIMETZ '12:00:00+05:30'", "TIME WITH TIME ZONE", '"12:00:00+05:30"'),
    ("TIMESTAMP '2020-01-01 12:00:00'", "TIMESTAMP", '"2020-01-01T12:00:00"'),
    ("TIMESTAMP '2020-01-01 12:00:00.000001'", "TIMESTAMP", '"2020-01-01T12:00:00.000001"'),
    ("'infinity'::TIMESTAMP", "TIMESTAMP", '"infinity"'),
    ("'290309-12-22 (BC) 00:00:00'::TIMESTAMP", "TIMESTAMP", '"-290308-12-22T00:00:00"'),
    ("TIMESTAMP '294247-01-10 04:00:54.775806'", "TIMESTAMP", '"294247-01-10T04:00:54.775806"'),
    (
        "TIMESTAMPTZ '2020-01-01 12:00:00+02'",
        "TIMESTAMP WITH TIME ZONE",
        '"2020-01-01T10:00:00Z"',
    ),
    ("'-infinity'::TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE", '"-infinity"'),
    ("TIMESTAMP_S '2020-01-01 12:00:00'", "TIMESTAMP_S", '"2020-01-01T12:00:00"'),
    ("TIMESTAMP_MS '2020-01-01 12:00:00.1'", "TIMESTAMP_MS", '"2020-01-01T12:00:00.100"'),
    (
        "TIMESTAMP_NS '2020-01-01 12:00:00.123456789'",
        "TIMESTAMP_NS",
        '"2020-01-01T12:00:00.123456789"',
    ),
    ("'infinity'::TIMESTAMP_NS", "TIMESTAMP_NS", '"infinity"'),
    ("INTERVAL '14 months -3 days 04:05:06.7'", "INTERVAL", '"P1Y2M-3DT4H5M6.7S"'),
    ("INTERVAL '-1.5 seconds'", "INTERVAL", '"PT-1.5S"'),
    ("INTERVAL '0 days'", "INTERVAL", '"PT0S"'),
    ("'POINT (1 2)'::GEOMETRY", "GEOMETRY", '"POINT (1 2)"'),
    ("{'a': 1}::VARIANT", "VARIANT", '"{\\"a\\":1}"'),
    ("[1, NULL, 3]", "INTEGER[]", "[1,null,3]"),
    ("[[], NULL, [NULL]]", "INTEGER[][]", "[[],null,[null]]"),
    ("['a', 'b']::VARCHAR[2]", "VARCHAR[2]", '["a","b"]'),
    ("[TIMETZ '12:00:00+01']", "TIME WITH TIME ZONE[]", '["12:00:00+01"]'),
    (
        "{'a': 1, 'b': [{'c\"': 1.5::DECIMAL(4,1)}]}",
        'STRUCT(a INTEGER, b STRUCT("c""" DECIMAL(4,1))[])',
        '{"a":1,"b":[{"c\\"":"1.5"}]}',
    ),
    ("row(1, 'x')", "STRUCT(INTEGER, VARCHAR)", '[1,"x"]'),
    ("MAP {'a': 1, 'b': NULL}", "MAP(VARCHAR, INTEGER)", '{"a":1,"b":null}'),
    ("MAP {1: 'x'}", "MAP(INTEGER, VARCHAR)", '{"1":"x"}'),
    ("MAP {'nan'::DOUBLE: 1, 1.5: 2}", "MAP(DOUBLE, INTEGER)", '{"NaN":1,"1.5":2}'),
    ("MAP {['a']: 1}", "MAP(VARCHAR[], INTEGER)", '{"[\\"a\\"]":1}'),
    ("MAP {}::MAP(INTEGER, DATE)", "MAP(INTEGER, DATE)", "{}"),
    (
        "[1::UNION(a INTEGER, b VARCHAR), 'x'::UNION(a INTEGER, b VARCHAR)]",
        "UNION(a INTEGER, b VARCHAR)[]",
        '[1,"x"]',
    ),
    ("union_value(b := '1'::BIT)", "UNION(b BIT)", '"1"'),
]


@pytest.fixture(scope="module")
def connection() -> Any:
    connection = duckdb.connect(":memory:", config={"threads": 1})
    connection.execute("SET TimeZone = 'UTC'")
    yield connection
    connection.close()


def result_of(connection: Any, sql: str, *, lost: frozenset[str] = WITHOUT_ARROW) -> Result:
    statement: Any = SimpleNamespace(sql=sql, tables=())
    return run(connection, statement, None, Event(), lost=lost)


def rows(batch: pa.RecordBatch) -> Any:
    texts = encoding.content(encoding.json_rows(batch), but_last=len(encoding.BETWEEN_ROWS))
    return orjson.loads(b"[[" + texts + b"]]")


@pytest.mark.parametrize(("sql", "type_", "text"), TYPES, ids=[f"{t}: {s}" for s, t, _ in TYPES])
def test_each_type_is_exact(connection: Any, sql: str, type_: str, text: str) -> None:
    result = result_of(connection, f"SELECT {sql} AS v")

    assert [column.type for column in result.columns] == [type_]
    (batch,) = result.batches
    assert encoding.json_text(batch.column(0)).to_pylist() == [text]
    orjson.loads(text)


@pytest.mark.parametrize(("sql", "type_", "text"), TYPES, ids=[f"{t}: {s}" for s, t, _ in TYPES])
def test_each_type_is_null_among_others(connection: Any, sql: str, type_: str, text: str) -> None:
    if type_ == "VARCHAR[2]":
        pytest.skip("DuckDB has no CASE over arrays of a fixed size")
    result = result_of(
        connection, f"SELECT CASE WHEN i % 2 = 0 THEN {sql} END AS v FROM range(5) t(i)"
    )

    (batch,) = result.batches
    assert encoding.json_text(batch.column(0)).to_pylist() == [text, None, text, None, text]
    assert encoding.json_text(batch.column(0).slice(1, 3)).to_pylist() == [None, text, None]
    found = [f"{each}{encoding.BETWEEN_ROWS}" for each in (text, "null") * 2] + [f"{text}],["]
    assert encoding.json_rows(batch).to_pylist() == found


@pytest.mark.parametrize(("sql", "type_", "text"), TYPES, ids=[f"{t}: {s}" for s, t, _ in TYPES])
@pytest.mark.parametrize("encoder", [Ndjson, JsonArray, Csv, ArrowStream, Parquet, Orc])
def test_each_type_leaves_in_each_format(
    connection: Any, sql: str, type_: str, text: str, encoder: type[Encoder]
) -> None:
    lost = {Parquet: WITHOUT_PARQUET, Orc: WITHOUT_ORC}.get(encoder, WITHOUT_ARROW)
    result = result_of(connection, f"SELECT {sql} AS v, 1 AS w", lost=lost)

    writer = encoder(result.schema)  # type: ignore[call-arg]
    data = writer.head() + b"".join(map(writer.batch, result.batches)) + writer.tail()

    assert data
    if encoder is Ndjson:
        assert data.decode() == f'{{"v":{text},"w":1}}\n'
    elif encoder is JsonArray:
        assert data.decode() == f'[{{"v":{text},"w":1}}]\n'
    elif encoder is Orc:
        assert pyarrow.orc.ORCFile(pa.BufferReader(data)).nrows == 1  # its reader ends at 2262
    elif encoder is Csv:
        plain = orjson.loads(text)
        expected = plain if isinstance(plain, str) else text
        read = list(csv.reader(io.StringIO(data.decode(), newline="")))
        assert read == [["v", "w"], [expected, "1"]]
    elif encoder is ArrowStream:
        assert pa.ipc.open_stream(data).read_all().num_rows == 1
    else:
        assert pq.read_table(pa.BufferReader(data)).num_rows == 1


# Round trips: what hypothesis makes, encoded and read again by orjson, compared with a second
# way to say the same value, in Python.

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def float32(value: float) -> float:
    return float(struct.unpack("f", struct.pack("f", value))[0])


def said(value: float) -> Any:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def same_float(got: Any, value: float) -> bool:
    expected = said(value)
    if isinstance(expected, str):
        return bool(got == expected)
    return isinstance(got, float) and struct.pack("d", got) == struct.pack("d", expected)


def optional(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.none() | values, min_size=1, max_size=8)


def encoded(values: list[Any], type_: pa.DataType) -> list[Any]:
    array = pa.array(values, type_)
    texts = encoding.json_text(array).to_pylist()
    if len(values) > 2:
        assert encoding.json_text(array.slice(1, 2)).to_pylist() == texts[1:3]
    return [None if text is None else orjson.loads(text) for text in texts]


@given(optional(TEXT))
def test_text_comes_back(values: list[str | None]) -> None:
    assert encoded(values, pa.string()) == values


@given(optional(st.integers(-(2**63), 2**63 - 1)))
def test_integers_come_back(values: list[int | None]) -> None:
    assert encoded(values, pa.int64()) == values


@given(optional(st.floats()))
def test_doubles_come_back_to_the_last_bit(values: list[float | None]) -> None:
    for got, value in zip(encoded(values, pa.float64()), values, strict=True):
        assert got is None if value is None else same_float(got, value)


@given(optional(st.floats(width=32)))
def test_floats_come_back_to_the_last_bit(values: list[float | None]) -> None:
    for got, value in zip(encoded(values, pa.float32()), values, strict=True):
        if value is None or isinstance(got, str):
            assert got == (None if value is None else said(value))
        else:
            assert struct.pack("f", got) == struct.pack("f", value)


@given(optional(st.binary(max_size=20)))
def test_blobs_come_back(values: list[bytes | None]) -> None:
    got = encoded(values, pa.binary())
    assert [None if text is None else base64.b64decode(text) for text in got] == values


@given(st.integers(1, 38).flatmap(lambda p: st.tuples(st.just(p), st.integers(0, p))), st.data())
def test_decimals_come_back_with_all_digits(shape: tuple[int, int], data: st.DataObject) -> None:
    precision, scale = shape
    digits = st.integers(-(10**precision) + 1, 10**precision - 1)
    values = data.draw(optional(digits.map(lambda n: Decimal((int(n < 0), digits_of(n), -scale)))))
    got = encoded(values, pa.decimal128(precision, scale))
    assert got == [None if value is None else format(value, "f") for value in values]


def digits_of(number: int) -> tuple[int, ...]:
    return tuple(int(digit) for digit in str(abs(number)))


@given(optional(st.datetimes()))
def test_timestamps_come_back(values: list[datetime | None]) -> None:
    got = encoded(values, pa.timestamp("us"))
    assert got == [None if value is None else value.isoformat() for value in values]
    zoned = encoded(values, pa.timestamp("us", "UTC"))
    expected = [None if v is None else v.replace(tzinfo=UTC).isoformat() for v in values]
    assert zoned == [None if text is None else text.replace("+00:00", "Z") for text in expected]


@given(st.lists(st.integers(-(2**63) + 1, 2**63 - 1), min_size=1, max_size=5))
def test_all_microseconds_that_duckdb_has_come_back(values: list[int]) -> None:
    for text, value in zip(encoded(values, pa.timestamp("us")), values, strict=True):
        if abs(value) == 2**63 - 1:
            assert text == ("infinity" if value > 0 else "-infinity")
            continue
        day, _, clock = text.partition("T")
        hours, minutes, seconds = clock.split(":")
        micros = int(Decimal(seconds) * 10**6) + (int(hours) * 60 + int(minutes)) * 60 * 10**6
        assert days_of(day) * 86_400 * 10**6 + micros == value


@given(st.lists(st.integers(-(2**31) + 2, 2**31 - 2), min_size=1, max_size=5))
def test_all_days_that_duckdb_has_come_back(values: list[int]) -> None:
    assert [days_of(text) for text in encoded(values, pa.date32())] == values


def days_of(text: str) -> int:
    """Return days since 1970 of a proleptic date of any year: 400 years are 146,097 days."""
    sign, text = (-1, text[1:]) if text.startswith("-") else (1, text)
    year, month, day = (int(part) for part in text.split("-"))
    year *= sign
    eras = (year - 2000) // 400
    return (date(year - eras * 400, month, day) - date(1970, 1, 1)).days + eras * 146_097


@given(optional(st.times()))
def test_times_come_back(values: list[time | None]) -> None:
    got = encoded(values, pa.time64("us"))
    assert got == [None if value is None else value.isoformat() for value in values]


@given(optional(st.lists(st.none() | st.fixed_dictionaries({"a": TEXT, "b\n": st.booleans()}))))
def test_nested_values_come_back(values: list[Any]) -> None:
    kind = pa.list_(pa.struct([("a", pa.string()), ("b\n", pa.bool_())]))
    assert encoded(values, kind) == values


@given(optional(st.dictionaries(TEXT, st.lists(st.none() | st.integers(-9, 9)), max_size=3)))
def test_maps_come_back(values: list[Any]) -> None:
    pairs = [None if value is None else list(value.items()) for value in values]
    assert encoded(pairs, pa.map_(pa.string(), pa.list_(pa.int32()))) == values


@given(st.integers(-(2**31), 2**31 - 1), st.integers(-(2**31), 2**31 - 1), st.integers())
def test_durations_say_each_part_once(months: int, days: int, nanoseconds: int) -> None:
    text = encoding.duration(months, days, nanoseconds)
    total = dict.fromkeys("YMDHmS", Decimal(0))
    assert text.startswith("P")
    date_part, _, time_part = text[1:].partition("T")
    for part, is_time in ((date_part, False), (time_part, True)):
        number = ""
        for char in part:
            if char.isalpha():
                total["m" if char == "M" and is_time else char] += Decimal(number)
                number = ""
            else:
                number += char
    assert total["Y"] * 12 + total["M"] == months
    assert total["D"] == days
    seconds = (total["H"] * 60 + total["m"]) * 60 + total["S"]
    assert seconds * 10**9 == nanoseconds or abs(nanoseconds) > 10**20  # Decimal rounds there


@given(
    st.lists(
        st.tuples(st.none() | TEXT, st.integers(-(2**63), 2**63 - 1), st.none() | st.booleans()),
        min_size=1,
        max_size=10,
    )
)
def test_the_short_way_of_small_answers_says_the_same(
    values: list[tuple[str | None, int, bool | None]],
) -> None:
    columns = list(zip(*values, strict=True))
    batch = pa.record_batch(
        [
            pa.array(columns[0], pa.string()),
            pa.array(columns[1], pa.int64()),
            pa.array(columns[2], pa.bool_()),
        ],
        names=["a", "b", "c"],
    )
    few = encoding.few_json_rows(batch)
    assert few == encoding.content(encoding.json_rows(batch), but_last=3)


BESIDE = [("12.25", "12.25"), ("1", "1.0"), ("'inf'", '"Infinity"'), ("1e300", "1e+300")]


@pytest.mark.parametrize(("some", "text"), [*BESIDE, ("NULL", None)])
def test_whole_floats_have_a_point_wherever_they_are(
    connection: Any, some: str, text: str | None
) -> None:
    values = f"[{some}::DOUBLE, '-0.0'::DOUBLE, 7::DOUBLE, 1e17::DOUBLE]"
    (batch,) = result_of(connection, f"SELECT unnest({values}) AS v FROM range(2)").batches
    assert encoding.json_text(batch.column(0)).to_pylist() == [text, "-0.0", "7.0", "1e+17"] * 2


@given(st.lists(st.tuples(st.none() | TEXT, st.none() | TEXT), min_size=1, max_size=6))
def test_csv_keeps_null_apart_from_empty(values: list[tuple[str | None, str | None]]) -> None:
    columns = list(zip(*values, strict=True))
    batch = pa.record_batch([pa.array(c, pa.string()) for c in columns], names=["a", "b"])

    text = Csv(batch.schema).batch(batch).decode()

    read = list(csv.reader(io.StringIO(text, newline="")))
    assert read == [[value or "" for value in row] for row in values]
    assert text.count('""') - text.count('""""') * 2 >= 0
    if all("\n" not in (v or "") and "\r" not in (v or "") for row in values for v in row):
        lines = text.split("\r\n")[:-1]
        for line, (first, _) in zip(lines, values, strict=True):
            assert line.startswith(",") == (first is None)


@settings(max_examples=20)
@given(st.lists(TEXT, min_size=1, max_size=30), st.integers(0, 200))
def test_as_many_rows_fit_as_fit(values: list[str], room: int) -> None:
    batch = pa.record_batch([pa.array(values, pa.string())], names=["a"]).slice(len(values) // 3)
    texts = encoding.json_rows(batch)
    count = encoding.fitting(texts, room)
    sizes = [len(text.encode()) for text in texts.to_pylist()]
    assert sum(sizes[:count]) <= room
    assert count == len(sizes) or sum(sizes[: count + 1]) > room


def test_the_second_column_of_a_name_gets_a_number() -> None:
    assert unique(["a", "a", "a_1", "b", "a"]) == ["a", "a_2", "a_1", "b", "a_3"]


def test_wide_texts_come_in_small_batches(connection: Any) -> None:
    result = result_of(connection, "SELECT repeat('x', 100000) AS v FROM range(1000)")
    batches = list(result.batches)
    assert sum(batch.num_rows for batch in batches) == 1000
    assert max(batch.nbytes for batch in batches) < 32 * 1024 * 1024


def test_days_beyond_python_are_right() -> None:
    assert encoding.far_date(0) == "1970-01-01"
    for days in range(-719_162, 2_932_896, 9_973):
        assert encoding.far_date(days) == (date(1970, 1, 1) + timedelta(days=days)).isoformat()


WITHOUT_MEMORY = """
import re, resource, sys
from pathlib import Path
import pyarrow as pa
from lakehouse.query.encoding import content

texts = pa.array(["x" * 1000] * 60_000)
content(texts[:10])
for room_mib in range(40, 121, 5):
    used = int(re.search(r"VmData:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (used + room_mib * 1024**2, -1))
    try:
        content(texts)
        print("whole")
    except MemoryError:
        print("no memory")
"""


def test_an_answer_without_memory_for_it_is_an_error_and_not_the_end_of_the_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_MEMORY],
        capture_output=True,
        text=True,
        env=environment(ARROW_DEFAULT_MEMORY_POOL="system"),
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split("\n")) == {"whole", "no memory", ""}
