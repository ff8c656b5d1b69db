"""What a table was, over HTTP: dropped tables, references, rollback, changes, exports."""

import io
from collections.abc import Iterator
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.services import ServerProcess, lakehouse_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with lakehouse_server(tmp_path_factory.mktemp("past") / "data") as server:
        yield server


@pytest.fixture
def http(server: ServerProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


def load(http: httpx.Client, table: str, rows: str, mode: str | None = None) -> int:
    """Load lines of `id,name` and return the snapshot that they became."""
    namespace, _, name = table.rpartition(".")
    params = {"name": name, "namespace": namespace or "main", "format": "csv"}
    params |= {"mode": mode} if mode else {}
    answer = http.post("/v1/ingest", params=params, content=f"id,name\n{rows}")
    assert answer.status_code == 200, answer.text
    snapshot_id: int = answer.json()["snapshot_id"]
    return snapshot_id


def rows(http: httpx.Client, sql: str, **body: Any) -> list[list[Any]]:
    answer = http.post("/v1/sql", json={"sql": sql, **body})
    assert answer.status_code == 200, answer.text
    found: list[list[Any]] = answer.json()["rows"]
    return found


def problem(answer: httpx.Response, status: int) -> str:
    """Return the type of a refusal, which must be a whole problem."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["detail"]
    kind: str = answer.json()["type"].removeprefix("/problems/")
    return kind


def test_a_dropped_table_is_listed_and_comes_back(http: httpx.Client) -> None:
    load(http, "undrop", "1,a\n")  # a table may have the name of a route
    assert http.delete("/v1/tables/undrop").status_code == 204
    assert problem(http.get("/v1/tables/undrop"), 404) == "table-not-found"
    listed = http.get("/v1/tables?dropped=true&namespace=main").json()["items"]
    assert [each["name"] for each in listed] == ["undrop"]

    back = http.post("/v1/tables/undrop/undrop")
    assert back.status_code == 200, back.text
    assert back.json()["uuid"] == listed[0]["uuid"]
    assert rows(http, "FROM undrop") == [[1, "a"]]
    assert http.get("/v1/tables?dropped=true").json() == {"items": [], "next_cursor": None}


def test_what_cannot_come_back_is_refused(http: httpx.Client) -> None:
    load(http, "taken", "1,a\n")
    http.delete("/v1/tables/taken")
    load(http, "taken", "2,b\n")
    assert problem(http.post("/v1/tables/taken/undrop", json={}), 409) == "table-exists"
    unknown = http.post("/v1/tables/taken/undrop", json={"to": "x"})
    assert problem(unknown, 400) == "invalid-request"
    wrong = http.post("/v1/tables/taken/undrop", json={"as": "a/b"})
    assert problem(wrong, 400) == "invalid-name"
    gone = http.post("/v1/tables/nothing/undrop")
    assert problem(gone, 404) == "dropped-table-not-found"
    other = http.post("/v1/tables/taken/undrop", json={"as": "taken2"})
    assert other.json()["name"] == "taken2"


def test_a_purge_deletes_the_files_of_the_one_that_is_meant(
    http: httpx.Client, server: ServerProcess
) -> None:
    load(http, "purged", "1,a\n")
    uuid = http.get("/v1/tables/purged").json()["uuid"]
    http.delete("/v1/tables/purged")
    load(http, "purged", "2,b\n")
    folder = server.data_dir / "warehouse" / "tables" / "main"
    assert len(list(folder.glob("purged-*"))) == 2
    assert problem(http.delete(f"/v1/tables/purged?uuid={uuid}"), 400) == "invalid-input"
    assert http.delete(f"/v1/tables/purged?purge=true&uuid={uuid}").status_code == 204
    assert rows(http, "FROM purged") == [[2, "b"]]
    assert http.delete("/v1/tables/purged?purge=true").status_code == 204
    assert list(folder.glob("purged-*")) == []
    assert problem(http.delete("/v1/tables/purged?purge=true"), 404) == "table-not-found"


def test_an_object_is_kept_while_a_dropped_dataset_may_come_back(http: httpx.Client) -> None:
    load(http, "source", "1,a\n2,b\n")
    parquet = http.get("/v1/sql", params={"sql": "FROM source", "format": "parquet"}).content
    http.put("/v1/storage/put/raw/it.parquet", content=parquet)
    body = {"name": "byref", "schema_fingerprint": "f", "objects": [{"key": "raw/it.parquet"}]}
    assert http.post("/v1/catalog/register", json=body).status_code == 200
    http.delete("/v1/tables/byref")
    for refused in (
        http.delete("/v1/storage/delete/raw/it.parquet"),
        http.put("/v1/storage/put/raw/it.parquet", content=b"other"),
    ):
        assert problem(refused, 409) == "object-registered"
        assert "/v1/tables/main.byref?purge=true&uuid=" in refused.json()["detail"]
    assert http.post("/v1/tables/byref/undrop").json()["row_count"] == 2
    assert rows(http, "SELECT count(*) FROM byref") == [[2]]
    http.delete("/v1/tables/byref")
    path = refused.json()["detail"].rpartition("DELETE ")[2]
    assert http.delete(path).status_code == 204
    assert http.get("/v1/storage/get/raw/it.parquet").content == parquet
    assert http.delete("/v1/storage/delete/raw/it.parquet").status_code == 204


def test_a_tag_is_made_read_moved_and_removed(http: httpx.Client) -> None:
    first = load(http, "tagged", "1,a\n")
    second = load(http, "tagged", "2,b\n", "append")
    path = "/v1/tables/tagged/refs/month-end"
    made = http.put(path, json={"type": "tag", "snapshot_id": str(first), "max_ref_age_ms": 5000})
    assert made.status_code == 200, made.text
    assert made.json() == http.get(path).json()
    assert (made.json()["snapshot_id"], made.json()["max_ref_age_ms"]) == (first, 5000)
    for said in (
        rows(http, "FROM tagged", as_of={"tagged": "month-end"}),
        rows(http, "FROM tagged AT (VERSION => 'month-end')"),
        rows(http, f"FROM tagged AT (VERSION => {first})"),
    ):
        assert said == [[1, "a"]]
    tag = "FROM tagged AT (VERSION => 'month-end')"
    both = f"SELECT (SELECT count(*) FROM tagged), (SELECT count(*) {tag})"
    assert rows(http, both) == [[2, 1]]
    listed = http.get("/v1/tables/tagged/refs?limit=1").json()
    assert [each["name"] for each in listed["items"]] == ["main"]
    cursor = listed["next_cursor"]
    more = http.get(f"/v1/tables/tagged/refs?limit=1&cursor={cursor}").json()
    assert [each["name"] for each in more["items"]] == ["month-end"]

    elsewhere = {"type": "tag", "snapshot_id": second}
    assert problem(http.put(path, json=elsewhere), 409) == "ref-exists"
    assert problem(http.put(path, json={"type": "branch"}), 409) == "ref-exists"
    assert http.put(path, json={**elsewhere, "move": True}).json()["snapshot_id"] == second
    assert http.delete(path).status_code == 204
    assert problem(http.get(path), 404) == "ref-not-found"
    assert problem(http.delete(path), 404) == "ref-not-found"
    answer = http.post("/v1/sql", json={"sql": "FROM tagged", "as_of": {"tagged": "month-end"}})
    assert "no snapshot, tag or branch 'month-end'" in answer.json()["detail"]
    assert problem(answer, 404) == "snapshot-not-found"


@pytest.mark.parametrize(
    ("ref", "body", "status"),
    [
        ("main", {"type": "tag"}, 400),
        ("20260131", {"type": "tag"}, 400),
        ("x", {"type": "bookmark"}, 400),
        ("x", {}, 400),
        ("x", {"type": "tag", "snapshot_id": 5}, 404),
        ("x", {"type": "tag", "snapshot_id": "nothing"}, 404),
        ("x", {"type": "tag", "max_ref_age_ms": 0}, 400),
        ("x", {"type": "tag", "colour": "red"}, 400),
    ],
)
def test_a_reference_that_cannot_be_is_refused(
    http: httpx.Client, ref: str, body: dict[str, Any], status: int
) -> None:
    load(http, "unnamed", "1,a\n")
    assert problem(http.put(f"/v1/tables/unnamed/refs/{ref}", json=body), status)
    names = [each["name"] for each in http.get("/v1/tables/unnamed/refs").json()["items"]]
    assert names == ["main"]


def test_a_name_with_a_slash_is_told_what_is_wrong_with_it(http: httpx.Client) -> None:
    load(http, "slashed", "1,a\n")
    answer = http.put("/v1/tables/slashed/refs/a%2Fb", json={"type": "tag"})
    assert problem(answer, 400) == "invalid-name"
    assert "'a/b'" in answer.json()["detail"]
    assert problem(http.get("/v1/tables/slashed/refs/a%2Fb"), 404) == "ref-not-found"
    assert problem(http.delete("/v1/tables/slashed/refs/a%2Fb"), 404) == "ref-not-found"


def test_a_version_is_an_id_or_a_text_and_no_other_number(http: httpx.Client) -> None:
    first = load(http, "versions", "1,a\n")
    assert rows(http, f"FROM versions AT (VERSION => '{first}')") == [[1, "a"]]
    for version in ("1e5", f"{first}.0", "1.9"):
        answer = http.post("/v1/sql", json={"sql": f"FROM versions AT (VERSION => {version})"})
        assert answer.status_code == 400, (version, answer.text)
        assert "AT takes" in answer.json()["detail"], answer.text


@pytest.mark.parametrize("digits", [20, 4_301, 6_000])
def test_a_snapshot_id_beyond_any_is_one_that_is_not_there(http: httpx.Client, digits: int) -> None:
    load(http, "beyond", "1,a\n")
    number, table = "9" * digits, "/v1/tables/beyond"
    for answer in (
        http.get(f"{table}/diff", params={"from": number}),
        http.get(f"{table}/export", params={"as_of": number, "format": "csv"}),
        http.get(f"{table}/changes", params={"since": number}),
        http.post(f"{table}/rollback", json={"to": number}),
        http.post("/v1/sql", json={"sql": "FROM beyond", "as_of": {"beyond": number}}),
    ):
        assert answer.status_code == 404, answer.text
        assert answer.json()["type"] == "/problems/snapshot-not-found"


@pytest.mark.parametrize("field", ["max_ref_age_ms", "max_snapshot_age_ms"])
def test_a_retention_beyond_what_iceberg_holds_is_refused(http: httpx.Client, field: str) -> None:
    load(http, "beyond", "1,a\n")
    for number in (2**63, 2**64, 0, -1):
        body = {"type": "branch", field: number}
        answer = http.put("/v1/tables/beyond/refs/kept", json=body)
        assert answer.status_code == 400, answer.text
        assert field in answer.json()["detail"]


def test_main_stays(http: httpx.Client) -> None:
    load(http, "stays", "1,a\n")
    assert problem(http.delete("/v1/tables/stays/refs/main"), 400) == "invalid-input"
    assert problem(http.get("/v1/tables/nothing/refs"), 404) == "table-not-found"
    put = http.put("/v1/tables/nothing/refs/x", json={"type": "tag"})
    assert problem(put, 404) == "table-not-found"


def test_a_rollback_happens_once_under_its_key(http: httpx.Client) -> None:
    first = load(http, "back", "1,a\n")
    second = load(http, "back", "2,b\n", "append")
    key = {"Idempotency-Key": "back-1"}
    path = "/v1/tables/back/rollback"
    done = http.post(path, json={"to": first}, headers=key)
    assert done.status_code == 200, done.text
    assert done.json()["snapshot_id"] == first
    assert done.json()["previous_snapshot_id"] == second
    assert rows(http, "FROM back") == [[1, "a"]]
    load(http, "back", "3,c\n", "append")
    again = http.post(path, json={"to": first}, headers=key)
    assert again.content == done.content
    assert rows(http, "FROM back ORDER BY id") == [[1, "a"], [3, "c"]], "it happened once"
    other = http.post(path, json={"to": second}, headers=key)
    assert problem(other, 422) == "idempotency-mismatch"
    assert http.post(path, json={"to": str(second)}).json()["row_count"] == 2
    assert rows(http, "FROM back ORDER BY id") == [[1, "a"], [2, "b"]]


def test_a_retried_removal_of_a_tag_spares_the_one_made_since(http: httpx.Client) -> None:
    load(http, "retried", "1,a\n")
    path, key = "/v1/tables/retried/refs/x", {"Idempotency-Key": "retried-1"}
    http.put(path, json={"type": "tag"})
    assert http.delete(path, headers=key).status_code == 204
    http.put(path, json={"type": "tag"})
    assert http.delete(path, headers=key).status_code == 204
    assert http.get(path).status_code == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"to": 5}, 404),
        ({"to": "2020-01-01"}, 404),
        ({"to": ""}, 400),
        ({}, 400),
        ({"to": 1.5}, 400),
    ],
)
def test_a_rollback_to_nothing_changes_nothing(
    http: httpx.Client, body: dict[str, Any], status: int
) -> None:
    snapshot = load(http, "firm", "1,a\n")
    assert problem(http.post("/v1/tables/firm/rollback", json=body), status)
    assert http.get("/v1/tables/firm").json()["snapshot_id"] == snapshot
    gone = http.post("/v1/tables/nothing/rollback", json={"to": 1})
    assert problem(gone, 404) == "table-not-found"


def test_snapshots_say_who_and_in_which_request_and_what_names_them(http: httpx.Client) -> None:
    trace = "0123456789abcdef0123456789abcdef"
    headers = {"X-Lakehouse-Trace-Id": trace}
    body = "id,name\n1,a\n2,b\n"
    http.post("/v1/ingest?name=told&format=csv", content=body, headers=headers)
    http.put("/v1/tables/told/refs/start", json={"type": "tag"})
    load(http, "told", "3,c\n")
    newest, oldest = http.get("/v1/tables/told/snapshots").json()["items"]
    assert (newest["refs"], oldest["refs"]) == (["main"], ["start"])
    assert (oldest["by"], oldest["trace_id"]) == ("anonymous", trace)
    assert (oldest["operation"], oldest["added_rows"], oldest["deleted_rows"]) == ("append", 2, 0)
    assert (newest["operation"], newest["added_rows"], newest["deleted_rows"]) == (
        "overwrite",
        1,
        2,
    )


def test_columns_called_like_ours_are_counted_and_not_mixed_up(http: httpx.Client) -> None:
    table, ours = "/v1/tables/mixed", ("_CHANGE_type", "_snapshot_id", "_committed_at")
    body = f"id,{','.join(ours)}\n1,delete,2,x\n2,delete,3,y\n"
    http.post("/v1/ingest?name=mixed&format=csv", content=body).raise_for_status()
    http.post(f"{table}/delete", json={"where": "id = 2"}).raise_for_status()
    counted = http.get(f"{table}/diff").json()
    assert (counted["deleted_rows"], counted["inserted_rows"]) == (1, 0)
    for path in ("changes", "changes?format=parquet", "diff/rows", "diff/rows?format=ndjson"):
        answer = http.get(f"{table}/{path}")
        assert problem(answer, 422) == "column-taken"
        assert answer.json()["context"]["columns"] == list(ours)
        assert f"POST {table.replace('mixed', 'main.mixed')}/schema" in answer.json()["detail"]
    renamed = [{"op": "rename", "name": each, "to": f"their{each}"} for each in ours]
    http.post(f"{table}/schema", json={"changes": renamed}).raise_for_status()
    changed = http.get(f"{table}/diff/rows").json()
    assert [each["name"] for each in changed["columns"]][4:] == [ours[0].lower(), *ours[1:]]
    assert changed["rows"][0][:5] == [2, "delete", 3, "y", "delete"]


@pytest.mark.parametrize("format_name", ["csv", "ndjson", "arrow", "parquet"])
def test_a_table_is_exported_as_it_is_and_as_it_was(http: httpx.Client, format_name: str) -> None:
    table = f"out {format_name} ü"
    first = load(http, table, "1,a\n2,b\n")
    http.put(f"/v1/tables/{table}/refs/start", json={"type": "tag"})
    second = load(http, table, "3,c\n", "append")
    for as_of, snapshot, count in ((None, second, 3), ("start", first, 2), (str(first), first, 2)):
        params = {"format": format_name} | ({"as_of": as_of} if as_of else {})
        answer = http.get(f"/v1/tables/{table}/export", params=params)
        assert answer.status_code == 200, answer.text
        assert answer.headers["X-Lakehouse-Snapshot-Id"] == str(snapshot)
        named = answer.headers["Content-Disposition"]
        assert named.startswith(f'attachment; filename="out_{format_name}_.')
        assert f"filename*=UTF-8''out%20{format_name}%20%C3%BC." in named
        assert len(decoded(answer.content, format_name)) == count


def decoded(content: bytes, format_name: str) -> list[Any]:
    if format_name == "csv":
        return content.decode().splitlines()[1:]
    if format_name == "ndjson":
        return content.decode().splitlines()
    if format_name == "arrow":
        return list(pa.ipc.open_stream(content).read_all().to_pylist())
    return list(pq.read_table(io.BytesIO(content)).to_pylist())


def test_an_export_that_cannot_be_is_refused(http: httpx.Client) -> None:
    load(http, "unsent", "1,a\n")
    assert problem(http.get("/v1/tables/nothing/export"), 404) == "table-not-found"
    assert problem(http.get("/v1/tables/unsent/export?as_of=x"), 404) == "snapshot-not-found"
    assert problem(http.get("/v1/tables/unsent/export?format=xml"), 400) == "invalid-input"
    pictures = http.get("/v1/tables/unsent/export", headers={"Accept": "image/png"})
    assert problem(pictures, 406)


def test_a_consumer_follows_a_table_by_its_changes(http: httpx.Client) -> None:
    load(http, "followed", "1,a\n2,b\n")
    exported = http.get("/v1/tables/followed/export")
    since = exported.headers["X-Lakehouse-Snapshot-Id"]
    load(http, "followed", "3,c\n", "append")
    load(http, "followed", "2,b\n3,c\n", "overwrite")

    answer = http.get(f"/v1/tables/followed/changes?since={since}")

    assert [(row[0], row[2]) for row in answer.json()["rows"]] == [(3, "insert"), (1, "delete")]
    names = [each["name"] for each in answer.json()["columns"]]
    assert names == ["id", "name", "_change_type", "_snapshot_id", "_committed_at"]
    until = answer.headers["X-Lakehouse-Snapshot-Id"]
    again = http.get(f"/v1/tables/followed/changes?since={until}")
    assert again.json()["rows"] == []
    assert again.headers["X-Lakehouse-Snapshot-Id"] == until
    for format_name in ("csv", "ndjson", "arrow", "parquet"):
        params = {"since": since, "format": format_name}
        streamed = http.get("/v1/tables/followed/changes", params=params)
        assert len(decoded(streamed.content, format_name)) == 2
    assert problem(http.get("/v1/tables/followed/changes?since=5"), 404) == "snapshot-not-found"
    assert problem(http.get("/v1/tables/nothing/changes"), 404) == "table-not-found"
    wrong = http.get("/v1/tables/followed/changes?from=5")
    assert problem(wrong, 400) == "invalid-request"


def test_two_snapshots_are_compared(http: httpx.Client) -> None:
    first = load(http, "compared", "1,a\n2,b\n")
    second = load(http, "compared", "2,b\n3,c\n4,d\n", "overwrite")
    counted = http.get("/v1/tables/compared/diff")
    assert counted.json() == {
        "from_snapshot_id": first,
        "to_snapshot_id": second,
        "inserted_rows": 2,
        "deleted_rows": 1,
    }
    back = http.get(f"/v1/tables/compared/diff?from={second}&to={first}").json()
    assert (back["inserted_rows"], back["deleted_rows"]) == (1, 2)
    shown = http.get(f"/v1/tables/compared/diff/rows?from={first}").json()["rows"]
    assert sorted(row[:3] for row in shown) == [
        [1, "a", "delete"],
        [3, "c", "insert"],
        [4, "d", "insert"],
    ]
    same = http.get("/v1/tables/compared/diff?from=main").json()
    assert (same["inserted_rows"], same["deleted_rows"]) == (0, 0)
    assert problem(http.get("/v1/tables/compared/diff?from=x"), 404) == "snapshot-not-found"
    http.post("/v1/tables/compared/rollback", json={"to": first})
    since = http.get(f"/v1/tables/compared/changes?since={second}")
    assert problem(since, 409) == "not-in-past"
    path = since.json()["detail"].partition("GET ...")[2].partition(" says")[0]
    assert http.get(f"/v1/tables/compared{path}").status_code == 200
