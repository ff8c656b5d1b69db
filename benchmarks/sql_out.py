"""sql-out: a million rows over REST, as Arrow beside DuckDB in process, as JSON beside ROAPI."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import msgspec
import pyarrow as pa

from benchmarks.files import CONTENT_TYPES, read_through, rows_file
from benchmarks.rivals import NotHereError, roapi, version_of
from benchmarks.row import Figure, Row, by_turns
from benchmarks.serving import lakehouse_server, requested
from benchmarks.store import beside, connection, current, reference_file

FULL_ROWS, QUICK_ROWS = 1_000_000, 10_000
AT_MOST = 1.3
SQL = 'SELECT id, "at", city, amount, customer FROM rows'
STREAM = "application/vnd.apache.arrow.stream"


def run(*, quick: bool, runs: int) -> list[Row]:
    count = QUICK_ROWS if quick else FULL_ROWS
    path = rows_file("parquet", count)
    read_through(path)
    body = msgspec.json.encode({"sql": SQL})
    note = None
    with lakehouse_server() as server, connection() as engine, ExitStack() as others:
        server.ingest("rows", path, CONTENT_TYPES["parquet"])
        engine.execute(f"CREATE VIEW rows AS FROM read_parquet('{reference_file(path)}')")
        ask = partial(requested, server.port, "POST", body=body, content_type="application/json")
        arrow = [
            lambda: arrow_s(lambda: table_of(ask("/v1/sql?format=arrow")), count),
            lambda: arrow_s(lambda: engine.execute(SQL).to_arrow_table(), count),
        ]
        json = [lambda: lines_s(lambda: ask("/v1/sql?format=ndjson"), count)]
        try:
            if current() == "disk":
                port = others.enter_context(roapi({"rows": path}))
                ask_it = partial(requested, port, "POST", "/api/sql", SQL.encode(), "text/plain")
                arrow.append(lambda: arrow_s(lambda: table_of(ask_it(accept=STREAM)), count))
                json.append(lambda: lines_s(ask_it, count))
        except NotHereError as error:
            note = str(error)
        return [
            row_of_arrow(by_turns(arrow, runs), count, note),
            row_of_json(by_turns(json, runs), count, note),
        ]


def row_of_arrow(found: list[list[float]], count: int, note: str | None) -> Row:
    ours, duck, *rivals = (Figure("", values) for values in found)
    ratio = ours.median / duck.median
    return Row(
        name="sql-out",
        work=f"{count:,} rows x 5 columns as Arrow over REST, until a table in the client",
        unit="s",
        ours=Figure("lakehouse", ours.values),
        reference=Figure(f"DuckDB to Arrow in process{beside()}", duck.values),
        ratio=round(ratio, 3),
        target=f"<= {AT_MOST}x DuckDB in process" + ("; ahead of ROAPI" if rivals else ""),
        met=ratio <= AT_MOST and all(ours.median < each.median for each in rivals),
        sizes={"rows": count},
        others=[Figure(version_of("roapi"), each.values) for each in rivals],
        note=note,
    )


def row_of_json(found: list[list[float]], count: int, note: str | None) -> Row:
    ours, *rivals = (Figure("", values) for values in found)
    roapis = Figure(version_of("roapi"), rivals[0].values) if rivals else None
    return Row(
        name="sql-out",
        work=f"{count:,} rows x 5 columns as lines of JSON over REST",
        unit="s",
        ours=Figure("lakehouse", ours.values),
        reference=roapis,
        ratio=round(ours.median / roapis.median, 3) if roapis else None,
        target="ahead of ROAPI" if roapis else "none",
        met=ours.median < roapis.median if roapis else None,
        sizes={"rows": count},
        note=note,
    )


def table_of(stream: bytes) -> pa.Table:
    return pa.ipc.open_stream(stream).read_all()


def arrow_s(rows: Callable[[], pa.Table], count: int) -> float:
    began = time.perf_counter()
    found = rows().num_rows
    took_s = time.perf_counter() - began
    assert found == count
    return took_s


def lines_s(rows: Callable[[], bytes], count: int) -> float:
    began = time.perf_counter()
    text = rows()
    took_s = time.perf_counter() - began
    assert text.count(b'"id":') == count
    return took_s
