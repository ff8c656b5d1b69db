"""A real directory as the first format wrote it, served by this version."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from lakehouse.recovery import rebuild
from lakehouse.state.migrations import FORMAT
from tests.services import lakehouse_server
from tests.state.old import FORMAT_1, step_in

COLUMNS = {
    "iceberg_tables": "catalog_name, table_namespace, table_name, metadata_location,"
    " previous_metadata_location, iceberg_type",
    "iceberg_namespace_properties": "catalog_name, namespace, property_key, property_value",
    "registered_object": "object_key, table_uuid, dataset",
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("LAKEHOUSE_TEST_LONG" not in os.environ, reason="several seconds"),
]


def as_format_1(path: Path) -> None:
    """Make of a catalog what the first format would have written."""
    new = path.with_name("catalog.old")
    with closing(sqlite3.connect(new, isolation_level=None)) as old:
        old.executescript(FORMAT_1)
        old.execute("DELETE FROM iceberg_tables")
        old.execute("ATTACH ? AS now", (str(path),))
        for table, columns in COLUMNS.items():
            old.execute(f"INSERT INTO {table} SELECT {columns} FROM now.{table}")
        old.execute("DETACH now")
        old.execute("PRAGMA journal_mode = WAL")
    for each in path.parent.glob("catalog.db*"):
        each.unlink()
    new.rename(path)


def people(url: str) -> list[list[object]]:
    answer = httpx.post(f"{url}/v1/sql", json={"sql": "FROM people ORDER BY id"})
    rows: list[list[object]] = answer.raise_for_status().json()["rows"]
    return rows


def test_a_directory_of_the_first_format_is_served_and_kept_beside(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with lakehouse_server(data) as served:
        params, files = {"name": "people"}, {"file": ("p.csv", "id,name\n1,Ada\n2,Bo\n")}
        httpx.post(f"{served.url}/v1/ingest", params=params, files=files).raise_for_status()
    as_format_1(data / "catalog.db")
    as_format_1(data / "warehouse" / "_catalog" / "catalog.db")
    (data / "format").write_text("1\nwritten by lakehouse 0.0.1\n")

    planned = rebuild(data, apply=False)  # the copy of the catalog is as old

    assert [(each.table, each.action) for each in planned.report.tables] == [
        ("main.people", "keep")
    ]
    assert step_in(data / "catalog.db") == 1, "a dry run migrates nothing"
    with lakehouse_server(data) as served:
        assert people(served.url) == [[1, "Ada"], [2, "Bo"]]
        more = {"rows": [{"id": 3, "name": "Cy"}]}
        httpx.post(f"{served.url}/v1/tables/people/rows", json=more).raise_for_status()
        assert len(people(served.url)) == 3
    assert step_in(data / "catalog.db") == FORMAT
    assert step_in(data / "catalog.db.format-1") == 1
