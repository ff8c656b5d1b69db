"""What tests of every package may ask for."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from lakehouse.app import Lakehouse, create_app, open_lakehouse
from lakehouse.config import Config
from lakehouse.state import DataDirectory
from tests import services
from tests.services import ServerProcess, client_of, lakehouse_server

# Processes are started some hundred times: what they import is compiled once, 0.3 s of CPU each.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def free_port() -> int:
    return services.free_port()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A real server, one for all tests of a module, on a directory of its own."""
    with lakehouse_server(tmp_path_factory.mktemp("served") / "data") as server:
        yield server


@pytest.fixture
def over_http(served: ServerProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.url, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
async def lake(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lakehouse]:
    """Everything but the socket, in this process; one for all tests of a module."""
    with DataDirectory.open(tmp_path_factory.mktemp("lake") / "data") as directory:
        async with open_lakehouse(Config(), directory) as lakehouse:
            yield lakehouse


@pytest.fixture
async def client(lake: Lakehouse) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the app in this process."""
    async with client_of(create_app(lake)) as client:
        yield client


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"
