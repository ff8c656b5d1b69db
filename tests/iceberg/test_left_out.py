"""What other engines leave out of their snapshots, and what they name as they like."""

import json
import time
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table

from tests.iceberg.conftest import PLACE, load
from tests.iceberg.snapshots import added
from tests.services import ServerProcess

TABLES = f"{PLACE}/namespaces/main/tables"
TWO = pa.table({"id": pa.array([1, 2], pa.int64())})
ID = {"id": 1, "name": "id", "required": False, "type": "long"}
UNSAID = {"operation": "append"}


def described(client: httpx.Client, name: str) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"/v1/tables/{name}").raise_for_status().json()
    return found


def with_totals_left_out(client: httpx.Client, table: Table) -> None:
    """Commit the rows that are there once more, with a summary that says no total."""
    metadata = client.get(f"{TABLES}/{table.name()[-1]}").json()["metadata"]
    base = metadata["snapshots"][-1]
    again = {
        **base,
        "snapshot-id": time.time_ns() >> 1,
        "parent-snapshot-id": base["snapshot-id"],
        "sequence-number": metadata["last-sequence-number"] + 1,
        "timestamp-ms": time.time_ns() // 1_000_000,
        "summary": UNSAID,
    }
    body = {"requirements": [], "updates": added(again)}
    client.post(f"{TABLES}/{table.name()[-1]}", json=body).raise_for_status()


def test_totals_that_an_engine_left_out_are_counted(
    client: httpx.Client, them: RestCatalog
) -> None:
    table = them.create_table("main.unsaid", TWO.schema)
    table.append(TWO)
    before = described(client, "unsaid")
    assert (before["row_count"], before["file_count"]) == (2, 1)
    with_totals_left_out(client, table)
    found = described(client, "unsaid")
    counts = ("row_count", "file_count", "size_bytes")
    assert {each: found[each] for each in counts} == {each: before[each] for each in counts}
    load(client, "unsaid", b'{"id":3}\n')
    after = described(client, "unsaid")
    assert (after["row_count"], after["file_count"]) == (3, 2)
    assert after["size_bytes"] > before["size_bytes"]


def test_our_append_says_no_total_that_nobody_knows(
    client: httpx.Client, them: RestCatalog
) -> None:
    table = them.create_table("main.unknown", TWO.schema)
    table.append(TWO)
    with_totals_left_out(client, table)
    load(client, "unknown", b'{"id":3}\n')
    snapshots = client.get(f"{TABLES}/unknown").json()["metadata"]["snapshots"]
    assert [key for key in snapshots[-1]["summary"] if key.startswith("total-")] == []
    load(client, "known", b'{"id":3}\n')
    snapshots = client.get(f"{TABLES}/known").json()["metadata"]["snapshots"]
    assert snapshots[-1]["summary"]["total-delete-files"] == "0"


def test_the_format_is_that_of_the_table(client: httpx.Client, them: RestCatalog) -> None:
    for version in ("1", "2", "3"):
        name = f"of{version}"
        body = {
            "name": name,
            "schema": {"type": "struct", "fields": [ID]},
            "properties": {"format-version": version},
        }
        client.post(TABLES, json=body).raise_for_status()
        assert described(client, name)["format"] == f"iceberg/{version}"


@pytest.mark.parametrize("tag", ["2030-01-01", "2024", "007", "20300101", "2000-01-01T00:00:00"])
def test_a_tag_that_looks_like_a_time_or_an_id_is_that_tag(
    client: httpx.Client, them: RestCatalog, tag: str
) -> None:
    name = f"tagged{abs(hash(tag))}"
    table = them.create_table(f"main.{name}", TWO.schema)
    table.append(TWO)
    snapshot = table.current_snapshot()
    assert snapshot
    table.manage_snapshots().create_tag(snapshot.snapshot_id, tag).commit()
    load(client, name, b'{"id":3}\n')

    def rows(as_of: str) -> int:
        body = {"sql": f"SELECT count(*) FROM {name}", "as_of": {name: as_of}}
        answer = client.post("/v1/sql", json=body).raise_for_status()
        return int(answer.json()["rows"][0][0])

    assert rows(tag) == 2
    assert rows("2031-01-01") == 3
    assert rows(str(snapshot.snapshot_id)) == 2
    changes = client.get(f"/v1/tables/{name}/changes", params={"since": tag, "format": "csv"})
    (_, row) = changes.raise_for_status().text.splitlines()
    assert row.startswith("3,insert,")


def test_a_purge_of_a_table_that_keeps_its_files_drops_it_once(
    client: httpx.Client, them: RestCatalog
) -> None:
    table = them.create_table("main.keeps", TWO.schema, properties={"gc.enabled": "false"})
    table.append(TWO)
    (file,) = table.inspect.files()["file_path"].to_pylist()
    place, key = f"{TABLES}/keeps?purgeRequested=true", {"Idempotency-Key": "purge-keeps"}
    for _ in range(2):
        assert client.delete(place, headers=key).status_code == 204
    assert client.get(f"{TABLES}/keeps").status_code == 404
    assert table.io.new_input(file).exists()


@pytest.mark.parametrize(("said", "status"), [(None, 200), ("2", 200), ("7", 422)])
def test_a_table_is_registered_that_says_no_rows_and_not_one_that_says_others(
    client: httpx.Client,
    them: RestCatalog,
    server: ServerProcess,
    tmp_path: Path,
    said: str | None,
    status: int,
) -> None:
    landing = server.data_dir / "warehouse" / f"landing{said}"
    landing.mkdir()
    other = SqlCatalog("other", uri=f"sqlite:///{tmp_path}/o.db", warehouse=f"file://{landing}")
    other.create_namespace("db")
    made = other.create_table("db.came", TWO.schema)
    made.append(TWO)
    place = Path(made.metadata_location.removeprefix("file://"))
    metadata = json.loads(place.read_text())
    summary = metadata["snapshots"][-1]["summary"]
    metadata["snapshots"][-1]["summary"] = {
        "operation": summary["operation"],
        **({"total-records": said} if said else {}),
    }
    place.write_text(json.dumps(metadata))
    body = {"name": f"came{said}", "metadata-location": made.metadata_location}
    answer = client.post(f"{PLACE}/namespaces/main/register", json=body)
    assert answer.status_code == status, answer.text
    if status == 200:
        assert described(client, f"came{said}")["row_count"] == 2
