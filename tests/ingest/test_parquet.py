"""Parquet over REST: types as Iceberg holds them, and nothing cut on the way."""

import io
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.ingest.served import Served

TYPE = "application/vnd.apache.parquet"
MOMENT = datetime(2024, 1, 5, 10, tzinfo=UTC)


def parquet(**columns: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def test_each_type_is_stored_as_the_table_of_types_says(lake: Served, name: str) -> None:
    body = parquet(
        i8=pa.array([1], pa.int8()),
        u32=pa.array([2**32 - 1], pa.uint32()),
        u64=pa.array([2**64 - 1], pa.uint64()),
        f=pa.array([1.5], pa.float32()),
        day=[date(2024, 1, 5)],
        at=pa.array([MOMENT.replace(tzinfo=None)], pa.timestamp("ns")),
        zoned=pa.array([MOMENT], pa.timestamp("ns", "Europe/Berlin")),
        word=pa.array(["a"]).dictionary_encode(),
        nested=[{"a": [1]}],
        data=[b"x"],
        price=[Decimal("1.20")],
        clock=[time(10)],
        nothing=pa.array([None], pa.null()),
    )
    lake.loaded(name, body, TYPE)

    assert lake.types(name) == {
        "i8": "long",
        "u32": "long",
        "u64": "decimal(20,0)",
        "f": "float",
        "day": "date",
        "at": "timestamp",
        "zoned": "timestamptz",
        "word": "string",
        "nested": "struct<a: list<long>>",
        "data": "binary",
        "price": "decimal(3,2)",
        "clock": "time",
        "nothing": "string",
    }
    assert lake.loaded(name, body, TYPE, mode="append")["row_count"] == 2


@pytest.mark.parametrize("unit", ["s", "us", "ns"])
@pytest.mark.parametrize("nested", [False, True])
def test_a_duration_is_refused_by_name_not_stored_as_a_number(
    lake: Served, name: str, unit: Any, nested: bool
) -> None:
    lake.loaded(name, "took\n1\n")
    took = pa.array([timedelta(seconds=5)], pa.duration(unit))
    body = parquet(took=pa.array([[took[0]]], pa.list_(took.type)) if nested else took)

    for table in (name, f"{name}_new"):
        answer = lake.ingest(table, body, TYPE, mode="append")
        assert answer.status_code == 400, answer.text
        assert f"'duration[{unit}]' of column 'took'" in answer.json()["detail"]
        assert "seconds" in answer.json()["detail"]


@pytest.mark.parametrize("column", [[1.5], ["x"], [Decimal("1.5")], [2.0**70]])
def test_a_value_that_the_table_would_change_is_drift(
    lake: Served, name: str, column: list[object]
) -> None:
    lake.loaded(name, parquet(id=[1]), TYPE)

    answer = lake.ingest(name, parquet(id=column), TYPE, mode="append")

    assert answer.status_code == 409
    assert "'id'" in answer.json()["detail"]
    assert lake.rows(name) == [[1]]


def test_a_value_that_the_table_keeps_is_taken(lake: Served, name: str) -> None:
    lake.loaded(name, parquet(id=[1]), TYPE)
    lake.loaded(name, parquet(ID=[2.0]), TYPE, mode="append")

    assert lake.rows(name) == [[1], [2]]


def test_reject_leaves_out_what_does_not_fit(lake: Served, name: str) -> None:
    lake.loaded(name, parquet(id=[1]), TYPE)

    answer = lake.loaded(name, parquet(id=[2.0, 2.5, 3.0]), TYPE, mode="append", on_error="reject")

    assert answer["rejected"]["count"] == 1
    assert lake.rows(name) == [[1], [2], [3]]


@pytest.mark.parametrize("how", [{}, {"on_error": "reject"}, {"dry_run": "true"}])
def test_a_damaged_page_is_said_whatever_is_asked_for(
    lake: Served, name: str, how: dict[str, str]
) -> None:
    whole = parquet(id=pa.array(range(5000)), word=[f"word {n}" for n in range(5000)])
    middle = len(whole) // 3
    body = whole[:middle] + bytes(2000) + whole[middle + 2000 :]

    answer = lake.ingest(name, body, TYPE, None, **how)

    assert answer.status_code == 400, answer.text
    assert "damaged" in answer.json()["detail"]


HOURS_300 = 300 * 3600 * 1_000_000


@pytest.mark.parametrize("how", [{}, {"on_error": "reject"}, {"dry_run": "true"}])
@pytest.mark.parametrize("nested", [False, True])
def test_a_time_of_300_hours_is_refused_before_the_engine_prints_it(
    lake: Served, name: str, how: dict[str, str], nested: bool
) -> None:
    """The bounds in the footer are those of the file, and the engine believes them."""
    times = pa.array([HOURS_300, 1], pa.int64()).view(pa.time64("us"))
    body = parquet(
        id=[1, 2], clock=pa.StructArray.from_arrays([times], ["at"]) if nested else times
    )

    answer = lake.ingest(name, body, TYPE, None, **how)

    if how:
        assert answer.status_code == 200, answer.text
    else:
        assert answer.status_code == 400
        assert "beyond what its type can hold" in answer.json()["detail"]
    if "on_error" in how:
        assert [row[0] for row in lake.rows(name)] == [2]


def test_a_decimal_of_more_digits_than_its_type_is_refused(lake: Served, name: str) -> None:
    good = parquet(price=pa.array([Decimal("1234567.89")], pa.decimal128(9, 2)))
    body = good.replace((123456789).to_bytes(4, "big"), (2**31 - 1).to_bytes(4, "big"))
    assert body != good

    answer = lake.ingest(name, body, TYPE)

    assert answer.status_code == 400
    assert "beyond what its type can hold" in answer.json()["detail"]


def test_a_dry_run_shows_a_year_that_python_has_no_date_for(lake: Served, name: str) -> None:
    far = pa.array([300_000_000_000_000_000], pa.timestamp("us"))

    answer = lake.ingest(name, parquet(at=far), TYPE, dry_run="true")

    assert answer.status_code == 200, answer.text
    assert answer.json()["sample"][0]["at"].startswith("11476-")
