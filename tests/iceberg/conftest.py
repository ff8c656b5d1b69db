"""A real server that other engines reach by the protocol, and clients of it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from pyiceberg.catalog.rest import RestCatalog

from tests import object_store
from tests.services import ServerProcess, lakehouse_server

PLACE = "/iceberg/v1"
ROWS = b'{"id":1,"name":"Ada"}\n{"id":2,"name":"Bo"}\n'


@dataclass
class Store:
    """Where the warehouse lies, and what each side has to be told of it."""

    variables: dict[str, str] = field(default_factory=dict)
    """What tells the server of it."""
    spark: dict[str, str] = field(default_factory=dict)
    pyiceberg: dict[str, str] = field(default_factory=dict)
    duckdb: str = ""
    """A statement that gives it the keys."""


BOTH = ["disk", pytest.param("bucket", marks=pytest.mark.slow)]


@pytest.fixture(scope="module")
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The disk; modules that say `parametrize("store", BOTH, indirect=True)` ask the other, too."""
    if getattr(request, "param", "disk") == "disk":
        return Store()
    keys = object_store.pyiceberg_properties()
    settings = object_store.settings(tmp_path_factory.mktemp("keys"))
    spark = {
        "io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
        "client.region": keys["s3.region"],
        "s3.path-style-access": "true",
        **keys,
    }
    return Store(object_store.variables(settings), spark, keys, object_store.duckdb_secret())


@pytest.fixture(scope="module")
def server(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    place = tmp_path_factory.mktemp("lake") / "data"
    with lakehouse_server(place, port=None, **store.variables) as server:
        yield server


@pytest.fixture
def client(server: ServerProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url) as client:
        yield client


@pytest.fixture
def them(server: ServerProcess) -> RestCatalog:
    """Another engine: PyIceberg, as its users open it."""
    return catalog(server)


def catalog(server: ServerProcess, **properties: Any) -> RestCatalog:
    said = {"uri": f"{server.url}/iceberg", "auth": {"type": "noop"}, **properties}
    return RestCatalog("lake", **said)


def load(client: httpx.Client, name: str, rows: bytes = ROWS) -> None:
    query = {"name": name, "format": "ndjson", "mode": "append"}
    client.post("/v1/ingest", params=query, content=rows).raise_for_status()
