"""An engine that runs as another user of this host, by the group that the warehouse is shared with.

The engine is `cat` and `cp`: whether the files can be opened is all that is asked.
"""

import grp
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.io.pyarrow import schema_to_pyarrow

from tests.iceberg.conftest import PLACE, catalog, load
from tests.iceberg.snapshots import added, folder, written
from tests.services import ServerProcess, lakehouse_server

NOBODY = 65_534

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    group = grp.getgrgid(NOBODY).gr_name
    with tempfile.TemporaryDirectory(prefix="lakehouse-shared-") as place:
        Path(place).chmod(0o755)
        with lakehouse_server(
            Path(place) / "data", port=None, LAKEHOUSE_STORAGE__GROUP=group
        ) as server:
            yield server


def can(*command: str | Path) -> bool:
    """Return whether a user of the group, who owns nothing, can do it."""
    done = subprocess.run(
        [str(each) for each in command],
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        umask=0o002,
        capture_output=True,
        check=False,
        cwd="/",
    )
    return done.returncode == 0


def test_the_group_reads_tables_and_nothing_else(
    server: ServerProcess, client: httpx.Client
) -> None:
    load(client, "mine")
    data, warehouse = server.data_dir, server.data_dir / "warehouse"
    files = [each for each in (warehouse / "tables").rglob("*") if each.is_file()]
    assert len(files) >= 4
    assert [each for each in files if not can("cat", each)] == []
    assert (warehouse / "_catalog").is_dir()
    closed = [*data.glob("catalog.db*"), *(warehouse / "_catalog").iterdir(), data / "lock"]
    assert len(closed) >= 3
    for path in (*closed, data / "spool"):
        assert not can("cat", path)
        assert not can("ls", path) or path.is_file()
    assert not can("ls", data)
    assert not can("touch", data / "x")
    assert can("ls", warehouse / "tables")


def test_what_a_member_wrote_is_committed_compacted_and_removed(
    server: ServerProcess, client: httpx.Client
) -> None:
    rows = pa.table({"id": pa.array([1, 2, 3], pa.int64())})
    table = catalog(server).create_table("main.theirs", rows.schema)
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        source = Path(place) / "a.parquet"
        pq.write_table(rows.cast(schema_to_pyarrow(table.schema())), source)
        source.chmod(0o644)
        there = folder(table) / "data" / "part=a" / "theirs.parquet"
        assert can("mkdir", there.parent)
        assert can("cp", source, there)
    assert (there.owner(), there.stat().st_gid) == ("nobody", NOBODY)
    body = {"requirements": [], "updates": added(written(table, f"file://{there}"))}
    client.post(f"{PLACE}/namespaces/main/tables/theirs", json=body).raise_for_status()
    load(client, "theirs", b'{"id":4}\n')
    deleted = client.post("/v1/tables/theirs/delete", json={"where": "id = 1", "erase": True})
    assert deleted.status_code == 200, deleted.text
    assert not there.exists()
    count = client.post("/v1/sql", json={"sql": "SELECT sum(id) FROM theirs"}).json()["rows"]
    assert [[int(each) for each in row] for row in count] == [[9]]
    ours = list((folder(table) / "data").rglob("*.parquet"))
    assert ours
    assert all(can("cat", each) for each in ours)


def test_a_warehouse_that_was_private_is_given_to_the_group(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="lakehouse-shared-") as place:
        Path(place).chmod(0o755)
        data = Path(place) / "data"
        with (
            lakehouse_server(data, port=None) as server,
            httpx.Client(base_url=server.url) as client,
        ):
            load(client, "old")
        (file,) = (data / "warehouse").rglob("*.parquet")
        assert not can("cat", file)
        group = grp.getgrgid(NOBODY).gr_name
        with lakehouse_server(data, port=None, LAKEHOUSE_STORAGE__GROUP=group):
            assert can("cat", file)
        nobody = lakehouse_server(data, port=None, LAKEHOUSE_STORAGE__GROUP="nobody-at-all")
        with pytest.raises(RuntimeError, match="no such group"), nobody:
            pass
