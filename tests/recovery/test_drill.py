"""The drill: everything is lost but the backup, or but the warehouse; all of it comes back."""

import os
import shutil
import signal
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from lakehouse.client import Client
from tests.cli.conftest import Shell
from tests.services import ServerProcess, lakehouse_server

CHECKSUM = "SELECT count(*), sum(hash(t)::HUGEINT)::VARCHAR FROM {table} AS t"

pytestmark = pytest.mark.slow


def load(url: str, table: str, number: int) -> None:
    body = "n,word\n" + "".join(f"{number * 100 + each},w{each}\n" for each in range(100))
    params = {"name": table} if number == 0 else {"name": table, "mode": "append"}
    answer = httpx.post(
        f"{url}/v1/ingest", params=params, files={"file": ("n.csv", body)}, timeout=30
    )
    assert answer.status_code == 200, answer.text


KEYED: Any = {"json": {"rows": [{"n": 1}]}, "headers": {"Idempotency-Key": "drill"}}


def live_in(url: str) -> None:
    """Make what a lake has after its first days: a layout, new columns, changes, tags, drops."""
    for path, body in (
        ("tables/gone/rows", {"rows": [{"n": 1}]}),
        ("tables/lived/from-query", {"sql": "SELECT i AS n, i % 3 AS part FROM range(9) AS r(i)"}),
        ("tables/lived/schema", {"changes": [{"op": "add", "name": "note", "type": "string"}]}),
        ("tables/lived/update", {"set": {"note": "'seen'"}, "where": "n < 4"}),
        ("tables/lived/delete", {"where": "n = 8"}),
        ("tables/keyed/rows", {"rows": [{"n": 1}]}),
    ):
        name = path.split("/")[1]
        if name != "lived":
            columns = [{"name": "n", "type": "long"}]
            made = {"name": name, "columns": columns, "partition_by": ["bucket(2, n)"]}
            httpx.post(f"{url}/v1/tables", json=made).raise_for_status()
        httpx.post(f"{url}/v1/{path}", json=body).raise_for_status()
    httpx.put(f"{url}/v1/tables/lived/refs/tagged", json={"type": "tag"}).raise_for_status()
    httpx.put(f"{url}/v1/tables/lived/refs/aside", json={"type": "branch"}).raise_for_status()
    httpx.post(f"{url}/v1/tables/keyed/rows", **KEYED).raise_for_status()
    httpx.delete(f"{url}/v1/tables/gone").raise_for_status()


def lives_on(url: str) -> None:
    """What `live_in` made is there: refs, a dropped table, and the answer to a key."""
    with Client(url) as lake:
        refs = {each.name: each.type for each in lake.refs.list("lived")}
        assert refs == {"main": "branch", "tagged": "tag", "aside": "branch"}
        tagged = lake.sql("SELECT count(*) FROM lived", as_of={"lived": "tagged"}).rows
        assert [list(row) for row in tagged] == [[8]]
        before = lake.describe("keyed").row_count
        httpx.post(f"{url}/v1/tables/keyed/rows", **KEYED).raise_for_status()
        assert lake.describe("keyed").row_count == before == 2, "the key is known"
        lake.undrop("gone")
        assert lake.describe("gone").row_count == 1


def contents(url: str) -> dict[str, Any]:
    """Return of every table how many rows there are and a checksum, at each snapshot."""
    found = {}
    with Client(url) as lake:
        for table in lake.tables():
            found[table.name] = [
                (
                    each.snapshot_id,
                    each.row_count,
                    lake.sql(
                        CHECKSUM.format(table=table.name), as_of={table.name: each.snapshot_id}
                    ).rows,
                )
                for each in lake.history(table.name)
            ]
    return found


@pytest.mark.skipif("LAKEHOUSE_TEST_LONG" not in os.environ, reason="eight seconds or more")
def test_a_data_directory_that_was_destroyed_comes_back_from_its_backup(tmp_path: Path) -> None:
    data, dest, shell = tmp_path / "data", tmp_path / "backups", Shell(tmp_path, "")
    with lakehouse_server(data, LAKEHOUSE_BACKUP__DIRECTORIES=str(dest)) as served:
        for number in range(3):
            load(served.url, "still", number)
        load(served.url, "busy", 0)
        live_in(served.url)
        httpx.put(f"{served.url}/v1/storage/put/raw/a b", content=b"an object").raise_for_status()
        before = contents(served.url)
        loads = threading.Thread(target=load_more, args=(served,))
        loads.start()
        done = shell.ok("backup", "--url", served.url, "--verify", "--json").json()
        loads.join()
        refused = httpx.post(f"{served.url}/v1/backups", json={"directory": "/etc"})
        served.signal(signal.SIGKILL)
        served.wait()
    shutil.rmtree(data)
    assert done["verified"] and done["damaged"] == {}
    assert refused.status_code == 403
    assert refused.json()["type"] == "/problems/backup-directory"

    shell.ok("restore", dest, "--data", tmp_path / "elsewhere")

    with lakehouse_server(tmp_path / "elsewhere") as served:
        after = contents(served.url)
        lives_on(served.url)
        assert {name: after[name] for name in ("still", "lived", "keyed")} == {
            name: before[name] for name in ("still", "lived", "keyed")
        }
        assert after["busy"][-len(before["busy"]) :] == before["busy"]
        assert httpx.get(f"{served.url}/v1/storage/get/raw/a b").content == b"an object"
        assert httpx.get(f"{served.url}/ready").status_code == 200
        load(served.url, "still", 3)


def load_more(served: ServerProcess) -> None:
    for number in range(1, 6):
        load(served.url, "busy", number)


@pytest.mark.skipif("LAKEHOUSE_TEST_LONG" not in os.environ, reason="eight seconds or more")
def test_a_catalog_that_was_lost_and_a_warehouse_that_was_moved_come_back(tmp_path: Path) -> None:
    data, moved, shell = tmp_path / "data", tmp_path / "moved", Shell(tmp_path, "")
    with lakehouse_server(data) as served:
        for number in range(3):
            load(served.url, "words", number)
        before = contents(served.url)
        served.signal(signal.SIGKILL)
        served.wait()
    moved.mkdir()
    (data / "warehouse").rename(moved / "warehouse")
    shutil.rmtree(data)

    report = shell.ok("catalog", "rebuild", "--data", moved, "--apply", "--json").json()
    refused = shell.run("tables", "--data", moved)
    (command,) = [line for line in refused.stderr.split("Run: ") if line.startswith("lakehouse")]
    shell.ok(*command.split()[1:])

    assert [each["action"] for each in report["report"]["tables"]] in (
        ["forward"],
        ["add"],
        ["keep"],
    )
    assert refused.code == 5
    with lakehouse_server(moved) as served:
        assert contents(served.url) == before
