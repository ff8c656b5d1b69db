"""Other engines and we on one bucket, with keys of their own; and what a commit costs there."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.io import load_file_io
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import LongType, NestedField, StringType

from tests import object_store
from tests.iceberg.conftest import PLACE, catalog, load
from tests.iceberg.snapshots import added, written
from tests.services import ServerProcess, lakehouse_server

pytestmark = pytest.mark.slow


@dataclass
class Place:
    server: ServerProcess
    proxy: object_store.Proxy
    """What our server asks of the bucket; others go there by themselves."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    root = tmp_path_factory.mktemp("bucket")
    object_store.needed()
    with object_store.proxy(object_store.shared().url) as proxy:
        settings = object_store.settings(root / "keys", url=proxy.url)
        variables = object_store.variables(settings)
        with lakehouse_server(root / "data", port=None, **variables) as server:
            yield Place(server, proxy)


@pytest.fixture
def client(place: Place) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=place.server.url, timeout=60) as client:
        yield client


def total(client: httpx.Client, table: str) -> list[int]:
    answer = client.post("/v1/sql", json={"sql": f"SELECT count(*), sum(id) FROM {table}"})
    return [int(each) for each in answer.raise_for_status().json()["rows"][0]]


def asked(proxy: object_store.Proxy) -> list[str]:
    """Return the methods of what was asked of files of tables since the last time."""
    found = [each.method for each in proxy.asked if "/tables/" in each.path]
    proxy.asked.clear()
    return found


def test_an_append_is_four_puts_and_a_commit_by_the_protocol_one(
    client: httpx.Client, place: Place
) -> None:
    for number in range(3):
        load(client, "counted", b'{"id":%d}\n' % number)
    time.sleep(1)  # what follows a commit is done
    asked(place.proxy)
    load(client, "counted", b'{"id":10}\n')
    assert asked(place.proxy) == ["PUT"] * 4
    change = {"action": "set-properties", "updates": {"user.a": "b"}}
    body = {"requirements": [], "updates": [change]}
    at = f"{PLACE}/namespaces/main/tables/counted"
    time.sleep(1)
    asked(place.proxy)
    client.post(at, json=body).raise_for_status()
    assert asked(place.proxy) == ["PUT"]


def test_a_commit_of_a_snapshot_by_the_protocol_is_one_put(
    client: httpx.Client, place: Place
) -> None:
    """What the engine wrote before, it wrote itself."""
    load(client, "pushed", b'{"id":1}\n')
    table = catalog(place.server).load_table("main.pushed")
    table.io = load_file_io(object_store.pyiceberg_properties())  # the bucket, not the proxy
    path = f"{table.location()}/data/theirs.parquet"
    with table.io.new_output(path).create() as file:
        pq.write_table(pa.table({"id": pa.array([2], pa.int64())}), file)
    size, number = len(table.io.new_input(path)), table.metadata.last_sequence_number + 1
    snapshot = written(table, path, number=number, size_bytes=size)
    body = {"requirements": [], "updates": added(snapshot)}
    time.sleep(1)
    asked(place.proxy)
    answer = client.post(f"{PLACE}/namespaces/main/tables/pushed", json=body)
    assert answer.status_code == 200, answer.text
    assert asked(place.proxy).count("PUT") == 1
    metadata = answer.json()["metadata"]
    assert metadata["current-snapshot-id"] == snapshot["snapshot-id"]


@pytest.fixture
def direct(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server that tells PyIceberg of the bucket itself, and of no proxy before it."""
    variables = object_store.variables(object_store.settings(tmp_path / "keys"))
    with lakehouse_server(tmp_path / "data", port=None, **variables) as server:
        yield server


def test_pyiceberg_writes_partitions_of_any_value(direct: ServerProcess) -> None:
    with httpx.Client(base_url=direct.url, timeout=60) as client:
        write_strange_partitions(direct, client)


def write_strange_partitions(server: ServerProcess, client: httpx.Client) -> None:
    them = catalog(server, **object_store.pyiceberg_properties())
    schema = Schema(NestedField(1, "id", LongType()), NestedField(2, "who", StringType()))
    spec = PartitionSpec(PartitionField(2, 1000, IdentityTransform(), "who"))
    table = them.create_table("main.parts", schema, partition_spec=spec)
    strange = ["a b", "c/d", "e?f", "g%20h", "i*j", "k+l", "m#n", "ö", ".."]
    rows = {"id": pa.array(range(len(strange)), pa.int64()), "who": strange}
    table.append(pa.table(rows))
    assert total(client, "parts") == [9, 36]
    found = client.post("/v1/sql", json={"sql": "SELECT who FROM parts ORDER BY id"})
    assert [each for (each,) in found.json()["rows"]] == strange
    load(client, "parts", b'{"id":100,"who":"a b"}\n')
    assert total(client, "parts") == [10, 136]
    table.refresh()
    assert table.scan().to_arrow().num_rows == 10
    for count in (1, 60):  # few are asked for one by one
        paths = [f"{table.location()}/data/gone-{number}.parquet" for number in range(count)]
        body = {
            "requirements": [],
            "updates": added(
                written(table, *paths, number=table.metadata.last_sequence_number + 1)
            ),
        }
        answer = client.post(f"{PLACE}/namespaces/main/tables/parts", json=body)
        assert (answer.status_code, "is not there" in answer.text) == (400, True), answer.text
