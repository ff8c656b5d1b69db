"""The client's nouns against a real server."""

import io
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakehouse.client import Client, RemoteError
from lakehouse.client.uploads import upload_of
from lakehouse.errors import ConflictError, InvalidInputError, LakehouseError, NotFoundError
from tests.services import ServerProcess

CSV = b"name,city,score\nAda,Lyon,95\nBo,Oslo,88\n"


@pytest.fixture
def lake(served: ServerProcess) -> Iterator[Client]:
    with Client(served.url) as client:
        yield client


def count(lake: Client, table: str) -> object:
    return lake.sql(f"SELECT count(*) FROM {table}").rows[0][0]


def test_it_is_up_and_says_what_works(lake: Client) -> None:
    assert lake.health().service == "lakehouse"
    readiness = lake.ready()
    assert readiness.ready, readiness.parts
    assert {"database", "catalog", "storage", "ingest", "query"} <= set(readiness.parts)


def test_a_file_is_loaded_with_progress_and_read_at_once(lake: Client, tmp_path: Path) -> None:
    path = tmp_path / "big.csv"
    path.write_bytes(b"n,text\n" + b"".join(b"%d,%s\n" % (n, b"x" * 100) for n in range(20_000)))
    seen: list[tuple[int, int | None]] = []

    report = lake.ingest(path, "big", progress=lambda done, total: seen.append((done, total)))

    size = path.stat().st_size
    assert report.added_rows == report.row_count == 20_000
    assert count(lake, "big") == 20_000
    assert seen[0] == (0, size)
    assert seen[-1] == (size, size)
    assert len(seen) > size // (256 * 1024)


@pytest.mark.parametrize("kind", ["bytes", "path", "file"])
def test_sources_are_bytes_paths_and_files(lake: Client, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "people.csv"
    path.write_bytes(CSV)
    table = f"source_{kind}"

    if kind == "file":
        with path.open("rb") as file:
            lake.ingest(file, table, format="csv")
            assert not file.closed
    else:
        lake.ingest(CSV if kind == "bytes" else str(path), table, format="csv")

    assert count(lake, table) == 2


def test_a_file_that_is_open_is_sent_again_and_never_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_bytes(CSV)
    with path.open("rb") as file:
        upload = upload_of(file)
        assert upload.name == "people.csv" and upload.size_bytes == len(CSV) and upload.again
        path.unlink()
        path.write_bytes(b"another")
        assert [b"".join(upload.pieces()) for _ in range(2)] == [CSV, CSV]
        file.seek(1)
        assert not upload_of(file).again, "it is read from where it stands, once"


def test_a_load_under_one_key_happens_once(lake: Client) -> None:
    first = lake.ingest(CSV, "once", format="csv", mode="append", idempotency_key="once-1")
    again = lake.ingest(CSV, "once", format="csv", mode="append", idempotency_key="once-1")

    assert again == first
    assert count(lake, "once") == 2


def test_options_reach_the_server(lake: Client) -> None:
    text = b"zip;at;price\n01234;31.12.2025;1,5\n02345;30.12.2025;2,5\n"

    lake.ingest(
        text,
        "options",
        format="csv",
        delimiter=";",
        types={"zip": "string", "at": "date", "price": "string"},
        date_format="%d.%m.%Y",
        partition_by=["day(at)", "bucket(16, zip)"],
        sort_by=["zip desc"],
    )

    table = lake.describe("options")
    assert [column.type for column in table.columns] == ["string", "date", "string"]
    assert table.partition_by == ["day(at)", "bucket(16, zip)"]
    assert table.sort_by == ["zip desc"]


def test_a_trial_writes_nothing(lake: Client) -> None:
    told = lake.try_ingest(CSV, "trial", format="csv")

    assert [column.name for column in told.columns] == ["name", "city", "score"]
    assert told.sample[0]["name"] == "Ada"
    assert not told.exists
    with pytest.raises(NotFoundError):
        lake.describe("trial")


def test_bad_rows_are_named(lake: Client) -> None:
    lake.ingest(CSV, "bad", format="csv")

    with pytest.raises(ConflictError, match="a lot") as caught:
        lake.ingest(b"name,city,score\nDi,Rome,a lot\n", "bad", format="csv", mode="append")

    assert isinstance(caught.value, RemoteError)
    assert caught.value.problem.type == "/problems/schema-drift"
    assert caught.value.problem.trace_id
    with pytest.raises(InvalidInputError) as declared:
        lake.ingest(CSV, "bad_2", format="csv", types={"city": "long"})
    assert len(declared.value.context["rows"]) == 2  # type: ignore[arg-type]
    good = lake.ingest(
        b"name,city,score\nDi,Rome,a lot\nEd,Nice,1\n",
        "bad",
        format="csv",
        mode="append",
        on_error="reject",
    )
    assert (good.added_rows, good.rejected.count) == (1, 1)
    assert good.rejected.rows[0].column == "score"


def test_rows_are_appended_once_and_read_at_once(lake: Client) -> None:
    lake.ingest(CSV, "rows", format="csv")
    row = {"name": "Cy", "city": None, "score": 71}

    report = lake.rows("rows", [row], idempotency_key="rows-1")
    again = lake.rows("rows", [row], idempotency_key="rows-1")

    assert report == again
    assert (report.added_rows, report.row_count) == (1, 3)
    assert list(lake.sql("FROM rows WHERE city IS NULL").dicts()) == [row]


def test_a_long_result_comes_in_pages_of_one_snapshot(lake: Client) -> None:
    lake.ingest(b"n\n1\n", "paged", format="csv")
    wide = "SELECT n, r, repeat('x', 1000) AS pad FROM paged, range(100000) t(r)"

    result = lake.sql(wide)
    rows = iter(result)
    first = next(rows)
    lake.rows("paged", [{"n": 2}])

    assert result.truncated
    assert first[0] == 1
    assert sum(1 for _ in rows) == 99_999
    result.close()
    with pytest.raises(NotFoundError):
        list(result)
    result.close()


def test_arrow_keeps_exact_types(lake: Client) -> None:
    sql = "SELECT 1.50::DECIMAL(9,2) AS price, TIMESTAMPTZ '2026-01-01 00:00:00+00' AS at, $n AS n"

    table = lake.arrow(sql, {"n": 5})
    with lake.batches("SELECT unnest(range(100000)) AS n") as reader:
        counted = sum(batch.num_rows for batch in reader)

    assert table.schema.field("price").type == pa.decimal128(9, 2)
    assert table.column("at").to_pylist() == [datetime(2026, 1, 1, tzinfo=UTC)]
    assert counted == 100_000
    assert lake.sql(sql, {"n": 5}).rows[0][0] == "1.50"


def test_a_wrong_statement_raises_before_the_first_piece(lake: Client) -> None:
    with pytest.raises(InvalidInputError), lake.export("SELEKT 1", "parquet"):
        pass


@pytest.mark.parametrize("format", ["ndjson", "csv"])
def test_an_answer_that_ends_early_says_so_and_why(lake: Client, format: Any) -> None:
    sql = "SELECT range AS n FROM range(2_000_000_000)"

    with (
        pytest.raises(LakehouseError, match=r"ended early: .*1 s") as caught,
        lake.export(sql, format, timeout_s=1.0) as pieces,
    ):
        assert next(pieces)
        for _ in pieces:
            pass

    query_id = caught.value.context["query_id"]
    assert f"the statement {query_id!r}" in caught.value.detail
    with httpx.Client(base_url=lake.url) as http:
        known = http.get(f"/v1/sql/{query_id}").json()
        assert (known["state"], known["outcome"]) == ("ended", "StatementTimeoutError")
        assert http.get("/v1/sql/never-there").status_code == 404


def test_tables_their_description_and_their_past(lake: Client) -> None:
    lake.create_namespace("past")
    lake.ingest(CSV, "past.people", format="csv")
    before = datetime.now(UTC)
    lake.rows("past.people", [{"name": "Cy", "city": "Bergen", "score": 71}])

    assert [str(each.name) for each in lake.tables("past")] == ["people"]
    assert "past" in list(lake.namespaces())
    assert lake.describe("past.people").row_count == 3
    newest, first = lake.history("past.people")
    assert (newest.row_count, first.row_count) == (3, 2)
    for moment in (first.snapshot_id, before):
        result = lake.sql("SELECT count(*) FROM past.people", as_of={"past.people": moment})
        assert result.rows == [[2]]
    lake.drop("past.people")
    with pytest.raises(NotFoundError) as caught:
        lake.describe("past.people")
    assert isinstance(caught.value, RemoteError)
    assert caught.value.problem.type == "/problems/table-not-found"


def test_objects_go_in_and_out_and_become_a_dataset(lake: Client) -> None:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"a": [1, 2, 3]}), buffer)
    key = "raw/a b/ü.parquet"

    stored = lake.storage.put(key, buffer.getvalue())
    manifest = lake.datasets.register("registered", "fingerprint-1", [key])
    again = lake.datasets.register("registered", "fingerprint-1", [key])

    assert (stored.key, stored.size) == (key, len(buffer.getvalue()))
    assert lake.storage.get(key) == buffer.getvalue()
    with lake.storage.read(key) as pieces:
        assert b"".join(pieces) == buffer.getvalue()
    assert [each.key for each in lake.storage.list("raw/")] == [key]
    assert (manifest.existing, again.existing) == (False, True)
    assert manifest.dataset_id == lake.datasets.manifest("registered").dataset_id
    assert "registered" in [each.name for each in lake.datasets.list()]
    assert lake.sql("SELECT sum(a)::INTEGER FROM registered").rows == [[6]]
    with pytest.raises(ConflictError):
        lake.storage.delete(key)
    lake.storage.put("raw/other", b"x")
    lake.storage.delete("raw/other")
    with pytest.raises(NotFoundError):
        lake.storage.get("raw/other")


def test_what_is_no_file_is_named(lake: Client, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"gone\.csv"):
        lake.ingest(tmp_path / "gone.csv", "gone")
    with pytest.raises(InvalidInputError, match="cannot be read"):
        lake.ingest(tmp_path, "folder")


def test_a_file_that_shrinks_on_the_way_is_no_load(lake: Client, tmp_path: Path) -> None:
    path = tmp_path / "shrinking.csv"
    path.write_bytes(b"n\n" + b"1\n" * 1_000_000)

    def shrink(done: int, total: int | None) -> None:
        if done == 0:
            path.write_bytes(b"n\n1\n")

    with pytest.raises(InvalidInputError, match="changed while it was read"):
        lake.ingest(path, "shrinking", progress=shrink)
    with pytest.raises(NotFoundError):
        lake.describe("shrinking")
