"""What tests of every package may ask for."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests import services
from tests.services import ServerProcess, lakehouse_server


@pytest.fixture
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


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"
