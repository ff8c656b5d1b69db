"""A real server that other engines reach by the protocol, and clients of it."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pyiceberg.catalog.rest import RestCatalog

from tests.services import ServerProcess, lakehouse_server

PLACE = "/iceberg/v1"
ROWS = b'{"id":1,"name":"Ada"}\n{"id":2,"name":"Bo"}\n'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with lakehouse_server(tmp_path_factory.mktemp("lake") / "data", port=None) as server:
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
