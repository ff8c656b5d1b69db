"""The reserve of the disk: nothing is added below it, and what is there can still be changed."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from lakehouse.config import Config, DiskConfig, IngestConfig, MemoryConfig, QueryConfig
from lakehouse.disk import Disk, DiskFullError, Quota, bytes_in
from tests.ingest.served import Served, serving
from tests.query.lake import open_lake

MIB = 1024 * 1024
HUGE = 1 << 60
CSV = "name,score\nAda,95\nBo,88\n"
SPILLS = """
    SELECT max(n) AS n, max(length(t)) AS t FROM (
        SELECT row_number() OVER (ORDER BY t) AS n, t
        FROM (SELECT md5(CAST(range AS VARCHAR)) || repeat('x', 300) AS t FROM range(1500000))
    )
"""
ROOT = Path(__file__).parents[1]


def test_the_reserve_is_a_tenth_of_the_disk_and_at_most_2_gib(tmp_path: Path) -> None:
    usage = Disk(tmp_path).usage()

    assert usage.reserve_bytes == min(usage.total_bytes // 10, 2 * 1024 * MIB)
    assert Disk(tmp_path, 5).usage().reserve_bytes == 5


def test_what_reaches_into_the_reserve_is_refused_with_the_figures(tmp_path: Path) -> None:
    Disk(tmp_path, 0).check()
    with pytest.raises(DiskFullError, match="purge dropped tables") as raised:
        Disk(tmp_path, 0).check(HUGE)
    with pytest.raises(DiskFullError):
        Disk(tmp_path, HUGE).check()

    assert set(raised.value.context) == {"free_bytes", "total_bytes", "reserve_bytes"}
    assert raised.value.retryable


def test_a_quota_counts_what_lies_there_and_what_was_taken(tmp_path: Path) -> None:
    (tmp_path / "upload-1").write_bytes(b"x" * 60)
    (tmp_path / "other").write_bytes(b"x" * 60)
    quota = Quota(tmp_path, "upload-*", 100)

    assert quota.take(30)
    assert not quota.take(30)
    assert quota.take(10)
    (tmp_path / "upload-1").unlink()
    time.sleep(0.6)  # it looks again
    assert quota.take(100)
    assert bytes_in(tmp_path / "nowhere") == 0


# A server whose disk is below its reserve.


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A lakehouse with tables and an object, started again on a disk that has no room."""
    data = tmp_path_factory.mktemp("full") / "data"
    with serving(data, Config()) as lake:
        for name in ("kept", "dropped", "renamed"):
            lake.loaded(name, CSV)
        lake.send("PUT", "/v1/storage/put/old", content=b"old")
    config = Config(
        disk=DiskConfig(reserve_bytes=HUGE),
        memory=MemoryConfig(max_bytes=512 * MIB),
        query=QueryConfig(max_result_bytes=1000),
    )
    with serving(data, config) as lake:
        yield lake


def refused(answer: httpx.Response, type_: str = "disk-full") -> None:
    assert answer.status_code == 507, answer.text
    problem = answer.json()
    assert problem["type"] == f"/problems/{type_}"
    assert problem["retryable"] is True
    assert "room" in problem["detail"]
    assert answer.headers["retry-after"]


def test_nothing_is_uploaded_below_the_reserve(full: Served) -> None:
    before = full.files()

    refused(full.ingest("new", CSV))
    refused(full.ingest("kept", CSV + "Cy,1\n", mode="append"))
    refused(full.ingest("new", CSV, headers={"Prefer": "respond-async"}))
    refused(full.send("POST", "/v1/tables/kept/rows", json={"rows": [{"name": "D", "score": 1}]}))
    refused(full.send("PUT", "/v1/storage/put/new", content=b"new"))
    update = {"set": {"score": "1"}, "where": "true"}
    refused(full.send("POST", "/v1/tables/kept/update", json=update))
    refused(full.send("POST", "/v1/tables/new/from-query", json={"sql": "SELECT 1 AS a"}))

    assert full.files() == before
    assert len(full.rows("kept")) == 2
    assert full.send("GET", "/v1/storage/get/new").status_code == 404


def test_reading_goes_on_below_the_reserve_but_for_what_needs_the_disk(full: Served) -> None:
    long = {"sql": "SELECT range AS n, 'some text' AS t FROM range(5000)"}

    streamed = full.send("POST", "/v1/sql?format=csv", json=long)
    assert len(streamed.text.splitlines()) == 5001
    refused(full.send("POST", "/v1/sql", json=long))
    assert list((full.data_dir / "spool" / "results").iterdir()) == []
    refused(full.send("POST", "/v1/sql", json={"sql": SPILLS}), "spill-full")
    assert bytes_in(full.data_dir / "spool" / "duckdb") == 0


def test_the_catalog_still_changes_below_the_reserve(full: Served) -> None:
    columns = [{"name": "a", "type": "long"}]

    assert full.send("DELETE", "/v1/tables/dropped").is_success
    assert full.send("POST", "/v1/tables/renamed/rename", json={"to": "again"}).is_success
    created = full.send("POST", "/v1/tables", json={"name": "empty", "columns": columns})
    assert created.status_code == 201
    assert full.send("POST", "/v1/namespaces", json={"name": "sales"}).status_code == 201
    assert full.send("GET", "/v1/storage/get/old").content == b"old"
    assert full.send("DELETE", "/v1/storage/delete/old").status_code == 204


def test_rows_are_deleted_and_erased_below_the_reserve(full: Served) -> None:
    deleted = full.send("POST", "/v1/tables/kept/delete", json={"where": "name = 'Bo'"})
    assert deleted.is_success and deleted.json()["deleted_rows"] == 1, deleted.text
    everything = {"where": "true", "erase": True}
    erased = full.send("POST", "/v1/tables/kept/delete", json=everything)
    assert erased.is_success and erased.json()["deleted_files"] > 0, erased.text


def test_ready_warns_below_the_reserve(full: Served) -> None:
    readiness = full.send("GET", "/ready").json()

    assert readiness["ready"] is True
    assert "below its reserve" in readiness["warnings"][0]
    assert readiness["disk"]["reserve_bytes"] == HUGE


def test_the_room_for_spilling_follows_the_disk(tmp_path: Path) -> None:
    with open_lake(tmp_path) as (database, _):

        def spill_max() -> str:
            with database.cursor() as cursor:
                sql = "SELECT current_setting('max_temp_directory_size')"
                return str(cursor.execute(sql).fetchall()[0][0])

        assert spill_max() == "1.0 GiB"
        free = Disk(tmp_path).usage().free_bytes
        for reserve, shown in ((free - 512 * MIB, "5"), (HUGE, "0 bytes"), (0, "1.0 GiB")):
            database.limit_spill(Disk(tmp_path, reserve))
            assert spill_max().startswith(shown), (reserve, spill_max())


def test_uploads_have_a_quota(tmp_path: Path) -> None:
    config = Config(ingest=IngestConfig(spool_max_bytes=100))
    with serving(tmp_path / "data", config) as lake:
        assert lake.ingest("small", CSV).status_code == 200
        answer = lake.ingest("large", CSV * 10)
        assert answer.status_code == 503
        assert answer.json()["type"] == "/problems/quota-used"
        assert "ingest.spool_max_bytes" in answer.json()["detail"]


def test_results_have_a_quota(tmp_path: Path) -> None:
    config = Config(query=QueryConfig(max_result_bytes=1000, results_max_bytes=1))
    with serving(tmp_path / "data", config) as lake:
        answer = lake.send("POST", "/v1/sql", json={"sql": "FROM range(5000)"})
        assert answer.status_code == 503
        assert answer.json()["type"] == "/problems/spool-full"


# A real disk that is nearly full.

SMALL_DISK = r"""
import os, pathlib, sys
from lakehouse.config import Config, DiskConfig
from tests.ingest.served import serving

root = pathlib.Path(sys.argv[1])
MIB = 1024 * 1024
config = Config(disk=DiskConfig(reserve_bytes=20 * MIB))

with serving(root / "data", config) as lake:
    lake.loaded("kept", "a\n1\n")
    noise = os.urandom(MIB)
    stored = 0
    while (answer := lake.send("PUT", f"/v1/storage/put/{stored}", content=noise)).is_success:
        stored += 1
    free = lake.send("GET", "/ready").json()["disk"]["free_bytes"]
    print("put", answer.status_code, 20 <= free / MIB < 22)
    print("ingest", lake.ingest("new", "a\n" + "1\n" * MIB).status_code)
    print("drop", lake.send("DELETE", "/v1/tables/kept").is_success)
    for each in range(8):
        assert lake.send("DELETE", f"/v1/storage/delete/{each}").is_success
    print("ingest", lake.ingest("new", "a\n" + "1\n" * MIB).status_code)
"""


def test_a_disk_that_fills_keeps_its_reserve_and_loads_again_once_there_is_room(
    tmp_path: Path,
) -> None:
    """A real one: a file system of 60 MiB, mounted in a namespace of its own."""
    mount = f"mount -t tmpfs -o size=60m tmpfs {tmp_path}"
    try:
        subprocess.run(["unshare", "-rm", "sh", "-c", mount], check=True, capture_output=True)
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        pytest.skip(f"NOT SHOWN: no file system can be mounted here: {error}")

    script = f'{mount} && exec "$0" -c "$1" {tmp_path}'
    ran = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, sys.executable, SMALL_DISK],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=60,
    )

    shown = ["put 507 True", "ingest 507", "drop True", "ingest 200"]
    assert ran.stdout.splitlines() == shown, ran.stderr
