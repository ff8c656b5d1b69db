"""Arrow IPC, ORC and Avro: read by a child process, and what they hold is what the table holds."""

import io
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.feather
import pyarrow.orc
import pytest

from tests.avro import container, logical, text
from tests.fuzz.thrift import zigzag
from tests.ingest.served import Served

MOMENT = datetime(2024, 2, 29, 23, 59, 58, 123456, tzinfo=UTC)


from_runs: Any = pa.RunEndEncodedArray.from_arrays
month: Any = pa.scalar((1, 2, 3), pa.month_day_nano_interval()).as_py()


def table(rows: int = 3) -> pa.Table:
    ids = range(rows)
    array: Any = pa.array
    return pa.table(
        {
            "id": array(ids, pa.int64()),
            "small": array(ids, pa.int16()),
            "ratio": array([n / 2 for n in ids]),
            "word": array(["a", None, "c"] * (rows // 3)),
            "yes": array([n % 2 == 0 for n in ids]),
            "day": array([date(2024, 2, 29)] * rows),
            "at": array([MOMENT.replace(tzinfo=None)] * rows, pa.timestamp("us")),
            "price": array([Decimal("12.34")] * rows, pa.decimal128(9, 2)),
            "raw": array([b"\x00\xff"] * rows),
            "tags": array([["a", "b"], [], None] * (rows // 3)),
            "place": array([{"x": 1, "y": "z"}] * rows),
        }
    )


TYPES = {
    "id": "long",
    "small": "long",
    "ratio": "double",
    "word": "string",
    "yes": "boolean",
    "day": "date",
    "at": "timestamp",
    "price": "decimal(9,2)",
    "raw": "binary",
    "tags": "list<string>",
    "place": "struct<x: long, y: string>",
}
FIRST = [0, 0, 0.0, "a", True, "2024-02-29", "2024-02-29T23:59:58.123456", "12.34", "AP8="]


def stream(data: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, data.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(data)
    return sink.getvalue()


def file(data: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, data.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(data, max_chunksize=2)
    return sink.getvalue()


def feather(data: pa.Table) -> bytes:
    sink = io.BytesIO()
    pyarrow.feather.write_feather(data, sink)
    return sink.getvalue()


def orc(data: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pyarrow.orc.write_table(data, sink, **options)
    return sink.getvalue()


@pytest.mark.parametrize(
    "body",
    [
        stream(table()),
        stream(table(), compression="zstd"),
        file(table(), compression="lz4"),
        feather(table()),
        orc(table()),
        orc(table(3000), compression="zstd", stripe_size=1),
    ],
    ids=["stream", "zstd", "file", "feather", "orc", "stripes"],
)
def test_a_file_is_known_by_its_first_bytes_and_keeps_its_types(
    lake: Served, name: str, body: bytes
) -> None:
    lake.loaded(name, body, None)

    types = lake.types(name)
    assert types == TYPES
    first = lake.rows(name, "id")[0]
    assert first[:9] == FIRST
    assert first[9:] == [["a", "b"], {"x": 1, "y": "z"}]
    assert not list((lake.data_dir / "spool").glob("upload-*"))


def test_columns_that_arrow_packs_are_those_values(lake: Served, name: str) -> None:
    words = pa.array(["a", "b", None])
    array: Any = pa.array
    data = pa.table(
        {
            "dictionary": words.dictionary_encode(),
            "inside": pa.ListArray.from_arrays([0, 1, 2, 3], words.dictionary_encode()),
            "runs": from_runs([2, 3], [7, 8]),
            "view": array(["x", "y", "z"], pa.string_view()),
            "half": array([0.5, 1.5, None], pa.float16()),
            "uuid": array([bytes(16)] * 3, pa.uuid()),
            "fixed": array([[1, 2]] * 3, pa.list_(pa.int32(), 2)),
            "large": array(["x", "y", "z"], pa.large_string()),
            "pairs": array([[("k", 1)]] * 3, pa.map_(pa.string(), pa.int64())),
            "clock": array([time(1, 2, 3)] * 3, pa.time32("s")),
            "nothing": pa.nulls(3),
            "zoned": array([MOMENT] * 3, pa.timestamp("ms", "Europe/Paris")),
        }
    )
    lake.loaded(name, stream(data), None)

    assert lake.rows(name)[0] == [
        *("a", ["a"], 7, "x", 0.5, "AAAAAAAAAAAAAAAAAAAAAA==", [1, 2], "x", {"k": 1}),
        *("01:02:03", None, "2024-02-29T23:59:58.123000Z"),
    ]


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (pa.array([1], pa.duration("s")), "duration"),
        (pa.array([month]), "month_day_nano_interval"),
        (pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])]), "union"),
        (pa.array([Decimal(1)], pa.decimal256(60, 2)), "38 digits"),
    ],
)
def test_what_no_table_holds_is_refused_by_column(
    lake: Served, name: str, column: Any, words: str
) -> None:
    answer = lake.ingest(name, stream(pa.table({"a": [1], "odd": column})), None)

    assert answer.status_code == 400
    assert words in answer.json()["detail"]
    assert "'odd'" in answer.json()["detail"]


def test_nanoseconds_are_looked_at_value_by_value(lake: Served, name: str) -> None:
    def fine(value: int) -> bytes:
        return orc(pa.table({"t": pa.array([value], pa.timestamp("ns"))}))

    lake.loaded(name, fine(1000), None)
    answer = lake.ingest(name, fine(1001), None, mode="append")

    assert answer.status_code in (400, 409)
    assert "finer than microseconds" in answer.json()["detail"]


def test_a_time_that_orc_is_not_read_with_is_named(lake: Served, name: str) -> None:
    far = pa.array([datetime(9999, 12, 31, tzinfo=UTC)], pa.timestamp("us", "UTC"))
    answer = lake.ingest(name, orc(pa.table({"t": far})), None)

    assert answer.status_code == 400
    assert "after 2262" in answer.json()["detail"]


@pytest.mark.parametrize("make", [stream, file, orc])
@pytest.mark.parametrize("keep", [0.3, 0.6, 0.95])
def test_a_file_that_was_cut_is_damaged(
    lake: Served, name: str, make: Callable[[pa.Table], bytes], keep: float
) -> None:
    body = make(table(300))
    before = lake.files()
    answer = lake.ingest(name, body[: int(len(body) * keep)], None)

    assert answer.status_code == 400
    assert "damaged" in answer.json()["detail"]
    assert lake.files() == before


def test_offsets_that_lead_out_of_the_file_are_damage(lake: Served, name: str) -> None:
    body = stream(pa.table({"a": ["abc" * 1000]}))
    true, lie = ((0).to_bytes(4, "little") + n.to_bytes(4, "little") for n in (3000, 2**30))
    before, found, after = body.rpartition(true)
    answer = lake.ingest(name, before + lie + after, None)

    assert found

    assert answer.status_code == 400
    assert "damaged" in answer.json()["detail"]


def test_a_small_file_that_becomes_a_large_one_is_too_large(lake: Served, name: str) -> None:
    word = pa.array(["x" * 2**20])
    data = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), word)
    answer = lake.ingest(name, stream(pa.table({"a": data}), compression="zstd"), None)

    assert answer.status_code == 413
    assert "MiB of memory" in answer.json()["detail"]


@pytest.mark.parametrize("format_", ["arrow", "orc", "avro"])
def test_text_is_none_of_them(lake: Served, name: str, format_: str) -> None:
    answer = lake.ingest(name, "a,b\n1,2\n", format=format_)

    assert answer.status_code == 400
    assert "does not begin with" in answer.json()["detail"]


def test_two_columns_of_one_name_are_refused(lake: Served, name: str) -> None:
    data = pa.table([pa.array([1]), pa.array([2])], names=["a", "a"])
    answer = lake.ingest(name, stream(data), None)

    assert answer.status_code == 400
    assert "one name" in answer.json()["detail"]


def test_a_stream_without_rows_says_so(lake: Served, name: str) -> None:
    answer = lake.ingest(name, stream(table().slice(0, 0)), None)

    assert "no rows" in answer.json()["detail"]


@pytest.mark.parametrize("format_", ["parquet", "arrow", "orc", "avro"])
def test_what_was_written_is_loaded_again(lake: Served, name: str, format_: str) -> None:
    sql = """SELECT 1 AS n, DATE '2024-02-29' AS day, TIMESTAMPTZ '2024-02-29 23:59:58Z' AS at,
        [TIMESTAMPTZ '2024-02-29 23:59:58Z'] AS times, {'x': 'y'} AS place"""
    written = lake.send("POST", "/v1/sql", params={"format": format_}, json={"sql": sql})
    lake.loaded(name, written.content, None)

    moment = "2024-02-29T23:59:58Z"
    assert lake.rows(name) == [[1, "2024-02-29", moment, [moment], {"x": "y"}]]
    assert lake.types(name)["times"] == "list<timestamptz>"


LOGICAL: dict[str, tuple[Any, bytes, str, Any]] = {
    "n": ("long", zigzag(-7), "long", -7),
    "day": (logical("int", "date"), zigzag(19782), "date", "2024-02-29"),
    "clock": (logical("int", "time-millis"), zigzag(3_723_000), "time", "01:02:03"),
    "at": (
        *(logical("long", "timestamp-micros"), zigzag(1_709_251_198_123_456), "timestamptz"),
        "2024-02-29T23:59:58.123456Z",
    ),
    "ats": (
        {"type": "array", "items": logical("long", "timestamp-millis")},
        *(zigzag(1) + zigzag(0) + b"\0", "list<timestamptz>", ["1970-01-01T00:00:00Z"]),
    ),
    "word": (["null", "string"], zigzag(1) + text("x"), "string", "x"),
    "kind": ({"type": "enum", "name": "k", "symbols": ["A", "B"]}, zigzag(1), "string", "B"),
    "less": (
        logical("bytes", "decimal", precision=9, scale=2),
        *(text((-50).to_bytes(1, "big", signed=True)), "decimal(9,2)", "-0.50"),
    ),
    "more": (
        ["null", logical("bytes", "decimal", precision=38, scale=3)],
        zigzag(1) + text((10**37 + 5).to_bytes(16, "big")),
        *("decimal(38,3)", "10000000000000000000000000000000000.005"),
    ),
    "whole": (
        logical("fixed", "decimal", precision=5, scale=0) | {"name": "f", "size": 3},
        *((-12345).to_bytes(3, "big", signed=True), "decimal(5,0)", "-12345"),
    ),
    "named": (["null", "f"], zigzag(1) + (7).to_bytes(3, "big"), "decimal(5,0)", "7"),
}


@pytest.mark.parametrize("codec", ["null", "deflate"])
def test_avro_keeps_the_types_that_its_schema_says(lake: Served, name: str, codec: str) -> None:
    fields = [{"name": key, "type": each[0]} for key, each in LOGICAL.items()]
    record = b"".join(each[1] for each in LOGICAL.values())
    lake.loaded(name, container(fields, [record] * 2, codec), None)

    assert lake.types(name) == {key: each[2] for key, each in LOGICAL.items()}
    assert lake.rows(name) == [[each[3] for each in LOGICAL.values()]] * 2


@pytest.mark.parametrize(
    ("type_", "record", "words"),
    [
        (["string", "long"], zigzag(1) + zigzag(1), "union of several types"),
        ({"type": "array", "items": logical("bytes", "decimal", precision=9)}, b"\0", "decimals"),
        (logical("long", "timestamp-picos"), zigzag(1), "timestamp-picos"),
        (logical("bytes", "decimal", precision=50), text(b"\0"), "38 are the most"),
    ],
)
def test_what_avro_holds_and_no_table_does_is_refused(
    lake: Served, name: str, type_: Any, record: bytes, words: str
) -> None:
    body = container([{"name": "a", "type": type_}], [record])
    answer = lake.ingest(name, body, None)

    assert answer.status_code == 400
    assert words in answer.json()["detail"]


MICROS, NANOS = 1_709_251_198_123_456, 1_709_251_198_123_456_000
LOCAL, ZONED = "2024-02-29T23:59:58.123456", "2024-02-29T23:59:58.123456Z"
EVENT = {
    "type": "record",
    "name": "event",
    "namespace": "of.others",
    "fields": [
        {"name": "here", "type": logical("long", "local-timestamp-nanos")},
        {"name": "at", "type": ["null", logical("long", "timestamp-nanos")]},
        {"name": "then", "type": logical("long", "timestamp-micros")},
    ],
}
EVENT_VALUE = zigzag(NANOS) + zigzag(1) + zigzag(NANOS) + zigzag(MICROS)
TIMES: dict[str, tuple[Any, bytes, str, Any]] = {
    "millis": (
        *(logical("long", "local-timestamp-millis"), zigzag(MICROS // 1000), "timestamp"),
        "2024-02-29T23:59:58.123000",
    ),
    "micros": (logical("long", "local-timestamp-micros"), zigzag(MICROS), "timestamp", LOCAL),
    "nanos": (logical("long", "local-timestamp-nanos"), zigzag(NANOS), "timestamp", LOCAL),
    "zoned": (logical("long", "timestamp-nanos"), zigzag(NANOS), "timestamptz", ZONED),
    "early": (
        *(["null", logical("long", "timestamp-nanos")], zigzag(1) + zigzag(-1000)),
        *("timestamptz", "1969-12-31T23:59:59.999999Z"),
    ),
    "none": (["null", logical("long", "timestamp-nanos")], zigzag(0), "timestamptz", None),
    "list": (
        {"type": "array", "items": logical("long", "local-timestamp-micros")},
        *(zigzag(1) + zigzag(MICROS) + b"\0", "list<timestamp>", [LOCAL]),
    ),
    "map": (
        {"type": "map", "values": logical("long", "timestamp-nanos")},
        *(zigzag(1) + text("k") + zigzag(NANOS) + b"\0", "map<string, timestamptz>", {"k": ZONED}),
    ),
    "event": (
        *(EVENT, EVENT_VALUE, "struct<here: timestamp, at: timestamptz, then: timestamptz>"),
        {"here": LOCAL, "at": ZONED, "then": ZONED},
    ),
    "again": (
        *("of.others.event", EVENT_VALUE),
        "struct<here: timestamp, at: timestamptz, then: timestamptz>",
        {"here": LOCAL, "at": ZONED, "then": ZONED},
    ),
}


@pytest.mark.parametrize("codec", ["null", "deflate"])
def test_a_moment_of_avro_is_in_utc_and_a_local_time_is_without_a_zone(
    lake: Served, name: str, codec: str
) -> None:
    fields = [{"name": key, "type": each[0]} for key, each in TIMES.items()]
    record = b"".join(each[1] for each in TIMES.values())
    lake.loaded(name, container(fields, [record] * 3, codec), None)

    assert lake.types(name) == {key: each[2] for key, each in TIMES.items()}
    assert lake.rows(name) == [[each[3] for each in TIMES.values()]] * 3
    assert not list((lake.data_dir / "spool").glob("upload-*"))


@pytest.mark.parametrize(
    ("type_", "before", "after"),
    [
        (logical("long", "timestamp-nanos"), b"", b""),
        (["null", logical("long", "timestamp-nanos")], zigzag(1), b""),
        (logical("long", "local-timestamp-nanos"), b"", b""),
        ({"type": "array", "items": logical("long", "timestamp-nanos")}, zigzag(1), b"\0"),
        ({"type": "array", "items": logical("long", "local-timestamp-nanos")}, zigzag(1), b"\0"),
        (
            {"type": "map", "values": logical("long", "timestamp-nanos")},
            zigzag(1) + text("k"),
            b"\0",
        ),
    ],
)
def test_nanoseconds_of_avro_are_never_cut(
    lake: Served, name: str, type_: Any, before: bytes, after: bytes
) -> None:
    def file_of(*values: int) -> bytes:
        records = [before + zigzag(value) + after for value in values]
        return container([{"name": "t", "type": type_}], records)

    for odd in (NANOS + 1, -1, NANOS + 999):
        answer = lake.ingest(name, file_of(NANOS, odd), None)
        assert answer.status_code == 400, answer.text
        assert "'t'" in answer.json()["detail"]
        assert "finer than microseconds" in answer.json()["detail"]
    lake.loaded(name, file_of(NANOS, -1000), None)


def test_local_times_that_are_too_fine_are_rejected_by_row(lake: Served, name: str) -> None:
    fields = [{"name": "t", "type": logical("long", "local-timestamp-nanos")}]
    body = container(fields, [zigzag(NANOS), zigzag(NANOS + 1), zigzag(1000)])
    answer = lake.ingest(name, body, None, on_error="reject")

    assert answer.status_code == 200, answer.text
    assert lake.rows(name, "t") == [["1970-01-01T00:00:00.000001"], [LOCAL]]


def test_avro_without_records_has_no_columns(lake: Served, name: str) -> None:
    answer = lake.ingest(
        name, b"Obj\x01" + zigzag(1) + text("avro.schema") + text('"long"') + b"\0"
    )

    assert "no records" in answer.json()["detail"]


@pytest.mark.parametrize("left_out", [1, 3, 17, 40])
def test_avro_that_was_cut_is_damaged_though_its_rows_can_be_read(
    lake: Served, name: str, left_out: int
) -> None:
    fields = [{"name": "a", "type": "long"}]
    whole = container(fields, [zigzag(n) for n in range(40)])
    answer = lake.ingest(name, whole[:-left_out], None)

    assert answer.status_code == 400
    assert "damaged" in answer.json()["detail"]
